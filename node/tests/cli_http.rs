//! The administration endpoint of the built program: the API, who may ask, and what slow, rude and many clients cost.

#![cfg(all(unix, feature = "http"))]

mod cli_support;
mod http_support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cli_support::{RunningNode, program, wait_for};
use http_support::{ask, get, http_of, post, raw, read, start};
use serde_json::json;

#[test]
fn the_api_mines_pays_shows_and_checks_a_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &[]);
    let id = node.lines[0].strip_prefix("node ").unwrap();
    assert_eq!(get(&http, "/api/node/ping").json()["nodeId"], id);
    let first = post(&http, "/api/node/mine", &json!({"miner": "ann"})).json();
    assert_eq!((&first["index"], &first["transactions"][0]["to"]), (&json!(1), &json!("ann")));
    let paid = post(&http, "/api/node/transaction", &json!({"from": "ann", "to": "Zoë/ä", "amount": 5})).json();
    assert_eq!(paid["accepted"], true);
    let pending = get(&http, "/api/node/pending").json();
    assert_eq!((&pending["count"], &pending["transactions"][0]["id"]), (&json!(1), &paid["id"]));
    let second = post(&http, "/api/node/mine", &json!({})).json();
    assert_eq!(second["transactions"][1]["id"], paid["id"]);
    let chain = get(&http, "/api/node/chain").json();
    assert_eq!((&chain["length"], chain["blocks"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!(chain["blocks"][2], second);
    assert!(chain.get("next").is_none());
    let part = get(&http, "/api/node/chain?from=1&max=1").json();
    assert_eq!((&part["blocks"][0], &part["next"]), (&first, &json!(2)));
    assert_eq!(get(&http, "/api/node/balance/ann").json()["balance"], 45);
    assert_eq!(get(&http, "/api/node/balance/Zo%C3%AB%2F%C3%A4").json()["balance"], 5);
    assert_eq!(get(&http, "/api/node/balance/nobody").json()["balance"], 0);
    let checked = get(&http, "/api/node/validate").json();
    assert_eq!((&checked["isValid"], &checked["blocks"]), (&json!(true), &json!(3)));
    let status = get(&http, "/api/node/status").json();
    assert_eq!((&status["chainLength"], &status["pendingTransactions"]), (&json!(3), &json!(0)));
    // What cannot be is refused with a word.
    let twice = post(&http, "/api/node/block", &second);
    assert!(twice.status == 200 || twice.status == 409, "{twice:?}");
    let mut wrong = second.clone();
    wrong["nonce"] = json!(7);
    assert_eq!(post(&http, "/api/node/block", &wrong).status, 422);
    assert_eq!(post(&http, "/api/node/transaction", &json!({"from": "network", "to": "x", "amount": 1})).status, 422);
    assert_eq!(post(&http, "/api/node/transaction", &json!({"from": "x"})).status, 400);
    // A block of one node is taken by another.
    let (_other, other_http) = start(&directory.path().join("b"), &[]);
    assert_eq!(post(&other_http, "/api/node/block", &second).status, 409, "its parent is not there");
    assert_eq!(post(&other_http, "/api/node/block", &first).json()["height"], 1);
    assert_eq!(post(&other_http, "/api/node/block", &second).json()["accepted"], true);
    assert_eq!(get(&other_http, "/api/node/chain").json()["blocks"], chain["blocks"]);
}

/// As the download of the C# library: it is no peer.
#[test]
fn clients_that_do_not_introduce_themselves_are_listed_and_counted_apart_from_peers() {
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &["--without-handshake", "127.0.0.0/8"]);
    let mut client = TcpStream::connect(&node.listening()[0]).unwrap();
    // GetHeaders: from genesis, without a stop.
    client.write_all(&[&38u32.to_le_bytes()[..], &[0x20], &[0; 33], &2000i32.to_le_bytes()].concat()).unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    let listed = get(&http, "/api/node/clients").json();
    assert_eq!((&listed[0]["hasAsked"], &listed[0]["isVerified"]), (&json!(true), &json!(false)));
    assert!(listed[0]["name"].as_str().unwrap().starts_with("peer_127.0.0.1_") && listed[1].is_null(), "{listed}");
    assert_eq!(get(&http, "/api/node/peers").json(), json!([]));
    let metrics = get(&http, "/metrics").body;
    assert!(metrics.contains("{direction=\"inbound\",state=\"client\"} 1"), "{metrics}");
}

#[test]
fn a_node_is_told_to_connect_to_sync_and_to_leave() {
    let directory = tempfile::tempdir().unwrap();
    let (ahead, ahead_http) = start(&directory.path().join("a"), &[]);
    for _ in 0..3 {
        post(&ahead_http, "/api/node/mine", &json!({})).json();
    }
    let (_behind, http) = start(&directory.path().join("b"), &[]);
    let alone = post(&http, "/api/node/sync?wait=0", &json!({})).json();
    assert_eq!((&alone["isSynced"], &alone["peers"]), (&json!(false), &json!(0)));
    let target = ahead.listening()[0].clone();
    let done = program(&["connect", &target, "--http", &http, "--json"]).run().json();
    assert!(done["done"].as_str().unwrap().contains(&target));
    wait_for("the download", || post(&http, "/api/node/sync?wait=5", &json!({})).json()["height"] == 3);
    let peers = program(&["peers", "--http", &http, "--json"]).run().json();
    assert_eq!((&peers[0]["direction"], &peers[0]["remote"]), (&json!("outbound"), &json!(target)));
    assert!(peers[0]["bytesIn"].as_u64().unwrap() > 0);
    assert_eq!(program(&["peers", "--http", &http]).run().stdout.lines().count(), 1);
    assert_eq!(program(&["disconnect", &target, "--http", &http]).run().code, 0);
    wait_for("the end", || get(&http, "/api/node/peers").json() == json!([]));
    // The other side may dial back at any time, but here nobody ever was.
    let nobody = program(&["disconnect", "127.0.0.1:1", "--http", &http]).run();
    assert!(nobody.code == 1 && nobody.stderr.contains("no connection with"), "{nobody:?}");
    assert_eq!(post(&http, "/api/node/sync?wait=0", &json!({"wait": 5})).status, 400, "a field that nobody reads");
    assert_eq!(post(&http, "/api/node/peers/connect", &json!({"address": "0.0.0.0:1"})).status, 422);
    assert_eq!(post(&http, "/api/node/peers/connect", &json!({"address": "nowhere"})).status, 422);
}

#[test]
fn whom_the_operator_bans_is_closed_and_not_let_in_until_the_ban_is_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &["--exempt", "none"]);
    let address = node.listening()[0].clone();
    let ping = || {
        program(&["ping", &address, "--count", "1", "--timeout", "5s", "--data-dir"]).path(directory.path()).run().code
    };
    assert_eq!(ping(), 0);
    let mut open = TcpStream::connect(&address).unwrap();
    wait_for("the connection", || get(&http, "/api/node/status").json()["greeting"] == 1);
    let banned = program(&["ban", "add", "127.0.0.1", "--for", "1h", "--reason", "a test", "--http", &http]).run();
    assert_eq!((banned.code, banned.stdout.as_str()), (0, "127.0.0.1 is banned for 3600 s, unless it is exempt\n"));
    open.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    // An end or a reset: it is over.
    let _ = open.read_to_end(&mut rest);
    assert_eq!(ping(), 1);
    let bans = program(&["ban", "list", "--http", &http, "--json"]).run().json();
    assert_eq!(
        (&bans[0]["who"], &bans[0]["by"], &bans[0]["reason"], &bans[1]),
        (&json!("127.0.0.1"), &json!("operator"), &json!("a test"), &json!(null))
    );
    assert_eq!(get(&http, "/api/node/bans").json()["count"], 1);
    assert_eq!(program(&["ban", "remove", "127.0.0.1", "--http", &http]).run().code, 0);
    assert_eq!(program(&["ban", "remove", "127.0.0.1", "--http", &http]).run().code, 1, "it is lifted");
    assert_eq!(ping(), 0);
    assert_eq!(post(&http, "/api/node/ban", &json!({"who": "10.0.0.0/8:80"})).status, 422);
    assert_eq!(post(&http, "/api/node/ban", &json!({"who": "192.0.2.7", "seconds": 0})).status, 422);
}

