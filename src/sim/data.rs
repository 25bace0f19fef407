//! A host's data directory: its chain and its peers on a virtual disk, by the code that keeps them in the world.
//!
//! Beside the disk stands what was given to it, and with that S18: what is loaded is what was stored. After a crash it may be
//! some earlier state, but none from before the last one that was reported durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::delivery_checker::digest;
use super::disk::{Rates, VirtualDisk, VirtualPath};
use super::simulation::SimState;
use crate::chain::{OpenError, Params, ReferenceChain};
use crate::driver::store::peers::{LoadProblem, decode, encode, load_on, save_on};
use crate::invariant::Invariant;
use crate::proto::peer::peer_table::PeerRecord;
use crate::proto::sync::chain::Chain;
use crate::rng::Rng;
use crate::time::Now;
use crate::wire::Hash;

/// Calls that a save takes: it may be ended before, between and after them.
const SAVE_CALLS: u64 = 6;

/// How a process ends before it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It is killed, or ends; its kernel closes its sockets and keeps what it has written.
    Process,
    /// The whole machine is without power: its peers are told nothing, and its disk may lose what was not synced.
    PowerCut,
}

/// What a host keeps while it does not run.
pub(super) struct Data {
    disk: VirtualDisk,
    params: Params,
    /// How long the chain's segments become.
    segment_bytes: u64,
    rng: Rng,
    injected: BTreeMap<&'static str, u64>,
    peers: ExpectedPeers,
    chain: ExpectedChain,
}

/// What may be found in `peers.json`.
#[derive(Default)]
struct ExpectedPeers {
    /// Digests of the tables of which one must be there.
    allowed: BTreeSet<u64>,
    /// There may be no file.
    absent: bool,
    /// Digests of all tables that ever were there.
    former: BTreeSet<u64>,
    /// The power was gone: what is found now is durable.
    settled: bool,
}

/// The shortest segment of a store, and how many times it doubles at most.
const SEGMENT_BYTES: (u64, u64) = (4096, 10);

/// What may be found in the chain's store.
#[derive(Default)]
struct ExpectedChain {
    /// The chain as the process that ended knew it.
    former: Option<ReferenceChain>,
    /// The best tip when last nothing waited for the disk.
    durable: Option<Hash>,
    /// The disk has changed bits since the store was made: what it holds may be anything.
    flipped: bool,
    /// The store was opened as it was before, in a part.
    stale: bool,
    /// Chains of before the store was as it was before them: what they stored may come back with another of its files.
    elders: Vec<ReferenceChain>,
    /// How many stores were set aside before this one.
    former_stores: u32,
}

fn directory() -> &'static Path {
    Path::new("data")
}

fn peers_path() -> PathBuf {
    directory().join("peers.json")
}

impl Data {
    pub(super) fn new(params: Params, seed: u64) -> Data {
        let peers = ExpectedPeers { absent: true, ..ExpectedPeers::default() };
        let (disk, mut rng) = (VirtualDisk::new(seed), Rng::from_seed(seed ^ 0x0064_6973_6b00));
        let segment_bytes = SEGMENT_BYTES.0 << rng.below(SEGMENT_BYTES.1);
        Data { disk, params, segment_bytes, rng, injected: BTreeMap::new(), peers, chain: ExpectedChain::default() }
    }

    pub(super) fn params(&self) -> Params {
        self.params
    }

