//! What goes wrong, and how often: a plan of rates, drawn from the seed or written down.
//!
//! A plan names every class of faults. Drawn ones leave each class out in a third of the runs, so that the classes are met
//! alone and in every combination. A class is one line of the table below: the line gives it its place in the plan, its
//! name on the command line, its range and its draw.

use core::fmt;
use core::time::Duration;

use super::disk;
use super::kernel::Calls;
use super::tls;
use super::trace::fnv;
use crate::rng::Rng;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each run")]
pub enum Faults {
    /// Nothing: the network is slow and that is all.
    None,
    /// The faults of every day: resets, clogs, short reads and writes, restarts.
    Light,
    /// Everything, attackers and corrupted bytes too.
    Full,
    /// What the plan says, and nothing else.
    Plan(Plan),
}

impl Faults {
    /// The plan that a run with this seed follows.
    pub fn plan(self, seed: u64) -> Plan {
        Plan::drawn(seed, self)
    }
}

/// One class of faults, or one property of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Class {
    /// Its name on the command line.
    pub name: &'static str,
    /// What its rate counts.
    pub unit: &'static str,
    /// The highest rate that can be asked for.
    pub most: u64,
    /// The highest rate that [`Faults::Light`] draws.
    pub light: u64,
    /// The highest rate that [`Faults::Full`] draws.
    pub full: u64,
    /// What happens.
    pub text: &'static str,
}

macro_rules! plan {
    (
        network { $($network:ident = $network_name:literal $network_unit:literal most $network_most:literal
            full $network_full:literal: $network_text:literal;)* }
        $($group:ident { $($fault:ident $(-> $to:ident)? = $name:literal $unit:literal most $most:literal
            light $light:literal full $full:literal: $text:literal;)* })*
    ) => {
        /// How often each class of faults strikes. The default is a quiet network: everything is 0.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Plan {
            $(#[doc = concat!($network_text, "; in ", $network_unit, ".")] pub $network: u64,)*
            $($(#[doc = concat!($text, "; ", $unit, ".")] pub $fault: u64,)*)*
        }

        impl Plan {
            /// Every class, in the order of the fields.
            pub const CLASSES: &'static [Class] = offered(&[
                $(Class {
                    name: $network_name, unit: $network_unit, most: $network_most, light: $network_full,
                    full: $network_full, text: $network_text,
                },)*
                $($(Class { name: $name, unit: $unit, most: $most, light: $light, full: $full, text: $text },)*)*
            ]);

            /// The rate of the class of that name; `None` when there is no such class.
            pub fn get(&self, name: &str) -> Option<u64> {
                match present_name(name) {
                    $($network_name => Some(self.$network),)*
                    $($($name => Some(self.$fault),)*)*
                    _ => None,
                }
            }

            fn slot(&mut self, name: &str) -> Option<&mut u64> {
                match present_name(name) {
                    $($network_name => Some(&mut self.$network),)*
                    $($($name => Some(&mut self.$fault),)*)*
                    _ => None,
                }
            }

            /// Draws the faults, each class by a generator of its own, so that a new class does not move the others.
            fn draw(&mut self, seed: u64, full: bool) {
                $($(self.$fault = drawn(seed, $name, if full { $full } else { $light });)*)*
            }
        }

        $(plan!(@$group $($fault $(-> $to)?, $name, $unit, $text;)*);)*
    };
    // What the simulation itself goes by.
    (@faults $($fault:ident, $name:literal, $unit:literal, $text:literal;)*) => {
        /// What the virtual network, its machines and its hosts go by.
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
            /// The disks fail.
            pub(super) disk: disk::Rates,
            $(#[doc = concat!($text, "; ", $unit, ".")] pub(super) $fault: u64,)*
        }

        impl Rates {
            fn with_faults(mut self, plan: &Plan) -> Rates {
                $(self.$fault = plan.$fault;)*
                self
            }

            pub(super) fn quiet() -> Rates {
                Rates {
                    latency_min: Duration::from_millis(1),
                    latency_mean: Duration::from_millis(20),
                    bandwidth: 10 << 20,
                    buffer: 256 * 1024,
                    calls: Calls::QUIET,
                    disk: disk::Rates::default(),
                    $($fault: 0,)*
                }
            }
        }
    };
    (@calls $($fault:ident -> $to:ident, $name:literal, $unit:literal, $text:literal;)*) => {
        fn calls(plan: &Plan) -> Calls {
            let few = usize::try_from(plan.few_descriptors).unwrap_or(usize::MAX);
            let descriptors = if few > 0 { few.saturating_add(DESCRIPTORS_NEEDED) } else { Calls::QUIET.descriptors };
            Calls { $($to: plan.$fault,)* descriptors }
        }
    };
    (@disk $($fault:ident -> $to:ident, $name:literal, $unit:literal, $text:literal;)*) => {
        fn disk_rates(plan: &Plan) -> disk::Rates {
            disk::Rates { $($to: plan.$fault,)* }
        }
    };
    // What a run is built with.
    (@build $($rest:tt)*) => {};
    // What it is used for.
    (@load $($rest:tt)*) => {};
}

