//! The virtual network: byte streams with latency, bandwidth and kernel-like buffers, and the queue of what happens when.
//!
//! A pipe is one connection, with a direction for each end. What is written waits in one buffer of limited size, the send
//! and receive buffers of a kernel together: its front has arrived, the rest is under way in packets. The order of events
//! is total: by time, then by the order in which they were scheduled.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use super::check::Check;
use super::fault::Rates;
use super::timing::Timing;
use super::trace::Trace;
use crate::id::ConnId;
use crate::rng::Rng;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::Hash;

/// Buffers with more room than this are given back when they are empty.
const KEEP: usize = 4096;
/// Where the wall clocks start, in Unix milliseconds.
const EPOCH: i64 = 1_800_000_000_000;

/// A pipe by slot and by number: an event for one that is gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PipeId {
    pub(super) index: u32,
    pub(super) serial: u32,
}

/// Which end of a pipe: 0 dialed, 1 accepted.
pub(super) type Side = u8;

/// What happens at some time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A host's own deadline.
    Wake(u32),
    /// A dial reaches the host at end 1.
    Syn(PipeId),
    /// The word that the connection stands reaches end 0.
    Connected(PipeId),
    /// The word that nobody listens reaches end 0.
    Refused(PipeId),
    /// A packet, or the end of the stream, reaches this end.
    Arrive(PipeId, Side),
    /// This end may write again.
    Room(PipeId, Side),
    /// A reset reaches this end.
    Reset(PipeId, Side),
    /// A clog of the direction towards this end is over.
    Unclog(PipeId, Side),
    /// A host starts, or starts again.
    Start(u32),
    /// A second has passed: faults are drawn.
    Second,
    /// Somebody mines.
    Mine,
    /// Somebody pays.
    Pay,
    /// A milestone of the run, by its number.
    Milestone(u8),
}

/// One end of a pipe.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) host: u32,
    /// The end's name at its host; `None` before it is accepted.
    pub(super) conn: Option<ConnId>,
    /// The host has not closed it.
    pub(super) open: bool,
    /// A reset is on its way here.
    reset: bool,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    arrives: Instant,
    len: usize,
    fin: bool,
}

/// One direction of a pipe: towards the end of the same number.
#[derive(Debug)]
pub(super) struct Stream {
    buffer: Vec<u8>,
    head: usize,
    /// Bytes from `head` that have arrived.
    ready: usize,
    flight: VecDeque<Packet>,
    last: Instant,
    clogged: Instant,
    /// Packets wait for a clog or a partition to end.
    parked: bool,
    /// The writer met a full buffer.
    blocked: bool,
    /// The writer has ended the stream.
    ended: bool,
    /// The end has arrived.
    pub(super) eof: bool,
    /// Bytes were changed or cut off on the way: what arrives is not what was sent.
    pub(super) spoiled: bool,
    /// Frames that were queued and not yet delivered, by priority; kept for writers that are nodes.
    pub(super) owed: [VecDeque<u64>; 4],
    /// Frames that were taken from the line of this rank though another line owed an equal one: a transaction that was
    /// passed on and then handed out with the pool. Which of the two came is only known by what comes next.
    pub(super) twins: Vec<(u64, usize)>,
    /// The writer's queue dropped frames, so some that are owed never come.
    pub(super) lossy: bool,
}

impl Stream {
    fn new(now: Instant) -> Self {
        Stream {
            buffer: Vec::new(),
            head: 0,
            ready: 0,
            flight: VecDeque::new(),
            last: now,
            clogged: Instant::ZERO,
            parked: false,
            blocked: false,
            ended: false,
            eof: false,
            spoiled: false,
            owed: Default::default(),
            twins: Vec::new(),
            lossy: false,
        }
    }

    /// Everything that has arrived was read.
    pub(super) fn is_drained(&self) -> bool {
        self.ready == 0
    }

    pub(super) fn held(&self) -> usize {
        self.buffer.len() - self.head
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Pipe {
    serial: u32,
    pub(super) ends: [End; 2],
    pub(super) streams: [Stream; 2],
}

/// The network and everything that all hosts share.
pub(super) struct Air<'w> {
    pub(super) now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64, Slot)>>,
    seq: u64,
    pub(super) rng: Rng,
    pub(super) pipes: Slab<Pipe>,
    serial: u32,
    /// Who listens where.
    pub(super) listeners: BTreeMap<SocketAddr, u32>,
    /// Which side of a partition each host is on.
    pub(super) sides: Vec<u8>,
    /// A partition is in force; only from side 0 to side 1 when one-way.
    pub(super) parted: Option<Partition>,
    pub(super) rates: Rates,
    pub(super) check: Check,
    pub(super) trace: Trace<'w>,
    /// What was injected, by name.
    pub(super) injected: BTreeMap<&'static str, u64>,
    /// Bytes were corrupted: whoever sent them may be blamed without fault.
    pub(super) corrupted: bool,
    pub(super) wakes: u64,
    pub(super) bytes: u64,
    /// The address of each host.
    pub(super) ips: Vec<IpAddr>,
    /// How many of the hosts, from the first on, are honest.
    pub(super) honest: u32,
    /// When each block was mined.
    pub(super) born: BTreeMap<Hash, Instant>,
    /// How long each block took to each node that got it.
    pub(super) spread: Vec<Duration>,
    /// How long payments took, and the newcomer.
    pub(super) timing: Timing,
    /// The most work of any honest node's chain.
    pub(super) heaviest: u128,
}

