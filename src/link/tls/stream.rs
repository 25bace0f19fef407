//! TLS on one connection: the socket's bytes in, frames' bytes out, and back.
//!
//! What it holds, beside the connection's keys:
//!
//! ```text
//! handshake   who it is with and how much was said, until it is done
//! tail        the start of a record; or of a handshake message that spans records, which the connection opened in place
//! out         bytes that the socket did not take: at most what one round of sealing makes
//! ```
//!
//! All three are empty while the connection is idle. Whole records are opened where they were read, and sealed into a
//! buffer of the loop's, from which they are written.

use core::fmt;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::rustls_connection::{End, Opened, RustlsConnection};
use super::sealing::{Sealing, Slices};
use super::{Tls, fault_of};
use crate::close::TlsFault;
use crate::id::{Direction, VerifiedId};
use crate::limits::HANDSHAKE_BYTES;
use crate::link::buffer_pool::BufferPool;
use crate::link::inbox::append;
use crate::link::outbox::{Flush, Outbox, Progress};
use crate::time::Instant;

/// The bytes of a record before its content.
const HEADER: usize = 5;

/// The TLS of one connection.
pub struct TlsStream {
    connection: RustlsConnection,
    handshake: Option<Box<Handshake>>,
    identity: Option<VerifiedId>,
    tail: Vec<u8>,
    /// Bytes of the tail that are whole records.
    whole: usize,
    /// When the tail began.
    began: Instant,
    out: Vec<u8>,
    /// Bytes of `out` that are written.
    at: usize,
    /// Bytes of `out` that count in the pool's account.
    charged: usize,
    /// Bytes that were opened since plaintext came.
    bytes_without_plaintext: usize,
    end: Option<Result<(), TlsFault>>,
    /// Nobody wants more plaintext.
    input_closed: bool,
    /// Our close_notify is sealed.
    close_notify_sealed: bool,
}

/// What matters until the peer is known.
struct Handshake {
    tls: Tls,
    remote: SocketAddr,
    direction: Direction,
    received: usize,
    /// Of these, opened.
    used: usize,
    said: usize,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("identity", &self.identity)
            .field("end", &self.end)
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}

impl TlsStream {
    pub(in crate::link) fn new(tls: &Tls, remote: SocketAddr, direction: Direction) -> Result<Self, TlsFault> {
        let connection = if direction.is_outbound() {
            let (config, name) = tls.client(remote);
            RustlsConnection::client(config, name)
        } else {
            RustlsConnection::server(tls.server())
        };
        let mut channel = TlsStream {
            connection: connection.map_err(|error| tls.fault(remote, &error))?,
            handshake: Some(Box::new(Handshake { tls: tls.clone(), remote, direction, received: 0, used: 0, said: 0 })),
            identity: None,
            tail: Vec::new(),
            whole: 0,
            began: Instant::ZERO,
            out: Vec::new(),
            at: 0,
            charged: 0,
            bytes_without_plaintext: 0,
            end: None,
            input_closed: false,
            close_notify_sealed: false,
        };
        // Who dialed speaks first.
        if direction.is_outbound() {
            channel.step(&mut [], &mut |_| false);
        }
        Ok(channel)
    }

    pub(in crate::link) fn is_securing(&self) -> bool {
        self.handshake.is_some()
    }

    pub(in crate::link) fn identity(&self) -> Option<VerifiedId> {
        self.identity
    }

    pub(in crate::link) fn end(&self) -> Option<Result<(), TlsFault>> {
        self.end
    }

    /// How many more bytes may be read before the handshake must be done.
    pub(in crate::link) fn room(&self) -> usize {
        self.handshake.as_ref().map_or(usize::MAX, |handshake| HANDSHAKE_BYTES.saturating_sub(handshake.received))
    }

    /// Bytes of memory for what came and is not opened.
    pub(in crate::link) fn held(&self) -> usize {
        self.tail.capacity()
    }

    pub(in crate::link) fn unsent(&self) -> usize {
        self.out.len().saturating_sub(self.at)
    }

