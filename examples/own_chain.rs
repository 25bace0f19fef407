//! A chain of one's own in a hundred lines: numbered records, no proof of work, held in memory.
//!
//! Two engines catch up with each other here, hand to hand; on a node the chain is the same.
//!
//! ```text
//! cargo run --no-default-features --example own_chain
//! ```

use bytes::Bytes;
use spacetime_network::id::ConnId;
use spacetime_network::proto::sync::chain::{Chain, HeaderError, HeaderInfo, Rejection, Tip, Verdict};
use spacetime_network::proto::sync::{SyncConfig, SyncManager, SyncOutput, answer_get_headers};
use spacetime_network::time::{Now, UnixTime};
use spacetime_network::wire::{Hash, Kind, Message};

/// A record is 32 bytes of its parent's hash, its number, and a text. Its header is the whole record.
struct Records(Vec<Bytes>);

/// FNV-1a with four starts: enough to name records among friends, not to resist anybody.
fn fnv(bytes: &[u8]) -> Hash {
    let mut hash = Hash::ZERO;
    for (lane, part) in (0u64..).zip(hash.0.chunks_exact_mut(8)) {
        let start = 0xcbf2_9ce4_8422_2325 ^ lane;
        let sum = bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        part.copy_from_slice(&sum.to_le_bytes());
    }
    hash
}

impl Records {
    fn new() -> Self {
        Records(vec![[&[0; 40][..], b"the beginning"].concat().into()])
    }

    fn write(&mut self, text: &str) {
        let tip = self.best();
        let record = [&tip.hash.0[..], &(tip.height + 1).to_le_bytes(), text.as_bytes()].concat();
        self.0.push(record.into());
    }

    fn tip(&self, number: usize) -> Tip {
        let hash = self.0.get(number).map_or(Hash::ZERO, |record| fnv(record));
        Tip { hash, height: number as u64, work: number as u128 }
    }
}

impl Chain for Records {
    fn genesis(&self) -> Hash {
        self.tip(0).hash
    }

    fn best(&self) -> Tip {
        self.tip(self.0.len() - 1)
    }

    fn position(&self, hash: &Hash) -> Option<Tip> {
        (0..self.0.len()).rev().map(|number| self.tip(number)).find(|tip| tip.hash == *hash)
    }

    fn locator(&self) -> Vec<Hash> {
        (0..self.0.len()).rev().take(65).map(|number| self.tip(number).hash).collect()
    }

    fn headers_after(&self, locator: &mut dyn Iterator<Item = Hash>, stop: Option<Hash>, max: usize) -> Vec<Bytes> {
        let start = locator.filter_map(|hash| self.position(&hash)).next().map_or(0, |tip| tip.height as usize);
        let end = stop.and_then(|hash| self.position(&hash)).map_or(usize::MAX, |tip| tip.height as usize);
        let numbered = self.0.iter().enumerate().skip(start + 1).take(max);
        numbered.take_while(|(number, _)| *number <= end).map(|(_, record)| record.clone()).collect()
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.position(hash).and_then(|tip| self.0.get(tip.height as usize).cloned())
    }

    fn check_header(&self, _: UnixTime, header: &[u8]) -> Result<HeaderInfo, HeaderError> {
        let short = HeaderError::Invalid(Rejection::invalid("a record has at least 40 bytes"));
        let (previous, rest) = header.split_first_chunk().ok_or(short)?;
        let (number, _) = rest.split_first_chunk().ok_or(short)?;
        let height = u64::from_le_bytes(*number);
        Ok(HeaderInfo { hash: fnv(header), previous: Hash(*previous), height, work: 1 })
    }

    fn check_block_header(&self, now: UnixTime, block: &[u8]) -> Result<HeaderInfo, HeaderError> {
        self.check_header(now, block)
    }

    fn submit_block(&mut self, now: UnixTime, block: Bytes) -> Verdict {
        let best = self.best();
        match self.check_header(now, &block) {
            Err(_) => Verdict::Invalid(Rejection::invalid("not a record")),
            Ok(info) if self.position(&info.hash).is_some() => Verdict::Known,
            Ok(info) if info.previous == best.hash && info.height == best.height + 1 => {
                self.0.push(block);
                Verdict::Accepted { best_changed: true }
            }
            Ok(info) if self.position(&info.previous).is_none() => Verdict::Orphan { parent: info.previous },
            Ok(_) => Verdict::Ignored("records do not branch"),
        }
    }

    fn submit_transaction(&mut self, _: UnixTime, _: Bytes) -> Verdict {
        Verdict::Ignored("records have no transactions")
    }

    fn transaction_id(&self, _: &[u8]) -> Option<Hash> {
        None
    }

    fn pool_ids(&self, _: usize) -> Vec<Hash> {
        Vec::new()
    }

    fn pool_transaction(&self, _: &Hash) -> Option<Bytes> {
        None
    }

    fn gossip_id(&self, kind: Kind, payload: &[u8]) -> Hash {
        fnv(&[&[kind as u8], payload].concat())
    }

    fn check_gossip(&mut self, _: UnixTime, _: Kind, _: &[u8]) -> Verdict {
        Verdict::Ignored("records have no gossip")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut old, mut new) = (Records::new(), Records::new());
    (1..=100).for_each(|number| old.write(&format!("record {number}")));
    let (now, conn) = (Now::default(), ConnId::new(0, 0));
    let mut sync = SyncManager::new(SyncConfig::default());
    let best = old.best();
    sync.peer_ready(now, conn, 2, Some((best.height, best.hash)), &new);
    while let Some(output) = sync.poll_output() {
        let SyncOutput::Send { kind, payload, .. } = output else { continue };
        match Message::decode(kind, &payload)? {
            Message::GetHeaders(request) => {
                let headers = answer_get_headers(&old, &request);
                let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_ref()).collect();
                sync.handle_headers(now, conn, &headers, &new).map_err(|reason| reason.to_string())?;
            }
            Message::GetBlock(hash) => {
                let block = old.block(&hash).ok_or("asked for what was never told")?;
                sync.handle_block(now, conn, block, &mut new).map_err(|reason| reason.to_string())?;
            }
            other => return Err(format!("unexpected {}", other.kind().name()).into()),
        }
    }
    assert_eq!(new.best(), old.best());
    println!("caught up: {} records, the last is {}", new.best().height, new.best().hash);
    Ok(())
}
