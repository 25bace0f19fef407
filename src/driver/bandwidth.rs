//! How many bytes a second the loop reads and writes at most, and who waits for that.
//!
//! One bucket for all that leaves, one for each peer, one for all that comes. A bucket with debt lets whoever may go take a whole
//! share; who finds it empty waits in a line, and each in turn takes a small share of what has come in meanwhile, so that peers
//! are served alike, whatever they want. Frames are cut anywhere for it: one of many seconds is only slow.
//!
//! - **Critical frames never wait.** Their bytes are owed by the others. The same for the little that a quiet peer sends: of
//!   4 KiB in a second it may be read at once, as long as the debt stays below a fifth of a second.
//! - **News and answers have a half each**, when both wait: a peer that downloads the chain does not hold up those that are told
//!   of a new block. Which a connection has is seen by its lines; see [`Priority`](crate::wire::Priority).
//!
//! Nobody is blamed for waiting: what we hold back counts as progress of both directions.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::timer::{Due, Timers};
use crate::id::ConnId;
use crate::rate::{ByteBucket, ByteRate};
use crate::time::Instant;

/// Bytes per second at most; `None` lifts a limit. Counted on the wire, with frame headers and TLS records; what TCP and IP add is
/// not. A limit of less than 1 KiB/s is one of that.
///
/// # Examples
///
/// ```
/// use spacetime_network::driver::{Bandwidth, Config};
///
/// let mut config = Config::default();
/// config.bandwidth = Bandwidth { upload: Some(1 << 20), ..Bandwidth::UNLIMITED }; // 1 MiB/s
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// All that leaves.
    pub upload: Option<u64>,
    /// All that comes. Our reading is slowed, and TCP tells the senders; what the system keeps in its buffers until then comes at
    /// the speed of the line.
    pub download: Option<u64>,
    /// What leaves to each single peer.
    pub upload_per_peer: Option<u64>,
}

impl Bandwidth {
    /// No limit at all.
    pub const UNLIMITED: Bandwidth = Bandwidth { upload: None, download: None, upload_per_peer: None };

    fn limits_upload(&self) -> bool {
        self.upload.is_some() || self.upload_per_peer.is_some()
    }
}

/// What a quiet peer may send in a second, and at once, without waiting behind others.
const QUIET: u64 = 4096;
/// Whoever has less than this left of it is not quiet.
const QUIET_LEAST: u64 = QUIET / 8;
/// The debt up to which he may.
const QUIET_DEBT: Duration = Duration::from_millis(200);
/// How far news or answers may be ahead of each other.
const LEAD_MAX: i64 = 256 * 1024;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    News,
    Answers,
}

/// The limits in force; costs nothing while there are none.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    limits: Bandwidth,
    upload: Option<ByteBucket>,
    download: Option<ByteBucket>,
    peers: BTreeMap<ConnId, Peer>,
    /// Who waits to be written, by class; a connection is in one line at most.
    news: VecDeque<ConnId>,
    answers: VecDeque<ConnId>,
    /// How many bytes more of news than of answers were written while both waited.
    lead: i64,
    /// Who waits for a bucket of its own.
    slow: BTreeSet<(Instant, ConnId)>,
    /// Who waits to be read.
    unread: VecDeque<ConnId>,
    /// Bytes that belong to those whose turn to be read has come at that time, and who were not read yet.
    promised: u64,
    promised_at: Option<Instant>,
    upload_due: Option<Instant>,
    download_due: Option<Instant>,
}

#[derive(Debug, Default)]
struct Peer {
    upload: Option<ByteBucket>,
    quiet: Option<ByteBucket>,
    waits_to_write: bool,
    waits_to_read: bool,
    /// Its turn to be read has come: so many bytes.
    may_read: u64,
}

impl Throttle {
    pub(super) fn new(limits: Bandwidth, now: Instant) -> Self {
        let mut throttle = Throttle::default();
        throttle.set(limits, now);
        throttle
    }