/// Without so many files and sockets a node cannot even start.
const DESCRIPTORS_NEEDED: usize = 7;

plan! {
    network {
        latency_min = "latency-min" "ms" most 60_000 full 30:
            "the least time that a packet is under way, 0 for 1";
        latency_mean = "latency-mean" "ms" most 60_000 full 2_000:
            "the mean of what comes on top of that, 0 for 20";
        bandwidth = "bandwidth" "KiB/s" most 1_048_576 full 65_536:
            "what one direction of a connection carries, 0 for 10240";
        buffer = "buffer" "KiB" most 65_536 full 4_096:
            "what a socket's send buffer holds, and its receive buffer, 0 for 256";
    }
    load {
        block_interval = "block-interval" "s" most 3_600 light 60 full 60:
            "the mean time between two blocks, 0 for 17";
        block_size = "block-size" "KiB" most 16_384 light 16_384 full 16_384:
            "blocks are filled up to so much, as far as that suits the network; 0 for what waits";
        forks = "forks" "per 1000 blocks" most 1_000 light 100 full 100:
            "another node finds a block on the same parent in the same moment";
        payments = "payments" "per 1000 s" most 50_000 light 2_000 full 2_000:
            "a node pays another one, 0 for 333";
        bursts = "bursts" "per 1000 s" most 1_000 light 20 full 20:
            "a node pays up to a hundred times at once";
        challenges = "challenges" "per 1000 s" most 1_000 light 500 full 500:
            "a node tells a challenge, a proof or an acceptance";
        churn = "churn" "per 1000 s" most 1_000 light 83 full 83:
            "a node leaves for good, or a new one comes without a block";
    }
    faults {
        loss = "loss" "per 1000 packets" most 500 light 20 full 100:
            "a packet is lost and sent again";
        corruption = "corruption" "per GiB" most 1_000_000 light 0 full 100:
            "a byte is changed on its way";
        clog = "clog" "per 1000000 connections and second" most 1_000_000 light 20_000 full 20_000:
            "one direction stands still for up to 8 s";
        black_hole = "black-hole" "per 1000000 connections and second" most 1_000_000 light 0 full 300:
            "a connection swallows everything from now on";
        reset = "reset" "per 1000000 connections and second" most 1_000_000 light 800 full 800:
            "a connection is reset";
        cut_short = "cut-short" "per 1000000 connections and second" most 1_000_000 light 0 full 300:
            "a stream ends in the middle of what is under way";
        part = "part" "per 1000 seconds" most 1_000 light 0 full 30:
            "the network falls apart in two";
        rejoin = "rejoin" "per 1000 seconds" most 1_000 light 0 full 100:
            "and grows together again";
        swizzle = "swizzle" "per 100000 seconds" most 100_000 light 0 full 1_600:
            "half of the connections are clogged, each for a time of its own";
        kill = "kill" "per 100000 nodes and second" most 100_000 light 300 full 300:
            "a node stops, dies or loses its power, and starts again at most 40 s later";
        freeze = "freeze" "per 100000 nodes and second" most 100_000 light 0 full 160:
            "a node does nothing for up to a minute";
        wall_jump = "wall-jump" "per 100000 nodes and second" most 100_000 light 0 full 160:
            "a wall clock jumps, by up to six days";
        stall = "stall" "per 100000 nodes and second" most 100_000 light 0 full 160:
            "a monotonic clock stands still for up to 10 s";
        drift = "drift" "parts per million" most 10_000 light 0 full 200:
            "clocks are so much too fast or too slow, at most";
        save_kill = "save-kill" "per 1000 saves" most 1_000 light 200 full 200:
            "a node dies, or loses its power, while it saves its peers";
        clumsy = "clumsy" "per 1000 visits" most 1_000 light 100 full 100:
            "an engine misbehaves in legal ways at a quarter of the points where it can";
    }
    calls {
        short_read -> short_read = "short-read" "per 1000 reads" most 1_000 light 900 full 900:
            "a read gives less than there is";
        short_write -> short_write = "short-write" "per 1000 writes" most 1_000 light 500 full 500:
            "a write takes less than there is room for";
        read_error -> read_error = "read-error" "per 1000 reads" most 1_000 light 0 full 10:
            "a read fails";
        write_error -> write_error = "write-error" "per 1000 writes" most 1_000 light 0 full 10:
            "a write fails";
        accept_error -> accept_error = "accept-error" "per 1000 accepts" most 1_000 light 0 full 200:
            "an accept fails";
        connect_error -> connect_error = "connect-error" "per 1000 dials" most 1_000 light 250 full 250:
            "a dial fails";
        spurious -> spurious = "spurious-event" "per 1000 waits" most 1_000 light 100 full 100:
            "the loop is told of something that did not happen";
        stale_event -> stale = "stale-event" "per 1000 waits" most 1_000 light 100 full 100:
            "the loop is told of a socket that it has closed";
        reorder -> reorder = "reordered-events" "per 1000 waits" most 1_000 light 100 full 100:
            "the loop is told of things in another order";
        defer -> defer = "deferred-events" "per 1000 waits" most 1_000 light 100 full 100:
            "the loop is told of a part later";
        interrupt -> interrupt = "interrupted-wait" "per 1000 waits" most 1_000 light 50 full 50:
            "a signal ends the wait";
        urgent -> urgent = "urgent-data" "per 1000 packets" most 1_000 light 50 full 50:
            "a packet has an urgent mark, at which a read ends though there is more";
        unarmed -> unarmed = "unarmed-selector" "of 1" most 1 light 1 full 1:
            "the loop is told of a socket again only after a call was refused, as with poll and on Windows";
        late_turn -> late_turn = "late-turn" "per 1000 turns" most 1_000 light 0 full 10:
            "a turn of the loop comes up to half a second late";
    }
    disk {
        disk_write_error -> write_error = "disk-write-error" "per 1000 calls" most 1_000 light 0 full 50:
            "a write, a sync, a rename or a removal fails";
        no_space -> no_space = "no-space" "per 1000 calls" most 1_000 light 0 full 50:
            "a file cannot be made, or made longer";
        // A chain is opened with dozens of calls and read with many more, so that what spoils one is rarer than the rest.
        disk_read_error -> read_error = "disk-read-error" "per 1000 calls" most 1_000 light 0 full 10:
            "a file cannot be opened, or not read";
        bit_flip -> bit_flip = "bit-flip" "per 1000 calls" most 1_000 light 0 full 2:
            "one bit of what is read is another";
        stale_file -> stale = "stale-file" "per 1000 calls" most 1_000 light 0 full 50:
            "a file is opened as it was before it was last made durable";
    }
    build {
        history = "history" "blocks" most 10_000 light 60 full 60:
            "some of the nodes have a chain of so many when the run begins, and the others have to get it";
        few_descriptors = "few-descriptors" "above 7" most 10_000 light 0 full 24:
            "a process may have so few files and sockets, 0 for plenty";
        adversaries = "adversaries" "per 100 nodes" most 1_000 light 0 full 50:
            "how many attackers there are besides the nodes";
        false_external = "false-external" "per 100 nodes" most 100 light 0 full 30:
            "an operator names an external address that is nobody's, or another node's";
        small_limits = "small-limits" "of 1" most 1 light 1 full 1:
            "nodes keep three connections and short queues";
        web_socket = "web-socket" "per 100 nodes" most 100 light 40 full 40:
            "a node keeps a connection to another one over WebSocket, besides those that it has anyway";
        web_breakers = "web-breakers" "per 100 nodes" most 1_000 light 0 full 30:
            "how many there are who break WebSocket, which all nodes take";
        // The last: a build without TLS leaves it out.
        tls = "tls" "of 1" most 1 light 1 full 1:
            "nodes speak TLS with each other, and attackers do not";
    }
}

