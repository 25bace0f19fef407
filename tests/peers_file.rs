//! `peers.json` from outside: what other programs write, what disks and people do to it, and kill -9 at any moment.
#![cfg(feature = "json")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use spacetime_network::driver::store::peers::{
    BadEntries, DecodedPeers, ENTRY_LEN_MAX, FILE_LEN_MAX, LoadProblem, PEERS_MAX, decode, encode, load, save,
};
use spacetime_network::proto::peer::peer_table::{PeerRecord, PeerTable};
use spacetime_network::rng::Rng;
use spacetime_network::time::{Instant, Now, UnixTime};

const NOW: Now = Now { at: Instant::from_millis(5000), unix: UnixTime::from_secs(1_800_000_000) };

/// A file with the C# library's five fields only, and one with all.
const FIVE: &str = r#"{
  "node-a": {"NodeId": "node-a", "Address": "192.0.2.7:8333", "LastSeen": "2024-01-02T03:04:05.1234567Z",
             "IsConnected": true, "ChainLength": 42},
  "node-b": {"NodeId": "node-b", "Address": "[2001:db8::1]:9", "LastSeen": "2024-01-02T03:04:05+00:00",
             "IsConnected": false, "ChainLength": -1, "Reputation": 2147483648, "FailureCount": -3,
             "ProtocolVersion": 2, "UserAgent": "Spacetime/1.0.0", "Later": [{"deep": [1, 2.5, null]}]}
}"#;

fn peer(id: &str) -> PeerRecord {
    PeerRecord { last_seen: UnixTime::from_millis(1_700_000_000_123), ..PeerRecord::new(id, None, NOW) }
}

/// The peers of a file in which nothing is wrong.
fn read(bytes: &[u8]) -> Vec<PeerRecord> {
    let DecodedPeers { peers, bad } = decode(bytes, NOW).unwrap();
    assert_eq!(bad, None);
    peers
}

/// Loads `bytes` from a file; how many peers, and whether the file as it was is kept aside.
fn load_bytes(bytes: &[u8]) -> (usize, bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    fs::write(&path, bytes).unwrap();
    let loaded = load(&path, NOW);
    let aside = directory.path().join("peers.json.damaged-1800000000");
    match loaded.problem {
        None => assert!(path.exists() && !aside.exists()),
        Some(LoadProblem::DamagedInPart { copied, .. }) => {
            assert_eq!(copied.unwrap(), aside);
            assert!(path.exists() && fs::read(&aside).unwrap() == bytes);
            assert!(!loaded.peers.is_empty());
        }
        Some(problem) => {
            assert!(matches!(&problem, LoadProblem::Damaged { set_aside: Ok(to), .. } if *to == aside), "{problem}");
            assert!(!path.exists() && fs::metadata(&aside).unwrap().len() == bytes.len() as u64);
            assert!(loaded.peers.is_empty());
        }
    }
    (loaded.peers.len(), aside.exists())
}

#[test]
fn a_file_with_the_first_five_fields_loads_and_numbers_are_clamped() {
    let peers = read(FIVE.as_bytes());
    let [a, b] = &peers[..] else { panic!("{peers:?}") };
    assert_eq!((a.node_id.as_str(), a.address, a.connected), ("node-a", "192.0.2.7:8333".parse().ok(), false));
    assert_eq!((a.last_seen, a.chain_length), (UnixTime::from_millis(1_704_164_645_123), 42));
    assert_eq!((a.score, a.failures, a.protocol_version, a.user_agent.as_str()), (0, 0, 0, ""));
    assert_eq!((b.score, b.failures, b.chain_length, b.protocol_version), (20, 0, 0, 2));
    assert_eq!((b.user_agent.as_str(), b.seen_at), ("Spacetime/1.0.0", NOW.at));
}

#[test]
fn the_file_has_the_names_that_others_read() {
    let mut saved = peer("n\"1");
    saved.address = "192.0.2.7:8333".parse().ok();
    (saved.connected, saved.chain_length, saved.score, saved.failures) = (true, 7, -4, 2);
    (saved.protocol_version, saved.user_agent) = (2, "agent".into());
    let bytes = encode([&saved]).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let expected = serde_json::json!({"n\"1": {
        "NodeId": "n\"1", "Address": "192.0.2.7:8333", "LastSeen": "2023-11-14T22:13:20.123Z", "IsConnected": true,
        "ChainLength": 7, "Reputation": -4, "FailureCount": 2, "ProtocolVersion": 2, "UserAgent": "agent", "Listens": true
    }});
    assert_eq!(value, expected);
}

