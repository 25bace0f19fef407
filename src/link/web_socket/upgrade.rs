//! The upgrade from HTTP/1.1 (RFC 6455, section 4): one request, one answer, both within bounds.
//!
//! The head is collected until its empty line is there, and looked at once. What does not begin as HTTP is refused with its first
//! bytes; what is HTTP and no upgrade is answered in HTTP and closed, and is nobody's crime: browsers and health checks come by.

use std::sync::Arc;

use super::accept_key;
use super::target::{WebSocketOptions, WebSocketTarget};
use crate::close::WebSocketFault;
use crate::wire::Foreign;

/// The longest head, in bytes.
pub(super) const HEAD_MAX: usize = 8 * 1024;
/// Lines of a head at most.
const LINES_MAX: usize = 64;

/// An upgrade under way.
#[derive(Debug)]
pub(super) struct Upgrade {
    role: Role,
    head: Vec<u8>,
}

#[derive(Debug)]
enum Role {
    Server(Arc<WebSocketOptions>),
    /// With what the server must answer.
    Client(String),
}

/// How far an upgrade is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The head is not complete.
    NeedMore,
    /// It is, and this is to be said, nothing where we asked. So many bytes of the input belonged to it; frames follow.
    Done { say: Vec<u8>, used: usize },
    /// It is none, and this is to be said.
    Refused { say: Vec<u8>, fault: WebSocketFault },
}

impl Upgrade {
    /// We are asked.
    pub(super) fn server(options: Arc<WebSocketOptions>) -> Self {
        Upgrade { role: Role::Server(options), head: Vec::new() }
    }

    /// We ask. `random` makes the key. Answers the request, too.
    pub(super) fn client(target: &WebSocketTarget, random: [u8; 16]) -> (Self, Vec<u8>) {
        let key = accept_key::key(random);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n",
            target.path(),
            target.host()
        );
        let role = Role::Client(accept_key::accept(key.as_bytes()));
        (Upgrade { role, head: Vec::new() }, request.into_bytes())
    }

    /// Bytes that the head may still have.
    pub(super) fn room(&self) -> usize {
        HEAD_MAX.saturating_sub(self.head.len())
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.head.capacity()
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, input: &[u8]) -> Step {
        let before = self.head.len();
        let part = input.get(..self.room()).unwrap_or(input);
        self.head.extend_from_slice(part);
        if let Some(refused) = self.first_bytes() {
            return refused;
        }
        // The empty line may have begun in the bytes before.
        let from = before.saturating_sub(3);
        let found = self.head.get(from..).and_then(|new| new.windows(4).position(|line| line == b"\r\n\r\n"));
        let Some(at) = found else {
            return if self.room() > 0 { Step::NeedMore } else { self.refused(431, WebSocketFault::NotAnUpgrade) };
        };
        let len = from.saturating_add(at).saturating_add(4);
        self.head.truncate(len);
        match &self.role {
            Role::Server(options) => match request(&self.head, options) {
                Ok(say) => Step::Done { say, used: len.saturating_sub(before) },
                Err((status, fault)) => self.refused(status, fault),
            },
            Role::Client(accept) => match response(&self.head, accept) {
                Ok(()) => Step::Done { say: Vec::new(), used: len.saturating_sub(before) },
                Err(fault) => Step::Refused { say: Vec::new(), fault },
            },
        }
    }

    /// What does not begin as HTTP is none, whatever follows.
    fn first_bytes(&self) -> Option<Step> {
        match &self.role {
            Role::Client(_) => {
                let is_http = self.head.iter().zip(b"HTTP/1.1 ").all(|(byte, expected)| byte == expected);
                (!is_http).then(|| Step::Refused { say: Vec::new(), fault: WebSocketFault::BadUpgrade })
            }
            Role::Server(_) => {
                // What it is instead is told by four bytes.
                let first = *self.head.first_chunk::<4>()?;
                // A method is a word of letters.
                let word = self.head.iter().take_while(|byte| **byte != b' ').take(16);
                if word.clone().all(u8::is_ascii_alphabetic) && word.count() < 16 {
                    return None;
                }
                let answer = match Foreign::of(first) {
                    Some(Foreign::HttpRequest) | None => return Some(self.refused(400, WebSocketFault::NotAnUpgrade)),
                    Some(other) => other.answer(),
                };
                Some(Step::Refused { say: answer.to_vec(), fault: WebSocketFault::NotAnUpgrade })
            }
        }
    }

    fn refused(&self, status: u16, fault: WebSocketFault) -> Step {
        match self.role {
            Role::Server(_) => Step::Refused { say: answer(status).into_bytes(), fault },
            Role::Client(_) => Step::Refused { say: Vec::new(), fault: WebSocketFault::BadUpgrade },
        }
    }
}

