//! One port that a router should forward to us: which protocol is asked, when it is renewed, and what becomes of it.
//!
//! ```text
//!   dormant -> looking -> asking (PCP, then NAT-PMP, then UPnP) -> resting -> looking -> asking (to renew) -> ...
//!                 ^                     | nothing works               | the lease is half over
//!                 +------- resting <----+                             v
//!                                                                  releasing -> released
//! ```
//!
//! Before each round the network is looked at anew: our address or the router may be another one. A mapping is asked for again at half
//! of its life; that is also when one that the router has lost, or given to somebody else, is found and replaced. A router that is
//! silent then is asked again in ever shorter steps until the lease is over, and only then the mapping counts as lost.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use super::epoch::Epoch;
use super::job::{Job, JobKind, JobResult, JobTicket};
use super::question::{Answer, Datagram, Question};
use super::{natpmp, pcp};
use crate::mapping::{Mapped, Mapping, Unmapped, Via};
use crate::rng::Rng;
use crate::time::Instant;

/// How long the first datagram waits for its answer; each further one twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Datagrams of one question before the router counts as silent: not quite four seconds.
const TRIES: u32 = 4;
/// The same of the question that gives a port back: our stop waits for it.
const RELEASE_TRIES: u32 = 3;
/// How long a job over UPnP may take, and one that gives a port back.
const JOB_WAIT: Duration = Duration::from_secs(30);
const RELEASE_JOB_WAIT: Duration = Duration::from_millis(1_800);
/// Time before everything is tried again: so long first, twice as long each time, so long at most.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Time between two renewals at least, however short a lease is.
const RENEW_MIN: Duration = Duration::from_secs(1);
/// Time between two looks that a changed address of ours causes.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Ports that are given out at random: above those of services.
const PORTS: core::ops::Range<u16> = 20_000..60_000;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the router may be asked, in this order.
    pub methods: Vec<Via>,
    /// The port of our listener.
    pub internal_port: u16,
    /// For how long a mapping is asked for; it is renewed at half of it.
    pub lease: Duration,
}

/// Where we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Our address, as the router sees it.
    pub own: IpAddr,
    /// The router.
    pub router: IpAddr,
}

/// What is to be done for a [`PortMapping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look where we are, and answer with [`PortMapping::network`].
    Look,
    /// Send this from our address to the router, at [`ROUTER_PORT`](super::ROUTER_PORT).
    Send(Datagram),
    /// Do this, and answer with [`PortMapping::job_done`].
    Upnp(Job),
    /// Something has changed.
    Tell(Mapping),
    /// The router has lost its memory; what was lost is mapped again already.
    RouterRestarted,
    /// Nothing is mapped any more, as far as we can see to it: the end.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Dormant,
    Looking,
    Asking(Round),
    Resting(Instant),
    Releasing(Round),
    Released,
}

/// A question that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    via: Via,
    /// What was granted already; only the router's address is asked for.
    granted: Option<Granted>,
    tries: u32,
    /// When the next datagram leaves, or patience is over.
    next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Granted {
    external_port: u16,
    claimed: Option<IpAddr>,
    lease: Option<Duration>,
    epoch: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    mapped: Mapped,
    /// When the router forgets it; for one that it never forgets, when we would have it forgotten.
    until: Instant,
}

/// The machine. Each call is one input; then [`poll_action`](PortMapping::poll_action) until it says `None`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use spacetime_network::mapping::Via;
/// use spacetime_network::nat::{Action, Network, PortMapping, Settings};
/// use spacetime_network::time::Instant;
///
/// let settings = Settings { methods: vec![Via::Pcp], internal_port: 7193, lease: Duration::from_secs(3600) };
/// let mut mapping = PortMapping::new(settings, 7);
/// mapping.start(Instant::ZERO);
/// assert_eq!(mapping.poll_action(), Some(Action::Look));
/// let network = Network { own: "192.168.1.2".parse()?, router: "192.168.1.1".parse()? };
/// mapping.network(Instant::ZERO, Ok(network));
/// let sent = std::iter::from_fn(|| mapping.poll_action()).find_map(|action| match action {
///     Action::Send(datagram) => Some(datagram.bytes().len()),
///     _ => None,
/// });
/// assert_eq!(sent, Some(60));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct PortMapping {
    settings: Settings,
    rng: Rng,
    stage: Stage,
    network: Option<Network>,
    looked: Instant,
    held: Option<Held>,
    nonce: [u8; 12],
    /// The port that is asked for.
    wanted: u16,
    epoch: Epoch,
    /// Searches in a row that found nothing.
    failures: u32,
    /// Why this search has found nothing so far.
    why: Unmapped,
    state: Mapping,
    tickets: u64,
    actions: VecDeque<Action>,
}

