//! The contract with a driver: what it is asked, what it need not say, and what comes of a driver that breaks it.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::{Miner, Params, ReferenceChain};
use spacetime_network::close::CloseReason;
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::sync::chain::{Chain, CheckedBlock, HeaderError, HeaderInfo, Tip, Verdict};
use spacetime_network::proto::{Admit, Command, Config, Event, Input, Node, Output, Received};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, FrameError, Hash, Kind, Message, Payload};

use crate::world::introduction;

const PEER: ConnId = ConnId::new(1, 0);

/// A driver that carries nothing out, and remembers what it should have.
struct Hand {
    node: Node<ReferenceChain>,
    now: Now,
}

impl Hand {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
        let node = Node::new(config, ReferenceChain::memory(Params::new(1, 50).unwrap()), 1, 1).unwrap();
        let mut hand = Hand { node, now };
        hand.feed(Input::Tick);
        hand
    }

    /// One whose peer has introduced itself in `version`.
    fn with_peer(version: u8) -> Self {
        let mut hand = Hand::new(|config| config.outbound = 0);
        let remote = "10.1.0.1:1".parse().unwrap();
        assert_eq!(hand.node.admit(hand.now, remote), Admit::Accept);
        hand.feed(Input::Opened { conn: PEER, remote, local: None, direction: Direction::Inbound, identity: None });
        hand.say(&introduction("peer", version, 0));
        hand.say(&Message::Headers(vec![]));
        hand
    }

    fn drain(&mut self) -> Vec<Output> {
        core::iter::from_fn(|| self.node.poll_output()).collect()
    }

    fn feed(&mut self, input: Input<'_>) -> Vec<Output> {
        self.node.handle(self.now, input);
        core::iter::from_fn(|| self.node.poll_output()).collect()
    }

    fn say(&mut self, message: &Message<'_>) -> Vec<Output> {
        let payload = Payload::Given(message.to_payload().unwrap());
        self.feed(Input::Frame { conn: PEER, frame: Frame { kind: message.kind() as u8, payload } })
    }

    /// To the next deadline.
    fn tick(&mut self) -> Vec<Output> {
        let at = self.node.deadline().unwrap();
        self.now.at = self.now.at.max(at);
        self.feed(Input::Tick)
    }
}

fn counts(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::CountReceived { .. })).count()
}

