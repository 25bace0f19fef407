//! A client of a node that asks all it wants to know, ends its direction and reads.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::proto::Config;
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{GetPeers, Ping};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::stranger::{Running, Stranger};

/// Blocks that a client asks for at once. More than the burst that [`few_at_once`] leaves, fewer than wait at most.
const BLOCKS: usize = 90;

/// The questions, and then the end, by the caller.
fn ask<S: Read + Write>(stranger: &mut Stranger<S>, nonce: i64) {
    let mut bytes = Vec::new();
    Message::Ping(Ping { nonce, unix_millis: 0 }).encode(&mut bytes).unwrap();
    Message::GetPeers(GetPeers::All).encode(&mut bytes).unwrap();
    stranger.say_bytes(&bytes);
}

/// How many Pongs and Peers come before the end.
fn answers<S: Read + Write>(stranger: &mut Stranger<S>) -> (usize, usize) {
    let (mut pongs, mut peers) = (0, 0);
    while let Ok((kind, _)) = stranger.hear() {
        pongs += usize::from(kind == Kind::Pong);
        peers += usize::from(kind == Kind::Peers);
    }
    (pongs, peers)
}

fn chain_of(blocks: usize) -> (ReferenceChain, Vec<Hash>) {
    let mut chain = ReferenceChain::memory(Params::new(0, 50).unwrap());
    let now = UnixTime::from_secs(1_700_000_000);
    let mut mine = |_| {
        let block = chain.template(now, "miner", 1 << 20).unwrap().encode();
        assert_eq!(chain.submit_block(now, block), Verdict::Accepted { best_changed: true });
        chain.best().hash
    };
    let hashes = (0..blocks).map(&mut mine).collect();
    (chain, hashes)
}

/// The node gives some sixty blocks at once, and one more every 18 ms: the rest waits when the client has ended its direction.
fn few_at_once(config: &mut Config) {
    config.serving_rate = 10_000;
    config.heartbeat = Duration::from_secs(20);
}

fn ask_for_blocks<S: Read + Write>(stranger: &mut Stranger<S>, hashes: &[Hash]) {
    let mut bytes = Vec::new();
    hashes.iter().for_each(|hash| Message::GetBlock(*hash).encode(&mut bytes).unwrap());
    stranger.say_bytes(&bytes);
}

/// The hashes of the blocks that come before the end.
fn blocks<S: Read + Write>(stranger: &mut Stranger<S>) -> Vec<Hash> {
    let judge = ReferenceChain::memory(Params::new(0, 50).unwrap());
    let mut got = Vec::new();
    while let Ok((kind, payload)) = stranger.hear() {
        if kind == Kind::Block {
            got.push(judge.block_hash(&payload).unwrap());
        }
    }
    got
}

/// Both answers were lost in two of five: they were queued, and the connection was taken down in the same turn.
#[test]
fn a_ping_and_a_question_before_the_end_of_the_stream_are_answered_each_time() {
    let node = Running::start(|config| config.admission.rate = None);
    for round in 0..50 {
        let mut stranger = node.greet(&format!("asker-{round}"), 2);
        ask(&mut stranger, round);
        stranger.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answers(&mut stranger), (1, 1), "in round {round}");
    }
}

/// What waits for its turn is in no queue: a connection that has said all there would end with it.
#[test]
fn blocks_whose_turn_comes_after_the_end_of_the_stream_are_sent_all_the_same() {
    let (chain, hashes) = chain_of(BLOCKS);
    let node = Running::start_on(spacetime_network::driver::Config::default(), chain, few_at_once);
    let mut stranger = node.greet("asker", 2);
    ask_for_blocks(&mut stranger, &hashes);
    stranger.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(blocks(&mut stranger), hashes);
}

#[cfg(feature = "tls")]
mod under_tls {
    use std::net::TcpStream;

    use rustls::{ClientConnection, StreamOwned};
    use spacetime_network::driver;
    use spacetime_network::link::tls::identity::Identity;
    use spacetime_network::link::tls::trust::Trust;
    use spacetime_network::link::tls::{Tls, TlsOptions};

    use super::*;
    use crate::tls_support::{By, client};

    fn start(chain: ReferenceChain, change: impl FnOnce(&mut Config)) -> Running {
        let tls = Tls::new(&Identity::generate().unwrap(), Trust::Any, TlsOptions::default()).unwrap();
        let id = tls.id().to_string();
        let mut config = driver::Config::default();
        config.tls = Some(tls);
        Running::start_on(config, chain, |config| {
            config.node_id = id;
            config.admission.rate = None;
            change(config);
        })
    }

    /// A client whose handshakes are done, TLS's and ours.
    fn greet(node: &Running) -> Stranger<StreamOwned<ClientConnection, TcpStream>> {
        let key = Identity::generate_pkcs8().unwrap();
        let id = Tls::new(&Identity::from_pkcs8(&key).unwrap(), Trust::Any, TlsOptions::default()).unwrap().id();
        let socket = client(node.address, key).unwrap();
        socket.sock.set_read_timeout(Some(crate::stranger::PATIENCE)).unwrap();
        let mut stranger = Stranger { socket };
        stranger.greet(&id.to_string(), 2);
        stranger
    }

    /// Two of four lost both answers.
    #[test]
    fn a_ping_and_a_question_before_close_notify_are_answered_each_time() {
        let node = start(chain_of(0).0, |_| {});
        for by in [By::CloseNotify, By::CloseNotifyAndFin, By::Fin] {
            for round in 0..20 {
                let mut stranger = greet(&node);
                ask(&mut stranger, round);
                by.end(&mut stranger.socket).unwrap();
                assert_eq!(answers(&mut stranger), (1, 1), "in round {round}, by {by:?}");
            }
        }
    }

    #[test]
    fn blocks_whose_turn_comes_after_close_notify_are_sent_all_the_same() {
        let (chain, hashes) = chain_of(BLOCKS);
        let node = start(chain, few_at_once);
        for by in [By::CloseNotify, By::CloseNotifyAndFin, By::Fin] {
            let mut stranger = greet(&node);
            ask_for_blocks(&mut stranger, &hashes);
            by.end(&mut stranger.socket).unwrap();
            assert_eq!(blocks(&mut stranger), hashes, "by {by:?}");
        }
    }
}
