//! Gossip and claims: challenges that drown others', and heights that nobody has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
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
/// How long those of the honest ones may be under way: a peer is sent three in four seconds when the bursts have used up the 45 that
/// it is sent at once, and who has less waiting goes before those of the twenty that have had none either.
const CHALLENGES: Duration = Duration::from_secs(10);
/// When the bursts of the others are through, and honest ones begin.
const BURSTS: Duration = Duration::from_secs(1);
/// Who claim a height that they do not have, and the height.
const LIARS: usize = 60;
const CLAIM: u64 = 1_000_000;
/// Blocks that an honest one has.
const BLOCKS: u64 = 50;
/// How long it may take until they are here.
const CAUGHT_UP: Duration = Duration::from_secs(20);
/// The same of one who has to wait for a turn of each liar.
const TURNS: Duration = Duration::from_secs(90);

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
    let (sent, came, slowest) = scene.under_for(settings.seconds.max(BURSTS + CHALLENGES), |_, end| {
        let (began, mut junked, mut sent, mut came) = (Instant::now(), 0u64, 0usize, BTreeSet::new());
        let mut slowest = Duration::ZERO;
        while Instant::now() < end {
            let elapsed = began.elapsed();
            // A burst of 60, and then one each second: what each may send.
            while junked < 60 + elapsed.as_secs() {
                junked += 1;
                for (index, stranger) in crowd.0.iter_mut().enumerate() {
                    stranger.say(&Message::NewChallenge(format!("junk {index} {junked}").as_bytes()));
                }
            }
            // Honest ones have one each, when the bursts are through.
            if sent < HONEST && elapsed > BURSTS {
                for (at, sender) in senders.iter_mut().enumerate() {
                    sender.say(&Message::NewChallenge(format!("honest {at}").as_bytes()));
                    sent += 1;
                }
            }
            crowd.turn(|_, _, _, _| {});
            senders.iter_mut().for_each(|sender| sender.turn(|_, _, _| {}));
            receiver.turn(|_, kind, payload| {
                if kind == Kind::NewChallenge && payload.starts_with(b"honest") && came.insert(payload.to_vec()) {
                    slowest = began.elapsed().saturating_sub(BURSTS);
                }
            });
            std::thread::sleep(PACE);
        }
        (sent, came.len(), slowest)
    });
    scene.report.note("slowest_ms", slowest.as_millis() as u64);
    scene.report.note("honest_challenges", format!("{came}/{sent}"));
    scene.report.check("the honest challenges come within ten seconds", came == HONEST && slowest <= CHALLENGES);
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

    /// Says how long the chain is, and where it ends.
    fn announce(&self, stranger: &mut Stranger) {
        let Some(last) = self.blocks.last() else { return };
        let chain_length = self.blocks.len() as i64 + 1;
        stranger.say(&Message::Heartbeat(Heartbeat::Status { chain_length, node_id: "owner" }));
        stranger.say(&Message::Headers(vec![&last.header.encode()]));
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

/// The honest one came by itself, as the liars did: it has its turn among them.
pub(crate) fn liars_before_a_stranger(name: &str, settings: &Settings) -> Report {
    let scene = Scene::new(name, settings, &[]);
    let honest = honest_one(&scene, 2, &Greeting::of("owner"));
    claims(scene, honest, LIARS, TURNS)
}

/// The node dialed the honest one.
pub(crate) fn liars(name: &str, settings: &Settings) -> Report {
    among(name, settings, LIARS)
}

/// The same without them: what it takes anyhow.
pub(crate) fn no_liars(name: &str, settings: &Settings) -> Report {
    among(name, settings, 0)
}

fn among(name: &str, settings: &Settings, liars: usize) -> Report {
    let listener = TcpListener::bind((honest(2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let host = std::thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        let mut honest = Stranger::accepted(stream)?;
        let answer = Greeting { port: address.port(), ..Greeting::of("owner") }.answer();
        while !honest.greeted && !honest.gone {
            let greets = |honest: &mut Stranger, message: &Message<'_>| {
                let is_greeting = matches!(message, Message::Handshake(_));
                if is_greeting {
                    honest.push(answer.clone());
                }
                is_greeting
            };
            honest.turn_with(greets, |_, _, _| {});
            std::thread::sleep(PACE);
        }
        Ok::<_, std::io::Error>(honest)
    });
    let scene = Scene::new(name, settings, &["--connect", &address.to_string()]);
    let honest = host.join().unwrap().expect("the node dials the one that it was told");
    claims(scene, honest, liars, CAUGHT_UP)
}

/// All claim more than the node has, once they are there; how long until it has what the honest one has.
fn claims(mut scene: Scene<'_>, mut honest: Stranger, liars: usize, patience: Duration) -> Report {
    let owner = Owner::new(BLOCKS);
    let claim = |index: usize| Greeting {
        id: format!("liar-{index}"),
        port: 0,
        height: CLAIM + index as u64,
        best: Hash([index as u8 + 1; 32]),
    };
    let gathering = Duration::from_secs(30);
    let mut crowd = Crowd::gather(scene.node.address, (0..liars).map(source), claim, gathering);
    let here = crowd.here();
    let time = scene.settings.seconds.max(patience * 3 / 2);
    let caught_up = scene.under_for(time, |node, end| {
        let (began, mut caught_up, mut told) = (Instant::now(), None, 0);
        owner.announce(&mut honest);
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
    let holds = caught_up.is_some_and(|time| time <= patience);
    scene.report.check(format!("the honest blocks are here within {patience:?}"), holds);
    drop((crowd, honest));
    scene.finish()
}
