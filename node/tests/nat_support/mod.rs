//! A home behind a router, in network namespaces of their own: `home` and `home2` on a bridge, `router` with a real miniupnpd, and `out`,
//! the internet. With a second router, `front`, the first has only a private address.
//!
//! ```text
//!   home  192.168.77.2 --+
//!                        +-- br0 192.168.77.1 router wan 11.77.0.1 ---------------- 11.77.0.2 out
//!   home2 192.168.77.3 --+                          (10.78.0.2 - 10.78.0.1 front 11.77.0.1)
//! ```

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up. It only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(90);
/// Where the outside sees the router.
pub(crate) const SEEN: &str = "11.77.0.1";
/// Where a node of the outside listens.
pub(crate) const OUT: &str = "11.77.0.2:7193";
/// What nodes at home listen at.
pub(crate) const PORT: u16 = 7193;
/// Without what is needed the tests fail if this is set, as where all of it was installed for them.
const REQUIRED: &str = "NAT_LAB_REQUIRED";

const RULES: &str = "
table inet filter {
  chain miniupnpd {}
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname br0 accept
    jump miniupnpd
  }
  chain prerouting_miniupnpd {}
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain postrouting_miniupnpd {}
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    oifname wan masquerade
  }
}
";

/// The rules of a router that forwards nothing.
const FRONT_RULES: &str = "
table inet filter {
  chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname lan accept; }
  chain postrouting { type nat hook postrouting priority 100; policy accept; oifname wan masquerade; }
}
";

/// Whether a second router stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routers {
    One,
    Two,
}

/// The namespaces, until it is dropped.
pub(crate) struct Lab {
    name: String,
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

/// A node in one of them.
pub(crate) struct LabNode {
    child: Child,
    namespace: String,
    http: String,
    log: PathBuf,
}

fn has(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|found| found.status.success())
}

