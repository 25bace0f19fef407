//! Attackers with many addresses: each of a crowd has a subnet of its own, and so what is shared by subnet has to hold them off.

use core::time::Duration;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Adversary, Conn, Role};
use crate::chain::{Header, Miner};
use crate::driver::SocketId;
use crate::time::Instant;
use crate::wire::frame::{self, MAX_PAYLOAD};
use crate::wire::{Hash, Kind};

/// How often one address may come, and how long a connection of one who keeps to that stands.
const ONCE: Duration = Duration::from_secs(1);
const STAYS: Duration = Duration::from_millis(600);
/// Bytes that a buffer keeper sends of a frame, which it then never finishes, at once and each time that it looks.
const KEPT: usize = 192 * 1024;
const KEPT_MORE: usize = 64;
/// Bytes of the name that makes a transaction a large frame, and how many small ones come behind it.
const LARGE_NAME: usize = 65_000;
const SMALL_BEHIND: usize = 2;
/// Such a pair comes once in so many seconds from each address, until there were so many small ones.
const LARGE_EVERY: u64 = 4;
const SMALL_MAX: usize = 200;

/// Where number `nth` of an attacker's crowd lives: in a group of its own, where no host of the run does.
pub(in crate::sim) fn address(index: u32, nth: u32) -> IpAddr {
    let [.., nth] = nth.to_be_bytes();
    let [.., low] = (index % 8).to_be_bytes();
    let [.., high] = (index / 8).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(60 + low, nth, high, 9))
}

impl Adversary {
    /// Where each of its crowd listens, if they do.
    pub(in crate::sim) fn listens(&self) -> impl Iterator<Item = SocketAddr> {
        let count = if self.role == Role::SybilRestarter { self.role.crowd() } else { 0 };
        let (index, port) = (self.index, self.address.port());
        (0..count).map(move |nth| SocketAddr::new(address(index, nth), port))
    }

    /// Those of the crowd that have no connection dial: all of them one node, or each one of its own.
    pub(super) fn besiege(&mut self, now: Instant) {
        if self.role == Role::RateSharer {
            let stood = |conn: &&Conn| now.since(conn.since) >= STAYS;
            let old: Vec<SocketId> = self.conns.iter().filter(|(_, conn)| stood(conn)).map(|(key, _)| *key).collect();
            old.into_iter().for_each(|key| self.drop(key));
        }
        let mut left = if self.role == Role::RateSharer { self.role.crowd() / 10 } else { u32::MAX };
        let there: BTreeSet<u32> = self.conns.values().filter_map(|conn| conn.member).collect();
        let apart = if self.role == Role::SybilRestarter { self.targets.len() } else { 1 };
        for nth in (0..self.role.crowd()).filter(|nth| !there.contains(nth)) {
            if self.role == Role::RateSharer {
                let rested = self.came.get(&nth).is_none_or(|at| now.since(*at) >= ONCE);
                if !rested || left == 0 {
                    continue;
                }
                self.came.insert(nth, now);
                left -= 1;
            }
            let at = (self.index as usize).wrapping_add(nth as usize % apart.max(1));
            let Some(target) = self.targets.get(at % self.targets.len().max(1)).copied() else { return };
            let dialed = self.kernel().connect_from(address(self.index, nth), target);
            if let Ok(socket) = dialed {
                self.keep(socket, Some(nth), now);
            }
        }
    }

    /// Half of a buffer keeper's crowd hold frames of the largest size that they never finish, the others have small transactions
    /// behind large frames.
    pub(super) fn keep_buffers(&mut self, key: SocketId) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let first = !core::mem::replace(&mut conn.filled, true);
        if conn.member.is_some_and(|nth| nth % 2 == 1) {
            if !first && !self.rng.chance(1, LARGE_EVERY) || self.filled >= SMALL_MAX {
                return;
            }
            self.filled += SMALL_BEHIND;
            self.transfer(key, "x".repeat(LARGE_NAME).as_str(), 0);
            (0..SMALL_BEHIND).for_each(|_| self.pay(key, 8));
            return;
        }
        if !first {
            // So slowly that it is no stall.
            conn.out.extend([0; KEPT_MORE]);
            return;
        }
        let (height, difficulty) = (1, 1);
        let header =
            Header { height, previous: self.genesis, root: Hash([3; 32]), time: self.time, difficulty, nonce: 0 };
        let Some(header) = Miner::new(header).run(1 << 16) else { return };
        let Ok(head) = frame::header(Kind::NewBlock as u8, MAX_PAYLOAD as usize) else { return };
        conn.out.extend_from_slice(&head);
        conn.out.extend_from_slice(&header.encode());
        conn.out.extend(core::iter::repeat_n(0, KEPT));
        self.attacks.push("unfinished frame");
    }
}
