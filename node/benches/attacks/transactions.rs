//! Transactions that crowd out others': in the relay, in the pool, in the loop and in memory.

use std::time::{Duration, Instant};

use spacetime_network::wire::Message;

use crate::forge::transfer;
use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::Crowd;
use crate::words::{Greeting, frame, source};

/// How long a crowd may take to be let in.
const GATHERING: Duration = Duration::from_secs(60);
/// A pool holds so much, in MiB.
const POOL: f64 = 64.0;

fn strangers(scene: &Scene<'_>, count: usize) -> Crowd {
    let greeting = |index| Greeting::of(format!("stranger-{index}"));
    Crowd::gather(scene.node.address, (0..count).map(source), greeting, GATHERING)
}

pub(crate) fn calm(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    scene.under(|_, end| std::thread::sleep(end.saturating_duration_since(Instant::now())));
    scene.finish()
}

/// Sends `first` of what `make` makes at once, then `per_second`.
fn flood(
    crowd: &mut Crowd,
    end: Instant,
    (first, per_second): (u64, u64),
    make: impl Fn(u64) -> Vec<bytes::Bytes>,
) -> u64 {
    let (began, mut made) = (Instant::now(), 0);
    crowd.until(end, |crowd| {
        let due = first + (began.elapsed().as_secs_f64() * per_second as f64) as u64;
        while made < due {
            for stranger in crowd.0.iter_mut().filter(|stranger| !stranger.gone) {
                make(made).into_iter().for_each(|bytes| stranger.push(bytes));
                made += 1;
            }
        }
    });
    made
}

fn small(nonce: u64) -> Vec<bytes::Bytes> {
    vec![frame(&Message::Transaction(&transfer("s", "r", nonce)))]
}

pub(crate) fn burst(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let mut crowd = strangers(&scene, 1);
    let sent = scene.under(|_, end| flood(&mut crowd, end, (1_195, 19), small));
    scene.report.note("sent", sent);
    scene.report.crowd(&crowd);
    drop(crowd);
    // A transaction and what is known of it.
    scene.keeps(2.0);
    scene.finish()
}

pub(crate) fn pool(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let mut crowd = strangers(&scene, 1);
    let name = "n".repeat(65_000);
    let large = |nonce| vec![frame(&Message::Transaction(&transfer(&name, &name, nonce)))];
    let sent = scene.under(|_, end| flood(&mut crowd, end, (512, 19), large));
    scene.report.note("sent", sent);
    scene.report.note("pool", scene.node.ask("tx-pool", &[]).map_or(0.into(), |pool| pool["count"].clone()));
    drop(crowd);
    scene.keeps(POOL);
    scene.finish()
}

pub(crate) fn crowd(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let mut crowd = strangers(&scene, 90);
    let sent = scene.under(|_, end| flood(&mut crowd, end, (90 * 1_190, 0), small));
    scene.report.note("sent", sent);
    scene.report.crowd(&crowd);
    drop(crowd);
    // 90 times the burst, with their places in every table.
    scene.keeps(90.0 * 200.0 * 1_000.0 / 1_048_576.0);
    scene.finish()
}

pub(crate) fn buffers(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let mut crowd = strangers(&scene, 8);
    let name = "n".repeat(65_000);
    let pair = |nonce: u64| {
        // One write, so that both stand in one buffer; the large one is what everybody knows already.
        let large = frame(&Message::Transaction(&transfer(&name, &name, 0)));
        let small = frame(&Message::Transaction(&transfer("s", "r", nonce)));
        vec![[&large[..], &small[..]].concat().into()]
    };
    let sent = scene.under(|_, end| flood(&mut crowd, end, (8 * 100, 80), pair));
    scene.report.note("sent", sent);
    scene.report.crowd(&crowd);
    drop(crowd);
    scene.keeps(4.0);
    scene.finish()
}
