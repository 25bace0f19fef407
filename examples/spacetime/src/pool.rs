//! Transactions that wait for a block.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::accounts::Accounts;
use crate::crypto::{Hash, PublicKey};
use crate::format::{Transaction, VERSION};
use crate::rules;

/// So many transactions wait.
pub const POOL_MAX: usize = 10_000;
/// The fees that are taken.
const FEES: core::ops::RangeInclusive<i64> = 1..=1_000_000;
/// So far ahead of its sender's next nonce may a transaction wait.
const NONCES_AHEAD: i64 = 100;

/// Why a transaction does not wait here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It waits already.
    Known,
    /// Whoever made it or passed it on should have known.
    Invalid(&'static str),
    /// Not now, or not here; nobody's fault.
    Ignored(&'static str),
}

#[derive(Clone, Debug)]
struct Waiting {
    id: Hash,
    /// Grows; which came first.
    order: u64,
    transaction: Transaction,
    bytes: Bytes,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pool {
    by_sender: BTreeMap<PublicKey, BTreeMap<i64, Waiting>>,
    by_id: BTreeMap<Hash, (PublicKey, i64)>,
    by_order: BTreeMap<u64, Hash>,
    /// The lowest first, the newest first among equals: who leaves.
    by_fee: BTreeSet<(i64, core::cmp::Reverse<u64>, Hash)>,
    next_order: u64,
}

impl Pool {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The ids of those who wait, the oldest first.
    pub fn ids(&self) -> impl Iterator<Item = Hash> {
        self.by_order.values().copied()
    }

    /// A transaction's bytes.
    pub fn get(&self, id: &Hash) -> Option<Bytes> {
        let (sender, nonce) = self.by_id.get(id)?;
        self.by_sender.get(sender)?.get(nonce).map(|waiting| waiting.bytes.clone())
    }

    /// The nonce after those of a sender that are used or wait.
    pub fn next_nonce(&self, sender: &PublicKey, accounts: &Accounts) -> i64 {
        let mut nonce = accounts.get(sender).nonce;
        let waiting = self.by_sender.get(sender);
        while waiting.is_some_and(|waiting| waiting.contains_key(&nonce)) {
            nonce = nonce.saturating_add(1);
        }
        nonce
    }

    /// Lets a transaction wait. The first of a sender's with one nonce stays.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn insert(&mut self, bytes: Bytes, accounts: &Accounts) -> Result<Hash, Refused> {
        let transaction = Transaction::decode(&bytes).ok_or(Refused::Invalid("not a transaction"))?;
        self.enter(transaction, bytes, accounts, true)
    }

    /// The same for one whose signature was checked, for it comes from a block that was abandoned.
    ///
    /// # Errors
    ///
    /// Why it does not wait.
    pub fn put_back(&mut self, transaction: Transaction, accounts: &Accounts) -> Result<Hash, Refused> {
        let bytes = transaction.encode().into();
        self.enter(transaction, bytes, accounts, false)
    }

    fn enter(
        &mut self,
        transaction: Transaction,
        bytes: Bytes,
        accounts: &Accounts,
        is_new: bool,
    ) -> Result<Hash, Refused> {
        let (id, sender, nonce) = (transaction.hash(), transaction.sender, transaction.nonce);
        if self.by_id.contains_key(&id) {
            return Err(Refused::Known);
        }
        if transaction.version != VERSION {
            return Err(Refused::Invalid("its version is unknown"));
        }
        rules::transaction(&transaction).map_err(|fault| Refused::Invalid(fault.why()))?;
        if !FEES.contains(&transaction.fee) {
            return Err(Refused::Ignored("its fee is not between 1 and 1,000,000"));
        }
        let account = accounts.get(&sender);
        if nonce < account.nonce {
            return Err(Refused::Ignored("its nonce is used"));
        }
        if nonce.saturating_sub(account.nonce) > NONCES_AHEAD {
            return Err(Refused::Ignored("its nonce is too far ahead"));
        }
        let own = self.by_sender.get(&sender);
        if own.is_some_and(|own| own.contains_key(&nonce)) {
            return Err(Refused::Ignored("another with its nonce waits"));
        }
        let waiting = own.into_iter().flat_map(BTreeMap::values).map(|one| one.transaction.cost());
        let cost = waiting.chain([transaction.cost()]).try_fold(0i64, |sum, cost| sum.checked_add(cost?));
        if cost.is_none_or(|cost| cost > account.balance) {
            return Err(Refused::Ignored("its sender has too little"));
        }
        let lowest = self.by_fee.first().filter(|_| self.len() >= POOL_MAX).copied();
        if lowest.is_some_and(|(fee, ..)| fee >= transaction.fee) {
            return Err(Refused::Ignored("the pool is full of higher fees"));
        }
        // The dear part last.
        if is_new {
            rules::transaction_signature(&transaction).map_err(|fault| Refused::Invalid(fault.why()))?;
        }
        if let Some((_, _, lowest)) = lowest {
            self.remove(&lowest);
        }
        let order = self.next_order;
        self.next_order = order.saturating_add(1);
        self.by_fee.insert((transaction.fee, core::cmp::Reverse(order), id));
        self.by_order.insert(order, id);
        self.by_id.insert(id, (sender, nonce));
        self.by_sender.entry(sender).or_default().insert(nonce, Waiting { id, order, transaction, bytes });
        Ok(id)
    }

    /// Forgets a transaction.
    pub fn remove(&mut self, id: &Hash) {
        let Some((sender, nonce)) = self.by_id.remove(id) else { return };
        let Some(own) = self.by_sender.get_mut(&sender) else { return };
        if let Some(gone) = own.remove(&nonce) {
            self.by_order.remove(&gone.order);
            self.by_fee.remove(&(gone.transaction.fee, core::cmp::Reverse(gone.order), gone.id));
        }
        if own.is_empty() {
            self.by_sender.remove(&sender);
        }
    }

    /// Forgets what accounts that have changed leave no room for.
    pub fn settle(&mut self, accounts: &Accounts) {
        let mut gone = Vec::new();
        for (sender, own) in &self.by_sender {
            let account = accounts.get(sender);
            let mut left = account.balance;
            for (nonce, one) in own {
                match one.transaction.cost().and_then(|cost| left.checked_sub(cost)).filter(|left| *left >= 0) {
                    Some(rest) if *nonce >= account.nonce => left = rest,
                    _ => gone.push(one.id),
                }
            }
        }
        gone.iter().for_each(|id| self.remove(id));
    }

    /// What the next block should hold: the highest fees first, each sender's in the order of their nonces.
    pub fn pick(&self, accounts: &Accounts, max: usize) -> Vec<Transaction> {
        let mut heads = BTreeSet::new();
        let mut spent: BTreeMap<PublicKey, i64> = BTreeMap::new();
        let head = |sender: &PublicKey, nonce: i64| {
            let waiting = self.by_sender.get(sender)?.get(&nonce)?;
            Some((waiting.transaction.fee, core::cmp::Reverse(waiting.order), *sender, nonce))
        };
        heads.extend(self.by_sender.keys().filter_map(|sender| head(sender, accounts.get(sender).nonce)));
        let mut picked = Vec::new();
        while let (true, Some((_, _, sender, nonce))) = (picked.len() < max, heads.pop_last()) {
            let Some(waiting) = self.by_sender.get(&sender).and_then(|own| own.get(&nonce)) else { continue };
            let sum = spent.entry(sender).or_default();
            let cost = waiting.transaction.cost().and_then(|cost| sum.checked_add(cost));
            let Some(cost) = cost.filter(|cost| *cost <= accounts.get(&sender).balance) else { continue };
            *sum = cost;
            picked.push(waiting.transaction.clone());
            heads.extend(head(&sender, nonce.saturating_add(1)));
        }
        picked
    }
}
