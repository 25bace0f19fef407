//! A protocol that remembers what it saw and reacts as a test says.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use spacetime_network::close::CloseReason;
use spacetime_network::driver::{Admit, Begun, Config, Driver, Event, FrameStart, Meter, Net, Protocol};
use spacetime_network::id::{ConnId, DialId, VerifiedId};
use spacetime_network::time::{Instant as LoopInstant, Now};
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameError, FrameRules, Priority};

pub(crate) static ANY: FrameRules = FrameRules::any(MAX_PAYLOAD);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Opened(ConnId),
    DialFailed(DialId, CloseReason),
    Frame(ConnId, u8, Vec<u8>),
    HalfClosed(ConnId),
    Writable(ConnId),
    Closed(ConnId, CloseReason),
    Timer,
    Command(u32),
    Stopping,
}

pub(crate) type Reaction = Box<dyn FnMut(&Seen, &mut Net) + Send>;

pub(crate) struct Party {
    pub(crate) seen: Vec<Seen>,
    pub(crate) reaction: Reaction,
    pub(crate) deadline: Option<LoopInstant>,
    pub(crate) admits: bool,
    /// How many more it has a place for.
    pub(crate) places: Option<usize>,
    /// Which kinds of large frames it wants.
    pub(crate) wants: fn(u8) -> bool,
    /// Which began: kind, length and what was there of the payload.
    pub(crate) begun: Vec<(u8, usize, Vec<u8>)>,
    /// Where it has none, others wait for one.
    pub(crate) waits: bool,
    /// Who waited in vain.
    pub(crate) in_vain: Vec<SocketAddr>,
    /// Whom it admitted.
    pub(crate) admitted: Vec<SocketAddr>,
    /// What it sends before it closes a connection whose bytes cannot be a frame.
    pub(crate) last_frame: Option<&'static [u8]>,
    /// Who the peers have proven to be, in the order of their opening.
    pub(crate) identities: Vec<Option<VerifiedId>>,
    /// Why admitted addresses became no connections.
    pub(crate) released: Vec<CloseReason>,
}

impl Protocol for Party {
    type Command = u32;

    fn admit(&mut self, _now: Now, remote: SocketAddr, _net: &mut Net) -> Admit {
        if !self.admits {
            return Admit::Refuse;
        }
        if self.places == Some(0) && self.waits {
            return Admit::Wait(b"full");
        }
        if self.places == Some(0) {
            return self.admitted.first().map_or(Admit::Refuse, |first| Admit::Evict(*first));
        }
        self.places = self.places.map(|places| places - 1);
        self.admitted.push(remote);
        Admit::Accept
    }

    fn begun(&mut self, _now: Now, start: FrameStart<'_>, _meter: &mut Meter<'_>) -> Begun {
        self.begun.push((start.kind, start.len, start.head.to_vec()));
        if (self.wants)(start.kind) { Begun::Read } else { Begun::Skip }
    }

    fn handle(&mut self, _now: Now, event: Event<'_, u32>, net: &mut Net) {
        let seen = match event {
            Event::Opened { conn, identity, .. } => {
                self.identities.push(identity);
                Seen::Opened(conn)
            }
            Event::DialFailed { dial, reason, .. } => Seen::DialFailed(dial, reason),
            Event::Frame { conn, frame } => Seen::Frame(conn, frame.kind, frame.payload.to_vec()),
            Event::HalfClosed { conn } => Seen::HalfClosed(conn),
            Event::Writable { conn } => Seen::Writable(conn),
            Event::Closed { conn, reason } => Seen::Closed(conn, reason),
            Event::Timer => {
                self.deadline = None;
                Seen::Timer
            }
            Event::Command(command) => Seen::Command(command),
            Event::Stopping => Seen::Stopping,
            Event::WaitedInVain { remote, last } => {
                assert_eq!(last, b"full");
                return self.in_vain.push(remote);
            }
            Event::AdmissionReleased { reason, .. } => {
                self.places = self.places.map(|places| places + 1);
                return self.released.push(reason);
            }
            Event::BadFrame { conn, error } => return self.bad_frame(conn, error, net),
            Event::TurnEnded | Event::Datagram { .. } => return,
        };
        (self.reaction)(&seen, net);
        self.seen.push(seen);
    }

    fn deadline(&self) -> Option<LoopInstant> {
        self.deadline
    }
}

impl std::fmt::Debug for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Party").field("seen", &self.seen).field("released", &self.released).finish_non_exhaustive()
    }
}

impl Party {
    /// Says its last word, if it has one; else the loop closes the connection.
    fn bad_frame(&mut self, conn: ConnId, error: FrameError, net: &mut Net) {
        if let Some(last) = self.last_frame {
            let _ = net.send(conn, Priority::Critical, 0xff, last);
            net.close(conn, CloseReason::Frame(error), Duration::from_millis(500));
        }
    }

