//! The chain over HTTP: blocks, balances, a full check, and what is handed in. Everything is read and judged on the threads of the
//! endpoint: of the loop it is only asked where blocks stand, some hundred at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spacetime_network::chain::{
    Block, BlockReader, Header, Transaction, check_block, check_transaction, transaction as transactions,
};
use spacetime_network::proto::Command;
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Hash, Kind};

use super::admin::Admin;
use super::api::{body, either, number};
use super::conn::Request;
use super::response::Response;
use crate::client::view::time;
use crate::full_node::tell;
use crate::miner::{self, Mined};

/// Blocks of one answer at most, and unless more are asked for.
const BLOCKS_MAX: usize = 1_000;
const BLOCKS_USUAL: usize = 100;
/// Bytes of blocks after which an answer ends, so that a few enormous ones do not fill the memory.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Places of blocks that are asked for at once.
const PLACES_AT_ONCE: usize = 256;
/// How long a verdict on a block may take, which may be judged on another thread.
const VERDICT: Duration = Duration::from_secs(10);
/// How long is mined for one block.
const MINING: Duration = Duration::from_secs(5);

/// A block, with all that it takes to make its bytes again.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockJson {
    index: u64,
    #[serde(default, skip_deserializing)]
    timestamp: String,
    unix_millis: i64,
    #[serde(default)]
    hash: Option<String>,
    previous_hash: String,
    merkle_root: String,
    difficulty: u8,
    nonce: u64,
    transactions: Vec<TransactionJson>,
}

/// A transaction of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct TransactionJson {
    #[serde(default, skip_deserializing)]
    id: String,
    from: String,
    to: String,
    amount: u64,
    unix_millis: i64,
    nonce: u64,
}

impl BlockJson {
    fn of(block: &Block) -> Option<Self> {
        let header = &block.header;
        let transaction = |bytes: &Bytes| {
            let transfer = Transaction::decode(bytes).ok()?;
            Some(TransactionJson {
                id: transactions::id(bytes).to_string(),
                from: transfer.sender.to_owned(),
                to: transfer.recipient.to_owned(),
                amount: transfer.amount,
                unix_millis: transfer.time.as_millis(),
                nonce: transfer.nonce,
            })
        };
        Some(BlockJson {
            index: header.height,
            timestamp: time(header.time.as_millis()),
            unix_millis: header.time.as_millis(),
            hash: Some(header.hash().to_string()),
            previous_hash: header.previous.to_string(),
            merkle_root: header.root.to_string(),
            difficulty: header.difficulty,
            nonce: header.nonce,
            transactions: block.transactions.iter().map(transaction).collect::<Option<_>>()?,
        })
    }

    fn block(&self) -> Result<Block, Response> {
        let wrong = |what: &str| Response::error(422, what);
        let hash = |text: &str| text.parse::<Hash>().map_err(|_| wrong("a hash is 64 hexadecimal digits"));
        let header = Header {
            height: self.index,
            previous: hash(&self.previous_hash)?,
            root: hash(&self.merkle_root)?,
            time: UnixTime::from_millis(self.unix_millis),
            difficulty: self.difficulty,
            nonce: self.nonce,
        };
        let transactions = self.transactions.iter().map(TransactionJson::encode).collect::<Result<_, _>>()?;
        if self.hash.as_ref().is_some_and(|told| *told != header.hash().to_string()) {
            return Err(wrong("the hash is not the one of these fields"));
        }
        Ok(Block { header, transactions })
    }
}

impl TransactionJson {
    fn encode(&self) -> Result<Bytes, Response> {
        let (sender, recipient) = (self.from.as_str(), self.to.as_str());
        let (amount, time, nonce) = (self.amount, UnixTime::from_millis(self.unix_millis), self.nonce);
        Transaction { sender, recipient, amount, time, nonce }
            .encode()
            .map_err(|error| Response::error(422, &format!("a transaction cannot be: {}", error.why())))
    }
}

/// Goes through blocks of the best chain, which may move meanwhile: each is the child of the one before.
struct Walk<'a> {
    admin: &'a Admin,
    next: u64,
    previous: Option<Tip>,
    waiting: std::vec::IntoIter<BlockReader>,
}

/// Why a walk ends before the tip.
enum Broken {
    /// What the client is told.
    Refused(Response),
    /// The chain has moved to another branch below us.
    Moved,
    /// A block is not what it was.
    Block(Tip, String),
}