/// Found by flipping every bit of a file on a virtual disk: one turned the key `node-0` into `node-1`. The second peer then
/// took the place of the first, under a name that was not its own, and nobody was told.
#[test]
fn a_key_that_is_not_the_peers_own_or_comes_twice_is_damage() {
    let text = String::from_utf8(encode([&peer("node-0"), &peer("node-1")]).unwrap()).unwrap();
    assert_eq!(load_bytes(text.as_bytes()), (2, false));
    let flipped = text.replace("\"node-0\": {", "\"node-1\": {");
    let twice = text.replace("node-0", "node-1");
    for (changed, why) in
        [(flipped, "\"node-1\": a peer's NodeId is not its key"), (twice, "\"node-1\": a peer is there twice")]
    {
        assert!(changed != text);
        let found = decode(changed.as_bytes(), NOW).unwrap();
        assert_eq!(found.peers, [peer("node-1")]);
        assert_eq!(found.bad, Some(BadEntries { count: 1, first: why.to_owned() }));
        assert_eq!(load_bytes(changed.as_bytes()), (1, true));
    }
}

/// One address with a typing error cost an operator the whole table.
#[test]
fn one_bad_entry_costs_that_entry() {
    let entry = |id: &str, address: &str| {
        format!(
            "\"{id}\": {{\"NodeId\": \"{id}\", \"Address\": \"{address}\", \"LastSeen\": \"2024-01-02T03:04:05Z\", \
             \"IsConnected\": true, \"ChainLength\": 1}}"
        )
    };
    let entries =
        [entry("a", "192.0.2.1:1"), entry("b", "192.0.2.2"), "\"c\": {}".to_owned(), entry("d", "192.0.2.4:4")];
    let ids = |peers: &[PeerRecord]| peers.iter().map(|peer| peer.node_id.clone()).collect::<Vec<_>>();
    for separator in [",", ",\n", ",\r\n  "] {
        let found = decode(format!("{{\n{}\n}}", entries.join(separator)).as_bytes(), NOW).unwrap();
        assert_eq!(ids(&found.peers), ["a", "d"]);
        let bad = found.bad.unwrap();
        assert_eq!((bad.count, bad.first.as_str()), (2, "\"b\": invalid socket address syntax"));
    }
    // What is no JSON costs its line, where an entry has one; and what follows it, where it has not.
    for (hit, left) in [("\"d\": {\"", vec!["a"]), ("\"a\": {\"", vec!["d"]), (",\n\"c\"", vec!["a", "d"])] {
        let text = format!("{{\n{}\n}}", entries.join(",\n"));
        let broken = text.replace(hit, &hit.replace('"', "'"));
        assert!(broken != text);
        let found = decode(broken.as_bytes(), NOW).unwrap();
        assert_eq!(ids(&found.peers), left, "{hit}");
        assert!(found.bad.unwrap().first.contains("line "), "the place is named");
        assert_eq!(load_bytes(broken.as_bytes()), (left.len(), true));
    }
}

