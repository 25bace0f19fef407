//! TLS on one connection: the socket's bytes in, frames' bytes out, and back.
//!
//! ```text
//! handshake ---------> open --------> close_notify sealed    nothing is sealed any more
//!      |                 |----------> input closed           nobody wants more plaintext
//!      +-----------------+----------> ended                  by the peer's close_notify, or by a fault
//! ```
//!
//! What it holds, beside the connection's keys:
//!
//! ```text
//! handshake   who it is with and how many bytes it took, until it is done
//! tail        the start of a record; or of a handshake message that spans records, which the connection opened in place
//! unsent      bytes that the socket did not take: at most what one round of sealing makes
//! ```
//!
//! All three are empty while the connection is idle. Complete records are opened where they were read, and sealed into a
//! buffer of the loop's, from which they are written.

use core::fmt;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::alpn::Inside;
use super::context::Tls;
use super::effort::Effort;
use super::fault::fault_of;
use super::record::{Tail, begins_with_close_notify, complete_records, may_be_tls};
use super::rustls_connection::{End, Opened, RustlsConnection};
use super::sealing::{Sealing, Slices};
use crate::close::TlsFault;
use crate::id::{Direction, VerifiedId};
use crate::limits::HANDSHAKE_BYTES;
use crate::link::buffer_pool::BufferPool;
use crate::link::outbox::{Flush, Outbox, Progress, WriteBudget, WriteSide};
use crate::link::unsent::{Socket, Unsent};
use crate::time::Instant;

/// The TLS of one connection.
pub struct TlsStream {
    connection: RustlsConnection,
    /// Until the peer is known.
    handshake: Option<Box<Handshake>>,
    /// From then on, if it has shown one.
    identity: Option<VerifiedId>,
    tail: Tail,
    unsent: Unsent,
    effort: Effort,
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
    /// Who we were when it began.
    ours: VerifiedId,
    remote: SocketAddr,
    direction: Direction,
    inside: Inside,
    received: usize,
    /// Of these, opened.
    opened: usize,
    sent: usize,
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
    pub(in crate::link) fn new(
        tls: &Tls,
        remote: SocketAddr,
        direction: Direction,
        inside: Inside,
    ) -> Result<Self, TlsFault> {
        let ours = tls.id();
        let connection = if direction.is_outbound() {
            let (config, name) = tls.client_for(remote, inside);
            RustlsConnection::client(config, name)
        } else {
            RustlsConnection::server(tls.server_for(inside))
        };
        let mut stream = TlsStream {
            connection: connection.map_err(|error| tls.fault(remote, &error))?,
            handshake: Some(Box::new(Handshake {
                tls: tls.clone(),
                ours,
                remote,
                direction,
                inside,
                received: 0,
                opened: 0,
                sent: 0,
            })),
            identity: None,
            tail: Tail::default(),
            unsent: Unsent::default(),
            effort: Effort::default(),
            bytes_without_plaintext: 0,
            end: None,
            input_closed: false,
            close_notify_sealed: false,
        };
        // Who dialed speaks first.
        if direction.is_outbound() {
            stream.step(&mut [], &mut |_| false);
        }
        stream.check();
        Ok(stream)
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
        self.unsent.len()
    }

