//! The limits of catching up, each with its reason.

use core::time::Duration;

use crate::config::{ConfigCheck, ConfigErrors};
use crate::proto::budget::{COUNTED_GET_BLOCK, COUNTED_GET_HEADERS};
use crate::proto::sync::locator::HEADERS_ANSWER_MAX;
use crate::rate::Rate;

/// How a node catches up. The defaults suit blocks from 1 KiB to 16 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfig {
    /// Blocks that may be asked of one peer at a time however large they are: one arrives, and the others keep the line busy.
    pub blocks_per_peer: usize,
    /// Bytes of blocks that may be asked of one peer at a time. How much of it is used follows from what is measured of the line: as
    /// much as is on its way within a round trip.
    pub bytes_in_flight: usize,
    /// How far ahead of the next block to submit blocks are asked for.
    pub window_blocks: usize,
    /// Bytes of blocks that may wait for an earlier one. The next block to submit is always taken.
    pub window_bytes: usize,
    /// Time for a block, counted anew with each block that the peer delivers, doubled after each timeout.
    pub block_deadline: Duration,
    /// Time after which the next block is asked of another peer when nothing else is left to ask for, before it was measured how
    /// fast blocks come. From then on that decides.
    pub stall_min: Duration,
    /// What either time grows to: each further peer that is asked for the same block gets four times as long.
    pub stall_max: Duration,
    /// Time for the answer to a GetHeaders.
    pub headers_deadline: Duration,
    /// Timeouts in a row after which a peer is closed.
    pub timeouts_max: u32,
    /// Headers in one request; the protocol's limit is 2,000.
    pub headers_per_request: u32,
    /// Headers held whose blocks are missing, at about 190 bytes each.
    pub headers_max: usize,
    /// Headers held on one peer's word.
    pub headers_per_peer: usize,
    /// Headers held on one peer's word of a branch that has no more work than our chain. The work of a longer one is counted first,
    /// and only what has proven more than ours is held.
    pub headers_unproven: usize,
    /// How long a peer is not asked again for a block that it said it does not have, or did not deliver in time.
    pub avoid: Duration,
    /// How long to wait before a block that the chain ignored is submitted again.
    pub retry: Duration,
    /// How often a peer's claims may make us ask it for headers.
    pub announcements: Rate,
    /// How fast to send GetHeaders to a peer that counts them: one that does not say that questions wait at it.
    pub header_requests: Rate,
    /// How fast to send GetBlock to such a peer.
    pub block_requests: Rate,
}

impl Default for SyncConfig {
    fn default() -> Self {
        SyncConfig {
            blocks_per_peer: 4,
            bytes_in_flight: 16 << 20,
            window_blocks: 16_384,
            window_bytes: 64 << 20,
            block_deadline: Duration::from_secs(30),
            stall_min: Duration::from_secs(5),
            stall_max: Duration::from_secs(64),
            headers_deadline: Duration::from_secs(30),
            timeouts_max: 3,
            headers_per_request: 2_000,
            headers_max: 200_000,
            headers_per_peer: 100_000,
            headers_unproven: 10_000,
            avoid: Duration::from_secs(60),
            retry: Duration::from_secs(10),
            announcements: Rate::per(1, Duration::from_secs(10), 4),
            header_requests: COUNTED_GET_HEADERS.for_sending(),
            block_requests: COUNTED_GET_BLOCK.for_sending(),
        }
    }
}

impl SyncConfig {
    /// Checks that a download within these limits can move.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        for (name, count) in [
            ("blocks_per_peer", self.blocks_per_peer),
            ("window_blocks", self.window_blocks),
            ("headers_per_peer", self.headers_per_peer),
            ("headers_unproven", self.headers_unproven),
        ] {
            check.require(count >= 1, name, "must be at least 1");
        }
        check.require(self.timeouts_max >= 1, "timeouts_max", "must be at least 1");
        check.require(
            (1..=HEADERS_ANSWER_MAX).contains(&self.headers_per_request),
            "headers_per_request",
            format!("must be 1 to {HEADERS_ANSWER_MAX}"),
        );
        check.require(
            usize::try_from(self.headers_per_request).is_ok_and(|most| most <= self.headers_max),
            "headers_max",
            "must not be below headers_per_request, or no answer ever fits",
        );
        for (name, duration) in [
            ("block_deadline", self.block_deadline),
            ("stall_min", self.stall_min),
            ("headers_deadline", self.headers_deadline),
            ("avoid", self.avoid),
            ("retry", self.retry),
        ] {
            check.require(!duration.is_zero(), name, "must be longer than zero");
        }
        check.require(self.stall_max >= self.stall_min, "stall_max", "must not be shorter than stall_min");
        check.part("announcements", self.announcements.validate());
        check.part("header_requests", self.header_requests.validate());
        check.part("block_requests", self.block_requests.validate());
        check.finish()
    }
}
