//! The program: three processes on loopback, and the library's chain told to one, line by line.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use spacetime_example::client::{public_key, take_chain};
use spacetime_example::codec::{from_hex, to_hex};
use spacetime_example::format::Block;
use spacetime_example::genesis::Genesis;
use spacetime_network::wire::message::{Extension, Handshake, Ping};
use spacetime_network::wire::{Hash, Kind, Message};

const PROGRAM: &str = env!("CARGO_BIN_EXE_spacetime-example");
/// A machine that is busy must not fail a test; one that hangs must.
const PATIENCE: Duration = Duration::from_secs(120);

fn output(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A node that runs until it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.map_while(Result::ok).take(3).collect();
        assert!(lines.len() == 3 && lines[0].starts_with("node ") && lines[2] == "ready", "{lines:?}");
        let address = lines[1].strip_prefix("listening ").unwrap().parse().unwrap();
        Running { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// On a busy machine the farmers parted for good once, in some of a hundred runs: they filled the rest of each second with blocks, and
/// a branch of a hundred is too deep to be left.
#[test]
fn three_nodes_with_two_farmers_pay_each_other_and_one_that_is_killed_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { directory.path().join(name) };
    for name in ["alice.key", "bob.key", "carol.key"] {
        fs::write(file(name), output(&["key"])).unwrap();
    }
    let grant = format!("{}=1000", text(&file("alice.key")));
    let json = output(&["genesis", "--network", "trial", "--difficulty", "50", "--grant", &grant]);
    let mut genesis: Genesis = serde_json::from_str(&json).unwrap();
    genesis.target_block_time = 1;
    fs::write(file("genesis.json"), serde_json::to_string(&genesis).unwrap()).unwrap();
    let plots = [file("alice.plot"), file("bob.plot")];
    for (plot, key) in plots.iter().zip(["alice.key", "bob.key"]) {
        let said = output(&["plot", text(plot), "--key", text(&file(key)), "--size", "64KiB"]);
        assert!(said.contains(" leaves 2048 "), "{said}");
    }
    let net = file("genesis.json");
    let (data, net) = (file("data"), text(&net));
    let first = Running::start(&["--genesis", net, "--data-dir", text(&data)]);
    let connect = first.address.to_string();
    let farmer = |plot: &PathBuf| Running::start(&["--genesis", net, "--connect", &connect, "--farm", text(plot)]);
    let farmers = [farmer(&plots[0]), farmer(&plots[1])];
    let carol = file("carol.key");
    let sent = output(&[
        "send",
        "--genesis",
        net,
        "--connect",
        &connect,
        "--key",
        text(&file("alice.key")),
        "--to",
        text(&carol),
        "--amount",
        "100",
        "--fee",
        "7",
    ]);
    assert!(sent.starts_with("sent "), "{sent}");
    let carol = public_key(text(&carol)).unwrap();
    let owners = ["alice.key", "bob.key"].map(|name| public_key(text(&file(name))).unwrap());
    let begun = Instant::now();
    let paid_at = loop {
        let taken = take_chain(&genesis, farmers[1].address).unwrap();
        let ledger = taken.protocol().node().chain().ledger();
        let headers = (1..=ledger.best().height).filter_map(|height| ledger.at_height(height));
        let miners: BTreeSet<_> = headers.map(|(header, _)| header.miner).collect();
        assert!(miners.iter().all(|miner| owners.contains(miner)));
        let coins: i64 = ledger.accounts().iter().map(|(_, account)| account.balance).sum();
        assert_eq!(coins, 1000);
        if miners.len() == 2 && ledger.accounts().get(&carol).balance == 100 {
            break ledger.best().height;
        }
        assert!(begun.elapsed() < PATIENCE, "{miners:?}, height {}", ledger.best().height);
    };
    // Everybody has the same, and the one that keeps its chain has it after a kill too.
    let balances = output(&["balances", "--genesis", net, "--connect", &connect]);
    assert!(balances.contains(&format!("{} balance 100 nonce 0", to_hex(&carol))), "{balances}");
    farmers.into_iter().for_each(Running::kill);
    let begun = Instant::now();
    // What it was told last may be under way to the disk.
    while take_chain(&genesis, first.address).unwrap().protocol().node().chain().ledger().best().height < paid_at {
        assert!(begun.elapsed() < PATIENCE);
    }
    let before = output(&["balances", "--genesis", net, "--connect", &connect]);
    first.kill();
    let again = Running::start(&["--genesis", net, "--data-dir", text(&data)]);
    let after = output(&["balances", "--genesis", net, "--connect", &again.address.to_string()]);
    assert!(after.contains(&format!("{} balance 100 nonce 0", to_hex(&carol))), "{before}\n{after}");
}

/// A peer that speaks frames.
struct Peer(TcpStream);

impl Peer {
    /// Greets; answers the peer and where the node's chain ends.
    fn greet(address: SocketAddr, nonce: u64) -> (Self, Hash) {
        let mut peer = Peer(TcpStream::connect(address).unwrap());
        peer.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let (network, best_hash) = (Hash::ZERO, Hash::ZERO);
        let extension =
            Extension { network, nonce, listening_port: 0, features: 0, best_height: 0, best_hash, seen: None };
        let name = format!("teller {nonce}");
        let (node_id, user_agent) = (name.as_str(), "test");
        let extension = Some(extension);
        peer.say(&Message::Handshake(Handshake { version: 2, unix_seconds: 0, node_id, user_agent, extension }));
        let (kind, payload) = peer.hear().unwrap();
        let Ok(Message::HandshakeAck(Some(ack))) = Message::decode(kind, &payload) else { panic!("{kind:?}") };
        let best = ack.extension.unwrap().best_hash;
        (peer, best)
    }

    fn say(&mut self, message: &Message<'_>) {
        let mut frame = Vec::new();
        message.encode(&mut frame).unwrap();
        // A node that has closed is heard of below.
        let _ = self.0.write_all(&frame);
    }

    fn hear(&mut self) -> Option<(Kind, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let len = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let mut payload = vec![0; len - 1];
        self.0.read_exact(&mut payload).ok()?;
        Some((Kind::from_byte(head[4]).unwrap(), payload))
    }

    /// Tells a block; answers whether the connection outlives that.
    fn tell(&mut self, block: &[u8]) -> bool {
        self.say(&Message::NewBlock(block));
        self.say(&Message::Ping(Ping { nonce: 7, unix_millis: 0 }));
        while let Some((kind, _)) = self.hear() {
            if kind == Kind::Pong {
                return true;
            }
        }
        false
    }
}

#[test]
fn a_node_takes_and_refuses_every_line_of_the_librarys_chain_over_the_wire() {
    let lines: Vec<&str> = include_str!("data/chain.txt").lines().collect();
    let field = |line: &'static str, name: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.unwrap_or_else(|| panic!("{name} in {line}"))
    };
    let genesis = *lines.iter().find(|line| line.starts_with("genesis ")).unwrap();
    let genesis = Genesis {
        network: field(genesis, "network=").to_owned(),
        block: field(genesis, "block=").to_owned(),
        target_block_time: 10,
        adjustment_interval: 8,
        dampening: 4,
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("genesis.json");
    fs::write(&path, serde_json::to_string(&genesis).unwrap()).unwrap();
    let node = Running::start(&["--genesis", text(&path)]);
    let (mut nonce, mut best, mut counts) = (1, genesis.decoded().unwrap().1.header.hash(), (0, 0));
    let mut greet = || {
        nonce += 1;
        Peer::greet(node.address, nonce)
    };
    for line in lines {
        let (what, bytes) = (line.split_whitespace().next().unwrap(), line.rsplit_once("block=").map(|(_, hex)| hex));
        let Some(bytes) = bytes.and_then(from_hex).filter(|_| what != "genesis") else { continue };
        let (mut peer, end) = greet();
        assert_eq!(end, Hash(best), "{}", &line[..60]);
        let lives = peer.tell(&bytes);
        if what == "block" {
            assert!(lives);
            best = Block::decode(&bytes).unwrap().header.hash();
            counts.0 += 1;
        } else {
            // A time too far ahead is nobody's fault. The other parent is not here, but its challenge would be another one too.
            let kind = field(line, "kind=");
            assert_eq!(lives, kind == "future", "{kind}");
            counts.1 += 1;
        }
    }
    assert_eq!((counts, greet().1), ((24, 21), Hash(best)));
    let taken = take_chain(&genesis, node.address).unwrap();
    let accounts = taken.protocol().node().chain().ledger().accounts();
    for line in include_str!("data/chain.txt").lines().filter(|line| line.starts_with("account ")) {
        let key = public_key(line.split_whitespace().nth(1).unwrap()).unwrap();
        let account = accounts.get(&key);
        assert_eq!(account.balance, field(line, "balance=").parse::<i64>().unwrap());
        assert_eq!(account.nonce, field(line, "nonce=").parse::<i64>().unwrap());
    }
}
