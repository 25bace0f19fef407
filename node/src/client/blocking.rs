//! One conversation with a running node, on a loop of our own: dial, greet, ask, leave.
//!
//! [`Client`] turns the loop of a [`ClientProtocol`] until what was waited for has come or the time is up.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::driver::{self, Driver, NoStandIn, SendOutcome};
use spacetime_network::id::DialId;
use spacetime_network::link::socks::Proxy;
use spacetime_network::wire::Message;

use crate::cli::AskArgs;
use crate::client::protocol::{ClientProtocol, Host, State};
use crate::explain::{PeerError, ended, remedy};
use crate::failure::Failure;
use crate::security::Security;
use crate::value::Endpoint;

/// How long leaving may take: what is queued is flushed, then the connection is dropped.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// A conversation that has begun: both sides have greeted.
#[derive(Debug)]
pub(crate) struct Client {
    driver: Driver<ClientProtocol>,
    endpoint: String,
    address: SocketAddr,
    timeout: Duration,
    security: Option<Security>,
}

impl Client {
    /// Connects and greets as a question asks for it.
    pub(crate) fn open(ask: &AskArgs) -> Result<Self, Failure> {
        let security = Security::of_client(&ask.tls, ask.data.data_dir.as_deref(), &ask.address)?;
        Client::open_as(&ask.address, ask.timeout, security.as_ref(), ask.proxy.plan()?.as_ref())
    }

