//! Requests as they come: bytes to the head of a request, a need for more, or a refusal. Pure functions, which the fuzz target
//! `http_request` plays too.
//!
//! It is strict where leniency has cost others dearly (RFC 9112, sections 3 and 6; RFC 9110, section 7.2): one Host, one length, no
//! transfer coding, and a target that is a plain path. What is refused ends the connection, so that nobody disagrees with us about
//! where the next request begins.

/// The longest head: request line and headers.
pub(crate) const HEAD_MAX: usize = 8 * 1024;
/// The longest body: a block of some thousand transfers as JSON.
pub(crate) const BODY_MAX: usize = 1024 * 1024;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// The longest request target.
const TARGET_MAX: usize = 2 * 1024;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Read.
    Get,
    /// Read without the body.
    Head,
    /// Do.
    Post,
    /// Something that nothing here understands.
    Other,
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// Begins with a slash; escapes are as they came.
    pub(crate) path: String,
    /// Behind the question mark, or empty.
    pub(crate) query: String,
    pub(crate) host: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Without parameters, in lower case.
    pub(crate) content_type: Option<String>,
    /// What a browser says of the page that asks (Fetch Metadata).
    pub(crate) fetch_site: Option<String>,
    /// It would rather have OpenMetrics than plain text.
    pub(crate) accepts_open_metrics: bool,
    pub(crate) body_len: usize,
    /// It waits for a word before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) keep_alive: bool,
}

/// Why a request is not answered: the status, and a sentence for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) why: &'static str,
}

impl Refusal {
    /// A refusal.
    pub(crate) const fn new(status: u16, why: &'static str) -> Self {
        Refusal { status, why }
    }
}

/// What the front of a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// It may become a request.
    NeedMore,
    /// The head of one, and how many bytes it took.
    Head(Box<Head>, usize),
    /// It never will.
    Refused(Refusal),
}

/// Looks at the front of a stream.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let seen = bytes.get(..HEAD_MAX).unwrap_or(bytes);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(seen) {
        Ok(httparse::Status::Complete(len)) => match head(&request) {
            Ok(head) => Parsed::Head(Box::new(head), len),
            Err(refusal) => Parsed::Refused(refusal),
        },
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => {
            Parsed::Refused(Refusal::new(431, "the head of a request is at most 8 KiB long"))
        }
        Ok(httparse::Status::Partial) => Parsed::NeedMore,
        Err(httparse::Error::TooManyHeaders) => Parsed::Refused(Refusal::new(431, "a request has at most 64 headers")),
        Err(httparse::Error::Version) => {
            Parsed::Refused(Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"))
        }
        Err(_) => Parsed::Refused(Refusal::new(400, "not a request of HTTP/1.1")),
    }
}

fn head(request: &httparse::Request<'_, '_>) -> Result<Head, Refusal> {
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => Method::Other,
    };
    let target = request.path.unwrap_or_default();
    if target.len() > TARGET_MAX {
        return Err(Refusal::new(414, "the target of a request is at most 2 KiB long"));
    }
    let is_newest = request.version == Some(1);
    let mut host = one(request, "host")?;
    if is_newest && host.is_none() {
        return Err(Refusal::new(400, "a request of HTTP/1.1 says which host it is for"));
    }
    let mut target = target.to_owned();
    if let Some((authority, rest)) = absolute(&target) {
        // As some clients ask whom they take for a proxy; what Host says does not count then (RFC 9112, section 3.2.2).
        (host, target) = (Some(authority), rest);
    }
    if !target.starts_with('/') {
        return Err(Refusal::new(400, "the target of a request is a path that begins with a slash"));
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    if one(request, "transfer-encoding")?.is_some() {
        return Err(Refusal::new(501, "no transfer coding is understood here: send a Content-Length"));
    }
    let body_len = match one(request, "content-length")? {
        None => 0,
        Some(text) => body_len(&text)?,
    };
    let connection = one(request, "connection")?.unwrap_or_default().to_ascii_lowercase();
    let says = |word: &str| connection.split(',').any(|part| part.trim() == word);
    let content_type = one(request, "content-type")?;
    let content_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    Ok(Head {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        host,
        origin: one(request, "origin")?,
        authorization: one(request, "authorization")?,
        content_type,
        fetch_site: one(request, "sec-fetch-site")?.map(|text| text.to_ascii_lowercase()),
        accepts_open_metrics: request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("accept"))
            .any(|header| contains(header.value, b"application/openmetrics-text")),
        body_len,
        expects_continue: one(request, "expect")?.is_some_and(|text| text.eq_ignore_ascii_case("100-continue")),
        keep_alive: if is_newest { !says("close") } else { says("keep-alive") },
    })
}

/// The authority of a target in absolute form, and the path with what follows.
fn absolute(target: &str) -> Option<(String, String)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let slash = if path.starts_with('/') { "" } else { "/" };
    // A name before an @ could make another host look like ours.
    (!authority.is_empty() && !authority.contains('@')).then(|| (authority.to_owned(), format!("{slash}{path}")))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// A header that may be there once.
