//! A fork far below our tip is followed late, or not at all: never without a word.

use spacetime_network::id::ConnId;
use spacetime_network::proto::sync::DeepBranch;
use spacetime_network::time::Instant;
use tracing::info;

use crate::event_log::EventLog;

impl EventLog {
    /// What became of a branch that leaves our chain at `fork` and was told up to `height`.
    pub(super) fn deep_branch(&mut self, at: Instant, conn: ConnId, (fork, height): (u64, u64), news: DeepBranch) {
        let Some(withheld) = self.branches.admit(at) else { return };
        let what = match news {
            DeepBranch::Counted => "a peer tells a long branch; its work is counted before any of it is stored",
            DeepBranch::Proven => "a long branch has more work than our chain; it is fetched and followed",
            DeepBranch::Lighter => "a long branch ends with no more work than our chain has; it is not followed",
            DeepBranch::Changed => "a long branch is not told again as it was counted; its peer is asked anew",
            DeepBranch::Deferred => {
                "a long branch stands on blocks that are not stored yet; its peer is asked again later"
            }
            _ => "a long branch is given up: its blocks did not come or others needed the room; its peer is asked anew",
        };
        info!(%conn, fork, height, withheld, "{what}");
    }
}
