//! What a few fixed runs took: how fast blocks and payments spread and a newcomer catches up, by size and kind of network.
//!
//! Simulated time is the same on every machine, so the cells are exact, and a change of policy shows as a changed cell. The
//! rows run apart from each other: whoever has several processors plays several at a time.

use core::fmt;
use core::time::Duration;
use std::io;

use super::fault::{Faults, Plan};
use super::run::{Options, Report, chaos_only};
use super::scenario::Scenario;

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// One data centre.
    Near,
    /// Several continents, good lines.
    Far,
    /// Several continents, bad lines.
    Poor,
}

impl Network {
    const ALL: [Network; 3] = [Network::Near, Network::Far, Network::Poor];

    const fn name(self) -> &'static str {
        match self {
            Network::Near => "near",
            Network::Far => "far",
            Network::Poor => "poor",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Network::Near => "1 + 4 ms one way, 100 MiB/s",
            Network::Far => "20 + 80 ms one way, 2 MiB/s, 1 % of packets lost",
            Network::Poor => "50 + 300 ms one way, 256 KiB/s, 5 % of packets lost",
        }
    }

    fn plan(self) -> Plan {
        let none = Plan::default();
        match self {
            Network::Near => Plan { latency_min: 1, latency_mean: 4, bandwidth: 102_400, ..none },
            Network::Far => Plan { latency_min: 20, latency_mean: 80, bandwidth: 2048, loss: 10, ..none },
            Network::Poor => Plan { latency_min: 50, latency_mean: 300, bandwidth: 256, loss: 50, ..none },
        }
    }
}

/// One line of the table: a size, a kind of network, and how many of its hosts are hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    nodes: u32,
    network: Network,
    /// Percent of all hosts.
    hostile: u64,
}

/// The columns: what names a row, then what was measured.
pub const COLUMNS: [&str; 8] =
    ["nodes", "network", "hostile-%", "sync", "block-p50", "block-p99", "payment-p50", "payment-p99"];

/// How many of the columns name the row.
pub const KEYS: usize = 3;

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for nodes in [10, 50, 200] {
        for network in Network::ALL {
            // What attackers say is passed on by everybody: it makes a network of some size dear to play.
            let shares: &[u64] = match (nodes, network) {
                (10, _) => &[0, 25, 50],
                (50, Network::Far) => &[0, 25],
                _ => &[0],
            };
            rows.extend(shares.iter().map(|hostile| Row { nodes, network, hostile: *hostile }));
        }
    }
    rows
}

impl Row {
    /// Plays the row's runs and answers its cells, one for each of [`COLUMNS`].
    ///
    /// # Errors
    ///
    /// As [`run`](super::run()).
    pub fn play(&self) -> io::Result<Vec<String>> {
        let reports: Vec<Report> = self.options().iter().map(chaos_only).collect::<Result<_, _>>()?;
        let mut cells = vec![self.nodes.to_string(), self.network.name().to_owned(), self.hostile.to_string()];
        if let Some(failure) = reports.iter().find_map(|report| report.failure.as_ref()) {
            cells.resize(COLUMNS.len(), format!("{}-broken", failure.invariant.name()));
            return Ok(cells);
        }
        let all = |of: fn(&Report) -> &[Duration]| reports.iter().flat_map(of).copied().collect::<Vec<_>>();
        let synced: Vec<Duration> = reports.iter().filter_map(|report| report.caught_up).collect();
        // A newcomer that never got there is worse than any that did.
        cells.push(if synced.len() == reports.len() { millis(quantile(synced, 50)) } else { "never".to_owned() });
        for times in [all(|report| &report.spread), all(|report| &report.payments)] {
            cells.extend([50, 99].map(|percent| millis(quantile(times.clone(), percent))));
        }
        Ok(cells)
    }

    /// The runs behind a row. What a large network tells in seconds takes a small one two runs of a minute.
    fn options(&self) -> Vec<Options> {
        let adversaries = 100 * self.hostile / (100 - self.hostile.min(99));
        let faults = Faults::Plan(Plan { adversaries, ..self.network.plan() });
        let (seeds, seconds) = match (self.nodes, self.hostile) {
            (0..50, 0) => (1..=2, 60),
            (0..50, _) => (1..=1, 60),
            (50..200, _) => (1..=1, 30),
            _ => (1..=1, 20),
        };
        let (chaos, scenario) = (Duration::from_secs(seconds), Some(Scenario::Newcomer));
        seeds.map(|seed| Options { seed, nodes: self.nodes, chaos, faults, scenario }).collect()
    }
}

fn quantile(mut times: Vec<Duration>, percent: usize) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).copied()
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string())
}

/// The table as text, from the cells of its rows.
#[derive(Clone, Debug)]
pub struct Table(
    /// The cells of each row.
    pub Vec<Vec<String>>,
);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What the policies of the node give on networks of several kinds, in simulated milliseconds.")?;
        writeln!(f, "# Renew: cargo run --release -- simulate --table > node/tests/snapshots/network.txt")?;
        writeln!(f, "#")?;
        for network in Network::ALL {
            writeln!(f, "# {:<8} {}", network.name(), network.text())?;
        }
        let blocks = Scenario::Newcomer.history();
        writeln!(f, "# sync     a node without a block gets {blocks} of them and what was mined since")?;
        writeln!(f, "# block    from where it is mined to each node; payment: from who pays to each node")?;
        let line = |f: &mut fmt::Formatter<'_>, cells: &[&str]| {
            let mut text = String::new();
            for (cell, column) in cells.iter().zip(COLUMNS) {
                text += &format!("{cell:>width$}  ", width = column.len());
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(f, &COLUMNS)?;
        self.0.iter().try_for_each(|row| line(f, &row.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let times = |list: &[u64]| list.iter().map(|millis| Duration::from_millis(*millis)).collect::<Vec<_>>();
        assert_eq!(millis(quantile(times(&[30, 10, 20]), 50)), "20");
        assert_eq!(millis(quantile(times(&[7]), 99)), "7");
        assert_eq!(millis(quantile(Vec::new(), 50)), "-");
    }

    #[test]
    fn the_hostile_are_a_share_of_all() {
        let adversaries = |hostile| {
            let row = Row { nodes: 10, network: Network::Near, hostile };
            match row.options()[0].faults {
                Faults::Plan(plan) => plan.adversaries,
                _ => unreachable!(),
            }
        };
        assert_eq!([0, 25, 50].map(adversaries), [0, 33, 100]);
    }
}
