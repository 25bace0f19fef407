//! Branches of blocks: many small ones with the same transactions, and two large ones between which the best chain goes to and fro.

use std::time::{Duration, Instant};

use spacetime_network::chain::Block;
use spacetime_network::wire::Kind;

use crate::forge::{self, Parent, block, block_frame, body};
use crate::node::Node;
use crate::scene::{Report, Scene, place};
use crate::settings::Settings;
use crate::stranger::{Crowd, Stranger};
use crate::words::{Greeting, source};

/// Transactions that all siblings have.
const SHARED: usize = 3_000;
/// Who send them.
const STRANGERS: usize = 16;
/// Blocks of each large branch, and their bytes.
const LENGTH: u64 = 30;
const BYTES: usize = 12 << 20;
/// Between two moves of the best chain.
const FLIP: Duration = Duration::from_millis(500);

pub(crate) fn siblings(name: &str, settings: &Settings) -> Report {
    let one = block(Parent::genesis(), 1, &forge::smallest(SHARED));
    let rest = body(&one);
    let mut scene = Scene::new(name, settings, &[]);
    let greeting = |index| Greeting::of(format!("sibling-{index}"));
    let mut crowd = Crowd::gather(scene.node.address, (0..STRANGERS).map(source), greeting, Duration::from_secs(30));
    let sent = scene.under(|_, end| {
        let (began, mut sent) = (Instant::now(), 0u64);
        crowd.until(end, |crowd| {
            // 3,000 in ten seconds, and so on.
            let due = (began.elapsed().as_secs_f64() * 300.0) as u64;
            while sent < due {
                let at = sent as usize % STRANGERS;
                sent += 1;
                let mut header = one.header;
                header.nonce = sent;
                if let Some(stranger) = crowd.0.get_mut(at).filter(|stranger| stranger.queued() < 4 << 20) {
                    block_frame(Kind::NewBlock, &header, &rest).into_iter().for_each(|bytes| stranger.push(bytes));
                }
            }
        });
        sent
    });
    scene.report.note("sent", sent);
    scene.report.crowd(&crowd);
    drop(crowd);
    scene.keeps(9.0 * SHARED as f64 * 150.0 / 1_048_576.0 + 2.0);
    scene.finish()
}

/// A branch of large blocks; the parent of what comes next.
fn branch(tag: u64, length: u64) -> (Vec<Block>, Parent) {
    let mut parent = Parent::genesis();
    let blocks = (0..length)
        .map(|height| {
            // Other transactions in each block.
            let block = block(parent, tag, &forge::large(BYTES, tag << 16 | height));
            parent = Parent::of(&block.header);
            block
        })
        .collect();
    (blocks, parent)
}

pub(crate) fn to_and_fro(name: &str, settings: &Settings) -> Report {
    let (directory, data) = place();
    // To try it out, a tenth of it.
    let length = if settings.seconds < Duration::from_secs(10) { LENGTH / 10 } else { LENGTH };
    let mut tips = Vec::new();
    for tag in 1..=2 {
        let (blocks, tip) = branch(tag, length);
        forge::store(&data, blocks);
        tips.push(tip);
    }
    let node = Node::start(&data, &[] as &[&str]);
    let mut scene = Scene::of(name, settings, directory, node);
    let greeting = Greeting::of("to-and-fro");
    let mut stranger = Stranger::greet(scene.node.address, source(0), &greeting, Duration::from_secs(10)).unwrap();
    let flips = scene.under(|_, end| {
        let (mut flips, mut due) = (0u64, Instant::now());
        while Instant::now() < end {
            if Instant::now() >= due {
                due += FLIP;
                flips += 1;
                // One branch becomes longer than the other by one: two blocks, and the first time one.
                let at = flips as usize % 2;
                for _ in 0..if flips == 1 { 1 } else { 2 } {
                    let Some(tip) = tips.get_mut(at) else { continue };
                    let next = block(*tip, 10 + flips, &[]);
                    *tip = Parent::of(&next.header);
                    let frames = block_frame(Kind::NewBlock, &next.header, &body(&next));
                    frames.into_iter().for_each(|bytes| stranger.push(bytes));
                }
            }
            stranger.turn(|_, _, _| {});
            std::thread::sleep(Duration::from_millis(5));
        }
        flips
    });
    let log = scene.node.log();
    // A shallow one is told in other words than one as deep as these.
    let told = ["another branch is the best chain now", "a deep reorganisation"];
    let moved = log.lines().filter(|line| told.iter().any(|words| line.contains(words))).count();
    scene.report.note("flips", flips);
    scene.report.note("told", moved);
    scene.report.check("the best chain goes to and fro", moved > 0);
    // What goes back to the pool when a branch is left, up to what the pool holds, and a block that is read for it.
    scene.keeps(64.0 + 3.0 * BYTES as f64 / 1_048_576.0);
    scene.finish()
}
