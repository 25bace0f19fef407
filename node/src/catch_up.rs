//! How far a running node is behind, on the terminal of whoever started it: a bar below the log while there is much to fetch.

use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use spacetime_network::proto::sync::chain::Chain;

use crate::failure::Failure;
use crate::full_node::NodeHandle;
use crate::progress::Progress;

/// Time between two looks at the node.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who is so few blocks behind has them before a bar is read.
const WORTH_A_BAR: u64 = 16;
/// A loop that does not answer for so long has other worries.
const PATIENCE: Duration = Duration::from_secs(10);

/// Draws the bar whenever the node is far behind, from a thread of its own, until the node stops.
pub(crate) fn show(bar: ProgressBar, handle: NodeHandle) -> Result<(), Failure> {
    thread::Builder::new()
        .name("sync bar".to_owned())
        .spawn(move || watch(&bar, &handle))
        .map(drop)
        .map_err(|error| Failure::new("start a thread that shows progress", error, "try again"))
}

fn watch(bar: &ProgressBar, handle: &NodeHandle) {
    let mut shown: Option<(Instant, Progress)> = None;
    loop {
        let answer = handle.look(|look| {
            let chain = look.node.chain();
            (chain.best().height, look.node.sync_target(), chain.block_count() as u64)
        });
        let Ok(answer) = answer else { break };
        match answer.recv_timeout(PATIENCE) {
            Ok((height, (target, is_syncing), blocks)) => {
                let is_behind = is_syncing && target.saturating_sub(height) >= WORTH_A_BAR;
                // Once drawn it stays until the last block is here.
                if is_behind || (is_syncing && shown.is_some()) {
                    let (began, progress) = shown.get_or_insert_with(|| {
                        bar.set_draw_target(ProgressDrawTarget::stderr());
                        (Instant::now(), Progress::on(Some(bar.clone())))
                    });
                    progress.show(began.elapsed(), (height, target), blocks, "");
                } else if let Some((_, progress)) = shown.take() {
                    hide(bar, &progress);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        thread::sleep(LOOK_EVERY);
    }
    if let Some((_, progress)) = shown {
        hide(bar, &progress);
    }
}

/// Takes it away. A bar that could be drawn would be with each line of the log.
fn hide(bar: &ProgressBar, progress: &Progress) {
    progress.finish();
    bar.set_draw_target(ProgressDrawTarget::hidden());
}
