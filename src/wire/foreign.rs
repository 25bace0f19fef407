//! Other protocols, recognised by how they begin: whoever speaks one is at the wrong door, and no attacker for that.

use core::fmt;

/// A protocol that is not ours, told by the first bytes of a connection.
///
/// A length field is little-endian, so these beginnings are lengths that no frame before the handshake may have: nothing that
/// could be a frame is ever taken for one of them. Beside those that are known by name there is [`Foreign::Unknown`]: nobody
/// can list all that may come to a port, and whoever never spoke our protocol has broken none of its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Foreign {
    /// TLS begins: a record with a handshake message (RFC 8446, section 5.1), or the hello of SSL 2.
    TlsHello,
    /// TLS says no: a record with an alert.
    TlsAlert,
    /// An HTTP request, such as a health check's.
    HttpRequest,
    /// An HTTP response: the service there is a web server.
    HttpResponse,
    /// SSH's identification string (RFC 4253, section 4.2).
    Ssh,
    /// The header in which a load balancer says for whom it connects: HAProxy's PROXY protocol, version 1 or 2.
    ProxyHeader,
    /// A message of a Bitcoin network: main, testnet 3 and 4, signet or regtest.
    Bitcoin,
    /// None that is known, and no frame of ours.
    Unknown,
}