impl<'a> Walk<'a> {
    fn new(admin: &'a Admin, from: u64) -> Self {
        Walk { admin, next: from, previous: None, waiting: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<(Tip, Bytes, Block)>, Broken> {
        let reader = match self.waiting.next() {
            Some(reader) => reader,
            None => {
                let from = self.next;
                let more = self.admin.look(move |look| look.node.chain().block_readers(from, PLACES_AT_ONCE));
                self.waiting = more.map_err(Broken::Refused)?.into_iter();
                match self.waiting.next() {
                    Some(reader) => reader,
                    None => return Ok(None),
                }
            }
        };
        let tip = reader.tip();
        let broken = |why: &str| Broken::Block(tip, why.to_owned());
        let bytes = reader.read().ok_or_else(|| broken("the store does not give it"))?;
        let block = Block::decode(&bytes).ok_or_else(|| broken("it is no block"))?;
        if block.header.hash() != tip.hash {
            return Err(broken("it is not the block that was stored"));
        }
        if self.previous.is_some_and(|previous| block.header.previous != previous.hash) {
            return Err(Broken::Moved);
        }
        (self.previous, self.next) = (Some(tip), tip.height.saturating_add(1));
        Ok(Some((tip, bytes, block)))
    }
}

impl From<Broken> for Response {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused(response) => response,
            Broken::Moved => Response::error(503, "the chain has moved to another branch meanwhile: ask again"),
            Broken::Block(tip, why) => {
                Response::error(500, &format!("block {} at height {}: {why}", tip.hash, tip.height))
            }
        }
    }
}

#[derive(Serialize)]
struct ChainJson {
    length: u64,
    blocks: Vec<BlockJson>,
    /// Where to go on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

pub(super) fn chain(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let from = number(request, "from", (0, u64::MAX))?;
        let most = number(request, "max", (BLOCKS_USUAL, BLOCKS_MAX))?;
        let length = admin.look(|look| look.node.chain().best().height)?.saturating_add(1);
        let (mut walk, mut blocks, mut bytes) = (Walk::new(admin, from), Vec::new(), 0_usize);
        while blocks.len() < most && bytes < ANSWER_BYTES {
            let Some((tip, block_bytes, block)) = walk.next()? else { break };
            bytes = bytes.saturating_add(block_bytes.len());
            blocks.push(
                BlockJson::of(&block)
                    .ok_or_else(|| Response::from(Broken::Block(tip, "a transaction is none".to_owned())))?,
            );
        }
        let next = Some(walk.next).filter(|next| *next < length && !blocks.is_empty());
        Ok(Response::json(&ChainJson { length, blocks, next }))
    })())
}

#[derive(Serialize)]
struct Balance<'a> {
    name: &'a str,
    balance: i128,
    height: u64,
}

/// What a name holds. Reads the whole chain, and keeps none of it.
pub(super) fn balance(admin: &Admin, name: &str) -> Response {
    either((|| {
        let (mut walk, mut balance, mut height) = (Walk::new(admin, 1), 0_i128, 0);
        while let Some((tip, _, block)) = walk.next()? {
            height = tip.height;
            for bytes in &block.transactions {
                let transfer = Transaction::decode(bytes)
                    .map_err(|error| Response::from(Broken::Block(tip, error.why().to_owned())))?;
                let amount = i128::from(transfer.amount);
                if transfer.sender == name && !transfer.is_reward() {
                    balance = balance.saturating_sub(amount);
                }
                if transfer.recipient == name {
                    balance = balance.saturating_add(amount);
                }
            }
        }
        Ok(Response::json(&Balance { name, balance, height }))
    })())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Validated {
    is_valid: bool,
    blocks: u64,
    transactions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Checks the best chain from its first block: links, work, roots, and what the transactions say. That no transaction stands twice on
/// it is for `chain --verify` on a node that is stopped, which holds all of their ids.
pub(super) fn validate(admin: &Admin, _: &Request) -> Response {
    let params = admin.facts.params;
    let (mut walk, mut blocks, mut transactions) = (Walk::new(admin, 0), 0_u64, 0_u64);
    loop {
        let (tip, why) = match walk.next() {
            Ok(Some((tip, bytes, block))) => {
                (blocks, transactions) = (blocks + 1, transactions + block.transactions.len() as u64);
                match check_block(&params, &bytes) {
                    Ok(_) if block.header.height == tip.height => continue,
                    Ok(_) => (tip, "its height is not one above its parent's".to_owned()),
                    Err(rejection) => (tip, rejection.why.to_owned()),
                }
            }
            Ok(None) => return Response::json(&Validated { is_valid: true, blocks, transactions, why: None }),
            Err(Broken::Block(tip, why)) => (tip, why),
            Err(other) => return other.into(),
        };
        let why = Some(format!("block {} at height {}: {why}", tip.hash, tip.height));
        return Response::json(&Validated { is_valid: false, blocks, transactions, why });
    }
}

/// What somebody wants to pay: the tutorial's three fields. Time and number are ours unless they are given.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payment {
    #[serde(alias = "sender")]
    from: String,
    #[serde(alias = "recipient")]
    to: String,
    amount: u64,
    unix_millis: Option<i64>,
    nonce: Option<u64>,
}

#[derive(Serialize)]
struct Taken {
    id: String,
    accepted: bool,
}

pub(super) fn transaction(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let asked: Payment = body(request)?;
        for name in [&asked.from, &asked.to] {
            crate::value::account(name).map_err(|why| Response::error(422, &why))?;
        }
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| Response::error(500, &format!("no random number: {error}")))?;
        let time = asked.unix_millis.unwrap_or_else(crate::client::blocking::unix_millis);
        let transfer = Transaction {
            sender: &asked.from,
            recipient: &asked.to,
            amount: asked.amount,
            time: UnixTime::from_millis(time),
            // What JavaScript takes for a number is exact up to 2^53, and somebody may give the block back that it is in.
            nonce: asked.nonce.unwrap_or(u64::from_le_bytes(nonce) >> 11),
        };
        let bytes = transfer.encode().map_err(|error| Response::error(422, error.why()))?;
        check_transaction(&bytes).map_err(|rejection| Response::error(422, rejection.why))?;
        let id = transactions::id(&bytes);
        let _alone = admin.submit_alone();
        let before = admin.watched.refused();
        hand_in(admin, Command::SubmitTransaction(bytes))?;
        // Commands are carried out in the order in which they come.
        let is_there = admin.look(move |look| {
            let chain = look.node.chain();
            chain.pool().contains(&id) || chain.transaction_block(&id).is_some()
        })?;
        if is_there {
            return Ok(Response::json(&Taken { id: id.to_string(), accepted: true }));
        }
        let why = admin.watched.refusal_since(before, Kind::Transaction).unwrap_or("it was not taken into the pool");
        Err(Response::error(409, why))
    })())
}

