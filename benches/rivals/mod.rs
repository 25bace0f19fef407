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

pub(crate) trait Decode {
    /// Reads `stream`, which ends with a whole frame, in pieces of [`READ_LEN`].
    fn decode(&mut self, stream: &[u8]) -> Answer;
}

/// `wire::frame::parse` under the rules of version 2.
pub(crate) struct Ours {
    buffer: Vec<u8>,
    feeder: Feeder,
}

impl Ours {
    pub(crate) fn new() -> Self {
        Ours { buffer: vec![0; READ_LEN], feeder: Feeder::default() }
    }
}

impl Decode for Ours {
    fn decode(&mut self, stream: &[u8]) -> Answer {
        let (mut answer, rules) = (Answer::default(), FrameRules::version(2));
        for piece in stream.chunks(READ_LEN) {
            let read = read(&mut self.buffer, piece);
            self.feeder.feed(read, rules, |kind, payload| answer.add(kind, payload)).expect("a valid stream");
        }
        answer
    }
}

/// A loop over borrowed slices that believes every header.
pub(crate) struct Bare {
    buffer: Vec<u8>,
    carry: Vec<u8>,
}

impl Bare {
    pub(crate) fn new() -> Self {
        Bare { buffer: vec![0; READ_LEN], carry: Vec::new() }
    }
}

impl Decode for Bare {
    fn decode(&mut self, stream: &[u8]) -> Answer {
        let mut answer = Answer::default();
        for piece in stream.chunks(READ_LEN) {
            let mut input = read(&mut self.buffer, piece);
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
            self.buffer.extend_from_slice(piece);
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

/// The one copy that every decoder pays for.
fn read<'b>(buffer: &'b mut [u8], piece: &[u8]) -> &'b [u8] {
    let (read, _) = buffer.split_at_mut(piece.len());
    read.copy_from_slice(piece);
    read
}

pub(crate) trait Encode {
    /// Writes `count` frames with the same `payload` into a buffer that is used again; returns what was written.
    fn encode(&mut self, payload: &[u8], count: usize) -> &[u8];
}

/// `Message::encode`, with its caps.
#[derive(Default)]
pub(crate) struct OursEncoding {
    out: Vec<u8>,
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
#[derive(Default)]
pub(crate) struct BareEncoding {
    out: Vec<u8>,
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

/// tokio-util's encoder. Its frame is one slice, so the type byte is put before the payload here, once per stream.
pub(crate) struct LengthDelimitedEncoding {
    codec: LengthDelimitedCodec,
    out: BytesMut,
    frame: Vec<u8>,
}

impl LengthDelimitedEncoding {
    pub(crate) fn new() -> Self {
        LengthDelimitedEncoding { codec: length_delimited(), out: BytesMut::new(), frame: Vec::new() }
    }
}

impl Encode for LengthDelimitedEncoding {
    fn encode(&mut self, payload: &[u8], count: usize) -> &[u8] {
        self.frame.clear();
        self.frame.push(KIND as u8);
        self.frame.extend_from_slice(payload);
        self.out.clear();
        for _ in 0..count {
            self.codec.encode(self.frame.as_slice(), &mut self.out).expect("a frame within its limit");
        }
        &self.out
    }
}
