//! An honest peer on a slow line that reads a large block, faster than the slowest that is allowed and slower than our patience with
//! a ping that waits behind it.

use std::time::{Duration, Instant};

use spacetime_network::wire::Message;

use crate::forge::{self, Parent};
use crate::node::Node;
use crate::scene::{Report, Scene, place};
use crate::settings::Settings;
use crate::stranger::Stranger;
use crate::words::{Greeting, honest};

/// Bytes of the block: 14.6 MiB.
const BLOCK: usize = 14_950 << 10;
/// What the line carries in a second.
const LINE: usize = 100_000;
/// What a receive buffer holds that is no larger than such a line has.
const BUFFER: usize = 16 * 1024;
/// The attack goes on for so many times as long as others: with 20 seconds, until the whole block has come.
const LONGER: u32 = 8;

pub(crate) fn play(name: &str, settings: &Settings) -> Report {
    let (directory, data) = place();
    let block = forge::block(Parent::genesis(), 1, &forge::large(BLOCK, 1));
    let (hash, len) = (block.header.hash(), block.len());
    forge::store(&data, [block]);
    let node = Node::start(&data, &[] as &[&str]);
    let mut scene = Scene::of(name, settings, directory, node);
    let (read, gone) = scene.under_for(settings.seconds * LONGER, |node, end| {
        let mut reader = Stranger::connect_narrow(node.address, honest(4), BUFFER).expect("an honest one is let in");
        reader.push(Greeting::of("slow").frame());
        let began = Instant::now();
        while !reader.greeted && began.elapsed() < Duration::from_secs(10) {
            reader.turn(|_, _, _| {});
            std::thread::sleep(Duration::from_millis(10));
        }
        reader.say(&Message::GetBlock(hash));
        let (began, before) = (Instant::now(), reader.heard);
        while Instant::now() < end && !reader.gone && reader.heard - before < len as u64 {
            reader.flush();
            let due = (began.elapsed().as_secs_f64() * LINE as f64) as u64;
            let may = due.saturating_sub(reader.heard - before);
            if may > 0 {
                reader.skim(usize::try_from(may).unwrap_or(usize::MAX).min(LINE));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        (reader.heard - before, reader.gone)
    });
    let due = (settings.seconds * LONGER).as_secs_f64() * LINE as f64;
    scene.report.note("read_mib", (read as f64 / 104_857.6).round() / 10.0);
    scene.report.check("the slow reader is not cut off", !gone && (read >= len as u64 || read as f64 >= due * 0.8));
    scene.keeps(2.5 * len as f64 / 1_048_576.0);
    scene.finish()
}
