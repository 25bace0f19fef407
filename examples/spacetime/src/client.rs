//! Questions to a node that runs: whoever asks is a node for a moment, takes the chain, and believes nothing.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use spacetime_network::driver::node::NodeCommand;
use spacetime_network::proto::{self, Command, Event, Node};
use spacetime_network::time::Now;
use spacetime_network::wire::{Hash, Kind};

use crate::chain::SpacetimeChain;
use crate::codec::{from_hex, to_hex};
use crate::crypto::{PublicKey, SecretKey};
use crate::format::{Transaction, VERSION};
use crate::genesis::Genesis;
use crate::node::{Loop, assemble};
use crate::store::StoreError;

/// How long a node may take until all was said.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a submission may take to leave, and pools to be compared.
const LEAVE: Duration = Duration::from_millis(500);

/// What was heard of a transaction of ours.
#[derive(Debug, Default)]
pub struct Heard {
    accepted: Option<Hash>,
    refused: Option<&'static str>,
    /// Why the last connection ended.
    lost: Option<String>,
}

impl spacetime_network::driver::node::Observer<SpacetimeChain> for Heard {
    fn on_event(&mut self, _: Now, event: &Event, _: &Node<SpacetimeChain>) {
        match event {
            Event::TransactionAccepted { id, from: None } => self.accepted = Some(*id),
            Event::SubmissionRefused { kind: Kind::Transaction, why } => self.refused = Some(*why),
            Event::PeerDisconnected { reason, .. } | Event::HandshakeFailed { reason, .. } => {
                self.lost = Some(reason.to_string());
            }
            Event::DialFailed { reason, .. } => self.lost = Some(reason.to_string()),
            _ => {}
        }
    }
}

/// The text of a key file.
pub fn key_text(key: &SecretKey) -> String {
    format!("secret {}\npublic {}\n", to_hex(&key.to_bytes()), to_hex(&key.public()))
}

/// Reads a key file.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_key(path: &Path) -> Result<SecretKey, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let secret = text.lines().find_map(|line| line.strip_prefix("secret ")).and_then(from_hex);
    let bytes: Option<[u8; 32]> = secret.and_then(|secret| secret.try_into().ok());
    bytes.and_then(|bytes| SecretKey::from_bytes(&bytes)).ok_or_else(|| format!("{} holds no key", path.display()))
}

/// A public key as 66 hexadecimal digits, or the name of a key file.
///
/// # Errors
///
/// When it is neither.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    match from_hex(text).and_then(|bytes| bytes.try_into().ok()) {
        Some(key) => Ok(key),
        None => read_key(Path::new(text)).map(|key| key.public()),
    }
}

/// Takes the whole chain from the node at `address`, and its pool, and checks all of it.
///
/// # Errors
///
/// Why it does not come.
pub fn take_chain(genesis: &Genesis, address: SocketAddr) -> Result<Loop<Heard>, StoreError> {
    let mut config = proto::Config::default();
    config.connect = vec![address];
    let mut driver = assemble(config, SpacetimeChain::memory(genesis)?, Heard::default())?;
    let begun = Instant::now();
    loop {
        driver.turn(Some(Duration::from_millis(20)))?;
        let node = driver.protocol().node();
        let length = node.connected().map(|peer| peer.chain_length).max();
        if length.is_some_and(|length| length <= node.chain().ledger().best().height.saturating_add(1)) {
            return Ok(driver);
        }
        if begun.elapsed() > PATIENCE {
            let why = driver.protocol_mut().observer_mut().lost.take().unwrap_or_else(|| "it is not there".to_owned());
            return Err(format!("the chain of {address} did not come: {why}").into());
        }
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of the flags")]
pub struct Payment {
    pub recipient: PublicKey,
    pub amount: i64,
    pub fee: i64,
}

/// Signs a payment with the sender's next nonce and hands it to the node at `address`. Answers the transaction's id.
///
/// # Errors
///
/// Why it was refused.
pub fn send(genesis: &Genesis, address: SocketAddr, key: &SecretKey, payment: Payment) -> Result<String, StoreError> {
    let mut driver = take_chain(genesis, address)?;
    let begun = Instant::now();
    // What waits already has used nonces; the pools are compared soon after the greeting.
    while begun.elapsed() < LEAVE {
        driver.turn(Some(Duration::from_millis(20)))?;
    }
    let chain = driver.protocol().node().chain();
    let mut transaction = Transaction {
        version: VERSION,
        sender: key.public(),
        recipient: payment.recipient,
        amount: payment.amount,
        nonce: chain.pool().next_nonce(&key.public(), chain.ledger().accounts()),
        fee: payment.fee,
        signature: [0; 64],
    };
    transaction.sign(key);
    let command = Command::SubmitTransaction(transaction.encode().into());
    driver.handle().send(NodeCommand::Do(command)).map_err(|error| error.to_string())?;
    let (begun, mut accepted) = (Instant::now(), None);
    while accepted.is_none() || begun.elapsed() < LEAVE {
        driver.turn(Some(Duration::from_millis(20)))?;
        let heard = driver.protocol_mut().observer_mut();
        if let Some(why) = heard.refused {
            return Err(why.into());
        }
        accepted = heard.accepted;
        if begun.elapsed() > PATIENCE {
            return Err("nothing was heard of the transaction".into());
        }
    }
    // Nobody answers a transaction. That it is there shows in what the node tells whoever comes next, which takes the longer the
    // busier the machine is.
    let mut patience = LEAVE;
    while begun.elapsed() < PATIENCE {
        let mut witness = take_chain(genesis, address)?;
        let asked = Instant::now();
        while asked.elapsed() < patience {
            witness.turn(Some(Duration::from_millis(10)))?;
            driver.turn(Some(Duration::ZERO))?;
            let chain = witness.protocol().node().chain();
            let is_used = chain.ledger().accounts().get(&key.public()).nonce > transaction.nonce;
            if is_used || chain.pool().get(&transaction.hash()).is_some() {
                return Ok(to_hex(&transaction.hash()));
            }
        }
        patience = patience.saturating_mul(2);
    }
    Err(format!("the node at {address} does not tell of the transaction; send it again").into())
}
