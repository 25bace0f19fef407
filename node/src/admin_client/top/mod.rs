//! `top`: a node at a glance in a terminal, as over SSH. It asks the administration endpoint each second and draws what it says.

mod picture;
mod terminal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use ratatui::Terminal;

use crate::admin_client::ask::Asked;
use crate::admin_client::top::picture::Picture;
use crate::admin_client::top::terminal::{Ansi, Screen};
use crate::cli::TopArgs;
use crate::failure::Failure;
use crate::signals;

/// How soon a signal or a key is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Draws the node until somebody presses `q`, or a signal comes.
pub(crate) fn top(args: &TopArgs) -> Result<(), Failure> {
    let asked = Asked::new(&args.admin, args.timeout)?;
    // What cannot be asked at all is said as a line, and not in a picture.
    asked.get("/api/node/ping")?;
    let stopped = Arc::<AtomicBool>::default();
    let flag = Arc::clone(&stopped);
    // Dropped at the end of this function, whatever happens: the terminal is as it was then.
    let screen = Screen::open()?;
    signals::watch(move || flag.store(true, Ordering::SeqCst), Screen::restore_output);
    let failed = |error: std::io::Error| Failure::new("draw on this terminal", error, "use `status` instead");
    let mut terminal = Terminal::new(Ansi::default()).map_err(failed)?;
    let answers = ask_again_and_again(asked, args.interval)?;
    let keys = screen.keys();
    let mut picture = Picture::new(Instant::now());
    while !stopped.load(Ordering::SeqCst) {
        for key in keys.try_iter() {
            match key {
                b'q' | b'Q' | 0x1b | 0x03 => return Ok(()),
                b's' => picture.sort_next(),
                b'r' => picture.reverse(),
                _ => {}
            }
        }
        match answers.recv_timeout(LOOK_EVERY) {
            Ok(answer) => picture.take(answer, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        terminal.draw(|frame| picture.draw(frame)).map_err(failed)?;
    }
    Ok(())
}

/// What the node says, or why it says nothing.
pub(super) type Answer = Result<(serde_json::Value, serde_json::Value), String>;

/// Asks on a thread of its own, so that a node that does not answer stops no key.
fn ask_again_and_again(asked: Asked, every: Duration) -> Result<Receiver<Answer>, Failure> {
    let (sender, answers) = sync_channel(1);
    let asker = move || {
        loop {
            let answer =
                asked.get("/api/node/status").and_then(|status| Ok((status, asked.get("/api/node/peers?max=1000")?)));
            if sender.send(answer.map_err(|failure| failure.to_string())).is_err() {
                return;
            }
            std::thread::sleep(every);
        }
    };
    std::thread::Builder::new()
        .name("asker".to_owned())
        .spawn(asker)
        .map_err(|error| Failure::new("start a thread", error, "try again"))?;
    Ok(answers)
}
