//! `--proxy` as an operator meets it: through a real SOCKS5 server where there is one (Debian's `microsocks`), and through one of the
//! test's own, which says what it was asked for and leads every name to this machine.

mod cli_support;
#[path = "../../tests/socks_support/mod.rs"]
mod socks_support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cli_support::{LoggedNode, program, wait_for};
use socks_support::{Manner, TestProxy};

/// Without a real server the test fails if this is set, as where it was installed for it.
const REQUIRED: &str = "PROXY_REQUIRED";

/// A `microsocks` of our own, until it is dropped.
struct RealProxy {
    child: Child,
    address: String,
}

impl RealProxy {
    /// `None` where there is none to start.
    fn start(arguments: &[&str]) -> Option<Self> {
        loop {
            // Somebody may take the port before it does; then it ends, and another one is tried.
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let port = address.port().to_string();
            let mut command = Command::new("microsocks");
            command.args(["-i", "127.0.0.1", "-p", &port]).args(arguments);
            let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
                assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and there is no microsocks");
                eprintln!("left out: there is no SOCKS5 server here; install microsocks");
                return None;
            };
            let mut proxy = RealProxy { child, address: address.to_string() };
            let mut has_ended = false;
            wait_for("the proxy", || {
                has_ended = proxy.child.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(address).is_ok()
            });
            if !has_ended {
                return Some(proxy);
            }
        }
    }
}

impl Drop for RealProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listener(directory: &Path) -> (LoggedNode, String, String) {
    let node =
        LoggedNode::start(&directory.join("one"), &["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0"]);
    let address = node.listening().remove(0);
    let port = address.rsplit(':').next().unwrap().to_owned();
    (node, address, port)
}

fn dialer(data: &Path, proxy: &str, arguments: &[&str]) -> LoggedNode {
    LoggedNode::start(
        data,
        &[&["--listen", "127.0.0.1:0", "--proxy", proxy, "--allow-private"][..], arguments].concat(),
    )
}

#[test]
fn two_nodes_meet_through_a_real_proxy_by_address_and_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let Some(open) = RealProxy::start(&[]) else { return };
    let Some(closed) = RealProxy::start(&["-u", "me", "-P", "secret"]) else { return };
    let (one, address, port) = listener(directory.path());
    let password = directory.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    let password = password.to_str().unwrap();
    for (name, proxy, to, more) in [
        ("by-address", &open, address.clone(), vec![]),
        ("by-name", &open, format!("localhost:{port}"), vec![]),
        ("by-login", &closed, address.clone(), vec!["--proxy-user", "me", "--proxy-password", password]),
    ] {
        let node = dialer(&directory.path().join(name), &proxy.address, &[&["--connect", &to][..], &more].concat());
        node.says("peer connected");
        node.says("new tip");
        assert!(node.stop().contains("stopped"), "{name}");
    }
    let refused = dialer(&directory.path().join("refused"), &closed.address, &["--connect", &address]);
    assert!(refused.says("nobody can be dialed at present").contains("another way to log in"));
    drop((one, refused));
}

#[test]
fn an_onion_service_is_reached_by_its_name_and_nobody_is_told_where_we_are() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = TestProxy::start(Manner::Open);
    let (one, address, port) = listener(directory.path());
    let onion = format!("node.onion:{port}");
    let two =
        dialer(&directory.path().join("two"), &proxy.address.to_string(), &["--connect", &onion, "--proxy-isolation"]);
    two.says("peer connected");
    two.says("new tip");
    assert!(two.says("dialed through the proxy by its name").contains(&onion));
    let asked = proxy.asked();
    assert!(asked.iter().all(|asked| asked.host == "node.onion" && asked.port.to_string() == port), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.user.is_some()), "{asked:?}");
    // It listens at this machine, and says so to nobody.
    let peers = program(&["peers", &address, "--json"]).run().json();
    assert_eq!(peers, serde_json::json!([]));
    // The file of peers has no address at which a name could be dialed without the proxy.
    drop(two.stop());
    drop(one);
    let known = fs::read_to_string(directory.path().join("two").join("addresses.json")).unwrap_or_default();
    assert!(!known.contains("\"24"), "{known}");
}

#[test]
fn while_the_proxy_is_down_nobody_is_dialed_and_when_it_is_up_all_are_again() {
    let directory = tempfile::tempdir().unwrap();
    let (one, address, _) = listener(directory.path());
    let place = TestProxy::start(Manner::Open).address;
    let two = dialer(&directory.path().join("two"), &place.to_string(), &["--connect", &address]);
    let said = two.says("nobody can be dialed at present");
    assert!(said.contains("the proxy: ") && said.contains("--proxy"), "{said}");
    assert!(!one.text().contains("peer connected"), "{}", one.text());
    let proxy = TestProxy::start_at(place, Manner::Open);
    two.says("peer connected");
    two.says("others can be dialed again");
    assert!(!two.text().contains("a node that --connect names is not reached"), "{}", two.text());
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn a_question_goes_through_the_proxy_as_well_and_the_file_of_settings_may_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = TestProxy::start(Manner::Open);
    let (_one, address, port) = listener(directory.path());
    let settings = directory.path().join("settings.toml");
    fs::write(&settings, format!("proxy = \"{}\"\n", proxy.address)).unwrap();
    for to in [address, format!("a.example:{port}"), format!("b.onion:{port}")] {
        let done = program(&["ping", &to, "--count", "1", "--config"]).path(&settings).run();
        assert_eq!(done.code, 0, "{done:?}");
    }
    let hosts: Vec<_> = proxy.asked().into_iter().map(|asked| asked.host).collect();
    assert_eq!(hosts, ["127.0.0.1", "a.example", "b.onion"]);
    let refusing = TestProxy::start(Manner::Refuses(4));
    let done = program(&["ping", "nobody.example:7", "--proxy", &refusing.address.to_string()]).run();
    assert!(done.code == 1 && done.stderr.contains("no way to that machine"), "{done:?}");
}

#[test]
fn what_does_not_go_with_a_proxy_or_not_without_one_is_told_what_to_give() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("node");
    let at = ["--proxy", "127.0.0.1:9"];
    for (arguments, with_proxy, part) in [
        (&["--connect", "a.onion:7"][..], false, "give --proxy"),
        (&["--external", "192.0.2.7:7"], true, "--external tells others where we are"),
        (&["--nat", "pcp"], true, "--nat asks a router"),
        (&["--listen", "here.example:7"], true, "no name is"),
        (&["--proxy-isolation"], false, "for --proxy"),
        (&["--proxy-user", "me"], true, "go together"),
    ] {
        let more = if with_proxy { &at[..] } else { &[] };
        let done = program(&["run", "--data-dir"]).path(&data).args(arguments).args(more).run();
        assert!(done.code == 2 && done.stderr.contains(part), "{arguments:?}: {done:?}");
    }
    let done = program(&["ping", "a.onion:7"]).run();
    assert!(done.code == 1 && done.stderr.contains("give a proxy"), "{done:?}");
}
