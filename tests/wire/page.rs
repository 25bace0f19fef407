//! The page `wire::protocol` against the code: its tables are read and compared, so that neither changes alone.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use spacetime_network::limits;
use spacetime_network::proto::Config;
use spacetime_network::proto::budget::{
    BYTES_PER_TOKEN, EXEMPT_FACTOR, FLOOD_FACTOR, MANY, SERVING_RATE, default_rate,
};
use spacetime_network::proto::peer::BlacklistConfig;
use spacetime_network::proto::peer::share::Intake;
use spacetime_network::proto::sync::locator::HEADERS_ANSWER_BYTES_MAX;
use spacetime_network::rate::Rate;
use spacetime_network::wire::{Kind, frame, message};

use crate::vectors::vectors;

const PAGE: &str = include_str!("../../src/wire/protocol.md");

/// The rows of the table whose head begins with these two columns, cell by cell.
fn table(first: &str, second: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| -> Vec<&'static str> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(str::trim).collect()
    };
    let mut lines = PAGE.lines();
    let head = lines.find(|line| line.starts_with('|') && cells(line)[..2] == [first, second]);
    assert!(head.is_some(), "the page has no table of {first} and {second}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn number(cell: &str) -> i64 {
    cell.replace('_', "").parse().unwrap_or_else(|_| panic!("not a number: {cell}"))
}

fn kind(name: &str) -> Kind {
    *Kind::ALL.iter().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("no such kind: {name}"))
}

#[test]
fn the_table_of_types_is_the_table_in_the_code() {
    let mut stated = Vec::new();
    for row in table("type", "name") {
        let [byte, name, since, relayed, priority, max, _] = row[..] else { panic!("{row:?}") };
        let kind = kind(name);
        assert_eq!(byte, format!("0x{:02x}", kind as u8), "{name}");
        assert_eq!(number(since), i64::from(kind.since()), "{name}");
        assert_eq!(relayed, if kind.is_relayed() { "yes" } else { "no" }, "{name}");
        assert_eq!(priority, format!("{:?}", kind.priority()).to_lowercase(), "{name}");
        assert_eq!(number(max), i64::from(kind.max_payload()), "{name}");
        stated.push(kind);
    }
    assert_eq!(stated, Kind::ALL);
}

#[test]
fn every_type_has_a_row_that_says_what_it_carries() {
    let rows = table("name", "payload");
    let described: BTreeSet<Kind> = rows.iter().flat_map(|row| row[0].split(", ").map(kind)).collect();
    assert_eq!(described, Kind::ALL.iter().copied().collect());
}

#[test]
fn the_table_of_rates_is_what_a_peer_may_send() {
    let mut stated = BTreeMap::new();
    for row in table("name", "rate") {
        let [name, rate, burst] = row[..] else { panic!("{row:?}") };
        let (count, period) = rate.strip_suffix(" s").and_then(|rate| rate.split_once(" per ")).unwrap();
        let (count, seconds) = (u32::try_from(number(count)).unwrap(), u64::try_from(number(period)).unwrap());
        let rate = Rate::per(count, Duration::from_secs(seconds), u32::try_from(number(burst)).unwrap());
        stated.insert(kind(name), rate);
    }
    let held = Kind::ALL.iter().filter_map(|kind| Some((*kind, default_rate(*kind)?))).collect();
    assert_eq!(stated, held);
}

