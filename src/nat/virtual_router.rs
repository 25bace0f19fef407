//! A router of the tests: forwards ports, speaks what it is told to, forgets, lies and loses what it is told to.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Job, JobKind, JobResult, Network, PortMapping, Settings, UpnpGrant};
use crate::mapping::{Mapped, Mapping, Unmapped, Via};
use crate::time::Instant;

pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
pub(super) const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
pub(super) const PUBLIC: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 1);
pub(super) const PORT: u16 = 7193;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) to: (Ipv4Addr, u16),
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct VirtualRouter {
    pub(super) speaks: BTreeSet<Via>,
    pub(super) forwards: BTreeMap<u16, Forward>,
    /// What it refuses with, by the code of either datagram protocol.
    pub(super) refuses: Option<u8>,
    /// What it grants at most, in seconds.
    pub(super) lease_max: u32,
    /// UPnP alone: it knows no leases.
    pub(super) only_permanent: bool,
    /// It hears nothing.
    pub(super) is_off: bool,
    pub(super) started: Instant,
    pub(super) heard: Vec<Via>,
}

impl VirtualRouter {
    pub(super) fn new(speaks: &[Via]) -> Self {
        VirtualRouter {
            speaks: speaks.iter().copied().collect(),
            forwards: BTreeMap::new(),
            refuses: None,
            lease_max: 86_400,
            only_permanent: false,
            is_off: false,
            started: Instant::ZERO,
            heard: Vec::new(),
        }
    }

    /// Forgets everything, as after a power cut.
    pub(super) fn restart(&mut self, now: Instant) {
        self.forwards.clear();
        self.started = now;
    }

    fn forget(&mut self, now: Instant) {
        self.forwards.retain(|_, forward| forward.until > now);
    }

    /// A port for whoever asks: the one that he has, the one that he wants, or the next that is free.
    fn forward(&mut self, now: Instant, to: (Ipv4Addr, u16), wanted: u16, lease: u32) -> u16 {
        let own = self.forwards.iter().find(|(_, forward)| forward.to == to).map(|(port, _)| *port);
        let free = |port: &u16| !self.forwards.contains_key(port);
        let port = own.unwrap_or_else(|| (wanted.max(1024)..).find(free).unwrap());
        self.forwards.insert(port, Forward { to, until: now + Duration::from_secs(lease.into()) });
        port
    }

    fn epoch(&self, now: Instant) -> [u8; 4] {
        (now.since(self.started).as_secs() as u32).to_be_bytes()
    }

    /// The answer to a datagram from us.
    pub(super) fn answer(&mut self, now: Instant, from: Ipv4Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        self.forget(now);
        let via = if bytes[0] == 2 { Via::Pcp } else { Via::NatPmp };
        self.heard.push(via);
        if self.is_off {
            return None;
        }
        if !self.speaks.contains(&via) {
            // One that knows only the older protocol answers the newer one in it.
            let is_older = via == Via::Pcp && self.speaks.contains(&Via::NatPmp);
            return is_older.then(|| [&[0, 0x81, 0, 1][..], &self.epoch(now)].concat());
        }
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        match via {
            Via::Pcp => {
                let (internal, wanted, lease) = (number(40), number(42), long(4).min(self.lease_max));
                let mut answer = bytes.to_vec();
                (answer[1], answer[3]) = (0x81, self.refuses.unwrap_or(0));
                let port =
                    if self.refuses.is_some() { wanted } else { self.change(now, (from, internal), wanted, lease) };
                answer[4..8].copy_from_slice(&lease.to_be_bytes());
                answer[8..12].copy_from_slice(&self.epoch(now));
                answer[42..44].copy_from_slice(&port.to_be_bytes());
                answer[44..60].copy_from_slice(&PUBLIC.to_ipv6_mapped().octets());
                Some(answer)
            }
            _ if bytes[1] == 0 => Some([&[0, 0x80, 0, 0][..], &self.epoch(now), &PUBLIC.octets()].concat()),
            _ => {
                let (internal, wanted, lease) = (number(4), number(6), long(8).min(self.lease_max));
                if let Some(code) = self.refuses {
                    return Some([&[0, 0x82, 0, code][..], &self.epoch(now)].concat());
                }
                let port = self.change(now, (from, internal), wanted, lease);
                let ports = [internal.to_be_bytes(), port.to_be_bytes()].concat();
                Some([&[0, 0x82, 0, 0][..], &self.epoch(now), &ports, &lease.to_be_bytes()].concat())
            }
        }
    }

