//! The conversation byte by byte: what is said, what each answer comes to, and what is left to the peer.

use super::{Credentials, Handshake, Login, Proxy, Target};
use crate::close::ProxyFault;
use crate::rng::Rng;

const V4: [u8; 10] = [5, 0, 0, 1, 127, 0, 0, 1, 0, 9];
const KEY: u64 = 7;

fn proxy(login: Login) -> Proxy {
    let mut proxy = Proxy::new("127.0.0.1:9050".parse().unwrap());
    proxy.login = login;
    proxy
}

fn user() -> Login {
    Login::User(Credentials::new("me", "pw").unwrap())
}

fn to(login: Login) -> Handshake {
    Handshake::new(&proxy(login), Target::name("a.onion", 7).unwrap(), KEY)
}

/// What it says next.
fn said(handshake: &mut Handshake) -> Vec<u8> {
    let said = handshake.unsent().to_vec();
    handshake.wrote(said.len());
    said
}

/// Gives it bytes, never more than it wants, and answers what is left of them.
fn feed<'a>(handshake: &mut Handshake, mut bytes: &'a [u8]) -> (Result<bool, ProxyFault>, &'a [u8]) {
    let mut end = handshake.take(&mut &[][..]);
    while end == Ok(false) && !bytes.is_empty() {
        let (mut part, rest) = bytes.split_at(handshake.wanted().min(bytes.len()));
        assert!(!part.is_empty(), "who is not done wants something");
        end = handshake.take(&mut part);
        assert!(part.is_empty() || end.is_err(), "what is wanted is the proxy's own");
        bytes = rest;
    }
    (end, bytes)
}

/// It takes these, and waits for more.
fn goes_on(handshake: &mut Handshake, bytes: &[u8]) {
    assert_eq!(feed(handshake, bytes), (Ok(false), &[][..]));
}

/// One that has asked for a connection.
fn asked() -> Handshake {
    let mut handshake = to(Login::Nobody);
    assert_eq!(feed(&mut handshake, &[5, 0]).0, Ok(false));
    handshake
}

#[test]
fn a_name_goes_to_the_proxy_as_a_name_and_without_a_user_nothing_is_said_of_one() {
    let mut handshake = to(Login::Nobody);
    assert_eq!(said(&mut handshake), [5, 1, 0]);
    assert_eq!(feed(&mut handshake, &[5, 0]), (Ok(false), &[][..]));
    assert_eq!(said(&mut handshake), b"\x05\x01\x00\x03\x07a.onion\x00\x07");
    assert_eq!(feed(&mut handshake, &V4), (Ok(true), &[][..]));
    assert_eq!((handshake.wanted(), handshake.unsent()), (0, &[][..]));
}