    /// Connects and greets within `timeout`, which is also the longest wait for each answer. Of several addresses of a name, each
    /// gets its share of the time, until one answers.
    pub(crate) fn open_as(
        endpoint: &Endpoint,
        timeout: Duration,
        security: Option<&Security>,
        proxy: Option<&Proxy>,
    ) -> Result<Self, Failure> {
        let end = Instant::now() + timeout;
        let addresses = match proxy {
            Some(_) => vec![endpoint.through_proxy()],
            None => endpoint.resolve(timeout)?,
        };
        let mut last = None;
        for (index, address) in addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX).max(1);
            let name = match addresses.len() {
                1 => endpoint.to_string(),
                _ => format!("{endpoint} at {address}"),
            };
            match Client::open_at(endpoint, &name, *address, (share, timeout), (security, proxy))? {
                Ok(client) => return Ok(client),
                Err(failure) => last = Some(failure),
            }
        }
        // A lookup that succeeds has found an address.
        Err(last.unwrap_or_else(|| Failure::plain(format!("talk to {endpoint}"), "it has no address")))
    }

    /// One address. The inner error is one that another address may not have.
    fn open_at(
        endpoint: &Endpoint,
        name: &str,
        address: SocketAddr,
        (patience, timeout): (Duration, Duration),
        (security, proxy): (Option<&Security>, Option<&Proxy>),
    ) -> Result<Result<Self, Failure>, Failure> {
        let operation = format!("talk to {name}");
        let local = |error: io::Error| Failure::new(&operation, error, "free some files and memory, then try again");
        let protocol = ClientProtocol::new(security.map(Security::id)).map_err(local)?;
        let mut config = driver::Config::default();
        config.tls = security.map(Security::tls);
        config.proxy = proxy.cloned();
        if let (Some(tls), Some(name)) = (&config.tls, endpoint.name()) {
            tls.expect_names(address, &[name])
                .map_err(|error| Failure::new(&operation, error, "check the name, or give ip:port"))?;
        }
        let driver = Driver::new(config, protocol)
            .map_err(|error| Failure::new(&operation, error, "free some files and memory, then try again"))?;
        let security = security.cloned();
        let mut client = Client { driver, endpoint: name.to_owned(), address, timeout, security };
        client
            .driver
            .with(|_, _, net| {
                if let (Some(_), Endpoint::Name(name)) = (proxy, endpoint) {
                    // The first of a loop has the address that it should have.
                    net.stand_in(name.host(), name.port()).map(drop)?;
                }
                net.dial(DialId(0), address, patience);
                Ok(())
            })
            .map_err(|error: NoStandIn| Failure::new(&operation, error, "check the name"))?;
        let end = Instant::now() + patience;
        while !matches!(client.driver.protocol().state, State::Open(_)) {
            if let State::Gone(reason) = client.driver.protocol().state {
                let failure = client.over(&operation, reason);
                let elsewhere = client.driver.protocol().complaint.is_none()
                    && matches!(reason, CloseReason::Io(_) | CloseReason::DialTimeout);
                return if elsewhere { Ok(Err(failure)) } else { Err(failure) };
            }
            if Instant::now() >= end {
                let late = "it does not answer; check the address and that a node is listening there";
                return Ok(Err(Failure::plain(operation, late)));
            }
            client.turn(&operation, end)?;
        }
        if let Some(security) = &client.security {
            security.save()?;
        }
        Ok(Ok(client))
    }

    /// Who is asked, as the user wrote it.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The longest wait for each answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What the node said of itself.
    pub(crate) fn host(&self) -> &Host {
        &self.driver.protocol().host
    }

    /// Sends `request` and gives each frame that comes to `accept` until it answers `Some`. `what` completes "ask for".
    pub(crate) fn ask<T>(
        &mut self,
        what: &str,
        request: &Message<'_>,
        accept: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<T, Failure> {
        let operation = format!("ask {} for {what}", self.endpoint);
        self.say(&operation, request)?;
        let answer = self.listen(&operation, self.timeout, accept)?;
        answer.ok_or_else(|| Failure::plain(operation, "no answer came in time; try a longer --timeout"))
    }

    /// Gives each frame that comes to `accept` until it answers `Some`; `None` when `patience` is at its end before.
    pub(crate) fn listen<T>(
        &mut self,
        operation: &str,
        patience: Duration,
        mut accept: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let end = Instant::now() + patience;
        loop {
            while let Some((kind, payload)) = self.driver.protocol_mut().inbox.pop_front() {
                // The protocol has decoded it before: an error cannot come back here.
                if let Some(answer) = Message::decode(kind, &payload).ok().as_ref().and_then(&mut accept) {
                    return Ok(Some(answer));
                }
            }
            if let State::Gone(reason) = self.driver.protocol().state {
                return Err(self.over(operation, reason));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.turn(operation, end)?;
        }
    }

    /// Waits until everything that was said has left, so that nothing more urgent can overtake it.
    pub(crate) fn flush(&mut self, operation: &str) -> Result<(), Failure> {
        let end = Instant::now() + self.timeout;
        loop {
            if let State::Gone(reason) = self.driver.protocol().state {
                return Err(self.over(operation, reason));
            }
            let queued = self.driver.with(|protocol, _, net| match protocol.state {
                State::Open(conn) => net.conn_stats(conn).map_or(0, |stats| stats.queued_bytes),
                _ => 0,
            });
            if queued == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Failure::plain(operation, "the node does not read; try a longer --timeout"));
            }
            self.turn(operation, end)?;
        }
    }

    /// Sends a frame; it leaves with the next turn of the loop.
    pub(crate) fn say(&mut self, operation: &str, message: &Message<'_>) -> Result<(), Failure> {
        let payload = message.to_payload().map_err(|error| Failure::new(operation, error, "ask for less"))?;
        let outcome = self.driver.with(|protocol, _, net| match protocol.state {
            State::Open(conn) => Some(net.send_shared(conn, message.kind().priority(), message.kind() as u8, &payload)),
            _ => None,
        });
        match (outcome, &self.driver.protocol().state) {
            (Some(SendOutcome::Accepted { .. }), _) => Ok(()),
            (None, State::Gone(reason)) => Err(self.over(operation, *reason)),
            _ => Err(Failure::new(operation, "the frame could not be queued", "send less at a time")),
        }
    }

    /// Keeps the conversation alive for `duration`, looking at nothing.
    pub(crate) fn idle(&mut self, operation: &str, duration: Duration) -> Result<(), Failure> {
        self.listen(operation, duration, |_| None::<()>).map(drop)
    }

    /// Flushes what is queued and closes the connection.
    pub(crate) fn leave(mut self) {
        self.driver.with(|protocol, _, net| {
            if let State::Open(conn) | State::Greeting(conn) = protocol.state {
                net.close(conn, CloseReason::Done, LEAVE_PATIENCE);
            }
        });
        let end = Instant::now() + LEAVE_PATIENCE;
        while !matches!(self.driver.protocol().state, State::Gone(_)) && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            if self.driver.turn(Some(left)).is_err() {
                return;
            }
            self.driver.protocol_mut().inbox.clear();
        }
    }

    /// One turn of the loop, which waits no longer than until `end`.
    fn turn(&mut self, operation: &str, end: Instant) -> Result<(), Failure> {
        let left = end.saturating_duration_since(Instant::now());
        self.driver.turn(Some(left)).map(drop).map_err(|error| Failure::plain(operation, error))
    }

    /// The conversation ended before its purpose was fulfilled. What the node said last decides what to do about it.
    fn over(&self, operation: &str, reason: CloseReason) -> Failure {
        let said = self.driver.protocol().complaint.as_deref();
        let is_tls = self.security.is_some();
        let turned_away = reason == CloseReason::Tls(TlsFault::TurnedAway);
        if turned_away || said.is_some_and(|said| matches!(PeerError::of(said), PeerError::Full | PeerError::Crowded)) {
            return Failure::full(operation, remedy(reason, said, is_tls));
        }
        match (reason, &self.security) {
            (CloseReason::Tls(fault), Some(security)) if said.is_none() => {
                Failure::plain(operation, security.explain(self.address, fault))
            }
            _ => Failure::new(operation, ended(reason, said), remedy(reason, said, is_tls)),
        }
    }
}

/// The wall clock, for messages.
pub(crate) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
