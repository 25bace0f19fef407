//! What the engine asks of a chain: the [`Chain`] trait.
//!
//! Blocks, headers and transactions are bytes to the engine. A chain names them, judges them and keeps them; the engine
//! moves them. Calls come from the loop's thread and must return soon (a millisecond is soon, ten are not): a judgement
//! that takes longer answers [`Verdict::Pending`], a block that takes longer to read [`Lookup::Pending`], and the outcome is
//! delivered later, by [`Chain::poll`] or a command.

use bytes::Bytes;

use crate::source::Source;
use crate::time::UnixTime;
use crate::wire::{Hash, Kind};

/// The end of a chain of blocks, or a place on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The block's hash.
    pub hash: Hash,
    /// Blocks before it; genesis is 0.
    pub height: u64,
    /// The work of all blocks up to and including this one, saturating.
    pub work: u128,
}

/// What a header says and proves by itself, before anything is known of its parent: a chain's answer to a look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The header's hash, which is its block's.
    pub hash: Hash,
    /// The parent's hash.
    pub previous: Hash,
    /// The height it claims.
    pub height: u64,
    /// The work of this header alone.
    pub work: u128,
}

/// A header that a chain has checked: there is no other way to come by one.
///
/// The check may be dear, as that of a proof is, and its outcome does not change. So whatever comes after it, from the tree
/// of headers to [`Chain::accept_block`], takes this proof of it and not the bytes. It holds for the chain that made it and
/// for chains with the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHeader(HeaderInfo);

impl CheckedHeader {
    /// Has the chain check a header that stands alone.
    ///
    /// # Errors
    ///
    /// What [`Chain::check_header`] finds wrong with it.
    pub fn check<C: Chain + ?Sized>(chain: &C, now: UnixTime, header: &[u8]) -> Result<Self, HeaderError> {
        chain.check_header(now, header).map(CheckedHeader)
    }

    /// Has the chain check the header of a block of which only the front has come; `None` when that does not suffice.
    pub fn of_begun_block<C: Chain + ?Sized>(
        chain: &C,
        now: UnixTime,
        start: &[u8],
    ) -> Option<Result<Self, HeaderError>> {
        Some(chain.check_begun_block(now, start)?.map(CheckedHeader))
    }

    /// For tests of what takes such a proof, where no chain is about.
    #[cfg(test)]
    pub(crate) fn unchecked(info: HeaderInfo) -> Self {
        CheckedHeader(info)
    }

    /// The header's hash, which is its block's.
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    /// The parent's hash.
    pub fn previous(&self) -> Hash {
        self.0.previous
    }

    /// The height it claims.
    pub fn height(&self) -> u64 {
        self.0.height
    }

    /// The work of this header alone.
    pub fn work(&self) -> u128 {
        self.0.work
    }
}

/// A block's bytes, with the proof that its header was checked. Of the rest of it nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    header: CheckedHeader,
    bytes: Bytes,
}

impl CheckedBlock {
    /// Has the chain check the header that stands in a block.
    ///
    /// # Errors
    ///
    /// What [`Chain::check_block_header`] finds wrong with it.
    pub fn check<C: Chain + ?Sized>(chain: &C, now: UnixTime, bytes: Bytes) -> Result<Self, HeaderError> {
        let header = chain.check_block_header(now, &bytes).map(CheckedHeader)?;
        Ok(CheckedBlock { header, bytes })
    }

    /// The block of a header that was checked before, which `known` finds by its hash: that is computed once.
    ///
    /// # Errors
    ///
    /// The bytes again when they are no block, or of a header that is not known.
    pub fn of_known<C: Chain + ?Sized>(
        chain: &C,
        bytes: Bytes,
        known: impl FnOnce(&Hash) -> Option<CheckedHeader>,
    ) -> Result<Self, Bytes> {
        let hash = chain.block_hash(&bytes);
        match hash.and_then(|hash| known(&hash).filter(|header| header.hash() == hash)) {
            Some(header) => Ok(CheckedBlock { header, bytes }),
            None => Err(bytes),
        }
    }

    /// Its header.
    pub fn header(&self) -> CheckedHeader {
        self.header
    }

    /// The header's hash, which is the block's.
    pub fn hash(&self) -> Hash {
        self.header.hash()
    }

