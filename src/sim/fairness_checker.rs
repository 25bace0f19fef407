//! That lower priorities are served: how much passes a frame that waits, where `link::outbox` promises each its share.

use std::collections::VecDeque;

/// Bytes that each priority below the first gets in a round: 4 : 2 : 1 of 16 KiB.
const SHARES: [u64; 4] = [u64::MAX, 64 * 1024, 32 * 1024, 16 * 1024];

#[derive(Clone, Copy, Debug)]
struct Frame {
    hash: u64,
    len: u64,
    /// How many were queued before it.
    number: u64,
}

/// What one priority has queued.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// Since the first of them is the first: bytes of other priorities that were queued after it and came before it, and the
    /// longest frame of these.
    passed: u64,
    longest: u64,
}

/// A frame for which more has gone before it than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Starved {
    pub(super) rank: usize,
    pub(super) passed: u64,
    pub(super) bound: u64,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct FairnessChecker {
    queues: [Queue; 4],
    count: u64,
    /// Whose frame came is not known any more: frames were dropped, or two priorities had equal ones.
    lost: bool,
}

impl FairnessChecker {
    /// A frame of so many bytes, its header included, is queued.
    pub(super) fn queued(&mut self, rank: usize, hash: u64, len: u64) {
        if !self.lost {
            self.queues[rank].frames.push_back(Frame { hash, len, number: self.count });
            self.count += 1;
        }
    }

    /// From now on nobody can tell.
    pub(super) fn give_up(&mut self) {
        *self = FairnessChecker { lost: true, ..FairnessChecker::default() };
    }

    /// A frame came. Has another one waited for too long?
    ///
    /// The first frame of a queue leaves once the queue has gained its length, a share each round; the others gain theirs
    /// meanwhile, and each may have saved up for one long frame. The first priority passes everybody, and is not counted.
    pub(super) fn delivered(&mut self, hash: u64) -> Option<Starved> {
        let mut holding =
            self.queues.iter().enumerate().filter(|(_, queue)| queue.frames.iter().any(|f| f.hash == hash));
        let (Some((rank, _)), None) = (holding.next(), holding.next()) else {
            self.give_up();
            return None;
        };
        let queue = &mut self.queues[rank];
        let Some(frame) = queue.frames.pop_front().filter(|first| first.hash == hash) else {
            self.give_up();
            return None;
        };
        (queue.passed, queue.longest) = (0, 0);
        if rank == 0 {
            return None;
        }
        let rest: u64 = SHARES.iter().skip(1).sum();
        let mut starved = None;
        for (rank, queue) in self.queues.iter_mut().enumerate().skip(1) {
            let Some(first) = queue.frames.front().filter(|first| first.number < frame.number) else { continue };
            queue.passed += frame.len;
            queue.longest = queue.longest.max(frame.len);
            let rounds = first.len.div_ceil(SHARES[rank]) + 1;
            let bound = rounds * (rest - SHARES[rank]) + 2 * queue.longest;
            if queue.passed > bound {
                starved = Some(Starved { rank, passed: queue.passed, bound });
            }
        }
        starved
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::link::{BufferPool, Inbox, Outbox, OutboxLimits};
    use crate::rng::Rng;
    use crate::time::Instant;
    use crate::wire::frame::HEADER_LEN;
    use crate::wire::{FrameRules, Kind, Priority};

    #[test]
    fn a_frame_that_others_pass_for_too_long_is_starved() {
        let mut checker = FairnessChecker::default();
        // The last priority waits for 20,000 bytes: two rounds, and the one that is under way.
        checker.queued(3, 999, 20_000);
        let bound = 3 * 96 * 1024 + 2 * 10_000;
        for number in 0..bound / 10_000 {
            checker.queued(1, number, 10_000);
            checker.queued(0, 1_000_000 + number, 500_000);
            assert_eq!(checker.delivered(number), None);
            assert_eq!(checker.delivered(1_000_000 + number), None, "the first priority does not count");
        }
        checker.queued(2, 77, 10_000);
        assert_eq!(checker.delivered(77), Some(Starved { rank: 3, passed: 320_000, bound }));
        checker.queued(1, 78, 10_000);
        assert_eq!(checker.delivered(999), None);
        assert_eq!(checker.delivered(78), None, "nobody waits");
    }

    #[test]
    fn what_was_queued_before_a_frame_does_not_pass_it() {
        let mut checker = FairnessChecker::default();
        (0..100).for_each(|number| checker.queued(1, number, 100_000));
        checker.queued(3, 999, 10);
        assert!((0..100).all(|number| checker.delivered(number).is_none()));
        assert!(!checker.lost);
    }

    #[test]
    fn two_equal_frames_end_the_count_and_nobody_is_accused() {
        let mut checker = FairnessChecker::default();
        [(1, 7), (2, 7), (3, 8)].iter().for_each(|(rank, hash)| checker.queued(*rank, *hash, 10));
        assert_eq!(checker.delivered(7), None);
        checker.queued(1, 9, 1 << 30);
        assert_eq!(checker.delivered(9), None);
        assert!(checker.lost);
    }

    /// A queue under more than it can send, in pieces of any size: what its promise allows is what comes of it.
    #[test]
    fn the_queues_of_the_link_keep_to_their_shares() {
        let mut rng = Rng::from_seed(11);
        for round in 0..12 {
            let (mut outbox, mut pool, mut checker) =
                (Outbox::default(), BufferPool::new(), FairnessChecker::default());
            let (mut inbox, mut reader, mut number) = (Inbox::default(), BufferPool::new(), 0u64);
            let limits = OutboxLimits { hard: 1 << 30, ..OutboxLimits::default() };
            let longest = [200, 20_000, 150_000][round % 3];
            for _ in 0..1000 {
                // Blocks always wait; of the others there is one now and then.
                for priority in [Priority::High, Priority::High, Priority::Normal, Priority::Low] {
                    let waiting = outbox.queued_bytes() > 600_000;
                    if priority == Priority::High && !waiting || rng.chance(1, 20) {
                        number += 1;
                        let mut payload = vec![0; 8 + rng.below(longest) as usize];
                        payload[..8].copy_from_slice(&number.to_le_bytes());
                        outbox.push(priority, Kind::Block as u8, &payload, &limits, &mut pool).unwrap();
                        checker.queued(priority.rank(), number, (HEADER_LEN + payload.len()) as u64);
                    }
                }
                let mut wire = Vec::new();
                let most = 1 + rng.below(longest) as usize;
                outbox.flush(&mut pool, most, |slices| {
                    let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                    let count = all.len().min(most - wire.len());
                    wire.extend_from_slice(&all[..count]);
                    if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
                });
                let mut input = &wire[..];
                while let Some(frame) =
                    inbox.next(&mut input, FrameRules::version(2), Instant::ZERO, &mut reader).unwrap()
                {
                    let number = u64::from_le_bytes(frame.payload[..8].try_into().unwrap());
                    assert_eq!(checker.delivered(number), None, "frames of at most {longest} bytes");
                }
            }
            assert!(!checker.lost, "each frame has a name of its own");
            assert!(number > 200, "{number} frames of at most {longest} bytes");
        }
    }
}
