//! Those who attack, and the honest ones beside them: connections that never block, many in one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use spacetime_network::wire::{FrameRules, Kind, Message, Parse, frame};

use crate::words::{Greeting, courtesy};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes that one reads at once: what comes later waits for the others.
const READ: usize = 256 * 1024;
/// Between two looks at all of a crowd.
pub(crate) const PACE: Duration = Duration::from_millis(2);

thread_local! {
    /// What all in one thread read into first.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A connection to the node.
#[derive(Debug)]
pub(crate) struct Stranger {
    stream: TcpStream,
    out: VecDeque<Bytes>,
    inbox: Vec<u8>,
    parsed: usize,
    /// Bytes that were read.
    pub(crate) heard: u64,
    /// Is the handshake done?
    pub(crate) greeted: bool,
    /// Is the connection over?
    pub(crate) gone: bool,
    /// What the node's last Error frame said.
    pub(crate) complaint: Option<String>,
}

impl Stranger {
    /// Connects from this address.
    pub(crate) fn connect(node: SocketAddr, from: Ipv4Addr) -> std::io::Result<Stranger> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        Stranger::on(socket, node)
    }

    /// The same with a receive buffer of about so many bytes, so that one who reads slowly is seen to.
    pub(crate) fn connect_narrow(node: SocketAddr, from: Ipv4Addr, buffer: usize) -> std::io::Result<Stranger> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(buffer)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        Stranger::on(socket, node)
    }

    fn on(socket: Socket, node: SocketAddr) -> std::io::Result<Stranger> {
        socket.connect_timeout(&node.into(), CONNECT)?;
        Stranger::accepted(socket.into())
    }

    /// One who was dialed.
    pub(crate) fn accepted(stream: TcpStream) -> std::io::Result<Stranger> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Stranger {
            stream,
            out: VecDeque::new(),
            inbox: Vec::new(),
            parsed: 0,
            heard: 0,
            greeted: false,
            gone: false,
            complaint: None,
        })
    }

    /// Connects and greets, and waits until that is done or refused, this long at most.
    pub(crate) fn greet(
        node: SocketAddr,
        from: Ipv4Addr,
        greeting: &Greeting,
        patience: Duration,
    ) -> Result<Stranger, String> {
        let mut stranger = Stranger::connect(node, from).map_err(|error| error.to_string())?;
        stranger.push(greeting.frame());
        let end = Instant::now() + patience;
        while !stranger.greeted {
            stranger.turn(|_, _, _| {});
            if stranger.gone || Instant::now() >= end {
                let complaint = stranger.complaint.take();
                return Err(complaint.unwrap_or_else(|| {
                    if stranger.gone { "closed without a word".to_owned() } else { "no answer".to_owned() }
                }));
            }
            std::thread::sleep(PACE);
        }
        Ok(stranger)
    }

    /// Its connection for one who waits, and what was read ahead.
    pub(crate) fn into_blocking(mut self) -> std::io::Result<(TcpStream, Vec<u8>)> {
        self.flush();
        self.stream.set_nonblocking(false)?;
        Ok((self.stream, self.inbox.split_off(self.parsed)))
    }

    /// Queues a frame.
    pub(crate) fn say(&mut self, message: &Message<'_>) {
        self.push(crate::words::frame(message));
    }

    /// Queues bytes as they are.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.out.push_back(bytes);
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        self.out.iter().map(Bytes::len).sum()
    }

    /// Writes and reads what can be without waiting, answers questions as one who has nothing, and gives all other frames to
    /// `hear`.
    pub(crate) fn turn(&mut self, hear: impl FnMut(&mut Stranger, Kind, &[u8])) {
        self.turn_with(|_, _| false, hear);
    }

    /// The same, asking `answers` first whether it answers a question itself.
    pub(crate) fn turn_with(
        &mut self,
        mut answers: impl FnMut(&mut Stranger, &Message<'_>) -> bool,
        mut hear: impl FnMut(&mut Stranger, Kind, &[u8]),
    ) {
        self.flush();
        self.read();
        while let Some((kind, payload)) = self.next_frame() {
            if matches!(kind, Kind::Handshake | Kind::HandshakeAck) {
                self.greeted = true;
            }
            match Message::decode(kind, &payload) {
                Ok(Message::Error(text)) => self.complaint = Some(text.to_owned()),
                Ok(message) => {
                    if !answers(self, &message) {
                        match courtesy(&message) {
                            Some(answer) => self.push(answer),
                            None => hear(self, kind, &payload),
                        }
                    }
                }
                Err(_) => {}
            }
        }
        self.flush();
    }

    /// Writes what can be without waiting.
    pub(crate) fn flush(&mut self) {
        while let Some(front) = self.out.front_mut() {
            match self.stream.write(front) {
                Ok(written) if written == front.len() => drop(self.out.pop_front()),
                Ok(written) => drop(front.split_to(written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.out.clear();
                    // What was said last can still be read.
                    return;
                }
            }
        }
    }

    /// Reads at most so many bytes and throws them away; how many came.
    pub(crate) fn skim(&mut self, most: usize) -> usize {
        let mut buffer = vec![0; most];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.gone = true,
            Ok(count) => {
                self.heard += count as u64;
                return count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.gone = true,
        }
        0
    }

    fn read(&mut self) {
        if self.parsed > 0 {
            self.inbox.drain(..self.parsed);
            self.parsed = 0;
        }
        let (inbox, stream) = (&mut self.inbox, &mut self.stream);
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let read = stream.read(scratch);
            let count = *read.as_ref().unwrap_or(&0);
            inbox.extend_from_slice(scratch.get(..count).unwrap_or_default());
            read
        });
        match read {
            Ok(0) => self.gone = true,
            Ok(count) => self.heard += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.gone = true,
        }
    }

    fn next_frame(&mut self) -> Option<(Kind, Vec<u8>)> {
        let input = self.inbox.get(self.parsed..)?;
        match frame::parse(input, FrameRules::version(2)) {
            Parse::Complete { kind, payload, rest } => {
                let (kind, payload) = (Kind::from_byte(kind)?, payload.to_vec());
                self.parsed = self.inbox.len() - rest.len();
                Some((kind, payload))
            }
            Parse::NeedMore { .. } => None,
            Parse::Never(error) => {
                self.complaint = Some(error.to_string());
                self.gone = true;
                None
            }
        }
    }
}

