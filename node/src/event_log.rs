//! A node's events as log lines. What strangers can cause is rationed: a line per event, but few of each sort per minute.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::close::{Blame, CloseReason};
use spacetime_network::id::ConnId;
use spacetime_network::proto::Event;
use spacetime_network::proto::sync::DeepBranch;
use spacetime_network::time::{Instant, Now};
use tracing::{debug, info, warn};

use crate::explain::remedy;
use crate::full_node::LiveNode;
use crate::logging::Ration;
use crate::security::Security;

/// Lines of one sort that a minute may have.
const LINES_PER_MINUTE: u32 = 30;
/// Time between two lines about a catch-up.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// Writes events to the log.
#[derive(Debug)]
pub(crate) struct EventLog {
    peers: Ration,
    failures: Ration,
    /// Failures that are not the operator's concern must not use up the lines of those that are.
    weather: Ration,
    texts: Ration,
    blocks: Ration,
    branches: Ration,
    sync_logged: Option<Instant>,
    security: Option<Security>,
    /// The nodes of --connect, and why they are not reached at present.
    named: BTreeMap<SocketAddr, Option<String>>,
    /// Why blocks are not stored at present.
    store_problem: Option<String>,
}

impl EventLog {
    /// A log of a node that is to keep connections to `named`.
    pub(crate) fn new(named: &[SocketAddr], security: Option<Security>) -> Self {
        let ration = || Ration::new(LINES_PER_MINUTE, Duration::from_secs(60));
        EventLog {
            peers: ration(),
            failures: ration(),
            weather: ration(),
            texts: ration(),
            blocks: ration(),
            branches: ration(),
            sync_logged: None,
            security,
            named: named.iter().map(|address| (*address, None)).collect(),
            store_problem: None,
        }
    }