#[test]
fn addresses_go_as_their_kind_and_a_mapped_one_as_ipv4() {
    for (address, bytes) in [
        ("192.0.2.7:258", &b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\x02"[..]),
        ("[::ffff:192.0.2.7]:258", b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\x02"),
        ("[2001:db8::7]:258", b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x01\x02"),
    ] {
        let mut handshake = Handshake::new(&proxy(Login::Nobody), Target::address(address.parse().unwrap()), KEY);
        said(&mut handshake);
        goes_on(&mut handshake, &[5, 0]);
        assert_eq!(said(&mut handshake), bytes, "{address}");
    }
}

#[test]
fn a_user_logs_in_where_the_proxy_asks_and_only_there() {
    let mut handshake = to(user());
    assert_eq!(said(&mut handshake), [5, 2, 0, 2]);
    assert_eq!(feed(&mut handshake, &[5, 2]).0, Ok(false));
    assert_eq!(said(&mut handshake), b"\x01\x02me\x02pw");
    assert_eq!(feed(&mut handshake, &[1, 0]).0, Ok(false));
    assert_eq!(said(&mut handshake)[..4], [5, 1, 0, 3]);
    assert_eq!(feed(&mut handshake, &V4).0, Ok(true));
    let mut open = to(user());
    said(&mut open);
    assert_eq!(feed(&mut open, &[5, 0]).0, Ok(false));
    assert_eq!(said(&mut open)[..4], [5, 1, 0, 3], "it wants none");
}

#[test]
fn each_destination_has_a_user_of_its_own_that_says_nothing_and_no_proxy_is_used_that_ignores_it() {
    let login_of = |host: &str, key: u64| {
        let mut handshake = Handshake::new(&proxy(Login::PerDestination), Target::name(host, 7).unwrap(), key);
        assert_eq!(said(&mut handshake), [5, 1, 2]);
        assert_eq!(feed(&mut handshake, &[5, 2]).0, Ok(false));
        said(&mut handshake)
    };
    let one = login_of("a.onion", 1);
    assert_eq!((one.len(), one[1], one[18]), (35, 16, 16), "neither is empty");
    assert!(!one.windows(7).any(|part| part == b"a.onion"));
    assert_eq!(one, login_of("A.onion", 1));
    assert_ne!(one, login_of("b.onion", 1));
    assert_ne!(one, login_of("a.onion", 2), "another run");
    let mut ignoring = to(Login::PerDestination);
    assert_eq!(feed(&mut ignoring, &[5, 0]).0, Err(ProxyFault::Protocol));
}

#[test]
fn nothing_is_sent_empty_or_too_long() {
    let long = "x".repeat(256);
    for (user, password) in [("", "p"), ("u", ""), (&long, "p"), ("u", &long)] {
        assert!(Credentials::new(user, password).is_err());
    }
    assert!(Target::name("", 1).is_err() && Target::name(long.clone(), 1).is_err());
    let most = &long[..255];
    let login = Login::User(Credentials::new(most, most).unwrap());
    let mut handshake = Handshake::new(&proxy(login), Target::name(most, 7).unwrap(), KEY);
    goes_on(&mut handshake, &[5, 2]);
    assert_eq!(said(&mut handshake).len(), 4 + 1 + 256 + 256);
    assert!(!format!("{:?}", Credentials::new("u", "secret").unwrap()).contains("secret"));
    let shown = format!("{:?}", to(user()));
    assert!(shown.contains("Method") && !shown.contains("pw") && !shown.contains("112"), "{shown}");
}

#[test]
fn each_reply_is_a_fault_of_its_own_as_soon_as_its_byte_is_there() {
    for reply in 1..=255 {
        let fault = ProxyFault::of_reply(reply).unwrap();
        assert_eq!(feed(&mut asked(), &[5, reply]).0, Err(fault), "{reply}");
    }
}

#[test]
fn a_byte_that_has_no_place_ends_it_at_once_and_for_good() {
    for first in (0..=255).filter(|byte| *byte != 5) {
        assert_eq!(feed(&mut to(Login::Nobody), &[first]).0, Err(ProxyFault::NotSocks), "{first}");
        assert_eq!(feed(&mut asked(), &[first]).0, Err(ProxyFault::Protocol), "{first}");
    }
    for method in 1..=254 {
        assert_eq!(feed(&mut to(Login::Nobody), &[5, method]).0, Err(ProxyFault::Protocol), "{method}");
    }
    assert_eq!(feed(&mut to(user()), &[5, 0xFF]).0, Err(ProxyFault::NoMethod));
    for (bytes, fault) in [
        ([5, 2, 5, 0], ProxyFault::Protocol),
        ([5, 2, 1, 1], ProxyFault::CredentialsRefused),
        ([5, 2, 1, 255], ProxyFault::CredentialsRefused),
    ] {
        assert_eq!(feed(&mut to(user()), &bytes).0, Err(fault), "{bytes:?}");
    }
    for bytes in [&[5, 0, 1][..], &[5, 0, 0, 0], &[5, 0, 0, 2], &[5, 0, 0, 5]] {
        let mut handshake = asked();
        assert_eq!(feed(&mut handshake, bytes).0, Err(ProxyFault::Protocol), "{bytes:?}");
        assert_eq!(handshake.take(&mut &V4[..]), Err(ProxyFault::Protocol), "whatever follows");
    }
}

#[test]
fn an_answer_may_come_byte_by_byte_and_what_is_behind_it_is_the_peers() {
    let name = [&[5, 0, 0, 3, 255][..], &[b'x'; 255], &[0, 9]].concat();
    let no_name = [5, 0, 0, 3, 0, 0, 9];
    let v6 = [&[5, 0, 0, 4][..], &[9; 18]].concat();
    for answer in [&V4[..], &name, &no_name, &v6] {
        let mut handshake = asked();
        for (index, byte) in answer.iter().enumerate() {
            assert!(handshake.wanted() <= answer.len() - index, "not a byte of the peer's is wanted");
            let done = handshake.take(&mut &[*byte][..]);
            assert_eq!(done, Ok(index + 1 == answer.len()), "byte {index}");
        }
        let more = [answer, &b"frames"[..]].concat();
        assert_eq!(feed(&mut asked(), &more), (Ok(true), &b"frames"[..]));
        let mut all = &more[..];
        assert_eq!((asked().take(&mut all), all), (Ok(true), &b"frames"[..]), "however much is given");
    }
}

#[test]
fn silence_is_the_proxys_until_it_was_asked_and_then_it_is_on_the_way() {
    let mut handshake = to(user());
    assert_eq!([handshake.silence(false), handshake.silence(true)], [ProxyFault::Silent, ProxyFault::Cut]);
    goes_on(&mut handshake, &[5, 2]);
    assert_eq!([handshake.silence(false), handshake.silence(true)], [ProxyFault::Silent, ProxyFault::Cut]);
    goes_on(&mut handshake, &[1, 0]);
    assert_eq!([handshake.silence(false), handshake.silence(true)], [ProxyFault::Expired, ProxyFault::Dropped]);
}

#[test]
fn what_is_not_written_yet_goes_before_the_answer_to_a_hasty_proxy() {
    let mut handshake = to(Login::Nobody);
    handshake.wrote(1);
    goes_on(&mut handshake, &[5, 0]);
    assert_eq!(handshake.unsent()[..6], [1, 0, 5, 1, 0, 3]);
    handshake.wrote(usize::MAX);
    assert!(handshake.unsent().is_empty());
}

/// What a stream comes to: the end, how much of it was taken, and what was said.
fn play(login: Login, stream: &[u8], piece: usize) -> (Result<bool, ProxyFault>, usize, Vec<u8>) {
    let mut handshake = to(login);
    let (mut words, mut rest) = (said(&mut handshake), stream);
    let mut end = Ok(false);
    while end == Ok(false) && !rest.is_empty() {
        let (mut part, _) = rest.split_at(piece.min(rest.len()));
        let given = part.len();
        end = handshake.take(&mut part);
        rest = &rest[given - part.len()..];
        words.extend(said(&mut handshake));
    }
    (end, stream.len() - rest.len(), words)
}

#[test]
fn whatever_a_proxy_says_comes_to_the_same_however_it_is_cut_and_is_bounded() {
    let mut rng = Rng::from_seed(1);
    let mut connected = 0;
    for round in 0..30_000 {
        // Bytes that have a place somewhere come often.
        let likely = [5, 0, 2, 1, 0, 3, 4, 0xFF];
        let begin: &[u8] = if round % 2 == 0 { &[5, 0, 5, 0, 0] } else { &[5, 2, 1, 0, 5, 0, 0] };
        let mut stream = begin[..rng.index(begin.len() + 1).unwrap()].to_vec();
        stream.extend((0..rng.index(300).unwrap()).map(|_| match rng.index(16).unwrap() {
            at @ 0..8 => likely[at],
            _ => rng.next_u64() as u8,
        }));
        let login = || if round % 2 == 0 { Login::Nobody } else { user() };
        let whole = play(login(), &stream, usize::MAX);
        assert!(whole.1 <= 2 + 2 + 5 + 255 + 2, "{} bytes were taken", whole.1);
        for piece in [1, 2, 7] {
            assert_eq!(play(login(), &stream, piece), whole, "{stream:?}");
        }
        connected += u32::from(whole.0 == Ok(true));
    }
    assert!(connected > 300, "{connected} of them were good");
}