#[derive(Serialize)]
struct TakenBlock {
    hash: String,
    accepted: bool,
    height: u64,
}

pub(super) fn block(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let asked: BlockJson = body(request)?;
        let block = asked.block()?;
        let bytes = block.encode();
        check_block(&admin.facts.params, &bytes).map_err(|rejection| Response::error(422, rejection.why))?;
        let height = block.header.height;
        submit_block(admin, block.header.hash(), bytes)?;
        Ok(Response::json(&TakenBlock { hash: block.header.hash().to_string(), accepted: true, height }))
    })())
}

/// Hands a block in, and waits for what becomes of it.
fn submit_block(admin: &Admin, hash: Hash, bytes: Bytes) -> Result<(), Response> {
    let _alone = admin.submit_alone();
    let before = admin.watched.refused();
    hand_in(admin, Command::SubmitBlock(bytes))?;
    let until = Instant::now() + VERDICT;
    loop {
        if admin.look(move |look| look.node.chain().position(&hash).is_some())? {
            return Ok(());
        }
        if let Some(why) = admin.watched.refusal_since(before, Kind::NewBlock) {
            return Err(Response::error(409, why));
        }
        if Instant::now() >= until {
            return Err(Response::error(
                409,
                "it was not taken: its parent is not known here, or it is still being judged",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn hand_in(admin: &Admin, command: Command) -> Result<(), Response> {
    if tell(admin.handle(), command) { Ok(()) } else { Err(Response::error(503, "the node is busy, or has stopped")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mine {
    miner: Option<String>,
}

/// Mines one block on the best tip, whatever the spacing, and hands it in.
pub(super) fn mine(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let asked: Mine = if request.body.is_empty() { Mine { miner: None } } else { body(request)? };
        let name = asked.miner.unwrap_or_else(|| admin.facts.miner.clone());
        crate::value::account(&name).map_err(|why| Response::error(422, &why))?;
        let block = match miner::mine_within(admin.handle(), &name, MINING) {
            Mined::Found(block) => block,
            Mined::NotInTime => return Err(Response::error(503, "no block was found in five seconds: ask again")),
            Mined::NoWork => return Err(Response::error(503, "the node is busy, or has stopped")),
        };
        submit_block(admin, block.header.hash(), block.encode())?;
        let shown = BlockJson::of(&block).ok_or_else(|| Response::error(500, "the block cannot be shown"))?;
        Ok(Response::json(&shown))
    })())
}

#[cfg(test)]
mod tests {
    use super::*;
    use spacetime_network::chain::Params;

    /// A block of one node's chain can be posted to another.
    #[test]
    fn the_json_of_a_block_makes_its_bytes_again() {
        let block = Params::default().genesis();
        let json = serde_json::to_string(&BlockJson::of(&block).unwrap()).unwrap();
        let read: BlockJson = serde_json::from_str(&json).unwrap();
        assert_eq!(read.block().unwrap().encode(), block.encode());
        let mut wrong: serde_json::Value = serde_json::from_str(&json).unwrap();
        wrong["nonce"] = 7.into();
        let read: BlockJson = serde_json::from_value(wrong).unwrap();
        assert_eq!(read.block().unwrap_err().status, 422);
    }
}
