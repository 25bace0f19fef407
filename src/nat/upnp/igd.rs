//! A whole conversation with a router over UPnP: found, asked what it has, told what we want.
//!
//! Before a port is taken its entry is read, for many routers let the last one who asks have a port; and after it too, for the lease that
//! was really given. What the router said of itself is kept until a call fails to reach it: a restart may have moved its port.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use super::description::{Control, control};
use super::soap::{self, Entry, Outcome};
use super::{http, ssdp};
use crate::mapping::{Unmapped, Via};
use crate::nat::job::{Job, JobKind, JobResult, UpnpGrant};

/// Another machine has the port, or the router itself.
const CONFLICT: [u16; 2] = [718, 729];
/// The router knows only mappings for ever.
const ONLY_PERMANENT: u16 = 725;
/// Not now, or not to us.
const NOT_AUTHORIZED: u16 = 606;
/// No mapping is left.
const NO_MORE_MAPPINGS: u16 = 728;

/// Whoever has sockets for it. Both calls wait, for a time that he chooses.
pub trait Carrier {
    /// Sends these datagrams from `own` to all who hear searches, and to the router alone. Gives the answers to `heard`, until it has
    /// what it wants and says so by true.
    fn search(&mut self, own: Ipv4Addr, router: Ipv4Addr, heard: &mut dyn FnMut(Ipv4Addr, &[u8]) -> bool);

    /// Connects, sends this, and reads until [`is_whole`](super::is_whole) or [`LIMIT`](super::LIMIT); `None` when that did not go.
    fn exchange(&mut self, to: SocketAddrV4, request: &[u8]) -> Option<Vec<u8>>;
}

/// What is known of the router.
#[derive(Debug, Default)]
pub struct Igd {
    control: Option<Control>,
    /// The port that it forwards to us.
    granted: Option<u16>,
    only_permanent: bool,
}

/// A call could not be made, or its answer was none.
struct Unreached;

impl Igd {
    /// Does a job.
    ///
    /// # Errors
    ///
    /// Why no port is forwarded.
    pub fn work(&mut self, job: &Job, carrier: &mut impl Carrier) -> JobResult {
        if self.control.as_ref().is_some_and(|control| *control.host.ip() != job.router) {
            *self = Igd::default();
        }
        let was_known = self.control.is_some();
        match self.try_work(job, carrier) {
            Ok(result) => result,
            // It may be elsewhere since.
            Err(Unreached) if was_known => {
                self.control = None;
                self.try_work(job, carrier).unwrap_or(Err(Unmapped::Silent))
            }
            Err(Unreached) => Err(Unmapped::Silent),
        }
    }

    fn try_work(&mut self, job: &Job, carrier: &mut impl Carrier) -> Result<JobResult, Unreached> {
        if job.kind == JobKind::Release && self.granted.is_none() {
            return Ok(Ok(None));
        }
        let control = match &self.control {
            Some(known) => known.clone(),
            None => match find(job, carrier)? {
                Some(found) => self.control.insert(found).clone(),
                None => return Ok(Err(Unmapped::NotSupported(Via::Upnp))),
            },
        };
        match job.kind {
            JobKind::Keep { external_port, others, lease } => {
                let ports = [&[external_port], &others[..]].concat();
                self.keep(job, &control, (&ports, lease), carrier)
            }
            JobKind::Release => {
                if let Some(port) = self.granted {
                    give_back(job, &control, port, carrier)?;
                }
                self.granted = None;
                Ok(Ok(None))
            }
        }
    }

