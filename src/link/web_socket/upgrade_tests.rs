//! Upgrades as they are asked for and answered, in any pieces, and what is none.

use super::*;
use proptest::prelude::*;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A request with these lines in place of, or beside, those that it has to have.
fn asks(first: &str, lines: &[&str]) -> String {
    format!("{first}\r\n{}\r\n", lines.concat())
}

fn good() -> String {
    asks(
        "GET / HTTP/1.1",
        &[
            "Host: node:1\r\n",
            "Upgrade: websocket\r\n",
            "Connection: Upgrade\r\n",
            KEY,
            "Sec-WebSocket-Version: 13\r\n",
        ],
    )
}

fn server() -> Upgrade {
    Upgrade::server(Arc::new(WebSocketOptions::default()))
}

/// The status of the answer.
fn status(say: &[u8]) -> u16 {
    let text = core::str::from_utf8(say).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    if !head.starts_with("HTTP/1.1 101 ") {
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len()))
                || head.ends_with(&format!("Content-Length: {}", body.len())),
            "{text}"
        );
    }
    head[9..12].parse().unwrap()
}

fn answer_to(request: &str) -> u16 {
    match server().take(request.as_bytes()) {
        Step::Done { say, used } => {
            assert_eq!(used, request.len());
            status(&say)
        }
        Step::Refused { say, .. } => status(&say),
        Step::NeedMore => 0,
    }
}

#[test]
fn an_upgrade_is_answered_as_the_specification_says() {
    let Step::Done { say, .. } = server().take(good().as_bytes()) else { panic!("refused") };
    let text = String::from_utf8(say).unwrap();
    assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    assert!(!text.contains("Extensions"), "nothing is compressed");
}

#[test]
fn what_is_no_upgrade_gets_an_answer_that_says_what_is_missing() {
    let with = |from: &str, to: &str| answer_to(&good().replace(from, to));
    assert_eq!(answer_to(&good()), 101);
    assert_eq!(answer_to("GET / HTTP/1.1\r\nHost: node\r\n\r\n"), 426);
    assert_eq!(answer_to("HEAD / HTTP/1.1\r\nHost: node\r\n\r\n"), 426);
    assert_eq!(answer_to("GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n"), 404);
    assert_eq!(with("GET / ", "GET /other "), 404);
    assert_eq!(with("GET / ", "GET /?a=b "), 101);
    assert_eq!(with("GET", "POST"), 426);
    assert_eq!(with("HTTP/1.1", "HTTP/1.0"), 426);
    assert_eq!(with("Upgrade: websocket", "Upgrade: h2c"), 426);
    assert_eq!(with("Upgrade: websocket", "Upgrade: h2c, WebSocket"), 101);
    assert_eq!(with("Connection: Upgrade", "Connection: close"), 426);
    assert_eq!(with("Connection: Upgrade", "Connection: keep-alive, upgrade"), 101);
    assert_eq!(with("Version: 13", "Version: 8"), 426);
    assert_eq!(with("Sec-WebSocket-Version: 13\r\n", ""), 426);
    assert_eq!(with("Host: node:1\r\n", ""), 400);
    assert_eq!(with("Host: node:1\r\n", "Host: a\r\nHost: b\r\n"), 400);
    assert_eq!(with(KEY, ""), 400);
    assert_eq!(with(KEY, &KEY.repeat(2)), 400);
    assert_eq!(with("dGhl", "dG"), 400);
    assert_eq!(with(KEY, &format!("{KEY}Content-Length: 5\r\n")), 400);
    assert_eq!(with(KEY, &format!("{KEY}Transfer-Encoding: chunked\r\n")), 400);
    assert_eq!(with(KEY, &format!("{KEY}Sec-WebSocket-Extensions: permessage-deflate\r\n")), 101);
    assert_eq!(with("Host: node:1\r\n", "Host node\r\n"), 400);
    assert_eq!(with(KEY, &format!("{KEY}Origin: https://evil.example\r\n")), 403);
    assert_eq!(with(KEY, &format!("{KEY}Origin: http://NODE:8080\r\n")), 101);
    assert_eq!(answer_to("\0\0\0\x05\x01"), 400);
    assert_eq!(answer_to(&format!("GET /{}", "a".repeat(HEAD_MAX))), 431);
}