    pub(super) fn set(&mut self, limits: Bandwidth, now: Instant) {
        self.limits = limits;
        for (bucket, limit) in [(&mut self.upload, limits.upload), (&mut self.download, limits.download)] {
            set_bucket(bucket, limit, now);
        }
        for peer in self.peers.values_mut() {
            if peer.upload.is_some() {
                set_bucket(&mut peer.upload, limits.upload_per_peer, now);
            }
        }
    }

    #[inline]
    pub(super) fn limits_upload(&self) -> bool {
        self.limits.limits_upload()
    }

    /// Does anybody wait behind whom one who comes now has to wait? Those who wait for a bucket of their own are in nobody's way.
    pub(super) fn has_line(&self) -> bool {
        !self.news.is_empty() || !self.answers.is_empty()
    }

    /// How many bytes may be written now to a connection that has `wanted`, and when more if that is none. Less than a turn's share
    /// is none, unless it is all: a bucket that is emptied byte by byte would keep the loop awake.
    pub(super) fn writable(&mut self, id: ConnId, wanted: u64, now: Instant) -> Result<u64, Option<Instant>> {
        let mut share = u64::MAX;
        if let Some(limit) = self.limits.upload_per_peer {
            let peer = self.peers.entry(id).or_default();
            let bucket = peer.upload.get_or_insert_with(|| ByteBucket::new(ByteRate::new(limit), now));
            share = bucket.available(now);
            let enough = wanted.min(bucket.rate().quantum());
            if share < enough {
                return Err(Some(bucket.ready_at(enough, now)));
            }
        }
        let Some(bucket) = &mut self.upload else { return Ok(share) };
        let (available, quantum) = (bucket.available(now), bucket.rate().quantum());
        if available < wanted.min(quantum) { Err(None) } else { Ok(share.min(quantum)) }
    }

    pub(super) fn charge_upload(&mut self, id: ConnId, bytes: u64, now: Instant) {
        if let Some(bucket) = &mut self.upload {
            bucket.take(bytes, now);
        }
        if self.limits.upload_per_peer.is_some()
            && let Some(bucket) = self.peers.get_mut(&id).and_then(|peer| peer.upload.as_mut())
        {
            bucket.take(bytes, now);
        }
    }

    /// Puts a connection into the line of its class, unless it waits already.
    pub(super) fn wait_to_write(&mut self, id: ConnId, class: Class) {
        let peer = self.peers.entry(id).or_default();
        if !core::mem::replace(&mut peer.waits_to_write, true) {
            match class {
                Class::News => self.news.push_back(id),
                Class::Answers => self.answers.push_back(id),
            }
        }
    }

    pub(super) fn wait_for_own_bucket(&mut self, id: ConnId, at: Instant) {
        let peer = self.peers.entry(id).or_default();
        if !core::mem::replace(&mut peer.waits_to_write, true) {
            self.slow.insert((at, id));
        }
    }

