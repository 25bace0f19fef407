//! The codecs that are measured side by side, behind two small traits.
//!
//! Every decoder pays for one copy of what it reads, as from a socket, into a buffer of its own, and keeps its state from
//! one stream to the next. `Bare` is the floor: the same reads and the same handling of tails as ours, but no rules.

use bytes::BytesMut;
use spacetime_network::wire::frame::HEADER_LEN;
use spacetime_network::wire::{FrameRules, Kind, Message};
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};

use crate::feeder::Feeder;

/// Bytes that one read returns.
pub(crate) const READ_LEN: usize = 64 * 1024;

/// The kind that the streams are made of: its limit is above every size measured.
pub(crate) const KIND: Kind = Kind::Transaction;

/// What a decoder found; wrong when a frame is lost, cut or moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    frames: u64,
    bytes: u64,
    mix: u64,
}

impl Answer {
    #[inline]
    pub(crate) fn add(&mut self, kind: u8, payload: &[u8]) {
        self.frames += 1;
        self.bytes += payload.len() as u64;
        let ends = u64::from(kind) << 16
            | u64::from(payload.first().copied().unwrap_or_default()) << 8
            | u64::from(payload.last().copied().unwrap_or_default());
        self.mix = self.mix.rotate_left(5) ^ ends;
    }
}

/// Bytes at a chosen distance from a page boundary.
///
/// On some processors (measured on an AMD EPYC whose C library copies with `rep movsb`) a large copy takes more than ten
/// times as long when its target lies 1 to 31 bytes after its source, modulo a page. Left to the allocator this strikes
/// one rival and not the next, so large copies are kept out of it: reads are done in steps of [`STEP_LEN`], and what is
/// copied whole starts in the middle of a page, while the targets are at its start.
pub(crate) struct Placed {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

/// Bytes that a read copies at once: about what a socket's segments hold.
const STEP_LEN: usize = 2048;
/// A capacity that allocators take from the system, so that every encoder's buffer starts where a page does. Untouched
/// pages cost nothing.
const OUT_CAPACITY: usize = 33 << 20;

const PAGE_LEN: usize = 4096;

impl Placed {
    pub(crate) fn new(content: &[u8]) -> Self {
        let mut bytes = vec![0; content.len() + 2 * PAGE_LEN];
        let start = bytes.as_ptr().align_offset(PAGE_LEN) + PAGE_LEN / 2;
        bytes[start..][..content.len()].copy_from_slice(content);
        Placed { bytes, start, len: content.len() }
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }

