//! WebSocket frames in (RFC 6455, section 5): bytes in any pieces, content of binary messages out, unmasked where it was read.
//!
//! What is kept between two reads is the start of a header, at most 14 bytes, or the start of a control frame's content, at most
//! 125. A length is a claim: it is compared with a bound and counted down, and nothing is ever allocated for it.

use core::ops::Range;
use core::time::Duration;

use super::mask::{self, Key};
use crate::close::WebSocketFault;
use crate::time::Instant;
use crate::wire::frame::MAX_PAYLOAD;

/// Bytes that are unmasked before they are taken: they are still in the first cache level then.
const UNMASKED_AT_ONCE: usize = 16 * 1024;
/// The longest header.
const HEADER_MAX: usize = 14;
/// The longest content of a control frame.
pub(super) const CONTROL_MAX: usize = 125;
/// Bytes of one message at most, all its frames together: two of our largest frames and what stands around them. The stream in
/// it is judged frame by frame, so the bound is only there to end what no correct node begins.
pub(super) const MESSAGE_MAX: u64 = 2 * (MAX_PAYLOAD as u64 + 1024);
/// Frames of one message at most: browsers cut large messages at some KiB.
pub(super) const FRAGMENTS_MAX: u32 = 16 * 1024;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Which end we are: a client masks, and a server must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Server,
    Client,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A piece of a binary message: where in the input it lies.
    Data(Range<usize>),
    /// A frame of a message is complete that has no content.
    Empty,
    /// A control frame is complete: its opcode. Its content is [`Decoder::control`].
    Control(u8),
}

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Decoder {
    end: End,
    head: [u8; HEADER_MAX],
    head_len: u8,
    /// The frame whose content is under way.
    frame: Option<Frame>,
    /// The content of the control frame under way, or of the last one.
    control: Vec<u8>,
    /// Of the message of several frames that is under way: its bytes so far by their claims, and its frames.
    message: Option<(u64, u32)>,
    /// Frames that began, for the price of them.
    frames: u32,
    /// When what is unfinished began to come.
    began: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    len: u64,
    left: u64,
    key: Key,
}

/// A header that is complete.
struct Header {
    fin: bool,
    opcode: u8,
    len: u64,
    key: Key,
}

impl Decoder {
    pub(super) fn new(end: End) -> Self {
        Decoder {
            end,
            head: [0; HEADER_MAX],
            head_len: 0,
            frame: None,
            control: Vec::new(),
            message: None,
            frames: 0,
            began: Instant::ZERO,
        }
    }

    /// The content of the control frame that was complete last.
    pub(super) fn control(&self) -> &[u8] {
        &self.control
    }

    /// The control frame was looked at.
    pub(super) fn forget_control(&mut self) {
        self.control = Vec::new();
    }

    /// Bytes of memory that are held for what is unfinished.
    pub(super) fn held(&self) -> usize {
        self.control.capacity()
    }

    /// Until when an unfinished header or control frame must be complete. What is missing of a message is nobody's loss: nothing
    /// is held for it here.
    pub(super) fn deadline(&self, stall: Duration) -> Option<Instant> {
        let in_control = self.frame.is_some_and(|frame| frame.opcode >= CLOSE);
        (self.head_len > 0 || in_control).then(|| self.began + stall)
    }

    /// Frames that began since the last call.
    pub(super) fn take_frames(&mut self) -> u32 {
        core::mem::take(&mut self.frames)
    }