    pub(crate) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let frames = self.seen.iter().filter_map(|seen| match seen {
            Seen::Frame(_, kind, payload) => Some((*kind, payload.clone())),
            _ => None,
        });
        frames.collect()
    }

    pub(crate) fn frame_count(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Frame(..))).count()
    }

    pub(crate) fn opened(&self) -> Vec<ConnId> {
        self.seen.iter().filter_map(|seen| if let Seen::Opened(conn) = seen { Some(*conn) } else { None }).collect()
    }

    pub(crate) fn closed(&self) -> Vec<CloseReason> {
        self.seen.iter().filter_map(|seen| if let Seen::Closed(_, why) = seen { Some(*why) } else { None }).collect()
    }
}

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.rules = &ANY;
    config
}

pub(crate) fn party(config: Config) -> Driver<Party> {
    reacting(config, |_, _| {})
}

pub(crate) fn reacting(config: Config, reaction: impl FnMut(&Seen, &mut Net) + Send + 'static) -> Driver<Party> {
    let reaction = Box::new(reaction);
    let (admitted, identities, released) = (Vec::new(), Vec::new(), Vec::new());
    let seen = Vec::new();
    let party = Party {
        seen,
        reaction,
        deadline: None,
        admits: true,
        places: None,
        wants: |_| true,
        begun: Vec::new(),
        waits: false,
        in_vain: Vec::new(),
        admitted,
        last_frame: None,
        identities,
        released,
    };
    Driver::new(config, party).unwrap()
}

/// A party that sends every frame back.
pub(crate) fn echo(config: Config) -> Driver<Party> {
    reacting(config, |seen, net| {
        if let Seen::Frame(conn, kind, payload) = seen {
            let payload = payload.clone().into();
            let _ = net.send_shared(*conn, Priority::Normal, *kind, &payload);
        }
    })
}

pub(crate) fn listen(driver: &mut Driver<Party>) -> SocketAddr {
    driver.listen("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Turns one driver until `done`. The limit is a net under a hanging test, not a claim about speed.
pub(crate) fn turn_until(driver: &mut Driver<Party>, mut done: impl FnMut(&Driver<Party>) -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done(driver) {
        driver.turn(Some(Duration::from_millis(5))).unwrap();
        assert!(Instant::now() < limit, "it never came; seen: {:.2000}", format!("{:?}", driver.protocol().seen));
    }
}

/// Turns two drivers until `done`.
pub(crate) fn turn_both(
    one: &mut Driver<Party>,
    two: &mut Driver<Party>,
    mut done: impl FnMut(&Driver<Party>, &Driver<Party>) -> bool,
) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done(one, two) {
        one.turn(Some(Duration::ZERO)).unwrap();
        two.turn(Some(Duration::ZERO)).unwrap();
        assert!(Instant::now() < limit, "it never came");
    }
}

/// Two drivers and the connection between them, by its name on either side.
pub(crate) fn connect(dialer: &mut Driver<Party>, listener: &mut Driver<Party>) -> (ConnId, ConnId) {
    let address = listen(listener);
    dialer.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(10)));
    turn_both(dialer, listener, |one, two| !one.protocol().opened().is_empty() && !two.protocol().opened().is_empty());
    (dialer.protocol().opened()[0], listener.protocol().opened()[0])
}

/// A plain socket connected to the driver, and the connection's name there.
pub(crate) fn plain(driver: &mut Driver<Party>) -> (TcpStream, ConnId) {
    let address = listen(driver);
    let stream = TcpStream::connect(address).unwrap();
    let before = driver.protocol().opened().len();
    turn_until(driver, |driver| driver.protocol().opened().len() > before);
    (stream, driver.protocol().opened()[before])
}

pub(crate) fn payload(len: usize, salt: u32) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 13) as u8).collect()
}

pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32 + 1).to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(payload);
    frame
}

/// Reads from a plain socket, turning the driver whenever there is nothing, until `done` or the end of the stream.
pub(crate) fn read_turning(
    stream: &mut TcpStream,
    driver: &mut Driver<Party>,
    mut done: impl FnMut(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    stream.set_nonblocking(true)?;
    let limit = Instant::now() + Duration::from_secs(60);
    let (mut all, mut buffer) = (Vec::new(), vec![0; 65536]);
    while !done(&all) {
        match io::Read::read(stream, &mut buffer) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                driver.turn(Some(Duration::from_millis(1)))?;
            }
            Err(error) => return Err(error),
        }
        assert!(Instant::now() < limit, "it never came");
    }
    Ok(all)
}

/// Writes to a plain socket until it takes no more.
pub(crate) fn write_until_full(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    while written < bytes.len() {
        match io::Write::write(stream, &bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    written
}