    /// One event.
    pub(crate) fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode) {
        let at = now.at;
        match event {
            Event::PeerConnected { node_id, remote, outbound, version, .. } => {
                let peers = node.connected().count();
                if let Some(reason) = self.named.get_mut(remote).filter(|_| *outbound) {
                    *reason = None;
                }
                if let Some(withheld) = self.peers.admit(at) {
                    info!(%remote, id = node_id, outbound, version, peers, withheld, "peer connected");
                }
            }
            Event::PeerDisconnected { node_id, reason, .. } => {
                if let Some(withheld) = self.peers.admit(at) {
                    info!(id = node_id, %reason, withheld, "peer disconnected");
                }
            }
            Event::HandshakeFailed { remote, reason } => self.failure(at, "handshake failed", remote, *reason),
            Event::DialFailed { remote, reason } => self.failure(at, "dial failed", remote, *reason),
            Event::Blacklisted { remote } => {
                if let Some(withheld) = self.failures.admit(at) {
                    warn!(%remote, withheld, "address banned");
                }
            }
            Event::RemoteError { conn, text } => {
                if let Some(withheld) = self.texts.admit(at) {
                    info!(%conn, text, withheld, "peer reports an error");
                }
            }
            Event::NewTip(tip) => {
                self.store(node.chain().health().error);
                if let Some(withheld) = self.blocks.admit(at) {
                    info!(height = tip.height, hash = %tip.hash, withheld, "new tip");
                }
            }
            Event::BlockAccepted { hash, .. } => debug!(%hash, "block accepted"),
            Event::TransactionAccepted { id, .. } => debug!(%id, "transaction accepted"),
            Event::SubmissionRefused { kind, why } => warn!(kind = kind.name(), why, "our own submission was refused"),
            Event::Sync { height, target } => {
                if height >= target {
                    // Said once, and only by a node that was behind.
                    if self.sync_logged.take().is_some() {
                        info!(height, "caught up");
                    }
                } else if self.sync_logged.is_none_or(|last| at.since(last) >= SYNC_EVERY) {
                    self.sync_logged = Some(at);
                    info!(height, target, "catching up");
                }
            }
            Event::ClockOff { millis, peers } => {
                let difference = offset(*millis);
                warn!(
                    peers,
                    "our clock is {difference} those of the peers we dialed, by their median; set it right, or blocks are refused for their time"
                );
            }
            Event::ClockRight { millis, peers } => {
                info!(peers, "our clock is right again, {} those of the peers we dialed", offset(*millis));
            }
            Event::HeadersTooEarly { conn, clock } => match clock {
                Some(millis) => {
                    warn!(%conn, "a peer's blocks are too far ahead of our clock, which is {} those of the peers we dialed", offset(*millis));
                }
                None => warn!(%conn, "a peer's blocks are too far ahead of our clock; see that it is right"),
            },
            Event::DeepBranch { conn, fork, height, news } => self.deep_branch(at, *conn, (*fork, *height), *news),
            other => debug!(event = ?other, "event"),
        }
    }

    /// A fork far below our tip is followed late, or not at all: never without a word.
    fn deep_branch(&mut self, at: Instant, conn: ConnId, (fork, height): (u64, u64), news: DeepBranch) {
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

    /// Blocks are stored beside the loop: a disk that takes no more must be told before the node stops.
    fn store(&mut self, problem: Option<String>) {
        match (&self.store_problem, &problem) {
            (None, Some(error)) => {
                warn!(error, "blocks are not stored, or not as they were given; a write that failed is tried again")
            }
            (Some(_), None) => info!("blocks are stored again"),
            _ => {}
        }
        self.store_problem = problem;
    }

    fn failure(&mut self, at: Instant, what: &str, remote: &SocketAddr, reason: CloseReason) {
        use CloseReason::{Done, DuplicateConnection, Requested, SelfConnection, Shutdown, Tls, WrongNetwork};
        if let Some(last) = self.named.get_mut(remote)
            && !matches!(reason, Done | DuplicateConnection | Requested | Shutdown)
        {
            let why = match (reason, &self.security) {
                (Tls(fault), Some(security)) => format!("TLS: {}", security.explain(*remote, fault)),
                (_, security) => format!("{reason}; {}", remedy(reason, security.is_some())),
            };
            // It is dialed again and again: said once, until something changes.
            if last.as_ref() == Some(&why) {
                debug!(%remote, %reason, "still not reached");
            } else {
                warn!(%remote, "a node that --connect names is not reached: {why}");
                *last = Some(why);
            }
            return;
        }
        // What runs out on our side is for the operator to mend. A node of another network is a sign that --difficulty or
        // --reward are not what they are elsewhere. The rest is the weather.
        let is_tls = self.security.is_some();
        if matches!(reason, CloseReason::LocalResource(_)) {
            if let Some(withheld) = self.failures.admit(at) {
                warn!(%remote, %reason, withheld, "{what}");
            }
        } else if let Some(why) = self.tls_failure(remote, reason) {
            if let Some(withheld) = self.failures.admit(at) {
                info!(%remote, withheld, "TLS: {why}");
            }
        } else if matches!(reason, WrongNetwork) || (is_tls && reason == SelfConnection) {
            if let Some(withheld) = self.failures.admit(at) {
                info!(%remote, %reason, withheld, "{what}; {}", remedy(reason, is_tls));
            }
        } else if reason.blame() == Blame::Misbehaved && !matches!(reason, Tls(_)) {
            if let Some(withheld) = self.failures.admit(at) {
                info!(%remote, %reason, withheld, "{what}");
            }
        } else if let Some(withheld) = self.weather.admit(at) {
            debug!(%remote, %reason, withheld, "{what}");
        }
    }

    /// What TLS refuses has lines of its own, which name the identities; but for a refusal that we hear of only when the
    /// handshake is done on our side.
    fn tls_failure(&self, remote: &SocketAddr, reason: CloseReason) -> Option<String> {
        let (CloseReason::Tls(fault), Some(security)) = (reason, &self.security) else { return None };
        let is_new = fault.blame() != Blame::Lost && !security.has_refused(*remote, fault);
        is_new.then(|| security.explain(*remote, fault))
    }
}

/// Where our clock is when others are so many milliseconds ahead of it.
fn offset(millis: i64) -> String {
    let seconds = millis.unsigned_abs() / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let way = if millis >= 0 { "behind" } else { "ahead of" };
    format!("{hours} h {minutes} min {seconds} s {way}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_others_are_ahead_of_is_behind() {
        assert_eq!(offset(3 * 3_600_000 + 61_999), "3 h 1 min 1 s behind");
        assert_eq!(offset(-7_201_000), "2 h 0 min 1 s ahead of");
        assert!(offset(i64::MIN).ends_with("ahead of"));
    }
}