    /// The next part of `input` from `at` on, which moves past what was taken; `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// What these bytes break. There is no next part then.
    #[inline]
    pub(super) fn next(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        now: Instant,
    ) -> Result<Option<Part>, WebSocketFault> {
        loop {
            let Some(mut frame) = self.frame else {
                if !self.fill_head(input.get(*at..).unwrap_or_default(), at, now) {
                    return Ok(None);
                }
                let Some(header) = self.header()? else { continue };
                if let Some(part) = self.begin(&header)? {
                    return Ok(Some(part));
                }
                continue;
            };
            let from = *at;
            let rest = input.get_mut(from..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            let most = if self.end == End::Server { UNMASKED_AT_ONCE } else { usize::MAX };
            let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(rest.len()).min(most);
            let part = rest.get_mut(..here).unwrap_or_default();
            *at += here;
            if self.end == End::Server {
                mask::apply(part, frame.key, frame.len.saturating_sub(frame.left));
            }
            frame.left = frame.left.saturating_sub(here as u64);
            self.frame = (frame.left > 0).then_some(frame);
            if frame.opcode < CLOSE {
                return Ok(Some(Part::Data(from..*at)));
            }
            self.control.extend_from_slice(part);
            if frame.left == 0 {
                return Ok(Some(Part::Control(frame.opcode)));
            }
        }
    }

    /// Takes what the header misses, as far as is known, from what is `ahead`. False when there is not enough.
    #[inline]
    fn fill_head(&mut self, ahead: &[u8], at: &mut usize, now: Instant) -> bool {
        let len = usize::from(self.head_len);
        // As nearly always: no header is longer than what there is. What is behind it is overwritten by the next one.
        if len == 0
            && let Some(head) = ahead.first_chunk()
        {
            (self.head, self.head_len, self.began) = (*head, 2, now);
            let need = self.head_need();
            self.head_len = u8::try_from(need).unwrap_or(u8::MAX);
            *at += need;
            return true;
        }
        let need = self.head_need();
        let part = ahead.get(..need.saturating_sub(len)).unwrap_or(ahead);
        *at += part.len();
        if len == 0 && !part.is_empty() {
            self.began = now;
        }
        if let Some(place) = self.head.get_mut(len..len + part.len()) {
            place.copy_from_slice(part);
        }
        // A header has 14 bytes at most.
        self.head_len = self.head_len.saturating_add(u8::try_from(part.len()).unwrap_or(u8::MAX));
        usize::from(self.head_len) >= need
    }

    /// Bytes of the header, as far as its first two say.
    fn head_need(&self) -> usize {
        if self.head_len < 2 {
            return 2;
        }
        let [_, second, ..] = self.head;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
    }

    /// The header, once it is complete. Its first two bytes are judged as soon as they are there.
    fn header(&mut self) -> Result<Option<Header>, WebSocketFault> {
        let [first, second, ..] = self.head;
        let (fin, opcode, is_masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 {
            // Nobody has agreed with us on an extension.
            return Err(WebSocketFault::Protocol);
        }
        if is_masked != (self.end == End::Server) {
            return Err(WebSocketFault::Protocol);
        }
        match opcode {
            CONTINUATION if self.message.is_none() => return Err(WebSocketFault::Protocol),
            TEXT | BINARY if self.message.is_some() => return Err(WebSocketFault::Protocol),
            TEXT => return Err(WebSocketFault::Text),
            CLOSE | PING | PONG if !fin || second & 0x7f > 125 => return Err(WebSocketFault::Protocol),
            CONTINUATION | BINARY | CLOSE | PING | PONG => {}
            _ => return Err(WebSocketFault::Protocol),
        }
        if usize::from(self.head_len) < self.head_need() {
            return Ok(None);
        }
        self.head_len = 0;
        let [_, _, a, b, c, d, e, f, g, h, i, j, k, l] = self.head;
        let (len, key, least) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f], 126),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l], 1 << 16),
            short => (u64::from(short), [a, b, c, d], 0),
        };
        // A length that is longer than it must be, or has the sign.
        if len < least || len >> 63 != 0 {
            return Err(WebSocketFault::Protocol);
        }
        Ok(Some(Header { fin, opcode, len, key }))
    }

    /// A frame begins. Answers it if it has no content, for then it is complete.
    fn begin(&mut self, header: &Header) -> Result<Option<Part>, WebSocketFault> {
        let Header { fin, opcode, len, key } = *header;
        self.frames = self.frames.saturating_add(1);
        if opcode >= CLOSE {
            self.control.clear();
        } else {
            let (before, fragments) = self.message.unwrap_or((0, 0));
            let (bytes, fragments) = (before.saturating_add(len), fragments.saturating_add(1));
            if bytes > MESSAGE_MAX {
                return Err(WebSocketFault::TooLarge);
            }
            if fragments > FRAGMENTS_MAX {
                return Err(WebSocketFault::Flooding);
            }
            self.message = (!fin).then_some((bytes, fragments));
        }
        if len == 0 {
            return Ok(Some(if opcode >= CLOSE { Part::Control(opcode) } else { Part::Empty }));
        }
        self.frame = Some(Frame { opcode, len, left: len, key });
        Ok(None)
    }
}

/// Writes the header of a frame that is a message of its own; answers how long it is.
pub(super) fn put_header(out: &mut Vec<u8>, opcode: u8, len: usize, key: Option<Key>) -> usize {
    let before = out.len();
    let masked = if key.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..=125), _) => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(key.as_ref().map_or(&[], |key| &key[..]));
    out.len() - before
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
