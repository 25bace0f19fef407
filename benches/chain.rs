//! The reference chain: judging a header, taking a block, reading a store back in.
//!
//! Each bench asserts its answer; throughput is in headers or blocks.

#![allow(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use spacetime_network::chain::block::MAX_TRANSACTIONS;
use spacetime_network::chain::mempool::{MAX_COUNT, Mempool};
use spacetime_network::chain::{Params, ReferenceChain, Transaction};
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::source::Source;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::Hash;

const NOW: UnixTime = UnixTime::from_millis(1_800_000_000_000);
/// A store that a node of some weeks has.
const STORED: u64 = 100_000;

fn params() -> Params {
    // No work to search: what is measured is the chain, not the miner.
    Params::new(0, 50).unwrap_or_default()
}

/// The next block of `chain`, with one transfer, about 250 bytes long.
fn next(chain: &mut ReferenceChain) -> Bytes {
    let nonce = chain.best().height;
    let transfer = Transaction { sender: "alice", recipient: "bob", amount: 1, time: NOW, nonce };
    let _ = chain.submit_transaction(NOW, transfer.encode().unwrap());
    chain.template(NOW, "miner", 1 << 20).unwrap().encode()
}

fn header(criterion: &mut Criterion) {
    let mut chain = ReferenceChain::memory(params());
    let header = next(&mut chain).slice(..93);
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(1));
    group.bench_function("check_header", |b| {
        b.iter(|| assert_eq!(chain.check_header(NOW, black_box(&header)).map(|info| info.height), Ok(1)));
    });
    group.finish();
}

fn submit(criterion: &mut Criterion) {
    let mut chain = ReferenceChain::memory(params());
    let mut blocks = Vec::new();
    for _ in 0..1000 {
        let block = next(&mut chain);
        let _ = chain.submit_block(NOW, block.clone());
        blocks.push(block);
    }
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(blocks.len() as u64));
    group.bench_function("submit_block", |b| {
        b.iter_batched_ref(
            || ReferenceChain::memory(params()),
            |chain| {
                for block in &blocks {
                    assert_eq!(chain.submit_block(NOW, block.clone()), Verdict::Accepted { best_changed: true });
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn store(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chain");
    let mut chain = ReferenceChain::open(params(), &path).unwrap();
    let mut blocks = 0;
    while blocks < STORED {
        let block = next(&mut chain);
        match chain.submit_block(NOW, block) {
            Verdict::Accepted { .. } => blocks += 1,
            _ => chain.flush(Duration::from_secs(60)).unwrap(),
        }
        if blocks % 100 == 0 {
            chain.turn_ended();
        }
    }
    let tip = chain.best();
    chain.flush(Duration::from_secs(60)).unwrap();
    let mut group = criterion.benchmark_group("chain");
    group.sample_size(10).throughput(Throughput::Elements(STORED));
    group.bench_function("verify", |b| {
        b.iter(|| assert_eq!(chain.verify(|_, _| ()).map(|report| report.blocks), Ok(STORED + 1)));
    });
    drop(chain);
    group.bench_function("open", |b| {
        b.iter(|| assert_eq!(ReferenceChain::open(params(), &path).unwrap().best(), tip));
    });
    group.finish();
}

/// The largest block leaves a full pool that forty strangers have filled: what the loop does of it in one piece.
fn pool(criterion: &mut Criterion) {
    let ids: Vec<Hash> = (0..MAX_COUNT as u64)
        .map(|n| Hash(core::array::from_fn(|at| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 8 * 8)) as u8)))
        .collect();
    let full = || {
        let mut pool = Mempool::default();
        for (n, id) in (0..).zip(&ids) {
            let source = Source::peer(format!("10.{}.0.1", n % 40).parse().unwrap(), false);
            let _ = pool.insert(*id, Bytes::copy_from_slice(&[0; 100]), source, NOW);
        }
        pool
    };
    let mined = &ids[..MAX_TRANSACTIONS - 1];
    let mut group = criterion.benchmark_group("pool");
    group.sample_size(20).throughput(Throughput::Elements(mined.len() as u64));
    group.bench_function("leave_one_by_one", |b| {
        b.iter_batched_ref(full, |pool| mined.iter().for_each(|id| drop(pool.remove(id))), BatchSize::LargeInput);
    });
    group.bench_function("leave", |b| {
        b.iter_batched_ref(full, |pool| pool.remove_all(mined), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, header, submit, store, pool);
criterion_main!(benches);