fn closed(outputs: &[Output]) -> Option<CloseReason> {
    outputs.iter().find_map(|output| match output {
        Output::Close { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn only_blocks_are_worth_a_report_and_every_other_send_costs_no_input() {
    let mut hand = Hand::with_peer(2);
    let mut block = hand.node.chain().template(hand.now.unix, "miner", 1 << 20).unwrap();
    block.header = Miner::new(block.header).run(u64::MAX).unwrap();
    let hash = block.header.hash();
    let mut outputs = hand.feed(Input::Command(Command::SubmitBlock(block.encode())));
    outputs.extend(hand.say(&Message::GetBlock(hash)));
    outputs.extend(hand.say(&Message::GetBlock(Hash([9; 32]))));
    let sends: Vec<(Kind, bool)> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send { kind, report, .. } => Some((*kind, *report)),
            _ => None,
        })
        .collect();
    assert_eq!(sends, [(Kind::NewBlock, false), (Kind::Block, true), (Kind::NotFound, false)]);
}

#[test]
fn a_close_carries_the_last_error_and_how_long_to_drain() {
    let close = |outputs: Vec<Output>| {
        outputs.into_iter().find_map(|output| match output {
            Output::Close { reason, last_error, drain, .. } => Some((reason, last_error, drain)),
            _ => None,
        })
    };
    let error = FrameError::UnknownType(0xee);
    let bad = Hand::with_peer(2).feed(Input::BadFrame { conn: PEER, error });
    let text = Bytes::from_static(b"unknown message type");
    assert_eq!(close(bad), Some((CloseReason::Frame(error), Some(text), Duration::from_millis(500))));
    let asked = Hand::with_peer(2).feed(Input::Command(Command::Disconnect("10.1.0.1:1".parse().unwrap())));
    assert_eq!(close(asked), Some((CloseReason::Requested, None, Duration::from_secs(2))), "no fault, no last word");
}

/// Whether a Block may come is known before it does: from the first question for one on until each question has its answer,
/// however late that is.
#[test]
fn a_block_passes_the_rules_from_the_question_for_it_until_its_answer_and_no_longer() {
    let mut theirs = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let mut hand = Hand::with_peer(2);
    let mut blocks = Vec::new();
    for _ in 0..2 {
        let mut block = theirs.template(hand.now.unix, "miner", 1 << 20).unwrap();
        block.header = Miner::new(block.header).run(u64::MAX).unwrap();
        blocks.push(block.encode());
        assert_eq!(theirs.submit_block(hand.now.unix, block.encode()), Verdict::Accepted { best_changed: true });
    }
    let headers = theirs.headers_after(&mut core::iter::empty(), None, 10);
    let headers: Vec<&[u8]> = headers.iter().map(|header| &header[..]).collect();
    let may = |outputs: &[Output]| {
        let rules = outputs.iter().filter_map(|output| match output {
            Output::Rules { rules, .. } => Some(rules.max_payload(Kind::Block as u8).is_some()),
            _ => None,
        });
        rules.last()
    };
    let asked = |outputs: &[Output]| {
        outputs.iter().filter(|output| matches!(output, Output::Send { kind: Kind::GetBlock, .. })).count()
    };
    let outputs = hand.say(&Message::Headers(headers));
    assert_eq!((asked(&outputs), may(&outputs)), (2, Some(true)));
    // Both are late, and closing is far: the answer to an old question is no violation.
    hand.now.at = hand.now.at + Duration::from_secs(31);
    assert_ne!(may(&hand.feed(Input::Tick)), Some(false));
    assert_eq!(hand.node.connected().count(), 1, "it is late, and still there");
    let first = hand.say(&Message::Block(&blocks[0]));
    assert_ne!(may(&first), Some(false), "one answer is still to come");
    let second = hand.say(&Message::Block(&blocks[1]));
    assert_eq!((closed(&second), hand.node.chain().best().height), (None, 2));
    let error = FrameError::UnknownType(Kind::Block as u8);
    let outputs = Hand::with_peer(2).feed(Input::BadFrame { conn: PEER, error });
    assert_eq!(closed(&outputs), Some(CloseReason::UnrequestedBlock));
    let mut hand = Hand::with_peer(2);
    let headers = theirs.headers_after(&mut core::iter::empty(), None, 10);
    hand.say(&Message::Headers(headers.iter().map(|header| &header[..]).collect()));
    assert_eq!(may(&hand.say(&Message::Block(&blocks[0]))), None);
    assert_eq!(may(&hand.say(&Message::Block(&blocks[1]))), Some(false), "nothing is asked any more");
}

/// Between the question and its answer the deadline was to be in the past, and a loop would have spun.
#[test]
fn a_question_moves_the_deadline_whether_it_is_answered_or_not() {
    let mut hand = Hand::with_peer(2);
    while counts(&hand.tick()) == 0 {}
    assert!(hand.node.deadline().unwrap() > hand.now.at);
    let heartbeat =
        hand.feed(Input::Received { conn: PEER, received: Received { bytes: 100, frames: 1, ..Received::default() } });
    assert!(matches!(
        heartbeat[..],
        [Output::Send { kind: Kind::Heartbeat, .. }, Output::Send { kind: Kind::Ping, .. }]
    ));
    assert!(hand.node.deadline().unwrap() > hand.now.at);
}

#[test]
fn a_driver_that_never_says_what_came_loses_its_silent_peers_a_second_later_all_the_same() {
    for (version, reason, limit) in [(1, CloseReason::IdleTimeout, 91), (2, CloseReason::PingTimeout, 62)] {
        let mut hand = Hand::with_peer(version);
        let begun = hand.now.at;
        let mut ticks = 0;
        let found = loop {
            let outputs = hand.tick();
            ticks += 1;
            assert!(ticks < 100, "the loop spins");
            if let Some(found) = closed(&outputs) {
                break found;
            }
        };
        assert_eq!(found, reason);
        assert!(hand.now.at.since(begun) <= Duration::from_secs(limit), "{:?}", hand.now.at.since(begun));
    }
}

#[test]
fn an_answer_that_nobody_asked_for_changes_nothing() {
    let mut hand = Hand::with_peer(2);
    for (conn, bytes) in [(PEER, 7), (ConnId::new(9, 9), 7), (PEER, u64::MAX), (PEER, 0)] {
        let outputs = hand.feed(Input::Received { conn, received: Received { bytes, ..Received::default() } });
        assert!(outputs.is_empty(), "{outputs:?}");
    }
}

#[test]
fn the_place_of_an_admitted_address_is_free_again_once_it_is_released() {
    let mut hand = Hand::new(|config| {
        config.outbound = 0;
        config.admission.connections_max = 1;
        config.admission.inbound_max = 1;
    });
    let (first, second) = ("10.1.0.1:1".parse().unwrap(), "10.2.0.1:1".parse().unwrap());
    assert_eq!(hand.node.admit(hand.now, first), Admit::Accept);
    let refused = hand.node.admit(hand.now, second);
    assert!(
        matches!(refused, Admit::TurnAway(frame) if frame.ends_with(b"too many connections")),
        "one as alone came first"
    );
    let told = hand.drain();
    assert!(matches!(told[..], [Output::Event(Event::TurnedAway { why: "connections", .. })]), "{told:?}");
    hand.now.at = hand.now.at + Duration::from_secs(2);
    assert_eq!(hand.node.admit(hand.now, second), Admit::Evict(first), "but takes long");
    assert_eq!(hand.node.counters().turned_away.values().sum::<u64>(), 1, "who is asked about again is not refused");
    let reason = CloseReason::LimitReached;
    let told = hand.feed(Input::AdmissionReleased { remote: first, reason });
    assert!(matches!(told[..], [Output::Event(Event::HandshakeFailed { remote, .. })] if remote == first), "{told:?}");
    assert_eq!(hand.node.admit(hand.now, second), Admit::Accept);
}

/// Of a hundred friends who dialed at the same moment those were refused who came while 64 others had not said yet who they are.
#[test]
fn who_comes_while_friends_introduce_themselves_waits_and_a_crowd_does_not() {
    let mut hand = Hand::new(|config| {
        config.outbound = 0;
        config.admission.pending_max = 4;
    });
    let come = |hand: &mut Hand, n: u32, from: &str| {
        let (conn, remote) = (ConnId::new(n, 0), from.parse().unwrap());
        let answer = hand.node.admit(hand.now, remote);
        let told = hand.drain();
        if answer == Admit::Accept {
            hand.feed(Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None });
        }
        (answer, told)
    };
    for n in 0..4 {
        assert_eq!(come(&mut hand, n, &format!("60.{n}.0.1:1")).0, Admit::Accept);
    }
    let (waits, told) = come(&mut hand, 4, "61.0.0.1:1");
    assert!(matches!(waits, Admit::Wait(last) if last.ends_with(b"too many connections")), "{waits:?}");
    assert!(told.is_empty() && hand.node.counters().turned_away.is_empty(), "he is not refused: {told:?}");
    assert!(matches!(come(&mut hand, 5, "61.0.0.1:1").0, Admit::Wait(_)), "and may be asked about again and again");
    let told = hand.feed(Input::WaitedInVain { remote: "61.0.0.1:1".parse().unwrap() });
    assert!(matches!(told[..], [Output::Event(Event::TurnedAway { why: "pending", .. })]), "{told:?}");
    // One has introduced himself.
    let greeting = introduction("friend", 2, 0);
    let payload = Payload::Given(greeting.to_payload().unwrap());
    hand.feed(Input::Frame { conn: ConnId::new(0, 0), frame: Frame { kind: greeting.kind() as u8, payload } });
    assert_eq!(come(&mut hand, 6, "61.0.0.1:1").0, Admit::Accept);
    // Nobody waits for a silent one: it had time enough.
    hand.now.at = hand.now.at + Duration::from_secs(2);
    assert_eq!(come(&mut hand, 7, "62.0.0.1:1").0, Admit::Accept);
    assert_eq!(hand.node.audit(), Ok(()));
}

/// Two hundred strange lengths held the places of two hundred strangers for half a second each, the time that their last words
/// may take: none of ten honest newcomers got in meanwhile.
#[test]
fn who_is_being_closed_holds_no_place_and_still_counts_for_where_it_came_from() {
    let mut hand = Hand::new(|config| config.outbound = 0);
    let come = |hand: &mut Hand, n: u32, from: &str| {
        let (conn, remote) = (ConnId::new(n, 0), from.parse().unwrap());
        let answer = hand.node.admit(hand.now, remote);
        hand.drain();
        if answer == Admit::Accept {
            hand.feed(Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None });
        }
        (answer, conn)
    };
    let error = FrameError::UnknownType(0x77);
    for n in 0..200 {
        let (answer, conn) = come(&mut hand, n, &format!("60.{n}.0.1:1"));
        assert_eq!(answer, Admit::Accept, "the stranger {n}, while all before him are being closed");
        assert_eq!(closed(&hand.feed(Input::BadFrame { conn, error })), Some(CloseReason::Frame(error)));
        assert_eq!((hand.node.session_count(), hand.node.audit()), (n as usize + 1, Ok(())));
    }
    assert_eq!(come(&mut hand, 200, "50.0.0.1:1").0, Admit::Accept, "an honest one");
    // Four connections from one address, and it has no more however many of them are being closed.
    for n in 201..205 {
        let (answer, conn) = come(&mut hand, n, &format!("51.0.0.1:{n}"));
        assert_eq!(answer, Admit::Accept);
        hand.feed(Input::BadFrame { conn, error });
    }
    hand.now.at = hand.now.at + Duration::from_secs(3);
    assert_ne!(come(&mut hand, 205, "51.0.0.1:205").0, Admit::Accept);
    hand.feed(Input::Closed { conn: ConnId::new(204, 0), reason: CloseReason::Frame(error) });
    assert_eq!(come(&mut hand, 206, "51.0.0.1:206").0, Admit::Accept);
    assert_eq!(hand.node.audit(), Ok(()));
}

