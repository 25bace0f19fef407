//! Answers: a status, a type and a body, with the headers that keep a browser from doing more with them than it should.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

use super::request::Refusal;

/// What a page of ours may do in a browser: nothing from elsewhere, nothing inline, in no frame (CSP level 3).
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                                base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// The methods that there are, where it was not asked by one of them.
    pub(super) allow: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

impl Response {
    /// A body of some type.
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Response { status: 200, content_type, body: body.into(), allow: None }
    }

    /// A value as JSON.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Response::new("application/json", body),
            Err(_) => Response::error(500, "the answer cannot be written as JSON"),
        }
    }

    /// Why there is none.
    pub(crate) fn error(status: u16, why: &str) -> Self {
        let body = serde_json::to_vec(&ErrorBody { error: why }).unwrap_or_default();
        Response { status, content_type: "application/json", body: body.into(), allow: None }
    }

    /// It is asked by other methods.
    pub(crate) fn not_allowed(allow: &'static str) -> Self {
        let allow = Some(allow);
        Response { allow, ..Response::error(405, "this is not done here: GET reads, POST does") }
    }

    /// The bytes of its head.
    pub(crate) fn head(&self, keep_alive: bool) -> Bytes {
        let mut head = String::with_capacity(512);
        let (status, name) = (self.status, reason(self.status));
        // Writing to a String cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {status} {name}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.content_type,
            self.body.len()
        );
        common(&mut head, keep_alive);
        if status == 401 {
            head.push_str("WWW-Authenticate: Bearer\r\n");
        }
        if let Some(allow) = self.allow {
            let _ = write!(head, "Allow: {allow}\r\n");
        }
        if status == 503 {
            head.push_str("Retry-After: 1\r\n");
        }
        head.push_str("\r\n");
        head.into()
    }

    /// The head of an answer that goes on for as long as somebody listens (server-sent events).
    pub(crate) fn stream_head() -> Bytes {
        let mut head = String::from("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
        common(&mut head, false);
        head.push_str("\r\n");
        head.into()
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        Response::error(refusal.status, refusal.why)
    }
}

fn common(head: &mut String, keep_alive: bool) {
    let _ = write!(
        head,
        "Cache-Control: no-store\r\nContent-Security-Policy: {CONTENT_SECURITY}\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Connection: {}\r\n",
        if keep_alive { "keep-alive" } else { "close" }
    );
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_length_and_no_browser_may_do_more_with_it() {
        let response = Response::json(&serde_json::json!({"a": 1}));
        let head = String::from_utf8(response.head(true).to_vec()).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n"),
            "{head}"
        );
        for line in ["default-src 'none'", "nosniff", "no-store", "frame-ancestors 'none'", "Connection: keep-alive"] {
            assert!(head.contains(line), "{line}");
        }
        assert!(!head.contains("unsafe-inline") && !head.to_ascii_lowercase().contains("access-control"));
        assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1);
    }
}