    fn change(&mut self, now: Instant, to: (Ipv4Addr, u16), wanted: u16, lease: u32) -> u16 {
        if lease == 0 {
            self.forwards.retain(|_, forward| forward.to != to);
            return 0;
        }
        self.forward(now, to, wanted, lease)
    }

    /// What comes of a job.
    pub(super) fn work(&mut self, now: Instant, job: &Job) -> JobResult {
        self.forget(now);
        self.heard.push(Via::Upnp);
        if self.is_off || !self.speaks.contains(&Via::Upnp) {
            return Err(Unmapped::Silent);
        }
        let to = (job.own, job.internal_port);
        let JobKind::Keep { external_port, others, lease } = job.kind else {
            self.forwards.retain(|_, forward| forward.to != to);
            return Ok(None);
        };
        let is_free = |port: &u16| self.forwards.get(port).is_none_or(|forward| forward.to == to);
        let port = [external_port].into_iter().chain(others).find(is_free);
        let port = port.ok_or(Unmapped::NoPortFree(Via::Upnp))?;
        let lease = (!self.only_permanent).then(|| lease.min(Duration::from_secs(self.lease_max.into())));
        let until = lease.map_or(Instant::NEVER, |lease| now + lease);
        self.forwards.insert(port, Forward { to, until });
        Ok(Some(UpnpGrant { external_port: port, claimed: Some(IpAddr::V4(PUBLIC)), lease }))
    }
}

/// A machine, its router and the time.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) machine: PortMapping,
    pub(super) router: VirtualRouter,
    pub(super) now: Instant,
    pub(super) network: Result<Network, Unmapped>,
    pub(super) told: Vec<Mapping>,
    pub(super) restarts: usize,
    pub(super) is_released: bool,
    /// So many of the next datagrams are lost.
    pub(super) lost: usize,
    pub(super) looks: usize,
}

pub(super) fn network(own: Ipv4Addr) -> Network {
    Network { own: own.into(), router: ROUTER.into() }
}

impl Home {
    pub(super) fn new(methods: &[Via], router: VirtualRouter) -> Self {
        let settings = Settings { methods: methods.to_vec(), internal_port: PORT, lease: Duration::from_secs(3600) };
        Home {
            machine: PortMapping::new(settings, 7),
            router,
            now: Instant::from_millis(1000),
            network: Ok(network(OWN)),
            told: Vec::new(),
            restarts: 0,
            is_released: false,
            lost: 0,
            looks: 0,
        }
    }

    pub(super) fn start(mut self) -> Self {
        self.machine.start(self.now);
        self.settle();
        self
    }

    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while let Some(action) = self.machine.poll_action() {
            steps += 1;
            assert!(steps < 1000, "it goes round in a circle");
            match action {
                Action::Look => {
                    self.looks += 1;
                    self.machine.network(self.now, self.network);
                }
                Action::Send(_) if self.lost > 0 => self.lost -= 1,
                Action::Send(datagram) => {
                    let Ok(Network { own: IpAddr::V4(own), .. }) = self.network else { continue };
                    if let Some(answer) = self.router.answer(self.now, own, datagram.bytes()) {
                        self.machine.datagram(self.now, &answer);
                    }
                }
                Action::Upnp(job) => {
                    let result = self.router.work(self.now, &job);
                    self.machine.job_done(self.now, job.ticket, result);
                }
                Action::Tell(mapping) => self.told.push(mapping),
                Action::RouterRestarted => self.restarts += 1,
                Action::Released => self.is_released = true,
            }
        }
    }

    /// Time passes, from deadline to deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some(at) = self.machine.deadline().filter(|at| *at <= end) {
            ticks += 1;
            assert!(ticks < 100_000, "it spins");
            self.now = self.now.max(at);
            self.machine.tick(self.now);
            self.settle();
        }
        self.now = end;
    }

    pub(super) fn secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }

    /// What is forwarded to us, as it believes.
    pub(super) fn mapped(&self) -> Option<Mapped> {
        self.machine.state().mapped().copied()
    }

    /// What is really forwarded to our machine.
    pub(super) fn forwarded(&self) -> Vec<u16> {
        let alive = |forward: &Forward| forward.to == (OWN, PORT) && forward.until > self.now;
        self.router.forwards.iter().filter(|(_, forward)| alive(forward)).map(|(port, _)| *port).collect()
    }
}
