//! The calls of a service that forwards ports, and what is read of their answers.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr};

use super::description::Control;
use super::http::{self, Response};
use super::xml::text_of;

/// Whom a port is forwarded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The machine.
    pub client: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// For so many seconds more; 0 for ever.
    pub lease: u32,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; here is what was asked for.
    Done(String),
    /// Refused, by a code of the service.
    Refused(u16),
}

fn call(control: &Control, action: &str, arguments: &[(&str, String)]) -> Vec<u8> {
    let urn = control.service.urn();
    let mut body = format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{urn}\">"
    );
    for (name, value) in arguments {
        // Writing into a string cannot fail. Values are numbers, addresses and words of ours.
        let _ = write!(body, "<{name}>{value}</{name}>");
    }
    let _ = write!(body, "</u:{action}></s:Body></s:Envelope>\r\n");
    http::call(control.host, &control.path, (urn, action), &body)
}

fn of_port(port: u16) -> [(&'static str, String); 3] {
    [("NewRemoteHost", String::new()), ("NewExternalPort", port.to_string()), ("NewProtocol", "TCP".to_owned())]
}

pub(super) fn get_entry(control: &Control, port: u16) -> Vec<u8> {
    call(control, "GetSpecificPortMappingEntry", &of_port(port))
}

pub(super) fn add(control: &Control, port: u16, (client, internal_port): (Ipv4Addr, u16), lease: u32) -> Vec<u8> {
    let [host, external, protocol] = of_port(port);
    let arguments = [
        host,
        external,
        protocol,
        ("NewInternalPort", internal_port.to_string()),
        ("NewInternalClient", client.to_string()),
        ("NewEnabled", "1".to_owned()),
        ("NewPortMappingDescription", "spacetime-network".to_owned()),
        ("NewLeaseDuration", lease.to_string()),
    ];
    call(control, "AddPortMapping", &arguments)
}

pub(super) fn delete(control: &Control, port: u16) -> Vec<u8> {
    call(control, "DeletePortMapping", &of_port(port))
}

pub(super) fn get_external_address(control: &Control) -> Vec<u8> {
    call(control, "GetExternalIPAddress", &[])
}

/// What an answer says; `None` when it says nothing that can be understood.
pub fn outcome(response: &Response) -> Option<Outcome> {
    if response.status == 200 {
        return Some(Outcome::Done(response.body.clone()));
    }
    Some(Outcome::Refused(text_of(&response.body, "errorCode")?.parse().ok()?))
}

/// The entry in an answer.
pub fn entry(body: &str) -> Option<Entry> {
    let text = |name| text_of(body, name);
    Some(Entry {
        client: text("NewInternalClient")?.parse().ok()?,
        port: text("NewInternalPort")?.parse().ok()?,
        // Of a router that does not say we believe what was asked for.
        lease: text("NewLeaseDuration").and_then(|lease| lease.parse().ok()).unwrap_or(u32::MAX),
    })
}

/// The router's address on the other side, in an answer.
pub fn external_address(body: &str) -> Option<IpAddr> {
    text_of(body, "NewExternalIPAddress")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::upnp::description::Service;

    fn control() -> Control {
        Control { host: "192.168.1.1:5000".parse().unwrap(), path: "/ctl".to_owned(), service: Service::Ip1 }
    }

    #[test]
    fn a_call_names_its_action_twice_and_its_length_once() {
        let request = String::from_utf8(add(&control(), 4000, (Ipv4Addr::new(192, 168, 1, 2), 7193), 3600)).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /ctl HTTP/1.1\r\nHost: 192.168.1.1:5000\r\n"), "{head}");
        let urn = Service::Ip1.urn();
        assert!(head.contains(&format!("SOAPAction: \"{urn}#AddPortMapping\"")), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        assert_eq!(text_of(body, "NewInternalClient").as_deref(), Some("192.168.1.2"));
        assert_eq!(text_of(body, "NewLeaseDuration").as_deref(), Some("3600"));
        assert_eq!(text_of(body, "NewRemoteHost"), None, "from everybody");
    }

    #[test]
    fn answers_are_read_and_faults_by_their_codes() {
        let of = |status, body: &str| outcome(&Response { status, body: body.to_owned() });
        let fault = "<s:Fault><detail><UPnPError><errorCode>718</errorCode></UPnPError></detail></s:Fault>";
        assert_eq!(of(500, fault), Some(Outcome::Refused(718)));
        assert_eq!(of(404, "<html>"), None);
        assert_eq!(of(200, "x"), Some(Outcome::Done("x".to_owned())));
        let body = "<NewInternalPort>7193</NewInternalPort><NewInternalClient>192.168.1.2</NewInternalClient>\
                    <NewLeaseDuration>60</NewLeaseDuration>";
        let found = Entry { client: Ipv4Addr::new(192, 168, 1, 2), port: 7193, lease: 60 };
        assert_eq!(entry(body), Some(found));
        assert_eq!(entry("<NewInternalPort>70000</NewInternalPort>"), None);
        let address = external_address("<NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>");
        assert_eq!(address, Some("11.0.0.1".parse().unwrap()));
    }
}
