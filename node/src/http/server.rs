//! The thread of the administration endpoint: sockets that never block, and answers that other threads find.
//!
//! It reads and writes all connections in turns and never asks the node anything itself, so that whoever is slow waits alone. Requests
//! wait in two bounded lines, quick ones and those that read the chain or wait for something, each with threads of its own; when a line
//! is full, the answer is 503. What a client may hold is bounded in number, bytes and time. Where all places are taken, whoever has
//! not shown the token for longest gives way, and where there is none whoever has asked nothing for longest.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Interest, Poll, Token, Waker};

use super::conn::{Conn, Next, READ_MAX, Request, Socket};
use super::guard::Guard;
use super::response::Response;
use super::routes::{self, Speed};
use crate::failure::Failure;

/// Connections at a time. Each holds what it has sent, at most 8 KiB of a head; where slow clients have too few places they drive out
/// each other, and every turn of that costs more than all their bytes.
pub(crate) const CONNECTIONS_MAX: usize = 128;
/// Of these, viewers of the page.
pub(crate) const VIEWERS_MAX: usize = 16;
/// Requests of one sort that wait for a thread.
const LINE_MAX: usize = 32;
/// Threads that answer requests of one sort.
const THREADS: usize = 2;
/// Answers and news on their way to the sockets: as many as there can be connections, and some seconds of news.
const MESSAGES_MAX: usize = CONNECTIONS_MAX + 16;
/// The pause after an accept that failed, as where no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST: usize = 2;

/// Where it listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(mio::net::TcpListener),
    /// And the path of its socket, which is removed in the end.
    #[cfg(unix)]
    Unix(mio::net::UnixListener, PathBuf),
}

impl Listener {
    /// Listens on an address.
    pub(crate) fn tcp(address: SocketAddr) -> io::Result<Self> {
        mio::net::TcpListener::bind(address).map(Listener::Tcp)
    }

    /// Listens on a socket of the file system, which only its owner can open.
    #[cfg(unix)]
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
        use std::os::unix::net::UnixStream;
        // Before anything is made: nobody could connect to a longer one.
        std::os::unix::net::SocketAddr::from_pathname(path)
            .map_err(|error| io::Error::new(error.kind(), "the path of a socket is at most 107 bytes long"))?;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
            }
            // Left by one that was killed.
            Ok(_) => std::fs::remove_file(path)?,
        }
        // It has its permissions before anybody can find it: until then it is in a directory that only we can enter.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let hidden = parent.join(format!(".http-{}", std::process::id()));
        let tidy = || {
            let _ = std::fs::remove_file(hidden.join("s"));
            let _ = std::fs::remove_dir(&hidden);
        };
        // Left by one that was killed in this very moment: the first process of a container always has the same number.
        tidy();
        std::fs::DirBuilder::new().mode(0o700).create(&hidden)?;
        let made = (|| {
            let inside = hidden.join("s");
            let listener = mio::net::UnixListener::bind(&inside)?;
            std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&inside, path)?;
            Ok(listener)
        })();
        tidy();
        made.map(|listener| Listener::Unix(listener, path.to_owned()))
    }

    /// The address that it got.
    pub(crate) fn local(&self) -> io::Result<String> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            #[cfg(unix)]
            Listener::Unix(_, path) => Ok(format!("unix:{}", path.display())),
        }
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // A refusal costs the answers some milliseconds and nothing else.
                let _ = stream.set_nodelay(true);
                Ok(Socket::Tcp(stream))
            }
            #[cfg(unix)]
            Listener::Unix(listener, _) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
        }
    }

    fn register(&mut self, poll: &Poll) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => poll.registry().register(listener, LISTENER, Interest::READABLE),
            #[cfg(unix)]
            Listener::Unix(listener, _) => poll.registry().register(listener, LISTENER, Interest::READABLE),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Listener::Unix(_, path) = self {
            // Another one that took its place is not ours to remove, but then it would have found us answering.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What other threads tell the sockets.
enum Message {
    Answer(Token, Response),
    News(Bytes),
}

/// What the endpoint counted, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) connections: AtomicUsize,
    pub(crate) viewers: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) viewers_dropped: AtomicUsize,
}

/// A way to the viewers.
#[derive(Clone)]
pub(crate) struct Viewers {
    messages: SyncSender<Message>,
    waker: Arc<Waker>,
    pub(crate) served: Arc<Served>,
}