/// A limit per address or a rate was answered with a reset, as by a dead machine: a health check could not tell them apart.
#[test]
fn who_comes_too_often_is_told_so_a_few_times_and_a_flood_hears_nothing() {
    let mut hand = Hand::new(|config| config.outbound = 0);
    let comes = |hand: &mut Hand, address: &str| {
        let answer = hand.node.admit(hand.now, address.parse().unwrap());
        hand.drain();
        answer
    };
    let is_told = |answer: Admit| matches!(answer, Admit::TurnAway(frame) if frame.ends_with(b"too many connections from this address"));
    // Four connections of one address are its part.
    for port in 1..=4 {
        assert_eq!(comes(&mut hand, &format!("11.6.0.1:{port}")), Admit::Accept);
    }
    let answers: Vec<Admit> = (5..=50).map(|port| comes(&mut hand, &format!("11.6.0.1:{port}"))).collect();
    assert!(answers[..5].iter().all(|answer| is_told(*answer)), "{answers:?}");
    assert!(answers[5..].iter().all(|answer| *answer == Admit::Refuse), "{answers:?}");
    hand.now.at = hand.now.at + Duration::from_secs(1);
    assert!(is_told(comes(&mut hand, "11.6.0.1:52")), "a second later, again");

    // A flood from many addresses gets as many answers as one loop can spare, whoever they are.
    let mut told = 0;
    for n in 0..100 {
        for port in 1..=6 {
            told += usize::from(is_told(comes(&mut hand, &format!("12.{n}.0.1:{port}"))));
        }
    }
    assert!((1..=20).contains(&told), "{told}");
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "all outputs are carried out before the next input")]
fn an_input_before_the_last_one_is_drained_is_a_fault_of_the_driver() {
    let mut hand = Hand::new(|_| {});
    hand.node.handle(hand.now, Input::Command(Command::Stop));
    hand.node.handle(hand.now, Input::TurnEnded);
}