/// What a stranger called itself is not printed as it is.
#[test]
fn a_report_on_a_bad_entry_cannot_steer_a_terminal() {
    let text = "{\"\\u001b[2J\\u202e\": {}, \"b\": 7}";
    let why = decode(text.as_bytes(), NOW).unwrap_err().to_string();
    assert!(why.starts_with(r#""\u{1b}[2J\u{202e}": missing field"#), "{why}");
}

#[test]
fn no_file_is_no_problem_and_an_unreadable_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let absent = load(&directory.path().join("peers.json"), NOW);
    assert!(absent.peers.is_empty() && absent.problem.is_none());
    let unreadable = load(directory.path(), NOW);
    assert!(matches!(unreadable.problem, Some(LoadProblem::Unreadable(_))));
    assert!(directory.path().exists());
}

#[test]
fn a_file_cut_off_anywhere_keeps_what_came_before_and_is_kept_aside() {
    assert_eq!(load_bytes(FIVE.as_bytes()), (2, false));
    let ends: Vec<usize> = FIVE.match_indices("},").map(|(at, _)| at + 1).chain([FIVE.len() - 2]).collect();
    for len in 0..FIVE.len() {
        let whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(load_bytes(&FIVE.as_bytes()[..len]), (whole, true), "cut after {len} bytes");
    }
}

#[test]
fn a_byte_order_mark_is_not_damage() {
    assert_eq!(load_bytes(format!("\u{feff}{FIVE}").as_bytes()), (2, false));
    assert_eq!(load_bytes(b"{}"), (0, false));
}

#[test]
fn what_is_no_such_file_is_set_aside() {
    let with = |field: &str, value: &str| {
        let mut fields = vec![
            ("NodeId", "\"x\""),
            ("Address", "\"1.2.3.4:5\""),
            ("LastSeen", "\"2024-01-02T03:04:05Z\""),
            ("IsConnected", "true"),
            ("ChainLength", "1"),
        ];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{\"x\": {{{}}}}}", fields.join(", "))
    };
    assert_eq!(load_bytes(with("ChainLength", "2").as_bytes()), (1, false), "the template is sound");
    for (field, value) in [
        ("ChainLength", "NaN"),
        ("ChainLength", "1e400"),
        ("ChainLength", "\"1\""),
        ("Reputation", "[]"),
        ("FailureCount", "null"),
        ("IsConnected", "1"),
        ("NodeId", "7"),
        ("Address", "\"somewhere\""),
        ("Address", "null"),
        ("LastSeen", "\"yesterday\""),
        ("LastSeen", "1704164645"),
        ("UserAgent", "{}"),
    ] {
        assert_eq!(load_bytes(with(field, value).as_bytes()), (0, true), "{field}: {value}");
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for text in ["[]", "null", "7", "{\"x\": {}}", "{\"\": {}}", "{} {}", &deep(100), &deep(100_000), "\u{0}"] {
        assert_eq!(load_bytes(text.as_bytes()), (0, true), "{}", text.get(..20).unwrap_or(text));
    }
    assert_eq!(load_bytes(with("Later", &deep(100)).as_bytes()), (1, false), "an unknown field may be deep");
    assert_eq!(load_bytes(with("Later", &deep(100_000)).as_bytes()), (1, false), "however deep");
    assert_eq!(load_bytes(&[0xff; 100]), (0, true));
}

#[test]
fn a_file_with_too_many_peers_or_bytes_is_kept_aside() {
    let peers: Vec<_> = (0..10_001).map(|n| peer(&format!("{n:05}"))).collect();
    let bytes = encode(&peers[..10_000]).unwrap();
    assert_eq!(read(&bytes).len(), 10_000);
    let mut more = bytes.strip_suffix(b"\n}\n").unwrap().to_vec();
    more.extend_from_slice(b",\n");
    more.extend_from_slice(&encode(&peers[10_000..]).unwrap()[1..]);
    assert_eq!(load_bytes(&more), (10_000, true));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    // Sparse: a gibibyte that takes no place on the disk.
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert!(matches!(load(&path, NOW).problem, Some(LoadProblem::Damaged { set_aside: Ok(_), .. })));
    assert_eq!(encode(&peers).map(|bytes| read(&bytes).len()).unwrap(), 10_000);
}

#[test]
fn names_that_escape_to_six_times_their_length_still_make_a_file_that_loads() {
    let hostile =
        |n: u32| PeerRecord { user_agent: "\u{1}".repeat(256), ..peer(&format!("{n:05}{}", "\u{1}".repeat(123))) };
    let peers: Vec<_> = (0..10_000).map(hostile).collect();
    let bytes = encode(&peers).unwrap();
    assert!(bytes.len() <= FILE_LEN_MAX);
    assert_eq!(read(&bytes).len(), 0, "no name that fits, and no address either: they are worth nothing");
}

/// 2,631 of them filled the file, in the order of their ids, and whoever came behind them was forgotten.
#[test]
fn no_peer_takes_more_than_its_line_and_none_is_crowded_out_by_the_names_of_others() {
    let at = |n: u32| Some(std::net::SocketAddr::from(([45, 1, (n / 250) as u8, (n % 250) as u8], 8333)));
    let hostile = |n: u32| PeerRecord {
        user_agent: "\u{1}".repeat(256),
        address: at(n),
        chain_length: u64::MAX,
        ..peer(&format!("{n:05}{}", "\u{1}".repeat(123)))
    };
    let mut peers: Vec<_> = (0..PEERS_MAX as u32 - 2).map(hostile).collect();
    // The longest name and agent that are plain, and an agent that is not.
    let long = PeerRecord {
        user_agent: "u".repeat(256),
        address: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().ok(),
        chain_length: u64::MAX,
        failures: u32::MAX,
        score: -20,
        protocol_version: i32::MAX,
        reached: true,
        anchor: true,
        ..peer(&"n".repeat(128))
    };
    let agent = PeerRecord { user_agent: "\u{1}".repeat(256), ..peer("zz") };
    peers.extend([long.clone(), agent]);
    let bytes = encode(&peers).unwrap();
    assert!(bytes.len() <= FILE_LEN_MAX && bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= ENTRY_LEN_MAX));
    let found = read(&bytes);
    assert_eq!(found.len(), PEERS_MAX, "as many as were given");
    assert_eq!(found.iter().find(|peer| peer.node_id == long.node_id), Some(&long), "nothing of it is lost");
    let by_address = found.iter().find(|peer| peer.node_id == "peer_45.1.0.7_8333").unwrap();
    assert_eq!((by_address.address, by_address.user_agent.as_str()), (at(7), ""));
    assert!(found.iter().any(|peer| peer.node_id == "zz" && peer.user_agent.is_empty()));
    // One that goes by its address, and one that gave that for a name: the file has each id once.
    let twins = [hostile(7), PeerRecord { address: at(8), ..peer("peer_45.1.0.7_8333") }];
    assert_eq!(read(&encode(&twins).unwrap()).len(), 1);
}

#[test]
fn a_managers_table_comes_back_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    let mut manager = PeerTable::default();
    for id in ["a", "b", "ü"] {
        manager.add(PeerRecord { address: "1.2.3.4:5".parse().ok(), ..peer(id) });
        manager.record_failure(id);
    }
    manager.set_connected("b", true, NOW);
    save(&path, manager.known_peers()).unwrap();
    let loaded = load(&path, NOW);
    manager.set_connected("b", false, NOW);
    assert_eq!(loaded.peers, manager.known_peers().cloned().collect::<Vec<_>>());
}

