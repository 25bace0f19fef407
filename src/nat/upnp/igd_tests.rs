//! Whole conversations with a router that is played: by the bytes, as on the wire.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use super::http::header;
use super::xml::text_of;
use super::{Carrier, Entry, Igd};
use crate::mapping::{Unmapped, Via};
use crate::nat::{Job, JobKind, JobTicket};

const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const PORT: u16 = 7193;

/// A router by its UPnP alone.
struct Played {
    at: u16,
    entries: BTreeMap<u16, Entry>,
    only_permanent: bool,
    /// The last who asks has a port.
    overwrites: bool,
    /// Takes the port from us as soon as it is ours, so many times.
    steals: usize,
    /// Refuses to add, with this.
    refuses: Option<u16>,
    lease_max: u32,
    searches: usize,
    calls: Vec<String>,
    is_silent: bool,
}

impl Played {
    fn new() -> Self {
        Played {
            at: 5000,
            entries: BTreeMap::new(),
            only_permanent: false,
            overwrites: false,
            steals: 0,
            refuses: None,
            lease_max: u32::MAX,
            searches: 0,
            calls: Vec::new(),
            is_silent: false,
        }
    }

    fn call(&mut self, action: &str, body: &str) -> Result<String, u16> {
        let number = |name: &str| text_of(body, name).and_then(|text| text.parse::<u32>().ok());
        let port = number("NewExternalPort").unwrap_or(0) as u16;
        match action {
            "GetExternalIPAddress" => Ok("<NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>".to_owned()),
            "GetSpecificPortMappingEntry" => {
                let Entry { client, port, lease } = self.entries.get(&port).ok_or(714u16)?;
                Ok(format!(
                    "<NewInternalPort>{port}</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
                     <NewLeaseDuration>{lease}</NewLeaseDuration>"
                ))
            }
            "DeletePortMapping" => self.entries.remove(&port).map(|_| String::new()).ok_or(714),
            "AddPortMapping" => {
                let client: Ipv4Addr = text_of(body, "NewInternalClient").unwrap().parse().unwrap();
                let lease = number("NewLeaseDuration").unwrap();
                if let Some(code) = self.refuses {
                    return Err(code);
                }
                if self.only_permanent && lease != 0 {
                    return Err(725);
                }
                if !self.overwrites && self.entries.get(&port).is_some_and(|entry| entry.client != client) {
                    return Err(718);
                }
                let internal = number("NewInternalPort").unwrap() as u16;
                let stolen = self.steals > 0;
                self.steals -= usize::from(stolen);
                let client = if stolen { OTHER } else { client };
                self.entries.insert(port, Entry { client, port: internal, lease: lease.min(self.lease_max) });
                Ok(String::new())
            }
            other => panic!("{other}"),
        }
    }
}

impl Carrier for Played {
    fn search(&mut self, own: Ipv4Addr, router: Ipv4Addr, heard: &mut dyn FnMut(Ipv4Addr, &[u8]) -> bool) {
        assert_eq!((own, router), (OWN, ROUTER));
        self.searches += 1;
        if self.is_silent {
            return;
        }
        let answer = |ip: Ipv4Addr, port: u16| {
            format!(
                "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
                 LOCATION: http://{ip}:{port}/root.xml\r\n\r\n"
            )
        };
        // A neighbour is quicker.
        assert!(!heard(OTHER, answer(OTHER, 80).as_bytes()));
        assert!(!heard(ROUTER, answer(OTHER, 80).as_bytes()));
        assert!(heard(ROUTER, answer(ROUTER, self.at).as_bytes()));
    }

    fn exchange(&mut self, to: SocketAddrV4, request: &[u8]) -> Option<Vec<u8>> {
        assert_eq!(*to.ip(), ROUTER);
        if to.port() != self.at || self.is_silent {
            return None;
        }
        let request = String::from_utf8(request.to_vec()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        if head.starts_with("GET /root.xml ") {
            let description = "<root><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                               <controlURL>/ctl</controlURL></service></root>";
            return Some(format!("HTTP/1.1 200 OK\r\n\r\n{description}").into_bytes());
        }
        assert!(head.starts_with("POST /ctl "), "{head}");
        let action = header(head, "soapaction").unwrap().trim_matches('"').rsplit_once('#').unwrap().1.to_owned();
        self.calls.push(action.clone());
        Some(match self.call(&action, body) {
            Ok(body) => format!("HTTP/1.1 200 OK\r\n\r\n<s:Envelope>{body}</s:Envelope>").into_bytes(),
            Err(code) => {
                format!("HTTP/1.1 500 Fault\r\n\r\n<s:Fault><errorCode>{code}</errorCode></s:Fault>").into_bytes()
            }
        })
    }
}

fn keep(port: u16, lease: u64) -> Job {
    let others = [20_001, 20_002, 20_003, 20_004, 20_005, 20_006, 20_007, 20_008];
    let kind = JobKind::Keep { external_port: port, others, lease: Duration::from_secs(lease) };
    Job { ticket: JobTicket(1), kind, own: OWN, router: ROUTER, internal_port: PORT }
}

fn port_of(igd: &mut Igd, job: &Job, router: &mut Played) -> (u16, Option<u64>) {
    let grant = igd.work(job, router).unwrap().unwrap();
    assert_eq!(grant.claimed, Some("11.0.0.1".parse().unwrap()));
    (grant.external_port, grant.lease.map(|lease| lease.as_secs()))
}

#[test]
fn a_port_is_taken_renewed_and_given_back() {
    let (mut igd, mut router) = (Igd::default(), Played::new());
    for _ in 0..3 {
        assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router), (PORT, Some(600)));
    }
    assert_eq!((router.entries.len(), router.searches), (1, 1));
    let release = Job { kind: JobKind::Release, ..keep(0, 0) };
    assert_eq!(igd.work(&release, &mut router), Ok(None));
    assert!(router.entries.is_empty());
    let calls = router.calls.len();
    assert_eq!(igd.work(&release, &mut router), Ok(None));
    assert_eq!(router.calls.len(), calls, "there is nothing to give back");
}