impl Lab {
    /// Sets it up; `None`, with a word, where the machine has not what it needs or does not let us.
    pub(crate) fn new(routers: Routers) -> Option<Lab> {
        static LABS: AtomicUsize = AtomicUsize::new(0);
        let missing: Vec<&str> = ["ip", "nft", "miniupnpd"].into_iter().filter(|program| !has(program)).collect();
        let name = format!("nat{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let probe = format!("{name}-probe");
        let may = missing.is_empty()
            && Command::new("ip").args(["netns", "add", &probe]).output().is_ok_and(|done| done.status.success());
        if !may {
            let why = format!("needs the right to make network namespaces, and these programs: {missing:?}");
            assert!(std::env::var_os(REQUIRED).is_none(), "{why}");
            eprintln!("left out: {why}");
            return None;
        }
        let _ = Command::new("ip").args(["netns", "del", &probe]).output();
        let lab = Lab { name, directory: tempfile::tempdir().unwrap(), daemon: None };
        lab.build(routers);
        Some(lab)
    }

    fn build(&self, routers: Routers) {
        let mut all = vec!["home", "home2", "router", "out"];
        if routers == Routers::Two {
            all.push("front");
        }
        for part in all {
            self.ip(&format!("netns add {}", self.space(part)));
            self.ip(&format!("-n {} link set lo up", self.space(part)));
        }
        self.within("router", "link add br0 type bridge");
        self.within("router", "addr add 192.168.77.1/24 dev br0");
        self.within("router", "link set br0 up");
        for (home, own) in [("home", 2), ("home2", 3)] {
            self.cable((home, "eth0"), ("router", home));
            self.within("router", &format!("link set {home} master br0"));
            self.within(home, &format!("addr add 192.168.77.{own}/24 dev eth0"));
            self.within(home, "route add default via 192.168.77.1");
        }
        let wan = match routers {
            Routers::One => {
                self.cable(("router", "wan"), ("out", "eth0"));
                "11.77.0.1/24"
            }
            Routers::Two => {
                self.cable(("router", "wan"), ("front", "lan"));
                self.cable(("front", "wan"), ("out", "eth0"));
                self.within("front", "addr add 10.78.0.1/24 dev lan");
                self.within("front", &format!("addr add {SEEN}/24 dev wan"));
                self.forwards("front", FRONT_RULES);
                "10.78.0.2/24"
            }
        };
        self.within("router", &format!("addr add {wan} dev wan"));
        if routers == Routers::Two {
            self.within("router", "route add default via 10.78.0.1");
        }
        self.within("out", "addr add 11.77.0.2/24 dev eth0");
        self.forwards("router", RULES);
    }

    fn forwards(&self, part: &str, rules: &str) {
        let done = self.run(part, &["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        assert!(done.status.success(), "{done:?}");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(part), "nft", "-f", "-"]).stdin(Stdio::piped());
        let mut nft = command.spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
    }

    fn cable(&self, (one, its): (&str, &str), (other, theirs): (&str, &str)) {
        let (one_space, other_space) = (self.space(one), self.space(other));
        self.ip(&format!("link add {its} netns {one_space} type veth peer name {theirs} netns {other_space}"));
        self.within(one, &format!("link set {its} up"));
        self.within(other, &format!("link set {theirs} up"));
    }

    fn space(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    fn ip(&self, words: &str) {
        let done = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// `ip` in a namespace.
    pub(crate) fn within(&self, part: &str, words: &str) {
        self.ip(&format!("-n {} {words}", self.space(part)));
    }

    /// A command in a namespace, to its end.
    pub(crate) fn run(&self, part: &str, command: &[&str]) -> Output {
        Command::new("ip").args(["netns", "exec", &self.space(part)]).args(command).output().unwrap()
    }

    /// Starts the router's miniupnpd, with lines of its configuration besides the usual ones.
    pub(crate) fn start_router(&mut self, lines: &[&str]) {
        let usual = [
            "ext_ifname=wan",
            "listening_ip=br0",
            "min_lifetime=4",
            "max_lifetime=86400",
            "upnp_table_name=filter",
            "upnp_nat_table_name=filter",
            "upnp_forward_chain=miniupnpd",
            "upnp_nat_chain=prerouting_miniupnpd",
            "upnp_nat_postrouting_chain=postrouting_miniupnpd",
            "allow 1024-65535 192.168.77.0/24 1024-65535",
            "secure_mode=no",
            "uuid=00000000-0000-0000-0000-000000000077",
        ];
        let configuration = self.directory.path().join("miniupnpd.conf");
        fs::write(&configuration, [&usual[..], lines].concat().join("\n") + "\n").unwrap();
        let log = fs::File::create(self.directory.path().join("miniupnpd.log")).unwrap();
        let pid = self.directory.path().join("miniupnpd.pid");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space("router"), "miniupnpd", "-d", "-f"]).arg(&configuration);
        command.arg("-P").arg(&pid).stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        self.daemon = Some(command.spawn().unwrap());
        let listens = || self.sockets("router").contains(":5351");
        wait_for("the router", || listens().then_some(()).ok_or_else(|| self.router_log()));
    }

    fn sockets(&self, part: &str) -> String {
        String::from_utf8_lossy(&self.run(part, &["ss", "-Hlun"]).stdout).into_owned()
    }

    fn router_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("miniupnpd.log")).unwrap_or_default()
    }

    /// Cuts its power: what it had mapped is gone.
    pub(crate) fn stop_router(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // It does not start where another seems to run.
        let _ = fs::remove_file(self.directory.path().join("miniupnpd.pid"));
        for chain in ["miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"] {
            let flushed = self.run("router", &["nft", "flush", "chain", "inet", "filter", chain]);
            assert!(flushed.status.success(), "{flushed:?}");
        }
    }

    /// What the router's firewall forwards.
    pub(crate) fn forwarded(&self) -> String {
        let listed = self.run("router", &["nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"]);
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        text.lines().filter(|line| line.contains("dnat")).collect::<Vec<_>>().join("\n")
    }

    /// Starts a node in a namespace, and waits until it is ready.
    pub(crate) fn node(&self, part: &str, arguments: &[&str]) -> LabNode {
        let data = self.directory.path().join(part);
        let log = data.with_extension("log");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(part), env!("CARGO_BIN_EXE_spacetime-node"), "run", "--data-dir"]);
        command.arg(&data).args(["--http", "127.0.0.1:0", "--difficulty", "0"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut http = None;
        for line in output.lines().map(Result::unwrap) {
            if let Some(at) = line.strip_prefix("http ") {
                http = Some(at.to_owned());
            } else if line == "ready" {
                return LabNode { child, namespace: self.space(part), http: http.expect("it has an endpoint"), log };
            }
        }
        let _ = child.wait();
        panic!("the node was never ready: {}", fs::read_to_string(&log).unwrap());
    }

    /// A node outside, that others may dial.
    pub(crate) fn outside(&self) -> LabNode {
        self.node("out", &["--listen", OUT, "--nat", "none"])
    }

    /// A node at home that asks its router so.
    pub(crate) fn at_home(&self, part: &str, nat: &str) -> LabNode {
        let listen = format!("0.0.0.0:{PORT}");
        self.node(part, &["--listen", &listen, "--connect", OUT, "--nat", nat, "--nat-lease", "8"])
    }

    /// Does somebody outside reach a node at this address?
    pub(crate) fn is_reached(&self, address: &str) -> bool {
        let program = env!("CARGO_BIN_EXE_spacetime-node");
        let data = self.directory.path().join("ping");
        let done = self.run(
            "out",
            &[program, "ping", address, "--count", "1", "--timeout", "5s", "--data-dir", data.to_str().unwrap()],
        );
        done.status.success()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        for part in ["home", "home2", "router", "out", "front"] {
            let _ = Command::new("ip").args(["netns", "del", &self.space(part)]).output();
        }
    }
}

impl LabNode {
    /// What it says of whether it is reached.
    pub(crate) fn reach(&self) -> Value {
        let program = env!("CARGO_BIN_EXE_spacetime-node");
        let asked = Command::new("ip")
            .args(["netns", "exec", &self.namespace, program, "status", "--http", &self.http, "--json"])
            .output()
            .unwrap();
        let status: Value =
            serde_json::from_slice(&asked.stdout).unwrap_or_else(|error| panic!("{error}: {asked:?} {}", self.log()));
        status["reach"].clone()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until what it says of its reach is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let reach = self.reach();
            if is_so(&reach) { Ok(reach) } else { Err(format!("{reach:#} {}", self.log())) }
        })
    }

    /// Waits until it has told others of an address; answers that.
    pub(crate) fn announced(&self) -> String {
        let reach = self.until("an announced address", |reach| reach["announced"].is_string());
        reach["announced"].as_str().unwrap().to_owned()
    }

    /// Waits until its log has this.
    pub(crate) fn says(&self, part: &str) {
        wait_for(part, || self.log().contains(part).then_some(()).ok_or_else(|| self.log()));
    }

    /// Tells it to stop and waits for the end.
    pub(crate) fn stop(mut self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.log());
    }
}

impl Drop for LabNode {
    fn drop(&mut self) {
        // A test that failed must not leave a node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is an answer; fails the test, with what was seen last, when that takes too long.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < end, "waited in vain for {what}: {seen}"),
        }
        std::thread::yield_now();
    }
}
