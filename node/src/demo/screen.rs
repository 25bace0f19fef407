//! What the demo shows while it runs: a table that redraws itself on a terminal, a line per event elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::failure::Failure;
use crate::output;

/// Lines of news under the table.
const NEWS_MAX: usize = 6;

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: &'static str,
    pub(super) peers: usize,
    pub(super) height: u64,
    pub(super) tip: String,
    pub(super) pool: usize,
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

/// Where it is shown.
#[derive(Debug)]
pub(super) struct Screen {
    started: Instant,
    kind: Kind,
    news: Vec<String>,
    /// Lines of the last drawing, to go back over.
    drawn: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A terminal: the table is redrawn in place.
    Table,
    /// A pipe or a file: a line per event.
    Lines,
    /// Only the result is wanted.
    Silent,
}

impl Screen {
    pub(super) fn new(started: Instant, is_silent: bool) -> Self {
        let kind = match (is_silent, io::stdout().is_terminal()) {
            (true, _) => Kind::Silent,
            (false, true) => Kind::Table,
            (false, false) => Kind::Lines,
        };
        Screen { started, kind, news: Vec::new(), drawn: 0 }
    }

    /// Something happened.
    pub(super) fn event(&mut self, text: &str) -> Result<(), Failure> {
        let line = format!("{:>7.3} s  {text}", self.started.elapsed().as_secs_f64());
        match self.kind {
            Kind::Silent => Ok(()),
            Kind::Lines => output::line(line),
            Kind::Table => {
                if self.news.len() == NEWS_MAX {
                    self.news.remove(0);
                }
                self.news.push(line);
                Ok(())
            }
        }
    }

    /// Draws the table where there is one.
    pub(super) fn draw(&mut self, rows: &[Row]) -> Result<(), Failure> {
        if self.kind != Kind::Table {
            return Ok(());
        }
        let mut text = String::new();
        if self.drawn > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        let lines = table(rows, &self.news);
        for line in &lines {
            text.push_str("\x1b[2K");
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::from_output(&error))
    }
}

fn table(rows: &[Row], news: &[String]) -> Vec<String> {
    let heading = format!(
        "{:>4}  {:<8} {:>5} {:>6}  {:<8} {:>4} {:>11} {:>9}",
        "node", "state", "peers", "height", "tip", "pool", "bytes", "messages"
    );
    let mut lines = vec![heading];
    lines.extend(rows.iter().enumerate().map(|(index, row)| {
        format!(
            "{index:>4}  {:<8} {:>5} {:>6}  {:<8} {:>4} {:>11} {:>9}",
            row.state, row.peers, row.height, row.tip, row.pool, row.bytes, row.messages
        )
    }));
    // As many lines every time, so that the next drawing covers this one.
    lines.extend((0..NEWS_MAX).map(|index| news.get(index).cloned().unwrap_or_default()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_same_number_of_lines_whatever_happened() {
        let rows = vec![Row { state: "mining", height: 7, tip: "abcd0123".to_owned(), ..Row::default() }; 3];
        let with = table(&rows, &["news".to_owned()]);
        assert_eq!(with.len(), table(&rows, &[]).len());
        assert!(with[1].contains("mining") && with[1].contains("abcd0123"), "{}", with[1]);
    }
}
