//! A chain that judges later: what waits for it is bounded, and its word counts as if it had come at once.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::{Miner, Params, ReferenceChain};
use spacetime_network::close::CloseReason;
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::sync::chain::{
    Chain, CheckedBlock, Finished, HeaderError, HeaderInfo, Lookup, Tip, Verdict,
};
use spacetime_network::proto::{Command, Config, Event, Input, Node, Output};
use spacetime_network::source::Source;
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, Hash, Kind, Message, Payload};

use crate::world::introduction;

/// The reference chain behind a desk: every submission gets a number.
struct Desk {
    chain: ReferenceChain,
    tickets: u64,
    /// It reads blocks elsewhere, too.
    reads_later: bool,
    asked: Vec<Hash>,
    cancelled: Vec<u64>,
    finished: VecDeque<Finished>,
}

impl Desk {
    fn ticket(&mut self) -> Verdict {
        self.tickets += 1;
        Verdict::Pending(self.tickets)
    }
}

impl Chain for Desk {
    fn genesis(&self) -> Hash {
        self.chain.genesis()
    }
    fn best(&self) -> Tip {
        self.chain.best()
    }
    fn position(&self, hash: &Hash) -> Option<Tip> {
        self.chain.position(hash)
    }
    fn locator(&self) -> Vec<Hash> {
        self.chain.locator()
    }
    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
        self.chain.headers_after(locator, stop, max)
    }
    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.chain.block(hash)
    }
    fn check_header(&self, now: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.chain.check_header(now, header)
    }
    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.chain.check_block_header(now, block)
    }
    fn block_hash(&self, block: &[u8]) -> Option<Hash> {
        self.chain.block_hash(block)
    }
    fn accept_block(&mut self, _: UnixTime, _: CheckedBlock) -> Verdict {
        self.ticket()
    }
    fn look_up(&mut self, _: Source, hash: &Hash) -> Lookup {
        if !self.reads_later {
            return self.chain.block(hash).map_or(Lookup::Missing, Lookup::Here);
        }
        self.asked.push(*hash);
        self.tickets += 1;
        Lookup::Pending(self.tickets)
    }
    fn cancel(&mut self, ticket: u64) {
        self.cancelled.push(ticket);
    }
    fn poll(&mut self, _: UnixTime) -> Option<Finished> {
        self.finished.pop_front()
    }
    fn submit_transaction(&mut self, _: UnixTime, _: Bytes) -> Verdict {
        self.ticket()
    }
    fn transaction_id(&self, transaction: &[u8]) -> Option<Hash> {
        Some(self.chain.gossip_id(Kind::Transaction, transaction))
    }
    fn pool_ids(&self, _: usize) -> Vec<Hash> {
        Vec::new()
    }
    fn pool_transaction(&self, _: &Hash) -> Option<Bytes> {
        None
    }
    fn check_gossip(&mut self, _: UnixTime, _: Kind, _: &[u8]) -> Verdict {
        self.ticket()
    }
    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash {
        self.chain.gossip_id(kind, payload)
    }
}

struct Table {
    node: Node<Desk>,
    now: Now,
    /// What the node asked for since the last look.
    outputs: Vec<Output>,
}

impl Table {
    fn new() -> Self {
        let desk = Desk {
            chain: ReferenceChain::memory(Params::new(1, 50).unwrap()),
            tickets: 0,
            reads_later: false,
            asked: Vec::new(),
            cancelled: Vec::new(),
            finished: VecDeque::new(),
        };
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
        Table { node: Node::new(Config::default(), desk, 1, 1).unwrap(), now, outputs: Vec::new() }
    }

    fn desk(&mut self) -> &mut Desk {
        self.node.chain_mut()
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.outputs.extend(core::iter::from_fn(|| self.node.poll_output()));
    }

    fn outputs(&mut self) -> Vec<Output> {
        core::mem::take(&mut self.outputs)
    }

    fn guest(&mut self, n: u32) -> ConnId {
        let conn = ConnId::new(n, 0);
        let remote = format!("10.{n}.0.1:1").parse().unwrap();
        self.feed(Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None });
        self.say(conn, &introduction(&format!("guest-{n}"), 2, 0));
        self.say(conn, &Message::Headers(vec![]));
        self.heard();
        conn
    }

    fn say(&mut self, conn: ConnId, message: &Message<'_>) {
        let payload = Payload::Given(message.to_payload().unwrap());
        self.feed(Input::Frame { conn, frame: Frame { kind: message.kind() as u8, payload } });
    }

    fn verdict(&mut self, ticket: u64, verdict: Verdict) {
        self.feed(Input::Command(Command::Verdict(ticket, verdict)));
    }

    fn heard(&mut self) -> Vec<(ConnId, Kind)> {
        self.outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Send { conn, kind, .. } => Some((conn, kind)),
                _ => None,
            })
            .collect()
    }
}

/// Only a block whose parent was missed at once led to a question; one that was found out later led to nothing.
#[test]
fn a_block_that_proves_an_orphan_later_leads_to_a_question_all_the_same() {
    let mut table = Table::new();
    let mut theirs = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let mut bytes = Bytes::new();
    for _ in 0..2 {
        let mut block = theirs.template(table.now.unix, "eve", 1 << 20).unwrap();
        block.header = Miner::new(block.header).run(u64::MAX).unwrap();
        bytes = block.encode();
        assert!(matches!(theirs.submit_block(table.now.unix, bytes.clone()), Verdict::Accepted { .. }));
    }
    let guest = table.guest(1);
    table.say(guest, &Message::NewBlock(&bytes));
    assert_eq!(table.heard(), []);
    table.verdict(1, Verdict::Orphan { parent: Hash::ZERO });
    assert_eq!(table.heard(), [(guest, Kind::GetHeaders)]);
}