    /// The whole block as it came, header included.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same, without the proof.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// What a chain says of a block or a transaction that was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// New, valid and kept. For a block, `best_changed` says that the best chain now ends elsewhere.
    Accepted {
        /// True when the best tip moved.
        best_changed: bool,
    },
    /// Valid, and we had it.
    Known,
    /// A block whose parent we do not have.
    Orphan {
        /// The parent that is missing.
        parent: Hash,
    },
    /// Never valid, whoever sends it and whenever.
    Invalid(Rejection),
    /// Not valid now but perhaps later, or not wanted (a full pool, a time ahead of ours): dropped, nobody's fault.
    Ignored(&'static str),
    /// The answer comes later, under this number, by [`Chain::poll`] or through `Command::Verdict`. It must come: a download
    /// waits for the verdict on its next block. Numbers grow and are not used twice; of too many under way the lowest are
    /// forgotten.
    Pending(u64),
}

/// What a chain answers when a block is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup {
    /// Its bytes.
    Here(Bytes),
    /// We do not hold it, or it cannot be read.
    Missing,
    /// The bytes come later, under this number, by [`Chain::poll`]. Numbers are shared with [`Verdict::Pending`].
    Pending(u64),
}

/// What was under way and is finished: see [`Chain::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// A judgement: the number that [`Verdict::Pending`] gave, and the verdict. It may be `Pending` again.
    Judged(u64, Verdict),
    /// A block that was read: the number that [`Lookup::Pending`] gave, and the bytes, if they could be read.
    Read(u64, Option<Bytes>),
    /// Transactions came back to the pool that nobody submitted, some time after the reorganisation that abandoned their blocks.
    /// Who never saw them cannot have them.
    Returned,
    /// There is room again for blocks that were [ignored](Verdict::Ignored) for want of it: no need to wait with them.
    Room,
}

/// Why something is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// A short text for logs.
    pub why: &'static str,
    /// True when the bytes do not match the hash that names them: the sender changed them, the block itself may be good.
    pub mutated: bool,
}

impl Rejection {
    /// The thing itself is invalid.
    pub const fn invalid(why: &'static str) -> Self {
        Rejection { why, mutated: false }
    }

    /// The bytes are not the ones that the hash names.
    pub const fn mutated(why: &'static str) -> Self {
        Rejection { why, mutated: true }
    }
}

/// What [`Chain::check_header`] answers instead of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderError {
    /// Never valid.
    Invalid(Rejection),
    /// Its time is too far ahead of ours: perhaps valid later, nobody's fault.
    Early,
}

/// Why a block is dropped whose header's time has not come.
pub(crate) const EARLY: &str = "its time is too far ahead";