    /// What was injected since the last look.
    pub(super) fn take_injected(&mut self) -> BTreeMap<&'static str, u64> {
        self.note();
        core::mem::take(&mut self.injected)
    }

    /// Height of the chain of a process that has ended.
    pub(super) fn height(&self) -> Option<u64> {
        self.chain.former.as_ref().map(|chain| chain.best().height)
    }

    /// From now on the disk fails as often as the run says. Files of an earlier time are found only by a process that
    /// starts: under one that runs nobody exchanges them.
    pub(super) fn set_rates(&self, sim: &SimState<'_>) {
        self.disk.set_rates(Rates { stale: 0, ..sim.rates.disk });
    }

    /// Did the disk flip bits of the chain on their way?
    pub(super) fn has_misread(&self) -> bool {
        self.chain.flipped
    }

    /// Looks at what the disk has done; true when it flipped bits, or gave an old file.
    fn note(&mut self) -> (bool, bool) {
        let news = self.disk.take_injected();
        let happened = (news.contains_key("disk bit flip"), news.contains_key("disk stale file"));
        for (fault, count) in news {
            *self.injected.entry(fault).or_default() += count;
        }
        self.chain.flipped |= happened.0;
        happened
    }

    /// Opens the chain, as a node does when it starts; `None` when the disk does not let it, for this time. A store that is
    /// damaged is moved away, as its operator is told to do.
    pub(super) fn open_chain(&mut self, sim: &mut SimState<'_>, host: u32) -> Option<ReferenceChain> {
        self.disk.set_rates(sim.rates.disk);
        self.note();
        let mut opened = self.try_open();
        let (_, stale) = self.note();
        self.chain.stale |= stale;
        if let Err(error) = &opened {
            if let OpenError::Io { .. } = error {
                sim.count("chain not opened");
                return None;
            }
            // One of its files as it was before, and the others as they are: that is damage, and told.
            let excused = self.chain.flipped || self.chain.stale;
            sim.check
                .that(Invariant::S18, host, excused, || format!("no bit was flipped, no file was old, and {error}"));
            sim.count("chain set aside");
            sim.best_chain.lose();
            self.chain = ExpectedChain { former_stores: self.chain.former_stores + 1, ..ExpectedChain::default() };
            opened = self.try_open();
            self.note();
        }
        let chain = opened.ok()?;
        self.check_chain(sim, host, &chain);
        Some(chain)
    }

    fn try_open(&self) -> Result<ReferenceChain, OpenError> {
        let path = directory().join(format!("chain-{}", self.chain.former_stores));
        let storage = VirtualPath { disk: self.disk.clone(), path: path.clone(), segment_bytes: self.segment_bytes };
        ReferenceChain::open_on(self.params, storage, &path)
    }

    fn check_chain(&mut self, sim: &mut SimState<'_>, host: u32, chain: &ReferenceChain) {
        let Some(former) = self.chain.former.take() else { return };
        let (best, before) = (chain.best(), former.best());
        if best.work < before.work {
            sim.best_chain.lose();
        }
        if self.chain.flipped {
            return;
        }
        let sources = || self.chain.elders.iter().chain([&former]);
        let held: usize = sources().map(ReferenceChain::block_count).sum();
        let known = sources().any(|held| held.position(&best.hash).is_some()) && chain.block_count() <= held;
        sim.check.that(Invariant::S18, host, known, || {
            let found = chain.block_count();
            format!("the store holds {found} blocks up to {}, and {held} others were stored", best.hash)
        });
        if core::mem::take(&mut self.chain.stale) {
            // What was durable is as old as the file now.
            self.chain.durable = None;
            self.chain.elders.push(former);
        }
        let durable = self.chain.durable;
        let there = durable.is_none_or(|tip| chain.position(&tip).is_some());
        sim.check
            .that(Invariant::S18, host, there, || format!("the store has lost block {durable:?}, which was durable"));
    }

    /// Looks at a running chain after a turn.
    pub(super) fn look(&mut self, chain: &ReferenceChain) {
        let health = chain.health();
        if health.backlog_bytes == 0 && health.error.is_none() {
            self.chain.durable = Some(chain.best().hash);
        }
    }

    /// Loads the peers, as a node does when it starts.
    pub(super) fn load_peers(&mut self, sim: &mut SimState<'_>, host: u32, now: Now) -> Vec<PeerRecord> {
        self.note();
        let chain_flipped = self.chain.flipped;
        let loaded = load_on(&self.disk, &peers_path(), now);
        let (flipped, stale) = self.note();
        self.chain.flipped = chain_flipped;
        self.set_rates(sim);
        let bytes = self.disk.peek(&peers_path());
        let held = bytes.as_ref().map(|bytes| digest(0, bytes));
        let expected = &mut self.peers;
        if stale {
            // Also when it could not be read then: it stays as it was before.
            expected.allowed.extend(&expected.former);
        }
        let settled = core::mem::take(&mut expected.settled) && loaded.problem.is_none();
        match loaded.problem {
            // It stays where it is.
            Some(LoadProblem::Unreadable(_)) => sim.count("peers not read"),
            Some(problem) => {
                sim.count("peers set aside");
                sim.check
                    .that(Invariant::S18, host, flipped, || format!("no bit was flipped, and peers.json is {problem}"));
            }
            None => {
                let known = match held {
                    None => expected.absent,
                    Some(held) => expected.allowed.contains(&held),
                };
                sim.check.that(Invariant::S18, host, known, || {
                    format!("peers.json holds {} peers, which nobody has saved", loaded.peers.len())
                });
                let whole = bytes.map_or(Some(Vec::new()), |bytes| decode(&bytes, now).ok().map(|found| found.peers));
                let same = flipped || whole.as_ref() == Some(&loaded.peers);
                sim.check.that(Invariant::S18, host, same, || "peers.json is not what was loaded from it".to_owned());
            }
        }
        if settled {
            expected.absent = held.is_none();
            expected.allowed = held.into_iter().collect();
        } else {
            expected.absent |= held.is_none();
            expected.allowed.extend(held);
        }
        loaded.peers
    }

    /// Saves the peers as the program does. True when the process, or the machine, died meanwhile.
    pub(super) fn save_peers(&mut self, sim: &mut SimState<'_>, peers: &[PeerRecord]) -> bool {
        let Ok(bytes) = encode(peers) else { return false };
        let dies = sim.rates.save_kill > 0 && self.rng.chance(sim.rates.save_kill, 1000);
        if dies {
            sim.count("kill during save");
            self.disk.end_after(self.rng.below(SAVE_CALLS + 1));
        }
        let saved = save_on(&self.disk, &peers_path(), peers);
        let expected = &mut self.peers;
        let held = digest(0, &bytes);
        if saved.is_ok() {
            expected.allowed.clear();
            expected.absent = false;
        }
        expected.allowed.insert(held);
        expected.former.insert(held);
        dies
    }

    /// The process is gone, and with it what it had not written; without power, also what the disk had only in its cache.
    pub(super) fn end(&mut self, chain: ReferenceChain, exit: Exit) {
        self.note();
        self.peers.settled |= exit == Exit::PowerCut;
        let rng = &mut self.rng;
        self.disk = match exit {
            Exit::Process => self.disk.kill(),
            Exit::PowerCut => self.disk.crash(&mut |bound| match rng.below(3) {
                0 => 0,
                1 => bound - 1,
                _ => rng.below(bound),
            }),
        };
        // Its disk does nothing for it any more.
        self.chain.former = Some(chain);
    }
}