    /// Until when the unfinished record must be finished.
    pub(in crate::link) fn deadline(&self, stall: Duration) -> Option<Instant> {
        (!self.tail.is_empty()).then(|| self.began + stall)
    }

    /// See [`Transport::open`](super::Transport::open).
    pub(in crate::link) fn open(&mut self, input: &mut [u8], now: Instant, take: &mut dyn FnMut(&[u8]) -> bool) {
        if self.is_over() {
            return;
        }
        if let Some(handshake) = &mut self.handshake {
            if !may_be_tls(handshake.received, input) {
                return self.refuse(TlsFault::NotTls);
            }
            handshake.received = handshake.received.saturating_add(input.len());
        }
        let mut rest = input;
        while !self.tail.is_empty() && !rest.is_empty() {
            let (more, later) = rest.split_at_mut(self.missing().min(rest.len()));
            append(&mut self.tail, more);
            rest = later;
            let whole = if self.missing() == 0 { self.tail.len() } else { self.whole };
            // Also while it is unfinished: what can be no record is found as soon as it is there, not when its claimed length
            // is, and never by the next who seals.
            let mut tail = core::mem::take(&mut self.tail);
            let used = self.step(&mut tail, take);
            if self.is_over() {
                self.whole = 0;
                return;
            }
            self.keep(tail, used, whole);
        }
        if !rest.is_empty() {
            // Looked at before: what is opened in place has no headers left.
            let whole = whole_records(rest);
            let used = self.step(rest, take);
            if !self.is_over() {
                self.began = now;
                self.keep(rest.get(used..).unwrap_or_default().to_vec(), 0, whole.saturating_sub(used));
            }
        }
        let handshaking = self.handshake.is_some() && self.end.is_none();
        // A message that a handshake needs no more, grown over as many records: there are none that large.
        if (handshaking && self.room() == 0) || self.whole > HANDSHAKE_BYTES {
            self.refuse(TlsFault::HandshakeTooLarge);
        }
    }

    /// Nothing that comes will be opened any more.
    fn is_over(&self) -> bool {
        self.end.is_some() || self.input_closed || self.close_notify_sealed
    }

    /// Keeps what is behind the first `used` bytes, of which `whole` are whole records.
    fn keep(&mut self, mut tail: Vec<u8>, used: usize, whole: usize) {
        self.whole = whole.saturating_sub(used);
        if used < tail.len() {
            tail.drain(..used);
            self.tail = tail;
        }
    }

    /// Bytes that the tail's last record misses, as far as is known.
    fn missing(&self) -> usize {
        let part = self.tail.get(self.whole..).unwrap_or_default();
        record_len(part).unwrap_or(HEADER).saturating_sub(part.len())
    }

    /// Opens what is whole; answers how much that was.
    fn step(&mut self, input: &mut [u8], take: &mut dyn FnMut(&[u8]) -> bool) -> usize {
        if self.handshake.as_ref().is_some_and(|handshake| handshake.used == 0) && begins_with_goodbye(input) {
            // The library would wait for what comes behind it.
            self.fail(TlsFault::Alert(0));
            return 0;
        }
        let before = self.out.len();
        let mut fruitless = true;
        let Opened { used, end } = self.connection.open(input, &mut self.out, &mut |plaintext| {
            fruitless = false;
            take(plaintext)
        });
        match end {
            End::More => {}
            End::Closed => self.end = Some(Ok(())),
            End::Refused => self.input_closed = true,
            End::Failed(error) => {
                let fault = match &self.handshake {
                    Some(handshake) => handshake.tls.fault(handshake.remote, &error),
                    None => fault_of(&error),
                };
                // Its first bytes were TLS.
                let fault = if fault == TlsFault::NotTls { TlsFault::Protocol } else { fault };
                self.fail(fault);
            }
        }
        let said = self.out.len().saturating_sub(before);
        if let Some(handshake) = &mut self.handshake {
            handshake.used = handshake.used.saturating_add(used);
            self.shake(said);
        } else {
            self.bytes_without_plaintext =
                if fruitless { self.bytes_without_plaintext.saturating_add(used) } else { 0 };
            if self.bytes_without_plaintext > HANDSHAKE_BYTES {
                self.fail(TlsFault::Protocol);
            }
        }
        used
    }