/// The classes that this build can play.
const fn offered(all: &'static [Class]) -> &'static [Class] {
    all.split_at(all.len() - !tls::OFFERED as usize).0
}

/// A rate for one class: none in a third of the runs.
fn drawn(seed: u64, name: &str, most: u64) -> u64 {
    let mut rng = class_rng(seed, name);
    let (off, rate) = (rng.chance(1, 3), rng.below(most + 1));
    if off { 0 } else { rate }
}

/// What a network is like and is used for, and who is in it: with these alone nothing goes wrong by itself.
const CALM: [&str; 15] = [
    "latency-min",
    "latency-mean",
    "bandwidth",
    "buffer",
    "block-interval",
    "block-size",
    "forks",
    "payments",
    "bursts",
    "challenges",
    "history",
    "adversaries",
    "web-socket",
    "web-breakers",
    "tls",
];

/// A class that had another name once: seeds are drawn by that one still, so that they stay the runs that they were, and who
/// asks for it by that name is understood.
const RENAMED: (&str, &str) = ("actors", "adversaries");

fn present_name(name: &str) -> &str {
    if name == RENAMED.0 { RENAMED.1 } else { name }
}

fn class_rng(seed: u64, name: &str) -> Rng {
    let name = if name == RENAMED.1 { RENAMED.0 } else { name };
    Rng::from_seed(name.bytes().fold(seed, |hash, byte| fnv(hash, &[u64::from(byte)])))
}

/// A rate that a plan does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no class of that name.
    Unknown(String),
    /// More than the class can have.
    TooMuch(&'static Class, u64),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Unknown(name) => {
                let names: Vec<&str> = Plan::CLASSES.iter().map(|class| class.name).collect();
                write!(f, "there is no class of faults {name:?}; there are {}", names.join(", "))
            }
            PlanError::TooMuch(class, rate) => {
                write!(f, "{} cannot be {rate}: give at most {} ({})", class.name, class.most, class.unit)
            }
        }
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// The plan that a seed stands for at a level of faults; a plan stands for itself.
    pub fn drawn(seed: u64, faults: Faults) -> Plan {
        let full = match faults {
            Faults::Plan(plan) => return plan,
            Faults::None => None,
            Faults::Light => Some(false),
            Faults::Full => Some(true),
        };
        let mut rng = class_rng(seed, "network");
        // Every choice is drawn, whether it counts or not, so that the levels share their networks.
        let slow = rng.chance(1, 20);
        let (least, mean) = (rng.below(31), 1 + rng.below(300));
        let (buffer, bandwidth) = (rng.below(12), rng.below(11));
        let mut plan = Plan {
            latency_min: least,
            latency_mean: if slow { 2000 } else { mean },
            buffer: 2 << buffer,
            bandwidth: 64 << bandwidth,
            ..Plan::default()
        };
        let tls = tls::OFFERED && class_rng(seed, "tls").chance(1, 4);
        let Some(full) = full else {
            plan.tls = tls.into();
            plan.latency_mean = plan.latency_mean.min(100);
            plan.buffer = plan.buffer.max(64);
            plan.bandwidth = plan.bandwidth.max(1024);
            return plan;
        };
        plan.draw(seed, full);
        plan.tls = tls.into();
        if plan.block_interval > 0 {
            plan.block_interval = plan.block_interval.max(10);
        }
        if plan.block_size > 0 {
            let mut rng = class_rng(seed, "block-sizes");
            plan.block_size = if rng.chance(1, 50) { 16_384 } else { 1 << rng.below(11) };
        }
        if full {
            // What falls apart grows together at some time.
            plan.rejoin = plan.rejoin.max(10);
        }
        if plan.small_limits > 0 {
            // Nodes with three places for others are easy to surround: that is another experiment.
            plan.adversaries = 0;
        }
        plan
    }

    /// Does nothing go wrong but what a scenario or an attacker does?
    pub fn is_calm(&self) -> bool {
        self.active().all(|(class, _)| CALM.contains(&class.name))
    }

    /// The class of this name, or of one that it had once.
    pub fn class(name: &str) -> Option<&'static Class> {
        Plan::CLASSES.iter().find(|class| class.name == present_name(name))
    }

    /// Sets the rate of a class by its name.
    ///
    /// # Errors
    ///
    /// When there is no such class, or it cannot have so much.
    pub fn set(&mut self, name: &str, rate: u64) -> Result<(), PlanError> {
        let (Some(class), Some(slot)) = (Plan::class(name), self.slot(name)) else {
            return Err(PlanError::Unknown(name.to_owned()));
        };
        if rate > class.most {
            return Err(PlanError::TooMuch(class, rate));
        }
        *slot = rate;
        Ok(())
    }

    /// The classes that strike, with their rates.
    pub fn active(&self) -> impl Iterator<Item = (&'static Class, u64)> + '_ {
        Plan::CLASSES.iter().filter_map(|class| self.get(class.name).filter(|rate| *rate > 0).map(|rate| (class, rate)))
    }
}

