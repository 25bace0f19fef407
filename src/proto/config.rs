//! What a node is told about itself and its limits.

use core::net::SocketAddr;
use core::time::Duration;

use crate::proto::budget::{MessageRates, SERVING_RATE};
use crate::proto::peer::admission::AdmissionConfig;
use crate::proto::peer::outbound::FEELER_EVERY;
use crate::proto::sync::SyncConfig;

/// Settings of a [`Node`](crate::proto::Node). Start from [`Config::default`] and change what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Our id: 1 to 128 bytes, not only white space.
    pub node_id: String,
    /// What we run: 1 to 256 bytes, not only white space.
    pub user_agent: String,
    /// The highest protocol version we announce: 1 or 2.
    pub version: u8,
    /// The port we accept connections on; 0 when we do not listen.
    pub listening_port: u16,
    /// Connections to keep by dialing known peers.
    pub outbound: usize,
    /// A node that has all of these keeps one more, a feeler, and goes on to another node after so long: who looks no further
    /// than the connections that it has can be left behind in a part of the network. `None` for no feelers.
    pub feeler_every: Option<Duration>,
    /// Peers to stay connected to, whatever happens.
    pub connect: Vec<SocketAddr>,
    /// Addresses to ask for peers when there are too few.
    pub seeds: Vec<SocketAddr>,
    /// Accept and share loopback and private addresses from anyone, not only from peers that are there too.
    pub allow_private: bool,
    /// Connection limits, rates and who is exempt from the per-address ones.
    pub admission: AdmissionConfig,
    /// What each peer may send, by kind.
    pub rates: MessageRates,
    /// Bytes of blocks that one peer is given for its questions, per second; an exempt one
    /// [`EXEMPT_FACTOR`](crate::proto::budget::EXEMPT_FACTOR) times as many.
    pub serving_rate: u64,
    /// Catching up.
    pub sync: SyncConfig,
    /// A dial may take this long.
    pub dial_timeout: Duration,
    /// Connect and handshake together may take this long.
    pub handshake_timeout: Duration,
    /// Time between two heartbeats, and between two pings.
    pub heartbeat: Duration,
    /// Nothing received for this long ends a connection.
    pub idle_timeout: Duration,
    /// A ping that is not answered within this ends a connection.
    pub ping_timeout: Duration,
    /// A peer that was not seen for this long is no longer known.
    pub stale_after: Duration,
    /// Time between two saves of the peer table.
    pub save_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_id: "spacetime-node".to_owned(),
            user_agent: concat!("spacetime-network/", env!("CARGO_PKG_VERSION")).to_owned(),
            version: 2,
            listening_port: 0,
            outbound: 8,
            feeler_every: Some(FEELER_EVERY),
            connect: Vec::new(),
            seeds: Vec::new(),
            allow_private: false,
            admission: AdmissionConfig::default(),
            rates: MessageRates::default(),
            serving_rate: SERVING_RATE,
            sync: SyncConfig::default(),
            dial_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            ping_timeout: Duration::from_secs(30),
            stale_after: Duration::from_secs(300),
            save_interval: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Everything that is wrong with these settings, a line each; empty when a node can run on them.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut text = |name: &str, value: &str, max: usize| {
            if value.trim().is_empty() || value.len() > max {
                problems.push(format!("{name} must have 1 to {max} bytes and not only white space"));
            }
        };
        text("node_id", &self.node_id, 128);
        text("user_agent", &self.user_agent, 256);
        if !(1..=2).contains(&self.version) {
            problems.push(format!("version must be 1 or 2, not {}", self.version));
        }
        for (name, duration) in [
            ("dial_timeout", self.dial_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("heartbeat", self.heartbeat),
            ("idle_timeout", self.idle_timeout),
            ("ping_timeout", self.ping_timeout),
            ("stale_after", self.stale_after),
            ("save_interval", self.save_interval),
        ] {
            if duration.is_zero() {
                problems.push(format!("{name} must be longer than zero"));
            }
        }
        if self.feeler_every.is_some_and(|every| every.is_zero()) {
            problems.push("feeler_every must be longer than zero, or None for no feelers".to_owned());
        }
        if self.serving_rate == 0 {
            problems.push("serving_rate must be more than zero, or no peer ever gets a block".to_owned());
        }
        if self.idle_timeout <= self.heartbeat {
            problems.push("idle_timeout must be longer than heartbeat, or quiet peers are dropped".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_cannot_work_is_named() {
        assert_eq!(Config::default().problems(), [""; 0]);
        let zero = Duration::ZERO;
        let wrong: [(&str, Config); 7] = [
            ("node_id", Config { node_id: " ".to_owned(), ..Config::default() }),
            ("user_agent", Config { user_agent: "x".repeat(257), ..Config::default() }),
            ("version", Config { version: 3, ..Config::default() }),
            ("heartbeat", Config { heartbeat: zero, ..Config::default() }),
            ("serving_rate", Config { serving_rate: 0, ..Config::default() }),
            ("feeler_every", Config { feeler_every: Some(zero), ..Config::default() }),
            ("idle_timeout", Config { idle_timeout: Duration::from_secs(30), ..Config::default() }),
        ];
        for (name, config) in wrong {
            let problems = config.problems();
            assert!(problems.len() == 1 && problems[0].starts_with(name), "{name}: {problems:?}");
        }
        assert_eq!(Config { feeler_every: None, ..Config::default() }.problems(), [""; 0]);
    }
}