#[test]
fn limits_of_bandwidth_change_while_the_node_runs_and_those_that_are_not_named_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &["--max-upload", "1MiB"]);
    let limits = || {
        let all = get(&http, "/api/node/limits").json();
        ["maxUpload", "maxDownload", "maxUploadPerPeer"].map(|name| all[name].as_u64())
    };
    assert_eq!(limits(), [Some(1 << 20), None, None]);
    assert_eq!(post(&http, "/api/node/limits", &json!({"maxDownload": 500_000})).status, 200);
    assert_eq!(limits(), [Some(1 << 20), Some(500_000), None]);
    let changed = post(&http, "/api/node/limits", &json!({"maxUpload": null, "maxUploadPerPeer": 7_000}));
    assert_eq!(changed.json(), json!({"maxUpload": null, "maxDownload": 500_000, "maxUploadPerPeer": 7_000}));
    assert_eq!(limits(), [None, Some(500_000), Some(7_000)]);
    let told = program(&["limits", "--max-upload", "8Mbit", "--max-download", "none", "--http", &http]).run();
    assert_eq!(
        told.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect::<Vec<_>>(),
        [["maxDownload", "none"], ["maxUpload", "1000000"], ["maxUploadPerPeer", "7000"]]
    );
    assert_eq!(limits(), [Some(1_000_000), None, Some(7_000)]);
    let shown = program(&["limits", "--http", &http, "--json"]).run().json();
    assert_eq!((&shown["maxUpload"], &shown["connectionsMax"]), (&json!(1_000_000), &json!(128)));
    assert_eq!(program(&["limits", "--max-upload", "0", "--http", &http]).run().code, 2);
    post(&http, "/api/node/limits", &json!({"maxUpload": null, "maxDownload": 500_000}));
    for wrong in [json!({"maxUpload": 0}), json!({"maxUpload": -1}), json!({"maxup": 1})] {
        assert!([400, 422].contains(&post(&http, "/api/node/limits", &wrong).status), "{wrong}");
    }
    assert_eq!(limits(), [None, Some(500_000), Some(7_000)]);
}

