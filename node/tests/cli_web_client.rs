//! The client in `clients/js` against a running node: in Node.js, and in a real browser with the page beside it.
//!
//! Each is left out with a word where it is not installed. `SCREENSHOTS=DIR` keeps a picture of the page.

#![cfg(all(target_os = "linux", feature = "http"))]

mod cli_support;
mod http_support;
#[path = "cli_support/tls.rs"]
mod tls;
#[path = "cli_support/web.rs"]
mod web;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cli_support::RunningNode;
use http_support::browser::{Browser, installed};
use http_support::{post, start};
use serde_json::{Value, json};
use spacetime_network::chain::Params;
use tls::{Office, borrowed};
use web::web_of;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/js")
}

fn network() -> String {
    Params::default().genesis().header.hash().to_string()
}

fn mine(http: &str, count: usize) {
    for _ in 0..count {
        post(http, "/api/node/mine", &json!({"miner": "ann"})).json();
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_client_refuses_what_no_honest_node_says() {
    let Ok(done) = Command::new("node").arg(folder().join("test/offline.mjs")).output() else {
        return eprintln!("no Node.js is installed: the client is not tested there");
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_client_follows_the_chain_and_pays_in_node_js() {
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &["--listen-ws", "127.0.0.1:0"]);
    mine(&http, 3);
    let mut command = Command::new("node");
    command.args(["--experimental-websocket", "--no-warnings"]).arg(folder().join("test/node.mjs"));
    let spawned = command.args([web_of(&node.lines).0, network()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(child) = spawned else {
        return eprintln!("no Node.js is installed: the client is not tested there");
    };
    let mut child = Running(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut input = child.0.stdin.take().unwrap();
    let mut height = 3;
    for line in lines.by_ref() {
        let line = line.unwrap();
        if line == "no WebSocket" {
            return eprintln!("this Node.js has no WebSocket: the client is not tested there");
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        if said["sent"].is_string() || said["found"] == false {
            // What was sent may come behind the block that is mined meanwhile; then it is in the next.
            height += 1;
            mine(&http, 1);
            writeln!(input, "{height}").unwrap();
        }
        if said["found"] == true {
            break;
        }
    }
    assert!(child.0.wait().unwrap().success());
}

/// Serves the client's folder to a browser, a file to a connection.
fn serve_files() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
            let (name, kind) = match path.as_str() {
                "/" => ("index.html", "text/html"),
                "/spacetime.js" => ("spacetime.js", "text/javascript"),
                _ => ("", ""),
            };
            let (status, body) = match std::fs::read(folder().join(name)) {
                Ok(body) if !name.is_empty() => ("200 OK", body),
                _ => ("204 No Content", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

#[test]
fn a_page_is_a_peer_that_shows_blocks_and_pays_and_comes_back() {
    let Some(chromium) = installed() else {
        return eprintln!("no Chromium is installed: the page is not tested");
    };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let (node, http) = start(&data, &["--listen-ws", "127.0.0.1:0"]);
    mine(&http, 2);
    let (url, address) = web_of(&node.lines);
    let files = serve_files();
    let mut browser = Browser::start(&chromium, directory.path(), &[]);
    browser.looks((860, 440), "light");
    browser.visit(&format!("http://{files}/?url={url}&network={}", network()));
    browser.wait_for("document.querySelector('#state').textContent.startsWith('Connected')");
    browser.wait_for("document.querySelector('#height').textContent === '2'");
    browser.value(
        "for (const [id, text] of [['from', 'ann'], ['to', 'bob'], ['amount', '7']]) document.getElementById(id).value = text; \
         document.querySelector('#pay button').click()",
    );
    browser.wait_for("document.querySelector('#state').textContent.startsWith('Sent')");
    cli_support::wait_for("the payment in a block", || {
        mine(&http, 1);
        browser.value("document.querySelector('#blocks').textContent.includes('ann → bob: 7')") == json!(true)
    });
    if let Some(pictures) = std::env::var_os("SCREENSHOTS") {
        let mut child = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(Path::new(&pictures).join("peer-in-a-page.png")).unwrap())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(browser.picture().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    // The node goes away and comes back at the same place: so does the page.
    assert_eq!(node.stop_with("-TERM").code, 0);
    browser.wait_for("document.querySelector('#state').textContent.startsWith('Lost')");
    let again = RunningNode::start(&data, &["--listen", "127.0.0.1:0", "--listen-ws", &address]);
    browser.wait_for("document.querySelector('#state').textContent.startsWith('Connected')");
    drop(again);
}

/// A browser has no certificate of its own, and takes a node's like that of any other server: here it is told to trust this one.
#[test]
fn a_page_is_a_peer_over_tls_where_the_browser_trusts_the_nodes_certificate() {
    let Some(chromium) = installed() else {
        return eprintln!("no Chromium is installed: the page is not tested");
    };
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let mut flags = office.flags("node", &["127.0.0.1"]);
    flags.extend(["--tls-clients", "optional"].map(str::to_owned));
    let Some(hash) = office.key_hash("node") else {
        return eprintln!("no OpenSSL is installed: no certificate can be named to the browser");
    };
    let trusted = format!("--ignore-certificate-errors-spki-list={hash}");
    let arguments = [&["--listen-ws", "127.0.0.1:0"], &borrowed(&flags)[..]].concat();
    let (node, http) = start(&directory.path().join("a"), &arguments);
    mine(&http, 2);
    let (url, _) = web_of(&node.lines);
    assert!(url.starts_with("wss://"), "{url}");
    let page = format!("http://{}/?url={url}&network={}", serve_files(), network());
    for (place, options, state) in [("trusts", &[&*trusted][..], "Connected"), ("does not", &[][..], "Lost")] {
        let profile = directory.path().join(place);
        std::fs::create_dir(&profile).unwrap();
        let mut browser = Browser::start(&chromium, &profile, options);
        browser.visit(&page);
        browser.wait_for(&format!("document.querySelector('#state').textContent.startsWith('{state}')"));
    }
}