/// An answer that ends the connection.
pub(super) fn answer(status: u16) -> String {
    let (reason, more, text) = match status {
        400 => ("Bad Request", "", "This is no WebSocket upgrade.\n"),
        403 => ("Forbidden", "", "Pages of this origin are not let in.\n"),
        404 => ("Not Found", "", "There is nothing here.\n"),
        431 => ("Request Header Fields Too Large", "", "The head of the request is too long.\n"),
        503 => ("Service Unavailable", "Retry-After: 30\r\n", "There is no place at present.\n"),
        _ => (
            "Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "This is a peer-to-peer node that speaks WebSocket.\n",
        ),
    };
    let connection = if status == 426 { "Upgrade, close" } else { "close" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nConnection: {connection}\r\n{more}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// The answer to a request that is an upgrade, or the status and the fault of one that is none.
fn request(head: &[u8], options: &WebSocketOptions) -> Result<Vec<u8>, (u16, WebSocketFault)> {
    let no = |status| (status, WebSocketFault::NotAnUpgrade);
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    if !request.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err(no(400));
    }
    let headers = Headers(request.headers);
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path != options.path {
        return Err(no(404));
    }
    let asks = request.method == Some("GET")
        && request.version == Some(1)
        && headers.has_token("Upgrade", "websocket")
        && headers.has_token("Connection", "upgrade");
    if !asks {
        return Err(no(426));
    }
    if headers.one("Sec-WebSocket-Version").map_err(|Twice| no(400))? != Some(b"13") {
        return Err(no(426));
    }
    let has_body =
        headers.all("Content-Length").any(|length| length != b"0") || headers.all("Transfer-Encoding").next().is_some();
    if has_body {
        return Err(no(400));
    }
    let text = |name| match headers.one(name) {
        Ok(Some(value)) => core::str::from_utf8(value).map(Some).map_err(|_| no(400)),
        Ok(None) => Ok(None),
        Err(Twice) => Err(no(400)),
    };
    let host = text("Host")?.ok_or(no(400))?;
    let key = headers.one("Sec-WebSocket-Key").ok().flatten().filter(|key| accept_key::is_key(key)).ok_or(no(400))?;
    if !options.admits(text("Origin")?, host) {
        return Err((403, WebSocketFault::OriginRefused));
    }
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_key::accept(key)
    )
    .into_bytes())
}

/// Is this the answer to our upgrade?
fn response(head: &[u8], accept: &str) -> Result<(), WebSocketFault> {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut response = httparse::Response::new(&mut lines);
    if !response.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err(WebSocketFault::BadUpgrade);
    }
    match response.code {
        Some(101) => {}
        Some(other) => return Err(WebSocketFault::Refused(other)),
        None => return Err(WebSocketFault::BadUpgrade),
    }
    let headers = Headers(response.headers);
    // We have offered neither extensions nor protocols inside.
    let offers =
        ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"].iter().any(|name| headers.all(name).next().is_some());
    let agrees = headers.has_token("Upgrade", "websocket")
        && headers.has_token("Connection", "upgrade")
        && headers.one("Sec-WebSocket-Accept") == Ok(Some(accept.as_bytes()));
    if agrees && !offers { Ok(()) } else { Err(WebSocketFault::BadUpgrade) }
}

/// What may stand once stands twice.
#[derive(Debug, PartialEq, Eq)]
struct Twice;

struct Headers<'h>(&'h [httparse::Header<'h>]);

impl<'h> Headers<'h> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.0.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }

    /// The one value, of a header that must not come twice.
    fn one(&self, name: &str) -> Result<Option<&'h [u8]>, Twice> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_some() { Err(Twice) } else { Ok(first) }
    }

    /// Is this one of a header's words, which are set apart by commas?
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
