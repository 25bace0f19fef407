//! Memory for what is received, taken by frames that never end, and an honest block that needs some.

use std::time::{Duration, Instant};

use bytes::Bytes;
use spacetime_network::chain::Block;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{Kind, Message, frame};

use crate::forge::{Parent, block, block_frame, body, large};
use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::{Crowd, PACE, Stranger};
use crate::words::{Greeting, honest, source};

/// Bytes of the honest block: 2.9 MiB.
const HONEST: usize = 2_900 << 10;
/// What an unfinished frame lacks in the end.
const LACKS: usize = 1024;
/// The longest that the block may be under way.
const DELIVERY: Duration = Duration::from_secs(5);

pub(crate) fn pushed(name: &str, settings: &Settings) -> Report {
    play(name, settings, Kind::NewBlock)
}

pub(crate) fn asked(name: &str, settings: &Settings) -> Report {
    play(name, settings, Kind::Block)
}

fn greet(scene: &Scene<'_>, index: usize, greeting: &Greeting) -> Stranger {
    let patience = Duration::from_secs(10);
    Stranger::greet(scene.node.address, honest(index), greeting, patience).expect("an honest one is let in")
}

fn play(name: &str, settings: &Settings, kind: Kind) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let honest_block = block(Parent::genesis(), 1, &large(HONEST, 1));
    let mut sender = greet(&scene, 2, &Greeting::of("honest-sender"));
    let mut receiver = greet(&scene, 3, &Greeting::of("honest-receiver"));
    let greeting = |index| Greeting::of(format!("unfinished-{index}"));
    let mut crowd = Crowd::gather(scene.node.address, (0..10).map(source), greeting, Duration::from_secs(30));
    let way = scene.under(|_, end| {
        // A plausible header each, so that it is not the header that they are refused for.
        for (index, stranger) in crowd.0.iter_mut().enumerate() {
            let head = block(Parent::genesis(), 100 + index as u64, &[]).header.encode();
            let start = frame::header(Kind::NewBlock as u8, MAX_PAYLOAD as usize).unwrap();
            stranger.push([&start[..], &head[..]].concat().into());
            stranger.push(vec![0; MAX_PAYLOAD as usize - head.len() - LACKS].into());
        }
        crowd.until(Instant::now() + Duration::from_secs(2), |_| {});
        let began = Instant::now();
        let way = deliver(&honest_block, kind, &mut sender, &mut receiver, &mut crowd, end.max(began + DELIVERY));
        // The rest of the time, for what the control peers see: a byte now and then keeps the frames alive.
        crowd.until(end, |_| {});
        way
    });
    scene.report.note("unfinished", crowd.here());
    scene.report.note("block_ms", way.map_or(-1, |way| way.as_millis() as i64));
    scene.report.check("the honest block arrives within 5 s", way.is_some_and(|way| way <= DELIVERY));
    drop((crowd, sender, receiver));
    // The block is served from memory for a while.
    scene.keeps(2.0 * HONEST as f64 / 1_048_576.0);
    scene.finish()
}

/// Sends the block, or tells its header and answers the question for it. How long until the receiver hears of it.
fn deliver(
    sent: &Block,
    kind: Kind,
    sender: &mut Stranger,
    receiver: &mut Stranger,
    crowd: &mut Crowd,
    end: Instant,
) -> Option<Duration> {
    let (began, header, rest) = (Instant::now(), sent.header, body(sent));
    let hash = header.hash();
    let frames = |kind| block_frame(kind, &header, &rest);
    match kind {
        Kind::NewBlock => frames(kind).into_iter().for_each(|bytes: Bytes| sender.push(bytes)),
        _ => sender.say(&Message::Headers(vec![&header.encode()])),
    }
    while Instant::now() < end {
        let mut heard = false;
        sender.turn_with(
            |sender, message| match message {
                Message::GetBlock(asked) if *asked == hash => {
                    frames(Kind::Block).into_iter().for_each(|bytes| sender.push(bytes));
                    true
                }
                _ => false,
            },
            |_, _, _| {},
        );
        receiver.turn(|_, kind, payload| {
            heard |= matches!(kind, Kind::NewBlock | Kind::Headers | Kind::BlockAccepted)
                && (payload.windows(32).take(64).any(|part| part == hash.0)
                    || payload.windows(header.encode().len()).take(64).any(|part| part == header.encode()));
        });
        if heard {
            return Some(began.elapsed());
        }
        crowd.turn(|_, _, _, _| {});
        std::thread::sleep(PACE);
    }
    None
}