/// A chain of blocks: validation, fork choice, storage and the pool of waiting transactions.
///
/// Implement it to run the engine on another chain. Nothing here may panic on any bytes.
///
/// A block is judged in two steps. Its header is checked once, by [`check_header`](Chain::check_header) when it comes alone
/// or by [`check_block_header`](Chain::check_block_header) when it comes with its block; the engine passes the outcome on as
/// a [`CheckedBlock`] to [`accept_block`](Chain::accept_block), which judges the rest.
///
/// # Examples
///
/// A chain that has no work, no branches and no transactions: a list of records, each with the hash of the one before, its number
/// and a text. `examples/own_chain.rs` runs two nodes on one like it.
///
/// ```
/// use bytes::Bytes;
/// use spacetime_network::proto::sync::chain::{Chain, CheckedBlock, HeaderError, HeaderInfo, Rejection, Tip, Verdict};
/// use spacetime_network::time::UnixTime;
/// use spacetime_network::wire::{Hash, Kind};
///
/// struct Records(Vec<Bytes>);
///
/// /// Names a record. A real chain takes a hash that resists collisions.
/// fn name(record: &[u8]) -> Hash {
///     let mut hash = Hash::ZERO;
///     for (at, byte) in record.iter().enumerate() {
///         hash.0[at % 32] = hash.0[at % 32].rotate_left(3) ^ byte;
///     }
///     hash
/// }
///
/// impl Records {
///     fn tip(&self, number: usize) -> Option<Tip> {
///         let hash = name(self.0.get(number)?);
///         Some(Tip { hash, height: number as u64, work: number as u128 })
///     }
/// }
///
/// impl Chain for Records {
///     fn genesis(&self) -> Hash {
///         name(&self.0[0])
///     }
///     fn best(&self) -> Tip {
///         self.tip(self.0.len() - 1).expect("there is always a first record")
///     }
///     fn position(&self, hash: &Hash) -> Option<Tip> {
///         (0..self.0.len()).filter_map(|number| self.tip(number)).find(|tip| tip.hash == *hash)
///     }
///     fn locator(&self) -> Vec<Hash> {
///         (0..self.0.len()).rev().take(65).map(|number| name(&self.0[number])).collect()
///     }
///     fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
///         let start = locator.filter_map(|hash| self.position(&hash)).next().map_or(0, |tip| tip.height as usize);
///         let end = stop.and_then(|hash| self.position(&hash)).map_or(self.0.len(), |tip| tip.height as usize + 1);
///         self.0.iter().take(end).skip(start + 1).take(max).cloned().collect()
///     }
///     fn block(&self, hash: &Hash) -> Option<Bytes> {
///         self.position(hash).map(|tip| self.0[tip.height as usize].clone())
///     }
///     fn check_header(&self, _now: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
///         // Whatever a stranger sends comes here: nothing may panic.
///         let short = HeaderError::Invalid(Rejection::invalid("a record has at least 40 bytes"));
///         let (previous, rest) = header.split_first_chunk().ok_or(short)?;
///         let height = u64::from_le_bytes(*rest.first_chunk().ok_or(short)?);
///         Ok(HeaderInfo { hash: name(header), previous: Hash(*previous), height, work: 1 })
///     }
///     fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
///         self.check_header(now, block) // a record is its own header
///     }
///     fn block_hash(&self, block: &[u8]) -> Option<Hash> {
///         Some(name(block))
///     }
///     fn accept_block(&mut self, _now: UnixTime, block: CheckedBlock) -> Verdict {
///         let (best, header) = (self.best(), block.header());
///         if self.position(&header.hash()).is_some() {
///             Verdict::Known
///         } else if header.previous() == best.hash && header.height() == best.height + 1 {
///             self.0.push(block.into_bytes());
///             Verdict::Accepted { best_changed: true }
///         } else if self.position(&header.previous()).is_none() {
///             Verdict::Orphan { parent: header.previous() }
///         } else {
///             Verdict::Ignored("records do not branch")
///         }
///     }
///     fn submit_transaction(&mut self, _now: UnixTime, _transaction: Bytes) -> Verdict {
///         Verdict::Ignored("records have no transactions")
///     }
///     fn transaction_id(&self, _transaction: &[u8]) -> Option<Hash> {
///         None
///     }
///     fn pool_ids(&self, _max: usize) -> Vec<Hash> {
///         Vec::new()
///     }
///     fn pool_transaction(&self, _id: &Hash) -> Option<Bytes> {
///         None
///     }
///     fn check_gossip(&mut self, _now: UnixTime, _kind: Kind, _payload: &[u8]) -> Verdict {
///         Verdict::Ignored("records have no gossip")
///     }
///     fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash {
///         name(&[&[kind as u8], payload].concat())
///     }
/// }
///
/// let mut chain = Records(vec![[&[0; 40][..], b"the beginning"].concat().into()]);
/// let second: Bytes = [&chain.genesis().0[..], &1u64.to_le_bytes(), b"the second"].concat().into();
/// assert_eq!(chain.submit_block(UnixTime::default(), second.clone()), Verdict::Accepted { best_changed: true });
/// assert_eq!(chain.submit_block(UnixTime::default(), second.clone()), Verdict::Known);
/// let after = chain.headers_after(&mut [chain.genesis()].into_iter(), None, 2000);
/// assert_eq!(after, [second]);
/// ```
pub trait Chain {
    /// The hash of the first block, which is also the network's id.
    fn genesis(&self) -> Hash;

    /// The end of the best chain.
    fn best(&self) -> Tip;

    /// Where a block that we hold stands, on any branch; `None` when we do not hold it.
    fn position(&self, hash: &Hash) -> Option<Tip>;

    /// Hashes of the best chain, newest first, dense at the tip and sparse towards genesis; at most 65, at least 1.
    fn locator(&self) -> Vec<Hash>;

    /// Headers of the best chain after the first hash of `locator` that is on it (after genesis when none is), at most
    /// `max`, ending with `stop` when that is among them.
    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes>;

    /// The bytes of a block that we hold, on any branch.
    fn block(&self, hash: &Hash) -> Option<Bytes>;

    /// Decodes a header and checks what it proves alone: format, work, time against `now`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check_header(&self, now: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError>;

    /// The same for the header that stands in a block, without looking at the rest.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError>;

    /// The same for the header that stands at the front of a block of which no more has come than `start`, so that a block which
    /// nobody wants is known before it has cost its memory. `None` when the header is not whole there, or the chain cannot tell: then
    /// the block is judged when all of it has come.
    fn check_begun_block(&self, _now: UnixTime, _start: &[u8]) -> Option<Result<HeaderInfo, HeaderError>> {
        None
    }

    /// The hash of the header that stands in a block, by which the block is asked for; `None` when none stands there. A
    /// name and no check: the engine uses it to find the check that was made.
    fn block_hash(&self, block: &[u8]) -> Option<Hash>;

    /// Validates the rest of a block and keeps it when it is valid, on the best chain or on a side branch. Its header was
    /// checked before, by this chain and perhaps some time ago.
    fn accept_block(&mut self, now: UnixTime, block: CheckedBlock) -> Verdict;