#[test]
fn what_is_no_http_is_refused_by_its_first_bytes_in_what_it_speaks_where_we_can() {
    let Step::Refused { say, fault } = server().take(&[22, 3, 1, 2, 0, 1]) else { panic!("taken") };
    assert_eq!((say.as_slice(), fault), (Foreign::TlsHello.answer(), WebSocketFault::NotAnUpgrade));
    let Step::Refused { say, .. } = server().take(b"SSH-2.0-x\r\n") else { panic!("taken") };
    assert_eq!(say, Foreign::Ssh.answer());
    assert_eq!(server().take(b"GE"), Step::NeedMore);
}

#[test]
fn a_head_is_collected_within_its_bound_however_slowly_it_comes() {
    let mut upgrade = server();
    let mut sent = 0;
    let refused = loop {
        match upgrade.take(b"a") {
            Step::NeedMore => sent += 1,
            other => break other,
        }
    };
    assert!(matches!(refused, Step::Refused { .. }) && sent < HEAD_MAX, "{sent}");
    let mut upgrade = server();
    assert_eq!(upgrade.take(b"GET / HTTP/1.1\r\nX: "), Step::NeedMore);
    while upgrade.take(&[b'x'; 100]) == Step::NeedMore {
        assert!(upgrade.held() <= 2 * HEAD_MAX);
    }
    assert_eq!(upgrade.room(), 0);
}

#[test]
fn we_and_ourselves_agree_and_a_wrong_answer_is_seen() {
    let target: WebSocketTarget = "node:1/".parse().unwrap();
    let (_, request) = Upgrade::client(&target, [9; 16]);
    let Step::Done { say, .. } = server().take(&request) else { panic!("we refuse ourselves") };
    let ends = |answer: &[u8]| Upgrade::client(&target, [9; 16]).0.take(answer);
    assert_eq!(ends(&say), Step::Done { say: Vec::new(), used: say.len() });
    let text = String::from_utf8(say.clone()).unwrap();
    for (from, to) in [
        ("Accept: ", "Accept: x"),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Upgrade: websocket\r\n", "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
        ("Upgrade: websocket\r\n", "Upgrade: websocket\r\nSec-WebSocket-Protocol: x\r\n"),
    ] {
        let fault = WebSocketFault::BadUpgrade;
        assert_eq!(ends(text.replace(from, to).as_bytes()), Step::Refused { say: Vec::new(), fault }, "{from}");
    }
    let refused = |fault| Step::Refused { say: Vec::new(), fault };
    assert_eq!(ends(answer(404).as_bytes()), refused(WebSocketFault::Refused(404)));
    assert_eq!(ends(&[5, 0, 0, 0, 1]), refused(WebSocketFault::BadUpgrade));
    assert_eq!(ends(&[&b"HTTP/1.1 101 X\r\nX: "[..], &[b'x'; HEAD_MAX]].concat()), refused(WebSocketFault::BadUpgrade));
}

#[test]
fn whoever_is_turned_away_before_a_word_hears_the_same_as_afterwards() {
    assert_eq!(status(super::super::TURNED_AWAY), 503);
}

proptest! {
    #[test]
    fn a_head_in_any_pieces_comes_to_the_same_and_what_follows_is_left(
        cuts in prop::collection::vec(1usize..60, 0..20),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (head, mut stream) = (good().len(), good().into_bytes());
        stream.extend_from_slice(&behind);
        let (mut upgrade, mut at) = (server(), 0);
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let end = at + cut.min(stream.len() - at);
            match upgrade.take(&stream[at..end]) {
                Step::NeedMore => prop_assert!(end < head),
                Step::Done { used, .. } => {
                    prop_assert_eq!(at + used, head);
                    return Ok(());
                }
                Step::Refused { .. } => prop_assert!(false, "refused"),
            }
            at = end;
        }
        prop_assert!(false, "never done");
    }

    #[test]
    fn any_bytes_are_judged_within_the_bound(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for upgrade in [server(), Upgrade::client(&"a:1".parse().unwrap(), [1; 16]).0] {
            let mut upgrade = upgrade;
            for piece in bytes.chunks(7) {
                if upgrade.take(piece) != Step::NeedMore {
                    break;
                }
            }
            prop_assert!(upgrade.held() <= 2 * HEAD_MAX);
        }
    }
}
