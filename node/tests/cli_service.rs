//! A node as a service: what it tells its manager, what its log says while it stops, and its man pages.

#![cfg(target_os = "linux")]

mod cli_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cli_support::{RunningNode, program};
use spacetime_network::wire::Message;
use spacetime_network::wire::message::Handshake;

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").arg(name).arg(child.id().to_string()).status().unwrap().success());
}

#[test]
fn a_service_manager_hears_that_the_node_is_ready_that_its_loop_turns_and_that_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("notify");
    let manager = UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = program(&["run", "--listen", "127.0.0.1:0", "--data-dir"])
        .path(&directory.path().join("a"))
        .env("NOTIFY_SOCKET", place.as_os_str())
        .env("WATCHDOG_USEC", "300000")
        .into_command();
    let mut service =
        Service(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let hear = || {
        let mut buffer = [0; 4096];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    };
    let ready = hear();
    assert!(ready.contains("READY=1") && ready.contains("STATUS=listening 127.0.0.1:"), "{ready}");
    // An idle loop turns seldom by itself, and is not taken for one that hangs.
    for _ in 0..3 {
        assert_eq!(hear().trim(), "WATCHDOG=1");
    }
    signal(&service.0, "-TERM");
    loop {
        match hear().trim() {
            "WATCHDOG=1" => {}
            other => break assert_eq!(other, "STOPPING=1"),
        }
    }
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}

/// An operator who waits for a stop did not know for what.
#[test]
fn a_stop_that_takes_its_time_says_each_second_what_it_waits_for() {
    let directory = tempfile::tempdir().unwrap();
    let node = RunningNode::start(&directory.path().join("a"), &["--listen", "127.0.0.1:0"]);
    // A peer that greets and never ends its direction.
    let mut peer = TcpStream::connect(&node.listening()[0]).unwrap();
    let unix_seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let greeting = Handshake { version: 1, unix_seconds, node_id: "lazy", user_agent: "lazy/1", extension: None };
    let mut bytes = Vec::new();
    Message::Handshake(greeting).encode(&mut bytes).unwrap();
    peer.write_all(&bytes).unwrap();
    peer.read_exact(&mut [0; 5]).unwrap();
    let done = node.stop_with("-TERM");
    assert_eq!(done.code, 0);
    assert!(done.stderr.contains("stopping: waits for 1 connections to take 0 bytes and to close"), "{}", done.stderr);
}

#[test]
fn each_command_has_a_man_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let done = program(&["man"]).path(&pages).run();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let help = program(&["--help"]).run().stdout;
    let commands = BufReader::new(help.as_bytes()).lines().map(Result::unwrap);
    let commands = commands.skip_while(|line| line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut count = 0;
    for line in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name == "help" {
            continue;
        }
        let page = std::fs::read_to_string(pages.join(format!("spacetime-node-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(name), "{name}: {page}");
        count += 1;
    }
    assert!(count >= 15, "{count}");
    assert!(std::fs::read_to_string(pages.join("spacetime-node.1")).unwrap().contains("spacetime\\-node"));
}
