//! A node's events as log lines. What strangers can cause is limited: a line per event, but few of each sort per minute.
//!
//! | file | what it remembers |
//! |---|---|
//! | `named` | whom the operator named, and why they are not reached |
//! | `isolation` | since when there is no peer, and why |
//! | `not_let_in` | why those who dialed us are no peers |
//! | `turned_away` | whom a limit kept out |
//! | `reach` | what was said of the port that a router forwards |
//! | `pace` | how fast a download goes |
//! | `clocks` | nothing: of a clock that is off the node itself tells once |
//! | `deep_branch` | how many lines about long branches there were |

mod clocks;
mod deep_branch;
mod isolation;
#[cfg(test)]
mod isolation_tests;
mod named;
mod not_let_in;
mod pace;
mod reach;
mod turned_away;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::address::is_stand_in;
use spacetime_network::close::{Blame, CloseReason, TlsFault};
use spacetime_network::id::ConnId;
use spacetime_network::proto::Event;
use spacetime_network::proto::peer::operator_bans::TooManyBans;
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::time::{Instant, Now};
use tracing::{debug, info, warn};

use crate::client::is_client;
use crate::event_log::clocks::offset;
use crate::event_log::isolation::{Isolation, IsolationChange};
use crate::event_log::named::{Named, News, nowhere};
use crate::event_log::not_let_in::NotLetIn;
use crate::event_log::pace::Pace;
use crate::event_log::reach::ReachLog;
use crate::event_log::turned_away::TurnedAway;
use crate::explain::{PeerError, ended, remedy};
use crate::full_node::{LiveNode, Sink};
use crate::logging::LineLimit;
use crate::security::Security;
use crate::value::Endpoint;

/// What happened to a dial that became no connection.
const DIAL_FAILED: &str = "dial failed";
/// Lines of one sort that may come at once.
const LINES_BURST: u32 = 30;
/// Time between two lines of a sort that strangers cause, once those are used up: 300 in an hour.
const STRANGERS_EVERY: Duration = Duration::from_secs(12);
/// The same of a sort that costs work or trust to cause.
const OTHERS_EVERY: Duration = Duration::from_secs(2);
/// Time between two lines about a catch-up.
const SYNC_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks at how the store is doing.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// How long a node that was named may wait for a place before that is told.
const NO_ROOM_AFTER: Duration = Duration::from_secs(15);
/// Miners who find a block at the same moment undo so many blocks now and then. More is a sign of a network that was in parts,
/// or of somebody who mines in secret.
const USUAL_DEPTH: u64 = 3;

/// Writes events to the log.
#[derive(Debug)]
pub(crate) struct EventLog {
    peers: LineLimit,
    questions: LineLimit,
    failures: LineLimit,
    /// Failures that are not the operator's concern must not use up the lines of those that are.
    usual_failures: LineLimit,
    texts: LineLimit,
    farewells: LineLimit,
    early: LineLimit,
    blocks: LineLimit,
    reorganisations: LineLimit,
    relay: LineLimit,
    pauses: LineLimit,
    branches: LineLimit,
    sync_logged: Option<Instant>,
    pace: Pace,
    reach: ReachLog,
    security: Option<Security>,
    connect: Named,
    seeds: Named,
    isolation: Isolation,
    not_let_in: NotLetIn,
    turned_away: TurnedAway,
    /// Connections of those who ask a question and leave.
    clients: BTreeSet<ConnId>,
    /// Where the best chain ended when we looked last.
    tip: Option<Tip>,
    store_looked: Option<Instant>,
    told_no_room: bool,
    /// Why blocks are not stored at present.
    store_problem: Option<String>,
}

/// How a connection, or the attempt at one, ended before there was a peer.
struct Failed<'a> {
    what: &'static str,
    remote: SocketAddr,
    outbound: bool,
    reason: CloseReason,
    said: Option<&'a str>,
}

impl Sink for EventLog {
    fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode) {
        self.write(now, event, node);
    }

    fn turn_ended(&mut self, now: Now, node: &LiveNode) {
        self.look(now, node);
    }

    fn deadline(&self) -> Option<Instant> {
        self.isolation.deadline()
    }
}

