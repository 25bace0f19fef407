//! What happened, one line for each event, and the hash that proves that a replay is one.
//!
//! The hash is FNV-1a 64 over the numbers of every line. The words for them are made only when somebody reads along, so
//! that a run without a file is as quick as it can be, and one with a file has the same hash.

use core::fmt;
use std::io::{self, Write};

use super::check::Failure;
use crate::close::CloseReason;
use crate::time::Instant;
use crate::wire::Kind;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Stands for the network as a whole where a host is expected, and for nobody where another one is.
pub(super) const NOBODY: u32 = u32::MAX;

/// FNV-1a 64 over words, byte by byte.
pub(super) fn fnv(mut hash: u64, words: &[u64]) -> u64 {
    for word in words {
        for byte in word.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash
}

/// FNV-1a 64 of a text.
fn fnv_text(text: &str) -> u64 {
    text.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

macro_rules! whats {
    ($($name:ident = $word:literal $text:literal;)*) => {
        /// What a line is about. Its number is part of the hash.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum What { $(#[doc = $text] $name,)* }

        impl What {
            const ALL: &'static [What] = &[$(What::$name,)*];

            const fn word(self) -> &'static str {
                match self { $(What::$name => $word,)* }
            }

            const fn text(self) -> &'static str {
                match self { $(What::$name => $text,)* }
            }
        }
    };
}

whats! {
    Start = "start" "a node starts, with a chain of this height";
    Kill = "kill" "a node dies, with so many connections; silently: its peers are told nothing";
    Fault = "fault" "something is broken on purpose; on a connection by its slot in the network";
    Dial = "dial" "a node dials another one; refused: its own system says no at once";
    Open = "open" "a connection stands, in this slot of its node";
    Close = "close" "it is gone, and why";
    Frame = "frame" "a frame was delivered: its type, the bytes of its payload";
    Tick = "tick" "a node's deadline has come; its sessions";
    Ready = "ready" "a handshake is done, in this version of the protocol";
    Gone = "gone" "a peer whose handshake was done has left";
    Tip = "tip" "a new best block: its height, the first digits of its hash";
    Work = "work" "a node mines, pays, tells something, leaves for good; or another one takes its place";
    Heal = "heal" "the faults stop: from here on the network must become whole";
    Banned = "banned" "a node blacklists the address of another one";
    Broken = "broken" "an invariant does not hold; the run ends";
}

/// The record of a run.
pub(super) struct Trace<'w> {
    hash: u64,
    lines: u64,
    honest: u32,
    out: Option<&'w mut dyn Write>,
    error: Option<io::Error>,
}

impl<'w> Trace<'w> {
    pub(super) fn new(out: Option<&'w mut dyn Write>) -> Self {
        let mut trace = Trace { hash: FNV_OFFSET, lines: 0, honest: NOBODY, out, error: None };
        if trace.is_read() {
            trace.legend();
        }
        trace
    }

    /// Says how many hosts, from the first on, are nodes; those behind them are attackers.
    pub(super) fn set_honest(&mut self, honest: u32) {
        self.honest = honest;
    }

    /// One line, by numbers. What they mean depends on what it is about; see [`Trace::words`].
    pub(super) fn note(&mut self, at: Instant, node: u32, what: What, a: u64, b: u64) {
        self.count(at, node, what, a, b);
        if self.is_read() {
            let words = self.words(what, a, b);
            self.line(at, if what == What::Heal { NOBODY } else { node }, what, &words);
        }
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, at: Instant, node: u32, slot: u32, reason: CloseReason) {
        self.count(at, node, What::Close, slot.into(), fnv_text(reason.label()));
        if self.is_read() {
            let words = match reason {
                CloseReason::Io(kind) | CloseReason::LocalResource(kind) => {
                    format!("slot {slot:<3} {} ({kind})", reason.label())
                }
                _ => format!("slot {slot:<3} {}", reason.label()),
            };
            self.line(at, node, What::Close, &words);
        }
    }

    /// Something is broken on purpose: at a node, or at [`NOBODY`] in particular; on this connection of the network.
    pub(super) fn fault(&mut self, at: Instant, node: u32, fault: &'static str, pipe: Option<u32>) {
        let slot = u64::from(pipe.unwrap_or(NOBODY));
        self.count(at, node, What::Fault, fnv_text(fault), slot);
        if self.is_read() {
            let on = pipe.map_or_else(String::new, |pipe| format!(" on connection {pipe}"));
            self.line(at, node, What::Fault, &format!("{fault}{on}"));
        }
    }