/// Whose browser stands on a bad page must not have his node driven by it.
#[test]
fn no_web_page_drives_a_node_and_no_name_that_was_made_to_lead_here_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &[]);
    let json = "Content-Type: application/json";
    let status =
        |method: &str, headers: &[&str]| ask(&http, method, "/api/node/log", headers, r#"{"level":"info"}"#).status;
    assert_eq!(status("POST", &[json]), 200);
    assert_eq!(status("POST", &[json, "Host: rebound.example.net"]), 421);
    assert_eq!(status("POST", &[json, "Origin: https://example.net"]), 403);
    assert_eq!(status("POST", &[json, "Origin: null"]), 403);
    assert_eq!(status("POST", &[json, "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(status("POST", &["Content-Type: text/plain"]), 415);
    assert_eq!(status("POST", &[json, &format!("Origin: http://{http}")]), 200);
    let preflight = ask(&http, "OPTIONS", "/api/node/stop", &["Origin: https://example.net"], "");
    assert_eq!(preflight.status, 403);
    assert!(!preflight.head.to_ascii_lowercase().contains("access-control"));
    let options = ask(&http, "OPTIONS", "/api/node/stop", &[], "");
    assert_eq!(options.status, 405);
    assert_eq!(ask(&http, "DELETE", "/api/node/ping", &[], "").status, 405);
    assert_eq!(get(&http, "/nowhere").status, 404);
    assert_eq!(get(&http, "/api/node/peers?max=70000").status, 400);
}

#[test]
fn other_machines_need_a_token_and_so_does_everybody_then() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let refused = program(&["run", "--listen", "127.0.0.1:0", "--http", "0.0.0.0:0", "--data-dir"]).path(&data).run();
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--http-token"), "{}", refused.stderr);
    let token = directory.path().join("token");
    fs::write(&token, "short\n").unwrap();
    let with_token = ["--http", "0.0.0.0:0", "--http-token", token.to_str().unwrap()];
    let short = program(&["run", "--listen", "127.0.0.1:0", "--data-dir"]).path(&data).args(&with_token).run();
    assert_eq!(short.code, 1);
    assert!(short.stderr.contains("16 or more"), "{}", short.stderr);
    fs::write(&token, "correct-horse-battery\nanother line\n").unwrap();
    let node = RunningNode::start(&data, &[&["--listen", "127.0.0.1:0"], &with_token[..]].concat());
    let http = http_of(&node).replace("0.0.0.0", "127.0.0.1");
    let with = |token: &str| ask(&http, "GET", "/metrics", &[&format!("Authorization: Bearer {token}")], "").status;
    assert_eq!((with("correct-horse-battery"), with("correct-horse-batterz"), with("")), (200, 401, 401));
    assert_eq!(get(&http, "/api/node/ping").status, 401);
    let wrong = program(&["status", "--http", &http]).run();
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("--http-token"), "{}", wrong.stderr);
    let right = program(&["status", "--http", &http, "--http-token", token.to_str().unwrap()]).run();
    assert!(right.code == 0 && right.stdout.contains("height 0"), "{right:?}");
}

#[test]
fn a_socket_in_the_file_system_is_for_its_owner_and_goes_with_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("http.sock");
    let at = format!("unix:{}", socket.display());
    // Left by one that was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let node = RunningNode::start(&directory.path().join("a"), &["--listen", "127.0.0.1:0", "--http", &at]);
    assert_eq!(http_of(&node), at);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /api/node/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read(&mut stream).status, 200);
    assert_eq!(program(&["status", "--http", &at]).run().code, 0);
    let second = program(&["run", "--listen", "127.0.0.1:0", "--http", &at, "--data-dir"])
        .path(&directory.path().join("b"))
        .run();
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("another process answers there"), "{}", second.stderr);
    let stopped = program(&["stop", "--http", &at]).run();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    wait_for("the end of the socket", || !socket.exists());
    assert_eq!(node.stop_with("-0").code, 0);
    // A file that is no socket is nobody's to remove.
    fs::write(&socket, "precious").unwrap();
    let refused = program(&["run", "--listen", "127.0.0.1:0", "--http", &at, "--data-dir"])
        .path(&directory.path().join("b"))
        .run();
    assert_eq!((refused.code, fs::read_to_string(&socket).unwrap().as_str()), (1, "precious"));
}