/// So many objects were kept, whatever their size: four thousand blocks of the largest size are 64 GiB.
#[test]
fn objects_that_wait_for_a_verdict_are_bounded_in_bytes_and_the_oldest_go() {
    let mut table = Table::new();
    let (from, to) = (table.guest(1), table.guest(2));
    for n in 0..100u8 {
        let mut bytes = vec![n; 1 << 20];
        bytes.truncate(Kind::Transaction.max_payload() as usize);
        table.say(from, &Message::Transaction(&bytes));
    }
    table.verdict(30, Verdict::Accepted { best_changed: false });
    assert_eq!(table.heard(), [], "forgotten, as if it never came");
    table.verdict(100, Verdict::Accepted { best_changed: false });
    assert_eq!(table.heard(), [(to, Kind::Transaction)]);
    table.verdict(100, Verdict::Accepted { best_changed: false });
    assert_eq!(table.heard(), [], "a number counts once");
}

/// The setting was read, but housekeeping saved each time too.
#[test]
fn known_peers_are_saved_as_often_as_the_settings_say() {
    let mut table = Table::new();
    let mut saves = 0;
    let end = table.now.at + Duration::from_secs(3_000);
    while table.now.at < end {
        table.feed(Input::Tick);
        saves += table.outputs().iter().filter(|output| matches!(output, Output::SavePeers)).count();
        table.now.at = table.node.deadline().unwrap();
    }
    assert_eq!(saves, 100, "at the start, then every thirty seconds");
}

/// A block goes to those who lack it once the chain has judged it, and somebody else had sent a copy of it meanwhile.
#[test]
fn a_block_that_two_peers_sent_while_it_was_judged_goes_back_to_neither() {
    let mut table = Table::new();
    let theirs = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let mut block = theirs.template(table.now.unix, "eve", 1 << 20).unwrap();
    block.header = Miner::new(block.header).run(u64::MAX).unwrap();
    let bytes = block.encode();
    let (one, two, three) = (table.guest(1), table.guest(2), table.guest(3));
    table.say(one, &Message::NewBlock(&bytes));
    table.say(two, &Message::NewBlock(&bytes));
    assert_eq!(table.heard(), []);
    table.verdict(1, Verdict::Accepted { best_changed: true });
    assert_eq!(table.heard(), [(three, Kind::NewBlock)]);
    table.verdict(2, Verdict::Known);
    assert_eq!((table.heard(), table.node.audit()), (vec![], Ok(())));
}

/// A block that is read elsewhere: its asker gets it when it is there, one at a time, also one that has said its last word; of one
/// that is gone the chain hears.
#[test]
fn a_block_that_is_read_elsewhere_goes_to_who_still_waits_for_it() {
    let mut table = Table::new();
    table.desk().reads_later = true;
    let (one, two, gone) = (table.guest(1), table.guest(2), table.guest(3));
    let hash = |n: u8| Hash([n; 32]);
    for conn in [one, two, gone] {
        table.say(conn, &Message::GetBlock(hash(1)));
        table.say(conn, &Message::GetBlock(hash(2)));
    }
    assert_eq!((table.heard(), table.desk().asked.len()), (vec![], 3), "one at a time for each of them");
    table.feed(Input::HalfClosed { conn: two });
    assert!(matches!(table.outputs()[..], [Output::Hold { .. }]));
    table.feed(Input::Closed { conn: gone, reason: CloseReason::RemoteClosed });
    assert_eq!(table.desk().cancelled, [3]);
    table.outputs();
    table.desk().finished.extend([
        Finished::Read(1, Some(Bytes::from_static(b"one"))),
        Finished::Read(2, None),
        Finished::Read(3, Some(Bytes::from_static(b"nobody"))),
    ]);
    table.feed(Input::TurnEnded);
    assert_eq!(table.heard(), [(one, Kind::Block), (two, Kind::NotFound)]);
    assert_eq!(table.desk().asked.len(), 4, "the second one's next; the first one's waits for room");
    table.feed(Input::SendAccepted { conn: one });
    assert_eq!(table.desk().asked, [hash(1), hash(1), hash(1), hash(2), hash(2)]);
    table.desk().finished.extend([Finished::Read(4, None), Finished::Read(5, None)]);
    table.feed(Input::TurnEnded);
    let last = table.outputs();
    assert!(last.iter().any(|output| matches!(output, Output::Release { conn } if *conn == two)), "{last:?}");
    assert_eq!(table.node.audit(), Ok(()));
}

/// A block whose place was taken by others while it was judged moved the chain, and neither peers nor the embedder heard of it.
#[test]
fn a_verdict_on_what_was_forgotten_meanwhile_still_tells_that_the_chain_moved() {
    let mut table = Table::new();
    table.guest(1);
    let tips = |table: &mut Table| {
        table.outputs().iter().filter(|output| matches!(output, Output::Event(Event::NewTip(_)))).count()
    };
    table.verdict(99, Verdict::Accepted { best_changed: false });
    assert_eq!(tips(&mut table), 0);
    table.verdict(99, Verdict::Accepted { best_changed: true });
    assert_eq!(tips(&mut table), 1);
}