impl PortMapping {
    /// One that does nothing until it is started. `seed` decides whatever a stranger must not guess.
    pub fn new(settings: Settings, seed: u64) -> Self {
        PortMapping {
            wanted: settings.internal_port,
            settings,
            rng: Rng::from_seed(seed),
            stage: Stage::Dormant,
            network: None,
            looked: Instant::ZERO,
            held: None,
            nonce: [0; 12],
            epoch: Epoch::default(),
            failures: 0,
            why: Unmapped::Silent,
            state: Mapping::NotNeeded,
            tickets: 0,
            actions: VecDeque::new(),
        }
    }

    /// A mapping is wanted from now on.
    pub fn start(&mut self, now: Instant) {
        if self.stage == Stage::Dormant {
            self.look(now);
        }
    }

    /// Has nobody started it yet?
    pub fn is_dormant(&self) -> bool {
        self.stage == Stage::Dormant
    }

    /// A connection of ours left from this address. One that is not where we were is worth a look.
    pub fn seen_own(&mut self, now: Instant, own: IpAddr) {
        let own = own.to_canonical();
        let moved = self.network.is_none_or(|network| network.own.is_ipv4() == own.is_ipv4() && network.own != own);
        if moved && matches!(self.stage, Stage::Resting(_)) && now.since(self.looked) >= LOOK_EVERY {
            self.look(now);
        }
    }

    /// Where we are, or why that is nowhere.
    pub fn network(&mut self, now: Instant, network: Result<Network, Unmapped>) {
        if self.stage != Stage::Looking {
            return;
        }
        let network = match network {
            Ok(network) => network,
            Err(why) => return self.unanswered(now, why),
        };
        if self.network != Some(network) {
            // What was mapped leads to an address that is not ours any more, or is of another router.
            self.network = Some(network);
            self.held = None;
            self.epoch.forget();
        }
        match self.held {
            Some(held) => self.ask(now, held.mapped.via),
            None => self.search(now),
        }
    }

    /// A datagram from the router's address.
    pub fn datagram(&mut self, now: Instant, bytes: &[u8]) {
        let (Stage::Asking(round) | Stage::Releasing(round)) = self.stage else { return };
        let Some(answer) = self.question(&round).and_then(|question| question.answer(bytes)) else { return };
        if matches!(self.stage, Stage::Releasing(_)) {
            return self.released();
        }
        match answer {
            Answer::Granted { lifetime: 0, .. } => self.refused(now, Unmapped::NoPortFree(round.via)),
            Answer::Granted { external_port, claimed, lifetime, epoch } => {
                let lease = Some(Duration::from_secs(lifetime.into()));
                let granted = Granted { external_port, claimed, lease, epoch: Some(epoch) };
                if round.via == Via::NatPmp {
                    self.transmit(now, Round { granted: Some(granted), tries: 0, ..round });
                } else {
                    self.granted(now, round.via, granted);
                }
            }
            Answer::Address { claimed, epoch } => {
                if let Some(granted) = round.granted {
                    let granted = Granted { claimed: Some(claimed), epoch: Some(epoch), ..granted };
                    self.granted(now, round.via, granted);
                }
            }
            // The mapping stands, whatever is said of the address.
            Answer::Refused { why } => match round.granted {
                Some(granted) => self.granted(now, round.via, granted),
                None => self.refused(now, why),
            },
        }
    }

    /// What came of a job. Of one that was given up it is too late.
    pub fn job_done(&mut self, now: Instant, ticket: JobTicket, result: JobResult) {
        if ticket != JobTicket(self.tickets) {
            return;
        }
        match (self.stage, result) {
            (Stage::Releasing(Round { via: Via::Upnp, .. }), _) => self.released(),
            (Stage::Asking(Round { via: Via::Upnp, .. }), Ok(Some(grant))) => {
                let (external_port, claimed, lease) = (grant.external_port, grant.claimed, grant.lease);
                self.granted(now, Via::Upnp, Granted { external_port, claimed, lease, epoch: None });
            }
            (Stage::Asking(Round { via: Via::Upnp, .. }), Ok(None)) => self.unanswered(now, Unmapped::Silent),
            (Stage::Asking(Round { via: Via::Upnp, .. }), Err(Unmapped::Silent)) => {
                self.unanswered(now, Unmapped::Silent);
            }
            (Stage::Asking(Round { via: Via::Upnp, .. }), Err(why)) => self.refused(now, why),
            _ => {}
        }
    }