    /// The one copy that every decoder pays for.
    fn read(&mut self, piece: &[u8]) -> &[u8] {
        let target = &mut self.bytes[self.start..][..piece.len()];
        target.chunks_mut(STEP_LEN).zip(piece.chunks(STEP_LEN)).for_each(|(to, from)| to.copy_from_slice(from));
        target
    }
}

pub(crate) trait Decode {
    /// Reads `stream`, which ends with a whole frame, in pieces of [`READ_LEN`].
    fn decode(&mut self, stream: &[u8]) -> Answer;
}

/// `wire::frame::parse` under the rules of version 2.
pub(crate) struct Ours {
    buffer: Placed,
    feeder: Feeder,
}

impl Ours {
    pub(crate) fn new() -> Self {
        Ours { buffer: Placed::new(&[0; READ_LEN]), feeder: Feeder::default() }
    }
}

impl Decode for Ours {
    fn decode(&mut self, stream: &[u8]) -> Answer {
        let (mut answer, rules) = (Answer::default(), FrameRules::version(2));
        for piece in stream.chunks(READ_LEN) {
            let read = self.buffer.read(piece);
            self.feeder.feed(read, rules, |kind, payload| answer.add(kind, payload)).expect("a valid stream");
        }
        answer
    }
}

/// A loop over borrowed slices that believes every header.
pub(crate) struct Bare {
    buffer: Placed,
    carry: Vec<u8>,
}

impl Bare {
    pub(crate) fn new() -> Self {
        Bare { buffer: Placed::new(&[0; READ_LEN]), carry: Vec::new() }
    }
}

impl Decode for Bare {
    fn decode(&mut self, stream: &[u8]) -> Answer {
        let mut answer = Answer::default();
        for piece in stream.chunks(READ_LEN) {
            let mut input = self.buffer.read(piece);
            while !self.carry.is_empty() {
                let total = self.carry.first_chunk().map_or(HEADER_LEN, |header| HEADER_LEN + payload_len(header));
                let missing = total - self.carry.len();
                let (taken, rest) = input.split_at(missing.min(input.len()));
                self.carry.extend_from_slice(taken);
                input = rest;
                if taken.len() < missing {
                    break;
                }
                if let Some((header, body)) = self.carry.split_first_chunk()
                    && body.len() == payload_len(header)
                {
                    answer.add(header[4], body);
                    self.carry.clear();
                }
            }
            while let Some((header, body)) = input.split_first_chunk()
                && let Some((payload, rest)) = body.split_at_checked(payload_len(header))
            {
                answer.add(header[4], payload);
                input = rest;
            }
            self.carry.extend_from_slice(input);
        }
        answer
    }
}

fn payload_len(&[a, b, c, d, _]: &[u8; HEADER_LEN]) -> usize {
    u32::from_le_bytes([a, b, c, d]).wrapping_sub(1) as usize
}

/// tokio-util's codec, told about the same frame.
pub(crate) struct LengthDelimited {
    codec: LengthDelimitedCodec,
    buffer: BytesMut,
}

impl LengthDelimited {
    pub(crate) fn new() -> Self {
        LengthDelimited { codec: length_delimited(), buffer: BytesMut::with_capacity(2 * READ_LEN) }
    }
}

impl Decode for LengthDelimited {
    fn decode(&mut self, stream: &[u8]) -> Answer {
        let mut answer = Answer::default();
        for piece in stream.chunks(READ_LEN) {
            self.buffer.reserve(piece.len());
            piece.chunks(STEP_LEN).for_each(|from| self.buffer.extend_from_slice(from));
            while let Some(frame) = self.codec.decode(&mut self.buffer).expect("a valid stream") {
                answer.add(frame[0], &frame[1..]);
            }
        }
        answer
    }
}

fn length_delimited() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(spacetime_network::wire::frame::MAX_LENGTH as usize)
        .new_codec()
}

pub(crate) trait Encode {
    /// Writes `count` frames with the same `payload` into a buffer that is used again; returns what was written.
    fn encode(&mut self, payload: &[u8], count: usize) -> &[u8];
}

/// `Message::encode`, with its caps.
pub(crate) struct OursEncoding {
    out: Vec<u8>,
}

impl OursEncoding {
    pub(crate) fn new() -> Self {
        OursEncoding { out: Vec::with_capacity(OUT_CAPACITY) }
    }
}

impl Encode for OursEncoding {
    fn encode(&mut self, payload: &[u8], count: usize) -> &[u8] {
        self.out.clear();
        for _ in 0..count {
            Message::Transaction(payload).encode(&mut self.out).expect("a payload within its limit");
        }
        &self.out
    }
}

/// Two appends and no check.
pub(crate) struct BareEncoding {
    out: Vec<u8>,
}

impl BareEncoding {
    pub(crate) fn new() -> Self {
        BareEncoding { out: Vec::with_capacity(OUT_CAPACITY) }
    }
}

impl Encode for BareEncoding {
    fn encode(&mut self, payload: &[u8], count: usize) -> &[u8] {
        self.out.clear();
        for _ in 0..count {
            let [a, b, c, d] = (payload.len() as u32 + 1).to_le_bytes();
            self.out.extend_from_slice(&[a, b, c, d, KIND as u8]);
            self.out.extend_from_slice(payload);
        }
        &self.out
    }
}

/// tokio-util's encoder. Its frame is one slice, so the type byte is put before the payload here, once per
/// payload; comparing the two is its only cost.
pub(crate) struct LengthDelimitedEncoding {
    codec: LengthDelimitedCodec,
    out: BytesMut,
    frame: Placed,
}

impl LengthDelimitedEncoding {
    pub(crate) fn new() -> Self {
        LengthDelimitedEncoding {
            codec: length_delimited(),
            out: BytesMut::with_capacity(OUT_CAPACITY),
            frame: Placed::new(&[]),
        }
    }
}

impl Encode for LengthDelimitedEncoding {
    fn encode(&mut self, payload: &[u8], count: usize) -> &[u8] {
        if self.frame.get().get(1..) != Some(payload) {
            self.frame = Placed::new(&[&[KIND as u8], payload].concat());
        }
        self.out.clear();
        for _ in 0..count {
            self.codec.encode(self.frame.get(), &mut self.out).expect("a frame within its limit");
        }
        &self.out
    }
}
