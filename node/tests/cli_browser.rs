//! The live view in a real browser: it loads, shows what happens, survives the node's end, and 500 peers do not make it stutter.
//!
//! Left out with a word where no Chromium is installed. `SCREENSHOTS=DIR` keeps pictures.

#![cfg(all(target_os = "linux", feature = "http"))]

mod cli_support;
mod http_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use cli_support::{RunningNode, wait_for};
use http_support::browser::{Browser, installed};
use http_support::{get, post, start};
use serde_json::json;
use spacetime_network::wire::Message;
use spacetime_network::wire::message::Handshake;

/// Keeps a picture where somebody has asked for pictures.
fn keep(browser: &mut Browser, name: &str) {
    let Some(directory) = std::env::var_os("SCREENSHOTS") else { return };
    let picture = browser.picture();
    let path = std::path::Path::new(&directory).join(name);
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(path).unwrap())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(picture.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_page_shows_blocks_as_they_come_and_finds_the_node_again() {
    let Some(program) = installed() else {
        return eprintln!("no Chromium is installed: the live view is not tested");
    };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let (node, http) = start(&data, &[]);
    let mut browser = Browser::start(&program, directory.path(), &[]);
    browser.looks((1280, 1500), "light");
    browser.visit(&format!("http://{http}/"));
    browser.wait_for("document.querySelector('#live')?.dataset.state === 'on'");
    browser.wait_for("document.querySelector('#height').textContent === '0'");
    for height in 1..=5 {
        post(&http, "/api/node/mine", &json!({"miner": "<b>ann</b>"})).json();
        browser.wait_for(&format!("document.querySelector('#height').textContent === '{height}'"));
    }
    browser.wait_for("document.querySelectorAll('#blocks li').length === 5");
    // What a stranger chose is text.
    browser.wait_for("document.querySelector('#blocks').textContent.includes('<b>ann</b>')");
    browser.wait_for("document.querySelector('#log').textContent.includes('new tip')");
    // With the keyboard alone: the first button sorts by node.
    browser.value("document.querySelector('th button').focus()");
    for kind in ["keyDown", "keyUp"] {
        let key = json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
        browser.call("Input.dispatchKeyEvent", key);
    }
    browser.wait_for("document.querySelector('th').getAttribute('aria-sort') !== 'none'");
    keep(&mut browser, "five-blocks.png");
    browser.looks((1280, 1500), "dark");
    browser.wait_for("getComputedStyle(document.body).backgroundColor === 'rgb(15, 18, 22)'");
    keep(&mut browser, "dark.png");
    browser.looks((390, 844), "light");
    browser.wait_for("document.documentElement.scrollWidth <= 390");
    keep(&mut browser, "phone.png");
    // The node ends, and comes back at the same place.
    assert_eq!(node.stop_with("-TERM").code, 0);
    browser.wait_for("document.querySelector('#live').dataset.state === 'off'");
    let again = RunningNode::start(&data, &["--listen", "127.0.0.1:0", "--http", &http]);
    browser.wait_for("document.querySelector('#live').dataset.state === 'on'");
    browser.wait_for("document.querySelector('#height').textContent === '5'");
    drop(again);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// A peer that only greets.
fn greet(address: &str, n: u32) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let (node_id, user_agent) = (format!("{n:064x}"), format!("<i>agent {n}</i>"));
    let unix_seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let mut bytes = Vec::new();
    let greeting = Handshake { version: 1, unix_seconds, node_id: &node_id, user_agent: &user_agent, extension: None };
    Message::Handshake(greeting).encode(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    stream
}

#[test]
fn five_hundred_peers_are_shown_and_sorted_without_a_stutter() {
    let Some(program) = installed() else {
        return eprintln!("no Chromium is installed: the live view is not tested");
    };
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &["--max-connections", "600"]);
    let address = node.listening()[0].clone();
    let peers: Vec<TcpStream> = (0..500).map(|n| greet(&address, n)).collect();
    wait_for("the peers", || get(&http, "/api/node/status").json()["peers"] == 500);
    let mut browser = Browser::start(&program, directory.path(), &[]);
    browser.looks((1280, 1500), "light");
    browser.visit(&format!("http://{http}/"));
    browser.wait_for("document.querySelectorAll('#rows tr').length === 500");
    browser.wait_for("document.querySelector('#peer-count').textContent === '500'");
    browser.wait_for("document.querySelector('#rows').textContent.includes('<i>agent 7</i>')");
    // What is new changes texts, and neither makes rows nor moves them: a page that redoes everything stutters with every piece of news.
    browser.value(
        "window.made = 0; new MutationObserver((all) => { window.made += all.length; }).observe(document.querySelector('#rows'), { childList: true }); \
         document.querySelectorAll('#rows tr').forEach((row) => { row.marked = true; }); window.before = document.querySelector('#turn-longest').textContent + last.unixMillis",
    );
    browser.wait_for("document.querySelector('#turn-longest').textContent + last.unixMillis !== window.before");
    let marked = browser.value("[...document.querySelectorAll('#rows tr')].filter((row) => row.marked).length");
    assert_eq!((marked, browser.value("window.made")), (json!(500), json!(0)));
    if std::env::var_os("SCREENSHOTS").is_some() {
        let longest = browser.value(
            "new Promise((done) => { let longest = 0; const watch = new PerformanceObserver((list) => list.getEntries().forEach((entry) => { longest = Math.max(longest, entry.duration); })); \
             watch.observe({ type: 'longtask' }); setTimeout(() => { watch.disconnect(); done(longest); }, 7000); })",
        );
        eprintln!("longest task of the page with 500 peers in 7 s: {longest} ms (0: none above 50 ms)");
    }
    let column = "document.querySelectorAll('#rows tr td:first-child')";
    browser.value("document.querySelector('th button').click()");
    browser.wait_for(&format!("{column}[0].textContent <= {column}[499].textContent"));
    keep(&mut browser, "five-hundred.png");
    drop(peers);
    browser.wait_for("document.querySelectorAll('#rows tr').length === 0");
    assert_eq!(browser.complaints, Vec::<String>::new());
}
