//! The program's questions to a server that wants to harm who asks: it never ends, sends more than was asked for, or
//! something else. Every question ends, with a word, and holds no more than what it asked for.

mod cli_support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use cli_support::program;
use spacetime_network::chain::{Header, Params, Transaction};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{Extension, Handshake, Heartbeat, Ping};
use spacetime_network::wire::{Hash, Kind, Message};

/// One who takes connections and talks to each in his way until it is over.
struct Server {
    address: String,
}

impl Server {
    fn new(talk: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let talk = std::sync::Arc::new(talk);
        // Its threads end with the test process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let talk = std::sync::Arc::clone(&talk);
                // An error is the program, which leaves.
                std::thread::spawn(move || drop(talk(&mut stream)));
            }
        });
        Server { address }
    }

    /// The same behind a greeting.
    fn greeted(height: u64, talk: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Server {
        Server::new(move |stream| {
            hear(stream)?;
            stream.write_all(&frame(&Message::HandshakeAck(Some(greeting(height)))))?;
            talk(stream)
        })
    }
}

fn greeting(height: u64) -> Handshake<'static> {
    let network = Params::new(0, 50).unwrap().genesis().header.hash();
    let (nonce, best_hash) = (7, if height == 0 { network } else { Hash([9; 32]) });
    let extension =
        Extension { network, nonce, listening_port: 0, features: 0, best_height: height, best_hash, seen: None };
    Handshake { version: 2, unix_seconds: 0, node_id: "hostile", user_agent: "hostile", extension: Some(extension) }
}

fn frame(message: &Message<'_>) -> Vec<u8> {
    let payload = message.to_payload().unwrap();
    let length = u32::try_from(payload.len() + 1).unwrap().to_le_bytes();
    [&length[..], &[message.kind() as u8], &payload].concat()
}

/// Reads one frame: its type and its payload.
fn hear(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok((body[0], body[1..].to_vec()))
}

fn transaction(nonce: u64) -> Vec<u8> {
    let recipient = "r".repeat(8000);
    let transfer = Transaction { sender: "s", recipient: &recipient, amount: 1, time: UnixTime::from_secs(1), nonce };
    transfer.encode().unwrap().to_vec()
}

/// Runs a question to its end; its exit code, what it said, and the most memory that it was seen to use, in MiB.
fn asked(arguments: &[&str]) -> (i32, String, u64) {
    let mut command = program(arguments).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    });
    let mut results = child.stdout.take().unwrap();
    let printed = std::thread::spawn(move || std::io::copy(&mut results, &mut std::io::sink()));
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0u64);
        most = most.max(kib / 1024);
        std::thread::yield_now();
    };
    printed.join().unwrap().unwrap();
    (code, said.join().unwrap(), most)
}

/// A pool of 64 MiB as values of strings, the program and its buffers: far below the gigabytes that were taken before.
const MEMORY_MAX: u64 = 400;

/// It took 3.2 GiB in ten seconds: every transaction that came was kept, whether the node listed it or not.
#[test]
fn a_pool_that_never_ends_is_no_more_than_a_pool() {
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let server = Server::greeted(0, |stream| {
        loop {
            stream.write_all(&frame(&Message::Transaction(&transaction(NONCE.fetch_add(1, Ordering::Relaxed)))))?;
        }
    });
    let (code, said, most) = asked(&["tx-pool", &server.address, "--json", "--timeout", "60s"]);
    assert!(code == 1 && said.contains("it sends more than was asked for"), "{said}");
    assert!(most < MEMORY_MAX, "{most} MiB");
}

