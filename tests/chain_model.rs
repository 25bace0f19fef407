//! The reference chain against a model that keeps a list of blocks and recomputes everything from it.

#![cfg(feature = "chain")]

mod chain_support;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chain_support::{BEST, NOW, block, hash_of, params, transfer};
use proptest::prelude::*;
use proptest::sample::Index;
use spacetime_network::chain::{Block, ReferenceChain, Transaction};
use spacetime_network::proto::sync::chain::{Chain, Tip, Verdict};
use spacetime_network::wire::Hash;

/// How many different transfers there are: few, so that branches carry the same ones and descendants repeat them.
const TRANSFERS: usize = 12;

fn pay(n: usize) -> Bytes {
    transfer(["a", "b", "c"][n % 3], ["b", "c", "d"][n % 3], 1 + n as u64, n as u64)
}

/// Every block is a path to genesis in a list; nothing is remembered that can be worked out.
struct Model {
    genesis: Hash,
    /// In order of acceptance.
    accepted: Vec<(Hash, Block)>,
    /// Transfers that were submitted, or were on the best chain once.
    seen: BTreeSet<Hash>,
}

impl Model {
    fn path(&self, tip: Hash) -> Option<Vec<&Block>> {
        let (mut path, mut at) = (Vec::new(), tip);
        while at != self.genesis {
            let (_, block) = self.accepted.iter().find(|(hash, _)| *hash == at)?;
            path.push(block);
            at = block.header.previous;
        }
        path.reverse();
        Some(path)
    }

    fn ids(path: &[&Block]) -> Vec<Hash> {
        path.iter().flat_map(|block| block.ids()).collect()
    }

    /// The end of the first of the longest paths.
    fn best(&self) -> Hash {
        let mut best = (0, self.genesis);
        for (hash, _) in &self.accepted {
            let length = self.path(*hash).map_or(0, |path| path.len());
            if length > best.0 {
                best = (length, *hash);
            }
        }
        best.1
    }

    /// What the chain should say: accepted, orphan, known or invalid.
    fn submit(&mut self, block: Block) -> &'static str {
        let hash = block.header.hash();
        if self.accepted.iter().any(|(known, _)| *known == hash) {
            return "known";
        }
        let Some(path) = self.path(block.header.previous) else { return "orphan" };
        let above: BTreeSet<Hash> = Model::ids(&path).into_iter().collect();
        let own: BTreeSet<Hash> = block.ids().into_iter().collect();
        if own.len() < block.transactions.len() || !own.is_disjoint(&above) {
            return "invalid";
        }
        self.accepted.push((hash, block));
        let best = Model::ids(&self.path(self.best()).unwrap());
        self.seen.extend(best);
        "accepted"
    }

    fn pool(&self) -> BTreeSet<Hash> {
        let best: BTreeSet<Hash> = Model::ids(&self.path(self.best()).unwrap()).into_iter().collect();
        let rewards: BTreeSet<Hash> = self.accepted.iter().map(|(_, block)| block.ids()[0]).collect();
        self.seen.iter().filter(|id| !best.contains(id) && !rewards.contains(id)).copied().collect()
    }

    fn balances(&self) -> BTreeMap<String, i128> {
        let mut balances = BTreeMap::new();
        for bytes in self.path(self.best()).unwrap().iter().flat_map(|block| &block.transactions) {
            let transfer = Transaction::decode(bytes).unwrap();
            *balances.entry(transfer.sender.to_owned()).or_default() -= i128::from(transfer.amount);
            *balances.entry(transfer.recipient.to_owned()).or_default() += i128::from(transfer.amount);
        }
        balances.remove("network");
        balances
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted { .. } => "accepted",
        Verdict::Known => "known",
        Verdict::Orphan { .. } => "orphan",
        Verdict::Invalid(_) => "invalid",
        other => panic!("unexpected {other:?}"),
    }
}

/// A tree of blocks: each names its parent among those before it and the transfers it carries.
fn tree() -> impl Strategy<Value = Vec<(Index, Vec<usize>)>> {
    let transfers = proptest::collection::vec(0..TRANSFERS, 0..3);
    proptest::collection::vec((any::<Index>(), transfers), 1..28)
}