    /// See [`Transport::answer_plainly`](super::Transport::answer_plainly).
    pub(in crate::link) fn answer_plainly(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.end, Some(Err(TlsFault::NotTls)), "who speaks TLS is answered in TLS");
        if self.end == Some(Err(TlsFault::NotTls)) && self.unsent.is_empty() {
            self.unsent.append(bytes);
        }
    }

    /// Until when the unfinished record must be finished.
    pub(in crate::link) fn deadline(&self, stall: Duration) -> Option<Instant> {
        self.tail.deadline(stall)
    }

    /// See [`Transport::open`](super::Transport::open).
    pub(in crate::link) fn open(&mut self, input: &mut [u8], now: Instant, take: &mut dyn FnMut(&[u8]) -> bool) {
        self.open_records(input, now, take);
        self.check();
    }

    fn open_records(&mut self, input: &mut [u8], now: Instant, take: &mut dyn FnMut(&[u8]) -> bool) {
        if self.is_over() {
            return;
        }
        if let Some(handshake) = &mut self.handshake {
            if !may_be_tls(handshake.received, input) {
                // Whoever comes to this port without TLS is no refusal that an operator has to judge: anybody may.
                let is_stranger = !handshake.direction.is_outbound();
                return if is_stranger { self.fail(TlsFault::NotTls) } else { self.refuse(TlsFault::NotTls) };
            }
            handshake.received = handshake.received.saturating_add(input.len());
        }
        let mut rest = input;
        while !self.tail.is_empty() && !rest.is_empty() {
            rest = self.tail.fill(rest);
            // Also while it is unfinished: what can be no record is found as soon as it is there, not when its claimed length
            // is, and never by the next who seals.
            let (mut bytes, complete) = self.tail.take();
            let opened = self.step(&mut bytes, take);
            if self.is_over() {
                return;
            }
            self.tail.keep(bytes, opened, complete);
        }
        if !rest.is_empty() {
            // Looked at before: what is opened in place has no headers left.
            let complete = complete_records(rest);
            let opened = self.step(rest, take);
            if !self.is_over() {
                self.tail.begin(rest, opened, complete, now);
            }
        }
        let handshaking = self.handshake.is_some() && self.end.is_none();
        // A message that a handshake needs no more, grown over as many records: there are none that large.
        if (handshaking && self.room() == 0) || self.tail.complete() > HANDSHAKE_BYTES {
            self.refuse(TlsFault::HandshakeTooLarge);
        }
    }

    /// Units of work that opening has cost since the last call.
    pub(in crate::link) fn take_work(&mut self) -> u32 {
        self.effort.take()
    }

    /// Were the last records so small that a read brings many?
    pub(in crate::link) fn is_dense(&self) -> bool {
        self.effort.is_dense()
    }

    /// Is the handshake under way, and did we dial?
    fn is_dialing(&self) -> bool {
        self.handshake.as_ref().is_some_and(|handshake| handshake.direction.is_outbound())
    }

    /// Nothing that comes will be opened any more.
    fn is_over(&self) -> bool {
        self.end.is_some() || self.input_closed || self.close_notify_sealed
    }

    /// Opens what is complete; answers how much that was.
    fn step(&mut self, input: &mut [u8], take: &mut dyn FnMut(&[u8]) -> bool) -> usize {
        if self.handshake.as_ref().is_some_and(|handshake| handshake.opened == 0) && begins_with_close_notify(input) {
            // The library would wait for what comes behind it.
            self.fail(TlsFault::Alert(0));
            return 0;
        }
        let before = self.unsent.appended();
        let (mut records, mut opened) = (0usize, 0usize);
        let Opened { used, end } = self.connection.open(input, self.unsent.bytes_mut(), &mut |plaintext| {
            records = records.saturating_add(1);
            opened = opened.saturating_add(plaintext.len());
            take(plaintext)
        });
        self.effort.opened(used, opened, records);
        match end {
            End::More => {}
            End::Closed => {
                debug_assert!(self.end.is_none(), "the peer ends its side once");
                self.end = Some(Ok(()));
            }
            End::Refused => self.input_closed = true,
            End::Failed(error) => {
                let fault = match &self.handshake {
                    Some(handshake) => handshake.tls.fault(handshake.remote, &error),
                    None => fault_of(&error),
                };
                let fault = match fault {
                    // Its first bytes were TLS.
                    TlsFault::NotTls => TlsFault::Protocol,
                    // Only whoever we dial is at the wrong end; from one who dials us it is a second hello.
                    TlsFault::AlsoClient if !self.is_dialing() => TlsFault::Protocol,
                    fault => fault,
                };
                self.fail(fault);
            }
        }
        let appended = self.unsent.appended();
        debug_assert!(appended >= before, "what the library sends is appended");
        if let Some(handshake) = &mut self.handshake {
            handshake.opened = handshake.opened.saturating_add(used);
            handshake.sent = handshake.sent.saturating_add(appended.saturating_sub(before));
            self.advance_handshake();
        } else {
            self.bytes_without_plaintext =
                if records > 0 { 0 } else { self.bytes_without_plaintext.saturating_add(used) };
            if self.bytes_without_plaintext > HANDSHAKE_BYTES {
                self.fail(TlsFault::Protocol);
            }
        }
        used
    }

    /// The handshake may be done, or too large.
    fn advance_handshake(&mut self) {
        let Some(handshake) = &self.handshake else { return };
        debug_assert!(
            self.identity.is_none() && !self.close_notify_sealed,
            "a handshake is done once, and first of all"
        );
        if matches!(self.end, Some(Err(_))) {
            return;
        }
        if handshake.sent > HANDSHAKE_BYTES {
            return self.refuse(TlsFault::HandshakeTooLarge);
        }
        if self.connection.is_handshaking() {
            return;
        }
        let Handshake { tls, ours, remote, direction, inside, .. } = &**handshake;
        if tls.id() != *ours {
            // We are somebody else by now, and would greet as such.
            return self.fail(TlsFault::Cut);
        }
        let spoken = (*inside, self.connection.protocol());
        match tls.verified_for(*remote, *direction, spoken, self.connection.certificates()) {
            Ok(identity) => {
                self.identity = identity;
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
        self.tail.clear();
    }

    /// Writes what was left, then seals and writes what the outbox has; if our side is closing, then close_notify.
    ///
    /// The answer counts the socket's bytes, and frames as written when they are sealed.
    pub(in crate::link) fn flush(
        &mut self,
        outbox: &mut Outbox,
        pool: &mut BufferPool,
        budget: WriteBudget,
        side: WriteSide,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        self.flush_through(pool, side, write, |pool, seal| {
            let flush = outbox.flush(pool, budget, seal);
            (flush, outbox.is_empty())
        })
    }

    /// The same of whatever `produce` writes to what seals; it answers how that went and whether all is said.
    pub(in crate::link) fn flush_through(
        &mut self,
        pool: &mut BufferPool,
        side: WriteSide,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        produce: impl FnOnce(&mut BufferPool, &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> (Flush, bool),
    ) -> Flush {
        let mut sealing = pool.sealing();
        let mut socket = Socket::new(write);
        let nothing = |progress| (Flush { bytes: 0, frames: 0, progress }, false);
        let (mut flush, is_done) = match self.unsent.drain(&mut socket) {
            Ok(()) if self.can_seal() => produce(pool, &mut |slices| self.seal(slices, &mut sealing, &mut socket)),
            Ok(()) => nothing(Progress::Empty),
            Err(error) => nothing(Progress::Failed(error)),
        };
        pool.give_sealing(sealing);
        if side == WriteSide::Closing && is_done && self.can_seal() && matches!(flush.progress, Progress::Empty) {
            self.close_notify_sealed = true;
            let (kept, out) = (self.tail.bytes_mut(), self.unsent.bytes_mut());
            if let Err(error) = self.connection.seal(kept, out, &mut |seal, out| seal.close_notify(out)) {
                self.fail(fault_of(&error));
            }
        }
        // What came up meanwhile: close_notify, or the alert of a failure.
        if !matches!(flush.progress, Progress::Failed(_))
            && let Err(error) = self.unsent.drain(&mut socket)
        {
            flush.progress = Progress::Failed(error);
        }
        flush.progress = match flush.progress {
            Progress::Empty if self.unsent() > 0 => Progress::Blocked,
            // The socket has taken all that will ever come.
            Progress::Blocked if self.unsent() == 0 && matches!(self.end, Some(Err(_))) => Progress::Empty,
            progress => progress,
        };
        flush.bytes = socket.sent();
        self.account(pool);
        self.check();
        flush
    }

    pub(in crate::link) fn can_seal(&self) -> bool {
        self.handshake.is_none() && !self.close_notify_sealed && !matches!(self.end, Some(Err(_)))
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
            if socket.is_blocked() {
                return if slices.taken() > 0 { Ok(slices.taken()) } else { Err(io::ErrorKind::WouldBlock.into()) };
            }
            debug_assert!(self.unsent.is_empty(), "what is sealed leaves behind what waits");
            let Sealing { records, gather } = sealing;
            let (mut len, taken) = (0, slices.taken());
            let (kept, out) = (self.tail.bytes_mut(), self.unsent.bytes_mut());
            let outcome = self.connection.seal(kept, out, &mut |seal, out| {
                // What the library wants to send comes first, and leaves by the same write.
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
            self.unsent.append(sealed.get(written..).unwrap_or_default());
        }
        Ok(slices.taken())
    }

    /// Brings the pool's account up to date.
    pub(in crate::link) fn account(&mut self, pool: &mut BufferPool) {
        self.unsent.account(&mut pool.account);
    }

    pub(in crate::link) fn clear(&mut self, pool: &mut BufferPool) {
        self.tail.clear();
        self.unsent.clear(&mut pool.account);
    }

    /// What holds in each state, and so after each change from one to another.
    #[inline]
    fn check(&self) {
        debug_assert!(
            self.handshake.is_none() || self.identity.is_none(),
            "a peer is known from the end of the handshake on, and not before"
        );
        debug_assert!(self.end.is_none() || self.tail.is_empty(), "what will not be opened is kept");
        debug_assert!(!self.close_notify_sealed || self.handshake.is_none(), "nothing is sealed in a handshake");
        let was_open = self.handshake.is_none() || self.end.is_some();
        debug_assert!(!self.input_closed || was_open, "plaintext came in the middle of a handshake");
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