/// Many routers let the last one who asks have a port.
#[test]
fn a_port_of_another_machine_is_not_taken_even_where_the_router_would_allow_it() {
    for overwrites in [false, true] {
        let (mut igd, mut router) = (Igd::default(), Played::new());
        router.overwrites = overwrites;
        router.entries.insert(PORT, Entry { client: OTHER, port: PORT, lease: 0 });
        router.entries.insert(20_001, Entry { client: OTHER, port: 1, lease: 0 });
        assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router).0, 20_002);
        assert_eq!(router.entries[&PORT].client, OTHER);
    }
}

#[test]
fn a_port_that_is_stolen_is_left_to_the_thief_and_not_taken_from_him_at_the_end() {
    let (mut igd, mut router) = (Igd::default(), Played::new());
    router.overwrites = true;
    router.steals = 2;
    assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router).0, 20_002);
    router.entries.insert(20_002, Entry { client: OTHER, port: 1, lease: 0 });
    assert_eq!(igd.work(&Job { kind: JobKind::Release, ..keep(0, 0) }, &mut router), Ok(None));
    assert_eq!(router.entries[&20_002].client, OTHER);
}

#[test]
fn only_permanent_and_only_short_leases_are_both_taken_as_they_are() {
    let (mut igd, mut router) = (Igd::default(), Played::new());
    router.only_permanent = true;
    assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router), (PORT, None));
    assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router), (PORT, None));
    let (mut igd, mut router) = (Igd::default(), Played::new());
    router.lease_max = 120;
    assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router), (PORT, Some(120)));
}

/// A restart moves the port of its calls: miniupnpd draws another each time.
#[test]
fn a_router_that_moved_is_searched_once_and_asked_there() {
    let (mut igd, mut router) = (Igd::default(), Played::new());
    port_of(&mut igd, &keep(PORT, 600), &mut router);
    (router.at, router.entries) = (6000, BTreeMap::new());
    assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router).0, PORT);
    assert_eq!((router.entries.len(), router.searches), (1, 2));
}

#[test]
fn a_router_that_is_gone_is_searched_once_for_each_job() {
    let (mut igd, mut router) = (Igd::default(), Played::new());
    port_of(&mut igd, &keep(PORT, 600), &mut router);
    router.is_silent = true;
    for searches in [2, 3] {
        assert_eq!(igd.work(&keep(PORT, 600), &mut router), Err(Unmapped::Silent));
        assert_eq!(router.searches, searches);
    }
    router.is_silent = false;
    assert_eq!(port_of(&mut igd, &keep(PORT, 600), &mut router).0, PORT);
}

#[test]
fn a_refusal_is_told_by_its_reason() {
    for (code, why) in [
        (606, Unmapped::NotAuthorized(Via::Upnp)),
        (728, Unmapped::NoPortFree(Via::Upnp)),
        (718, Unmapped::NoPortFree(Via::Upnp)),
        (501, Unmapped::Other(Via::Upnp, 501)),
    ] {
        let (mut igd, mut router) = (Igd::default(), Played::new());
        router.refuses = Some(code);
        assert_eq!(igd.work(&keep(PORT, 600), &mut router), Err(why));
        assert!(router.entries.is_empty() && router.calls.len() < 40);
    }
}

#[test]
fn a_port_that_was_left_for_another_is_given_back() {
    let (mut igd, mut router) = (Igd::default(), Played::new());
    port_of(&mut igd, &keep(PORT, 600), &mut router);
    assert_eq!(port_of(&mut igd, &keep(4000, 600), &mut router).0, 4000);
    assert_eq!(router.entries.keys().copied().collect::<Vec<_>>(), [4000]);
}
