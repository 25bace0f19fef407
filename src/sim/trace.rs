//! What happened, one line for each event, and the hash that proves that a replay is one.
//!
//! The hash is FNV-1a 64 over the fields of every line, whether the lines are written anywhere or not, so that a run without
//! a file and one with a file can be compared.

use std::io::{self, Write};

use crate::time::Instant;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a 64 over words, byte by byte.
pub(super) fn fnv(mut hash: u64, words: &[u64]) -> u64 {
    for word in words {
        for byte in word.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash
}

/// What a line is about. The byte is part of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum What {
    Start = 1,
    Kill,
    Fault,
    Dial,
    Open,
    Close,
    Frame,
    Tick,
    Ready,
    Gone,
    Tip,
    Work,
    Heal,
    Banned,
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            What::Start => "start",
            What::Kill => "kill",
            What::Fault => "fault",
            What::Dial => "dial",
            What::Open => "open",
            What::Close => "close",
            What::Frame => "frame",
            What::Tick => "tick",
            What::Ready => "ready",
            What::Gone => "gone",
            What::Tip => "tip",
            What::Work => "work",
            What::Heal => "heal",
            What::Banned => "banned",
        }
    }
}

const LEGEND: &str = "\
# seconds  node   what    a                    b
# start    a node starts: chain height, -         kill    it dies: connections, 1 without a word to its peers
# fault    a fault of the network: its number, the connection or node that it hits
# dial     a dial: node dialed or 4294967295, dial's outcome (0 under way, 1 fails at once)
# open     a connection stands: its slot, the other node      close   it is gone: its slot, 64-bit name of the reason
# frame    a frame was delivered: its type, its length        tick    a deadline passed: sessions, -
# ready    a handshake is done: slot, version                 gone    a peer left: slot, -
# tip      a new best block: height, its hash's first bytes   work    the workload: 1 block, 2 transaction
# heal     the faults stop: -, -                              banned  a node blacklists an address: the address, -
";

/// The record of a run.
pub(super) struct Trace<'w> {
    hash: u64,
    lines: u64,
    out: Option<&'w mut dyn Write>,
    error: Option<io::Error>,
}

impl<'w> Trace<'w> {
    pub(super) fn new(out: Option<&'w mut dyn Write>) -> Self {
        let mut trace = Trace { hash: FNV_OFFSET, lines: 0, out, error: None };
        if let Some(out) = &mut trace.out {
            trace.error = out.write_all(LEGEND.as_bytes()).err();
        }
        trace
    }

    /// One line.
    pub(super) fn note(&mut self, at: Instant, node: u32, what: What, a: u64, b: u64) {
        self.lines += 1;
        self.hash = fnv(self.hash, &[at.as_nanos(), u64::from(node) << 8 | what as u64, a, b]);
        if let Some(out) = &mut self.out
            && self.error.is_none()
        {
            let seconds = at.as_nanos() as f64 / 1e9;
            self.error = writeln!(out, "{seconds:>12.6} n{node:<5} {:<7} {a:<20} {b}", what.word()).err();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_of_the_fields_with_or_without_a_file() {
        assert_eq!(fnv(FNV_OFFSET, &[]), 0xcbf2_9ce4_8422_2325);
        let mut file = Vec::new();
        let mut written = Trace::new(Some(&mut file));
        let mut silent = Trace::new(None);
        for trace in [&mut written, &mut silent] {
            trace.note(Instant::from_millis(1500), 3, What::Tick, 2, 0);
        }
        assert_eq!((written.hash(), written.lines()), (silent.hash(), silent.lines()));
        silent.note(Instant::from_millis(1500), 3, What::Tick, 2, 0);
        assert_ne!(written.hash(), silent.hash());
        let text = String::from_utf8(file).unwrap();
        assert!(text.ends_with("    1.500000 n3     tick    2                    0\n"), "{text}");
    }
}
