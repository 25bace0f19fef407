//! The search for a router that speaks UPnP: a datagram that asks, and where its answers lead.

use core::net::{Ipv4Addr, SocketAddrV4};

use super::http::header;

/// The port at which routers hear a search, as a group of the local network or each by itself.
pub const SEARCH_PORT: u16 = 1900;
/// What an answer may have, in bytes.
const ANSWER_MAX: usize = 2048;
/// What is searched for, the newest first.
const TARGETS: [&str; 3] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
];

/// The datagrams of a search.
pub fn searches() -> impl Iterator<Item = String> {
    TARGETS.into_iter().map(|target| {
        format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
        )
    })
}

/// Where the description is, in an answer from `router`. `None` for another's answer, and for one that leads anywhere else.
pub fn location(router: Ipv4Addr, from: Ipv4Addr, answer: &[u8]) -> Option<(SocketAddrV4, String)> {
    if from != router || answer.len() > ANSWER_MAX {
        return None;
    }
    let text = core::str::from_utf8(answer).ok()?;
    if !text.starts_with("HTTP/1.1 200") || !TARGETS.contains(&header(text, "st")?) {
        return None;
    }
    url(header(text, "location")?, router)
}

/// The port and the path of a URL at `router`.
pub(super) fn url(url: &str, router: Ipv4Addr) -> Option<(SocketAddrV4, String)> {
    let scheme = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
    let rest = url.get(scheme.len()..)?;
    let (host, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, "/"));
    let host = if host.contains(':') { host.parse().ok()? } else { SocketAddrV4::new(host.parse().ok()?, 80) };
    let is_path = path.bytes().all(|byte| byte.is_ascii_graphic()) && path.len() <= 512;
    (*host.ip() == router && host.port() != 0 && is_path).then(|| (host, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn answer(location: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nst: {}\r\nLOCATION: {location}\r\n\r\n", TARGETS[1])
    }

    #[test]
    fn an_answer_of_the_router_leads_to_its_description() {
        let found = location(ROUTER, ROUTER, answer("http://192.168.1.1:5000/rootDesc.xml").as_bytes());
        assert_eq!(found, Some((SocketAddrV4::new(ROUTER, 5000), "/rootDesc.xml".to_owned())));
        let plain = location(ROUTER, ROUTER, answer("HTTP://192.168.1.1").as_bytes());
        assert_eq!(plain, Some((SocketAddrV4::new(ROUTER, 80), "/".to_owned())));
    }

    /// A machine at home could send us to any server with our call.
    #[test]
    fn nobody_is_followed_to_another_machine() {
        for bad in [
            "http://192.168.1.9:5000/",
            "http://example.com/",
            "https://192.168.1.1/",
            "http://192.168.1.1:0/",
            "http://user@192.168.1.1/",
            "http://192.168.1.1/a b",
            "ü",
            "",
        ] {
            assert_eq!(location(ROUTER, ROUTER, answer(bad).as_bytes()), None, "{bad}");
        }
        let good = answer("http://192.168.1.1:5000/");
        assert_eq!(location(ROUTER, Ipv4Addr::new(192, 168, 1, 9), good.as_bytes()), None, "not the router's answer");
        let other = good.replace("InternetGatewayDevice:1", "MediaServer:1");
        assert_eq!(location(ROUTER, ROUTER, other.as_bytes()), None, "not a router's");
    }
}