/// A scrape must not wait for those who never finish a request, nor for those who never read.
#[test]
fn more_slow_clients_than_places_and_a_viewer_who_does_not_read_keep_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &[]);
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(&http).unwrap();
        let begun: &[u8] = if n % 2 == 0 {
            b"GET /met"
        } else {
            b"POST /api/node/block HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
        };
        // Those that gave way hear of it at their next word.
        let _ = stream.write_all(begun);
        slow.push(stream);
    }
    let mut viewer = TcpStream::connect(&http).unwrap();
    viewer.write_all(b"GET /api/node/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut beginning = [0; 15];
    viewer.read_exact(&mut beginning).unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200 OK");
    for _ in 0..20 {
        let answer = get(&http, "/metrics");
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("spacetime_http_viewers 1\n"), "{}", answer.body);
    }
    drop(slow);
}

#[test]
fn a_connection_is_kept_and_answers_come_in_the_order_of_their_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &[]);
    let mut stream = TcpStream::connect(&http).unwrap();
    let one = format!("GET /api/node/ping HTTP/1.1\r\nHost: {http}\r\n\r\n");
    let last = format!("GET /api/node/limits HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    // Byte by byte, so that no part of a request comes as somebody expects it.
    for byte in format!("{one}{one}HEAD /metrics HTTP/1.1\r\nHost: {http}\r\n\r\n{last}").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let answers: Vec<&str> = text.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), 4, "{text}");
    assert!(answers[0].contains("nodeId") && answers[1].contains("nodeId"));
    assert!(answers[2].contains("Content-Length: ") && answers[2].ends_with("\r\n\r\n"), "{}", answers[2]);
    assert!(answers[3].contains("connectionsMax"));
    // What waits for a word gets it.
    let mut stream = TcpStream::connect(&http).unwrap();
    let head = format!(
        "POST /api/node/log HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/json\r\nContent-Length: 16\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(br#"{"level":"info"}"#).unwrap();
    assert_eq!(read(&mut stream).status, 200);
    assert_eq!(raw(&http, "GET / HTTP/9.9\r\n\r\n").status, 505);
    assert_eq!(raw(&http, &"x".repeat(9000)).status, 431);
}

