//! Names that are not looked up here: all of them where there is a proxy, and those of onion services.

use std::net::{IpAddr, SocketAddr};

use super::net_api::NetApi;
#[cfg(feature = "ws")]
use crate::link::web_socket::WebSocketTarget;
use crate::proto::peer::name::PeerName;

/// Why an onion service is not reached without a proxy.
pub(super) const ONION: &str =
    "names in .onion are reached through a proxy, as Tor is one, and are never looked up: give a proxy";

/// Where a name leads to that is not to be looked up; `None` where it is.
pub(super) fn not_looked_up(name: &PeerName, net: &mut impl NetApi) -> Option<Result<Vec<SocketAddr>, String>> {
    if !net.has_proxy() {
        return name.is_onion().then(|| Err(ONION.to_owned()));
    }
    // As it stands in a URL.
    if let Ok(ip) = name.host().parse::<IpAddr>() {
        return Some(Ok(vec![SocketAddr::new(ip, name.port())]));
    }
    if name.dns().is_none() {
        return Some(Err("an interface of this machine means nothing to a proxy: dial without one".to_owned()));
    }
    Some(net.stand_in(name.host(), name.port()).map(|address| vec![address]).map_err(|error| error.to_string()))
}

/// Before an address of a name is dialed: what a name that is dialed over WebSocket says to the server there.
#[cfg(feature = "ws")]
pub(super) fn note_web_socket(name: &PeerName, addresses: &[SocketAddr], net: &mut impl NetApi) {
    // A name has neither a host nor a path that could not stand in a request.
    if let Some(target) = name.web().and_then(|web| WebSocketTarget::new(name.authority(), web.path()).ok()) {
        net.set_web_socket(&target, addresses);
    }
}
