//! The terminal under `top`: another screen than the shell's, keys without Return, and cells as sequences that every terminal knows
//! (ECMA-48). All of it is undone in the end.

use std::io::{self, BufWriter, IsTerminal, Read, Stdout, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, sync_channel};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use terminal_size::{Height, Width, terminal_size};

use crate::failure::Failure;

/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
/// Where the system does not say how large the terminal is.
const USUAL: Size = Size { width: 80, height: 24 };
/// Keys that wait.
const KEYS: usize = 16;

/// The terminal while it is ours.
pub(super) struct Screen {
    before: Option<Termios>,
}

impl Screen {
    /// Takes it.
    pub(super) fn open() -> Result<Self, Failure> {
        if !stdout().is_terminal() {
            return Err(Failure::usage(
                "top draws on a terminal, and standard output is none: use `status`, or `status --json`",
            ));
        }
        let before = if stdin().is_terminal() { tcgetattr(stdin()).ok() } else { None };
        if let Some(mut keys) = before.clone() {
            // Ctrl-C stays a signal.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            // Without it keys come with Return, which is no reason to draw nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &keys);
        }
        let mut out = stdout();
        out.write_all(ENTER.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::from_output(&error))?;
        Ok(Screen { before })
    }

    /// What is pressed, as it is pressed.
    pub(super) fn keys(&self) -> Receiver<u8> {
        let (sender, keys) = sync_channel(KEYS);
        if self.before.is_some() {
            let reader = move || {
                let mut byte = [0];
                while stdin().read(&mut byte).is_ok_and(|len| len == 1) {
                    // Who presses faster than is drawn presses again.
                    let _ = sender.try_send(byte[0]);
                }
            };
            // Without it there is Ctrl-C.
            let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(reader);
        }
        keys
    }

    /// Gives the shell its screen back.
    pub(super) fn restore_output() {
        let mut out = stdout();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Screen::restore_output();
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Cells as sequences.
pub(super) struct Ansi {
    out: BufWriter<Stdout>,
}

impl Default for Ansi {
    fn default() -> Self {
        Ansi { out: BufWriter::with_capacity(64 * 1024, stdout()) }
    }
}

/// The number of a colour in a sequence; the terminal's own where it is none of the sixteen.
fn number(colour: Color) -> u8 {
    match colour {
        Color::Black => 30,
        Color::Red => 31,
        Color::Green => 32,
        Color::Yellow => 33,
        Color::Blue => 34,
        Color::Magenta => 35,
        Color::Cyan => 36,
        Color::Gray => 37,
        Color::DarkGray => 90,
        _ => 39,
    }
}

impl Backend for Ansi {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut at = None;
        let mut style = None;
        for (x, y, cell) in content {
            if at != Some((x, y)) {
                write!(self.out, "\x1b[{};{}H", y.saturating_add(1), x.saturating_add(1))?;
            }
            if style != Some((cell.fg, cell.modifier)) {
                write!(self.out, "\x1b[0;{}", number(cell.fg))?;
                for (modifier, code) in [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)] {
                    if cell.modifier.contains(modifier) {
                        write!(self.out, ";{code}")?;
                    }
                }
                self.out.write_all(b"m")?;
                style = Some((cell.fg, cell.modifier));
            }
            self.out.write_all(cell.symbol().as_bytes())?;
            // A wide character may be followed by anything: the next one says where it stands.
            at = cell.symbol().is_ascii().then(|| (x.saturating_add(1), y));
        }
        self.out.write_all(b"\x1b[0m")
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25h")
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let position = position.into();
        write!(self.out, "\x1b[{};{}H", position.y.saturating_add(1), position.x.saturating_add(1))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[2J")
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        Ok(terminal_size().map_or(USUAL, |(Width(width), Height(height))| Size { width, height }))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