impl Foreign {
    /// All of them.
    pub const ALL: &'static [Foreign] = &[
        Foreign::TlsHello,
        Foreign::TlsAlert,
        Foreign::HttpRequest,
        Foreign::HttpResponse,
        Foreign::Ssh,
        Foreign::ProxyHeader,
        Foreign::Bitcoin,
        Foreign::Unknown,
    ];

    /// Which protocol begins with these four bytes, if one that is known does.
    pub const fn of(prefix: [u8; 4]) -> Option<Foreign> {
        if let Some(http) = Foreign::http(prefix) {
            return Some(http);
        }
        Some(match &prefix {
            [22, 3, 1..=4, _] | [0x80..=0xff, _, 1, 0 | 2 | 3] => Foreign::TlsHello,
            [21, 3, 1..=4, _] => Foreign::TlsAlert,
            b"PROX" | b"\r\n\r\n" => Foreign::ProxyHeader,
            b"SSH-" => Foreign::Ssh,
            [0xf9, 0xbe, 0xb4, 0xd9]
            | [0x0b, 0x11, 0x09, 0x07]
            | [0x1c, 0x16, 0x3f, 0x28]
            | [0x0a, 0x03, 0xcf, 0x40]
            | [0xfa, 0xbf, 0xb5, 0xda] => Foreign::Bitcoin,
            _ => return None,
        })
    }

    /// HTTP, and what is built on it (WebDAV, RTSP), in any case: a method that a server does not know is still a request.
    const fn http(prefix: [u8; 4]) -> Option<Foreign> {
        let [mut a, mut b, mut c, mut d] = prefix;
        a.make_ascii_uppercase();
        b.make_ascii_uppercase();
        c.make_ascii_uppercase();
        d.make_ascii_uppercase();
        Some(match &[a, b, c, d] {
            b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" | b"PRI "
            | b"PROP" | b"MKCO" | b"COPY" | b"MOVE" | b"LOCK" | b"UNLO" | b"SEAR" | b"REPO" | b"DESC" => {
                Foreign::HttpRequest
            }
            b"HTTP" => Foreign::HttpResponse,
            _ => return None,
        })
    }

    /// What to answer in its own language, so that the other side's log says why: at most 256 bytes, and nothing to those who
    /// have answered us. It is written as it is, without a frame.
    pub const fn answer(self) -> &'static [u8] {
        match self {
            // A fatal alert, unexpected_message: there is no TLS here to go on with.
            Foreign::TlsHello => &[21, 3, 1, 0, 2, 2, 10],
            Foreign::HttpRequest => {
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 45\r\nConnection: close\r\n\r\n\
                  This is a peer-to-peer node, no HTTP server.\n"
            }
            Foreign::Ssh => b"This is a peer-to-peer node, no SSH server.\r\n",
            Foreign::TlsAlert
            | Foreign::HttpResponse
            | Foreign::ProxyHeader
            | Foreign::Bitcoin
            | Foreign::Unknown => b"",
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::TlsHello => "it speaks TLS: switch TLS on here or off there",
            Foreign::TlsAlert => "it answers with a TLS alert: switch TLS on here or off there",
            Foreign::HttpRequest => "it speaks HTTP: a browser or a health check at the wrong port",
            Foreign::HttpResponse => "it is an HTTP server: check the address",
            Foreign::Ssh => "it speaks SSH: check the address",
            Foreign::ProxyHeader => "it sends a PROXY protocol header: switch send-proxy off at the load balancer",
            Foreign::Bitcoin => "it speaks Bitcoin's protocol: check the address",
            Foreign::Unknown => "it speaks another protocol: its first bytes are no frame; check the address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;
    use crate::wire::frame::{self, FrameError, FrameRules, Parse};

    /// Each beginning, and what it is.
    const BEGINNINGS: &[(&[u8], Foreign)] = &[
        (&[22, 3, 1, 0, 200, 1], Foreign::TlsHello),
        (&[22, 3, 1, 5, 220, 1], Foreign::TlsHello),
        (&[22, 3, 3, 2, 0, 1], Foreign::TlsHello),
        (&[21, 3, 3, 0, 2, 2], Foreign::TlsAlert),
        (&[21, 3, 1, 0, 2, 1], Foreign::TlsAlert),
        (b"GET /healthz HTTP/1.1\r\n", Foreign::HttpRequest),
        (b"PRI * HTTP/2.0\r\n", Foreign::HttpRequest),
        (b"HTTP/1.1 200 OK\r\n", Foreign::HttpResponse),
        (b"get / http/1.1\r\n", Foreign::HttpRequest),
        (b"PROPFIND / HTTP/1.1\r\n", Foreign::HttpRequest),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Foreign::Ssh),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n", Foreign::ProxyHeader),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Foreign::ProxyHeader),
        // SSL 2, and TLS in its clothes: the fifth byte of the first is a type of ours.
        (&[0x80, 0x2e, 1, 0, 2, 0], Foreign::TlsHello),
        (&[0x80, 0x2e, 1, 3, 1, 0], Foreign::TlsHello),
        (b"EHLO example.org\r\n", Foreign::Unknown),
        (b"{\"jsonrpc\":\"2.0\",", Foreign::Unknown),
        (b"*1\r\n$4\r\nPING\r\n", Foreign::Unknown),
        (b"220 mail.example.org ESMTP\r\n", Foreign::Unknown),
        // RDP, PostgreSQL, and two networks of Bitcoin's family.
        (&[3, 0, 0, 19, 14, 0xe0], Foreign::Unknown),
        (&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f], Foreign::Unknown),
        (&[0xfb, 0xc0, 0xb6, 0xdb, b'v', b'e'], Foreign::Unknown),
        (&[0xfd, 0xd2, 0xc8, 0xf1, b'v', b'e'], Foreign::Unknown),
        // A length that a frame may have, of a type that we do not know; and no length at all.
        (&[5, 0, 0, 0, 0x77, 0], Foreign::Unknown),
        (&[0, 0, 0, 0, 0, 0], Foreign::Unknown),
        (&[0xf9, 0xbe, 0xb4, 0xd9, b'v', b'e'], Foreign::Bitcoin),
        (&[0xfa, 0xbf, 0xb5, 0xda, b'v', b'e'], Foreign::Bitcoin),
    ];

    #[test]
    fn strangers_are_recognised_before_the_handshake_and_never_after_it() {
        for (bytes, foreign) in BEGINNINGS {
            let greeting = frame::parse(bytes, FrameRules::greeting());
            assert_eq!(greeting, Parse::Never(FrameError::Foreign(*foreign)), "{bytes:?}");
            for version in [1, 2] {
                let later = frame::parse(bytes, FrameRules::version(version));
                assert!(!matches!(later, Parse::Never(FrameError::Foreign(_))), "{bytes:?}: {later:?}");
            }
        }
    }

    /// Whoever sends a frame of ours where it has no place knows our protocol, and broke it.
    #[test]
    fn a_frame_of_ours_is_no_other_protocol_however_wrong_it_is() {
        for kind in Kind::ALL {
            for len in [0, 1, 1024, 1025, frame::MAX_PAYLOAD] {
                let header = frame::header(*kind as u8, len as usize).unwrap();
                let known = frame::parse(&header, FrameRules::greeting());
                let is_hello = Foreign::of([header[0], header[1], header[2], header[3]]).is_some();
                assert_eq!(
                    matches!(known, Parse::Never(FrameError::Foreign(_))),
                    is_hello,
                    "{kind:?} {len}: {known:?}"
                );
            }
        }
    }

    /// Frames that a correct node may send before the handshake are never taken for another protocol, whatever their length.
    #[test]
    fn no_frame_of_a_greeting_is_taken_for_another_protocol() {
        for len in 0..=frame::MAX_GREETING_PAYLOAD {
            assert_eq!(Foreign::of((len + 1).to_le_bytes()), None, "{len}");
        }
    }

    #[test]
    fn the_answer_to_a_web_client_is_as_long_as_it_says() {
        let text = core::str::from_utf8(Foreign::HttpRequest.answer()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(BEGINNINGS.iter().all(|(_, foreign)| foreign.answer().len() <= 256));
    }
}
