//! A chain of one's own in a hundred lines: numbered records, no proof of work, held in memory.
//!
//! Two nodes on real sockets: one has a hundred records, the other none, and catches up.
//!
//! ```text
//! cargo run --no-default-features --example own_chain
//! ```

use std::io;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::driver;
use spacetime_network::driver::node::{NodeCommand, NodeDriver, NodeProtocol, Observer};
use spacetime_network::proto::sync::chain::{Chain, CheckedBlock, HeaderError, HeaderInfo, Rejection, Tip, Verdict};
use spacetime_network::proto::{Command, Config, Event, Node};
use spacetime_network::time::{Now, UnixTime};
use spacetime_network::wire::{Hash, Kind};

/// A record is 32 bytes of its parent's hash, its number, and a text. Its header is the whole record.
struct Records(Vec<Bytes>);

/// FNV-1a with four starts: enough to name records among friends, not to resist anybody.
fn fnv(bytes: &[u8]) -> Hash {
    let mut hash = Hash::ZERO;
    for (lane, part) in (0u64..).zip(hash.0.chunks_exact_mut(8)) {
        let start = 0xcbf2_9ce4_8422_2325 ^ lane;
        let sum = bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        part.copy_from_slice(&sum.to_le_bytes());
    }
    hash
}

impl Records {
    fn new() -> Self {
        Records(vec![[&[0; 40][..], b"the beginning"].concat().into()])
    }

    fn write(&mut self, text: &str) {
        let tip = self.best();
        let record = [&tip.hash.0[..], &(tip.height + 1).to_le_bytes(), text.as_bytes()].concat();
        self.0.push(record.into());
    }

    fn tip(&self, number: usize) -> Tip {
        let hash = self.0.get(number).map_or(Hash::ZERO, |record| fnv(record));
        Tip { hash, height: number as u64, work: number as u128 }
    }
}

impl Chain for Records {
    fn genesis(&self) -> Hash {
        self.tip(0).hash
    }

    fn best(&self) -> Tip {
        self.tip(self.0.len() - 1)
    }

    fn position(&self, hash: &Hash) -> Option<Tip> {
        (0..self.0.len()).rev().map(|number| self.tip(number)).find(|tip| tip.hash == *hash)
    }

    fn locator(&self) -> Vec<Hash> {
        (0..self.0.len()).rev().take(65).map(|number| self.tip(number).hash).collect()
    }

    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
        let start = locator.filter_map(|hash| self.position(&hash)).next().map_or(0, |tip| tip.height as usize);
        let end = stop.and_then(|hash| self.position(&hash)).map_or(usize::MAX, |tip| tip.height as usize);
        let numbered = self.0.iter().enumerate().skip(start + 1).take(max);
        numbered.take_while(|(number, _)| *number <= end).map(|(_, record)| record.clone()).collect()
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.position(hash).and_then(|tip| self.0.get(tip.height as usize).cloned())
    }

    fn check_header(&self, _: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        let short = HeaderError::Invalid(Rejection::invalid("a record has at least 40 bytes"));
        let (previous, rest) = header.split_first_chunk().ok_or(short)?;
        let (number, _) = rest.split_first_chunk().ok_or(short)?;
        let height = u64::from_le_bytes(*number);
        Ok(HeaderInfo { hash: fnv(header), previous: Hash(*previous), height, work: 1 })
    }

    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.check_header(now, block)
    }

    fn block_hash(&self, block: &[u8]) -> Option<Hash> {
        Some(fnv(block))
    }

    fn accept_block(&mut self, _: UnixTime, block: CheckedBlock) -> Verdict {
        let (best, header) = (self.best(), block.header());
        if self.position(&header.hash()).is_some() {
            Verdict::Known
        } else if header.previous() == best.hash && header.height() == best.height + 1 {
            self.0.push(block.into_bytes());
            Verdict::Accepted { best_changed: true }
        } else if self.position(&header.previous()).is_none() {
            Verdict::Orphan { parent: header.previous() }
        } else {
            Verdict::Ignored("records do not branch")
        }
    }

    fn submit_transaction(&mut self, _: UnixTime, _: Bytes) -> Verdict {
        Verdict::Ignored("records have no transactions")
    }

    fn transaction_id(&self, _: &[u8]) -> Option<Hash> {
        None
    }

    fn pool_ids(&self, _: usize) -> Vec<Hash> {
        Vec::new()
    }

    fn pool_transaction(&self, _: &Hash) -> Option<Bytes> {
        None
    }

    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash {
        fnv(&[&[kind as u8], payload].concat())
    }

    fn check_gossip(&mut self, _: UnixTime, _: Kind, _: &[u8]) -> Verdict {
        Verdict::Ignored("records have no gossip")
    }
}

/// A node on such a chain that tells how far it has come.
fn node(name: &str, chain: Records, wanted: u64) -> io::Result<NodeDriver<Records, impl Observer<Records>>> {
    let mut config = Config::default();
    config.node_id = name.to_owned();
    let nonce = u64::from_le_bytes(*fnv(name.as_bytes()).0.first_chunk().unwrap_or(&[0; 8]));
    let name = name.to_owned();
    let observer = move |_now: Now, event: &Event, node: &Node<Records>| {
        if let Event::NewTip(tip) = event {
            if tip.height % 25 == 0 || tip.height > wanted {
                println!("{name} has record {} and {} peer(s)", tip.height, node.connected().count());
            }
            if tip.height == wanted {
                println!("{name} has caught up: {}", tip.hash);
            }
        }
    };
    let node = Node::new(config, chain, nonce, nonce).map_err(io::Error::other)?;
    NodeDriver::new(driver::Config::default(), NodeProtocol::new(node, observer))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut old = Records::new();
    (1..=100).for_each(|number| old.write(&format!("record {number}")));
    let end = old.best();

    // 1. Two nodes, one loop each; this thread turns both. A program with threads calls `run` on each instead.
    let mut server = node("server", old, end.height)?;
    let mut client = node("client", Records::new(), end.height)?;
    // 2. One listens on a free port, the other is told to stay connected to it.
    let address = server.listen("127.0.0.1:0".parse()?)?;
    client.handle().send(NodeCommand::Do(Command::Connect(address))).map_err(|_| "the loop is full")?;
    // 3. The client greets, asks for headers, fetches the records and checks each.
    while client.protocol().node().chain().best() != end {
        server.turn(Some(Duration::from_millis(1)))?;
        client.turn(Some(Duration::from_millis(1)))?;
    }
    // 4. A record written from now on is passed on by itself.
    let mut longer = Records(client.protocol().node().chain().0.clone());
    longer.write("one more");
    let last = longer.0.last().cloned().ok_or("no record")?;
    client.handle().send(NodeCommand::Do(Command::SubmitBlock(last))).map_err(|_| "the loop is full")?;
    while server.protocol().node().chain().best() != longer.best() {
        client.turn(Some(Duration::from_millis(1)))?;
        server.turn(Some(Duration::from_millis(1)))?;
    }
    assert_eq!(server.protocol().node().chain().best(), client.protocol().node().chain().best());
    Ok(())
}