fn build(difficulty: u8, tree: &[(Index, Vec<usize>)]) -> Vec<Bytes> {
    let params = params(difficulty);
    let genesis = Tip { hash: params.genesis().header.hash(), height: 0, work: 0 };
    let mut tips = vec![genesis];
    let mut blocks = Vec::new();
    for (tag, (parent, transfers)) in tree.iter().enumerate() {
        // Of two choices the higher parent, so that trees are more than bushes.
        let parent = tips[parent.index(tips.len())].max_height(tips[parent.index(tips.len().div_ceil(2))]);
        let pays: Vec<Bytes> = transfers.iter().map(|&n| pay(n)).collect();
        let bytes = block(&params, parent, &pays, tag as u64);
        tips.push(Tip { hash: hash_of(&bytes), height: parent.height + 1, work: 0 });
        blocks.push(bytes);
    }
    blocks
}

trait MaxHeight {
    fn max_height(self, other: Self) -> Self;
}

impl MaxHeight for Tip {
    fn max_height(self, other: Tip) -> Tip {
        if other.height > self.height { other } else { self }
    }
}

fn compare(chain: &ReferenceChain, model: &Model) -> Result<(), TestCaseError> {
    let best = model.path(model.best()).unwrap();
    let tip = chain.best();
    prop_assert_eq!(tip.hash, model.best());
    prop_assert_eq!(tip.height, best.len() as u64);
    prop_assert_eq!(tip.work, (best.len() as u128 + 1) * 16u128.pow(u32::from(chain.params().difficulty())));
    let pool: BTreeSet<Hash> = chain.pool_ids(usize::MAX).into_iter().collect();
    prop_assert_eq!(&pool, &model.pool());
    for id in &pool {
        prop_assert_eq!(chain.transaction_id(&chain.pool_transaction(id).unwrap()), Some(*id));
        prop_assert_eq!(chain.transaction_block(id), None);
    }
    for block in &best {
        for id in block.ids() {
            prop_assert_eq!(chain.transaction_block(&id).map(|tip| tip.hash), Some(block.header.hash()));
        }
    }
    let headers: Vec<Bytes> = best.iter().map(|block| Bytes::copy_from_slice(&block.header.encode())).collect();
    prop_assert_eq!(chain.headers_after(&mut [chain.genesis()].into_iter(), None, 2000), headers);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_in_any_order_gives_what_the_model_gives(
        difficulty in 0u8..2,
        tree in tree(),
        shuffle in any::<Index>(),
        order in Just((0..28usize).collect::<Vec<_>>()).prop_shuffle(),
        pools in proptest::collection::vec((0usize..28, 0..TRANSFERS), 0..8),
    ) {
        let blocks = build(difficulty, &tree);
        let mut chain = ReferenceChain::memory(params(difficulty));
        let mut model = Model { genesis: chain.genesis(), accepted: Vec::new(), seen: BTreeSet::new() };
        let mut waiting: Vec<Bytes> = order.iter().filter_map(|&n| blocks.get(n).cloned()).collect();
        let mut step = shuffle.index(7);
        loop {
            let before = waiting.len();
            let mut orphans = Vec::new();
            for bytes in waiting {
                for (_, transfer) in pools.iter().filter(|(at, _)| *at == step) {
                    let bytes = pay(*transfer);
                    model.seen.insert(chain.transaction_id(&bytes).unwrap());
                    prop_assert!(!matches!(chain.submit_transaction(NOW, bytes), Verdict::Invalid(_)));
                }
                step += 1;
                let tip = chain.best();
                let verdict = chain.submit_block(NOW, bytes.clone());
                prop_assert_eq!(name(&verdict), model.submit(Block::decode(&bytes).unwrap()));
                prop_assert_eq!(verdict == BEST, chain.best() != tip);
                if let Verdict::Orphan { parent } = verdict {
                    prop_assert_eq!(parent, Block::decode(&bytes).unwrap().header.previous);
                    orphans.push(bytes);
                }
                compare(&chain, &model)?;
            }
            if orphans.len() == before {
                break;
            }
            waiting = orphans;
        }
        prop_assert_eq!(chain.balances().unwrap(), model.balances());
        let report = chain.verify(|_, _| ()).unwrap();
        prop_assert_eq!(report.blocks, model.accepted.len() as u64 + 1);
        prop_assert_eq!(report.blocks - report.side_blocks, chain.best().height + 1);
        for bytes in &blocks {
            let held = chain.position(&hash_of(bytes)).is_some();
            prop_assert_eq!(chain.block(&hash_of(bytes)), held.then(|| bytes.clone()));
        }
    }
}
