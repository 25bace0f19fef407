//! What a node is told about itself and its limits.

use core::net::SocketAddr;
use core::time::Duration;

use crate::address::Scope;
use crate::config::{ConfigCheck, ConfigErrors};
use crate::proto::budget::{MessageRates, SERVING_RATE};
use crate::proto::peer::admission::AdmissionConfig;
use crate::proto::peer::blacklist::BlacklistConfig;
use crate::proto::peer::name::PeerName;
use crate::proto::peer::outbound::FEELER_EVERY;
use crate::proto::peer::own_addresses::EXTERNAL_MAX;
use crate::proto::sync::SyncConfig;

/// Settings of a [`Node`](crate::proto::Node). Start from [`Config::default`] and change what differs; [`Config::validate`]
/// is called by [`Node::new`](crate::proto::Node::new).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use spacetime_network::proto::Config;
///
/// let mut config = Config::default();
/// config.node_id = "my-node".to_owned();
/// config.seeds = vec!["192.0.2.7:8333".parse()?];
/// config.outbound = 16;
/// config.idle_timeout = Duration::from_secs(20);
///
/// // Everything that is wrong, at once, each with its remedy: here, peers would be dropped between two heartbeats.
/// assert!(config.validate().unwrap_err().names("idle_timeout"));
/// config.heartbeat = Duration::from_secs(5);
/// assert_eq!(config.validate(), Ok(()));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
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
    /// Addresses at which others reach us, as the operator knows them: behind a router that forwards a port, or with several
    /// lines. Peers are told of them. Port 0 stands for the port of the listener of that family.
    pub external: Vec<SocketAddr>,
    /// Connections prove who is at their other end, by TLS. Whoever has shown nothing all the same is known by his address alone, so that
    /// what he calls himself takes no proven peer's name and is in no peer's way.
    pub secured: bool,
    /// Connections to keep by dialing known peers.
    pub outbound: usize,
    /// A node that has all of these keeps one more, a feeler, and goes on to another node after so long: who looks no further
    /// than the connections that it has can be left behind in a part of the network. `None` for no feelers.
    pub feeler_every: Option<Duration>,
    /// Peers to stay connected to, whatever happens.
    pub connect: Vec<SocketAddr>,
    /// The same by their names, which [`Output::Resolve`](crate::proto::Output::Resolve) has looked up.
    pub connect_names: Vec<PeerName>,
    /// Addresses to ask for peers when there are too few.
    pub seeds: Vec<SocketAddr>,
    /// The same by their names.
    pub seed_names: Vec<PeerName>,
    /// Accept and share loopback and private addresses from anyone, not only from peers that are there too.
    pub allow_private: bool,
    /// Connection limits, rates and who is exempt from the per-address ones.
    pub admission: AdmissionConfig,
    /// Who counts as bad, and for how long.
    pub blacklist: BlacklistConfig,
    /// What each peer may send, by kind.
    pub rates: MessageRates,
    /// Set the feature bit that says that we take transactions at [`budget::MANY`](crate::proto::budget::MANY), and send as many to
    /// those who set it too. Otherwise all of them keep to what `rates` says.
    pub many_transactions: bool,
    /// Ask those whom we dial at which address they see us: for a node that has a port forwarded to it, and says where. See
    /// [`Node::reach`](crate::proto::Node::reach).
    pub asks_its_address: bool,
    /// Set the feature bit that says that we take large frames in pieces, and send them so to those who set it too: what is urgent
    /// waits for a piece, and not for a block.
    pub pieces: bool,
    /// Set the feature bit that says that we take frames compressed, and send them so to those who set it too.
    #[cfg(feature = "lz4")]
    #[cfg_attr(docsrs, doc(cfg(feature = "lz4")))]
    pub compression: bool,
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
            external: Vec::new(),
            secured: false,
            outbound: 8,
            feeler_every: Some(FEELER_EVERY),
            connect: Vec::new(),
            connect_names: Vec::new(),
            seeds: Vec::new(),
            seed_names: Vec::new(),
            allow_private: false,
            admission: AdmissionConfig::default(),
            blacklist: BlacklistConfig::default(),
            rates: MessageRates::default(),
            many_transactions: true,
            asks_its_address: false,
            pieces: true,
            #[cfg(feature = "lz4")]
            compression: true,
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
    /// Checks every setting and every relation between them, also in the parts: [`AdmissionConfig`],
    /// [`BlacklistConfig`], [`MessageRates`] and [`SyncConfig`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        for (name, text, max) in [("node_id", &self.node_id, 128), ("user_agent", &self.user_agent, 256)] {
            let holds = !text.trim().is_empty() && text.len() <= max;
            check.require(holds, name, format!("must have 1 to {max} bytes and not only white space"));
        }
        let known = (1..=2).contains(&self.version);
        check.require(known, "version", format!("must be 1 or 2, not {}", self.version));
        check.part("admission", self.admission.validate());
        check.part("blacklist", self.blacklist.validate());
        check.part("rates", self.rates.validate());
        check.require(self.serving_rate >= 1, "serving_rate", "must be more than zero, or no peer ever gets a block");
        check.part("sync", self.sync.validate());
        for (name, duration) in [
            ("dial_timeout", self.dial_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("heartbeat", self.heartbeat),
            ("idle_timeout", self.idle_timeout),
            ("ping_timeout", self.ping_timeout),
            ("stale_after", self.stale_after),
            ("save_interval", self.save_interval),
        ] {
            check.require(!duration.is_zero(), name, "must be longer than zero");
        }
        for (name, addresses) in [("connect", &self.connect), ("seeds", &self.seeds)] {
            for address in addresses {
                let usable = Scope::of_socket(*address) != Scope::Unusable;
                check.require(usable, name, format!("must not hold {address}, where nothing can be dialed"));
            }
        }
        let count = self.external.len();
        check.require(count <= EXTERNAL_MAX, "external", format!("must hold at most {EXTERNAL_MAX} addresses"));
        for address in &self.external {
            let usable = Scope::of(address.ip()) != Scope::Unusable;
            check.require(usable, "external", format!("must not hold {address}, where nobody can be reached"));
        }
        let feels = self.feeler_every.is_none_or(|every| !every.is_zero());
        check.require(feels, "feeler_every", "must be longer than zero, or None for no feelers");
        let patient = self.idle_timeout > self.heartbeat;
        check.require(patient, "idle_timeout", "must be longer than heartbeat, or quiet peers are dropped");
        check.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;
    use crate::wire::Kind;

    #[test]
    fn every_setting_that_cannot_work_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let zero = Duration::ZERO;
        let admission = |change: fn(&mut AdmissionConfig)| {
            let mut config = Config::default();
            change(&mut config.admission);
            config
        };
        let blacklist = |change: fn(&mut BlacklistConfig)| {
            let mut config = Config::default();
            change(&mut config.blacklist);
            config
        };
        let sync = |change: fn(&mut SyncConfig)| {
            let mut config = Config::default();
            change(&mut config.sync);
            config
        };
        let mut rates = MessageRates::default();
        rates.0.insert(Kind::Ping, Rate::per_second(1, 0));
        let wrong = [
            ("node_id", Config { node_id: " ".to_owned(), ..Config::default() }),
            ("user_agent", Config { user_agent: "x".repeat(257), ..Config::default() }),
            ("version", Config { version: 3, ..Config::default() }),
            ("heartbeat", Config { heartbeat: zero, ..Config::default() }),
            ("connect", Config { connect: vec!["0.0.0.0:7193".parse().unwrap()], ..Config::default() }),
            ("seeds", Config { seeds: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() }),
            ("external", Config { external: vec!["0.0.0.0:7193".parse().unwrap()], ..Config::default() }),
            ("external", Config { external: vec!["45.1.1.1:1".parse().unwrap(); 9], ..Config::default() }),
            ("serving_rate", Config { serving_rate: 0, ..Config::default() }),
            ("feeler_every", Config { feeler_every: Some(zero), ..Config::default() }),
            ("idle_timeout", Config { idle_timeout: Duration::from_secs(30), ..Config::default() }),
            ("blacklist.score", blacklist(|lines| lines.score = 0)),
            ("blacklist.score", blacklist(|lines| lines.score = -21)),
            ("blacklist.failures", blacklist(|lines| lines.failures = 0)),
            ("blacklist.violations", blacklist(|lines| lines.violations = 0)),
            ("blacklist.duration", blacklist(|lines| lines.duration = Duration::ZERO)),
            ("rates.Ping.burst", Config { rates, ..Config::default() }),
            ("admission.inbound_max", admission(|limits| limits.inbound_max = limits.connections_max + 1)),
            ("admission.pending_max", admission(|limits| limits.pending_max = 0)),
            ("admission.inbound_per_ip", admission(|limits| limits.inbound_per_ip = Some(0))),
            ("admission.rate_per_ip.burst", admission(|limits| limits.rate_per_ip = Some(Rate::per_second(9, 0)))),
            ("sync.window_blocks", sync(|sync| sync.window_blocks = 0)),
            ("sync.headers_per_request", sync(|sync| sync.headers_per_request = 2_001)),
            ("sync.headers_max", sync(|sync| sync.headers_max = 1_999)),
            ("sync.stall_max", sync(|sync| sync.stall_max = sync.stall_min / 2)),
            ("sync.block_requests.burst", sync(|sync| sync.block_requests.burst = 0)),
        ];
        for (name, config) in wrong {
            let errors = config.validate().unwrap_err();
            assert!(errors.names(name) && errors.iter().count() == 1, "{name}: {errors}");
        }
        assert_eq!(Config { feeler_every: None, ..Config::default() }.validate(), Ok(()));
        let dials_only = |limits: &mut AdmissionConfig| (limits.inbound_max, limits.pending_max) = (0, 0);
        assert_eq!(admission(dials_only).validate(), Ok(()), "who takes nobody in needs no place for handshakes");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut config = Config { version: 0, serving_rate: 0, ..Config::default() };
        config.sync.retry = Duration::ZERO;
        let text = config.validate().unwrap_err().to_string();
        for setting in ["version must be 1 or 2, not 0", "serving_rate must", "sync.retry must"] {
            assert!(text.contains(setting), "{text}");
        }
    }
}
