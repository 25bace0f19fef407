//! The sockets of UPnP, on a thread of their own: its calls are many and each may take seconds, and none of it is the loop's business.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::nat::upnp::{Carrier, Igd, LIMIT, SEARCH_PORT, is_whole, searches};
use crate::nat::{Job, JobKind, JobResult, JobTicket};

/// The group that hears searches.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// How long answers to a search are waited for, and when it is sent again.
const SEARCH_WAIT: Duration = Duration::from_millis(3_000);
const SEARCH_AGAIN: Duration = Duration::from_millis(1_000);
/// How long one call may take.
const CALL_WAIT: Duration = Duration::from_secs(5);
/// How long all of a job may take, and of one that gives a port back.
const JOB_WAIT: Duration = Duration::from_secs(25);
const RELEASE_WAIT: Duration = Duration::from_millis(1_700);
/// Jobs that may wait: one that was given up, and one that gives back.
const JOBS: usize = 4;

/// Wakes the loop.
type Wake = Arc<dyn Fn() + Send + Sync>;

type Done = (JobTicket, JobResult);

/// The thread, once there is something to do. It ends with this.
pub(super) struct Helper {
    wake: Wake,
    running: Option<(SyncSender<Job>, Receiver<Done>)>,
}

impl Helper {
    pub(super) fn new(wake: Wake) -> Self {
        Helper { wake, running: None }
    }

    /// Gives it a job; false when it takes none.
    pub(super) fn give(&mut self, job: Job) -> bool {
        if self.running.is_none() {
            self.running = self.start().ok();
        }
        self.running.as_ref().is_some_and(|(jobs, _)| jobs.try_send(job).is_ok())
    }

    /// A job that is done.
    pub(super) fn take(&mut self) -> Option<Done> {
        match self.running.as_ref()?.1.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.running = None;
                None
            }
        }
    }

    fn start(&self) -> io::Result<(SyncSender<Job>, Receiver<Done>)> {
        let (jobs, given) = sync_channel(JOBS);
        let (done, results) = channel();
        let wake = Wake::clone(&self.wake);
        thread::Builder::new().name("upnp".to_owned()).spawn(move || work(&given, &done, &wake))?;
        Ok((jobs, results))
    }
}

fn work(jobs: &Receiver<Job>, done: &Sender<Done>, wake: &Wake) {
    let mut igd = Igd::default();
    while let Ok(job) = jobs.recv() {
        let patience = if job.kind == JobKind::Release { RELEASE_WAIT } else { JOB_WAIT };
        let result = igd.work(&job, &mut Sockets { until: Instant::now() + patience });
        if done.send((job.ticket, result)).is_err() {
            return;
        }
        wake();
    }
}

struct Sockets {
    until: Instant,
}

impl Sockets {
    /// What is left until `end` or the end of the job; `None` when that is over.
    fn left(&self, end: Instant) -> Option<Duration> {
        let left = end.min(self.until).saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn try_search(
        &self,
        (own, router): (Ipv4Addr, Ipv4Addr),
        heard: &mut dyn FnMut(Ipv4Addr, &[u8]) -> bool,
    ) -> io::Result<()> {
        let socket = UdpSocket::bind((own, 0))?;
        let end = Instant::now() + SEARCH_WAIT;
        let mut again = Instant::now();
        let mut bytes = [0; 2048];
        while let Some(left) = self.left(end) {
            if again <= Instant::now() {
                again = Instant::now() + SEARCH_AGAIN;
                for search in searches() {
                    for to in [GROUP, router] {
                        // One of the two ways is enough.
                        let _ = socket.send_to(search.as_bytes(), (to, SEARCH_PORT));
                    }
                }
            }
            let wait = left.min(again.saturating_duration_since(Instant::now())).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(wait))?;
            if let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut bytes)
                && heard(*from.ip(), bytes.get(..len).unwrap_or_default())
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn try_exchange(&self, to: SocketAddrV4, request: &[u8]) -> io::Result<Vec<u8>> {
        let end = Instant::now() + CALL_WAIT;
        let left = || self.left(end).ok_or(io::ErrorKind::TimedOut);
        let address = SocketAddr::new(IpAddr::V4(*to.ip()), to.port());
        let mut stream = TcpStream::connect_timeout(&address, left()?)?;
        stream.set_write_timeout(Some(left()?))?;
        stream.write_all(request)?;
        let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
        while answer.len() < LIMIT && !is_whole(&answer) {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut bytes)? {
                0 => break,
                len => answer.extend_from_slice(bytes.get(..len).unwrap_or_default()),
            }
        }
        Ok(answer)
    }
}

impl Carrier for Sockets {
    fn search(&mut self, own: Ipv4Addr, router: Ipv4Addr, heard: &mut dyn FnMut(Ipv4Addr, &[u8]) -> bool) {
        // A search that cannot be sent is one that nobody answers.
        let _ = self.try_search((own, router), heard);
    }

    fn exchange(&mut self, to: SocketAddrV4, request: &[u8]) -> Option<Vec<u8>> {
        self.try_exchange(to, request).ok()
    }
}
