//! The program's own questions to servers that never end: how long they take, and how much memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use spacetime_network::wire::message::Heartbeat;
use spacetime_network::wire::{Hash, Message};

use crate::forge::{self, Parent, block, transfer};
use crate::node::{Node, program, usage};
use crate::scene::{Report, place};
use crate::settings::Settings;
use crate::words::{Greeting, frame};

/// The most memory that a question may take, in MiB, and how long it may take at all.
const MEMORY_MAX: f64 = 400.0;
const TIME_MAX: Duration = Duration::from_secs(120);

/// Takes connections, greets, and talks to each in this way; its address.
fn server(height: u64, talk: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let talk = Arc::clone(&talk);
            thread::spawn(move || {
                let greeting = Greeting { id: "evil".to_owned(), port: 0, height, best: Hash([9; 32]) };
                // The greeting, which is as long as its first bytes say.
                let mut length = [0; 4];
                stream.read_exact(&mut length)?;
                stream.read_exact(&mut vec![0; u32::from_le_bytes(length).min(1_025) as usize])?;
                stream.write_all(&greeting.answer())?;
                talk(&mut stream)
            });
        }
    });
    address
}

/// Runs a question to its end; its exit code, `None` when it had none, how long it took and the most memory it had.
fn ask(report: &mut Report, arguments: &[&str]) -> Option<i32> {
    let (began, mut peak) = (Instant::now(), 0f64);
    let mut command = program();
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let code = loop {
        if let Ok(Some(status)) = child.try_wait() {
            break status.code();
        }
        if began.elapsed() > TIME_MAX {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        peak = peak.max(usage(child.id()).peak);
        thread::sleep(Duration::from_millis(5));
    };
    report.note("seconds", (began.elapsed().as_secs_f64() * 10.0).round() / 10.0);
    report.note("peak_mib", peak.round());
    report.note("exit", code.unwrap_or(-1));
    report.check("it ends", code.is_some());
    report.check(format!("it takes less than {MEMORY_MAX} MiB"), peak < MEMORY_MAX);
    code
}

pub(crate) fn sync(name: &str, _: &Settings) -> Report {
    let mut report = Report::new(name);
    let (directory, data) = place();
    let mut parent = Parent::genesis();
    let blocks = (0..50).map(|tag| {
        let next = block(parent, tag, &[]);
        parent = Parent::of(&next.header);
        next
    });
    forge::store(&data, blocks);
    let good = Node::start(&data, &[] as &[&str]);
    let evil = server(1 << 40, |stream| {
        let mut chain_length = 1 << 40;
        loop {
            chain_length += 1;
            stream.write_all(&frame(&Message::Heartbeat(Heartbeat::Status { chain_length, node_id: "evil" })))?;
            thread::sleep(Duration::from_secs(1));
        }
    });
    let copy = directory.path().join("copy").to_string_lossy().into_owned();
    let code = ask(&mut report, &["sync", &good.address.to_string(), &evil, "--timeout", "5s", "--data-dir", &copy]);
    report.check("it has the honest chain", code == Some(0));
    report
}

pub(crate) fn pool(name: &str, _: &Settings) -> Report {
    let mut report = Report::new(name);
    let address = server(0, |stream| {
        let name = "n".repeat(4_000);
        for nonce in 0.. {
            stream.write_all(&frame(&Message::Transaction(&transfer("s", &name, nonce))))?;
        }
        Ok(())
    });
    ask(&mut report, &["tx-pool", &address, "--timeout", "60s"]);
    report
}
