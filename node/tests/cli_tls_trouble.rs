//! TLS when something is wrong: what first use remembers survives it, and the operator is told the cause and the remedy.

mod cli_support;
#[path = "cli_support/tls.rs"]
mod tls_support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use cli_support::{RunningNode, program, wait_for};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use tls_support::{Office, Scene, borrowed, line, succeeded};

/// A node whose log can be read while it runs.
struct Logged {
    child: Child,
    log: PathBuf,
}

impl Logged {
    /// A node that only dials, with a log beside its directory.
    fn dialing(data: &Path, arguments: &[&str]) -> Self {
        let log = data.with_extension("log");
        let mut command = program(&["run", "--no-listen", "--data-dir"]).path(data).args(arguments).into_command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Logged { child: command.spawn().unwrap(), log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn says(&self, part: &str) {
        wait_for(part, || self.text().contains(part));
    }

    /// What it said in all, and its exit code.
    fn stop(mut self) -> (String, Option<i32>) {
        let sent = std::process::Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
        let code = self.child.wait().unwrap().code();
        (self.text(), code)
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plain() -> Scene {
    Scene::with(&[])
}

fn secure() -> Scene {
    Scene::with(&["--tls", "any"])
}

/// Once the second to finish wrote what it had read before the first did: one of the two nodes was forgotten, and its
/// changed key accepted later.
#[test]
fn two_questions_at_once_both_remember_whom_they_met() {
    let (one, two) = (secure(), secure());
    let directory = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let data = directory.path().join(round.to_string());
        let ask = |scene: &Scene| {
            let ping = program(&["ping", &scene.address(), "--count", "1", "--tls", "first-use", "--data-dir"]);
            let mut command = ping.path(&data).into_command();
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
        };
        for mut child in [ask(&one), ask(&two)] {
            assert!(child.wait().unwrap().success());
        }
        let file = fs::read_to_string(data.join("client/known_identities.json")).unwrap();
        assert!(file.contains(&one.id()) && file.contains(&two.id()), "{round}: {file}");
    }
}

/// A directory where the file is first written under another name: no save works until it is gone.
fn jam(data: &Path) -> PathBuf {
    let jam = data.join("known_identities.json.tmp");
    fs::create_dir_all(&jam).unwrap();
    jam
}

/// Once one warning was all: the disk had room again, the node went on and stopped cleanly, and had met nobody.
#[test]
fn what_a_full_disk_did_not_take_is_saved_when_it_does() {
    let scene = secure();
    let data = scene.directory.path().join("dialing");
    let jam = jam(&data);
    let node = Logged::dialing(&data, &["--tls", "first-use", "--connect", &scene.address()]);
    node.says("it is tried again");
    fs::remove_dir(jam).unwrap();
    let file = data.join("known_identities.json");
    wait_for("the identity to be saved", || fs::read_to_string(&file).is_ok_and(|text| text.contains(&scene.id())));
    node.says("saved again");
    let (log, code) = node.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("it is tried again").count(), 1, "{log}");
}

#[test]
fn a_node_that_could_never_save_whom_it_met_says_so_at_its_end() {
    let scene = secure();
    let data = scene.directory.path().join("dialing");
    let jam = jam(&data);
    let node = Logged::dialing(&data, &["--tls", "first-use", "--connect", &scene.address()]);
    node.says("it is tried again");
    let (log, code) = node.stop();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("whoever was met since is met as if for the first time"), "{log}");
    assert!(log.lines().last().unwrap().starts_with("error: cannot save"), "{log}");
    assert!(jam.exists());
}

/// Once the advice to take a line out of the file, followed for the last line, left a comma; the file was called damaged,
/// set aside, and whoever answered was trusted.
#[test]
fn a_comma_too_many_does_not_open_first_use_to_everybody() {
    let scene = secure();
    let data = scene.directory.path().join("ours");
    let text = format!("{{\n  \"{}\": \"{}\",\n}}\n", scene.address(), "ab".repeat(32));
    for folder in [data.clone(), data.join("client")] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("known_identities.json"), &text).unwrap();
    }
    let run = program(&["run", "--no-listen", "--tls", "first-use", "--data-dir"]).path(&data).run();
    for done in [run, scene.ping(&["--tls", "first-use"])] {
        let line = line(&done);
        assert!(line.contains("damaged: trailing comma at line 3") && line.contains("put it right"), "{line}");
    }
    assert_eq!(fs::read_to_string(data.join("known_identities.json")).unwrap(), text);
    assert_eq!(fs::read_to_string(scene.remembered()).unwrap(), text);
}

#[test]
fn a_running_node_is_not_made_to_forget_behind_its_back() {
    let scene = Scene::with(&["--tls", "first-use"]);
    let node = scene.directory.path().join("node");
    let done = program(&["forget", "192.0.2.7:8333", "--data-dir"]).path(&node).run();
    assert!(line(&done).contains("another process is using it"), "{done:?}");
    let done = program(&["forget", "nobody", "--data-dir"]).path(&node).run();
    assert_eq!(done.code, 2, "{done:?}");
}

/// Once it was tried for ever without a word above the level of debugging.
#[test]
fn a_named_node_that_cannot_be_reached_is_a_warning_with_a_remedy_once() {
    let (plain, secure) = (plain(), secure());
    for (scene, arguments, why) in [
        (&plain, &["--tls", "first-use"][..], "it does not speak TLS; switch TLS on there or off here"),
        (&secure, &[][..], "saying \"this node wants TLS\"; give --tls here, as it has"),
    ] {
        let (address, data) = (scene.address(), scene.directory.path().join("dialing"));
        let node = Logged::dialing(&data, &[&["--connect", &address, "--log-level", "debug"], arguments].concat());
        node.says("still not reached");
        let (log, _) = node.stop();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert!(matches!(warnings[..], [only] if only.contains(why) && only.contains(&address)), "{log}");
    }
}

