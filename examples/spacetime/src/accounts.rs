//! Who has how much: blocks are applied, and undone.

use std::collections::BTreeMap;

use crate::crypto::{NO_KEY, PublicKey};
use crate::format::Block;

/// Why accounts refuse a block.
pub type Refusal = &'static str;

/// What one key has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Coins.
    pub balance: i64,
    /// The nonce of the next transaction.
    pub nonce: i64,
}

/// What accounts were before a block; `None` for one that was not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo(Vec<(PublicKey, Option<Account>)>);

/// All accounts after some block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<PublicKey, Account>);

impl Accounts {
    /// Those that the genesis block creates. Its transactions come from nobody.
    ///
    /// # Errors
    ///
    /// When it makes more coins than can be counted.
    pub fn genesis(block: &Block) -> Result<Self, Refusal> {
        let mut accounts = Accounts::default();
        for transaction in &block.transactions {
            if transaction.sender != NO_KEY || transaction.amount <= 0 {
                return Err("a transaction of the genesis block does not create coins");
            }
            if transaction.recipient != NO_KEY {
                let account = accounts.0.entry(transaction.recipient).or_default();
                account.balance = account.balance.checked_add(transaction.amount).ok_or("too many coins")?;
            }
        }
        Ok(accounts)
    }

    /// What a key has: nothing, if it was never paid.
    pub fn get(&self, key: &PublicKey) -> Account {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// All accounts, by their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Account)> {
        self.0.iter()
    }

    /// Applies a block whose rules hold, or leaves everything as it is.
    ///
    /// # Errors
    ///
    /// Why it cannot be applied.
    pub fn apply(&mut self, block: &Block) -> Result<Undo, Refusal> {
        // What is received in a block can be spent only after it, so spending is judged apart from receiving.
        let mut spent: BTreeMap<PublicKey, Account> = BTreeMap::new();
        let (mut received, mut fees): (BTreeMap<PublicKey, i64>, i64) = (BTreeMap::new(), 0);
        for transaction in &block.transactions {
            let sender = spent.entry(transaction.sender).or_insert_with(|| self.get(&transaction.sender));
            if sender.nonce != transaction.nonce {
                return Err("a nonce is not the sender's next");
            }
            let cost = transaction.cost().filter(|cost| *cost <= sender.balance).ok_or("a sender has too little")?;
            sender.balance = sender.balance.checked_sub(cost).ok_or("a sender has too little")?;
            sender.nonce = sender.nonce.checked_add(1).ok_or("a nonce is too large")?;
            let sum = received.entry(transaction.recipient).or_default();
            *sum = sum.checked_add(transaction.amount).ok_or("a sum is too large")?;
            fees = fees.checked_add(transaction.fee).ok_or("a sum is too large")?;
        }
        if fees > 0 {
            let sum = received.entry(block.header.miner).or_default();
            *sum = sum.checked_add(fees).ok_or("a sum is too large")?;
        }
        received.remove(&NO_KEY);
        for (key, sum) in received {
            let account = spent.entry(key).or_insert_with(|| self.get(&key));
            account.balance = account.balance.checked_add(sum).ok_or("a sum is too large")?;
        }
        Ok(Undo(spent.into_iter().map(|(key, account)| (key, self.0.insert(key, account))).collect()))
    }

    /// Undoes the block that was applied last. Answers what undoes this.
    pub fn undo(&mut self, undo: Undo) -> Undo {
        let mut redo = Vec::with_capacity(undo.0.len());
        for (key, before) in undo.0 {
            let after = match before {
                Some(account) => self.0.insert(key, account),
                None => self.0.remove(&key),
            };
            redo.push((key, after));
        }
        Undo(redo)
    }
}
