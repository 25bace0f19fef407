//! What happens in the demo at which height.
//!
//! Heights, not seconds: a slow machine does the same, only slower.

/// Something that happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The node is stopped.
    Stop(usize),
    /// It is started again from its data directory.
    Restart(usize),
    /// The node that was not there joins with nothing.
    Join(usize),
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    nodes: usize,
    blocks: u64,
    transactions: usize,
    /// Height and step, in order.
    steps: Vec<(u64, Step)>,
    done: usize,
}

impl Script {
    /// For `nodes` nodes, at least three, that are to reach `blocks`, at least four, with `transactions` in them.
    pub(super) fn new(nodes: usize, blocks: u64, transactions: usize) -> Self {
        let late = nodes.saturating_sub(1);
        // Not the node whose address everyone was given, not the late one, and no miner when there is another.
        let stopped = if nodes > 3 { 2 } else { 1 };
        let half = blocks / 2;
        let steps = vec![
            (half, Step::Stop(stopped)),
            (half + (blocks / 10).max(1), Step::Restart(stopped)),
            (blocks * 7 / 10, Step::Join(late)),
        ];
        Script { nodes, blocks, transactions, steps, done: 0 }
    }

    /// The nodes that are there from the start, the one with the known address first.
    pub(super) fn first_nodes(&self) -> std::ops::Range<usize> {
        0..self.nodes.saturating_sub(1)
    }

    /// Two nodes mine.
    pub(super) fn mines(&self, index: usize) -> bool {
        index < 2
    }

    /// The height that every node must reach.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// What has come due at this height and was not done yet.
    pub(super) fn due(&mut self, height: u64) -> Vec<Step> {
        let due: Vec<Step> =
            self.steps.iter().skip(self.done).take_while(|(at, _)| *at <= height).map(|(_, step)| *step).collect();
        self.done += due.len();
        due
    }

    /// Everything was done.
    pub(super) fn is_over(&self) -> bool {
        self.done == self.steps.len()
    }

    /// How many transactions are to be in by now: all of them at six tenths of the way, so that the rest of the blocks
    /// can take up the last.
    pub(super) fn transactions_due(&self, height: u64) -> usize {
        let end = (self.blocks * 6 / 10).max(1);
        let share = (self.transactions as u64).saturating_mul(height.saturating_add(1).min(end)).div_ceil(end);
        usize::try_from(share).unwrap_or(self.transactions).min(self.transactions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_leaves_and_returns_and_another_comes_late() {
        for (nodes, blocks) in [(3, 4), (5, 20), (50, 200)] {
            let mut script = Script::new(nodes, blocks, 40);
            let done: Vec<Step> = (0..=blocks).flat_map(|height| script.due(height)).collect();
            let [Step::Stop(stopped), Step::Restart(started), Step::Join(late)] = done[..] else { panic!("{done:?}") };
            assert_eq!(stopped, started);
            assert!(script.is_over() && stopped != 0 && stopped != late && !script.first_nodes().contains(&late));
        }
    }

    #[test]
    fn what_was_passed_by_is_done_all_the_same() {
        let mut script = Script::new(5, 20, 40);
        assert_eq!(script.due(9), []);
        assert_eq!(script.due(200).len(), 3);
        assert_eq!(script.due(200), []);
    }

    #[test]
    fn all_transactions_are_in_before_the_last_blocks() {
        let script = Script::new(5, 20, 40);
        assert!(script.transactions_due(0) > 0);
        assert!(script.transactions_due(5) < 40);
        assert_eq!(script.transactions_due(12), 40);
        assert_eq!(Script::new(3, 4, 1).transactions_due(4), 1);
    }
}
