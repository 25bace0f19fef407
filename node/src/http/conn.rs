//! One connection of a client: reads a request, waits for its answer, writes it, and reads the next, each with a deadline.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::event::Source;
use mio::{Interest, Registry, Token};

use super::guard::{Guard, Purpose};
use super::request::{HEAD_MAX, Head, Method, Parsed, Refusal, parse};
use super::response::Response;
use super::routes;

/// How long the head of a request may take, from its first byte or the connection on.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long its body may take.
const BODY_TIME: Duration = Duration::from_secs(20);
/// How long a connection is kept between two requests.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How long the answer may take to be found. The longest question has less.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// How long whoever reads an answer may take for any part of it.
const WRITE_TIME: Duration = Duration::from_secs(15);
/// How long the other side may take to see our end.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Bytes that are read from one connection before the others have their turn.
pub(super) const READ_MAX: usize = 256 * 1024;
/// What may wait for a viewer who does not read: some seconds of news of many peers.
const VIEWER_QUEUE_MAX: usize = 2 * 1024 * 1024;

/// A connection's socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

impl Socket {
    fn end_of_ours(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) => stream,
            #[cfg(unix)]
            Socket::Unix(stream) => stream,
        }
    }

    /// Has its readiness told under this name.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// No longer.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        // It is closed next, and with it all that is told of it.
        let _ = registry.deregister(self.source());
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request with its body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// How far a connection is.
#[derive(Debug)]
enum Phase {
    /// The head of a request is read.
    Head,
    /// Its body.
    Body(Box<Head>),
    /// Somebody looks for the answer.
    Waiting { keep_alive: bool, with_body: bool },
    /// It is written.
    Writing { keep_alive: bool },
    /// A viewer: news are written for as long as he reads.
    Viewing,
    /// Everything is written; the other side is to see our end before its own bytes become a reset.
    Closing { left: usize },
}

/// What a connection needs next.
#[derive(Debug)]
pub(super) enum Next {
    /// Its socket or its deadline.
    Wait,
    /// There is more to read, and others come first.
    Again,
    /// An answer.
    Answer(Box<Request>),
    /// Nothing: it is over.
    Gone,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: Socket,
    phase: Phase,
    input: Vec<u8>,
    output: VecDeque<Bytes>,
    /// Bytes of it.
    queued: usize,
    deadline: Instant,
    /// Since when it waits for a request.
    since: Instant,
    /// It has shown the token, where there is one.
    has_shown: bool,
}

impl Conn {
    pub(super) fn new(socket: Socket, now: Instant) -> Self {
        Conn {
            socket,
            phase: Phase::Head,
            input: Vec::new(),
            output: VecDeque::new(),
            queued: 0,
            deadline: now + HEAD_TIME,
            since: now,
            has_shown: false,
        }
    }

