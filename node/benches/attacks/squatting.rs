//! Claims to be somebody else, in plain text: at the nodes that somebody wants to reach, and at the one who wants to reach them.

use std::thread;
use std::time::{Duration, Instant};

use crate::node::Node;
use crate::scene::{Report, Scene, place};
use crate::settings::Settings;
use crate::stranger::Stranger;
use crate::words::{Greeting, source};

/// How long a node may take to reach those that it dials.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections of a node that are up, as its log tells it.
fn connected(node: &Node, direction: &str) -> usize {
    let log = node.log();
    log.lines().filter(|line| line.contains("peer connected") && line.contains(direction)).count()
}

/// Three strangers, each at one node, say that they are V; then V starts and dials all three.
pub(crate) fn at_others(name: &str, settings: &Settings) -> Report {
    let (_directory, data) = place();
    // Its id is made when it starts for the first time.
    let mut victim = Node::start(&data, &["--outbound", "0"]);
    victim.stop();
    let id = victim.name.clone();
    let mut scene = Scene::new(name, settings, &[]);
    let places: Vec<_> = (0..2).map(|_| place()).collect();
    let others: Vec<Node> = places.iter().map(|(_, data)| Node::start(data, &["--outbound", "0"])).collect();
    let addresses: Vec<_> = std::iter::once(&scene.node).chain(&others).map(|node| node.address).collect();
    let mut squatters: Vec<Stranger> = addresses
        .iter()
        .enumerate()
        .filter_map(|(at, node)| Stranger::greet(*node, source(at), &Greeting::of(&*id), PATIENCE).ok())
        .collect();
    let flags: Vec<String> =
        addresses.iter().flat_map(|address| ["--connect".to_owned(), address.to_string()]).collect();
    let came = scene.under(|_, end| {
        let victim = Node::start(&data, &flags);
        let (began, mut came) = (Instant::now(), None);
        while Instant::now() < end {
            squatters.iter_mut().for_each(|squatter| squatter.turn(|_, _, _| {}));
            if came.is_none() && connected(&victim, "outbound=true") >= addresses.len() {
                came = Some(began.elapsed());
            }
            thread::sleep(Duration::from_millis(20));
        }
        (came, connected(&victim, "outbound=true"), victim.banned().len())
    });
    scene.report.note("squatters", squatters.len());
    scene.report.note("connections", came.1);
    scene.report.note("all_ms", came.0.map_or(-1, |time| time.as_millis() as i64));
    scene.report.check("the one whose id is claimed reaches all three", came.0.is_some() && came.2 == 0);
    scene.finish()
}

/// A stranger says at V that it is H, before V dials H.
pub(crate) fn at_the_victim(name: &str, settings: &Settings) -> Report {
    let (_directory, data) = place();
    let mut host = Node::start(&data, &["--outbound", "0"]);
    host.stop();
    let id = host.name.clone();
    // The node of the scene dials H, which is not there yet.
    let mut scene = Scene::new(name, settings, &["--connect", &host.address.to_string()]);
    let mut squatter = Stranger::greet(scene.node.address, source(0), &Greeting::of(&*id), PATIENCE).ok();
    let reached = scene.under_for(settings.seconds.max(PATIENCE), |node, end| {
        host.restart(&["--outbound", "0"]);
        let (began, mut reached) = (Instant::now(), None);
        while Instant::now() < end {
            if let Some(squatter) = &mut squatter {
                squatter.turn(|_, _, _| {});
            }
            if reached.is_none() && connected(node, "outbound=true") > 0 {
                reached = Some(began.elapsed());
                // Now it comes again, to have the older one closed.
                squatter = Stranger::greet(node.address, source(1), &Greeting::of(&*id), PATIENCE).ok();
            }
            thread::sleep(Duration::from_millis(20));
        }
        reached
    });
    let gone = scene.node.log();
    let gone = gone
        .lines()
        .filter(|line| line.contains("peer disconnected") && line.contains(&host.address.to_string()))
        .count();
    scene.report.note("reached_ms", reached.map_or(-1, |time| time.as_millis() as i64));
    scene.report.note("lost", gone);
    scene.report.check("the dial of ours stands, and stays", reached.is_some() && gone == 0);
    scene.finish()
}
