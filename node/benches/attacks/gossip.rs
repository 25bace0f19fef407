//! Gossip and claims: challenges that drown others', and heights that nobody has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spacetime_network::chain::{Block, Header};
use spacetime_network::wire::message::Heartbeat;
use spacetime_network::wire::{Hash, Kind, Message};

use crate::forge::{Parent, block};
use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::{Crowd, PACE, Stranger};
use crate::words::{Greeting, honest, source};

/// Who sends junk, and who does not.
const JUNKERS: usize = 20;
const HONEST: usize = 5;
/// Who claim a height that they do not have, and the height.
const LIARS: usize = 60;
const CLAIM: u64 = 1_000_000;
/// Blocks that an honest one has.
const BLOCKS: u64 = 50;
/// How long it may take until they are here.
const CAUGHT_UP: Duration = Duration::from_secs(20);

fn honest_one(scene: &Scene<'_>, index: usize, greeting: &Greeting) -> Stranger {
    let patience = Duration::from_secs(10);
    Stranger::greet(scene.node.address, honest(index), greeting, patience).expect("an honest one is let in")
}

pub(crate) fn challenges(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let junk = |index| Greeting::of(format!("junk-{index}"));
    let mut crowd = Crowd::gather(scene.node.address, (0..JUNKERS).map(source), junk, Duration::from_secs(30));
    let mut senders: Vec<Stranger> =
        (0..HONEST).map(|at| honest_one(&scene, 2 + at, &Greeting::of(format!("honest-{at}")))).collect();
    let mut receiver = honest_one(&scene, 2 + HONEST, &Greeting::of("honest-receiver"));
    let (sent, came) = scene.under(|_, end| {
        let (began, mut junked, mut sent, mut came) = (Instant::now(), 0u64, 0u64, 0u64);
        while Instant::now() < end {
            let elapsed = began.elapsed().as_secs_f64();
            // A burst of 20, and then one each three seconds: what each may send.
            while junked < 20 + (elapsed / 3.0) as u64 {
                junked += 1;
                for (index, stranger) in crowd.0.iter_mut().enumerate() {
                    stranger.say(&Message::NewChallenge(format!("junk {index} {junked}").as_bytes()));
                }
            }
            // Honest ones begin when the bursts are through: one each five seconds.
            while sent < ((elapsed - 1.0).max(0.0) / 5.0 * HONEST as f64) as u64 {
                if let Some(sender) = senders.get_mut(sent as usize % HONEST) {
                    sender.say(&Message::NewChallenge(format!("honest {sent}").as_bytes()));
                }
                sent += 1;
            }
            crowd.turn(|_, _, _, _| {});
            senders.iter_mut().for_each(|sender| sender.turn(|_, _, _| {}));
            receiver.turn(|_, kind, payload| {
                came += u64::from(kind == Kind::NewChallenge && payload.starts_with(b"honest"));
            });
            std::thread::sleep(PACE);
        }
        // What was sent last is under way.
        let last = Instant::now() + Duration::from_secs(2);
        while came < sent && Instant::now() < last {
            receiver.turn(|_, kind, payload| {
                came += u64::from(kind == Kind::NewChallenge && payload.starts_with(b"honest"));
            });
            std::thread::sleep(PACE);
        }
        (sent, came)
    });
    scene.report.note("honest_challenges", format!("{came}/{sent}"));
    scene.report.check("the honest challenges come", came == sent);
    drop((crowd, senders, receiver));
    scene.finish()
}

/// A chain that its owner answers questions about.
struct Owner {
    blocks: Vec<Block>,
    places: BTreeMap<Hash, usize>,
}

impl Owner {
    fn new(count: u64) -> Owner {
        let mut parent = Parent::genesis();
        let mut blocks = Vec::new();
        for tag in 0..count {
            let next = block(parent, tag, &[]);
            parent = Parent::of(&next.header);
            blocks.push(next);
        }
        let places = blocks.iter().enumerate().map(|(at, block)| (block.header.hash(), at + 1)).collect();
        Owner { blocks, places }
    }

    fn best(&self) -> Hash {
        self.blocks.last().map_or(Hash::ZERO, |block| block.header.hash())
    }

    fn answer(&self, stranger: &mut Stranger, message: &Message<'_>) -> bool {
        match message {
            Message::GetHeaders(question) => {
                let hashes = std::iter::once(&question.locator).chain(question.more.iter().flatten());
                let from = hashes.filter_map(|hash| self.places.get(hash)).next().copied().unwrap_or(0);
                let headers: Vec<_> =
                    self.blocks.iter().skip(from).map(|block| Header::encode(&block.header)).collect();
                stranger.say(&Message::Headers(headers.iter().map(|header| &header[..]).collect()));
                true
            }
            Message::GetBlock(hash) => {
                let Some(at) = self.places.get(hash) else { return false };
                if let Some(block) = self.blocks.get(at - 1) {
                    stranger.say(&Message::Block(&block.encode()));
                }
                true
            }
            _ => false,
        }
    }
}

pub(crate) fn liars(name: &str, settings: &Settings) -> Report {
    let owner = Owner::new(BLOCKS);
    let mut scene = Scene::new(name, settings, &[]);
    let claim = |index: usize| Greeting {
        id: format!("liar-{index}"),
        port: 0,
        height: CLAIM + index as u64,
        best: Hash([index as u8 + 1; 32]),
    };
    let mut crowd = Crowd::gather(scene.node.address, (0..LIARS).map(source), claim, Duration::from_secs(30));
    let here = crowd.here();
    let greeting = Greeting { id: "owner".to_owned(), port: 0, height: BLOCKS, best: owner.best() };
    let mut honest = honest_one(&scene, 2, &greeting);
    let time = settings.seconds.max(CAUGHT_UP + CAUGHT_UP);
    let caught_up = scene.under_for(time, |node, end| {
        let (began, mut caught_up, mut told) = (Instant::now(), None, 0);
        while Instant::now() < end && caught_up.is_none() {
            // They claim more with every second, and say nothing to any question for it.
            if began.elapsed().as_secs() > told {
                told += 1;
                for (index, stranger) in crowd.0.iter_mut().enumerate() {
                    let chain_length = (CLAIM + told + index as u64) as i64;
                    let id = format!("liar-{index}");
                    stranger.say(&Message::Heartbeat(Heartbeat::Status { chain_length, node_id: &id }));
                }
                let best = node.ask("headers", &["--max", "2000"]);
                let height = best.and_then(|headers| headers.as_array().map(Vec::len)).unwrap_or(0);
                if height as u64 >= BLOCKS {
                    caught_up = Some(began.elapsed());
                }
            }
            for stranger in crowd.0.iter_mut().filter(|stranger| !stranger.gone) {
                stranger.turn_with(|_, message| matches!(message, Message::GetHeaders(_)), |_, _, _| {});
            }
            honest.turn_with(|stranger, message| owner.answer(stranger, message), |_, _, _| {});
            std::thread::sleep(PACE);
        }
        caught_up
    });
    scene.report.note("liars", here);
    scene.report.note("caught_up_ms", caught_up.map_or(-1, |time| time.as_millis() as i64));
    scene.report.check("the honest blocks are here within 20 s", caught_up.is_some_and(|time| time <= CAUGHT_UP));
    drop((crowd, honest));
    scene.finish()
}
