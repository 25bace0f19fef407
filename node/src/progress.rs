//! How far a download is: a bar on a terminal, a line now and then elsewhere, with the rate and the time that is left.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// Time between two lines where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The least time over which a rate is taken.
const RATE_OVER: Duration = Duration::from_secs(2);
/// Two samples are at least this part of the time apart, as one over it: so few are kept however long it takes.
const SAMPLES: u32 = 64;

/// How fast it went lately: over the second half of the time, so that neither how it began nor a moment's pause decides.
#[derive(Debug, Default)]
struct Pace {
    /// When so many blocks were here, the oldest first.
    samples: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// So many blocks are here, `at` so long after the begin.
    fn note(&mut self, at: Duration, blocks: u64) {
        if self.samples.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= at / SAMPLES) {
            self.samples.push_back((at, blocks));
        }
        let over = (at / 2).max(RATE_OVER);
        while self.samples.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= over) {
            self.samples.pop_front();
        }
    }

    /// Blocks per second; `None` while nothing has come.
    fn rate(&self) -> Option<f64> {
        let ((first, before), (last, here)) = (*self.samples.front()?, *self.samples.back()?);
        let (time, came) = (last.saturating_sub(first), here.saturating_sub(before));
        (came > 0 && !time.is_zero()).then(|| came as f64 / time.as_secs_f64())
    }

    /// How long it takes until `left` more are here.
    fn time_for(&self, left: u64) -> Option<Duration> {
        Duration::try_from_secs_f64(left as f64 / self.rate()?).ok()
    }
}

/// What is shown of a download.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// When the last line was, from the begin on.
    line: Duration,
    pace: Pace,
}

impl Progress {
    /// Nothing has come.
    pub(crate) fn start() -> Self {
        Progress::on(std::io::stderr().is_terminal().then(|| ProgressBar::new(0)))
    }

    /// Nothing has come, and it is shown on this bar, or in lines.
    pub(crate) fn on(bar: Option<ProgressBar>) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks  {msg}");
        if let (Some(bar), Ok(style)) = (&bar, style) {
            bar.reset();
            bar.set_style(style);
        }
        Progress { bar, line: Duration::ZERO, pace: Pace::default() }
    }

    /// A look, `at` so long after the begin: the height that is here and the one to come, blocks that came of whatever branch, and what else
    /// there is to say.
    pub(crate) fn show(&mut self, at: Duration, (height, goal): (u64, u64), came: u64, besides: &str) {
        self.pace.note(at, came);
        let pace = describe(&self.pace, goal.saturating_sub(height));
        match &self.bar {
            Some(bar) => {
                bar.set_length(goal);
                bar.set_position(height);
                bar.set_message(format!("{pace}{besides}"));
            }
            None if at.saturating_sub(self.line) >= LINE_EVERY => {
                self.line = at;
                let percent = height.min(goal).saturating_mul(100).checked_div(goal).unwrap_or(0);
                output::note(format_args!("height {height} of {goal} ({percent} %), {pace}{besides}"));
            }
            None => {}
        }
    }

    /// It is over.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The rate and the time left, as far as they are known.
fn describe(pace: &Pace, left: u64) -> String {
    let Some(rate) = pace.rate() else { return String::new() };
    let mut text = format!("{rate:.0} blocks/s, ");
    if let Some(time) = pace.time_for(left).filter(|_| left > 0) {
        let seconds = Duration::from_secs(time.as_secs_f64().ceil() as u64);
        text.push_str(&format!("{} left, ", humantime::format_duration(seconds)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks ten times a second at a download of which so much is here then: how far each look after the first fifth of the time is
    /// from the time that was really left, at worst, as a part of it.
    fn worst(all: u64, seconds: u64, here: impl Fn(f64) -> f64) -> f64 {
        let (mut pace, mut worst) = (Pace::default(), 0f64);
        for look in 0..seconds * 10 {
            let at = Duration::from_millis(look * 100);
            let came = (here(look as f64 / (seconds * 10) as f64) * all as f64) as u64;
            pace.note(at, came);
            assert!(pace.samples.len() <= 2 * SAMPLES as usize, "{} samples", pace.samples.len());
            // The last moments are too short to be told apart.
            if look > seconds * 2 && look < seconds * 9 {
                let left = Duration::from_secs(seconds).saturating_sub(at).as_secs_f64();
                let told = pace.time_for(all - came).map_or(f64::MAX, |time| time.as_secs_f64());
                worst = worst.max((told - left).abs() / left);
            }
        }
        worst
    }

    #[test]
    fn the_time_left_is_right_to_a_fifth_from_the_first_fifth_on() {
        for seconds in [15, 60, 1_000, 20_000] {
            let even = |part: f64| part;
            // A twentieth of the time only headers come; then blocks, in lumps.
            let late = |part: f64| (part - 0.05).max(0.0) / 0.95;
            let lumps = |part: f64| (part * 200.0).floor() / 200.0;
            let uneven = |part: f64| part + 0.01 * (part * 60.0).sin();
            let (even, late) = (worst(1_000_000, seconds, even), worst(1_000_000, seconds, late));
            let (lumps, uneven) = (worst(1_000_000, seconds, lumps), worst(1_000_000, seconds, uneven));
            assert!(even < 0.02 && late < 0.2 && lumps < 0.2 && uneven < 0.2, "{even} {late} {lumps} {uneven}");
        }
    }

    #[test]
    fn nothing_is_said_of_a_rate_before_something_came() {
        let mut pace = Pace::default();
        assert_eq!(describe(&pace, 100), "");
        (0..10).for_each(|look| pace.note(Duration::from_millis(look * 100), 0));
        assert_eq!(describe(&pace, 100), "");
        (10..=30).for_each(|look| pace.note(Duration::from_millis(look * 100), (look - 10) * 10));
        assert_eq!(describe(&pace, 1_000), "100 blocks/s, 10s left, ");
        assert_eq!(describe(&pace, 0), "100 blocks/s, ");
    }
}