/// Many of them.
#[derive(Debug, Default)]
pub(crate) struct Crowd(pub(crate) Vec<Stranger>);

impl Crowd {
    /// Connects and greets one from each of these addresses; who is refused tries again, for this long in all.
    pub(crate) fn gather(
        node: SocketAddr,
        sources: impl IntoIterator<Item = Ipv4Addr>,
        greeting: impl Fn(usize) -> Greeting,
        patience: Duration,
    ) -> Crowd {
        let end = Instant::now() + patience;
        let mut crowd = Crowd::default();
        for (index, from) in sources.into_iter().enumerate() {
            while Instant::now() < end {
                match Stranger::greet(node, from, &greeting(index), Duration::from_secs(2)) {
                    Ok(stranger) => {
                        crowd.0.push(stranger);
                        break;
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
                crowd.turn(|_, _, _, _| {});
            }
        }
        crowd
    }

    /// A turn of each.
    pub(crate) fn turn(&mut self, mut hear: impl FnMut(usize, &mut Stranger, Kind, &[u8])) {
        for (index, stranger) in self.0.iter_mut().enumerate().filter(|(_, stranger)| !stranger.gone) {
            stranger.turn(|stranger, kind, payload| hear(index, stranger, kind, payload));
        }
    }

    /// Turns until `end`, with `act` before each.
    pub(crate) fn until(&mut self, end: Instant, mut act: impl FnMut(&mut Crowd)) {
        while Instant::now() < end {
            act(self);
            self.turn(|_, _, _, _| {});
            std::thread::sleep(PACE);
        }
    }

    /// How many are still connected.
    pub(crate) fn here(&self) -> usize {
        self.0.iter().filter(|stranger| !stranger.gone).count()
    }
}
