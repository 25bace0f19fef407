//! Whatever moment a node dies at, it finds a front part of what it had taken, and the state that belongs to it.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use spacetime_example::chain::SpacetimeChain;
use spacetime_example::crypto::Hash;
use spacetime_example::format::Block;
use spacetime_example::genesis::Genesis;
use spacetime_example::ledger::Ledger;
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::time::UnixTime;
use support::{BEGAN, Random, block, key, network, payment};

const NOW: UnixTime = UnixTime::from_secs(BEGAN + 1_000_000);
/// Where the child finds what it is to do.
const DIRECTORY: &str = "SPACETIME_EXAMPLE_CRASH_DIRECTORY";

/// Blocks with payments on branches that overtake each other, each valid when it comes.
fn blocks(genesis: &Genesis) -> Vec<Block> {
    let mut random = Random(77);
    let mut chain = SpacetimeChain::memory(genesis).unwrap();
    let (mut blocks, mut tips): (Vec<Block>, Vec<Hash>) = (Vec::new(), vec![chain.ledger().genesis()]);
    for salt in 0..120 {
        let back = random.below(3).min(tips.len() as u64 - 1);
        let parent = tips[tips.len() - 1 - usize::try_from(back).unwrap()];
        let place = chain.ledger().place_after(&parent).unwrap();
        let account = chain.ledger().accounts().get(&key(1).public());
        // On the best tip its nonce is right; elsewhere there is none.
        let pays = chain.ledger().best().hash == parent;
        let pay = payment(&key(1), key(5).public(), 1 + random.below(3) as i64, account.nonce, 1);
        let next = block(&place, if pays { vec![pay] } else { vec![] }, &key(9), salt);
        if matches!(chain.submit_block(NOW, next.encode().into()), Verdict::Accepted { .. }) {
            tips.push(next.header.hash());
            blocks.push(next);
        }
    }
    assert!(blocks.len() > 100);
    blocks
}

/// The state after so many blocks, as a ledger that never touched a disk has it.
fn state(genesis: &Genesis, blocks: &[Block]) -> Ledger {
    let mut ledger = Ledger::new(&genesis.decoded().unwrap().1, genesis.pace()).unwrap();
    let mut bodies: BTreeMap<Hash, Block> = BTreeMap::new();
    for block in blocks {
        let _ = ledger.insert(block, &|hash| bodies.get(hash).cloned());
        bodies.insert(block.header.hash(), block.clone());
    }
    ledger
}

fn read(directory: &std::path::Path) -> (Genesis, Vec<Block>) {
    let genesis = serde_json::from_str(&std::fs::read_to_string(directory.join("genesis.json")).unwrap()).unwrap();
    let text = std::fs::read_to_string(directory.join("blocks.txt")).unwrap();
    let decode = |line: &str| Block::decode(&spacetime_example::codec::from_hex(line).unwrap()).unwrap();
    (genesis, text.lines().map(decode).collect())
}

/// What the test below kills. Takes a block for each line that it is sent, and says so.
#[test]
#[ignore = "it is a part of the next one"]
fn child_that_takes_blocks_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let (genesis, blocks) = read(&directory);
    let mut chain = SpacetimeChain::open(&genesis, &directory.join("chain.redb")).unwrap();
    for (block, _) in blocks.iter().zip(std::io::stdin().lines()) {
        let _ = chain.submit_block(NOW, block.encode().into());
        chain.turn_ended();
        println!("taken");
    }
}

#[test]
fn after_a_kill_the_state_is_that_of_a_front_part_of_the_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let genesis = network();
    let blocks = blocks(&genesis);
    std::fs::write(directory.path().join("genesis.json"), serde_json::to_string(&genesis).unwrap()).unwrap();
    let text: Vec<String> = blocks.iter().map(|block| spacetime_example::codec::to_hex(&block.encode())).collect();
    std::fs::write(directory.path().join("blocks.txt"), text.join("\n")).unwrap();
    for lines in [1, 2, 5, 9, 14, 30, 60, 100] {
        let store = directory.path().join("chain.redb");
        let _ = std::fs::remove_file(&store);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_takes_blocks_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It waits for the next one, and its disk is at work, when it is killed.
        child.stdin.as_mut().unwrap().write_all("\n".repeat(lines).as_bytes()).unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let taken = out.lines().map_while(Result::ok).filter(|line| line.contains("taken")).take(lines).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(taken, lines);
        let chain = SpacetimeChain::open(&genesis, &store).unwrap();
        let kept = blocks.iter().take_while(|block| chain.ledger().is_kept(&block.header.hash())).count();
        assert!(kept <= lines);
        let beyond = blocks.iter().skip(kept).filter(|block| chain.ledger().is_kept(&block.header.hash())).count();
        assert_eq!(beyond, 0, "what is kept is a front part");
        let expected = state(&genesis, &blocks[..kept]);
        assert_eq!(chain.ledger().best(), expected.best());
        assert_eq!(chain.ledger().accounts(), expected.accounts());
    }
}

#[test]
fn a_node_that_stops_has_kept_all_and_its_blocks_are_served_as_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("chain.redb");
    let genesis = network();
    let blocks = blocks(&genesis);
    let mut chain = SpacetimeChain::open(&genesis, &store).unwrap();
    for block in &blocks {
        assert!(matches!(chain.submit_block(NOW, block.encode().into()), Verdict::Accepted { .. }));
    }
    chain.finish().unwrap();
    drop(chain);
    let chain = SpacetimeChain::open(&genesis, &store).unwrap();
    assert_eq!(chain.ledger().best(), state(&genesis, &blocks).best());
    for block in &blocks {
        let hash = spacetime_network::wire::Hash(block.header.hash());
        assert_eq!(chain.block(&hash).unwrap(), block.encode());
    }
    drop(chain);
    let error = SpacetimeChain::open(&Genesis::new("another", BEGAN, 1, &[]).unwrap(), &store).unwrap_err();
    assert!(error.to_string().contains("another network"), "{error}");
}