impl Rates {
    pub(super) fn of(plan: &Plan) -> Rates {
        let quiet = Rates::quiet();
        let or = |asked: u64, fallback: u64| if asked == 0 { fallback } else { asked };
        let millis = |asked: u64, fallback: Duration| if asked == 0 { fallback } else { Duration::from_millis(asked) };
        let network = Rates {
            latency_min: millis(plan.latency_min, quiet.latency_min),
            latency_mean: millis(plan.latency_mean, quiet.latency_mean),
            bandwidth: or(plan.bandwidth.saturating_mul(1024), quiet.bandwidth),
            buffer: usize::try_from(plan.buffer.saturating_mul(1024))
                .ok()
                .filter(|size| *size > 0)
                .unwrap_or(quiet.buffer),
            ..quiet
        };
        Rates { calls: calls(plan), disk: disk_rates(plan), ..network.with_faults(plan) }
    }

    /// No faults; the network as it is.
    pub(super) fn heal(&mut self) {
        let (latency_min, latency_mean) = (self.latency_min, self.latency_mean.min(Duration::from_millis(300)));
        let bandwidth = self.bandwidth.max(1 << 20);
        *self = Rates { latency_min, latency_mean, bandwidth, buffer: self.buffer.max(64 * 1024), ..Rates::quiet() };
    }

