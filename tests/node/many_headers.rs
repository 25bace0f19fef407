//! An answer to a question for many headers: one frame after the other, between two that both say so.

use bytes::Bytes;

use spacetime_network::chain::block::HEADER_LEN;
use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::close::CloseReason;
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::proto::{Command, Config, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::{Extension, GetHeaders};
use spacetime_network::wire::{DecodeError, Frame, Hash, Kind, Message, Payload};

use crate::world::introduction;

const PEER: ConnId = ConnId::new(1, 0);
const BOTH: u64 = Extension::WAITS_WITH_ANSWERS | Extension::TELLS_MANY_HEADERS;
const NOW: UnixTime = UnixTime::from_millis(1_800_000_000_000);

/// A chain without work to search, of so many blocks that this one has mined on the first `shared` of another.
fn grow(count: usize, miner: &str, on: &[Bytes]) -> (ReferenceChain, Vec<Bytes>) {
    let mut chain = ReferenceChain::memory(Params::new(0, 50).unwrap());
    let mut blocks = on.to_vec();
    for block in on {
        assert_eq!(chain.submit_block(NOW, block.clone()), Verdict::Accepted { best_changed: true });
    }
    while blocks.len() < count {
        let block = chain.template(NOW, miner, 1 << 10).unwrap().encode();
        assert_eq!(chain.submit_block(NOW, block.clone()), Verdict::Accepted { best_changed: true });
        blocks.push(block);
    }
    (chain, blocks)
}

/// A node with one peer.
struct Table {
    node: Node<ReferenceChain>,
    now: Now,
}

impl Table {
    /// The peer has these feature bits, and says that its chain is so high.
    fn new(chain: ReferenceChain, features: u64, height: u64) -> (Table, Vec<Output>) {
        let mut config = Config::default();
        config.outbound = 0;
        let now = Now { at: Instant::from_millis(1), unix: NOW };
        let mut table = Table { node: Node::new(config, chain, 1, 1).unwrap(), now };
        let remote = "10.1.0.1:1".parse().unwrap();
        table.feed(Input::Opened { conn: PEER, remote, local: None, direction: Direction::Inbound, identity: None });
        let Message::Handshake(mut handshake) = introduction("peer", 2, 0) else { unreachable!() };
        let extension = handshake.extension.as_mut().unwrap();
        (extension.features, extension.best_height, extension.best_hash) = (features, height, Hash([9; 32]));
        let outputs = table.say(&Message::Handshake(handshake));
        (table, outputs)
    }

    fn feed(&mut self, input: Input<'_>) -> Vec<Output> {
        self.node.handle(self.now, input);
        core::iter::from_fn(|| self.node.poll_output()).collect()
    }

    fn say(&mut self, message: &Message<'_>) -> Vec<Output> {
        let payload = Payload::Given(message.to_payload().unwrap());
        self.feed(Input::Frame { conn: PEER, frame: Frame { kind: message.kind() as u8, payload } })
    }
}

fn closed(outputs: &[Output]) -> Option<CloseReason> {
    outputs.iter().find_map(|output| match output {
        Output::Close { reason, .. } => Some(*reason),
        _ => None,
    })
}

/// How many headers go in each frame, from which on, and whether the node wants to hear that it is in the queue.
fn told(outputs: &[Output], blocks: &[Bytes]) -> Vec<(usize, usize, bool)> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send { kind: Kind::Headers, payload, report, .. } => Some((payload, *report)),
        _ => None,
    });
    let frame = |(payload, report): (&Bytes, bool)| {
        let Ok(Message::Headers(headers)) = Message::decode(Kind::Headers, payload) else { panic!("no Headers") };
        let first = headers.first().and_then(|first| blocks.iter().position(|block| &block[..HEADER_LEN] == *first));
        (headers.len(), first.unwrap_or(usize::MAX), report)
    };
    frames.map(frame).collect()
}

/// The questions for headers: how many each asks for, and from where.
fn asked(outputs: &[Output]) -> Vec<(u32, Hash)> {
    let questions = outputs.iter().filter_map(|output| match output {
        Output::Send { kind: Kind::GetHeaders, payload, .. } => Message::decode(Kind::GetHeaders, payload).ok(),
        _ => None,
    });
    let question = |message| match message {
        Message::GetHeaders(request) => (request.max, request.locator),
        other => panic!("{other:?}"),
    };
    questions.map(question).collect()
}

fn question(max: u32) -> Message<'static> {
    Message::GetHeaders(GetHeaders { locator: Hash::ZERO, stop: None, max, more: None })
}

