//! Attackers who spend a little work on headers and blocks, to cause much more.

use super::body::{BRANCHES, Body};
use super::{Adversary, Role};
use crate::chain::transaction::NETWORK;
use crate::chain::{Block, Header, Miner, Transaction};
use crate::driver::SocketId;
use crate::wire::{Hash, Kind, Message};

/// Headers that each of them begins with, more than honest chains have, and has at most.
const BRANCH_FIRST: usize = 140;
const BRANCH_MAX: usize = 1500;
/// By how many headers a branch overtakes the longest.
const OVERTAKE: usize = 2;
/// Siblings that are sent over one connection each time, and transactions that all of them share.
const SIBLINGS: usize = 4;
const SHARED: usize = 60;
/// Huge blocks that one sends.
const HUGE_MAX: usize = 6;
/// The name that makes a transaction as short as it can be.
const SHORT: &str = "h";

impl Adversary {
    /// The shortest of several branches overtakes the longest.
    pub(super) fn thrash(&mut self, key: SocketId) {
        if self.branches.is_empty() {
            self.branches = vec![Vec::new(); BRANCHES];
            (0..BRANCHES).for_each(|at| self.grow(at, BRANCH_FIRST));
        }
        let len = |at: &usize| self.branches.get(*at).map_or(0, Vec::len);
        let Some(shortest) = (0..BRANCHES).min_by_key(len) else { return };
        let longest = (0..BRANCHES).map(|at| len(&at)).max().unwrap_or(0);
        self.grow(shortest, (longest + OVERTAKE).min(BRANCH_MAX));
        let Some(told) = self.conns.get_mut(&key).and_then(|conn| conn.told.get_mut(shortest)) else { return };
        let from = core::mem::replace(told, self.branches.get(shortest).map_or(0, Vec::len));
        self.tell_branch(key, shortest, from);
        self.attacks.push("overtaking branch");
    }

    /// Tells a branch from there on.
    pub(super) fn tell_branch(&mut self, key: SocketId, branch: usize, from: usize) {
        let rest = self.branches.get(branch).and_then(|headers| headers.get(from..)).unwrap_or_default();
        let headers: Vec<_> = rest.iter().map(Header::encode).collect();
        self.say(key, &Message::Headers(headers.iter().map(|header| header.as_slice()).collect()));
    }

    fn grow(&mut self, branch: usize, len: usize) {
        let (genesis, time) = (self.genesis, self.time);
        let Some(headers) = self.branches.get_mut(branch) else { return };
        while headers.len() < len {
            let (height, previous) = headers.last().map_or((1, genesis), |last| (last.height + 1, last.hash()));
            let root = Hash([branch as u8; 32]);
            let header = Header { height, previous, root, time, difficulty: 1, nonce: 0 };
            let Some(header) = Miner::new(header).run(1 << 16) else { return };
            headers.push(header);
        }
    }

    /// Blocks beside the one below the tip, all with the same transactions: a few small ones each time, or one that is as large as
    /// it may be and the network carries.
    pub(super) fn send_siblings(&mut self, key: SocketId) {
        let Some(beside) = self.below_tip else { return };
        let is_huge = self.role == Role::HugeBlock;
        if is_huge && self.huge >= HUGE_MAX {
            return;
        }
        if self.body.as_ref().is_none_or(|body| body.height != beside.height) {
            let Some(block) = self.body_beside(beside, if is_huge { self.largest } else { SHARED }) else { return };
            self.body = Some(Body { height: beside.height, block });
        }
        for _ in 0..if is_huge { 1 } else { SIBLINGS } {
            let nonce = self.rng.next_u64();
            let Some(body) = &mut self.body else { return };
            let Some(header) = Miner::new(Header { nonce, ..body.block.header }).run(1 << 16) else { return };
            body.block.header = header;
            let bytes = body.block.encode();
            self.say_bytes(key, Kind::NewBlock as u8, &bytes);
            self.huge += usize::from(is_huge);
        }
        self.attacks.push(if is_huge { "huge block" } else { "siblings" });
    }

    /// A block of so many transactions beside another one.
    fn body_beside(&self, beside: Header, count: usize) -> Option<Block> {
        let transfer = |sender, amount, nonce| {
            Transaction { sender, recipient: SHORT, amount, time: beside.time, nonce }.encode().ok()
        };
        let reward = transfer(NETWORK, self.reward, beside.height)?;
        let paid = (1..count as u64).filter_map(|nonce| transfer(SHORT, 1, nonce));
        let mut block = Block { header: beside, transactions: core::iter::once(reward).chain(paid).collect() };
        block.seal();
        Some(block)
    }
}
