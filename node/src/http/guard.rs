//! Who may ask: the token, and the rules that keep the web pages of a visitor's browser from driving a node on his machine.
//!
//! A page on another site can have its visitor's browser send requests to any address. Three walls stand in its way. Its name in DNS may
//! come to lead to this machine (DNS rebinding), but then the Host header has that name, and only addresses, `localhost` and names of
//! the operator's are served. It may send a request across sites (CSRF), but then the browser says so, by Origin or Sec-Fetch-Site.
//! And whatever does something takes JSON alone, which a browser sends across sites only where it was allowed to, which it never is.

use std::hint::black_box;
use std::net::IpAddr;

use spacetime_network::chain::sha256;
use spacetime_network::wire::Hash;

use super::request::{Head, Method, Refusal};

/// What must be shown.
#[derive(Clone, Debug)]
pub(crate) struct Token(Hash);

impl Token {
    /// The token of this text.
    pub(crate) fn new(text: &str) -> Self {
        Token(sha256(text.as_bytes()))
    }

    /// Takes as long for a guess that is nearly right as for any other: hashes are compared, and all of them.
    fn is(&self, shown: &str) -> bool {
        let shown = sha256(shown.as_bytes());
        let differ = self.0.0.iter().zip(shown.0).fold(0, |sum, (ours, theirs)| black_box(sum | (ours ^ theirs)));
        black_box(differ) == 0
    }
}

/// The rules of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Who has no token is refused, if there is one.
    pub(crate) token: Option<Token>,
    /// The file permissions of a socket say who may come.
    pub(crate) is_unix: bool,
    /// Names under which the operator reaches it.
    pub(crate) names: Vec<String>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The page and its parts, which are the same for everybody and say nothing of the node.
    Page,
    /// Anything else.
    Node,
}

impl Guard {
    /// May it be answered? Asked before its body is read.
    pub(crate) fn check(&self, head: &Head, purpose: Purpose) -> Result<(), Refusal> {
        if !self.is_unix && !head.host.as_deref().is_some_and(|host| self.is_ours(host)) {
            return Err(Refusal::new(
                421,
                "this name is not served: use an address or localhost, or start the node with --http-host NAME",
            ));
        }
        let same = head.host.as_deref().unwrap_or_default();
        if head.origin.as_deref().is_some_and(|origin| !is_origin_of(origin, same)) {
            return Err(Refusal::new(403, "the page of another site may not ask this node"));
        }
        if head.fetch_site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            // Who follows a link from elsewhere sees the page, and the page asks for itself.
            let is_visit = purpose == Purpose::Page && head.method != Method::Post;
            if !is_visit {
                return Err(Refusal::new(403, "the page of another site may not ask this node"));
            }
        }
        if head.method == Method::Post && head.content_type.as_deref() != Some("application/json") {
            return Err(Refusal::new(415, "a request that does something has the Content-Type application/json"));
        }
        let shown = head.authorization.as_deref().and_then(bearer).unwrap_or_default();
        match &self.token {
            Some(token) if purpose == Purpose::Node && !token.is(shown) => {
                Err(Refusal::new(401, "this needs the token of --http-token, as Authorization: Bearer TOKEN"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a Host header names this listener: an address, `localhost`, or what the operator says.
    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of a bare IPv6 address are no port.
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// Behind a proxy that speaks TLS the page has another scheme than we do.
fn is_origin_of(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !host.is_empty() && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::super::request::{Parsed, parse};
    use super::*;

    fn head(method: &str, headers: &[&str]) -> Head {
        let text = format!("{method} /api/node/x HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"));
        match parse(text.as_bytes()) {
            Parsed::Head(head, _) => *head,
            other => panic!("{other:?}"),
        }
    }

    fn status(guard: &Guard, method: &str, headers: &[&str]) -> u16 {
        guard.check(&head(method, headers), Purpose::Node).err().map_or(200, |refusal| refusal.status)
    }

    #[test]
    fn a_name_that_came_to_lead_here_is_not_served() {
        let guard = Guard { names: vec!["node.example.org".to_owned()], ..Guard::default() };
        for (host, expected) in [
            ("127.0.0.1:9464", 200),
            ("127.0.0.1", 200),
            ("[::1]:9464", 200),
            ("[::1]", 200),
            ("localhost:9464", 200),
            ("LocalHost", 200),
            ("node.example.org", 200),
            ("Node.Example.org:443", 200),
            ("rebound.example.net:9464", 421),
            ("127.0.0.1.example.net:9464", 421),
            ("localhost.example.net", 421),
            ("127.0.0.1:9464@example.net", 421),
            ("", 421),
        ] {
            assert_eq!(status(&guard, "GET", &[&format!("Host: {host}")]), expected, "{host}");
        }
        let unix = Guard { is_unix: true, ..Guard::default() };
        assert_eq!(status(&unix, "GET", &["Host: anything"]), 200);
    }

    #[test]
    fn the_page_of_another_site_drives_nothing() {
        let guard = Guard::default();
        let json = "Content-Type: application/json";
        let host = "Host: 127.0.0.1:9464";
        assert_eq!(status(&guard, "POST", &[host, json]), 200);
        assert_eq!(status(&guard, "POST", &[host, json, "Origin: http://127.0.0.1:9464"]), 200);
        for origin in
            ["http://example.net", "null", "http://127.0.0.1:9465", "http://127.0.0.1", "file://127.0.0.1:9464"]
        {
            assert_eq!(status(&guard, "POST", &[host, json, &format!("Origin: {origin}")]), 403, "{origin}");
            assert_eq!(status(&guard, "GET", &[host, &format!("Origin: {origin}")]), 403, "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(status(&guard, "GET", &[host, &format!("Sec-Fetch-Site: {site}")]), 403);
        }
        // What a form can send.
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
            assert_eq!(status(&guard, "POST", &[host, &format!("Content-Type: {kind}")]), 415);
        }
        assert_eq!(status(&guard, "POST", &[host]), 415);
    }

    #[test]
    fn a_link_from_elsewhere_leads_to_the_page_and_to_nothing_else() {
        let visit = head("GET", &["Host: 127.0.0.1:9464", "Sec-Fetch-Site: cross-site"]);
        assert!(Guard::default().check(&visit, Purpose::Page).is_ok());
        assert!(Guard::default().check(&visit, Purpose::Node).is_err());
    }

    #[test]
    fn a_token_is_asked_for_everything_but_the_page() {
        let guard = Guard { token: Some(Token::new("secret")), ..Guard::default() };
        let host = "Host: 192.0.2.7";
        assert_eq!(status(&guard, "GET", &[host, "Authorization: Bearer secret"]), 200);
        assert_eq!(status(&guard, "GET", &[host, "Authorization: bearer  secret"]), 200);
        for wrong in ["Bearer secre", "Bearer secret1", "Bearer", "Basic secret", "secret", "Bearer SECRET"] {
            assert_eq!(status(&guard, "GET", &[host, &format!("Authorization: {wrong}")]), 401, "{wrong}");
        }
        assert_eq!(status(&guard, "GET", &[host]), 401);
        assert!(guard.check(&head("GET", &[host]), Purpose::Page).is_ok());
    }
}
