//! Bans as an operator sets them: with the program on a directory, and kept by the node that runs there next.

mod cli_support;

use std::fs;
use std::path::Path;

use cli_support::{LoggedNode, RunningNode, program};

const LISTEN: [&str; 4] = ["--listen", "127.0.0.1:0", "--exempt", "none"];

fn ban(data: &Path, arguments: &[&str]) -> cli_support::Done {
    program(&["ban"]).args(arguments).args(&["--data-dir"]).path(data).run()
}

fn list(data: &Path) -> Vec<(String, String, Option<u64>, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let bans = ban(data, &["list", "--json"]).json();
    let bans = bans.as_array().unwrap().iter();
    bans.map(|ban| (text(&ban["who"]), text(&ban["by"]), ban["seconds_left"].as_u64(), text(&ban["reason"]))).collect()
}

/// Whether the node at this address answers.
fn answers(address: &str) -> bool {
    program(&["ping", address, "--count", "1", "--timeout", "20s"]).run().code == 0
}

#[test]
fn bans_are_added_listed_and_removed_on_the_directory_of_a_node_that_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    assert!(list(data).is_empty());
    let id = "ab".repeat(32);
    for (arguments, said) in [
        (
            &["add", "192.0.2.7", "--for", "1h", "--reason", "floods\n\u{1b}[31mred"][..],
            "banned 192.0.2.7  by operator  for another 1h  floods",
        ),
        (&["add", "2001:db8::7"], "banned 2001:db8::/64  by operator  until it is removed"),
        (&["add", "198.51.100.9/24", "--for", "1000years"], "banned 198.51.100.0/24  by operator  until it is removed"),
        (&["add", &id], &id),
    ] {
        let done = ban(data, arguments);
        assert!(done.code == 0 && done.stdout.contains(said) && !done.stdout.contains('\u{1b}'), "{done:?}");
    }
    let found = list(data);
    let names: Vec<&str> = found.iter().map(|(who, ..)| who.as_str()).collect();
    assert_eq!(names, ["192.0.2.7", "2001:db8::/64", "198.51.100.0/24", &id]);
    assert!(found[0].2.is_some_and(|left| (3500..=3600).contains(&left)) && found[1].2.is_none(), "{found:?}");
    // The same again is another word on it, and no second ban.
    assert_eq!(ban(data, &["add", "192.0.2.7", "--for", "2h"]).code, 0);
    assert!(list(data).len() == 4 && list(data).iter().any(|ban| ban.2.is_some_and(|left| left > 3700)));

    let part = ban(data, &["remove", "198.51.100.9"]);
    assert!(part.code == 1 && part.stderr.contains("it is banned as a part of 198.51.100.0/24"), "{part:?}");
    let done = ban(data, &["remove", "192.0.0.0/8", "--json"]).json();
    assert_eq!((done["removed"].as_u64(), done["still_banned_by"].is_null()), (Some(1), true));
    assert_eq!(ban(data, &["remove", &id.to_uppercase()]).code, 0);
    let gone = ban(data, &["remove", "192.0.2.7"]);
    assert!(gone.code == 1 && gone.stderr.contains("there is none"), "{gone:?}");
    assert_eq!(list(data).len(), 2);

    for wrong in [
        &["add"][..],
        &["list", "192.0.2.7"],
        &["remove", "192.0.2.7", "--for", "1h"],
        &["add", "192.0.2.7:7193"],
        &["add", "example.org"],
        &["add", "192.0.2.7", "--for", "0s"],
        &["lift", "192.0.2.7"],
    ] {
        let done = ban(data, wrong);
        assert!(done.code == 2 && done.stderr.lines().count() == 1, "{wrong:?}: {done:?}");
    }
    let absent = program(&["ban", "list", "--data-dir"]).path(&data.join("absent")).run();
    assert_eq!(absent.code, 1, "{absent:?}");
}

/// Every ban was forgotten at a stop.
#[test]
fn a_ban_outlives_the_node_and_its_end_by_force() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    assert_eq!(ban(&data, &["add", "127.0.0.0/8", "--for", "1day", "--reason", "test"]).code, 0);
    for signal in ["-KILL", "-TERM", "-KILL"] {
        let node = RunningNode::start(&data, &LISTEN);
        assert!(!answers(&node.listening()[0]), "who is banned is let in");
        // A running node has the directory: what is on the disk is shown, and not changed.
        let note = ban(&data, &["list"]);
        assert!(note.code == 0 && note.stderr.contains("a node is running"), "{note:?}");
        let refused = ban(&data, &["remove", "127.0.0.0/8"]);
        assert!(refused.code == 1 && refused.stderr.contains("another process is using it"), "{refused:?}");
        node.stop_with(signal);
        assert_eq!(list(&data)[0].3, "test");
    }
    assert_eq!(ban(&data, &["remove", "127.0.0.0/8"]).code, 0);
    let node = RunningNode::start(&data, &LISTEN);
    assert!(answers(&node.listening()[0]));
}

#[test]
fn exempt_ranges_stay_exempt_from_bans() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(ban(directory.path(), &["add", "0.0.0.0/0"]).code, 0);
    let node = RunningNode::start(directory.path(), &["--listen", "127.0.0.1:0"]);
    assert!(answers(&node.listening()[0]));
}

/// Whom the rules have banned came back with a restart.
#[test]
fn a_ban_of_the_rules_is_saved_before_the_node_is_killed_and_holds_after() {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = LoggedNode::start(&data, &LISTEN);
    let address = node.listening()[0].clone();
    while !node.text().contains("address banned") {
        let Ok(mut stranger) = TcpStream::connect(&address) else { continue };
        // A question before any greeting.
        let _ = stranger.write_all(&[2, 0, 0, 0, 0x22, 1]);
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    cli_support::wait_for("a saved ban", || {
        fs::read_to_string(data.join("bans.json")).is_ok_and(|text| text.contains("rules"))
    });
    drop(node);
    let found = list(&data);
    assert_eq!((found.len(), found[0].0.as_str(), found[0].1.as_str()), (1, "127.0.0.1", "rules"));
    assert!(found[0].2.is_some_and(|left| left > 86_000 && left <= 86_400) && !found[0].3.is_empty(), "{found:?}");
    let node = RunningNode::start(&data, &LISTEN);
    assert!(!answers(&node.listening()[0]));
}

#[test]
fn a_damaged_file_is_set_aside_and_told_and_the_node_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    ban(&data, &["add", "192.0.2.7"]);
    ban(&data, &["add", "192.0.2.8"]);
    let whole = fs::read_to_string(data.join("bans.json")).unwrap();
    fs::write(data.join("bans.json"), whole.replace("192.0.2.7", "192.0.2.9")).unwrap();
    let look = ban(&data, &["list"]);
    assert!(look.code == 0 && look.stderr.contains("does not match its Check"), "{look:?}");
    let node = LoggedNode::start(&data, &["--no-listen"]);
    assert!(node.says("starting with the rest of the bans").contains("192.0.2.9"));
    drop(node);
    assert_eq!(list(&data).len(), 1, "the one that is whole");
    fs::write(data.join("bans.json"), "gibberish").unwrap();
    let node = LoggedNode::start(&data, &["--no-listen"]);
    node.says("starting without bans");
    drop(node);
    assert!(list(&data).is_empty());
    let aside = fs::read_dir(&data)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("bans.json.damaged-"));
    assert_eq!(aside.count(), 1);
}
