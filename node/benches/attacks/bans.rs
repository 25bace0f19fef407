//! Honest nodes that are to ban each other, or nobody any more: side blocks within every budget, a miner that is too fast, and a table
//! of bans that is full.

use std::thread;
use std::time::{Duration, Instant};

use spacetime_network::wire::Kind;

use crate::forge::{Parent, block, block_frame, body};
use crate::node::Node;
use crate::scene::{Report, Scene, place};
use crate::settings::Settings;
use crate::stranger::{Crowd, Stranger};
use crate::words::{Greeting, source};

/// Who send side blocks, and how many each may send in a second.
const STRANGERS: usize = 44;
const PER_SECOND: f64 = 64.0;

/// A second node that dials the first: its flags.
fn second(first: &Node, mine: bool) -> Vec<String> {
    let mut flags = vec!["--connect".to_owned(), first.address.to_string()];
    if mine {
        flags.extend(["--mine", "--block-interval", "0"].map(str::to_owned));
    }
    flags
}

/// Do the two still talk, and has neither banned anybody of this machine?
fn judge(scene: &mut Scene<'_>, other: &Node) {
    let height = |node: &Node| {
        let headers = node.ask("headers", &["--max", "1"]);
        headers.is_some_and(|headers| headers.as_array().is_some_and(|headers| !headers.is_empty()))
    };
    scene.report.check("both nodes answer", height(&scene.node) && height(other));
    let lost = |log: &str| {
        log.lines().filter(|line| line.contains("peer disconnected") && line.contains("outbound=true")).count()
    };
    scene.report.note("second_banned", other.banned().len());
    scene.report.check("the second node bans nobody", other.banned().is_empty());
    scene.report.check("the second node loses no connection", lost(&other.log()) == 0);
}

pub(crate) fn side_blocks(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let (_directory, data) = place();
    let other = Node::start(&data, &second(&scene.node, false));
    let greeting = |index| Greeting::of(format!("side-{index}"));
    let mut crowd = Crowd::gather(scene.node.address, (0..STRANGERS).map(source), greeting, Duration::from_secs(30));
    let one = block(Parent::genesis(), 1, &[]);
    let rest = body(&one);
    let sent = scene.under(|_, end| {
        let (began, mut rounds, mut sent) = (Instant::now(), 0u64, 0u64);
        crowd.until(end, |crowd| {
            let due = (began.elapsed().as_secs_f64() * PER_SECOND) as u64;
            while rounds < due {
                rounds += 1;
                for stranger in crowd.0.iter_mut().filter(|stranger| !stranger.gone) {
                    sent += 1;
                    let mut header = one.header;
                    header.nonce = sent;
                    block_frame(Kind::NewBlock, &header, &rest).into_iter().for_each(|bytes| stranger.push(bytes));
                }
            }
        });
        sent
    });
    scene.report.note("sent", sent);
    scene.report.crowd(&crowd);
    judge(&mut scene, &other);
    drop(crowd);
    scene.finish()
}

pub(crate) fn fast_miner(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let (_directory, data) = place();
    let other = Node::start(&data, &second(&scene.node, true));
    scene.under(|_, end| thread::sleep(end.saturating_duration_since(Instant::now())));
    judge(&mut scene, &other);
    drop(other);
    let height = scene
        .node
        .log()
        .lines()
        .rev()
        .find_map(|line| line.split("height=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok());
    scene.report.note("height", height.unwrap_or(0));
    // The index of what was mined.
    scene.keeps(height.unwrap_or(0) as f64 * 1_000.0 / 1_048_576.0);
    scene.finish()
}

pub(crate) fn table(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    // As many as may come: each breaks the protocol with its first frame, until it is banned.
    let tried = scene.under(|node, end| {
        let mut tried = 0usize;
        while Instant::now() < end {
            // From one subnet after the other; each address five times.
            let from = source((tried / 5) % 10_000);
            if let Ok(mut stranger) = Stranger::connect(node.address, from) {
                stranger.push(Greeting::of(format!("bad-{tried}")).frame());
                // A Pong of no length that it has.
                stranger.push(bytes::Bytes::from_static(&[2, 0, 0, 0, 0x05, 0]));
                let begun = Instant::now();
                while !stranger.gone && begun.elapsed() < Duration::from_millis(200) {
                    stranger.turn(|_, _, _| {});
                    thread::sleep(Duration::from_millis(1));
                }
            }
            tried += 1;
        }
        tried
    });
    scene.report.note("tried", tried);
    scene.keeps(4.0);
    let report = scene.finish();
    let mut report = report;
    report.check("some are banned", report.banned > 0);
    report
}
