//! Honest downloads that ask for much: the same large block again and again, by several at once.

use std::thread;
use std::time::{Duration, Instant};

use spacetime_network::wire::{Hash, Message};

use crate::forge::{self, Parent};
use crate::node::Node;
use crate::scene::{Report, Scene, place};
use crate::settings::Settings;
use crate::stranger::Stranger;
use crate::words::{Greeting, source};

/// The most transactions that a block may have beside the reward.
const MOST: usize = 32_767;
/// What a downloader reads at once.
const READ: usize = 1 << 20;

pub(crate) fn eight(name: &str, settings: &Settings) -> Report {
    play(name, settings, 8, &forge::large(14 << 20, 1))
}

pub(crate) fn sixteen(name: &str, settings: &Settings) -> Report {
    play(name, settings, 16, &forge::large(14 << 20, 1))
}

pub(crate) fn smallest(name: &str, settings: &Settings) -> Report {
    play(name, settings, 8, &forge::smallest(MOST))
}

fn play(name: &str, settings: &Settings, downloaders: usize, transactions: &[bytes::Bytes]) -> Report {
    let (directory, data) = place();
    let block = forge::block(Parent::genesis(), 1, transactions);
    let (hash, len) = (block.header.hash(), block.len());
    forge::store(&data, [block]);
    let node = Node::start(&data, &[] as &[&str]);
    let mut scene = Scene::of(name, settings, directory, node);
    let blocks: f64 = scene.under(|node, end| {
        let address = node.address;
        thread::scope(|scope| {
            let all: Vec<_> =
                (0..downloaders).map(|index| scope.spawn(move || download(address, index, (hash, len), end))).collect();
            all.into_iter().map(|one| one.join().unwrap_or_default()).sum::<u64>() as f64 / len as f64
        })
    });
    scene.report.note("blocks", (blocks * 10.0).round() / 10.0);
    scene.report.note("mib_per_s", (blocks * len as f64 / 1_048_576.0 / settings.seconds.as_secs_f64()).round());
    scene.report.check("every one gets the block", blocks >= downloaders as f64);
    // One is kept in memory, and the buffers that it was read into.
    scene.keeps(2.5 * len as f64 / 1_048_576.0);
    scene.finish()
}

/// Bytes that came.
fn download(node: std::net::SocketAddr, index: usize, (hash, len): (Hash, usize), end: Instant) -> u64 {
    let greeting = Greeting::of(format!("download-{index}"));
    let Ok(mut stranger) = Stranger::greet(node, source(index), &greeting, Duration::from_secs(10)) else { return 0 };
    // Two questions are always under way.
    let mut asked = 0;
    let before = stranger.heard;
    while Instant::now() < end && !stranger.gone {
        while asked <= 1 + (stranger.heard - before) / len as u64 {
            stranger.say(&Message::GetBlock(hash));
            asked += 1;
        }
        stranger.flush();
        if stranger.skim(READ) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    stranger.heard - before
}
