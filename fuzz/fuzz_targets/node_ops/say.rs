//! What peers say: messages that make sense, for the raw bytes of other targets rarely get past the decoder.

use std::sync::OnceLock;

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use spacetime_network::chain::{Miner, Params, ReferenceChain, Transaction};
use spacetime_network::id::VerifiedId;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{Extension, GetPeers, Handshake, Heartbeat, Ping};
use spacetime_network::wire::{Hash, Kind, Message};

/// Where the wall clock starts, in Unix milliseconds.
pub const START: i64 = 1_800_000_000_000;
/// Blocks of each of the two branches.
const BRANCH: usize = 40;

/// Two branches of valid blocks from the genesis block on: two for each height.
pub fn blocks() -> &'static [Vec<Bytes>; 2] {
    static BLOCKS: OnceLock<[Vec<Bytes>; 2]> = OnceLock::new();
    BLOCKS.get_or_init(|| ["left", "right"].map(branch))
}

fn branch(miner: &str) -> Vec<Bytes> {
    let mut chain = ReferenceChain::memory(Params::new(1, 50).expect("a difficulty that there is"));
    let mut blocks = Vec::new();
    for number in 0..BRANCH {
        let then = UnixTime::from_millis(START - 1_000_000 + 10_000 * number as i64);
        let mut block = chain.template(then, miner, 1 << 16).expect("a template");
        block.header = Miner::new(block.header).run(u64::MAX).expect("work");
        let bytes = block.encode();
        let _ = chain.submit_block(then, bytes.clone());
        blocks.push(bytes);
    }
    blocks
}

/// The first bytes of a block are its header.
fn header(block: &Bytes) -> &[u8] {
    &block[..93]
}

fn hash(input: &mut Unstructured<'_>) -> Result<Hash> {
    let (side, height) = (input.int_in_range(0..=1)?, input.int_in_range(0..=BRANCH)?);
    let chain = ReferenceChain::memory(Params::new(1, 50).expect("a difficulty that there is"));
    Ok(match blocks()[side].get(height) {
        Some(block) => {
            chain.check_header(UnixTime::from_millis(START), header(block)).map_or(Hash([7; 32]), |info| info.hash)
        }
        None => Hash(input.arbitrary()?),
    })
}

fn some_block(input: &mut Unstructured<'_>) -> Result<Bytes> {
    let (side, height) = (input.int_in_range(0..=1)?, input.int_in_range(0..=BRANCH - 1)?);
    Ok(blocks()[side][height].clone())
}

/// A transaction that nobody has seen if `nonce` is new.
pub fn transaction(nonce: u64) -> Bytes {
    let time = UnixTime::from_millis(START);
    let transaction = Transaction { sender: "a", recipient: "b", amount: 1, time, nonce };
    transaction.encode().expect("a transaction within its limits")
}

/// Who TLS says it is: mostly nobody, for mostly there is no TLS.
pub fn identity(input: &mut Unstructured<'_>) -> Result<Option<VerifiedId>> {
    let proven = input.int_in_range(0..=24u8)?;
    Ok((proven > 20).then_some(VerifiedId::from_bytes([proven; 32])))
}

/// An introduction.
pub fn handshake(input: &mut Unstructured<'_>, kind: Kind) -> Result<Option<Bytes>> {
    let id = match input.int_in_range(0..=24u8)? {
        claimed @ 0..=20 => format!("peer-{claimed}"),
        proven => VerifiedId::from_bytes([proven; 32]).to_string(),
    };
    let version = input.int_in_range(0..=3)?;
    let network = if input.ratio(1, 16)? { Hash([9; 32]) } else { genesis() };
    let extension = if version < 2 || input.ratio(1, 16)? {
        None
    } else {
        Some(Extension {
            network: if input.ratio(1, 4)? { Hash::ZERO } else { network },
            nonce: input.int_in_range(0..=5)?,
            listening_port: input.arbitrary()?,
            features: input.arbitrary()?,
            best_height: input.int_in_range(0..=100)?,
            best_hash: hash(input)?,
            seen: None,
        })
    };
    let handshake = Handshake { version, unix_seconds: START / 1000, node_id: &id, user_agent: "fuzz", extension };
    let message =
        if kind == Kind::Handshake { Message::Handshake(handshake) } else { Message::HandshakeAck(Some(handshake)) };
    Ok(message.to_payload().ok())
}

