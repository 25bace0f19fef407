//! The store under `kill -9`: whatever the moment, it opens again and holds a chain without holes.
//!
//! The test runs itself again as a child that appends blocks and says how far it is durable; the parent kills it after a
//! number of lines that differs from round to round. A pipe, not a clock, decides when.

#![cfg(all(feature = "chain", unix))]

mod chain_support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chain_support::{BEST, KEPT, NOW, block, hash_of, params, transfer};
use spacetime_network::chain::ReferenceChain;
use spacetime_network::proto::sync::chain::{Chain, Verdict};

/// Names the store's path to the child.
const CHILD: &str = "SPACETIME_STORE_CRASH_CHILD";
const ROUNDS: u64 = 12;
const SIGKILL: i32 = 9;

/// Not a test of its own: the child's part, which does nothing unless it is asked to.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let params = params(0);
    let mut chain = ReferenceChain::open(params, Path::new(&path)).unwrap();
    let mut out = std::io::stdout().lock();
    for n in chain.block_count() as u64.. {
        let parent = chain.best();
        let pays = [transfer("a", "b", n, parent.height)];
        let bytes = block(&params, parent, &pays, 0);
        assert_eq!(chain.submit_block(NOW, bytes.clone()), BEST);
        if n % 5 == 0 {
            let side = block(&params, parent, &[], 1);
            assert_eq!(chain.submit_block(NOW, side), KEPT);
        }
        // Turns of different lengths: one block or several per transaction.
        if n % 3 == 0 {
            chain.turn_ended();
        }
        if n % 7 == 0 {
            chain.flush(Duration::from_secs(60)).unwrap();
            writeln!(out, "durable {} {}", parent.height + 1, hash_of(&bytes)).unwrap();
            out.flush().unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_a_store_that_holds_all_that_was_durable_and_no_holes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain");
    let mut last_height = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut durable = None;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 1 + (round * 7 % 11) as usize;
        let reports = lines.map_while(Result::ok).filter(|line| line.contains("durable "));
        for line in reports.take(wanted) {
            let (_, report) = line.split_once("durable ").unwrap();
            let (height, hash) = report.split_once(' ').unwrap();
            durable = Some((height.parse::<u64>().unwrap(), hash.parse().unwrap()));
        }
        // The child is somewhere between this report and the next one, most likely in a write.
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL), "round {round}");

        let (height, hash) = durable.expect("the child reported");
        let chain = ReferenceChain::open(params(0), &path).unwrap();
        chain.verify(|_, _| ()).unwrap();
        assert!(height > last_height, "round {round} went on from where the last one ended");
        assert_eq!(chain.position(&hash).map(|tip| tip.height), Some(height), "round {round}");
        assert!(chain.best().height >= height);
        assert!(chain.blocks(0).all(|(_, bytes)| bytes.is_some()));
        last_height = chain.best().height;
    }
    // It is not only readable.
    let mut chain = ReferenceChain::open(params(0), &path).unwrap();
    let next = block(&params(0), chain.best(), &[], 0);
    assert_eq!(chain.submit_block(NOW, next.clone()), BEST);
    chain.flush(Duration::from_secs(60)).unwrap();
    drop(chain);
    let mut chain = ReferenceChain::open(params(0), &path).unwrap();
    assert_eq!(chain.submit_block(NOW, next), Verdict::Known);
}