/// How a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partition {
    Both,
    OneWay,
}

/// An event that has an order of its own for the heap: none, for the sequence numbers differ.
#[derive(Clone, Copy, Debug)]
struct Slot(Event);

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, _: &Self) -> core::cmp::Ordering {
        core::cmp::Ordering::Equal
    }
}

impl<'w> Air<'w> {
    pub(super) fn new(rng: Rng, rates: Rates, trace: Trace<'w>) -> Self {
        Air {
            now: Instant::ZERO,
            queue: BinaryHeap::new(),
            seq: 0,
            rng,
            pipes: Slab::new(),
            serial: 0,
            listeners: BTreeMap::new(),
            sides: Vec::new(),
            parted: None,
            rates,
            check: Check::new(),
            trace,
            injected: BTreeMap::new(),
            corrupted: false,
            wakes: 0,
            bytes: 0,
            ips: Vec::new(),
            honest: 0,
            born: BTreeMap::new(),
            spread: Vec::new(),
            timing: Timing::default(),
            heaviest: 0,
        }
    }

    /// Both clocks of a host whose wall clock is off by so many milliseconds.
    pub(super) fn clocks(&self, offset: i64) -> Now {
        let elapsed = i64::try_from(self.now.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        Now { at: self.now, unix: UnixTime::from_millis(EPOCH.saturating_add(elapsed).saturating_add(offset)) }
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse((at.max(self.now), self.seq, Slot(event))));
    }

    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// The next event; the clock moves to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let Reverse((at, _, Slot(event))) = self.queue.pop()?;
        self.now = at;
        self.check.at = at;
        self.check.event += 1;
        Some(event)
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.injected.entry(what).or_default() += 1;
    }

    /// The time of one packet on its way.
    fn latency(&mut self) -> Duration {
        let (time, lost) = self.rates.latency(&mut self.rng);
        if lost {
            self.count("lost packet");
        }
        time
    }

    pub(super) fn pipe(&self, id: PipeId) -> Option<&Pipe> {
        self.pipes.get(id.index as usize).filter(|pipe| pipe.serial == id.serial)
    }

    pub(super) fn pipe_mut(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.pipes.get_mut(id.index as usize).filter(|pipe| pipe.serial == id.serial)
    }

    /// Is the way from one host to another cut?
    fn is_cut(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.sides.get(from as usize), self.sides.get(to as usize));
        match self.parted {
            None => false,
            Some(Partition::Both) => from != to,
            Some(Partition::OneWay) => from < to,
        }
    }

    /// A host dials. `None` when the system says no at once.
    pub(super) fn connect(&mut self, host: u32, conn: ConnId, remote: SocketAddr) -> Option<PipeId> {
        let to = self.listeners.get(&remote).copied();
        let rate = self.rates.connect_error;
        if self.rng.chance(rate, 1000) {
            self.count("connect error");
            return None;
        }
        let to = to.unwrap_or(u32::MAX);
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let end = |host, conn| End { host, conn, open: true, reset: false };
        let ends = [end(host, Some(conn)), end(to, None)];
        let index = self.pipes.insert(Pipe { serial, ends, streams: [Stream::new(self.now), Stream::new(self.now)] });
        let id = PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial };
        let wait = self.latency();
        // An address where nobody listens is a machine that is not there: its answer is silence, or a refusal.
        if to == u32::MAX {
            if remote.port().is_multiple_of(2) {
                self.after(wait * 2, Event::Refused(id));
            }
        } else if !self.is_cut(host, to) && !self.is_cut(to, host) {
            self.after(wait, Event::Syn(id));
        }
        Some(id)
    }

    /// What the accepting end sees of the dialing one.
    pub(super) fn caller(&self, id: PipeId) -> Option<SocketAddr> {
        let pipe = self.pipe(id)?;
        let ip = *self.ips.get(pipe.ends[0].host as usize)?;
        Some(SocketAddr::new(ip, 32_768 + (pipe.serial % 28_000) as u16))
    }

    /// End 1 accepts: from now on it is `conn`, and end 0 hears of it.
    pub(super) fn accept(&mut self, id: PipeId, conn: ConnId) {
        let at = self.now + self.latency();
        let Some(pipe) = self.pipe_mut(id) else { return };
        pipe.ends[1].conn = Some(conn);
        pipe.streams[0].last = at;
        self.at(at, Event::Connected(id));
    }

    /// Writes from this end; what a nonblocking socket answers.
    pub(super) fn write(&mut self, id: PipeId, side: Side, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let capacity = self.rates.buffer;
        let short = self.rng.chance(self.rates.short_write, 1000);
        let corrupt_rate = self.rates.corruption;
        let other = 1 - side as usize;
        let Some(pipe) = self.pipe_mut(id) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        if pipe.ends[side as usize].reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let stream = &mut pipe.streams[other];
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = capacity.saturating_sub(stream.held());
        if room == 0 {
            stream.blocked = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut count = total.min(room);
        if short && count > 1 {
            count = 1 + self.rng.below(count as u64 - 1) as usize;
            self.count("short write");
        }
        let flip = corrupt_rate > 0 && self.rng.chance(corrupt_rate.saturating_mul(count as u64), 1 << 30);
        let arrives = self.now + self.latency() + self.rates.transfer(count);
        let position = self.rng.below(count as u64) as usize;
        let now = self.now;
        let Some(pipe) = self.pipe_mut(id) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let stream = &mut pipe.streams[other];
        let start = stream.buffer.len();
        let mut left = count;
        for slice in slices {
            let take = slice.len().min(left);
            stream.buffer.extend_from_slice(&slice[..take]);
            left -= take;
        }
        if flip {
            stream.buffer[start + position] ^= 0x40;
            stream.spoiled = true;
        }
        let arrives = arrives.max(stream.last);
        stream.last = arrives;
        stream.flight.push_back(Packet { arrives, len: count, fin: false });
        let parked = stream.parked;
        let full = count == room;
        stream.blocked |= full;
        self.bytes += count as u64;
        if flip {
            self.corrupted = true;
            self.count("corrupted byte");
        }
        if !parked {
            self.at(arrives, Event::Arrive(id, other as Side));
        }
        if count < total && !full {
            self.at(now + Duration::from_millis(1), Event::Room(id, side));
        }
        Ok(count)
    }

    /// Ends the stream from this end, behind what was written.
    pub(super) fn shutdown(&mut self, id: PipeId, side: Side) {
        let wait = self.latency();
        let at = self.now + wait;
        let other = 1 - side as usize;
        let Some(pipe) = self.pipe_mut(id) else { return };
        let stream = &mut pipe.streams[other];
        if stream.ended {
            return;
        }
        stream.ended = true;
        let arrives = at.max(stream.last);
        stream.last = arrives;
        stream.flight.push_back(Packet { arrives, len: 0, fin: true });
        let parked = stream.parked;
        if !parked {
            self.at(arrives, Event::Arrive(id, other as Side));
        }
    }

    /// The host has closed this end. Bytes that it never read turn into a reset, as in a kernel.
    pub(super) fn hang_up(&mut self, id: PipeId, side: Side, silently: bool) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        pipe.ends[side as usize].open = false;
        let unread = pipe.streams[side as usize].held() > 0;
        let (ended, accepted) = (pipe.streams[1 - side as usize].ended, pipe.ends[1].conn.is_some());
        if !pipe.ends[1 - side as usize].open || !accepted {
            // A dial that was given up before it was answered leaves nobody at the other end.
            self.pipes.remove(id.index as usize);
        } else if silently {
        } else if unread {
            self.reset(id, 1 - side);
        } else if !ended {
            self.shutdown(id, side);
        }
    }

    /// Sends a reset to this end.
    pub(super) fn reset(&mut self, id: PipeId, to: Side) {
        let wait = self.latency();
        let Some(pipe) = self.pipe_mut(id) else { return };
        let end = &mut pipe.ends[to as usize];
        if end.open && !end.reset {
            end.reset = true;
            self.after(wait, Event::Reset(id, to));
        }
    }

    /// A packet is due at this end: moves what has arrived to where it can be read. True when there is something to see.
    pub(super) fn land(&mut self, id: PipeId, side: Side) -> bool {
        let now = self.now;
        let Some(pipe) = self.pipe(id) else { return false };
        let cut = self.is_cut(pipe.ends[1 - side as usize].host, pipe.ends[side as usize].host);
        let Some(pipe) = self.pipe_mut(id) else { return false };
        let stream = &mut pipe.streams[side as usize];
        if cut || stream.clogged > now {
            stream.parked = true;
            return false;
        }
        let was_parked = core::mem::take(&mut stream.parked);
        let mut news = false;
        while let Some(packet) = stream.flight.front().filter(|packet| packet.arrives <= now) {
            stream.ready += packet.len;
            stream.eof |= packet.fin;
            stream.flight.pop_front();
            news = true;
        }
        let open = pipe.ends[side as usize].open;
        if was_parked {
            // What was written meanwhile was not announced.
            let later: Vec<Instant> = stream.flight.iter().map(|packet| packet.arrives).collect();
            for at in later {
                self.at(at, Event::Arrive(id, side));
            }
        }
        if !open && news {
            // Nobody is there any more.
            self.reset(id, 1 - side);
        }
        open && (news || pipe_has_news(self.pipe(id), side))
    }

    /// Takes the arrived bytes out, to be lent; they come back by [`Air::give_back`].
    pub(super) fn borrow(&mut self, id: PipeId, side: Side) -> Option<(Vec<u8>, usize, usize)> {
        let stream = &mut self.pipe_mut(id)?.streams[side as usize];
        Some((core::mem::take(&mut stream.buffer), stream.head, stream.ready))
    }

    /// Puts the buffer back; `taken` bytes of it were read.
    pub(super) fn give_back(&mut self, id: PipeId, side: Side, buffer: Vec<u8>, taken: usize) {
        let wait = self.rates.latency_min;
        let Some(pipe) = self.pipe_mut(id) else { return };
        let stream = &mut pipe.streams[side as usize];
        stream.buffer = buffer;
        stream.head += taken;
        stream.ready -= taken;
        if stream.head == stream.buffer.len() {
            stream.buffer.clear();
            stream.head = 0;
            if stream.buffer.capacity() > KEEP {
                stream.buffer = Vec::new();
            }
        } else if stream.head > stream.buffer.len() / 2 && stream.head > KEEP {
            stream.buffer.drain(..stream.head);
            stream.head = 0;
        }
        if stream.blocked && taken > 0 {
            stream.blocked = false;
            self.after(wait, Event::Room(id, 1 - side));
        }
    }

    /// Lets nothing through towards this end until then.
    pub(super) fn clog(&mut self, id: PipeId, side: Side, until: Instant) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        let stream = &mut pipe.streams[side as usize];
        stream.clogged = stream.clogged.max(until);
        if until != Instant::NEVER {
            self.at(until, Event::Unclog(id, side));
        }
    }

    /// Cuts the stream towards this end short, in the middle of whatever is under way, and ends it.
    pub(super) fn cut_short(&mut self, id: PipeId, side: Side) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        let stream = &mut pipe.streams[side as usize];
        if stream.ended {
            return;
        }
        let keep = stream.head + stream.ready;
        let flying = stream.buffer.len() - keep;
        stream.spoiled = true;
        stream.buffer.truncate(keep + flying / 2);
        stream.flight.clear();
        if flying / 2 > 0 {
            stream.flight.push_back(Packet { arrives: stream.last, len: flying / 2, fin: false });
        }
        let at = stream.last;
        self.shutdown(id, 1 - side);
        self.at(at, Event::Arrive(id, side));
    }

    /// Everything that waited for a partition is on its way again.
    pub(super) fn unpark(&mut self) {
        let parked: Vec<(PipeId, Side)> = self
            .pipes
            .iter()
            .flat_map(|(index, pipe)| {
                let id = PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial: pipe.serial };
                [0u8, 1].into_iter().filter(|side| pipe.streams[*side as usize].parked).map(move |side| (id, side))
            })
            .collect();
        for (id, side) in parked {
            self.after(Duration::from_millis(1), Event::Arrive(id, side));
        }
    }

    /// A pipe at random, for a fault; `None` when there is none.
    pub(super) fn any_pipe(&mut self) -> Option<PipeId> {
        let slots = self.pipes.capacity();
        for _ in 0..8 {
            let index = self.rng.index(slots)?;
            if let Some(pipe) = self.pipes.get(index).filter(|pipe| pipe.ends[1].conn.is_some()) {
                return Some(PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial: pipe.serial });
            }
        }
        None
    }

    /// All pipes.
    pub(super) fn all_pipes(&self) -> impl Iterator<Item = (PipeId, &Pipe)> {
        self.pipes.iter().map(|(index, pipe)| {
            (PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial: pipe.serial }, pipe)
        })
    }
}

fn pipe_has_news(pipe: Option<&Pipe>, side: Side) -> bool {
    pipe.is_some_and(|pipe| pipe.streams[side as usize].ready > 0 || pipe.streams[side as usize].eof)
}
