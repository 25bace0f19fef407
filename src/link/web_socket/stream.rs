//! WebSocket on one connection: the socket's bytes in, frames' bytes out, and back, over TLS or over nothing.
//!
//! ```text
//! upgrading ---------> open --------> close queued      nothing is said any more
//!      |                 |----------> input closed      nobody wants more content
//!      +-----------------+----------> ended             by the peer's close frame, or by a fault
//! ```
//!
//! What it holds while it is idle is its own few hundred bytes: the head of an upgrade is gone with the upgrade, a control frame
//! with the answer to it.

use core::fmt;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::close_code;
use super::frames::{self, CLOSE, CONTROL_MAX, Decoder, End, PING, PONG, Part};
use super::mask;
use super::sender::{Framing, Sender};
use super::target::{WebSocketOptions, WebSocketTarget};
use super::upgrade::{Step, Upgrade};
use crate::close::{CloseReason, WebSocketFault};
use crate::id::VerifiedId;
use crate::limits::{WS_BYTES_PER_UNIT, WS_FRAME_WORK};
use crate::link::buffer_pool::BufferPool;
use crate::link::outbox::{Flush, Outbox, Progress, WriteBudget, WriteSide};
#[cfg(feature = "tls")]
use crate::link::tls::stream::TlsStream;
use crate::link::unsent::{Socket, Unsent};
use crate::rate::{Bucket, Rate};
use crate::rng::Rng;
use crate::time::Instant;

/// Control frames, and frames without content, that a peer may send: several times what keeps a line open.
const CONTROL_RATE: Rate = Rate::per_second(10, 64);
/// Bytes of answers to pings that may wait; further pings are not answered, as RFC 6455 lets us.
const ANSWERS_MAX: usize = 2 * 1024;
/// What is unmasked at a time where the bytes belong to TLS.
#[cfg(feature = "tls")]
const COPY: usize = 4 * 1024;
/// Content of so many bytes in a frame is moved to the content before it.
const MOVED_MAX: usize = 512;
/// Content of fewer bytes in a frame makes reads short, so that one does not bring thousands of frames.
const SMALL_FRAME: usize = 64;
/// So many frames say something of the next ones.
const TELLING: u32 = 16;

/// Which end of an upgrade we are.
#[derive(Debug)]
pub enum WebSocketRole {
    /// We are dialed.
    Server(Arc<WebSocketOptions>),
    /// We dial, and mask by bytes of this generator.
    Client(Arc<WebSocketTarget>, Rng),
}

/// The WebSocket of one connection.
pub struct WebSocket {
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsStream>>,
    core: Core,
}

/// All of it but what lies below.
struct Core {
    /// Until it is done.
    upgrade: Option<Box<Upgrade>>,
    end: End,
    decoder: Decoder,
    sender: Sender,
    /// Leaves before all.
    unsent: Unsent,
    /// Leaves behind the message that is half written.
    control: Unsent,
    bucket: Bucket,
    work: u32,
    is_dense: bool,
    outcome: Option<Result<(), WebSocketFault>>,
    /// Nobody wants more content.
    input_closed: bool,
    close_queued: bool,
    /// What our close frame says.
    code: u16,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("upgrading", &self.core.upgrade.is_some())
            .field("outcome", &self.core.outcome)
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}

impl WebSocket {
    pub(in crate::link) fn new(role: WebSocketRole) -> Self {
        let mut unsent = Unsent::default();
        let (upgrade, end, keys) = match role {
            WebSocketRole::Server(options) => (Upgrade::server(options), End::Server, None),
            WebSocketRole::Client(target, mut rng) => {
                let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
                let (upgrade, request) = Upgrade::client(&target, random.to_le_bytes());
                unsent.append(&request);
                (upgrade, End::Client, Some(rng))
            }
        };
        WebSocket {
            #[cfg(feature = "tls")]
            tls: None,
            core: Core {
                upgrade: Some(Box::new(upgrade)),
                end,
                decoder: Decoder::new(end),
                sender: Sender::new(keys),
                unsent,
                control: Unsent::default(),
                bucket: Bucket::FULL,
                work: 0,
                is_dense: false,
                outcome: None,
                input_closed: false,
                close_queued: false,
                code: close_code::NORMAL,
            },
        }
    }

