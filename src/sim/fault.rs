//! What goes wrong, how often, and with which limits: all of it drawn from the seed.
//!
//! Each class of faults is off in a third of the runs, so that they are met alone and in every combination.

use core::time::Duration;

use super::disk;
use super::kernel::Calls;
use crate::rng::Rng;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Nothing: the network is slow and that is all.
    None,
    /// The faults of every day: resets, clogs, short reads and writes, restarts.
    Light,
    /// Everything, attackers and corrupted bytes too.
    Full,
}

/// One run's rates. Chances are per thousand unless they say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    pub(super) latency_min: Duration,
    pub(super) latency_mean: Duration,
    /// Bytes per second of one direction.
    pub(super) bandwidth: u64,
    /// Size of a socket's send buffer, and of its receive buffer.
    pub(super) buffer: usize,
    /// What goes wrong between a process and its kernel.
    pub(super) calls: Calls,
    /// Per 2^30 bytes.
    pub(super) corruption: u64,
    /// Each second, per million and pipe: a clog, a black hole, a reset, an end in the middle of a frame.
    pub(super) clog: u64,
    pub(super) black_hole: u64,
    pub(super) reset: u64,
    pub(super) cut_short: u64,
    /// Each second: a partition begins; one that stands heals.
    pub(super) part: u64,
    pub(super) rejoin: u64,
    /// Each second, per million: half of the nodes are clogged one after the other.
    pub(super) swizzle: u64,
    /// Each second, per million and node.
    pub(super) kill: u64,
    pub(super) freeze: u64,
    pub(super) wall_jump: u64,
    /// The monotonic clock stands still for a while; and how many parts in a million clocks drift at most.
    pub(super) stall: u64,
    pub(super) drift: u64,
    /// The disks fail.
    pub(super) disk: disk::Rates,
    /// The process, or the machine, ends while the peers are saved.
    pub(super) save_kill: u64,
}

impl Rates {
    pub(super) fn draw(rng: &mut Rng, faults: Faults) -> Rates {
        let slow = rng.chance(1, 20);
        let latency_min = Duration::from_micros(rng.below(30_000));
        let latency_mean = Duration::from_millis(if slow { 2000 } else { 1 + rng.below(300) });
        let buffer = 1usize << (11 + rng.below(12));
        let bandwidth = (64 * 1024u64) << rng.below(11);
        let mut rates = Rates { latency_min, latency_mean, bandwidth, buffer, ..Rates::quiet() };
        if faults == Faults::None {
            rates.latency_mean = rates.latency_mean.min(Duration::from_millis(100));
            rates.buffer = rates.buffer.max(64 * 1024);
            rates.bandwidth = rates.bandwidth.max(1 << 20);
            return rates;
        }
        let full = faults == Faults::Full;
        // Drawn in any case, so that one class being off does not move the others.
        let mut up_to = |most: u64, allowed: bool| {
            let (off, drawn) = (rng.chance(1, 3), rng.below(most + 1));
            if off || !allowed { 0 } else { drawn }
        };
        let (short_read, short_write) = (up_to(900, true), up_to(500, true));
        let connect_error = up_to(250, true);
        rates.reset = up_to(800, true);
        rates.clog = up_to(20_000, true);
        rates.kill = up_to(300, true);
        rates.black_hole = up_to(300, full);
        rates.cut_short = up_to(300, full);
        rates.corruption = up_to(100, full);
        rates.part = up_to(30, full);
        rates.rejoin = 10 + up_to(90, full);
        rates.swizzle = up_to(1600, full);
        rates.freeze = up_to(160, full);
        rates.wall_jump = up_to(160, full);
        rates.stall = up_to(160, full);
        rates.drift = up_to(200, full);
        // A chain is opened with dozens of calls and read with many more, so that what spoils one is rarer than the rest.
        rates.disk = disk::Rates {
            write_error: up_to(50, full),
            no_space: up_to(50, full),
            read_error: up_to(10, full),
            bit_flip: up_to(2, full),
            stale: up_to(50, full),
        };
        rates.save_kill = up_to(200, true);
        rates.calls = Calls { short_read, short_write, connect_error, ..Calls::draw(rng, full) };
        rates
    }

    /// No faults; the network as it is.
    pub(super) fn heal(&mut self) {
        let (latency_min, latency_mean) = (self.latency_min, self.latency_mean.min(Duration::from_millis(300)));
        let bandwidth = self.bandwidth.max(1 << 20);
        *self = Rates { latency_min, latency_mean, bandwidth, buffer: self.buffer.max(64 * 1024), ..Rates::quiet() };
    }

    pub(super) fn quiet() -> Rates {
        Rates {
            latency_min: Duration::from_millis(1),
            latency_mean: Duration::from_millis(20),
            bandwidth: 10 << 20,
            buffer: 256 * 1024,
            calls: Calls::QUIET,
            corruption: 0,
            clog: 0,
            black_hole: 0,
            reset: 0,
            cut_short: 0,
            part: 0,
            rejoin: 1000,
            swizzle: 0,
            kill: 0,
            freeze: 0,
            wall_jump: 0,
            stall: 0,
            drift: 0,
            disk: disk::Rates::default(),
            save_kill: 0,
        }
    }

    /// How long so many bytes take to pass.
    pub(super) fn transfer(&self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.bandwidth.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_off_in_a_third_of_the_runs() {
        let off = (0..3000).filter(|seed| Rates::draw(&mut Rng::from_seed(*seed), Faults::Full).reset == 0).count();
        assert!((900..1100).contains(&off), "{off}");
        let light = Rates::draw(&mut Rng::from_seed(3), Faults::Light);
        assert_eq!((light.part, light.corruption, light.wall_jump), (0, 0, 0));
    }
}