    /// The time of one packet on its way, and whether it was lost at first: then its sender notices after 200 ms and a
    /// round trip, and sends it again.
    pub(super) fn latency(&self, rng: &mut Rng) -> (Duration, bool) {
        let mean = self.latency_mean.as_nanos() as f64;
        // 1 - u is never zero, so the logarithm is finite.
        let unit = 1.0 - (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let once = self.latency_min + Duration::from_nanos((-unit.ln() * mean) as u64);
        let lost = rng.chance(self.loss, 1000);
        let again = Duration::from_millis(200) + 2 * (self.latency_min + self.latency_mean);
        (if lost { once + again } else { once }, lost)
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
        let off = (0..3000).filter(|seed| Plan::drawn(*seed, Faults::Full).reset == 0).count();
        assert!((900..1100).contains(&off), "{off}");
        let light = Plan::drawn(3, Faults::Light);
        assert_eq!((light.part, light.corruption, light.wall_jump, light.adversaries), (0, 0, 0, 0));
    }

    #[test]
    fn classes_are_drawn_apart_from_each_other() {
        let pairs: Vec<(bool, bool)> = (0..900)
            .map(|seed| Plan::drawn(seed, Faults::Full))
            .map(|plan| (plan.black_hole == 0, plan.cut_short == 0))
            .collect();
        let both = pairs.iter().filter(|pair| **pair == (true, true)).count();
        assert!((60..140).contains(&both), "{both} of 900, where a ninth is expected");
    }

    #[test]
    fn draws_stay_within_what_the_table_says_and_reach_its_ends() {
        for faults in [Faults::None, Faults::Light, Faults::Full] {
            let plans: Vec<Plan> = (0..2000).map(|seed| Plan::drawn(seed, faults)).collect();
            for class in Plan::CLASSES {
                let highest = plans.iter().filter_map(|plan| plan.get(class.name)).max().unwrap();
                let allowed = if faults == Faults::Light { class.light } else { class.full };
                let allowed = if class.name == "tls" { 1 } else { allowed };
                assert!(highest <= allowed && allowed <= class.most, "{} draws {highest}", class.name);
                assert!(faults == Faults::None || highest >= allowed * 9 / 10, "{} draws {highest}", class.name);
            }
        }
    }

    #[test]
    fn a_plan_is_set_by_name_and_refuses_what_it_cannot_have() {
        let mut plan = Plan::default();
        assert_eq!(plan.active().count(), 0);
        for class in Plan::CLASSES {
            plan.set(class.name, 1).unwrap();
            assert_eq!(plan.get(class.name), Some(1));
            assert_eq!(plan.set(class.name, class.most + 1), Err(PlanError::TooMuch(class, class.most + 1)));
        }
        assert_eq!(plan.active().count(), Plan::CLASSES.len());
        let wrong = plan.set("rain", 1).unwrap_err().to_string();
        assert!(
            wrong.contains("\"rain\"") && wrong.contains("short-read") && wrong.contains("small-limits"),
            "{wrong}"
        );
        assert_eq!(plan.get("rain"), None);
        plan.set("actors", 50).unwrap();
        assert!(!plan.is_calm() && Plan::drawn(7, Faults::None).is_calm());
        assert_eq!((plan.adversaries, plan.get("actors")), (50, Some(50)), "the name that the class had once");
    }

    #[test]
    fn a_quiet_plan_is_the_quiet_network_and_a_lost_packet_comes_late() {
        let quiet = Rates::of(&Plan::default());
        assert_eq!((quiet.bandwidth, quiet.buffer), (10 << 20, 256 * 1024));
        let rates = Rates::of(&Plan { latency_min: 50, loss: 500, ..Plan::default() });
        let mut rng = Rng::from_seed(1);
        let flights: Vec<(Duration, bool)> = (0..1000).map(|_| rates.latency(&mut rng)).collect();
        let lost = flights.iter().filter(|(_, lost)| *lost).count();
        assert!((400..600).contains(&lost), "{lost}");
        assert!(flights.iter().all(|(time, lost)| *time >= Duration::from_millis(if *lost { 390 } else { 50 })));
    }
}