    /// The same inside of TLS.
    #[cfg(feature = "tls")]
    pub(in crate::link) fn over(mut self, tls: TlsStream) -> Self {
        self.tls = Some(Box::new(tls));
        self
    }

    pub(in crate::link) fn is_securing(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.is_securing()) {
            return true;
        }
        self.core.upgrade.is_some()
    }

    pub(in crate::link) fn identity(&self) -> Option<VerifiedId> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.identity();
        }
        None
    }

    pub(in crate::link) fn end(&self) -> Option<Result<(), CloseReason>> {
        let below = self.end_below();
        match (self.core.outcome, below) {
            (Some(outcome), _) => Some(outcome.map_err(CloseReason::WebSocket)),
            (None, below) => below,
        }
    }

    /// How the layer below has ended.
    fn end_below(&self) -> Option<Result<(), CloseReason>> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.end().map(|end| end.map_err(CloseReason::Tls));
        }
        None
    }

    pub(in crate::link) fn is_over_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(in crate::link) fn room(&self) -> usize {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.as_ref().filter(|tls| tls.is_securing()) {
            return tls.room();
        }
        self.core.upgrade.as_ref().map_or(usize::MAX, |upgrade| upgrade.room())
    }

    pub(in crate::link) fn open(&mut self, input: &mut [u8], now: Instant, take: &mut dyn FnMut(&[u8]) -> bool) {
        let core = &mut self.core;
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            // What TLS lends may not be changed.
            let mut copy = [0; COPY];
            return tls.open(input, now, &mut |plaintext| {
                for piece in plaintext.chunks(COPY) {
                    if let Some(copy) = copy.get_mut(..piece.len()) {
                        copy.copy_from_slice(piece);
                        core.feed(copy, now, take);
                    }
                }
                !core.is_over()
            });
        }
        core.feed(input, now, take);
    }

    pub(in crate::link) fn take_work(&mut self) -> u32 {
        let work = core::mem::take(&mut self.core.work);
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return work.saturating_add(tls.take_work());
        }
        work
    }

    pub(in crate::link) fn is_dense(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.is_dense()) {
            return true;
        }
        self.core.is_dense
    }

    pub(in crate::link) fn account(&mut self, pool: &mut BufferPool) {
        self.core.unsent.account(&mut pool.account);
        self.core.control.account(&mut pool.account);
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.account(pool);
        }
    }

    pub(in crate::link) fn held(&self) -> usize {
        let held = self.core.decoder.held() + self.core.upgrade.as_ref().map_or(0, |upgrade| upgrade.held());
        #[cfg(feature = "tls")]
        let held = held + self.tls.as_ref().map_or(0, |tls| tls.held());
        held
    }

    pub(in crate::link) fn unsent(&self) -> usize {
        let unsent = self.core.unsent.len() + self.core.control.len();
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            // What TLS cannot seal any more never leaves.
            return tls.unsent() + if matches!(tls.end(), Some(Err(_))) { 0 } else { unsent };
        }
        unsent
    }

    /// See [`Transport::answer_plainly`](super::super::Transport::answer_plainly).
    pub(in crate::link) fn answer_plainly(&mut self, bytes: &[u8]) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.answer_plainly(bytes);
        }
        let _ = bytes;
    }

    pub(in crate::link) fn can_seal(&self) -> bool {
        // Our close frame goes before TLS's last word.
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.can_seal();
        }
        self.core.owes_close()
    }

    pub(in crate::link) fn deadline(&self, stall: Duration) -> Option<Instant> {
        let deadline = self.core.decoder.deadline(stall);
        #[cfg(feature = "tls")]
        let deadline = deadline.into_iter().chain(self.tls.as_ref().and_then(|tls| tls.deadline(stall))).min();
        deadline
    }

    pub(in crate::link) fn clear(&mut self, pool: &mut BufferPool) {
        self.core.unsent.clear(&mut pool.account);
        self.core.control.clear(&mut pool.account);
        self.core.decoder.forget_control();
        self.core.upgrade = None;
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.clear(pool);
        }
    }

    /// What our close frame will say.
    pub(in crate::link) fn closes_for(&mut self, reason: CloseReason) {
        self.core.code = close_code::of(reason);
    }

    /// Queues a ping, so that something is said where the line has been quiet.
    pub(in crate::link) fn ping(&mut self) {
        if self.core.can_send() {
            self.core.say(PING, &[]);
        }
    }

    /// See [`Link::flush`](super::super::Link::flush).
    pub(in crate::link) fn flush(
        &mut self,
        outbox: &mut Outbox,
        pool: &mut BufferPool,
        budget: WriteBudget,
        side: WriteSide,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        let mut framing = pool.framing();
        let core = &mut self.core;
        #[cfg(feature = "tls")]
        let flush = match &mut self.tls {
            None => core.flush(outbox, pool, (budget, side), &mut framing, &mut write),
            Some(tls) => tls.flush_through(pool, side, write, |pool, seal| {
                let flush = core.flush(outbox, pool, (budget, side), &mut framing, seal);
                let is_done = outbox.is_empty() && core.unsent.is_empty();
                (flush, is_done)
            }),
        };
        #[cfg(not(feature = "tls"))]
        let flush = core.flush(outbox, pool, (budget, side), &mut framing, &mut write);
        pool.give_framing(framing);
        self.account(pool);
        flush
    }
}

