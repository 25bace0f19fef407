//! One question to an administration endpoint: HTTP/1.1 over a blocking socket, closed after the answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::AdminArgs;
use crate::failure::Failure;
use crate::http::address::HttpAddress;
use crate::http::token_text;

/// The longest answer: some ten thousand peers.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Whom to ask, and how long to wait.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    address: HttpAddress,
    token: Option<String>,
    timeout: Duration,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Asked {
    /// The endpoint of these flags.
    pub(crate) fn new(args: &AdminArgs, timeout: Duration) -> Result<Self, Failure> {
        let Some(address) = args.http.clone() else {
            return Err(Failure::usage("no node was named: give --http ADDR as it was given to run; try --help"));
        };
        let token = args.http_token.as_deref().map(token_text).transpose()?;
        Ok(Asked { address, token, timeout })
    }

    /// Reads something.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None)
    }

    /// Does something.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask("POST", path, Some(body.to_string()))
    }

    fn ask(&self, method: &str, path: &str, body: Option<String>) -> Result<Value, Failure> {
        let operation = format!("ask the node at {}", self.address);
        let (status, answer) = self.exchange(method, path, body).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => "is it running with this --http?",
                io::ErrorKind::PermissionDenied => "ask as the user that the node runs as",
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "give it more time with --timeout",
                io::ErrorKind::InvalidData => "check the address: is it a node's --http?",
                _ => "check the address",
            };
            Failure::new(&operation, &error, remedy)
        })?;
        let value: Result<Value, _> = serde_json::from_slice(&answer);
        match (status, value) {
            (200..=299, Ok(value)) => Ok(value),
            (401, _) => {
                Err(Failure::new(operation, "it wants a token", "give --http-token FILE with the node's secret"))
            }
            (_, Ok(value)) if value.get("error").is_some() => {
                // It was asked, and says no.
                Err(Failure::plain(
                    format!("have the node at {} do so", self.address),
                    value.get("error").and_then(Value::as_str).unwrap_or_default(),
                ))
            }
            _ => Err(Failure::new(operation, format!("status {status}"), "check the address: is it a node's --http?")),
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            HttpAddress::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, self.timeout)?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            HttpAddress::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                Ok(Box::new(stream))
            }
            #[cfg(not(unix))]
            HttpAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: Option<String>) -> io::Result<(u16, Vec<u8>)> {
        let until = Instant::now() + self.timeout;
        let mut stream = self.connect()?;
        let host = match &self.address {
            HttpAddress::Tcp(address) => address.to_string(),
            HttpAddress::Unix(_) => "localhost".to_owned(),
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(body) = &body {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.as_deref().unwrap_or_default());
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                len => answer.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            }
            if answer.len() > ANSWER_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        take_apart(&answer)
    }
}

/// The status and the body of an answer that is here as a whole.
fn take_apart(answer: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "what came is no answer of HTTP");
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else { return Err(wrong()) };
    let status = response.code.ok_or_else(wrong)?;
    let body = answer.get(head..).unwrap_or_default();
    let told = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let told = told.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    match told {
        Some(len) if len == body.len() => Ok((status, body.to_vec())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer was cut off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(take_apart(whole).unwrap(), (200, b"{}".to_vec()));
        for cut in 0..whole.len() {
            assert!(take_apart(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(take_apart(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
