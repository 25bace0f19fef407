//! Who may come over WebSocket, and where we go with it: what an operator says.

use core::fmt;
use core::str::FromStr;

/// The longest path, and the longest host, in bytes.
const TEXT_MAX: usize = 1024;

/// What a WebSocket listener lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketOptions {
    /// The path that is upgraded; whoever asks for another gets a 404. Default `/`.
    pub path: String,
    /// Pages of these origins may connect, as browsers name them (`https://example.org`, with the port where it is not the
    /// scheme's own); `*` stands for all of them. Whoever names no origin is no page, and pages of the same host as the listener's
    /// may always. Default: no others.
    pub origins: Vec<String>,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        WebSocketOptions { path: "/".to_owned(), origins: Vec::new() }
    }
}

impl WebSocketOptions {
    /// May a page of `origin` connect that reached us as `host`?
    ///
    /// # Examples
    ///
    /// ```
    /// use spacetime_network::link::web_socket::WebSocketOptions;
    ///
    /// let mut options = WebSocketOptions::default();
    /// assert!(options.admits(None, "node.example:7194"), "who is no page says nothing");
    /// assert!(options.admits(Some("https://node.example"), "node.example:7194"));
    /// assert!(!options.admits(Some("https://other.example"), "node.example:7194"));
    /// options.origins.push("https://other.example".to_owned());
    /// assert!(options.admits(Some("https://other.example"), "node.example:7194"));
    /// ```
    pub fn admits(&self, origin: Option<&str>, host: &str) -> bool {
        let Some(origin) = origin else { return true };
        if self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some_and(|authority| {
            let name = host_name(authority);
            !name.is_empty() && name.eq_ignore_ascii_case(host_name(host))
        })
    }
}

/// An authority without its port.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// What we say to the server that we dial: which host we mean, and where on it. Proxies choose by both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebSocketTarget {
    host: String,
    path: String,
}

impl WebSocketTarget {
    /// The host as it stands in a URL, with its port, and the path with what follows it.
    ///
    /// # Errors
    ///
    /// One of them could not stand in the head of a request.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Result<Self, NotATarget> {
        let (host, path) = (host.into(), path.into());
        let is_plain = |text: &str| text.len() <= TEXT_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_plain(&host) || !is_plain(&path) || !path.starts_with('/') || path.contains('#') {
            return Err(NotATarget);
        }
        Ok(WebSocketTarget { host, path })
    }

    /// The host, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path, with its query if it has one.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for WebSocketTarget {
    type Err = NotATarget;

    /// Reads `host:port/path`, what follows the scheme in a URL.
    fn from_str(text: &str) -> Result<Self, NotATarget> {
        match text.split_once('/') {
            Some((host, path)) => WebSocketTarget::new(host, format!("/{path}")),
            None => WebSocketTarget::new(text, "/"),
        }
    }
}

/// A text that is no [`WebSocketTarget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATarget;

impl fmt::Display for NotATarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a host with its port and a path are wanted, like node.example.org:7194/ without spaces")
    }
}

impl core::error::Error for NotATarget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_let_in_from_the_same_host_or_a_listed_origin_and_from_nowhere_else() {
        let listed = WebSocketOptions { origins: vec!["https://a.example".to_owned()], ..WebSocketOptions::default() };
        let all = WebSocketOptions { origins: vec!["*".to_owned()], ..WebSocketOptions::default() };
        let host = "[::1]:7194";
        for (origin, is_same, is_listed) in [
            ("http://[::1]:8000", true, true),
            ("https://[::1]", true, true),
            ("https://A.example", false, true),
            ("https://a.example:444", false, false),
            ("http://a.example", false, false),
            ("null", false, false),
            ("", false, false),
            ("://", false, false),
            ("http://[::2]", false, false),
        ] {
            assert_eq!(WebSocketOptions::default().admits(Some(origin), host), is_same, "{origin}");
            assert_eq!(listed.admits(Some(origin), host), is_listed, "{origin}");
            assert!(all.admits(Some(origin), host));
        }
    }

    #[test]
    fn a_target_can_stand_in_a_request() {
        let target: WebSocketTarget = "node.example:80/a/b?c=d".parse().unwrap();
        assert_eq!((target.host(), target.path()), ("node.example:80", "/a/b?c=d"));
        assert_eq!("[::1]:7".parse::<WebSocketTarget>().unwrap().path(), "/");
        for bad in ["", "/x", "a b:1/", "a:1/x y", "a:1/\r\nX: y", "a:1/#x", "a\u{e4}:1/"] {
            assert_eq!(bad.parse::<WebSocketTarget>(), Err(NotATarget), "{bad}");
        }
    }
}