/// Counts the ends of turns.
struct Turns(u32);

impl Chain for Turns {
    fn genesis(&self) -> Hash {
        Hash::ZERO
    }
    fn best(&self) -> Tip {
        Tip { hash: Hash::ZERO, height: 0, work: 0 }
    }
    fn position(&self, _: &Hash) -> Option<Tip> {
        None
    }
    fn locator(&self) -> Vec<Hash> {
        vec![Hash::ZERO]
    }
    fn headers_after(&self, _: &mut dyn Iterator<Item = Hash>, _: Option<Hash>, _: usize) -> Vec<Bytes> {
        Vec::new()
    }
    fn block(&self, _: &Hash) -> Option<Bytes> {
        None
    }
    fn check_header(&self, _: UnixTime, _: &[u8]) -> Result<HeaderInfo, HeaderError> {
        Err(HeaderError::Early)
    }
    fn check_block_header(&self, _: UnixTime, _: &[u8]) -> Result<HeaderInfo, HeaderError> {
        Err(HeaderError::Early)
    }
    fn block_hash(&self, _: &[u8]) -> Option<Hash> {
        None
    }
    fn accept_block(&mut self, _: UnixTime, _: CheckedBlock) -> Verdict {
        Verdict::Ignored("no blocks")
    }
    fn submit_transaction(&mut self, _: UnixTime, _: Bytes) -> Verdict {
        Verdict::Ignored("no transactions")
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
    fn check_gossip(&mut self, _: UnixTime, _: Kind, _: &[u8]) -> Verdict {
        Verdict::Ignored("no gossip")
    }
    fn gossip_id(&self, _: Kind, _: &[u8]) -> Hash {
        Hash::ZERO
    }
    fn turn_ended(&mut self) {
        self.0 += 1;
    }
}

/// The contract did not name it, and without it the reference store never wrote.
#[test]
fn the_end_of_a_turn_reaches_the_chain_and_nobody_else() {
    let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
    let mut node = Node::new(Config::default(), Turns(0), 1, 1).unwrap();
    node.handle(now, Input::Tick);
    while node.poll_output().is_some() {}
    let deadline = node.deadline();
    for turn in 1..=3 {
        node.handle(now, Input::TurnEnded);
        assert_eq!(node.chain().0, turn);
        assert!(node.poll_output().is_none());
    }
    assert_eq!(node.deadline(), deadline);
}