impl Core {
    /// Nothing that comes will be looked at any more.
    fn is_over(&self) -> bool {
        self.outcome.is_some() || self.input_closed || self.close_queued
    }

    /// May messages leave?
    fn can_send(&self) -> bool {
        self.upgrade.is_none() && !self.close_queued && !matches!(self.outcome, Some(Err(_)))
    }

    fn owes_close(&self) -> bool {
        self.can_send() && self.sender.is_between()
    }

    fn feed(&mut self, input: &mut [u8], now: Instant, take: &mut dyn FnMut(&[u8]) -> bool) {
        if self.is_over() {
            return;
        }
        let len = input.len();
        self.pay_bytes(len);
        let mut at = 0;
        if let Some(upgrade) = &mut self.upgrade {
            match upgrade.take(input) {
                Step::NeedMore => return,
                Step::Refused { say, fault } => {
                    self.upgrade = None;
                    self.unsent.append(&say);
                    self.outcome = Some(Err(fault));
                    return;
                }
                Step::Done { say, used } => {
                    self.upgrade = None;
                    self.unsent.append(&say);
                    at = used;
                }
            }
        }
        // Content that is not taken yet. That of small frames is moved up to what came before it, over their headers: a move of few
        // bytes costs less than to hand each of them on.
        let mut run = at..at;
        while !self.is_over() {
            let part = self.decoder.next(input, &mut at, now);
            if let Ok(Some(Part::Data(content))) = &part
                && content.len() <= MOVED_MAX
                && !run.is_empty()
            {
                let end = run.end + content.len();
                input.copy_within(content.clone(), run.end);
                run.end = end;
                continue;
            }
            if !run.is_empty() {
                self.input_closed = !take(input.get(core::mem::take(&mut run)).unwrap_or_default());
                if self.input_closed {
                    break;
                }
            }
            let outcome = match part {
                Ok(None) => break,
                Ok(Some(Part::Data(content))) => {
                    run = content;
                    Ok(())
                }
                Ok(Some(Part::Empty)) => self.allow(now),
                Ok(Some(Part::Control(opcode))) => self.allow(now).and_then(|()| self.on_control(opcode)),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = outcome {
                self.fail(fault);
            }
        }
        let frames = self.decoder.take_frames();
        self.work = self.work.saturating_add(frames.saturating_mul(WS_FRAME_WORK));
        if frames >= TELLING {
            self.is_dense = len / usize::try_from(frames).unwrap_or(usize::MAX).max(1) < SMALL_FRAME;
        }
    }

    fn pay_bytes(&mut self, len: usize) {
        let units = u32::try_from(len / WS_BYTES_PER_UNIT).unwrap_or(u32::MAX);
        // The head of an upgrade is searched.
        let units = units.saturating_add(u32::from(self.upgrade.is_some()));
        self.work = self.work.saturating_add(units);
    }

    /// A frame came that carries nothing of the wire protocol.
    fn allow(&mut self, now: Instant) -> Result<(), WebSocketFault> {
        if self.bucket.take(CONTROL_RATE, now) { Ok(()) } else { Err(WebSocketFault::Flooding) }
    }

    fn on_control(&mut self, opcode: u8) -> Result<(), WebSocketFault> {
        match opcode {
            PING => {
                let mut content = [0; CONTROL_MAX];
                let said = self.decoder.control();
                let content = content.get_mut(..said.len()).unwrap_or_default();
                content.copy_from_slice(said);
                if self.unsent.len() + self.control.len() <= ANSWERS_MAX {
                    self.say(PONG, content);
                }
            }
            CLOSE => {
                // What it said is our answer, once all is said that is queued.
                self.code = close_code::read(self.decoder.control())?.unwrap_or(close_code::NORMAL);
                self.outcome = Some(Ok(()));
            }
            // A pong: it answers a ping of ours, or is a heartbeat of its own.
            _ => {}
        }
        self.decoder.forget_control();
        Ok(())
    }

    /// The first fault is the cause of all others.
    fn fail(&mut self, fault: WebSocketFault) {
        self.decoder.forget_control();
        // Within a message of ours nothing can be said.
        if let Some(code) = fault.code().filter(|_| self.owes_close()) {
            self.close_queued = true;
            self.say(CLOSE, &code.to_be_bytes());
        }
        self.outcome = Some(Err(fault));
    }

    /// Queues a control frame: at once, or behind the message that is half written.
    fn say(&mut self, opcode: u8, content: &[u8]) {
        debug_assert!(content.len() <= CONTROL_MAX, "a control frame is short");
        let key = match self.end {
            End::Client => self.sender.next_key(),
            End::Server => None,
        };
        let mut frame = Vec::with_capacity(content.len() + 6);
        let header = frames::put_header(&mut frame, opcode, content.len(), key);
        frame.extend_from_slice(content);
        if let (Some(key), Some(content)) = (key, frame.get_mut(header..)) {
            mask::apply(content, key, 0);
        }
        if self.sender.is_between() { self.unsent.append(&frame) } else { self.control.append(&frame) }
    }

    /// Writes what waits, then the outbox as messages; if our side is closing, then a close frame.
    fn flush(
        &mut self,
        outbox: &mut Outbox,
        pool: &mut BufferPool,
        (budget, side): (WriteBudget, WriteSide),
        framing: &mut Framing,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        let mut sent = 0usize;
        let mut write = |slices: &[IoSlice<'_>]| -> io::Result<usize> {
            let count = write(slices)?;
            sent = sent.saturating_add(count);
            Ok(count)
        };
        let mut flush = Flush { bytes: 0, frames: 0, progress: Progress::Empty };
        if let Err(error) = self.unsent.drain(&mut Socket::new(&mut write)) {
            flush.progress = Progress::Failed(error);
        } else if self.unsent.is_empty() && self.can_send() {
            let Core { sender, unsent, .. } = self;
            flush = outbox.flush(pool, budget, |slices| sender.send(slices, framing, unsent, &mut write));
        }
        if self.sender.is_between() {
            self.unsent.append_all(&mut self.control);
            let says_close = side == WriteSide::Closing && outbox.is_empty() && self.can_send();
            if says_close && matches!(flush.progress, Progress::Empty) {
                let code = self.code;
                self.say(CLOSE, &code.to_be_bytes());
                self.close_queued = true;
            }
        } else if outbox.is_empty() {
            // Its message will never be whole.
            self.control.clear(&mut pool.account);
        }
        if !matches!(flush.progress, Progress::Failed(_))
            && let Err(error) = self.unsent.drain(&mut Socket::new(&mut write))
        {
            flush.progress = Progress::Failed(error);
        }
        if matches!(flush.progress, Progress::Empty) && !self.unsent.is_empty() {
            flush.progress = Progress::Blocked;
        }
        flush.bytes = sent;
        flush
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
