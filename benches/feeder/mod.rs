//! Frames out of a stream that arrives in pieces: `wire::frame::parse` and nothing else.
//!
//! Frames that are whole in a piece are parsed in place; only the unfinished tail is copied, and the next pieces complete
//! that one frame first. It stands where a connection's inbox stands, so that the parser can be measured, tested and fuzzed
//! without the rest of a connection.

use spacetime_network::wire::frame::HEADER_LEN;
use spacetime_network::wire::{FrameError, FrameRules, Parse, frame};

/// The unfinished tail of one stream.
#[derive(Debug, Default)]
pub(crate) struct Feeder {
    carry: Vec<u8>,
}

impl Feeder {
    /// Hands every frame that `input` completes to `sink`, as type byte and payload, and keeps the rest.
    #[inline]
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        rules: &FrameRules,
        mut sink: impl FnMut(u8, &[u8]),
    ) -> Result<(), FrameError> {
        while !self.carry.is_empty() {
            match frame::parse(&self.carry, rules) {
                Parse::Complete { kind, payload, .. } => {
                    sink(kind, payload);
                    self.carry.clear();
                }
                Parse::NeedMore { .. } if input.is_empty() => return Ok(()),
                Parse::NeedMore { total } => {
                    let missing = total.unwrap_or(HEADER_LEN) - self.carry.len();
                    let (taken, rest) = input.split_at(missing.min(input.len()));
                    self.carry.extend_from_slice(taken);
                    input = rest;
                }
                Parse::Never(error) => return Err(error),
            }
        }
        loop {
            match frame::parse(input, rules) {
                Parse::Complete { kind, payload, rest } => {
                    sink(kind, payload);
                    input = rest;
                }
                Parse::NeedMore { .. } => {
                    self.carry.extend_from_slice(input);
                    return Ok(());
                }
                Parse::Never(error) => return Err(error),
            }
        }
    }
}
