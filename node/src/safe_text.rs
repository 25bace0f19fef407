//! What a stranger said, as it may be printed: nothing in it moves a cursor, turns the direction of writing or hides.
//!
//! Node ids, agents, error texts and names on the chain are chosen by others. Everything that the program prints goes through
//! here on its way out, results and errors by `output` and `failure`, the log by [`SafeWriter`], so that no line that is
//! added later can forget it.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Characters that are not seen but do something: the controls of C0 and C1, what turns or isolates a direction of writing
/// (U+202E and its kind), what has no width, separators of lines, and tags.
pub(crate) fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The text on one line, with such characters as escapes: `\u{202e}`.
pub(crate) fn clean(text: &str) -> String {
    escaped(text, |c, out| out.extend(c.escape_default()))
}

/// Text of several lines of our own: line ends and tabs stay.
pub(crate) fn clean_lines(text: &str) -> String {
    escaped(text, |c, out| if matches!(c, '\n' | '\t') { out.push(c) } else { out.extend(c.escape_default()) })
}

/// A JSON document with such characters as JSON's own escapes: whoever parses it gets the very text back.
pub(crate) fn clean_json(text: &str) -> String {
    // Outside of its strings a document on one line has none of them.
    escaped(text, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unfit(c) { escape(c, &mut out) } else { out.push(c) }
    }
    out
}

/// What the lines of a log are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    Plain,
    /// With the colours of a terminal, which are control characters of our own.
    Coloured,
    Json,
}

/// A log's way out. It is given a whole event at a time.
#[derive(Debug)]
pub(crate) struct SafeWriter<W> {
    out: W,
    lines: Lines,
}

impl<W> SafeWriter<W> {
    pub(crate) fn new(out: W, lines: Lines) -> Self {
        SafeWriter { out, lines }
    }
}

impl<W: Write> Write for SafeWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (event, end) = text.strip_suffix('\n').map_or((&*text, ""), |event| (event, "\n"));
        let mut safe = match self.lines {
            Lines::Plain => clean(event),
            Lines::Json => clean_json(event),
            Lines::Coloured => coloured(event),
        };
        safe.push_str(end);
        self.out.write_all(safe.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The same with colours, which change nothing but colours.
fn coloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, part) in text.split("\u{1b}[").enumerate() {
        let is_colour = |c: char| c.is_ascii_digit() || c == ';';
        match part.split_once('m') {
            _ if number == 0 => {}
            Some((colour, _)) if colour.chars().all(is_colour) => out.push_str("\u{1b}["),
            _ => out.push_str("\\u{1b}["),
        }
        out.push_str(&clean(part));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What turns "exe.gnp" into what looks like "png.exe", clears a screen, sets a title, or is not there.
    const HOSTILE: &str = "a\u{202e}b\u{1b}[2J\u{9b}31m\u{2066}\u{200b}\u{feff}\u{e0041}\r\n\u{85}\u{2028}z";

    #[test]
    fn nothing_that_is_not_seen_gets_through_and_all_that_is_seen_does() {
        let safe = clean(HOSTILE);
        assert!(!safe.chars().any(is_unfit), "{safe:?}");
        assert!(safe.starts_with("a\\u{202e}b\\u{1b}[2J\\u{9b}31m\\u{2066}"), "{safe}");
        for fine in ["node-7", "Zoë 日本語 עברית العربية हिन्दी", "tab is not: but \" ' \\ are", "e\u{301}"]
        {
            assert_eq!(clean(fine), fine);
        }
        assert_eq!(clean_lines("a\n\tb\u{202e}\r"), "a\n\tb\\u{202e}\\r");
        assert_eq!(clean(&safe), safe, "what is clean stays as it is");
    }

    #[test]
    fn json_keeps_the_value_and_shows_nothing_of_it() {
        let document = serde_json::to_string(&[HOSTILE]).unwrap();
        let safe = clean_json(&document);
        assert!(!safe.chars().any(is_unfit), "{safe:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [HOSTILE]);
    }

    #[test]
    fn a_log_is_one_line_per_event_with_colours_of_our_own_at_most() {
        let written = |lines, event: &str| {
            let mut out = Vec::new();
            SafeWriter::new(&mut out, lines).write_all(event.as_bytes()).unwrap();
            String::from_utf8(out).unwrap()
        };
        let event = format!("\u{1b}[2mtime\u{1b}[0m {HOSTILE} \u{1b}]0;title\u{7}\n");
        for lines in [Lines::Plain, Lines::Coloured, Lines::Json] {
            let text = written(lines, &event);
            assert!(text.ends_with("\n") && text.matches('\n').count() == 1, "{text:?}");
            let colours = text.matches("\u{1b}[2mtime\u{1b}[0m").count();
            assert_eq!(colours, usize::from(lines == Lines::Coloured), "{text:?}");
            let rest = text.trim_end().replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
            assert!(!rest.chars().any(is_unfit), "{rest:?}");
        }
    }
}