proptest! {
    /// Whatever stands in a file, loading ends, and what loads can be saved and loads again as the same.
    #[test]
    fn a_file_with_any_byte_changed_loads_or_is_set_aside(at in 0..FIVE.len(), byte: u8) {
        let mut bytes = FIVE.as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(found) = decode(&bytes, NOW) {
            prop_assert_eq!(read(&encode(&found.peers).unwrap()), found.peers);
        }
    }
}

/// Not a test by itself: the process that the test below starts and kills. Saves tables of growing size for ever, a line
/// per save; without the file's name there is nothing to do.
#[test]
fn saving_process() {
    let Ok(path) = std::env::var("PEERS_FILE") else { return };
    for size in (1..400).cycle() {
        let peers: Vec<_> = (0..size).map(|n| peer(&format!("{n:04}-of-{size:04}"))).collect();
        save(Path::new(&path), &peers).unwrap();
        println!("saved");
    }
}

#[test]
fn kill_at_any_moment_leaves_a_whole_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    let mut rng = Rng::from_seed(84);
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "saving_process", "--nocapture"])
            .env("PEERS_FILE", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = 1 + rng.below(40) as usize;
        let saved = lines.map_while(Result::ok).filter(|line| line.contains("saved")).take(enough).count();
        // Where in its next save the child is by now is up to the scheduler.
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(saved, enough);
        let loaded = load(&path, NOW);
        assert!(loaded.problem.is_none(), "round {round}: {}", loaded.problem.unwrap());
        let size: usize = loaded.peers[0].node_id[8..].parse().unwrap();
        assert_eq!(loaded.peers.len(), size, "round {round}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "round {round}: leftovers are removed");
    }
}

#[test]
fn whom_we_reached_is_said_in_the_file_and_believed_for_thirty_days_of_the_files_own_time() {
    let day = Duration::from_secs(24 * 3600);
    let written = UnixTime::from_secs(1_700_000_000);
    let address = "45.1.2.3:8333".parse().ok();
    let with = |id: &str, seen: UnixTime| PeerRecord { address, reached: true, last_seen: seen, ..peer(id) };
    let records = [with("old", written), with("young", written.plus(day)), with("last", written.plus(day * 30))];
    let text = String::from_utf8(encode(&records).unwrap()).unwrap();
    assert_eq!(text.matches("\"Reached\":true").count(), 3);
    assert!(!String::from_utf8(encode(&[peer("heard-of")]).unwrap()).unwrap().contains("Reached"));
    // Two months later, which is our outage and none of theirs.
    let now = Now { unix: written.plus(day * 90), ..Now::default() };
    let found = decode(text.as_bytes(), now).unwrap().peers;
    assert!(found.iter().all(|peer| !peer.anchor));
    let reached: Vec<(&str, bool)> = found.iter().map(|peer| (peer.node_id.as_str(), peer.reached)).collect();
    assert_eq!(reached, [("last", true), ("old", false), ("young", true)]);
}