fn one(request: &httparse::Request<'_, '_>, name: &str) -> Result<Option<String>, Refusal> {
    let mut found = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(first) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(Refusal::new(400, "a header that may stand once stands twice"));
    }
    match std::str::from_utf8(first.value) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(_) => Err(Refusal::new(400, "a header that matters is not text")),
    }
}

fn body_len(text: &str) -> Result<usize, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(400, "a Content-Length is a number"));
    }
    match text.parse::<usize>() {
        Ok(len) if len <= BODY_MAX => Ok(len),
        _ => Err(Refusal::new(413, "the body of a request is at most 1 MiB long")),
    }
}

/// A part of a path with its escapes undone (RFC 3986, section 2.1); `None` when they are wrong, or it is not text then.
pub(crate) fn unescape(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

/// The value of a name in a query.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| unescape(&value.replace('+', "%20")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Parsed::Refused(refusal) => refusal.status,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_whole_and_not_before_it_is() {
        let text = "POST /api/node/ban?x=1%202 HTTP/1.1\r\nHost: 127.0.0.1:9\r\nContent-Type: application/JSON; charset=utf-8\r\n\
                    Content-Length: 12\r\nExpect: 100-Continue\r\n\r\n{\"a\":1}";
        let len = text.find("\r\n\r\n").unwrap() + 4;
        let Parsed::Head(head, used) = parse(text.as_bytes()) else { panic!() };
        assert_eq!((used, head.method, head.path.as_str(), head.body_len), (len, Method::Post, "/api/node/ban", 12));
        assert_eq!(
            (head.content_type.as_deref(), head.host.as_deref()),
            (Some("application/json"), Some("127.0.0.1:9"))
        );
        assert!(head.keep_alive && head.expects_continue);
        assert_eq!(parameter(&head.query, "x").as_deref(), Some("1 2"));
        for cut in 0..len {
            assert_eq!(parse(&text.as_bytes()[..cut]), Parsed::NeedMore, "{cut}");
        }
    }

    #[test]
    fn what_others_have_been_smuggled_through_by_is_refused() {
        let with = |header: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
        assert_eq!(refused(&with("Transfer-Encoding: chunked")), 501);
        assert_eq!(refused(&with("Content-Length: 1\r\nContent-Length: 1")), 400);
        for bad in ["+1", "-1", "0x1", "1, 1", "", "1 1", "٣"] {
            assert_eq!(refused(&with(&format!("Content-Length: {bad}"))), 400, "{bad:?}");
        }
        assert_eq!(refused(&with("Content-Length: 99999999999999999999999")), 413);
        assert_eq!(refused(&with("Content-Length: 1048577")), 413);
        assert_eq!(refused(&with("Host: y")), 400);
        assert_eq!(refused(&with(" folded: y")), 400);
        assert_eq!(refused(&with("a : y")), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400, "without a host");
        assert_eq!(refused("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
        assert_eq!(refused("GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
        assert_eq!(refused("GET http://ours@theirs/ HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
        assert_eq!(refused("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
        assert_eq!(refused("\x16\x03\x01\x02\x00\x01"), 400, "TLS");
    }

    /// Clients that were told of a proxy ask so, and a server must take it.
    #[test]
    fn a_target_in_absolute_form_names_the_host() {
        for (target, host, path, query) in [
            ("http://127.0.0.1:9/api/node/ping", "127.0.0.1:9", "/api/node/ping", ""),
            ("HTTP://localhost?a=b", "localhost", "/", "a=b"),
            ("https://[::1]:9", "[::1]:9", "/", ""),
            ("http://evil.example/metrics", "evil.example", "/metrics", ""),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n");
            let Parsed::Head(head, _) = parse(text.as_bytes()) else { panic!("{target}") };
            assert_eq!((head.host.as_deref(), head.path.as_str(), head.query.as_str()), (Some(host), path, query));
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_in_headers() {
        assert_eq!(refused(&"a".repeat(HEAD_MAX)), 431);
        assert_eq!(refused(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(TARGET_MAX))), 414);
        let many = "a: b\r\n".repeat(HEADERS_MAX);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")), 431);
        assert_eq!(parse("a".repeat(HEAD_MAX - 1).as_bytes()), Parsed::NeedMore);
    }

    #[test]
    fn escapes_of_a_path_are_undone_or_refused() {
        assert_eq!(unescape("Zo%C3%AB%20x+y").as_deref(), Some("Zoë x+y"));
        for bad in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_old_client_is_not_kept_unless_it_asks() {
        let kept = |text: &str| matches!(parse(text.as_bytes()), Parsed::Head(head, _) if head.keep_alive);
        assert!(!kept("GET / HTTP/1.0\r\n\r\n"));
        assert!(kept("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n"));
    }
}