    /// Whose turn it is to write: of news and answers whichever had less lately.
    pub(super) fn next_writer(&mut self) -> Option<(ConnId, Class)> {
        let class =
            if self.news.is_empty() || (self.is_contested() && self.lead > 0) { Class::Answers } else { Class::News };
        let line = if class == Class::News { &mut self.news } else { &mut self.answers };
        let id = line.pop_front()?;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.waits_to_write = false;
        }
        Some((id, class))
    }

    /// So much was written of a class in its turn; `contested` while the other waited too.
    pub(super) fn note_turn(&mut self, class: Class, bytes: u64, contested: bool) {
        if !contested {
            self.lead = 0;
            return;
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let lead = if class == Class::News { self.lead.saturating_add(bytes) } else { self.lead.saturating_sub(bytes) };
        // Who wrote for long while nobody else wanted to does not wait for as long.
        self.lead = lead.clamp(-LEAD_MAX, LEAD_MAX);
    }

    /// Arms the timer for those who wait to write.
    pub(super) fn arm_upload(&mut self, now: Instant, timers: &mut Timers) {
        let line = self.has_line().then(|| match &mut self.upload {
            Some(bucket) => bucket.ready_at(bucket.rate().quantum(), now),
            // There is no bucket of all any more: all may go on at once.
            None => now,
        });
        let own = self.slow.first().map(|(at, _)| *at);
        let Some(at) = line.into_iter().chain(own).min() else { return };
        if self.upload_due.is_none_or(|due| at < due || due <= now) {
            self.upload_due = Some(at);
            timers.arm(at, Due::Upload);
        }
    }

    /// How many bytes may be read of a connection in this turn; 0 when it has to wait.
    pub(super) fn readable(&mut self, id: ConnId, now: Instant) -> u64 {
        let Some(bucket) = &mut self.download else { return u64::MAX };
        let (available, debt) = (bucket.available(now), bucket.debt(now));
        let peer = self.peers.entry(id).or_default();
        let granted = core::mem::take(&mut peer.may_read);
        self.promised = self.promised.saturating_sub(granted);
        let is_first = self.unread.is_empty() && !peer.waits_to_read;
        let quantum = bucket.rate().quantum();
        let share = if granted > 0 { available.min(granted) } else { quantum };
        // As with writing: less than a share is none.
        if share > 0 && (granted > 0 || (is_first && available >= quantum.saturating_add(self.promised))) {
            return share;
        }
        let quiet = peer.quiet.get_or_insert_with(|| ByteBucket::new(ByteRate::with_burst(QUIET, QUIET), now));
        let left = quiet.available(now);
        if debt < QUIET_DEBT && left >= QUIET_LEAST { left } else { 0 }
    }

    pub(super) fn charge_download(&mut self, id: ConnId, bytes: u64, now: Instant) {
        let Some(bucket) = &mut self.download else { return };
        bucket.take(bytes, now);
        if let Some(quiet) = self.peers.get_mut(&id).and_then(|peer| peer.quiet.as_mut()) {
            quiet.take(bytes, now);
        }
    }

    pub(super) fn wait_to_read(&mut self, id: ConnId, now: Instant, timers: &mut Timers) {
        let peer = self.peers.entry(id).or_default();
        if !core::mem::replace(&mut peer.waits_to_read, true) {
            self.unread.push_back(id);
        }
        self.arm_download(now, timers);
    }

    pub(super) fn arm_download(&mut self, now: Instant, timers: &mut Timers) {
        if self.unread.is_empty() {
            return;
        }
        let at = match &mut self.download {
            // What there is belongs to those whose turn has just come.
            Some(bucket) if self.promised > 0 && self.promised_at == Some(now) => now + bucket.rate().turn(),
            Some(bucket) => bucket.ready_at(bucket.rate().quantum(), now),
            None => now,
        };
        if self.download_due.is_none_or(|due| at < due || due <= now) {
            self.download_due = Some(at);
            timers.arm(at, Due::Download);
        }
    }

    /// Those whose turn to be read has come, as far as the bucket goes: a whole share each. Were the rest of a share somebody's turn
    /// too, whoever stands second would be read a few bytes each time that the first is read a share.
    pub(super) fn next_readers(&mut self, now: Instant) -> Vec<ConnId> {
        self.download_due = None;
        let (mut left, quantum) = match &mut self.download {
            Some(bucket) => (bucket.available(now), bucket.rate().quantum()),
            // There is no limit any more: all may go on.
            None => (u64::MAX, 0),
        };
        // Whoever had his turn and could not be read holds up nobody for longer.
        if self.promised_at.replace(now) != Some(now) {
            self.promised = 0;
        }
        left = left.saturating_sub(self.promised);
        let mut readers = Vec::new();
        while left >= quantum {
            let Some(id) = self.unread.pop_front() else { break };
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            (peer.waits_to_read, peer.may_read) = (false, quantum);
            self.promised = self.promised.saturating_add(quantum);
            left -= quantum;
            readers.push(id);
        }
        readers
    }

    /// Takes those of a bucket of their own whose time has come out of their line.
    pub(super) fn next_of_own_bucket(&mut self, now: Instant) -> Option<ConnId> {
        let (_, id) = self.slow.first().copied().filter(|(at, _)| *at <= now)?;
        self.slow.pop_first();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.waits_to_write = false;
        }
        Some(id)
    }

    /// Is there a limit to what comes?
    #[inline]
    pub(super) fn limits_download(&self) -> bool {
        self.download.is_some()
    }

    /// How many wait in the two lines.
    pub(super) fn in_line(&self) -> usize {
        self.news.len() + self.answers.len()
    }

    /// Do both classes wait?
    pub(super) fn is_contested(&self) -> bool {
        !self.news.is_empty() && !self.answers.is_empty()
    }

    /// Is less than a turn's share left of what all have?
    pub(super) fn is_spent(&mut self, now: Instant) -> bool {
        self.upload.as_mut().is_some_and(|bucket| bucket.available(now) < bucket.rate().quantum())
    }

    /// The limits have changed: who waits may have waited for what is no limit any more.
    pub(super) fn look_again(&mut self, now: Instant, timers: &mut Timers) {
        (self.upload_due, self.download_due) = (None, None);
        self.slow = core::mem::take(&mut self.slow).into_iter().map(|(_, id)| (now, id)).collect();
        self.arm_upload(now, timers);
        self.arm_download(now, timers);
    }

    /// Its timer has come.
    pub(super) fn upload_timer_came(&mut self) {
        self.upload_due = None;
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, id: ConnId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        if peer.waits_to_write {
            self.slow.retain(|(_, other)| *other != id);
            self.news.retain(|other| *other != id);
            self.answers.retain(|other| *other != id);
        }
        if peer.waits_to_read {
            self.unread.retain(|other| *other != id);
        }
    }
}