    /// Has the first of these ports forwarded that nobody else has.
    fn keep(
        &mut self,
        job: &Job,
        control: &Control,
        (ports, lease): (&[u16], Duration),
        carrier: &mut impl Carrier,
    ) -> Result<JobResult, Unreached> {
        let asked = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        for port in ports {
            if read(control, *port, carrier)?.is_some_and(|entry| !is_ours(&entry, job)) {
                continue;
            }
            let refused = match self.add(job, control, (*port, asked), carrier)? {
                Outcome::Done(_) => None,
                Outcome::Refused(code) => Some(code),
            };
            match refused {
                None => {}
                Some(code) if CONFLICT.contains(&code) => continue,
                Some(NOT_AUTHORIZED) => return Ok(Err(Unmapped::NotAuthorized(Via::Upnp))),
                Some(NO_MORE_MAPPINGS) => return Ok(Err(Unmapped::NoPortFree(Via::Upnp))),
                Some(code) => return Ok(Err(Unmapped::Other(Via::Upnp, code))),
            }
            let entry = read(control, *port, carrier)?;
            if entry.is_some_and(|entry| !is_ours(&entry, job)) {
                continue;
            }
            if let Some(former) = self.granted.replace(*port).filter(|former| former != port) {
                give_back(job, control, former, carrier)?;
            }
            let given = entry.map_or(if self.only_permanent { 0 } else { asked }, |entry| entry.lease.min(asked));
            let lease = (given != 0).then(|| Duration::from_secs(given.into()));
            let claimed = match invoke(control.host, &soap::get_external_address(control), carrier)? {
                Outcome::Done(body) => soap::external_address(&body),
                Outcome::Refused(_) => None,
            };
            return Ok(Ok(Some(UpnpGrant { external_port: *port, claimed, lease })));
        }
        Ok(Err(Unmapped::NoPortFree(Via::Upnp)))
    }

    fn add(
        &mut self,
        job: &Job,
        control: &Control,
        (port, lease): (u16, u32),
        carrier: &mut impl Carrier,
    ) -> Result<Outcome, Unreached> {
        let mut ask = |lease| {
            let request = soap::add(control, port, (job.own, job.internal_port), lease);
            invoke(control.host, &request, carrier)
        };
        let first = ask(if self.only_permanent { 0 } else { lease })?;
        if first != Outcome::Refused(ONLY_PERMANENT) || self.only_permanent {
            return Ok(first);
        }
        self.only_permanent = true;
        ask(0)
    }
}

fn is_ours(entry: &Entry, job: &Job) -> bool {
    entry.client == job.own && entry.port == job.internal_port
}

/// Searches for the router; `None` for one that forwards no ports.
fn find(job: &Job, carrier: &mut impl Carrier) -> Result<Option<Control>, Unreached> {
    let mut found = None;
    carrier.search(job.own, job.router, &mut |from, answer| {
        found = ssdp::location(job.router, from, answer);
        found.is_some()
    });
    let (host, path) = found.ok_or(Unreached)?;
    let answer = carrier.exchange(host, &http::get(host, &path)).ok_or(Unreached)?;
    let response = http::parse(&answer).filter(|response| response.status == 200).ok_or(Unreached)?;
    Ok(control(host, &response.body))
}

fn invoke(host: SocketAddrV4, request: &[u8], carrier: &mut impl Carrier) -> Result<Outcome, Unreached> {
    let answer = carrier.exchange(host, request).ok_or(Unreached)?;
    http::parse(&answer).and_then(|response| soap::outcome(&response)).ok_or(Unreached)
}

/// Whom a port is forwarded to; `None` when to nobody, or when the router does not tell.
fn read(control: &Control, port: u16, carrier: &mut impl Carrier) -> Result<Option<Entry>, Unreached> {
    Ok(match invoke(control.host, &soap::get_entry(control, port), carrier)? {
        Outcome::Done(body) => soap::entry(&body),
        Outcome::Refused(_) => None,
    })
}

/// Gives a port back, unless it is another's by now.
fn give_back(job: &Job, control: &Control, port: u16, carrier: &mut impl Carrier) -> Result<(), Unreached> {
    if read(control, port, carrier)?.is_none_or(|entry| is_ours(&entry, job)) {
        invoke(control.host, &soap::delete(control, port), carrier)?;
    }
    Ok(())
}