/// Of a pool of 4,000 it said `"count": 1000`, and nothing of the rest: a node gives no more at a time.
#[test]
fn a_pool_larger_than_an_answer_is_shown_in_part_and_counted_whole() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--difficulty", "0"];
    let node = cli_support::RunningNode::start(directory.path(), &arguments);
    let address = node.listening()[0].clone();
    let show = |more: &[&str]| program(&[&["tx-pool", &address], more].concat()).run();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(&frame(&Message::Handshake(greeting(0)))).unwrap();
    hear(&mut stream).unwrap();
    let send = |stream: &mut TcpStream, range: std::ops::Range<u64>| {
        for nonce in range {
            let transfer = Transaction { sender: "s", recipient: "r", amount: 1, time: UnixTime::from_secs(1), nonce };
            stream.write_all(&frame(&Message::Transaction(&transfer.encode().unwrap()))).unwrap();
        }
    };
    send(&mut stream, 0..20);
    cli_support::wait_for("a small pool", || show(&["--json"]).json()["count"] == 20);
    let small = show(&["--json"]);
    assert_eq!((small.json()["shown"].as_u64(), small.stderr.as_str()), (Some(20), ""), "{small:?}");

    send(&mut stream, 20..1500);
    cli_support::wait_for("a large pool", || show(&["--json"]).json()["count"] == 1500);
    let large = show(&["--json"]);
    let listed = large.json()["transactions"].as_array().unwrap().len();
    assert_eq!((large.json()["shown"].as_u64(), listed), (Some(1000), 1000));
    assert!(large.stderr.contains("1000 of 1500 shown"), "{}", large.stderr);
    let lines = show(&[]);
    assert_eq!(lines.stdout.lines().count(), 1000);
    assert!(lines.stderr.contains("1000 of 1500 shown"), "{}", lines.stderr);
}

#[test]
fn more_headers_than_were_asked_for_and_another_block_are_refused() {
    let header = Params::new(0, 50).unwrap().genesis().header.encode();
    let server = Server::greeted(0, move |stream| {
        loop {
            match Kind::from_byte(hear(stream)?.0) {
                Some(Kind::GetHeaders) => stream.write_all(&frame(&Message::Headers(vec![&header; 2000])))?,
                Some(Kind::GetBlock) => {
                    stream.write_all(&frame(&Message::Block(&Params::new(0, 7).unwrap().genesis().encode())))?;
                }
                _ => {}
            }
        }
    });
    let (code, said, _) = asked(&["headers", &server.address, "--max", "5"]);
    assert!(code == 1 && said.contains("it sends more than was asked for"), "{said}");
    let (code, said, _) = asked(&["block", &server.address, &"ab".repeat(32)]);
    assert!(code == 1 && said.contains("it answers with another one"), "{said}");
}

/// Every question to servers that are silent, drip, flood with what nobody asked for, or begin what they do not end.
#[test]
fn every_question_ends_whatever_the_server_does() {
    let (block, pool) = (vec![7; 1 << 20], vec![Hash([1; 32]); 1000]);
    let servers = [
        ("says nothing", Server::new(|stream| stream.read_to_end(&mut Vec::new()).map(drop))),
        ("greets and says nothing", Server::greeted(5, |stream| stream.read_to_end(&mut Vec::new()).map(drop))),
        (
            "greets byte by byte, the last one never",
            Server::new(|stream| {
                stream.set_nodelay(true)?;
                let greeting = frame(&Message::HandshakeAck(Some(greeting(5))));
                greeting[..greeting.len() - 1].iter().try_for_each(|byte| stream.write_all(&[*byte]))?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            }),
        ),
        (
            "begins a frame of 16 MiB",
            Server::greeted(5, |stream| {
                stream.write_all(&[&(16u32 << 20).to_le_bytes()[..], &[Kind::Block as u8], &[0; 1 << 20]].concat())?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            }),
        ),
        (
            "pings without end",
            Server::greeted(5, |stream| {
                loop {
                    stream.write_all(&frame(&Message::Ping(Ping { nonce: 1, unix_millis: 1 })))?;
                }
            }),
        ),
        (
            "says a new block without end",
            Server::greeted(5, move |stream| {
                loop {
                    stream.write_all(&frame(&Message::NewBlock(&block)))?;
                }
            }),
        ),
        (
            "lists what it never gives and claims more and more",
            Server::greeted(5, move |stream| {
                let mut height = 5;
                loop {
                    hear(stream)?;
                    height += 1;
                    stream.write_all(&frame(&Message::TxPool(pool.clone())))?;
                    let heartbeat = Heartbeat::Status { chain_length: height, node_id: "hostile" };
                    stream.write_all(&frame(&Message::Heartbeat(heartbeat)))?;
                }
            }),
        ),
    ];
    let hash = "ab".repeat(32);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for (what, Server { address }) in servers {
        let questions: [Vec<&str>; 7] = [
            vec!["ping", &address, "--count", "2", "--interval", "1ms"],
            vec!["peers", &address],
            vec!["headers", &address],
            vec!["block", &address, &hash],
            vec!["tx-pool", &address],
            vec!["send-tx", &address, "--from", "a", "--to", "b", "--amount", "1"],
            vec!["sync", &address, "--data-dir", data],
        ];
        for question in &questions {
            let (code, said, most) = asked(&[&question[..], &["--timeout", "300ms"]].concat());
            assert!(most < MEMORY_MAX, "{question:?}, one who {what}: {most} MiB");
            let is_listed = question[0] == "tx-pool" && code == 0;
            assert!(is_listed || code == 1, "{question:?}, one who {what}: {code}, {said}");
            assert!(is_listed || said.lines().last().is_some_and(|line| line.starts_with("error: ")), "{said}");
        }
    }
}

