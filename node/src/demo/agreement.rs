//! Whether all nodes have the same chain, and whether everything is in it.

use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::wire::Hash;

use crate::full_node::LiveNode;

/// What one look at a node shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeView {
    pub(super) tip: Tip,
    pub(super) peers: usize,
    /// Transactions that wait.
    pub(super) pool: usize,
    /// The demo's transactions that are not in this node's chain.
    pub(super) missing: Vec<Hash>,
}

/// How far apart the nodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Nodes are missing, behind or without some transaction.
    NotYet,
    /// All are equally far, on different chains.
    Tie,
    /// All have this.
    Reached(NodeView),
}

impl NodeView {
    /// Reads it on the node's own thread; asks the node's own chain for every one of `wanted`.
    pub(super) fn at(node: &LiveNode, wanted: &[Hash]) -> Self {
        let chain = node.chain();
        NodeView {
            tip: chain.best(),
            peers: node.connected().count(),
            pool: chain.pool().len(),
            missing: wanted.iter().filter(|id| chain.transaction_block(id).is_none()).copied().collect(),
        }
    }
}

/// Compares what `nodes` nodes show.
pub(super) fn of(looks: &[Option<NodeView>], blocks: u64, nodes: usize) -> Agreement {
    let all: Vec<&NodeView> = looks.iter().flatten().collect();
    let Some(first) = all.first().filter(|_| all.len() == nodes) else { return Agreement::NotYet };
    if all.iter().any(|look| look.tip.work != first.tip.work) {
        return Agreement::NotYet;
    }
    if all.iter().any(|look| look.tip.hash != first.tip.hash) {
        return Agreement::Tie;
    }
    if first.tip.height >= blocks && all.iter().all(|look| look.missing.is_empty()) {
        return Agreement::Reached((*first).clone());
    }
    Agreement::NotYet
}

/// True when some node has all that every node is to have, so that nothing more needs to be mined.
pub(super) fn is_enough(looks: &[Option<NodeView>], blocks: u64) -> bool {
    looks.iter().flatten().any(|look| look.tip.height >= blocks && look.missing.is_empty())
}

/// Why they do not agree, in a few words.
pub(super) fn what_is_missing(looks: &[Option<NodeView>], blocks: u64, transactions: usize) -> String {
    let mut parts = Vec::new();
    for (index, look) in looks.iter().enumerate() {
        match look {
            None => parts.push(format!("node {index} does not run")),
            Some(look) if look.tip.height < blocks => {
                parts.push(format!("node {index} is at block {}", look.tip.height))
            }
            Some(look) if !look.missing.is_empty() => {
                let held = transactions.saturating_sub(look.missing.len());
                parts.push(format!("node {index} has {held} of {transactions} transactions"));
            }
            Some(_) => {}
        }
    }
    if parts.is_empty() { "the nodes have different tips".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(height: u64, branch: u8, has_all: bool) -> Option<NodeView> {
        let tip = Tip { hash: Hash([branch; 32]), height, work: u128::from(height) };
        let missing = if has_all { Vec::new() } else { vec![Hash([9; 32])] };
        Some(NodeView { tip, peers: 2, pool: 0, missing })
    }

    #[test]
    fn agreement_needs_every_node_the_height_the_tip_and_the_transactions() {
        let good = || look(20, 1, true);
        assert!(matches!(of(&[good(), good(), good()], 20, 3), Agreement::Reached(_)));
        assert_eq!(of(&[good(), good(), None], 20, 3), Agreement::NotYet);
        assert_eq!(of(&[good(), good(), look(19, 1, true)], 20, 3), Agreement::NotYet);
        assert_eq!(of(&[good(), good(), look(20, 1, false)], 20, 3), Agreement::NotYet);
        assert_eq!(of(&[good(), good(), look(20, 2, true)], 20, 3), Agreement::Tie);
        assert_eq!(of(&[good(), good(), good()], 21, 3), Agreement::NotYet);
        assert_eq!(of(&[], 20, 3), Agreement::NotYet);
    }

    #[test]
    fn what_is_missing_is_named_by_node() {
        let text = what_is_missing(&[look(20, 1, true), None, look(3, 1, true), look(20, 1, false)], 20, 40);
        assert_eq!(text, "node 1 does not run, node 2 is at block 3, node 3 has 39 of 40 transactions");
        assert_eq!(what_is_missing(&[look(20, 1, true)], 20, 40), "the nodes have different tips");
    }
}
