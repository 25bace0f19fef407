//! Blocks that cost nothing to make and much to judge: the smallest transactions, as many as there is room for, one body under many
//! headers.

use std::time::{Duration, Instant};

use spacetime_network::wire::Kind;

use crate::forge::{Parent, block, block_frame, body, smallest};
use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::Crowd;
use crate::words::{Greeting, source};

/// As many of the smallest transactions as 16 MiB have room for.
const ROOM: usize = 479_000;
/// As many as a block may have beside the reward.
const MOST: usize = 32_767;
/// Who send them.
const STRANGERS: usize = 16;

pub(crate) fn too_many(name: &str, settings: &Settings) -> Report {
    play(name, settings, ROOM).finish()
}

pub(crate) fn full(name: &str, settings: &Settings) -> Report {
    let mut scene = play(name, settings, MOST);
    scene.node.restart(&[] as &[&str]);
    scene.report.note("restart_ms", scene.node.started_in.as_millis() as u64);
    scene.report.check("a restart takes at most 5 s", scene.node.started_in <= Duration::from_secs(5));
    scene.finish()
}

fn play<'a>(name: &str, settings: &'a Settings, transactions: usize) -> Scene<'a> {
    let one = block(Parent::genesis(), 1, &smallest(transactions));
    let rest = body(&one);
    let mut scene = Scene::new(name, settings, &[]);
    let greeting = |index| Greeting::of(format!("huge-{index}"));
    let mut crowd = Crowd::gather(scene.node.address, (0..STRANGERS).map(source), greeting, Duration::from_secs(30));
    let sent = scene.under(|_, end: Instant| {
        let mut sent = 0u64;
        crowd.until(end, |crowd| {
            for stranger in crowd.0.iter_mut().filter(|stranger| !stranger.gone && stranger.queued() == 0) {
                sent += 1;
                let mut header = one.header;
                header.nonce = sent;
                block_frame(Kind::NewBlock, &header, &rest).into_iter().for_each(|bytes| stranger.push(bytes));
            }
        });
        sent
    });
    scene.report.note("sent", sent);
    scene.report.crowd(&crowd);
    drop(crowd);
    // A few are kept beside the best chain: their transactions' names, and one in memory to be served.
    scene.keeps(9.0 * transactions.min(MOST) as f64 * 80.0 / 1_048_576.0 + 4.0);
    scene
}