/// The download never ended: each second EVIL claimed one more block, and that was news.
#[test]
fn a_download_ends_though_one_of_the_nodes_claims_more_with_every_question() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy) = (directory.path().join("node"), directory.path().join("copy"));
    let mining = ["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0", "--difficulty", "0"];
    let node = cli_support::RunningNode::start(&data, &mining);
    let address = node.listening()[0].clone();
    cli_support::wait_for("blocks", || {
        program(&["headers", &address, "--json"]).run().json().as_array().is_some_and(|headers| headers.len() > 20)
    });
    assert_eq!(node.stop_with("-TERM").code, 0);
    let node = cli_support::RunningNode::start(&data, &["--listen", "127.0.0.1:0", "--difficulty", "0"]);
    let good = node.listening()[0].clone();
    let evil = Server::greeted(1 << 40, |stream| {
        let mut height = 1 << 40;
        loop {
            hear(stream)?;
            height += 1;
            let heartbeat = Heartbeat::Status { chain_length: height, node_id: "hostile" };
            stream.write_all(&frame(&Message::Heartbeat(heartbeat)))?;
        }
    });
    let done = program(&["sync", &good, &evil.address, "--timeout", "2s", "--json", "--data-dir"]).path(&copy).run();
    assert!(done.json()["height"].as_u64().is_some_and(|height| height > 20), "{done:?}");
    assert!(done.stderr.contains("a node claims a chain of height"), "{done:?}");
}

/// Ten unfinished frames of 16 MiB made a node hold 210 MiB, and it still did a minute after they were gone: the allocator looks at
/// what it could give back only when something large is freed, and in a quiet node nothing was.
#[cfg(target_os = "linux")]
#[test]
fn what_a_flood_made_a_node_hold_goes_back_though_it_is_quiet_then() {
    const MANY: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let node = cli_support::RunningNode::start(directory.path(), &["--listen", "127.0.0.1:0", "--difficulty", "0"]);
    let status = format!("/proc/{}/status", node.id());
    let held = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    let before = held();
    let genesis = Params::new(0, 50).unwrap().genesis().header;
    let flood: Vec<TcpStream> = (0..10)
        .map(|nonce| {
            let mut stream = TcpStream::connect(&node.listening()[0]).unwrap();
            let id = format!("flood-{nonce}");
            stream.write_all(&frame(&Message::Handshake(Handshake { node_id: &id, ..greeting(0) }))).unwrap();
            hear(&mut stream).unwrap();
            let length = 1u32 << 24;
            stream.write_all(&length.to_le_bytes()).unwrap();
            stream.write_all(&[Kind::NewBlock as u8]).unwrap();
            // A block that may be news, so that it is not refused by its header.
            let header = Header { height: 1, previous: genesis.hash(), nonce, ..genesis };
            stream.write_all(&header.encode()).unwrap();
            stream.write_all(&vec![0; length as usize - 1024]).unwrap();
            stream
        })
        .collect();
    cli_support::wait_for("much memory", || held() > before + MANY);
    drop(flood);
    cli_support::wait_for("memory that is given back", || held() < before + MANY / 2);
}