/// Whoever came to a node with TLS and spoke none got no byte: neither a health check nor a node without TLS could say in its log
/// why. And each of them was a line in the log here, which on a node without TLS it is only for who wants to see everything.
#[test]
fn whoever_speaks_something_else_to_a_tls_port_is_told_so_and_fills_no_log() {
    for (level, told) in [("info", 0), ("debug", 1)] {
        let scene = Scene::with(&["--tls", "any", "--log-level", level]);
        for (greeting, answer) in [
            (&b"GET /healthz HTTP/1.1\r\n\r\n"[..], &b"HTTP/1.1 400 Bad Request"[..]),
            (b"SSH-2.0-client\r\n", b"This is a peer-to-peer node, no SSH server."),
            (&[50, 0, 0, 0, 1, 2, 0, 0, 0], b"\x14\0\0\0\xffthis node wants TLS"),
        ] {
            let mut stranger = TcpStream::connect(scene.address()).unwrap();
            stranger.write_all(greeting).unwrap();
            let mut all = Vec::new();
            stranger.read_to_end(&mut all).unwrap();
            assert!(all.starts_with(answer), "{greeting:?}: {}", all.escape_ascii());
        }
        let asked = scene.ask("ping", &["--tls", "off"]);
        assert!(line(&asked).contains("this node wants TLS") && line(&asked).contains("give --tls here"), "{asked:?}");
        let log = scene.node.stop_with("-TERM").stderr;
        let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
        assert_eq!((lines("it speaks HTTP"), lines("it speaks SSH")), (told, told), "{log}");
        // Another setting there is worth a word, once an hour; the other of the two who spoke plain text is a detail.
        assert_eq!((lines("not let in for plain text"), lines("it does not speak TLS")), (1, told), "{log}");
        assert!(!log.contains("INFO TLS"), "{log}");
    }
}

/// Once neither said a word, and a question heard that the node might be full.
#[test]
fn two_nodes_with_one_key_are_told_so() {
    let scene = secure();
    let data = scene.directory.path().join("copy");
    fs::create_dir(&data).unwrap();
    fs::copy(scene.directory.path().join("node/node.key"), data.join("node.key")).unwrap();
    let node = Logged::dialing(&data, &["--tls", "any", "--connect", &scene.address()]);
    node.says("each needs its own");
    assert!(node.stop().0.contains("WARN"));
    assert!(scene.node.stop_with("-TERM").stderr.contains("each needs its own"));

    let directory = tempfile::tempdir().unwrap();
    let flags = Office::open(directory.path()).flags("node", &["127.0.0.1"]);
    let scene = Scene::with(&borrowed(&flags));
    assert!(line(&scene.ping(&borrowed(&flags))).ends_with("each needs its own"));
}

/// Once a node with a certificate was told to be pinned, which `--tls ca` rejects, and an authority's certificate was
/// called wrongly signed by those who want none.
#[test]
fn a_remedy_fits_the_kind_of_trust() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let elsewhere = Office::open(&directory.path().join("elsewhere"));
    let mut stranger = elsewhere.flags("client", &["client"]);
    // It trusts the node's authority, which does not trust its own.
    stranger[3] = office.flags("unused", &["unused"])[3].clone();
    let scene = Scene::with(&borrowed(&office.flags_for("node", &["127.0.0.1"], &[])));
    let done = scene.ping(&borrowed(&stranger));
    assert!(line(&done).contains("compare --ca there with who signed our --tls-cert"), "{done:?}");
    assert!(!line(&done).contains("--pin"), "{done:?}");
    let done = scene.ping(&["--tls", "any"]);
    assert!(line(&done).contains("if it runs with --tls ca, use that on both sides"), "{done:?}");
    // Who is answered now comes behind whoever was refused before.
    succeeded(&scene.ping(&borrowed(&office.flags("good", &["client"]))));
    let log = scene.node.stop_with("-TERM").stderr;
    assert!(log.contains("the other side must run with --tls ca, too") && !log.contains("alert"), "{log}");

    let strict = Scene::with(&borrowed(&{
        let mut flags = office.flags("named", &["127.0.0.1"]);
        flags.extend(["--tls-name".to_owned(), "node.example".to_owned()]);
        flags
    }));
    let mut client = office.flags("client", &["client"]);
    client.extend(["--tls-name".to_owned(), "127.0.0.1".to_owned()]);
    let done = strict.ping(&borrowed(&client));
    assert!(line(&done).contains("or with --tls-name there"), "{done:?}");
}

/// As the handbook has it: what is checked is what the certificate is used for.
#[test]
fn a_certificate_must_allow_what_it_is_used_for() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(directory.path());
    let dials = office.flags_for("dials", &["127.0.0.1"], &[ClientAuth]);
    let listens = office.flags_for("listens", &["127.0.0.1"], &[ServerAuth]);
    let scene = Scene::with(&borrowed(&listens));
    succeeded(&scene.ping(&borrowed(&dials)));
    let other = office.flags_for("other", &["127.0.0.1"], &[ServerAuth]);
    assert!(line(&scene.ping(&borrowed(&other))).contains("must allow client authentication where we dial"));
    let node = RunningNode::start(
        &directory.path().join("node"),
        &[&["--listen", "127.0.0.1:0"], &borrowed(&dials)[..]].concat(),
    );
    let both = office.flags_for("both", &["127.0.0.1"], &[ServerAuth, ClientAuth]);
    let ping =
        program(&["ping", &node.listening()[0], "--count", "1", "--data-dir"]).path(&directory.path().join("ours"));
    assert!(line(&ping.args(&borrowed(&both)).run()).contains("must allow server authentication"));
}