fn genesis() -> Hash {
    static GENESIS: OnceLock<Hash> = OnceLock::new();
    *GENESIS.get_or_init(|| ReferenceChain::memory(Params::new(1, 50).expect("a difficulty that there is")).genesis())
}

/// A message of some kind that decodes; `None` when the choice cannot be encoded.
pub fn message(input: &mut Unstructured<'_>, last_ping: Option<&Bytes>) -> Result<Option<(Kind, Bytes)>> {
    let kind = *input.choose(Kind::ALL)?;
    let payload = match kind {
        Kind::Handshake | Kind::HandshakeAck => handshake(input, kind)?,
        Kind::Heartbeat => {
            let id = format!("peer-{}", input.int_in_range(0..=20)?);
            Message::Heartbeat(Heartbeat::Status { chain_length: input.arbitrary()?, node_id: &id }).to_payload().ok()
        }
        Kind::Ping => Message::Ping(Ping { nonce: input.arbitrary()?, unix_millis: START }).to_payload().ok(),
        // Mostly the answer to the last question.
        Kind::Pong if input.ratio(3, 4)? => last_ping.cloned(),
        Kind::Pong => Message::Pong(Ping { nonce: input.arbitrary()?, unix_millis: START }).to_payload().ok(),
        Kind::GetPeers => {
            let exclude = Vec::new();
            Message::GetPeers(GetPeers::Limited { max: input.arbitrary()?, exclude }).to_payload().ok()
        }
        Kind::Peers => {
            let count = input.int_in_range(0..=40)?;
            let peers = (0..count).map(|_| super::table::address(input)).collect::<Result<Vec<_>>>()?;
            Message::Peers(peers).to_payload().ok()
        }
        Kind::Headers => {
            let (side, from) = (input.int_in_range(0..=1)?, input.int_in_range(0..=BRANCH)?);
            let count = input.int_in_range(0..=BRANCH)?;
            let headers = blocks()[side].iter().skip(from).take(count).map(header).collect();
            Message::Headers(headers).to_payload().ok()
        }
        Kind::GetBlock => Message::GetBlock(hash(input)?).to_payload().ok(),
        Kind::GetBlocks => {
            let count = input.int_in_range(1..=8)?;
            let hashes = (0..count).map(|_| hash(input)).collect::<Result<Vec<_>>>()?;
            Message::GetBlocks(hashes).to_payload().ok()
        }
        Kind::Blocks => {
            let count = input.int_in_range(1..=8)?;
            let blocks = (0..count).map(|_| some_block(input)).collect::<Result<Vec<_>>>()?;
            Message::Blocks(blocks.iter().map(|block| &block[..]).collect()).to_payload().ok()
        }
        Kind::NotFound => Message::NotFound(hash(input)?).to_payload().ok(),
        Kind::Block => Message::Block(&some_block(input)?).to_payload().ok(),
        Kind::NewBlock => Message::NewBlock(&some_block(input)?).to_payload().ok(),
        Kind::Transaction => Message::Transaction(&transaction(input.int_in_range(0..=30)?)).to_payload().ok(),
        Kind::NewChallenge => Message::NewChallenge(&[input.arbitrary::<u8>()?; 9]).to_payload().ok(),
        Kind::GetHeaders
        | Kind::TxPoolRequest
        | Kind::TxPool
        | Kind::ProofSubmission
        | Kind::BlockAccepted
        | Kind::Error => {
            let len = input.int_in_range(0..=120)?;
            Some(Bytes::copy_from_slice(input.bytes(len.min(input.len()))?))
        }
    };
    Ok(payload.map(|payload| (kind, payload)))
}
