//! Limits of bandwidth and the upload quota, as an operator gives them.

mod cli_support;

use std::fs;

use cli_support::{LoggedNode, RunningNode, program, wait_for};

#[test]
fn a_limit_without_a_unit_or_below_what_a_network_needs_is_refused() {
    for (flag, value, part) in [
        ("--max-upload", "1000000", "a number with a unit, like 1MiB, 500kB or 8Mbit"),
        ("--max-download", "1KiB", "16KiB"),
        ("--max-upload-per-peer", "fast", "a number with a unit"),
        ("--upload-quota", "20GiB", "SIZE/PERIOD"),
    ] {
        let done = program(&["run", "--no-listen", flag, value]).run();
        assert!(done.code == 2 && done.stderr.contains(part), "{flag}: {done:?}");
    }
    let help = program(&["run", "--help"]).run().stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("1 MiB is 1,048,576 bytes") && help.contains("8 bits a byte"), "{help}");
}

#[test]
fn a_limited_node_gives_its_chain_and_one_whose_quota_is_used_up_says_that_it_has_no_old_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let flags = ["--listen", "127.0.0.1:0", "--difficulty", "0"];
    let mined = ["--mine", "--block-interval", "0"];
    let limits = ["--max-upload", "10MiB", "--max-upload-per-peer", "4MiB", "--max-download", "64Mbit"];
    let node = RunningNode::start(&data, &[&flags[..], &mined, &limits].concat());
    let address = node.listening()[0].clone();
    let ask = |from: Option<&str>| {
        let from = from.map_or(Vec::new(), |from| vec!["--from", from]);
        program(&["headers", &address, "--json"]).args(&from).run().json()
    };
    wait_for("blocks", || ask(None).as_array().unwrap().len() > 400);
    assert_eq!(node.stop_with("-TERM").code, 0);

    // Ten bytes a day are used up with the first frame.
    let node = LoggedNode::start(&data, &[&flags[..], &["--upload-quota", "10B/day"]].concat());
    let address = node.listening()[0].clone();
    let all = program(&["headers", &address, "--json"]).run().json();
    let hash = |at: usize| all[at]["hash"].as_str().unwrap().to_owned();
    node.says("--upload-quota is nearly used up");
    let old = program(&["block", &address, &hash(3)]).run();
    assert!(old.code == 1 && old.stderr.contains("the node does not have it"), "{old:?}");
    let tip = program(&["block", &address, &hash(all.as_array().unwrap().len() - 1), "--json"]).run();
    assert_eq!(tip.code, 0, "what is near the tip is given: {tip:?}");
    drop(node);
    assert!(fs::read_to_string(data.join("upload_quota.json")).unwrap().contains("Bytes"));

    // Not a day later: it is remembered. With a quota that is large enough the same node serves all.
    let node = LoggedNode::start(&data, &[&flags[..], &["--upload-quota", "10B/day"]].concat());
    node.says("--upload-quota is nearly used up");
    drop(node);
    let node = RunningNode::start(&data, &[&flags[..], &["--upload-quota", "10GiB/day"]].concat());
    let done = program(&["sync", &node.listening()[0], "--json", "--data-dir"]).path(&copy).run();
    assert_eq!(done.code, 0, "{done:?}");
}
