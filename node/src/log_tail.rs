//! The log's last lines, kept in memory for whoever watches a node from elsewhere. Nobody asks, nothing is kept.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::safe_text::clean;

/// Lines that are kept.
const LINES_MAX: usize = 200;
/// Bytes of one that are kept.
const LINE_LEN_MAX: usize = 1024;

/// The last lines.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    is_wanted: AtomicBool,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    /// The number of the oldest of them.
    first: u64,
}

impl Tail {
    /// Keeps them from now on.
    pub(crate) fn keep(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// At most so many of them, the newest last, with the number of the first; numbers go up by one.
    pub(crate) fn last(&self, most: usize) -> (u64, Vec<String>) {
        let lines = self.lines();
        let skipped = lines.last.len().saturating_sub(most);
        (lines.first + skipped as u64, lines.last.iter().skip(skipped).cloned().collect())
    }

    fn add(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut line = clean(&without_colours(text.trim_end()));
        if line.len() > LINE_LEN_MAX {
            let end = (0..=LINE_LEN_MAX).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
            line.truncate(end);
            line.push('…');
        }
        let mut lines = self.lines();
        if lines.last.len() >= LINES_MAX {
            lines.last.pop_front();
            lines.first += 1;
        }
        lines.last.push_back(line);
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, part) in text.split("\u{1b}[").enumerate() {
        match part.split_once('m') {
            Some((colour, rest)) if number > 0 && colour.chars().all(|c| c.is_ascii_digit() || c == ';') => {
                out.push_str(rest)
            }
            _ => out.push_str(part),
        }
    }
    out
}

/// A log's way out that keeps the last lines where somebody wants them. It is given a whole event at a time.
#[derive(Debug)]
pub(crate) struct Tee<W> {
    out: W,
    tail: Arc<Tail>,
}

impl<W> Tee<W> {
    pub(crate) fn new(out: W, tail: Arc<Tail>) -> Self {
        Tee { out, tail }
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tail.is_wanted.load(Ordering::Relaxed) {
            self.tail.add(bytes);
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_when_they_are_wanted_and_steer_no_terminal() {
        let tail = Arc::new(Tail::default());
        let mut out = Tee::new(Vec::new(), Arc::clone(&tail));
        out.write_all(b"before\n").unwrap();
        tail.keep();
        for number in 0..LINES_MAX + 5 {
            out.write_all(format!("\u{1b}[32mline\u{1b}[0m {number} \u{202e}\n").as_bytes()).unwrap();
        }
        out.write_all("x".repeat(5000).as_bytes()).unwrap();
        let (first, lines) = tail.last(3);
        assert_eq!((first, lines.len()), (203, 3));
        assert_eq!(lines[0], "line 203 \\u{202e}");
        assert!(lines[2].len() < LINE_LEN_MAX + 8);
        assert_eq!(tail.last(usize::MAX).1.len(), LINES_MAX);
        assert!(out.out.starts_with(b"before\n"), "what is written is not changed");
    }
}
