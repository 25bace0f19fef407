//! Who says nothing but errors before a greeting: what that costs in processor time and in lines of the log.

use std::time::{Duration, Instant};

use bytes::Bytes;
use spacetime_network::wire::Message;

use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::{PACE, Stranger};
use crate::words::{frame, source};

/// Connections at a time.
const CONNECTIONS: usize = 48;
/// Frames that are queued at once.
const FRAMES: usize = 1_000;
/// What the log may grow by in an hour, in MB.
const LOG_MAX: f64 = 6.0;

pub(crate) fn errors(name: &str, settings: &Settings) -> Report {
    let mut scene = Scene::new(name, settings, &[]);
    // The longest text, of what is longest when it is escaped.
    let text = "\u{1}".repeat(1_024);
    let one = frame(&Message::Error(&text));
    let many: Bytes = one.repeat(FRAMES).into();
    let before = scene.node.log().len();
    let (came, frames) = scene.under(|node, end| {
        let mut here: Vec<Option<Stranger>> = (0..CONNECTIONS).map(|_| None).collect();
        let (mut came, mut frames) = (0u64, 0u64);
        let mut next = Instant::now();
        while Instant::now() < end {
            for place in &mut here {
                match place {
                    Some(stranger) if !stranger.gone => {
                        if stranger.queued() == 0 {
                            frames += FRAMES as u64;
                            stranger.push(many.clone());
                        }
                        stranger.turn(|_, _, _| {});
                    }
                    // As often as strangers are let in.
                    _ if Instant::now() >= next => {
                        next = Instant::now() + Duration::from_millis(20);
                        *place = Stranger::connect(node.address, source(came as usize)).ok();
                        came += 1;
                    }
                    _ => {}
                }
            }
            std::thread::sleep(PACE);
        }
        (came, frames)
    });
    let grown = scene.node.log().len() - before;
    let per_hour = grown as f64 * 3_600.0 / scene.report.seconds / 1e6;
    scene.report.note("connections", came);
    scene.report.note("queued_frames", frames);
    scene.report.note("log_mb_per_hour", (per_hour * 100.0).round() / 100.0);
    scene.report.check(format!("the log grows by less than {LOG_MAX} MB in an hour"), per_hour < LOG_MAX);
    let share = scene.report.cpu / scene.report.seconds;
    scene.report.check("it takes less than half a processor", share < 0.5);
    scene.finish()
}