#[test]
fn many_headers_go_one_frame_after_the_other_each_when_the_one_before_is_in_the_queue() {
    let (chain, blocks) = grow(5_000, "a", &[]);
    let (mut table, _) = Table::new(chain, BOTH, 0);
    let first = table.say(&question(16_000));
    assert_eq!(told(&first, &blocks), [(2_000, 0, true)]);
    let second = table.feed(Input::SendAccepted { conn: PEER });
    assert_eq!(told(&second, &blocks), [(2_000, 2_000, true)]);
    // It found no room: it is the next to go when there is some, or the rest would hang from nothing.
    let payload = second.iter().find_map(|output| match output {
        Output::Send { kind: Kind::Headers, payload, .. } => Some(payload.clone()),
        _ => None,
    });
    let refused = Input::SendRefused { conn: PEER, kind: Kind::Headers, payload: payload.unwrap() };
    assert_eq!(told(&table.feed(refused), &blocks), []);
    let again = table.feed(Input::Writable { conn: PEER });
    assert_eq!(told(&again, &blocks), [(2_000, 2_000, true)]);
    let last = table.feed(Input::SendAccepted { conn: PEER });
    assert_eq!(told(&last, &blocks), [(1_000, 4_000, false)]);
    assert_eq!(told(&table.feed(Input::Writable { conn: PEER }), &blocks), []);
    // As many as were asked for, and no more.
    let first = table.say(&question(2_001));
    assert_eq!(told(&first, &blocks), [(2_000, 0, true)]);
    let second = table.feed(Input::SendAccepted { conn: PEER });
    assert_eq!(told(&second, &blocks), [(1, 2_000, false)]);
    assert_eq!(table.node.audit(), Ok(()));
}

/// The next frame would have begun after genesis.
#[test]
fn an_answer_ends_where_our_chain_leaves_what_was_told_of_it() {
    let (chain, blocks) = grow(2_005, "a", &[]);
    let (_, others) = grow(2_010, "b", &blocks[..1_990]);
    let (mut table, _) = Table::new(chain, BOTH, 0);
    assert_eq!(told(&table.say(&question(16_000)), &blocks), [(2_000, 0, true)]);
    for block in &others[1_990..] {
        table.feed(Input::Command(Command::SubmitBlock(block.clone())));
    }
    assert_eq!(table.node.chain().best().height, 2_010);
    let end = table.feed(Input::SendAccepted { conn: PEER });
    assert_eq!(told(&end, &others), [(0, usize::MAX, false)]);
}

#[test]
fn without_the_bit_more_than_two_thousand_are_asked_of_nobody() {
    for features in [0, Extension::WAITS_WITH_ANSWERS, Extension::TELLS_MANY_HEADERS] {
        let (chain, blocks) = grow(10, "a", &[]);
        let (mut table, outputs) = Table::new(chain, features, 9_000);
        assert_eq!(asked(&outputs).iter().map(|(max, _)| *max).collect::<Vec<_>>(), [2_000], "{features:#x}");
        assert_eq!(told(&table.say(&question(2_000)), &blocks), [(10, 0, false)]);
        let reason = CloseReason::Payload(Kind::GetHeaders, DecodeError::OutOfRange("max"));
        assert_eq!(closed(&table.say(&question(2_001))), Some(reason), "{features:#x}");
    }
}

#[test]
fn a_long_chain_is_asked_for_in_few_questions_and_the_next_comes_after_the_last_frame() {
    let (_, blocks) = grow(17_000, "a", &[]);
    let headers: Vec<&[u8]> = blocks.iter().map(|block| &block[..HEADER_LEN]).collect();
    let (mut table, outputs) = Table::new(grow(0, "", &[]).0, BOTH, 17_000);
    assert_eq!(asked(&outputs).iter().map(|(max, _)| *max).collect::<Vec<_>>(), [16_000]);
    for frame in 0..8 {
        let outputs = table.say(&Message::Headers(headers[frame * 2_000..][..2_000].to_vec()));
        assert_eq!(closed(&outputs), None, "frame {frame}");
        let questions = asked(&outputs);
        if frame < 7 {
            assert_eq!(questions, [], "frame {frame}");
        } else {
            let last = table.node.chain().check_header(NOW, headers[15_999]).unwrap().hash;
            assert_eq!(questions, [(16_000, last)]);
        }
        // Of a tip that grew meanwhile a word may come in between.
        assert_eq!(closed(&table.say(&Message::Headers(vec![headers[0]]))), None);
    }
    let outputs = table.say(&Message::Headers(headers[16_000..].to_vec()));
    assert_eq!((closed(&outputs), asked(&outputs)), (None, vec![]));
    assert_eq!((table.node.sync_target().0, table.node.audit()), (17_000, Ok(())));
}

/// What hangs from nothing is a violation of who answers so, but not where a frame of several may have found no room.
#[test]
fn a_frame_that_is_missing_ends_the_answer_and_is_nobodys_fault() {
    let (_, blocks) = grow(6_000, "a", &[]);
    let headers: Vec<&[u8]> = blocks.iter().map(|block| &block[..HEADER_LEN]).collect();
    let (mut table, _) = Table::new(grow(0, "", &[]).0, BOTH, 6_000);
    table.say(&Message::Headers(headers[..2_000].to_vec()));
    let outputs = table.say(&Message::Headers(headers[4_000..].to_vec()));
    let last = table.node.chain().check_header(NOW, headers[1_999]).unwrap().hash;
    assert_eq!((closed(&outputs), asked(&outputs)), (None, vec![(16_000, last)]), "it is asked for the rest");
    let (mut table, _) = Table::new(grow(0, "", &[]).0, 0, 6_000);
    let outputs = table.say(&Message::Headers(headers[2_000..4_000].to_vec()));
    assert_eq!(closed(&outputs), Some(CloseReason::BadAnswer(Kind::Headers)));
}
