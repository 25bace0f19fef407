//! Whether others can reach this node: for which listener a router is asked for a port, and how that is told to people.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use spacetime_network::address::Scope;
use spacetime_network::driver::node::PortRequest;
use spacetime_network::mapping::{Mapping, Via};
use spacetime_network::proto::peer::Reach;

use crate::cli::{NatArgs, NatMode};

/// What the router is asked for; `None` when nobody is asked: by the operator's will, because he knows the address himself, or since
/// nobody beyond this machine could come anyway.
pub(crate) fn request(args: &NatArgs, listening: &[SocketAddr], external: &[SocketAddr]) -> Option<PortRequest> {
    let methods = match args.nat {
        NatMode::None => return None,
        NatMode::Auto => PortRequest::all_methods(),
        NatMode::Pcp => vec![Via::Pcp],
        NatMode::Natpmp => vec![Via::NatPmp],
        NatMode::Upnp => vec![Via::Upnp],
    };
    let when_private = args.nat == NatMode::Auto;
    // What the operator says of the other side of the router he knows from there.
    if when_private && external.iter().any(SocketAddr::is_ipv4) {
        return None;
    }
    let port = listening.iter().find(|address| may_be_reached(address.ip()))?.port();
    Some(PortRequest { methods, when_private, port, lease: args.lease() })
}

/// Does somebody listen there to whom a router at home could lead?
fn may_be_reached(listening: IpAddr) -> bool {
    let is_v4 = listening.to_canonical().is_ipv4();
    is_v4 && (listening.is_unspecified() || Scope::of(listening) == Scope::Private)
}

/// Whether others reach us, as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReachView {
    /// Somebody has come from the internet.
    is_reached: bool,
    /// What is told to others, besides the listeners' ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    announced: Option<String>,
    /// The address at which most of those see us whom we dialed.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
    /// off, notNeeded, asking, mapped or failed.
    mapping: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapped_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    router_claims: Option<String>,
    second_router: bool,
    /// The same in words.
    words: String,
}

impl ReachView {
    pub(crate) fn of(reach: &Reach) -> Self {
        let mapped = reach.mapping.mapped();
        ReachView {
            is_reached: reach.is_reached,
            announced: reach.announced().map(|address| address.to_string()),
            seen: reach.seen.map(|seen| seen.to_string()),
            mapping: match reach.mapping {
                Mapping::Off => "off",
                Mapping::NotNeeded => "notNeeded",
                Mapping::Asking => "asking",
                Mapping::Mapped(_) => "mapped",
                Mapping::Failed(_) => "failed",
            },
            mapped_by: mapped.map(|mapped| mapped.via.name()),
            external_port: mapped.map(|mapped| mapped.external_port),
            router_claims: mapped.and_then(|mapped| mapped.claimed).map(|claimed| claimed.to_string()),
            second_router: reach.has_second_router(),
            words: words(reach),
        }
    }
}

/// Whether others reach us, and why not, in a sentence.
pub(crate) fn words(reach: &Reach) -> String {
    let router = match reach.mapping {
        Mapping::Off => "no router is asked for a port".to_owned(),
        Mapping::NotNeeded => {
            "no connection has left from a private address, so that no router is asked for a port".to_owned()
        }
        Mapping::Asking => "the router is being asked for a port".to_owned(),
        Mapping::Failed(why) => format!("no port is forwarded: {why}"),
        Mapping::Mapped(mapped) => {
            let (via, port) = (mapped.via, mapped.external_port);
            match (reach.announced(), reach.has_second_router()) {
                (_, true) if !reach.is_reached => format!(
                    "port {port} is forwarded (by {via}), but there seems to be a second router: the first says that its address is {}, \
                     {}; forward the port there too",
                    mapped.claimed.map_or_else(|| "unknown".to_owned(), |claimed| claimed.to_string()),
                    reach.seen.map_or_else(
                        || "which is not of the internet".to_owned(),
                        |seen| format!("and peers see {seen}")
                    ),
                ),
                (Some(address), _) => format!("port {port} is forwarded (by {via}), and peers are told of {address}"),
                (None, _) => {
                    format!("port {port} is forwarded (by {via}), and no peer has said yet at which address it sees us")
                }
            }
        }
    };
    let came = if reach.is_reached { "reached from the internet" } else { "nobody has come from the internet yet" };
    format!("{came}; {router}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use spacetime_network::mapping::{Mapped, Unmapped};

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn port(nat: NatMode, listening: &[&str], external: &[&str]) -> Option<u16> {
        let args = NatArgs { nat, nat_lease: 60 };
        request(&args, &addresses(listening), &addresses(external)).map(|request| request.port)
    }

    #[test]
    fn a_router_is_asked_for_a_listener_that_others_could_reach_and_for_no_other() {
        assert_eq!(port(NatMode::Auto, &["127.0.0.1:1", "0.0.0.0:2"], &[]), Some(2));
        assert_eq!(port(NatMode::Auto, &["192.168.1.2:3"], &[]), Some(3));
        for listening in [&["127.0.0.1:1"][..], &["[::]:1"], &["45.1.1.1:1"], &[]] {
            assert_eq!(port(NatMode::Upnp, listening, &[]), None, "{listening:?}");
        }
        assert_eq!(port(NatMode::None, &["0.0.0.0:2"], &[]), None);
    }

    #[test]
    fn an_operator_who_knows_the_address_is_believed_unless_he_asks_all_the_same() {
        assert_eq!(port(NatMode::Auto, &["0.0.0.0:2"], &["45.1.1.1:9"]), None);
        assert_eq!(port(NatMode::Auto, &["0.0.0.0:2"], &["[2a00::1]:9"]), Some(2));
        assert_eq!(port(NatMode::Pcp, &["0.0.0.0:2"], &["45.1.1.1:9"]), Some(2));
    }

    #[test]
    fn people_are_told_whether_they_are_reached_and_why_not() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let failed = Reach { mapping: Mapping::Failed(Unmapped::Silent), ..Reach::default() };
        assert!(words(&failed).contains("switch on UPnP or NAT-PMP"), "{}", words(&failed));
        let internal = "192.168.1.2:1".parse().unwrap();
        let mapped = Mapped { via: Via::Upnp, internal, external_port: 4000, claimed: ip("10.0.0.1"), lease: None };
        let second = Reach { mapping: Mapping::Mapped(mapped), seen: ip("11.0.0.1"), is_reached: false };
        assert!(words(&second).contains("second router"), "{}", words(&second));
        let reached = Reach { is_reached: true, ..second };
        assert_eq!(
            words(&reached),
            "reached from the internet; port 4000 is forwarded (by UPnP), and peers are told of 11.0.0.1:4000"
        );
    }
}
