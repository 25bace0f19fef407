//! Honest nodes that are to ban each other, or nobody any more: side blocks within every budget, a miner that is too fast, and a table
//! of bans that is full.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use spacetime_network::proto::peer::reputation::BANS_PER_SUBNET;
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

/// Breaks the protocol as often as one address may come at once, which is what it is banned for.
fn offend(node: &Node, from: Ipv4Addr, tag: &str) {
    for round in 0..5 {
        let Ok(mut stranger) = Stranger::connect(node.address, from) else { continue };
        stranger.push(Greeting::of(format!("bad-{tag}-{round}")).frame());
        // A Pong of no length that it has.
        stranger.push(bytes::Bytes::from_static(&[2, 0, 0, 0, 0x05, 0]));
        let begun = Instant::now();
        while !stranger.gone && begun.elapsed() < Duration::from_millis(200) {
            stranger.turn(|_, _, _| {});
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_let_in(node: &Node, from: Ipv4Addr) -> bool {
    Stranger::greet(node.address, from, &Greeting::of("quiet"), Duration::from_secs(2)).is_ok()
}

/// As many as may come: each breaks the protocol with its first frame, until it is banned. A table is full of 10,000 of them after
/// a quarter of an hour (`--seconds 1200`).
pub(crate) fn table(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let tried = scene.under(|node, end| {
        let mut tried = 0usize;
        while Instant::now() < end {
            // From one subnet after the other.
            offend(node, source(tried % 50_000), &tried.to_string());
            tried += 1;
        }
        tried
    });
    scene.report.note("tried", tried);
    // The rate of all has recovered a second later. Whoever comes now is banned however many were.
    thread::sleep(Duration::from_secs(3));
    let last = source(50_001);
    let came = is_let_in(&scene.node, last);
    thread::sleep(Duration::from_secs(2));
    offend(&scene.node, last, "last");
    thread::sleep(Duration::from_secs(2));
    scene.report.check("who comes last is let in before he breaks the protocol", came);
    scene.report.check("and is banned for it", !is_let_in(&scene.node, last));
    scene.report.check("who did nothing is let in", is_let_in(&scene.node, source(50_002)));
    scene.keeps(4.0);
    let mut report = scene.finish();
    report.check("some are banned", report.banned > 0);
    report
}

/// Of one subnet: after so many bans in it nobody of it is let in.
pub(crate) fn subnet(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    let within = |host: usize| Ipv4Addr::new(127, 1, 1, host as u8);
    let (before, banned) = scene.under(|node, _| {
        // Of one subnet ten come in a second.
        let offend = |host: usize| {
            offend(node, within(host), &host.to_string());
            thread::sleep(Duration::from_millis(600));
        };
        (1..BANS_PER_SUBNET).for_each(offend);
        let before = is_let_in(node, within(200));
        offend(BANS_PER_SUBNET);
        // Nobody is turned away for coming too often.
        thread::sleep(Duration::from_secs(3));
        let turned_away = |host: &usize| {
            thread::sleep(Duration::from_millis(200));
            !is_let_in(node, within(*host))
        };
        (before, (1..=BANS_PER_SUBNET).filter(turned_away).count())
    });
    scene.report.note("banned_of_the_subnet", banned);
    scene.report.check("a neighbour is let in before the last of them is banned", before);
    scene.report.check("each of them is banned", banned == BANS_PER_SUBNET);
    scene.report.check("the neighbour is not let in any more", !is_let_in(&scene.node, within(200)));
    scene.report.check("others are", is_let_in(&scene.node, source(1)));
    scene.finish()
}