#[test]
fn the_tables_of_numbers_are_the_constants() {
    let blacklist = BlacklistConfig::default();
    let held = BTreeMap::from([
        ("wire::frame::MAX_LENGTH", i64::from(frame::MAX_LENGTH)),
        ("wire::frame::MAX_PAYLOAD", i64::from(frame::MAX_PAYLOAD)),
        ("wire::frame::MAX_GREETING_PAYLOAD", i64::from(frame::MAX_GREETING_PAYLOAD)),
        ("wire::message::MAX_NODE_ID_LEN", message::MAX_NODE_ID_LEN as i64),
        ("wire::message::MAX_USER_AGENT_LEN", message::MAX_USER_AGENT_LEN as i64),
        ("wire::message::MAX_PEERS", i64::from(message::MAX_PEERS)),
        ("wire::message::MAX_EXCLUDED", i64::from(message::MAX_EXCLUDED)),
        ("wire::message::MAX_HEADERS", i64::from(message::MAX_HEADERS)),
        ("wire::message::MAX_HEADERS_ASKED", i64::from(message::MAX_HEADERS_ASKED)),
        ("wire::message::MAX_MORE_LOCATORS", i64::from(message::MAX_MORE_LOCATORS)),
        ("wire::message::MAX_RUN", i64::from(message::MAX_RUN)),
        ("wire::message::MAX_TX_IDS", i64::from(message::MAX_TX_IDS)),
        ("wire::message::MAX_PROOF_LEN", i64::from(message::MAX_PROOF_LEN)),
        ("proto::sync::locator::HEADERS_ANSWER_BYTES_MAX", HEADERS_ANSWER_BYTES_MAX as i64),
        ("proto::peer::share::Intake::UNASKED_MAX", i64::from(Intake::UNASKED_MAX)),
        ("proto::peer::share::Intake::ASKED_MAX", i64::from(Intake::ASKED_MAX)),
        ("proto::budget::SERVING_RATE", SERVING_RATE as i64),
        ("proto::budget::MANY", (1_000_000_000 / MANY.interval.as_nanos()) as i64),
        ("proto::budget::MANY::burst", i64::from(MANY.burst)),
        ("proto::budget::BYTES_PER_TOKEN", BYTES_PER_TOKEN as i64),
        ("proto::budget::FLOOD_FACTOR", i64::from(FLOOD_FACTOR)),
        ("proto::budget::EXEMPT_FACTOR", i64::from(EXEMPT_FACTOR)),
        ("limits::FRAME_RATE", limits::FRAME_RATE as i64),
        ("limits::HANDSHAKE_BYTES", limits::HANDSHAKE_BYTES as i64),
        ("proto::peer::BlacklistConfig::score", i64::from(blacklist.score)),
        ("proto::peer::BlacklistConfig::failures", i64::from(blacklist.failures)),
        ("proto::peer::BlacklistConfig::violations", blacklist.violations as i64),
    ]);
    assert_eq!(stated("number", "value"), held);

    let config = Config::default();
    let held = BTreeMap::from(
        [
            ("proto::Config::handshake_timeout", config.handshake_timeout),
            ("limits::TLS_TIMEOUT", limits::TLS_TIMEOUT),
            ("proto::Config::heartbeat", config.heartbeat),
            ("proto::Config::idle_timeout", config.idle_timeout),
            ("proto::Config::ping_timeout", config.ping_timeout),
            ("proto::Config::stale_after", config.stale_after),
            ("proto::sync::SyncConfig::block_deadline", config.sync.block_deadline),
            ("proto::sync::SyncConfig::headers_deadline", config.sync.headers_deadline),
            ("limits::FRAME_STALL", limits::FRAME_STALL),
            ("limits::WRITE_STALL", limits::WRITE_STALL),
            ("limits::SCARCE_WRITE_STALL", limits::SCARCE_WRITE_STALL),
            ("proto::peer::BlacklistConfig::duration", blacklist.duration),
        ]
        .map(|(name, time)| (name, time.as_secs() as i64)),
    );
    assert_eq!(stated("time", "seconds"), held);
}

/// The values of a table of numbers, by the constant that its last column names.
fn stated(first: &str, second: &str) -> BTreeMap<&'static str, i64> {
    table(first, second).iter().map(|row| (row[2].trim_matches('`'), number(row[1]))).collect()
}

#[test]
fn the_vectors_of_the_page_are_the_vectors_of_the_tests() {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("7. Test vectors")).unwrap();
    let block = section.split("```").nth(1).unwrap().strip_prefix("text\n").unwrap();
    let lines: Vec<&str> = block.lines().collect();
    let stated: BTreeMap<&str, &str> =
        lines.chunks(2).map(|pair| (pair[0].split_once(':').unwrap().0, pair[1])).collect();
    assert_eq!(stated, vectors().iter().map(|vector| (vector.name, vector.hex)).collect());
}

/// The numbers of the page's sections.
fn sections() -> BTreeSet<u32> {
    PAGE.lines().filter_map(|line| line.strip_prefix("## ")?.split_once(". ")?.0.parse().ok()).collect()
}

#[test]
fn the_sections_are_numbered_without_a_gap() {
    let numbers: Vec<u32> = sections().into_iter().collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
}

/// The text after a citation of the page, up to where its sentence or its comment goes on to something else.
fn citations(text: &str) -> impl Iterator<Item = &str> {
    let after = |mark: &'static str| text.match_indices(mark).map(move |(at, _)| &text[at + mark.len()..]);
    after("wire::protocol").map(|rest| rest.get(..60).unwrap_or(rest)).filter(|rest| rest.contains("section"))
}

#[test]
fn the_code_cites_sections_that_the_page_has() {
    let sections = sections();
    let (mut faults, mut cited) = (Vec::new(), 0);
    for (path, text) in sources() {
        for rest in citations(&text) {
            let numbers = rest.split_once("section").map_or("", |(_, numbers)| numbers);
            let number = numbers.trim_start_matches(|c: char| c == 's' || c.is_whitespace());
            let number: String = number.chars().take_while(char::is_ascii_digit).collect();
            cited += 1;
            if !number.parse().is_ok_and(|number| sections.contains(&number)) {
                faults
                    .push(format!("{path}: cites `wire::protocol`, section {number:?}, which the page does not have"));
            }
        }
        for (number, line) in text.lines().enumerate() {
            let vague = ["protocol section", "protocol's section", "protocol, section", "protocol.md, "];
            let cites = line.trim_start().starts_with("//") && !line.contains("wire::protocol");
            if cites && vague.iter().any(|words| line.contains(words)) {
                faults.push(format!("{path}:{}: name the page: `wire::protocol`, section N", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(cited >= 10, "only {cited} citations were found: is this test still looking in the right places?");
}

/// Every Rust file of ours, as (path, text).
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests", "node/src", "node/tests"];
    let mut waiting: Vec<PathBuf> =
        folders.iter().map(|folder| root.join(folder)).filter(|path| path.exists()).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests/wire/page.rs") {
            files.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    files
}
