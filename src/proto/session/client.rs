//! A client that does not introduce itself: what it has asked and what it was told.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::proto::session::Peer;
use crate::wire::{Hash, Kind};

/// Questions of one client that wait for the answers to those before.
pub(in crate::proto) const QUESTIONS_MAX: usize = 256;
/// Bytes of them: four of the largest.
const QUESTIONS_BYTES_MAX: usize = 256 * 1024;
/// Transactions that are remembered as told, in some hundred KiB; beyond, what was told first is told again.
const TOLD_TRANSACTIONS_MAX: usize = 8192;

/// One who is answered, and is no peer.
#[derive(Debug)]
pub(in crate::proto) struct Client {
    /// What answering it takes.
    pub(in crate::proto) asker: Peer,
    /// It has sent a frame, by which it is of a later revision: the first one says nothing before its Handshake.
    pub(in crate::proto) has_spoken: bool,
    /// It takes the next frame for the answer once it has asked something, so that nothing is said unasked any more.
    pub(in crate::proto) has_asked: bool,
    /// The tip whose acceptance it was told last.
    pub(in crate::proto) told: Option<Hash>,
    /// Transactions that it was told, until it knows all of an answer: who asks again gets the others first.
    told_transactions: BTreeSet<Hash>,
    questions: VecDeque<(Kind, Bytes)>,
    bytes: usize,
}

impl Client {
    /// One that has said nothing yet.
    pub(in crate::proto) fn new(asker: Peer) -> Self {
        Client {
            asker,
            has_spoken: false,
            has_asked: false,
            told: None,
            told_transactions: BTreeSet::new(),
            questions: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Puts those that it was told behind the others. When it was told all of them, none counts as told any more.
    pub(in crate::proto) fn put_untold_first(&mut self, transactions: &mut [Hash]) {
        if transactions.iter().all(|id| self.told_transactions.contains(id)) {
            self.told_transactions.clear();
        }
        transactions.sort_by_key(|id| self.told_transactions.contains(id));
    }

    /// It is told a transaction.
    pub(in crate::proto) fn tells(&mut self, transaction: Hash) {
        if self.told_transactions.len() >= TOLD_TRANSACTIONS_MAX {
            self.told_transactions.clear();
        }
        self.told_transactions.insert(transaction);
    }

    /// One more question waits. False when there is no room for it.
    #[must_use]
    pub(in crate::proto) fn ask(&mut self, kind: Kind, payload: Bytes) -> bool {
        let bytes = self.bytes.saturating_add(payload.len());
        if self.questions.len() >= QUESTIONS_MAX || bytes > QUESTIONS_BYTES_MAX {
            return false;
        }
        self.has_asked = true;
        self.bytes = bytes;
        self.questions.push_back((kind, payload));
        true
    }

    /// The oldest question.
    pub(in crate::proto) fn next_question(&mut self) -> Option<(Kind, Bytes)> {
        let next = self.questions.pop_front()?;
        self.bytes = self.bytes.saturating_sub(next.1.len());
        Some(next)
    }

    /// How many wait.
    pub(in crate::proto) fn waiting(&self) -> usize {
        self.questions.len()
    }
}
