//! The built program and peers exactly as strict as either revision of the C# library, on real sockets, in both directions.

mod cli_support;
#[path = "../../tests/strict_peer/mod.rs"]
#[allow(dead_code, reason = "the network on the virtual clock uses all of it")]
mod strict_peer;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use cli_support::{LoggedNode, program};
use strict_peer::{PING, Revision, Role, Said, StrictPeer, TRANSACTION};

/// How long a strict peer waits for bytes before it looks at its clock.
const LOOK: Duration = Duration::from_millis(100);

/// By what the library knows a block does not matter here: nobody asks for one.
fn first_bytes(block: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(block.iter().skip(12)).for_each(|(to, from)| *to = *from);
    hash
}

/// A proof that nobody has sent before.
fn proof(height: u64) -> Vec<u8> {
    [&height.to_le_bytes()[..], &[2; 33], &3i32.to_le_bytes(), &[1, 2, 3]].concat()
}

struct Line {
    stream: TcpStream,
    peer: StrictPeer,
    input: Vec<u8>,
    begun: Instant,
}

impl Line {
    fn new(stream: TcpStream, revision: Revision, role: Role) -> Line {
        stream.set_read_timeout(Some(LOOK)).unwrap();
        // Under one name at one address they would be one node.
        let name = if role == Role::Dialer { "csharp-dialer" } else { "csharp-listener" };
        let (peer, said) = StrictPeer::new(revision, role, name, first_bytes, Duration::ZERO);
        let mut line = Line { stream, peer, input: Vec::new(), begun: Instant::now() };
        line.say(said);
        line
    }

    fn say(&mut self, frames: Vec<Said>) {
        for (byte, payload) in frames {
            let length = (payload.len() as u32 + 1).to_le_bytes();
            self.stream.write_all(&[&length[..], &[byte], &payload].concat()).unwrap();
        }
    }

    /// Reads once, and says what follows; panics when it would throw, or the node has left.
    fn turn(&mut self) {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("the node has left after {:?}", self.begun.elapsed()),
            Ok(count) => self.input.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error} after {:?}", self.begun.elapsed()),
        }
        while let Some(length) = self.input.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize)
            && self.input.len() >= 4 + length
        {
            let rest = self.input.split_off(4 + length);
            let frame = std::mem::replace(&mut self.input, rest);
            let answer = self.peer.hear(self.begun.elapsed(), frame[4], &frame[5..]);
            self.say(answer.unwrap_or_else(|thrown| panic!("after {:?}: {thrown}", self.begun.elapsed())));
        }
        let due = self.peer.tick(self.begun.elapsed());
        self.say(due);
    }

    /// Stays so long, and sends a proof now and then.
    fn stay(&mut self, time: Duration, every: Duration) {
        let mut proofs = 0u64;
        while self.begun.elapsed() < time {
            self.turn();
            if self.begun.elapsed() > every * (proofs as u32 + 1) {
                proofs += 1;
                let height = proofs * 2 + u64::from(self.stream.local_addr().unwrap().port()) * 1_000;
                let said = self.peer.proof(&proof(height));
                self.say(vec![said]);
            }
        }
    }
}

/// A node that mines, with a strict peer of a revision at either end.
fn meet(revision: Revision, time: Duration, flags: &[&str]) -> [StrictPeer; 2] {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let usual = ["--listen", "127.0.0.1:0", "--connect", &address, "--mine", "--difficulty", "1"];
    let node = LoggedNode::start(&directory.path().join("node"), &[&usual[..], flags].concat());
    let (dialed, _) = listener.accept().unwrap();
    let dialer = TcpStream::connect(&node.listening()[0]).unwrap();
    let every = time / 20;
    let stays = |stream, role| {
        thread::spawn(move || {
            let mut line = Line::new(stream, revision, role);
            line.stay(time, every);
            line.peer
        })
    };
    let lines = [stays(dialed, Role::Listener), stays(dialer, Role::Dialer)];
    let end = Instant::now() + time.mul_f32(0.9);
    let mut amount = 0;
    // Payments of somebody else, at a pace that fits the time.
    while Instant::now() < end && !lines.iter().any(thread::JoinHandle::is_finished) {
        amount += 1;
        let sum = amount.to_string();
        let payment = ["send-tx", &node.listening()[0], "--from", "ann", "--to", "bob", "--amount", &sum];
        let done = program(&payment).run();
        assert_eq!(done.code, 0, "{done:?}");
        thread::park_timeout(time / 60);
    }
    let peers = lines.map(|line| line.join().expect("it stays to the end"));
    let log = node.stop();
    assert!(!log.contains("banned"), "{log}");
    peers
}

fn tell(peers: &[StrictPeer; 2]) {
    for (peer, end) in peers.iter().zip(["dialed by the node", "dials the node"]) {
        println!("{:?}, {end}", peer.revision);
        println!("  heard {}", counts(&peer.heard));
        println!("  said  {}", counts(&peer.said));
    }
}

fn counts(counts: &std::collections::BTreeMap<u8, usize>) -> String {
    counts.iter().map(|(byte, count)| format!("0x{byte:02x} {count}")).collect::<Vec<_>>().join(", ")
}

const FAST: [&str; 6] = ["--heartbeat", "1s", "--idle-timeout", "40s", "--block-interval", "1"];

#[test]
fn strict_peers_of_both_revisions_stay_while_blocks_transactions_and_proofs_pass() {
    for revision in [Revision::First, Revision::Later] {
        let peers = meet(revision, Duration::from_secs(12), &FAST);
        tell(&peers);
        for peer in &peers {
            assert!(peer.heard[&0x31] >= 3 && peer.heard[&TRANSACTION] >= 1, "{:02x?}", peer.heard);
            let proofs = if revision == Revision::Later { 0x40 } else { 0x41 };
            assert!(peer.heard[&proofs] >= 1, "those of the other: {:02x?}", peer.heard);
            assert!(peer.heard.contains_key(&0x41), "{:02x?}", peer.heard);
            assert_eq!(peer.heard.contains_key(&PING), revision == Revision::Later, "{:02x?}", peer.heard);
        }
    }
}

/// An empty GetPeers, a NotFound or a pong without end would be the end of it.
#[test]
fn the_programs_questions_can_be_read_by_a_strict_later_peer() {
    for command in ["peers", "headers"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = Line::new(stream, Revision::Later, Role::Listener);
            // Until the question has left.
            loop {
                match line.stream.peek(&mut [0]) {
                    Ok(0) => break,
                    Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                    _ => line.turn(),
                }
            }
            line.peer
        });
        let done = program(&[command, &address]).run();
        assert_eq!(done.code, 0, "{command}: {done:?}");
        let peer = served.join().expect("it has read all that came");
        assert!(peer.heard.len() >= 2, "{command}: {:02x?}", peer.heard);
    }
}

/// `cargo test -p spacetime-node --test cli_strict_peer -- --ignored --nocapture`: ten minutes, with the counts of frames by type.
#[test]
#[ignore = "takes ten minutes"]
fn a_strict_later_peer_stays_for_ten_minutes_in_each_direction() {
    let peers = meet(Revision::Later, Duration::from_secs(600), &["--block-interval", "5"]);
    tell(&peers);
    for peer in &peers {
        assert!(peer.heard[&0x31] >= 60 && peer.heard[&0x41] >= 60 && peer.heard[&PING] >= 15, "{:02x?}", peer.heard);
    }
}