fn set_bucket(bucket: &mut Option<ByteBucket>, limit: Option<u64>, now: Instant) {
    match (bucket.as_mut(), limit.map(ByteRate::new)) {
        (_, None) => *bucket = None,
        (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
        (None, Some(rate)) => *bucket = Some(ByteBucket::new(rate, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn conn(index: u32) -> ConnId {
        ConnId::new(index, 0)
    }

    /// Of two that waited the first was read a whole share each time and the second the crumbs: the timer that one's turn armed came
    /// in the same moment, before the first had been read, and gave the second what was the first one's.
    #[test]
    fn what_is_promised_to_one_reader_is_not_given_to_the_next() {
        let limits = Bandwidth { download: Some(MIB), ..Bandwidth::UNLIMITED };
        let mut timers = Timers::default();
        let mut throttle = Throttle::new(limits, Instant::ZERO);
        let (mut now, mut read) = (Instant::ZERO, [0, 0]);
        throttle.charge_download(conn(9), MIB / 10, now);
        [0, 1].into_iter().for_each(|index| throttle.wait_to_read(conn(index), now, &mut timers));
        for _ in 0..100 {
            now = now + throttle.download.unwrap().rate().turn();
            // As often as the timer comes in this moment.
            let mut ready = throttle.next_readers(now);
            throttle.arm_download(now, &mut timers);
            assert!(throttle.download_due.is_none_or(|due| due > now), "the loop would never end");
            ready.extend(throttle.next_readers(now));
            throttle.arm_download(now, &mut timers);
            for id in ready {
                let share = throttle.readable(id, now);
                assert!(share >= MIB / 50, "{share} bytes are less than a share");
                throttle.charge_download(id, share, now);
                read[usize::from(id == conn(1))] += share;
                assert!(throttle.readable(id, now) <= QUIET, "it has had its turn");
                throttle.wait_to_read(id, now, &mut timers);
            }
        }
        assert!(read[0].abs_diff(read[1]) <= MIB / 50, "{read:?}");
        assert!(read[0] + read[1] >= 2 * MIB - MIB / 10, "{read:?}: nothing is left over");
    }
}