impl Viewers {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.served.viewers.load(Ordering::Relaxed)
    }

    /// Tells all of them something; lost where the sockets' thread is behind.
    pub(crate) fn tell(&self, news: Bytes) {
        if self.messages.try_send(Message::News(news)).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// A server that listens, and answers nobody yet.
pub(crate) struct Server {
    poll: Poll,
    listener: Listener,
    messages: Receiver<Message>,
    viewers: Viewers,
    stop: Arc<AtomicBool>,
}

/// A server that runs; dropping it ends it.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // It ends at once: nobody is waited for.
            let _ = thread.join();
        }
    }
}

impl Server {
    /// A server on this listener.
    pub(crate) fn new(mut listener: Listener) -> io::Result<Self> {
        let poll = Poll::new()?;
        listener.register(&poll)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        let viewers = Viewers { messages: sender, waker, served: Arc::default() };
        Ok(Server { poll, listener, messages, viewers, stop: Arc::default() })
    }

    /// A way to those who will view.
    pub(crate) fn viewers(&self) -> Viewers {
        self.viewers.clone()
    }

    /// Answers by `answer` from now on. `greet` is called when a viewer comes.
    pub(crate) fn start(
        self,
        guard: Guard,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
        greet: impl Fn() + Send + 'static,
    ) -> Result<Running, Failure> {
        let failed = |error: io::Error| Failure::new("start the administration endpoint", error, "try again");
        let answer: Arc<dyn Fn(&Request) -> Response + Send + Sync> = Arc::new(answer);
        let line = |name: &str| -> io::Result<SyncSender<(Token, Box<Request>)>> {
            let (sender, receiver) = sync_channel(LINE_MAX);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..THREADS {
                let (receiver, answer, viewers) = (Arc::clone(&receiver), Arc::clone(&answer), self.viewers.clone());
                thread::Builder::new().name(name.to_owned()).spawn(move || work(&receiver, &*answer, &viewers))?;
            }
            Ok(sender)
        };
        let lines = [line("http-quick").map_err(failed)?, line("http-slow").map_err(failed)?];
        let (stop, waker) = (Arc::clone(&self.stop), Arc::clone(&self.viewers.waker));
        let mut reactor = Reactor {
            poll: self.poll,
            listener: self.listener,
            messages: self.messages,
            served: Arc::clone(&self.viewers.served),
            stop: self.stop,
            guard,
            lines,
            greet: Box::new(greet),
            conns: BTreeMap::new(),
            next: FIRST,
            scratch: vec![0; READ_MAX],
            again: Vec::new(),
            accept_at: None,
        };
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || reactor.run()).map_err(failed)?;
        Ok(Running { stop, waker, thread: Some(thread) })
    }
}

/// Answers one request after the other until there is nobody left who asks.
fn work(
    line: &Mutex<Receiver<(Token, Box<Request>)>>,
    answer: &(dyn Fn(&Request) -> Response + Send + Sync),
    viewers: &Viewers,
) {
    loop {
        let next = line.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((token, request)) = next else { return };
        let response = answer(&request);
        // There is room for an answer to each connection; who is gone is missed by nobody.
        if viewers.messages.send(Message::Answer(token, response)).is_err() {
            return;
        }
        let _ = viewers.waker.wake();
    }
}

struct Reactor {
    poll: Poll,
    listener: Listener,
    messages: Receiver<Message>,
    served: Arc<Served>,
    stop: Arc<AtomicBool>,
    guard: Guard,
    /// By [`Speed`].
    lines: [SyncSender<(Token, Box<Request>)>; 2],
    greet: Box<dyn Fn() + Send>,
    conns: BTreeMap<usize, Conn>,
    /// Names are never given twice, so that an answer to one who is gone reaches nobody.
    next: usize,
    /// What is read goes through it.
    scratch: Vec<u8>,
    /// Who has more to read.
    again: Vec<usize>,
    /// When to accept again, after it failed.
    accept_at: Option<Instant>,
}

