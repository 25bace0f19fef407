//! Where a router takes calls: the control address of the service that forwards ports, in the description of its devices.

use core::net::SocketAddrV4;

use super::ssdp::url;
use super::xml::{Token, Tokens, plain};

/// Which service forwards ports. The first of these that a router has is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// WANIPConnection, version 2.
    Ip2,
    /// Version 1.
    Ip1,
    /// WANPPPConnection, as behind a modem.
    Ppp1,
}

impl Service {
    const ALL: [Service; 3] = [Service::Ip2, Service::Ip1, Service::Ppp1];

    /// Its name in descriptions and calls.
    pub const fn urn(self) -> &'static str {
        match self {
            Service::Ip2 => "urn:schemas-upnp-org:service:WANIPConnection:2",
            Service::Ip1 => "urn:schemas-upnp-org:service:WANIPConnection:1",
            Service::Ppp1 => "urn:schemas-upnp-org:service:WANPPPConnection:1",
        }
    }
}

/// Where calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The router and its port.
    pub host: SocketAddrV4,
    /// The path there.
    pub path: String,
    /// The service.
    pub service: Service,
}

/// The control address in a description that came from `host`. It never leads to another machine.
pub fn control(host: SocketAddrV4, description: &str) -> Option<Control> {
    let (mut open, mut base): (Vec<&str>, Option<String>) = (Vec::new(), None);
    let (mut kind, mut path): (Option<Service>, Option<String>) = (None, None);
    let mut found: Vec<(Service, String)> = Vec::new();
    for token in Tokens::new(description) {
        match token {
            Token::Open(name) => {
                if name == "service" {
                    (kind, path) = (None, None);
                }
                open.push(name);
            }
            Token::Text(text) => match open.last() {
                Some(&"URLBase") => base = Some(plain(text)),
                Some(&"serviceType") => kind = Service::ALL.into_iter().find(|service| service.urn() == text),
                Some(&"controlURL") => path = Some(plain(text)),
                _ => {}
            },
            Token::Close => {
                if open.pop() == Some("service")
                    && let (Some(kind), Some(path)) = (kind.take(), path.take())
                {
                    found.push((kind, path));
                }
            }
        }
    }
    let (service, path) = found.into_iter().min_by_key(|(service, _)| *service)?;
    let (host, path) = resolve(host, base.as_deref(), &path)?;
    Some(Control { host, path, service })
}

/// What a control address means in a description from `host`.
fn resolve(host: SocketAddrV4, base: Option<&str>, path: &str) -> Option<(SocketAddrV4, String)> {
    if let Some(whole) = url(path, *host.ip()) {
        return Some(whole);
    }
    let (host, _) = match base {
        Some(base) => url(base, *host.ip())?,
        None => (host, String::new()),
    };
    let is_path = !path.contains("://") && path.bytes().all(|byte| byte.is_ascii_graphic()) && path.len() <= 512;
    let slash = if path.starts_with('/') { "" } else { "/" };
    is_path.then(|| (host, format!("{slash}{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> SocketAddrV4 {
        "192.168.1.1:5000".parse().unwrap()
    }

    fn service(kind: &str, path: &str) -> String {
        format!(
            "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\
             <SCPDURL>/x.xml</SCPDURL><controlURL>{path}</controlURL></service>"
        )
    }

    fn description(base: &str, services: &[String]) -> String {
        format!(
            "<?xml version=\"1.0\"?><root>{base}<device><serviceList>{}</serviceList></device></root>",
            services.concat()
        )
    }

    #[test]
    fn the_best_service_is_found_among_others() {
        let services = [
            service("Layer3Forwarding:1", "/l3f"),
            service("WANPPPConnection:1", "/ppp"),
            service("WANIPConnection:1", "ctl/IPConn"),
        ];
        let found = control(host(), &description("", &services)).unwrap();
        assert_eq!(found, Control { host: host(), path: "/ctl/IPConn".to_owned(), service: Service::Ip1 });
        assert_eq!(control(host(), &description("", &services[..1])), None);
    }

    #[test]
    fn a_base_or_a_whole_address_moves_the_port_and_never_the_machine() {
        let one = |base: &str, path: &str| {
            let base = if base.is_empty() { String::new() } else { format!("<URLBase>{base}</URLBase>") };
            control(host(), &description(&base, &[service("WANIPConnection:1", path)]))
                .map(|found| (found.host.port(), found.path))
        };
        assert_eq!(one("http://192.168.1.1:49152/", "/c"), Some((49152, "/c".to_owned())));
        assert_eq!(one("", "http://192.168.1.1:80/c?a=1&amp;b=2"), Some((80, "/c?a=1&b=2".to_owned())));
        assert_eq!(one("http://192.168.1.9:80/", "/c"), None);
        assert_eq!(one("", "http://192.168.1.9/c"), None);
        assert_eq!(one("", "/c\r\nX: y"), None, "no header of its own making");
    }
}
