//! What the demo shows while it runs: a picture that redraws itself on a terminal, a line per event elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use terminal_size::{Height, Width, terminal_size};

use crate::demo::layout::{self, Row, Size};
use crate::failure::Failure;
use crate::output;

/// Other events that are kept: more than any terminal has lines.
const NEWS_MAX: usize = 512;
/// Where the system does not say how large the terminal is.
const USUAL: Size = Size { columns: 80, lines: 24 };

/// Where it is shown.
#[derive(Debug)]
pub(super) struct Screen {
    started: Instant,
    kind: Kind,
    /// What makes the story: who leaves, returns, comes late, and how it ends.
    story: Vec<String>,
    news: Vec<String>,
    /// The lines of the last picture, to go back over, and the size of the terminal then.
    drawn: usize,
    size: Option<Size>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A terminal: the picture is redrawn in place.
    Picture,
    /// A pipe or a file: a line per event.
    Lines,
    /// Only the result is wanted.
    Silent,
}

impl Screen {
    pub(super) fn new(started: Instant, is_silent: bool) -> Self {
        let kind = match (is_silent, io::stdout().is_terminal()) {
            (true, _) => Kind::Silent,
            (false, true) => Kind::Picture,
            (false, false) => Kind::Lines,
        };
        Screen { started, kind, story: Vec::new(), news: Vec::new(), drawn: 0, size: None }
    }

    /// Something happened that makes the story.
    pub(super) fn story(&mut self, text: &str) -> Result<(), Failure> {
        let line = self.line(text);
        self.story.push(line.clone());
        self.print(line)
    }

    /// Something happened that happens all the time.
    pub(super) fn event(&mut self, text: &str) -> Result<(), Failure> {
        let line = self.line(text);
        if self.news.len() == NEWS_MAX {
            self.news.remove(0);
        }
        self.news.push(line.clone());
        self.print(line)
    }

    fn line(&self, text: &str) -> String {
        format!("{:>7.3} s  {}", self.started.elapsed().as_secs_f64(), text)
    }

    fn print(&self, line: String) -> Result<(), Failure> {
        if self.kind == Kind::Lines { output::line(line) } else { Ok(()) }
    }

    /// Draws the picture where there is one.
    pub(super) fn draw(&mut self, rows: &[Row]) -> Result<(), Failure> {
        if self.kind != Kind::Picture {
            return Ok(());
        }
        let size = terminal();
        // The cursor stands below the picture.
        let room = Size { lines: size.lines.saturating_sub(1).max(1), ..size };
        let lines = layout::frame(rows, &self.story, &self.news, room);
        let mut text = self.back_to_the_top(size);
        for line in &lines {
            text.push_str(line);
            // What is behind it is of the last picture.
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        (self.drawn, self.size) = (lines.len(), Some(size));
        write(&text)
    }

    /// Replaces the picture by one that stays: all nodes and the whole story, however long.
    pub(super) fn finish(&mut self, rows: &[Row]) -> Result<(), Failure> {
        if self.kind != Kind::Picture {
            return Ok(());
        }
        let size = terminal();
        let mut text = self.back_to_the_top(size);
        text.push_str("\x1b[J");
        for line in layout::list(rows, size.columns).iter().chain(&self.story) {
            text.push_str(&layout::cut(line, size.columns));
            text.push('\n');
        }
        self.drawn = 0;
        write(&text)
    }

    /// To where the last picture begins. After a change of the terminal's size nobody knows where that is: all of it is cleared.
    fn back_to_the_top(&self, size: Size) -> String {
        let mut text = String::new();
        match self.size {
            Some(before) if before != size => text.push_str("\x1b[2J\x1b[H"),
            _ if self.drawn > 0 => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\x1b[{}A\r", self.drawn);
            }
            _ => {}
        }
        text
    }

    /// Characters in a line of what is printed at the end.
    pub(super) fn columns(&self) -> usize {
        if self.kind == Kind::Picture { terminal().columns } else { USUAL.columns }
    }
}

fn terminal() -> Size {
    match terminal_size() {
        Some((Width(columns), Height(lines))) if columns > 0 && lines > 0 => {
            Size { columns: columns.into(), lines: lines.into() }
        }
        _ => USUAL,
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::from_output(&error))
}
