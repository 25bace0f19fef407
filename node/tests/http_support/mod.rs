//! A client of a node's administration endpoint: plain requests over a socket, as anybody could send them.

#![allow(dead_code, reason = "each test uses a part of it")]

#[cfg(target_os = "linux")]
pub(crate) mod browser;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cli_support::RunningNode;

/// How long anything may take: it only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Its body, of one that says yes.
    pub(crate) fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Where a node says that it answers.
pub(crate) fn http_of(node: &RunningNode) -> String {
    node.lines.iter().find_map(|line| line.strip_prefix("http ")).expect("the node has an endpoint").to_owned()
}

/// A node that listens and answers on free ports of loopback.
pub(crate) fn start(data: &Path, arguments: &[&str]) -> (RunningNode, String) {
    let mut all = vec!["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    all.extend_from_slice(arguments);
    let node = RunningNode::start(data, &all);
    let http = http_of(&node);
    (node, http)
}

/// Sends these bytes and reads to the end.
pub(crate) fn raw(address: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read(&mut stream)
}

/// An answer to the end of the stream.
pub(crate) fn read(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Asks with these headers more.
pub(crate) fn ask(address: &str, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
    raw(address, &format!("{request}\r\n{body}"))
}

pub(crate) fn get(address: &str, path: &str) -> Answer {
    ask(address, "GET", path, &[], "")
}

pub(crate) fn post(address: &str, path: &str, body: &Value) -> Answer {
    ask(address, "POST", path, &["Content-Type: application/json"], &body.to_string())
}