    /// What was broken: the last line of a run that failed.
    pub(super) fn broken(&mut self, failure: &Failure) {
        let (at, node) = (failure.at, failure.node);
        self.count(at, node, What::Broken, failure.invariant as u64, failure.event);
        if self.is_read() {
            let (name, rule) = (failure.invariant.name(), failure.invariant.text());
            self.line(at, node, What::Broken, &format!("{name}: {}; the rule: {rule}", failure.found));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    fn count(&mut self, at: Instant, node: u32, what: What, a: u64, b: u64) {
        self.lines += 1;
        self.hash = fnv(self.hash, &[at.as_nanos(), u64::from(node) << 8 | what as u64, a, b]);
    }

    /// Somebody wants the words, and could be given all of them so far.
    fn is_read(&self) -> bool {
        self.out.is_some() && self.error.is_none()
    }

    fn line(&mut self, at: Instant, node: u32, what: What, words: &str) {
        let seconds = at.as_nanos() as f64 / 1e9;
        let name = self.name(node.into());
        self.write(format_args!("{seconds:>12.6} {name:<6} {:<6} {words}\n", what.word()));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // What failed once is not tried again, and its error is not lost.
        if let Some(out) = self.out.as_mut().filter(|_| self.error.is_none()) {
            self.error = out.write_fmt(text).err();
        }
    }

    fn legend(&mut self) {
        let (node, attacker) = ("n00012 is a node", "x00012 an attacker");
        self.write(format_args!("#    seconds node   what   {node}, {attacker}, - the network\n"));
        for what in What::ALL {
            self.write(format_args!("#                    {:<6} {}\n", what.word(), what.text()));
        }
    }

    /// The name of a host.
    fn name(&self, host: u64) -> String {
        match u32::try_from(host) {
            Ok(NOBODY) | Err(_) => "-".to_owned(),
            Ok(host) if host < self.honest => format!("n{host:05}"),
            Ok(host) => format!("x{host:05}"),
        }
    }

    /// The words for a line's numbers.
    fn words(&self, what: What, a: u64, b: u64) -> String {
        let is_nobody = |host: u64| host >= u64::from(NOBODY);
        match what {
            What::Start => format!("height {a}"),
            What::Kill if b == 0 => format!("{a} connections"),
            What::Kill => format!("{a} connections, silently"),
            What::Fault => format!("number {a} on {b}"),
            What::Dial => {
                let whom = if is_nobody(a) { "an address where nobody is".to_owned() } else { self.name(a) };
                format!("{whom}{}", if b == 0 { "" } else { ", refused" })
            }
            What::Open if is_nobody(b) => format!("slot {a:<3} as dialed"),
            What::Open => format!("slot {a:<3} from {}", self.name(b)),
            What::Close => format!("slot {a:<3} reason {b:016x}"),
            What::Frame => match u8::try_from(a).ok().and_then(Kind::from_byte) {
                Some(kind) => format!("{:<15} {b:>8} B", kind.name()),
                None => format!("type 0x{a:02x}       {b:>8} B"),
            },
            What::Tick => format!("{a} sessions"),
            What::Ready => format!("slot {a:<3} version {b}"),
            What::Gone => format!("slot {a}"),
            What::Tip => format!("height {a} hash {:08x}", b >> 32),
            What::Work if a == 1 => format!("mines a block of height {b}"),
            What::Work if a == 3 => format!("tells {b} bytes of gossip"),
            What::Work if a == 4 => "leaves for good".to_owned(),
            What::Work if a == 5 => format!("is another one, the {b}. here"),
            What::Work => format!("pays for the {b}. time"),
            What::Heal => "no more faults".to_owned(),
            What::Banned if is_nobody(a) => "an address where nobody is".to_owned(),
            What::Banned => self.name(a),
            What::Broken => format!("invariant {a} in event {b}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::Invariant;
    use crate::wire::FrameError;

    /// The lines that `play` leaves, without the legend.
    fn written(play: impl Fn(&mut Trace<'_>)) -> String {
        let mut file = Vec::new();
        let mut trace = Trace::new(Some(&mut file));
        let mut silent = Trace::new(None);
        for trace in [&mut trace, &mut silent] {
            trace.set_honest(5);
            play(trace);
        }
        assert_eq!((trace.hash(), trace.lines()), (silent.hash(), silent.lines()), "words do not change the hash");
        let text = String::from_utf8(file).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    const AT: Instant = Instant::from_millis(1500);

    #[test]
    fn the_hash_is_fnv_1a_of_the_numbers_with_or_without_a_file() {
        assert_eq!(fnv(FNV_OFFSET, &[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_text("a"), 0xaf63_dc4c_8601_ec8c, "the published value for one letter");
        let mut trace = Trace::new(None);
        let mut before = trace.hash();
        let failure = Failure { invariant: Invariant::S2, at: AT, event: 9, node: 3, found: String::new() };
        for change in [
            &mut |trace: &mut Trace<'_>| trace.note(AT, 3, What::Tick, 2, 0) as (),
            &mut |trace: &mut Trace<'_>| trace.close(AT, 3, 2, CloseReason::Done),
            &mut |trace: &mut Trace<'_>| trace.fault(AT, 3, "reset", Some(2)),
            &mut |trace: &mut Trace<'_>| trace.broken(&failure),
        ] as [&mut dyn FnMut(&mut Trace<'_>); 4]
        {
            change(&mut trace);
            assert_ne!(trace.hash(), before);
            before = trace.hash();
        }
    }

    #[test]
    fn every_line_says_what_happened_in_words() {
        let text = written(|trace| {
            trace.note(AT, 3, What::Start, 7, 0);
            trace.note(AT, 3, What::Kill, 4, 1);
            trace.note(AT, 3, What::Dial, 2, 0);
            trace.note(AT, 3, What::Dial, u64::from(NOBODY), 1);
            trace.note(AT, 3, What::Open, 0, u64::from(NOBODY));
            trace.note(AT, 3, What::Open, 12, 6);
            trace.close(AT, 3, 0, CloseReason::Io(io::ErrorKind::ConnectionRefused));
            trace.close(AT, 3, 1, CloseReason::Frame(FrameError::Length(0)));
            trace.note(AT, 3, What::Frame, 0x01, 145);
            trace.note(AT, 3, What::Frame, 0xee, 1);
            trace.note(AT, 3, What::Tick, 2, 0);
            trace.note(AT, 3, What::Ready, 12, 2);
            trace.note(AT, 3, What::Gone, 12, 0);
            trace.note(AT, 3, What::Tip, 7, 0x1a2b_3c4d_ffff_ffff);
            trace.note(AT, 3, What::Work, 1, 8);
            trace.note(AT, 3, What::Work, 2, 3);
            trace.fault(AT, 3, "reset", Some(17));
            trace.fault(AT, NOBODY, "partition", None);
            trace.note(AT, 0, What::Heal, 0, 0);
            trace.note(AT, 3, What::Banned, 5, 0);
            trace.note(AT, 3, What::Banned, u64::MAX, 0);
        });
        let expected = "    1.500000 n00003 start  height 7
    1.500000 n00003 kill   4 connections, silently
    1.500000 n00003 dial   n00002
    1.500000 n00003 dial   an address where nobody is, refused
    1.500000 n00003 open   slot 0   as dialed
    1.500000 n00003 open   slot 12  from x00006
    1.500000 n00003 close  slot 0   io-error (connection refused)
    1.500000 n00003 close  slot 1   bad-frame
    1.500000 n00003 frame  Handshake            145 B
    1.500000 n00003 frame  type 0xee              1 B
    1.500000 n00003 tick   2 sessions
    1.500000 n00003 ready  slot 12  version 2
    1.500000 n00003 gone   slot 12
    1.500000 n00003 tip    height 7 hash 1a2b3c4d
    1.500000 n00003 work   mines a block of height 8
    1.500000 n00003 work   pays for the 3. time
    1.500000 n00003 fault  reset on connection 17
    1.500000 -      fault  partition
    1.500000 -      heal   no more faults
    1.500000 n00003 banned x00005
    1.500000 n00003 banned an address where nobody is
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_last_line_says_what_was_broken() {
        let found = "a frame that was not sent".to_owned();
        let failure = Failure { invariant: Invariant::S2, at: AT, event: 9, node: 3, found };
        let text = written(|trace| trace.broken(&failure));
        assert!(
            text.starts_with("    1.500000 n00003 broken S2: a frame that was not sent; the rule: frames"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_takes_no_more_is_reported_once_and_not_written_to_again() {
        struct Full(u32);
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut file = Full(0);
        let mut trace = Trace::new(Some(&mut file));
        trace.note(AT, 3, What::Tick, 2, 0);
        assert_eq!(trace.take_error().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        drop(trace);
        assert_eq!(file.0, 1);
    }
}
