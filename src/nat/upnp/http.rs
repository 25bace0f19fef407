//! HTTP/1.1, as far as a router's UPnP needs it: one request for each connection, and where its answer ends.

use core::fmt::Write as _;
use core::net::SocketAddrV4;

/// What is read of an answer at most, in bytes: descriptions of routers have some tens of thousands.
pub const LIMIT: usize = 128 << 10;
/// What its head may have of that.
const HEAD_MAX: usize = 8 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, of what came.
    pub body: String,
}

pub(super) fn get(host: SocketAddrV4, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

pub(super) fn call(host: SocketAddrV4, path: &str, (service, action): (&str, &str), body: &str) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    // Writing into a string cannot fail.
    let _ = write!(request, "Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{service}#{action}\"\r\n");
    let _ = write!(request, "Content-Length: {}\r\n\r\n{body}", body.len());
    request.into_bytes()
}

/// Has all of the answer come? One that says nothing of its length ends with its connection.
pub fn is_whole(bytes: &[u8]) -> bool {
    let Some((head, body)) = split(bytes) else { return bytes.len() > HEAD_MAX };
    match (header(head, "content-length"), is_chunked(head)) {
        (_, true) => chunks(body).is_some_and(|(_, ended)| ended),
        (Some(length), false) => length.parse::<usize>().is_ok_and(|length| body.len() >= length),
        (None, false) => false,
    }
}

/// The answer in what came until the end; `None` for what is none.
pub fn parse(bytes: &[u8]) -> Option<Response> {
    let (head, body) = split(bytes)?;
    let mut line = head.lines().next()?.split(' ');
    if !line.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = line.next()?.parse().ok().filter(|status| (100..600).contains(status))?;
    let body = match header(head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        _ if is_chunked(head) => chunks(body)?.0,
        Some(length) => body.get(..length.min(body.len()))?.to_vec(),
        None => body.to_vec(),
    };
    Some(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).take(HEAD_MAX).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end)?;
    Some((core::str::from_utf8(head).ok()?, body.get(4..)?))
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then_some(value.trim()))
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked"))
}

/// What the chunks hold that came whole, and whether the last of them came; `None` for what are none.
fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).take(64).position(|two| two == b"\r\n") else { return Some((body, false)) };
        let line = core::str::from_utf8(bytes.get(..end)?).ok()?;
        let size = line.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= LIMIT)?;
        if size == 0 {
            return Some((body, true));
        }
        let start = end + 2;
        let Some(chunk) = bytes.get(start..start + size) else { return Some((body, false)) };
        body.extend_from_slice(chunk);
        bytes = bytes.get(start + size + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_ends_where_its_length_its_last_chunk_or_its_connection_says() {
        let sized = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert!(is_whole(sized) && !is_whole(&sized[..sized.len() - 1]));
        assert_eq!(parse(sized), Some(Response { status: 200, body: "abc".to_owned() }));
        let chunked = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        assert!(is_whole(chunked) && !is_whole(&chunked[..chunked.len() - 6]));
        assert_eq!(parse(chunked), Some(Response { status: 500, body: "abc".to_owned() }));
        let open = b"HTTP/1.0 200 OK\r\n\r\nabc";
        assert!(!is_whole(open));
        assert_eq!(parse(open).map(|response| response.body), Some("abc".to_owned()));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for bad in
            [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 99999\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n"]
        {
            assert_eq!(parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert!(is_whole(&[b'a'; HEAD_MAX + 1]), "a head that never ends is read no further");
        let huge = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n";
        assert_eq!(parse(huge), None);
    }

    proptest! {
        #[test]
        fn a_body_is_never_longer_than_what_came(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let all = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes[..]].concat();
            // Each byte that is no text becomes one sign of three bytes.
            prop_assert!(parse(&all).is_none_or(|response| response.body.len() <= bytes.len() * 3));
            let _ = is_whole(&all);
        }
    }
}
