//! Branches of headers without blocks, which overtake each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spacetime_network::chain::Header;
use spacetime_network::wire::message::GetHeaders;
use spacetime_network::wire::{Hash, Message};

use crate::forge::{Parent, branch};
use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::{Crowd, PACE, Stranger};
use crate::words::{Greeting, source};

/// Branches, and what each begins with.
const BRANCHES: usize = 6;
const START: usize = 4_300;
/// Connections that tell of them.
const CONNECTIONS: usize = 64;
/// By how much one overtakes.
const STEP: usize = 2;
/// A peer may send so many Headers per second.
const PER_SECOND: u64 = 4;

/// A branch: its headers, where each stands, and how much of it is told.
struct Branch {
    headers: Vec<Header>,
    places: BTreeMap<Hash, usize>,
    told: usize,
}

impl Branch {
    fn new(tag: u64, count: usize) -> Branch {
        let headers = branch(Parent::genesis(), tag, count);
        let places = headers.iter().enumerate().map(|(at, header)| (header.hash(), at + 1)).collect();
        Branch { headers, places, told: START }
    }

    /// Answers a question for headers with what is told of the branch by now.
    fn answer(&self, question: &GetHeaders, stranger: &mut Stranger) {
        let known = std::iter::once(&question.locator)
            .chain(question.more.iter().flatten())
            .find_map(|hash| self.places.get(hash));
        let from = known.copied().unwrap_or(0);
        let to = self.told.min(from + question.max as usize);
        self.say(from..to.max(from), stranger);
    }

    fn say(&self, range: std::ops::Range<usize>, stranger: &mut Stranger) {
        let bytes: Vec<_> = self.headers.get(range).unwrap_or_default().iter().map(Header::encode).collect();
        stranger.say(&Message::Headers(bytes.iter().map(|header| &header[..]).collect()));
    }
}

pub(crate) fn trees(name: &str, settings: &Settings) -> Report {
    // As many as all of them may tell in the time, and what is told before.
    let steps = (settings.seconds.as_secs() + 5) * PER_SECOND * CONNECTIONS as u64;
    let length = START + 1 + STEP * (1 + steps as usize);
    let mut branches: Vec<Branch> = (0..BRANCHES as u64).map(|tag| Branch::new(tag, length)).collect();
    let mut scene = Scene::new(name, settings, &[]);
    let greeting = |index: usize| {
        let best = branches.get(index % BRANCHES).and_then(|branch| branch.headers.get(START - 1));
        let best = best.map_or(Hash::ZERO, Header::hash);
        Greeting { id: format!("tree-{index}"), port: 0, height: START as u64, best }
    };
    let mut crowd = Crowd::gather(scene.node.address, (0..CONNECTIONS).map(source), greeting, Duration::from_secs(30));
    let (mut overtakes, mut questions) = (0u64, 0u64);
    scene.under(|_, end| {
        let (began, mut best) = (Instant::now(), START);
        while Instant::now() < end {
            let due = (began.elapsed().as_secs_f64() * (PER_SECOND * CONNECTIONS as u64) as f64) as u64;
            if overtakes < due && crowd.here() > 0 {
                let at = overtakes as usize % CONNECTIONS;
                overtakes += 1;
                if let (Some(stranger), Some(branch)) = (crowd.0.get_mut(at), branches.get_mut(at % BRANCHES)) {
                    // Two more than the best that was told.
                    let from = branch.told;
                    branch.told = (best + STEP).min(branch.headers.len());
                    best = branch.told;
                    branch.say(from..branch.told, stranger);
                }
            }
            for (index, stranger) in crowd.0.iter_mut().enumerate().filter(|(_, stranger)| !stranger.gone) {
                let Some(branch) = branches.get(index % BRANCHES) else { continue };
                let answers = |stranger: &mut Stranger, message: &Message<'_>| match message {
                    Message::GetHeaders(question) => {
                        questions += 1;
                        branch.answer(question, stranger);
                        true
                    }
                    _ => false,
                };
                stranger.turn_with(answers, |_, _, _| {});
            }
            std::thread::sleep(PACE);
        }
    });
    scene.report.note("overtakes", overtakes);
    scene.report.note("questions", questions);
    scene.report.crowd(&crowd);
    drop(crowd);
    scene.finish()
}