impl Reactor {
    fn run(&mut self) {
        let mut events = Events::with_capacity(128);
        while !self.stop.load(Ordering::SeqCst) {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "the administration endpoint ends: it cannot wait for its sockets");
                    return;
                }
                _ => {}
            }
            let now = Instant::now();
            let mut ready = std::mem::take(&mut self.again);
            ready.extend(events.iter().map(|event| event.token().0).filter(|token| *token >= FIRST));
            let may_accept = events.iter().any(|event| event.token() == LISTENER);
            for token in ready {
                self.advance(token, now);
            }
            self.take_messages(now);
            if may_accept || self.accept_at.is_some_and(|at| at <= now) {
                self.accept_all(now);
            }
            self.expire(now);
            self.count();
        }
    }

    /// Tells the metrics how many there are; returns how many of them are viewers.
    fn count(&self) -> usize {
        let viewers = self.conns.values().filter(|conn| conn.is_viewing()).count();
        self.served.viewers.store(viewers, Ordering::Relaxed);
        self.served.connections.store(self.conns.len(), Ordering::Relaxed);
        viewers
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let first = self.conns.values().map(Conn::deadline).chain(self.accept_at).min();
        // A millisecond more, or a clock that is a little early has us turn around once more.
        first.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn accept_all(&mut self, now: Instant) {
        self.accept_at = None;
        for _ in 0..CONNECTIONS_MAX {
            match self.listener.accept() {
                Ok(socket) => self.admit(socket, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                }
                Err(error) => {
                    tracing::debug!(%error, "the administration endpoint cannot accept a connection");
                    break;
                }
            }
        }
        self.accept_at = Some(now + ACCEPT_PAUSE);
    }

    fn admit(&mut self, mut socket: Socket, now: Instant) {
        if self.conns.len() >= CONNECTIONS_MAX {
            let oldest = |since: fn(&Conn) -> Option<Instant>| {
                self.conns.iter().filter_map(|(token, conn)| Some((since(conn)?, *token))).min()
            };
            // Where there is a token, who has not shown it keeps no place from those who may come to.
            let stranger = if self.guard.token.is_some() { oldest(Conn::stranger_since) } else { None };
            let gives_way = stranger.or_else(|| oldest(Conn::idle_since));
            self.served.refused.fetch_add(1, Ordering::Relaxed);
            match gives_way {
                Some((_, token)) => self.drop_conn(token),
                // Everybody waits for an answer: so many more would only wait too.
                None => return,
            }
        }
        let token = self.next;
        self.next += 1;
        if socket.register(self.poll.registry(), Token(token)).is_ok() {
            self.conns.insert(token, Conn::new(socket, now));
            self.advance(token, now);
        }
    }

    fn advance(&mut self, token: usize, now: Instant) {
        loop {
            let Some(conn) = self.conns.get_mut(&token) else { return };
            match conn.advance(&self.guard, &mut self.scratch, now) {
                Next::Wait => return,
                Next::Again => return self.again.push(token),
                Next::Gone => return self.drop_conn(token),
                Next::Answer(request) => {
                    self.served.requests.fetch_add(1, Ordering::Relaxed);
                    self.begin(token, request, now);
                }
            }
        }
    }

    fn begin(&mut self, token: usize, request: Box<Request>, now: Instant) {
        // Before somebody looks for the answer, who may look at these: the viewer of a moment ago came in this turn too.
        let viewers = self.count();
        let Some(conn) = self.conns.get_mut(&token) else { return };
        let line = match routes::speed(&request.head) {
            Speed::View if viewers >= VIEWERS_MAX => {
                return conn.answer(&Response::error(503, "too many watch the live view"), now);
            }
            Speed::View => {
                conn.view(now);
                return (self.greet)();
            }
            Speed::Quick => self.lines.first(),
            Speed::Slow => self.lines.last(),
        };
        let sent = line.map(|line| line.try_send((Token(token), request)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None = sent {
            self.served.refused.fetch_add(1, Ordering::Relaxed);
            conn.answer(&Response::error(503, "too many requests wait for an answer"), now);
        }
    }

    fn take_messages(&mut self, now: Instant) {
        // As many as there are at most.
        for _ in 0..MESSAGES_MAX {
            match self.messages.try_recv() {
                Ok(Message::Answer(Token(token), response)) => {
                    if let Some(conn) = self.conns.get_mut(&token) {
                        conn.answer(&response, now);
                        self.advance(token, now);
                    }
                }
                Ok(Message::News(news)) => self.tell(&news, now),
                Err(_) => return,
            }
        }
        self.again.push(usize::MAX);
    }

    fn tell(&mut self, news: &Bytes, now: Instant) {
        let viewers: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| conn.is_viewing()).map(|(token, _)| *token).collect();
        for token in viewers {
            let takes = self.conns.get_mut(&token).is_some_and(|conn| conn.tell(news));
            if takes {
                self.advance(token, now);
            } else {
                // The page asks again, and is told all that it needs.
                self.served.viewers_dropped.fetch_add(1, Ordering::Relaxed);
                self.drop_conn(token);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let late: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| conn.deadline() <= now).map(|(token, _)| *token).collect();
        for token in late {
            if self.conns.get_mut(&token).is_some_and(|conn| conn.expire(now)) {
                self.advance(token, now);
            } else {
                self.drop_conn(token);
            }
        }
    }

    fn drop_conn(&mut self, token: usize) {
        if let Some(mut conn) = self.conns.remove(&token) {
            conn.socket.deregister(self.poll.registry());
        }
    }
}