impl EventLog {
    /// A log of a node that is to keep connections to `connect`, and to ask `seeds` for others.
    pub(crate) fn new(connect: &[Endpoint], seeds: &[Endpoint], security: Option<Security>) -> Self {
        let (strangers, others) =
            (|| LineLimit::new(LINES_BURST, STRANGERS_EVERY), || LineLimit::new(LINES_BURST, OTHERS_EVERY));
        EventLog {
            peers: strangers(),
            questions: strangers(),
            failures: strangers(),
            usual_failures: strangers(),
            texts: strangers(),
            farewells: strangers(),
            early: strangers(),
            blocks: others(),
            reorganisations: others(),
            relay: others(),
            pauses: strangers(),
            branches: others(),
            sync_logged: None,
            pace: Pace::default(),
            reach: ReachLog::default(),
            security,
            connect: Named::new(connect),
            seeds: Named::new(seeds),
            isolation: Isolation::default(),
            not_let_in: NotLetIn::default(),
            turned_away: TurnedAway::default(),
            clients: BTreeSet::new(),
            tip: None,
            store_looked: None,
            told_no_room: false,
            store_problem: None,
        }
    }

    /// One event.
    fn write(&mut self, now: Now, event: &Event, node: &LiveNode) {
        let at = now.at;
        match event {
            Event::PeerConnected { conn, node_id, remote, outbound, version } => {
                if *outbound {
                    self.connect.reached(*remote);
                    self.seeds.reached(*remote);
                }
                let peers = peers_of(node);
                let claimed = self.is_claim(node, *conn).then_some(true);
                if node.connected().any(|peer| peer.conn == *conn && is_client(&peer.user_agent)) {
                    self.clients.insert(*conn);
                    if let Some(withheld) = self.questions.admit(at) {
                        debug!(%remote, id = node_id, version, withheld, "a question came");
                    }
                } else if let Some(withheld) = self.peers.admit(at) {
                    info!(%remote, id = node_id, claimed, outbound, version, peers, withheld, "peer connected");
                }
            }
            Event::PeerDisconnected { conn, node_id, identity, remote, reason, remote_error } => {
                let why = ended(*reason, remote_error.as_deref());
                let claimed = (self.security.is_some() && identity.is_none()).then_some(true);
                if self.clients.remove(conn) {
                    if let Some(withheld) = self.questions.admit(at) {
                        debug!(%remote, id = node_id, reason = why, withheld, "the question is over");
                    }
                } else if let Some(withheld) = self.peers.admit(at) {
                    info!(%remote, id = node_id, claimed, reason = why, withheld, "peer disconnected");
                }
            }
            Event::ClientConnected { name, remote, .. } => {
                if let Some(withheld) = self.peers.admit(at) {
                    let clients = node.clients().count();
                    info!(%remote, name, clients, withheld, "client connected, which does not introduce itself");
                }
            }
            Event::ClientDisconnected { name, remote, reason, remote_error, .. } => {
                if let Some(withheld) = self.peers.admit(at) {
                    let why = |reason| ended(reason, remote_error.as_deref());
                    let reason = reason.map_or_else(|| "it has introduced itself, and is a peer now".to_owned(), why);
                    info!(%remote, name, reason, withheld, "client disconnected");
                }
            }
            Event::HandshakeFailed { remote, outbound, reason, remote_error } => self.failed(
                at,
                Failed {
                    what: "handshake failed",
                    remote: *remote,
                    outbound: *outbound,
                    reason: *reason,
                    said: remote_error.as_deref(),
                },
            ),
            Event::DialFailed { remote, reason } => self
                .failed(at, Failed { what: DIAL_FAILED, remote: *remote, outbound: true, reason: *reason, said: None }),
            Event::TurnedAway { remote, why } => {
                self.not_let_in.turned_away(why);
                self.turned_away.add(*remote, why);
            }
            Event::NameResolved { name, addresses } => {
                debug!(%name, ?addresses, "looked up");
                if let Ok([address]) = addresses.as_deref()
                    && is_stand_in(*address)
                    && !self.connect.contains(*address)
                    && !self.seeds.contains(*address)
                {
                    info!(%name, %address, "dialed through the proxy by its name, for which this address stands here");
                }
                match addresses {
                    Ok(_) => self.isolation.found(name),
                    Err(why) => self.isolation.failed(Endpoint::Name(name.clone()), nowhere(why)),
                }
                for (flag, named) in [("--connect", &mut self.connect), ("--seed-node", &mut self.seeds)] {
                    tell(named.resolved(name, addresses), flag);
                }
            }
            Event::RouteChanged { family, closed: Some(reason) } => warn!(
                reason = %reason,
                "{family} cannot be reached from this machine, and are tried every few minutes only: {}",
                remedy(*reason, None, false)
            ),
            Event::RouteChanged { family, closed: None } => {
                info!("{family} can be reached again");
            }
            // A proxy may come and go.
            Event::DialsPaused { reason: Some(reason) } => {
                if let Some(withheld) = self.pauses.admit(at) {
                    warn!(
                        reason = %reason,
                        withheld,
                        "nobody can be dialed at present, and it is tried every few seconds: {}",
                        remedy(*reason, None, false)
                    );
                }
            }
            Event::DialsPaused { reason: None } => {
                if let Some(withheld) = self.pauses.admit(at) {
                    info!(withheld, "others can be dialed again");
                }
            }
            Event::AddressRefused { address } => warn!(%address, "nothing can be dialed there"),
            Event::RelayDropped { count } => {
                if let Some(withheld) = self.relay.admit(at) {
                    info!(
                        count,
                        withheld,
                        "more is said than peers take: it was not passed on when it came; what is a transaction is offered later"
                    );
                }
            }
            Event::Blacklisted { remote, reason, duration } => {
                if let Some(withheld) = self.failures.admit(at) {
                    let (reason, seconds) = (ended(*reason, None), duration.as_secs());
                    warn!(%remote, reason, seconds, withheld, "address banned");
                }
            }
            Event::Banned { who, term } => {
                info!(%who, seconds = term.map(|term| term.as_secs()), "banned by the operator");
            }
            Event::BanLifted { who, lifted } if lifted.lifted == 0 => debug!(%who, "no ban of the operator's to lift"),
            Event::BanLifted { who, lifted } => {
                info!(%who, lifted = lifted.lifted, still_banned_by = lifted.still.map(tracing::field::display), "ban lifted");
            }
            Event::BanRefused { who } => warn!(%who, "not banned: {TooManyBans}"),
            // Why it leaves stands in the line about its end, and why it does not take us in that about the handshake.
            Event::RemoteError { conn, remote, text }
                if PeerError::of(text) != PeerError::Other || !node.connected().any(|peer| peer.conn == *conn) =>
            {
                if let Some(withheld) = self.farewells.admit(at) {
                    debug!(%conn, %remote, text, withheld, "peer says why it leaves");
                }
            }
            Event::RemoteError { conn, remote, text } => {
                if let Some(withheld) = self.texts.admit(at) {
                    info!(%conn, %remote, text, withheld, "peer reports an error");
                }
            }
            Event::NewTip(tip) => {
                self.reorganised(at, node);
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
                    self.pace.end();
                    if self.sync_logged.take().is_some() {
                        info!(height, "caught up");
                    }
                } else if self.sync_logged.is_none_or(|last| at.since(last) >= SYNC_EVERY) {
                    self.sync_logged = Some(at);
                    let seconds_left = self.pace.look(at, *height, *target);
                    info!(height, target, seconds_left, "catching up");
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
            Event::HeadersTooEarly { conn, clock } => {
                let Some(withheld) = self.early.admit(at) else { return };
                let from = node.connected().find(|peer| peer.conn == *conn).map(|peer| peer.remote);
                let remote = from.map(tracing::field::display);
                match clock {
                    Some(millis) => {
                        warn!(%conn, remote, withheld, "a peer's blocks are too far ahead of our clock, which is {} those of the peers we dialed", offset(*millis));
                    }
                    None => {
                        warn!(%conn, remote, withheld, "a peer's blocks are too far ahead of our clock; see that it is right");
                    }
                }
            }
            Event::DeepBranch { conn, fork, height, news } => self.deep_branch(at, *conn, (*fork, *height), *news),
            other if self.reach.write(other, &node.reach()) => {}
            other => debug!(event = ?other, "event"),
        }
    }

    /// Whether an id is only what its owner calls himself, where others prove theirs.
    fn is_claim(&self, node: &LiveNode, conn: ConnId) -> bool {
        self.security.is_some() && node.connected().any(|peer| peer.conn == conn && peer.identity.is_none())
    }

    /// A node that the operator named, and for which there is no place, was dialed never and without a word.
    fn tell_no_room(&mut self, now: Instant, since: Option<Instant>) {
        let lasts = since.is_some_and(|since| now.since(since) >= NO_ROOM_AFTER);
        if lasts && !self.told_no_room {
            warn!("no place is left to dial a node that was named: all are taken; allow more with --max-connections");
        }
        self.told_no_room = lasts;
    }

    /// What time alone changes. Called after every turn of the loop.
    fn look(&mut self, now: Now, node: &LiveNode) {
        self.tip.get_or_insert_with(|| node.chain().best());
        // Not only with a new tip: a network that has stopped may have done so for this disk, and the good news comes then too.
        if self.store_looked.is_none_or(|last| now.at.since(last) >= STORE_EVERY) {
            self.store_looked = Some(now.at);
            self.store(node.chain().health().error);
        }
        self.tell_left_out(now.at);
        self.tell_no_room(now.at, node.outbound().lacks_room_since());
        let peers = peers_of(node);
        if peers > 0 {
            self.not_let_in.clear();
        }
        match self.isolation.look(now.at, peers) {
            None => {}
            Some(IsolationChange::Isolated(time)) => {
                let seconds = time.as_secs();
                let height = node.chain().best().height;
                let is_named = |endpoint: &Endpoint| match endpoint {
                    Endpoint::Address(remote) => self.connect.contains(*remote) || self.seeds.contains(*remote),
                    Endpoint::Name(_) => true,
                };
                let reasons = match (self.not_let_in.summary(), self.isolation.reasons(is_named)) {
                    (Some(refused), Some(reasons)) => format!("{refused}; {reasons}"),
                    (Some(refused), None) => format!("{refused}; and no address was found to dial"),
                    (None, Some(reasons)) => reasons,
                    (None, None) => "nobody has connected, and no address was found to dial; give --connect or \
                                     --seed-node if there are other nodes"
                        .to_owned(),
                };
                warn!(seconds, height, "no peer, and blocks of others are missed: {reasons}");
            }
            Some(IsolationChange::Ended(time)) => info!(seconds = time.as_secs(), "no longer alone"),
        }
        if let Some(summary) = self.turned_away.take(now.at) {
            let (connections, limits, from) = (summary.connections, summary.limits, summary.from);
            if summary.is_full {
                warn!(
                    connections,
                    limits,
                    from,
                    "full: connections were turned away; allow more with --max-connections, or keep fewer places for our own with \
                     --outbound"
                );
            } else {
                info!(connections, limits, from, "connections were turned away");
            }
        }
    }

    /// A flood that has ended leaves a count behind, though no further line comes to tell it.
    fn tell_left_out(&mut self, at: Instant) {
        for (sort, limit) in [
            ("peers", &mut self.peers),
            ("failures", &mut self.failures),
            ("texts", &mut self.texts),
            ("early headers", &mut self.early),
            ("blocks", &mut self.blocks),
            ("reorganisations", &mut self.reorganisations),
            ("relay", &mut self.relay),
            ("branches", &mut self.branches),
        ] {
            if let Some(lines) = limit.untold(at) {
                info!(sort, lines, "lines were left out");
            }
        }
        for (sort, limit) in [
            ("questions", &mut self.questions),
            ("usual failures", &mut self.usual_failures),
            ("farewells", &mut self.farewells),
        ] {
            if let Some(lines) = limit.untold(at) {
                debug!(sort, lines, "lines were left out");
            }
        }
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

    /// Blocks that were on the best chain are so no more: their payments may be undone.
    fn reorganised(&mut self, at: Instant, node: &LiveNode) {
        let new = node.chain().best();
        let Some(old) = self.tip.replace(new) else { return };
        let fork = node.chain().fork_of(&old.hash);
        let depth = fork.map(|fork| old.height.saturating_sub(fork.height));
        if depth == Some(0) {
            return;
        }
        let (old_hash, new_hash) = (old.hash, new.hash);
        let (old_height, new_height) = (old.height, new.height);
        let Some(withheld) = self.reorganisations.admit(at) else { return };
        if depth.is_some_and(|depth| depth <= USUAL_DEPTH) {
            info!(depth, %old_hash, old_height, %new_hash, new_height, withheld, "another branch is the best chain now");
        } else {
            warn!(
                depth, %old_hash, old_height, %new_hash, new_height, withheld,
                "a deep reorganisation: payments in the blocks that were left are undone, unless the new branch has them"
            );
        }
    }

    fn failed(&mut self, at: Instant, failed: Failed<'_>) {
        use CloseReason::{Done, DuplicateConnection, Requested, SelfConnection, Shutdown, Tls, WrongNetwork};
        let Failed { what, remote, outbound, reason, said } = failed;
        if outbound && reason == DuplicateConnection {
            self.connect.reached(remote);
            self.seeds.reached(remote);
        }
        let is_failure = !matches!(reason, Done | DuplicateConnection | Requested | Shutdown);
        if !outbound {
            self.not_let_in.failed(reason);
        }
        let is_tls = self.security.is_some();
        if what == DIAL_FAILED && is_ours(reason) {
            // Told once, for all of them.
            return debug!(%remote, reason = ended(reason, said), "{what}");
        }
        if outbound && is_failure {
            let why = match (reason, &self.security) {
                (Tls(fault), Some(security)) => format!("TLS: {}", security.explain(remote, fault)),
                _ => format!("{}; {}", ended(reason, said), remedy(reason, said, is_tls)),
            };
            self.isolation.failed(Endpoint::Address(remote), why.clone());
            let mut is_named = false;
            for (flag, named) in [("--connect", &mut self.connect), ("--seed-node", &mut self.seeds)] {
                for news in named.failed(remote, &why) {
                    is_named = true;
                    if news == News::Nothing {
                        debug!(%remote, reason = ended(reason, said), "still not reached");
                    }
                    tell(news, flag);
                }
            }
            if is_named {
                return;
            }
        }
        // What runs out on our side is for the operator to mend. A node of another network is a sign that --difficulty or
        // --reward are not what they are elsewhere. The rest happens in every network.
        let why = ended(reason, said);
        if matches!(reason, CloseReason::LocalResource(_)) {
            if let Some(withheld) = self.failures.admit(at) {
                warn!(%remote, reason = why, withheld, "{what}");
            }
        } else if let Some(why) = self.tls_failure(remote, outbound, reason) {
            if let Some(withheld) = self.failures.admit(at) {
                info!(%remote, withheld, "TLS: {why}");
            }
        } else if matches!(reason, WrongNetwork) || (is_tls && reason == SelfConnection) {
            if let Some(withheld) = self.failures.admit(at) {
                info!(%remote, reason = why, withheld, "{what}; {}", remedy(reason, said, is_tls));
            }
        } else if reason.blame() == Blame::Misbehaved && !matches!(reason, Tls(_)) {
            if let Some(withheld) = self.failures.admit(at) {
                info!(%remote, reason = why, withheld, "{what}");
            }
        } else if let Some((why, withheld)) = self.not_let_in.first_line(at, outbound, reason) {
            info!(%remote, withheld, "not let in {why}");
        } else if let Some(withheld) = self.usual_failures.admit(at) {
            debug!(%remote, reason = why, withheld, "{what}");
        }
    }

    /// What TLS refuses has lines of its own, which name the identities; but for a refusal that we hear of only when the
    /// handshake is done on our side.
    fn tls_failure(&self, remote: SocketAddr, outbound: bool, reason: CloseReason) -> Option<String> {
        let (CloseReason::Tls(fault), Some(security)) = (reason, &self.security) else { return None };
        // Whoever comes without TLS is one of many strangers, as whoever comes with it is where there is none.
        let is_stranger = fault == TlsFault::NotTls && !outbound;
        let is_new = fault.blame() != Blame::Lost && !is_stranger && !security.has_refused(remote, fault);
        is_new.then(|| security.explain(remote, fault))
    }
}

/// Has a dial failed for something that we lack, or that the proxy does?
fn is_ours(reason: CloseReason) -> bool {
    match reason {
        CloseReason::LocalResource(_) | CloseReason::LimitReached => true,
        CloseReason::Proxy(fault) => fault.is_of_all_dials(),
        _ => false,
    }
}

/// Those who are there to stay: whoever asks a question and leaves is no company.
fn peers_of(node: &LiveNode) -> usize {
    node.connected().filter(|peer| !is_client(&peer.user_agent)).count()
}

fn tell(news: News, flag: &str) {
    match news {
        // It is dialed again and again: said once, until something changes.
        News::Lost(Endpoint::Address(remote), why) => {
            warn!(%remote, "a node that {flag} names is not reached: {why}");
        }
        News::Lost(Endpoint::Name(name), why) => warn!(%name, "a node that {flag} names is not reached: {why}"),
        News::Nothing => {}
    }
}
