//! Those who keep newcomers out: silent ones, frequent ones, and ones that talk nonsense.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::{PACE, Stranger};
use crate::words::{Greeting, honest, source};

/// How long a newcomer tries.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for an answer, and then before the next try.
const TRY: Duration = Duration::from_secs(1);
/// Newcomers of a run of usual length.
const NEWCOMERS: usize = 30;
/// The first of the honest addresses that newcomers come from: those before it are the control peers'.
const FIRST: usize = 10;

/// How it went for newcomers.
#[derive(Debug, Default)]
struct Let {
    tried: usize,
    came_in: usize,
    tries: usize,
    slowest: Duration,
    refusals: std::collections::BTreeMap<String, usize>,
}

impl Let {
    /// One newcomer, which tries once a second, and stays no longer than it needs to see that it is let in.
    fn newcomer(&mut self, node: SocketAddr) {
        let (began, from) = (Instant::now(), honest(FIRST + self.tried));
        self.tried += 1;
        while began.elapsed() < PATIENCE {
            self.tries += 1;
            let tried = Instant::now();
            match Stranger::greet(node, from, &Greeting::of(format!("newcomer-{from}")), TRY * 2) {
                Ok(_) => {
                    self.came_in += 1;
                    self.slowest = self.slowest.max(began.elapsed());
                    return;
                }
                Err(why) => *self.refusals.entry(why).or_default() += 1,
            }
            thread::sleep(TRY.saturating_sub(tried.elapsed()));
        }
    }

    /// One after the other until the time is up.
    fn newcomers(node: SocketAddr, end: Instant, time: Duration) -> Let {
        let mut all = Let::default();
        while Instant::now() < end && all.tried < NEWCOMERS {
            let due = Instant::now() + time / NEWCOMERS as u32;
            all.newcomer(node);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        all
    }

    fn tell(&self, report: &mut Report) {
        report.note("newcomers", format!("{}/{} in {} tries", self.came_in, self.tried, self.tries));
        report.note("slowest_ms", self.slowest.as_millis() as u64);
        if !self.refusals.is_empty() {
            report.note("refusals", serde_json::json!(self.refusals));
        }
        report.check("every newcomer is let in within 10 s", self.came_in == self.tried && self.tried > 0);
    }
}

/// Has `attack` go on in a thread of its own while newcomers come.
fn beside(name: &str, settings: &Settings, attack: impl Fn(SocketAddr, &AtomicBool) -> usize + Sync) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let (over, time) = (AtomicBool::new(false), settings.seconds);
    let (came, attempts) = scene.under(|node, end| {
        thread::scope(|scope| {
            let attackers = scope.spawn(|| attack(node.address, &over));
            // They are there first.
            thread::sleep(time.min(TRY));
            let came = Let::newcomers(node.address, end, time);
            over.store(true, Ordering::Relaxed);
            (came, attackers.join().unwrap_or_default())
        })
    });
    scene.report.note("attempts", attempts);
    came.tell(&mut scene.report);
    scene.finish()
}

pub(crate) fn silent(name: &str, settings: &Settings) -> Report {
    beside(name, settings, |node, over| {
        let mut silent: Vec<Option<Stranger>> = (0..70).map(|_| None).collect();
        let mut attempts = 0;
        while !over.load(Ordering::Relaxed) {
            for (index, place) in silent.iter_mut().enumerate() {
                if let Some(stranger) = place {
                    stranger.turn(|_, _, _| {});
                }
                if place.as_ref().is_none_or(|stranger| stranger.gone) {
                    attempts += 1;
                    *place = Stranger::connect(node, source(index)).ok();
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        attempts
    })
}

fn once_a_second(name: &str, settings: &Settings, addresses: usize) -> Report {
    beside(name, settings, |node, over| {
        let (began, mut attempts) = (Instant::now(), 0);
        let mut held = std::collections::VecDeque::new();
        while !over.load(Ordering::Relaxed) {
            let due = (began.elapsed().as_secs_f64() * addresses as f64) as usize;
            while attempts < due {
                let from = source(attempts % addresses);
                if let Ok(mut stranger) = Stranger::connect(node, from) {
                    stranger.push(Greeting::of(format!("frequent-{from}")).frame());
                    held.push_back(stranger);
                }
                attempts += 1;
            }
            // Each leaves when it comes again.
            while held.len() > addresses {
                held.pop_front();
            }
            held.iter_mut().for_each(|stranger| stranger.turn(|_, _, _| {}));
            thread::sleep(PACE * 5);
        }
        attempts
    })
}

pub(crate) fn rate_60(name: &str, settings: &Settings) -> Report {
    once_a_second(name, settings, 60)
}

pub(crate) fn rate_300(name: &str, settings: &Settings) -> Report {
    once_a_second(name, settings, 300)
}

pub(crate) fn strange_lengths(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let (answered, asked) = scene.under(|node, end| {
        let (mut answered, mut asked) = (0, 0);
        while Instant::now() < end {
            for index in 0..200u32 {
                if let Ok(mut stranger) = Stranger::connect(node.address, source(index as usize)) {
                    stranger.push(Bytes::copy_from_slice(&(0x8000_0000 | index).to_be_bytes()));
                    stranger.flush();
                }
            }
            asked += 1;
            answered += usize::from(node.ask("ping", &["--count", "1"]).is_some());
            thread::sleep(TRY);
        }
        (answered, asked)
    });
    scene.report.note("answered", format!("{answered}/{asked}"));
    scene.report.check("every question right behind is answered", answered == asked);
    scene.finish()
}