/// The names and labels of all series.
fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// A label that strangers choose makes a series of each of them, until nothing that collects the metrics has memory left.
#[test]
fn ten_thousand_strangers_make_no_series() {
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &["--exempt", "none"]);
    let before = series(&get(&http, "/metrics").body);
    assert!(before.len() > 300, "{}", before.len());
    let address = node.listening()[0].clone();
    let strangers: Vec<_> = (0..4_u32)
        .map(|thread| {
            let address = address.clone();
            std::thread::spawn(move || {
                for n in 0..2_500_u32 {
                    let Ok(mut stream) = TcpStream::connect(&address) else { continue };
                    // Rubbish of many kinds; nobody waits for what becomes of it.
                    let kind = (n % 256) as u8;
                    let len = 1 + (n * 7 + thread) % 40;
                    let mut frame = len.to_le_bytes().to_vec();
                    frame.push(kind);
                    frame.extend((1..len).map(|at| (at * n + thread) as u8));
                    let _ = stream.write_all(&frame);
                }
            })
        })
        .collect();
    for stranger in strangers {
        stranger.join().unwrap();
    }
    let after = get(&http, "/metrics").body;
    assert_eq!(series(&after), before);
    let turned: f64 = after
        .lines()
        .filter(|line| line.starts_with("spacetime_turned_away_total") || line.starts_with("spacetime_closes_total"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert!(turned > 0.0, "somebody was there");
}

#[test]
fn the_level_of_the_log_changes_while_the_node_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (node, http) = start(&directory.path().join("a"), &["--log-level", "error"]);
    assert_eq!(get(&http, "/api/node/log").json()["level"], "error");
    let changed = program(&["log", "debug", "--http", &http]).run();
    assert_eq!((changed.code, changed.stdout.as_str()), (0, "the log is at debug now\n"));
    post(&http, "/api/node/mine", &json!({})).json();
    wait_for("the line", || program(&["log", "--http", &http]).run().stdout.contains("block accepted"));
    assert_eq!(post(&http, "/api/node/log", &json!({"level": "loud"})).status, 422);
    let log = node.stop_with("-TERM").stderr;
    assert!(log.contains("block accepted"), "{log}");
}

/// logrotate moves a log away and says so.
#[test]
fn a_log_in_a_file_is_opened_anew_on_sighup_and_the_node_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (log, moved) = (directory.path().join("node.log"), directory.path().join("node.log.1"));
    let (node, http) = start(&directory.path().join("a"), &["--log-file", log.to_str().unwrap()]);
    wait_for("the first line", || fs::read_to_string(&log).is_ok_and(|text| text.contains("running")));
    fs::rename(&log, &moved).unwrap();
    let hang_up = std::process::Command::new("kill").args(["-HUP", &node.id()]).status().unwrap();
    assert!(hang_up.success());
    wait_for("the new file", || {
        post(&http, "/api/node/log", &json!({"level": "info"})).json();
        log.exists()
    });
    let done = node.stop_with("-TERM");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(fs::read_to_string(&log).unwrap().contains("stopped"));
    assert!(!fs::read_to_string(&moved).unwrap().contains("stopped"));
}