    /// The same for a block that a peer pushed to us unasked: `source` is who. A chain that judges blocks elsewhere than in this
    /// call shares that by source, so that who brings much waits behind himself; what comes by
    /// [`accept_block`](Chain::accept_block) we asked for, or made.
    fn accept_block_from(&mut self, now: UnixTime, source: Source, block: CheckedBlock) -> Verdict {
        let _ = source;
        self.accept_block(now, block)
    }

    /// A block that a peer asked for, `source` being who. What takes longer than a call may is answered with
    /// [`Lookup::Pending`].
    fn look_up(&mut self, source: Source, hash: &Hash) -> Lookup {
        let _ = source;
        self.block(hash).map_or(Lookup::Missing, Lookup::Here)
    }

    /// The same, and the peer has asked for `next` behind it: a chain that reads elsewhere may read some of them in one go.
    fn look_up_ahead(&mut self, source: Source, hash: &Hash, next: &mut dyn Iterator<Item = Hash>) -> Lookup {
        let _ = next;
        self.look_up(source, hash)
    }

    /// Nobody wants the block any more that [`Lookup::Pending`] promised under this number. Its bytes may come all the same.
    fn cancel(&mut self, ticket: u64) {
        let _ = ticket;
    }

    /// The next judgement or block that was pending and is finished. Asked at the end of every turn, until there is no more or the
    /// turn has done enough. Whoever finishes things on another thread wakes the loop for it, with
    /// [`Handle::wake`](crate::driver::Handle::wake).
    fn poll(&mut self, now: UnixTime) -> Option<Finished> {
        let _ = now;
        None
    }

    /// Both steps in one, for a block that comes from anywhere but the engine.
    fn submit_block(&mut self, now: UnixTime, block: Bytes) -> Verdict {
        match CheckedBlock::check(self, now, block) {
            Ok(block) => self.accept_block(now, block),
            Err(HeaderError::Invalid(rejection)) => Verdict::Invalid(rejection),
            Err(HeaderError::Early) => Verdict::Ignored(EARLY),
        }
    }

    /// Validates a transaction and keeps it in the pool.
    fn submit_transaction(&mut self, now: UnixTime, transaction: Bytes) -> Verdict;

    /// The same for a transaction whose `source` is known: what the engine calls. A pool that is short of room shares it by that,
    /// so that who brings much does not keep out who brings little; one that does not care need not implement this.
    fn submit_transaction_from(&mut self, now: UnixTime, source: Source, transaction: Bytes) -> Verdict {
        let _ = source;
        self.submit_transaction(now, transaction)
    }

    /// The name of a transaction, for deduplication; `None` when the bytes are not one.
    fn transaction_id(&self, transaction: &[u8]) -> Option<Hash>;

    /// The waiting transactions' ids, at most `max`, oldest first.
    fn pool_ids(&self, max: usize) -> Vec<Hash>;

    /// A waiting transaction's bytes.
    fn pool_transaction(&self, id: &Hash) -> Option<Bytes>;

    /// Judges a challenge, a proof or an acceptance (`kind` says which) whose layout is right. Only `Accepted` is passed
    /// on to other peers.
    fn check_gossip(&mut self, now: UnixTime, kind: Kind, payload: &[u8]) -> Verdict;

    /// The name of a challenge, a proof or an acceptance (`kind` says which), for deduplication: a hash of the kind and of
    /// every byte of the payload, of the chain's own choice. Must resist collisions, or one sender can silence another's
    /// message by sending a twin of it first.
    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash;

    /// Called every few seconds: the place to forget what has waited for too long. Must return soon, as every call.
    fn keep_house(&mut self, now: UnixTime) {
        let _ = now;
    }

    /// Called once at the end of every turn in which something was submitted: the place to start one durable write for
    /// all of it. Must not wait for a disk.
    fn turn_ended(&mut self) {}

    /// The units of work that calls have cost since the last time this was asked, about a fifth of a microsecond each (see
    /// [`limits::TURN_WORK`](crate::limits::TURN_WORK)): they are charged to whoever sent what was judged. The engine counts what
    /// it does itself, bytes that it hashes or hands over included; a chain adds what it does for each transaction, for each
    /// step along a branch and the like. A function of the calls alone, not of a clock.
    fn take_work(&mut self) -> u32 {
        0
    }

    /// Is something left that [`turn_ended`](Chain::turn_ended) does a slice at a time, or [`poll`](Chain::poll) has to tell?
    /// Then the next turn comes soon.
    fn has_work(&self) -> bool {
        false
    }
}