    /// When it is over unless something happens.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Since when it keeps a place and has asked nothing, if that is so.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        matches!(self.phase, Phase::Head | Phase::Body(_) | Phase::Closing { .. }).then_some(self.since)
    }

    /// Since when whoever has not shown the token keeps a place, whatever he does with it.
    pub(super) fn stranger_since(&self) -> Option<Instant> {
        (!self.has_shown).then_some(self.since)
    }

    /// Does it take news?
    pub(super) fn is_viewing(&self) -> bool {
        matches!(self.phase, Phase::Viewing)
    }

    /// Its time is over. True when it is owed a word about that.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let began =
            matches!(self.phase, Phase::Body(_)) || (matches!(self.phase, Phase::Head) && !self.input.is_empty());
        if began {
            self.refuse(Refusal::new(408, "the request did not come in time"), now);
        }
        began
    }

    /// The answer to its request.
    pub(super) fn answer(&mut self, response: &Response, now: Instant) {
        let Phase::Waiting { keep_alive, with_body } = self.phase else { return };
        self.put(response.head(keep_alive));
        if with_body {
            self.put(response.body.clone());
        }
        self.phase = Phase::Writing { keep_alive };
        self.deadline = now + WRITE_TIME;
    }

    /// It is to be told news from now on.
    pub(super) fn view(&mut self, now: Instant) {
        self.put(Response::stream_head());
        self.phase = Phase::Viewing;
        self.deadline = now + WRITE_TIME;
    }

    /// News for a viewer; false when he takes none any more.
    pub(super) fn tell(&mut self, news: &Bytes) -> bool {
        if self.queued.saturating_add(news.len()) > VIEWER_QUEUE_MAX {
            return false;
        }
        self.put(news.clone());
        true
    }

    fn refuse(&mut self, refusal: Refusal, now: Instant) {
        self.phase = Phase::Waiting { keep_alive: false, with_body: true };
        self.answer(&Response::from(refusal), now);
    }

    fn put(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.output.push_back(bytes);
        }
    }

    /// Does what can be done without waiting.
    /// Reads by way of `scratch`, which is anybody's: who sends a byte at a time holds that byte and no buffer.
    pub(super) fn advance(&mut self, guard: &Guard, scratch: &mut [u8], now: Instant) -> Next {
        loop {
            match &mut self.phase {
                Phase::Head => match parse(&self.input) {
                    Parsed::Refused(refusal) => self.refuse(refusal, now),
                    Parsed::NeedMore => match self.read(HEAD_MAX, scratch) {
                        Got::More => {}
                        Got::Enough => return Next::Again,
                        Got::Nothing => return Next::Wait,
                        Got::End => return Next::Gone,
                    },
                    Parsed::Head(head, len) => {
                        self.input.drain(..len.min(self.input.len()));
                        self.begin_body(head, guard, now);
                    }
                },
                Phase::Body(head) => {
                    let wanted = head.body_len;
                    if self.input.len() >= wanted {
                        let head = (**head).clone();
                        let rest = self.input.split_off(wanted);
                        let body = std::mem::replace(&mut self.input, rest);
                        let with_body = head.method != Method::Head;
                        self.phase = Phase::Waiting { keep_alive: head.keep_alive, with_body };
                        self.deadline = now + ANSWER_TIME;
                        return Next::Answer(Box::new(Request { head, body }));
                    }
                    if !self.write(now) {
                        return Next::Gone;
                    }
                    match self.read(wanted, scratch) {
                        Got::More => {}
                        Got::Enough => return Next::Again,
                        Got::Nothing => return Next::Wait,
                        Got::End => return Next::Gone,
                    }
                }
                Phase::Waiting { .. } => return if self.write(now) { Next::Wait } else { Next::Gone },
                Phase::Writing { keep_alive } => {
                    let keep_alive = *keep_alive;
                    if !self.write(now) {
                        return Next::Gone;
                    }
                    if self.queued > 0 {
                        return Next::Wait;
                    }
                    if keep_alive {
                        (self.phase, self.since, self.deadline) = (Phase::Head, now, now + IDLE_TIME);
                    } else {
                        if self.socket.end_of_ours().is_err() {
                            return Next::Gone;
                        }
                        (self.phase, self.since) = (Phase::Closing { left: READ_MAX }, now);
                        self.deadline = now + CLOSE_TIME;
                    }
                }
                Phase::Viewing => {
                    if !self.write(now) {
                        return Next::Gone;
                    }
                    if self.queued == 0 {
                        self.deadline = now + IDLE_TIME;
                    }
                    return match self.read(HEAD_MAX, scratch) {
                        Got::Nothing => Next::Wait,
                        // He has nothing more to say.
                        _ => Next::Gone,
                    };
                }
                Phase::Closing { left } => {
                    *left = left.saturating_sub(self.input.len().max(1));
                    let is_over = *left == 0;
                    self.input.clear();
                    match self.read(HEAD_MAX, scratch) {
                        Got::More if !is_over => {}
                        Got::Nothing => return Next::Wait,
                        _ => return Next::Gone,
                    }
                }
            }
        }
    }

    fn begin_body(&mut self, mut head: Box<Head>, guard: &Guard, now: Instant) {
        let purpose = routes::purpose(&head.path);
        if let Err(refusal) = guard.check(&head, purpose) {
            return self.refuse(refusal, now);
        }
        if guard.token.is_some() {
            match purpose {
                Purpose::Node => self.has_shown = true,
                // Anybody is given the page, and nobody a place for it that he can keep.
                Purpose::Page => head.keep_alive = head.keep_alive && self.has_shown,
            }
        }
        if head.expects_continue && self.input.len() < head.body_len {
            self.put(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        self.deadline = now + BODY_TIME;
        self.phase = Phase::Body(head);
    }

    /// Reads until there are so many bytes, or none at the moment.
    fn read(&mut self, wanted: usize, scratch: &mut [u8]) -> Got {
        let room = wanted.saturating_sub(self.input.len()).clamp(1, scratch.len().max(1));
        let space = scratch.get_mut(..room).unwrap_or_default();
        let read = loop {
            match self.socket.read(space) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read {
            Ok(0) => Got::End,
            Ok(len) => {
                self.input.extend_from_slice(space.get(..len).unwrap_or_default());
                if len >= READ_MAX { Got::Enough } else { Got::More }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Nothing,
            Err(_) => Got::End,
        }
    }

    /// Writes what the socket takes. False when it is broken.
    fn write(&mut self, now: Instant) -> bool {
        while let Some(front) = self.output.front_mut() {
            match self.socket.write(front) {
                Ok(0) => return false,
                Ok(len) => {
                    self.queued = self.queued.saturating_sub(len);
                    let written = front.split_to(len.min(front.len()));
                    drop(written);
                    if front.is_empty() {
                        self.output.pop_front();
                    }
                    if matches!(self.phase, Phase::Writing { .. } | Phase::Viewing) {
                        self.deadline = now + WRITE_TIME;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

/// What a read has brought.
enum Got {
    More,
    /// As much as one turn may have.
    Enough,
    /// Nothing at the moment.
    Nothing,
    /// The other side's end, or an error.
    End,
}