    /// `said` more bytes of the handshake are on their way; it may be done.
    fn shake(&mut self, said: usize) {
        let Some(handshake) = &mut self.handshake else { return };
        if matches!(self.end, Some(Err(_))) {
            return;
        }
        handshake.said = handshake.said.saturating_add(said);
        let verdict = if handshake.said > HANDSHAKE_BYTES {
            return self.refuse(TlsFault::HandshakeTooLarge);
        } else if self.connection.is_handshaking() {
            return;
        } else {
            let Handshake { tls, remote, direction, .. } = &**handshake;
            tls.verified(*remote, *direction, self.connection.protocol(), self.connection.certificates())
        };
        match verdict {
            Ok(identity) => {
                self.identity = Some(identity);
                self.handshake = None;
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// Fails for what the library did not have to find out; before the peer is known, the operator is told.
    fn refuse(&mut self, fault: TlsFault) {
        if let Some(handshake) = &self.handshake {
            handshake.tls.refused(handshake.remote, fault);
        }
        self.fail(fault);
    }

    fn fail(&mut self, fault: TlsFault) {
        // The first is the cause of all others.
        if !matches!(self.end, Some(Err(_))) {
            self.end = Some(Err(fault));
        }
        (self.tail, self.whole) = (Vec::new(), 0);
    }

    /// Writes what was left, then seals and writes what the outbox has; with `last`, then close_notify.
    ///
    /// The answer counts the socket's bytes, and frames as written when they are sealed.
    pub(in crate::link) fn flush(
        &mut self,
        outbox: &mut Outbox,
        pool: &mut BufferPool,
        budget: usize,
        last: bool,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        let mut sealing = pool.sealing();
        let mut socket = Socket { write, sent: 0, blocked: false };
        let mut flush = match self.drain(&mut socket) {
            Ok(()) if self.can_seal() => {
                outbox.flush(pool, budget, |slices| self.seal(slices, &mut sealing, &mut socket))
            }
            Ok(()) => Flush { bytes: 0, frames: 0, progress: Progress::Empty },
            Err(error) => Flush { bytes: 0, frames: 0, progress: Progress::Failed(error) },
        };
        pool.give_sealing(sealing);
        if last && outbox.is_empty() && self.can_seal() && matches!(flush.progress, Progress::Empty) {
            self.close_notify_sealed = true;
            if let Err(error) =
                self.connection.seal(&mut self.tail, &mut self.out, &mut |seal, out| seal.close_notify(out))
            {
                self.fail(fault_of(&error));
            }
        }
        // What came up meanwhile: close_notify, or why there is nothing more to say.
        if !matches!(flush.progress, Progress::Failed(_))
            && let Err(error) = self.drain(&mut socket)
        {
            flush.progress = Progress::Failed(error);
        }
        flush.progress = match flush.progress {
            Progress::Empty if self.unsent() > 0 => Progress::Blocked,
            // The socket has taken all that will ever come.
            Progress::Blocked if self.unsent() == 0 && matches!(self.end, Some(Err(_))) => Progress::Empty,
            progress => progress,
        };
        flush.bytes = socket.sent;
        self.account(pool);
        flush
    }

    pub(in crate::link) fn can_seal(&self) -> bool {
        self.handshake.is_none() && !self.close_notify_sealed && !matches!(self.end, Some(Err(_)))
    }

    /// Writes what was left, as far as the socket takes it.
    fn drain(&mut self, socket: &mut Socket<impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>>) -> io::Result<()> {
        self.at += socket.write(self.out.get(self.at..).unwrap_or_default())?;
        if self.at >= self.out.len() {
            (self.out, self.at) = (Vec::new(), 0);
        }
        Ok(())
    }

    /// Seals `slices` in rounds, as long as the socket takes what comes of it; answers how much is sealed.
    fn seal(
        &mut self,
        slices: &[IoSlice<'_>],
        sealing: &mut Sealing,
        socket: &mut Socket<impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>>,
    ) -> io::Result<usize> {
        let mut slices = Slices::new(slices);
        while !slices.is_empty() {
            if socket.blocked {
                return if slices.taken() > 0 { Ok(slices.taken()) } else { Err(io::ErrorKind::WouldBlock.into()) };
            }
            let Sealing { records, gather } = sealing;
            let (mut len, taken) = (0, slices.taken());
            let outcome = self.connection.seal(&mut self.tail, &mut self.out, &mut |seal, out| {
                // What the connection had to say comes first, and goes out by the same write.
                len = out.len();
                if records.len() < len {
                    records.resize(len, 0);
                }
                records.get_mut(..len).unwrap_or_default().copy_from_slice(out);
                *out = Vec::new();
                for _ in 0..Sealing::ROUND {
                    let Some(plaintext) = slices.next_record(gather) else { break };
                    len += seal.record(plaintext, records, len)?;
                }
                Ok(())
            });
            if let Err(error) = outcome {
                self.fail(fault_of(&error));
                return Err(io::ErrorKind::WouldBlock.into());
            }
            if slices.taken() == taken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let sealed = records.get(..len).unwrap_or_default();
            let written = socket.write(sealed)?;
            self.out.extend_from_slice(sealed.get(written..).unwrap_or_default());
        }
        Ok(slices.taken())
    }

    /// Brings the pool's account up to date.
    pub(in crate::link) fn account(&mut self, pool: &mut BufferPool) {
        let unsent = self.unsent();
        pool.charge(unsent);
        pool.release(core::mem::replace(&mut self.charged, unsent));
    }

    pub(in crate::link) fn clear(&mut self, pool: &mut BufferPool) {
        pool.release(core::mem::take(&mut self.charged));
        (self.tail, self.whole) = (Vec::new(), 0);
        (self.out, self.at) = (Vec::new(), 0);
    }
}

/// A writer, and what it said so far.
struct Socket<W> {
    write: W,
    sent: usize,
    blocked: bool,
}

impl<W: FnMut(&[IoSlice<'_>]) -> io::Result<usize>> Socket<W> {
    /// Writes as much as is taken; less than all means that it would block.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty() && !self.blocked) {
            match (self.write)(&[IoSlice::new(rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    at += count.min(rest.len());
                    self.blocked = at < bytes.len();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => return Err(error),
            }
        }
        self.sent += at;
        Ok(at)
    }
}

/// Can these be the bytes from number `position` on of a stream of TLS records that begins with a handshake? Only the
/// first record's header is looked at: everything behind it is the connection's to judge.
fn may_be_tls(position: usize, bytes: &[u8]) -> bool {
    let mut header = (position..HEADER).zip(bytes);
    header.all(|(index, byte)| match (index, *byte) {
        // A handshake, or an alert of somebody who can not begin one.
        (0, byte) => matches!(byte, 21 | 22),
        (1, byte) => byte == 3,
        (2, byte) => byte <= 4,
        (3, byte) => byte <= (LONGEST >> 8) as u8,
        _ => true,
    })
}

/// Is the first record an alert that is close_notify, whatever its level?
fn begins_with_goodbye(bytes: &[u8]) -> bool {
    matches!(bytes, [21, _, _, 0, 2, _, 0, ..])
}

/// The longest content of a record that any version allows, in bytes.
const LONGEST: usize = 16 * 1024 + 2048;

/// The length of the record that begins here, header included.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low] = *bytes.first_chunk::<HEADER>()?;
    Some(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// Bytes of the whole records at the front.
fn whole_records(bytes: &[u8]) -> usize {
    let mut whole = 0usize;
    while let Some(rest) = bytes.get(whole..)
        && let Some(len) = record_len(rest).filter(|len| *len <= rest.len())
    {
        whole = whole.saturating_add(len);
    }
    whole
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