    /// The deadline has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        match self.stage {
            Stage::Resting(_) => self.look(now),
            Stage::Asking(round) if round.via != Via::Upnp && round.tries < TRIES => self.transmit(now, round),
            Stage::Asking(round) => match round.granted {
                Some(granted) => self.granted(now, round.via, granted),
                None => self.unanswered(now, Unmapped::Silent),
            },
            Stage::Releasing(round) if round.via != Via::Upnp && round.tries < RELEASE_TRIES => {
                self.transmit(now, round);
            }
            Stage::Releasing(_) => self.released(),
            Stage::Dormant | Stage::Looking | Stage::Released => {}
        }
    }

    /// Nothing is wanted any more: what is mapped is given back. [`Action::Released`] follows, in two seconds at most.
    pub fn stop(&mut self, now: Instant) {
        let via = match (self.stage, self.held) {
            (Stage::Releasing(_) | Stage::Released, _) => return,
            (_, Some(held)) => held.mapped.via,
            // It may have been granted, and the answer is on its way.
            (Stage::Asking(round), None) => round.via,
            _ => return self.released(),
        };
        let round = Round { via, granted: None, tries: 0, next: now };
        self.stage = Stage::Releasing(round);
        match via {
            Via::Upnp => self.give(now, JobKind::Release, RELEASE_JOB_WAIT),
            Via::Pcp | Via::NatPmp => self.transmit(now, round),
        }
    }

    /// When [`tick`](PortMapping::tick) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asking(round) | Stage::Releasing(round) => Some(round.next),
            Stage::Resting(until) => Some(until),
            Stage::Dormant | Stage::Looking | Stage::Released => None,
        }
    }

    /// Is a datagram of the router waited for?
    pub fn awaits_datagrams(&self) -> bool {
        matches!(self.stage, Stage::Asking(round) | Stage::Releasing(round) if round.via != Via::Upnp)
    }

    /// How it stands.
    pub fn state(&self) -> Mapping {
        self.state
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn look(&mut self, now: Instant) {
        self.looked = now;
        self.stage = Stage::Looking;
        self.actions.push_back(Action::Look);
    }

    /// Asks by the first of the methods that go here.
    fn search(&mut self, now: Instant) {
        self.why = Unmapped::Silent;
        if self.failures == 0 {
            self.tell(Mapping::Asking);
        }
        // Another mapping than the one before.
        self.nonce.iter_mut().zip(self.rng.next_u64().to_be_bytes()).for_each(|(to, from)| *to = from);
        self.nonce.iter_mut().skip(8).zip(self.rng.next_u64().to_be_bytes()).for_each(|(to, from)| *to = from);
        let first = self.methods().next();
        match first {
            Some(first) => self.ask(now, first),
            None => self.fail(now),
        }
    }

    /// What can be asked here: the older protocols know only IPv4.
    fn methods(&self) -> impl Iterator<Item = Via> {
        let is_v4 = self.network.is_some_and(|network| network.own.is_ipv4());
        self.settings.methods.iter().copied().filter(move |via| is_v4 || *via == Via::Pcp)
    }

    fn ask(&mut self, now: Instant, via: Via) {
        let round = Round { via, granted: None, tries: 0, next: now };
        self.stage = Stage::Asking(round);
        if via != Via::Upnp {
            return self.transmit(now, round);
        }
        let others = core::array::from_fn(|_| {
            let step = self.rng.below(u64::from(PORTS.end - PORTS.start));
            PORTS.start.saturating_add(u16::try_from(step).unwrap_or(0))
        });
        let kind = JobKind::Keep { external_port: self.wanted, others, lease: self.settings.lease };
        self.give(now, kind, JOB_WAIT);
    }

    fn give(&mut self, now: Instant, kind: JobKind, patience: Duration) {
        let Some(Network { own: IpAddr::V4(own), router: IpAddr::V4(router) }) = self.network else {
            // UPnP is not asked there.
            return match self.stage {
                Stage::Releasing(_) => self.released(),
                _ => self.unanswered(now, Unmapped::NotSupported(Via::Upnp)),
            };
        };
        self.tickets += 1;
        let ticket = JobTicket(self.tickets);
        let internal_port = self.settings.internal_port;
        self.actions.push_back(Action::Upnp(Job { ticket, kind, own, router, internal_port }));
        if let Stage::Asking(round) | Stage::Releasing(round) = &mut self.stage {
            round.next = now + patience;
        }
    }

    fn transmit(&mut self, now: Instant, round: Round) {
        let tries = round.tries.saturating_add(1);
        let wait = FIRST_WAIT.saturating_mul(1 << round.tries.min(8));
        let round = Round { tries, next: now + wait, ..round };
        match &mut self.stage {
            Stage::Releasing(stage) | Stage::Asking(stage) => *stage = round,
            _ => return,
        }
        if let Some(question) = self.question(&round) {
            self.actions.push_back(Action::Send(question.datagram()));
        }
    }

    /// What a round asks, in datagrams.
    fn question(&self, round: &Round) -> Option<Question> {
        let is_release = matches!(self.stage, Stage::Releasing(_));
        let lifetime = if is_release { 0 } else { u32::try_from(self.settings.lease.as_secs()).unwrap_or(u32::MAX) };
        // To give it back, RFC 6886 wants 0 here and RFC 6887 allows it.
        let external_port = if is_release { 0 } else { self.wanted };
        let internal_port = self.settings.internal_port;
        Some(match round.via {
            Via::NatPmp if round.granted.is_some() => Question::Address,
            Via::NatPmp => Question::NatPmp(natpmp::Ask { internal_port, external_port, lifetime }),
            Via::Pcp => {
                let (client, nonce) = (self.network?.own, self.nonce);
                Question::Pcp(pcp::Ask { client, nonce, internal_port, external_port, lifetime })
            }
            Via::Upnp => return None,
        })
    }

    fn granted(&mut self, now: Instant, via: Via, granted: Granted) {
        let Some(network) = self.network else { return };
        if granted.epoch.is_some_and(|epoch| self.epoch.has_restarted(now, epoch)) {
            self.actions.push_back(Action::RouterRestarted);
        }
        let internal = SocketAddr::new(network.own, self.settings.internal_port);
        let (external_port, claimed, lease) = (granted.external_port, granted.claimed, granted.lease);
        let mapped = Mapped { via, internal, external_port, claimed, lease };
        // A router may grant more than was asked for, and forget it all the same.
        let life = lease.unwrap_or(self.settings.lease).min(self.settings.lease);
        self.held = Some(Held { mapped, until: now + life });
        self.wanted = external_port;
        self.failures = 0;
        self.stage = Stage::Resting(now + (life / 2).max(RENEW_MIN));
        self.tell(Mapping::Mapped(mapped));
    }

    /// The router has said no: what was mapped is not any more.
    fn refused(&mut self, now: Instant, why: Unmapped) {
        let (Stage::Asking(Round { via, .. }), was_held) = (self.stage, self.held.take().is_some()) else { return };
        if was_held {
            return self.search(now);
        }
        self.note(why);
        let next = self.methods().skip_while(|other| *other != via).nth(1);
        match next {
            Some(next) => {
                self.epoch.forget();
                self.ask(now, next);
            }
            None => self.fail(now),
        }
    }

    /// Nobody has answered, or there was nobody to ask: what is mapped stands until its lease is over.
    fn unanswered(&mut self, now: Instant, why: Unmapped) {
        if let Some(held) = self.held {
            let left = held.until.since(now);
            if left >= RENEW_MIN.saturating_mul(2) {
                self.stage = Stage::Resting(now + left / 2);
                return;
            }
        }
        match self.stage {
            Stage::Asking(_) => self.refused(now, why),
            _ => {
                self.held = None;
                self.why = why;
                self.fail(now);
            }
        }
    }

    fn note(&mut self, why: Unmapped) {
        if why.weight() >= self.why.weight() {
            self.why = why;
        }
    }

    /// All was tried.
    fn fail(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.wanted = self.settings.internal_port;
        self.stage = Stage::Resting(now + self.rng.jitter(pause, 20));
        self.tell(Mapping::Failed(self.why));
    }

    fn released(&mut self) {
        self.held = None;
        self.stage = Stage::Released;
        self.tell(Mapping::Off);
        self.actions.push_back(Action::Released);
    }

    /// Says how it stands, if that is news: how long a lease is still is none.
    fn tell(&mut self, state: Mapping) {
        let without_lease = |state: Mapping| match state {
            Mapping::Mapped(mapped) => Mapping::Mapped(Mapped { lease: None, ..mapped }),
            other => other,
        };
        let is_news = without_lease(state) != without_lease(self.state);
        self.state = state;
        if is_news {
            self.actions.push_back(Action::Tell(state));
        }
    }
}
