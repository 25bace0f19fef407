//! How a line of the text log is written: the message, then `name=value` pairs that a script can take apart again.
//!
//! A value that holds white space, a quote or an equals sign stands in quotes; a plain one does not. Characters that steer
//! a terminal, or turn the direction of writing, are escaped wherever they come from.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::safe_text::is_unfit;

/// The field of a line that has no name.
const MESSAGE: &str = "message";

/// Writes the fields of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logfmt;

impl<'writer> FormatFields<'writer> for Logfmt {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Fields { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Fields<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, text: &str) {
        if self.result.is_ok() {
            self.result = self.try_put(field, text);
        }
    }

    fn try_put(&mut self, field: &Field, text: &str) -> fmt::Result {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.write_char(' ')?;
        }
        if field.name() == MESSAGE {
            return self.writer.write_str(&escaped(text));
        }
        let value = value(text);
        if self.writer.has_ansi_escapes() {
            // Italic names and dim signs, as tracing's own format has them.
            write!(self.writer, "\x1b[3m{}\x1b[0m\x1b[2m=\x1b[0m{value}", field.name())
        } else {
            write!(self.writer, "{}={value}", field.name())
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
}

/// A value as it stands behind its name.
fn value(text: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\') && !is_unfit(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { format!("{text:?}") }
}

/// A message for people: quotes stay, what steers a terminal does not.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unfit(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `reason=closed by the peer` was three words to whoever took a line apart, and an id stood in quotes for nothing.
    #[test]
    fn a_value_is_quoted_when_a_script_could_not_tell_where_it_ends() {
        for (text, shown) in [
            ("127.0.0.1:7193", "127.0.0.1:7193"),
            ("closed by the peer", "\"closed by the peer\""),
            ("", "\"\""),
            ("a=b", "\"a=b\""),
            ("say \"no\"", r#""say \"no\"""#),
            ("it's", "it's"),
            ("C:\\x", r#""C:\\x""#),
            ("d\u{202e}x", r#""d\u{202e}x""#),
            ("Zürich", "Zürich"),
        ] {
            assert_eq!(value(text), shown);
        }
    }

    #[test]
    fn a_message_keeps_its_quotes_and_steers_no_terminal() {
        assert_eq!(escaped("it said \"no\"\x1b[2J\u{202e}\n"), "it said \"no\"\\u{1b}[2J\\u{202e}\\n");
    }

    /// A line as the log has it, with what is absent left out.
    #[test]
    fn a_line_is_a_message_and_pairs_and_what_is_absent_is_not_there() {
        use std::io;
        use std::sync::{Arc, Mutex};

        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(Logfmt)
            .with_target(false)
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(id = "ab12", reason = %"closed by the peer", withheld = None::<u64>, "peer disconnected");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, " INFO peer disconnected id=ab12 reason=\"closed by the peer\"\n");
    }
}
