//! A network of our nodes and of peers exactly as strict as either revision of the C# library, on the virtual clock.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::chain::{Params, ReferenceChain, Transaction};
use spacetime_network::close::CloseReason;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Config, Event};
use spacetime_network::wire::message::ProofSubmission;
use spacetime_network::wire::{Hash, Kind, Message};

use crate::strict_peer::{Revision, Role, Said, StrictPeer};
use crate::world::{Stranger, World};

/// How often the strict peers look at what came.
const STEP: Duration = Duration::from_millis(250);

fn hash_of(block: &[u8]) -> [u8; 32] {
    let chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
    chain.block_hash(block).unwrap_or(Hash::ZERO).0
}

struct Strict {
    peer: StrictPeer,
    at: Stranger,
}

impl Strict {
    fn say(&self, world: &mut World, frames: Vec<Said>) {
        for (byte, payload) in frames {
            world.say_raw(self.at, byte, payload.into());
        }
    }

    /// Takes all that came, and says what follows.
    fn turn(&mut self, world: &mut World, now: Duration) {
        // What it answers may be answered in its turn, but not for ever.
        for round in 0.. {
            let mut said = Vec::new();
            while let Some((kind, payload)) = world.hear(self.at) {
                let answer = self.peer.hear(now, kind as u8, &payload);
                said.extend(answer.unwrap_or_else(|thrown| panic!("at {now:?}, {:?}: {thrown}", self.peer.revision)));
            }
            if said.is_empty() {
                break;
            }
            assert!(round < 20, "an exchange without end: {said:02x?}");
            self.say(world, said);
        }
        let due = self.peer.tick(now);
        self.say(world, due);
    }
}

fn quiet(config: &mut Config) {
    config.outbound = 0;
    config.feeler_every = None;
}

fn proof(height: u64) -> Vec<u8> {
    let proof = ProofSubmission { height, miner: [2; 33], proof: &[1, 2, 3] };
    Message::ProofSubmission(proof).to_payload().unwrap().to_vec()
}

/// Four nodes in a star, and four strict peers, of each revision one that dialed and one that was dialed.
struct Network {
    world: World,
    nodes: Vec<usize>,
    strict: Vec<Strict>,
    /// Further connections to the listeners.
    looked_at: Vec<Strict>,
}

impl Network {
    fn new() -> Network {
        let mut world = World::new();
        world.traps = Some(|address: &SocketAddr| address.port() == 9999);
        let hub = world.node("hub", "5.0.0.1:7000", quiet);
        let mut nodes = vec![hub];
        let mut strict = Vec::new();
        let now = Duration::ZERO;
        for (index, revision) in [Revision::First, Revision::Later].into_iter().enumerate() {
            let listener: SocketAddr = format!("6.0.{index}.1:9999").parse().unwrap();
            let node = world.node(&format!("keeper-{index}"), &format!("5.1.{index}.1:7000"), |config| {
                quiet(config);
                config.connect = vec!["5.0.0.1:7000".parse().unwrap(), listener];
            });
            nodes.push(node);
            world.settle();
            let at = world.trapped.pop().expect("the listener is dialed");
            let (peer, said) = StrictPeer::new(revision, Role::Listener, "csharp-listener", hash_of, now);
            assert!(said.is_empty());
            strict.push(Strict { peer, at });
        }
        nodes.push(world.node("leaf", "5.2.0.1:7000", |config| {
            quiet(config);
            config.connect = vec!["5.0.0.1:7000".parse().unwrap()];
        }));
        for (index, (revision, node)) in [(Revision::First, hub), (Revision::Later, nodes[3])].into_iter().enumerate() {
            let at = world.stranger(node, &format!("9.0.{index}.1:4000")).expect("admitted");
            let (peer, said) = StrictPeer::new(revision, Role::Dialer, "csharp-dialer", hash_of, now);
            let one = Strict { peer, at };
            one.say(&mut world, said);
            strict.push(one);
        }
        Network { world, nodes, strict, looked_at: Vec::new() }
    }

    fn step(&mut self, now: Duration) {
        self.world.advance(STEP);
        // Whoever hears of a listener looks whether somebody is there.
        for at in std::mem::take(&mut self.world.trapped) {
            let (peer, _) = StrictPeer::new(Revision::Later, Role::Listener, "csharp-listener", hash_of, now);
            self.looked_at.push(Strict { peer, at });
        }
        for strict in &mut self.looked_at {
            strict.turn(&mut self.world, now);
        }
        for strict in &mut self.strict {
            strict.turn(&mut self.world, now);
        }
    }

    /// Connections that ended, but for looks whether somebody is there.
    fn lost(&self) -> Vec<(usize, String)> {
        let of = |event: &Event| match event {
            Event::PeerDisconnected { reason, .. } | Event::HandshakeFailed { reason, .. }
                if !matches!(
                    reason,
                    CloseReason::Done | CloseReason::DuplicateConnection | CloseReason::RemoteClosed
                ) =>
            {
                Some(reason.to_string())
            }
            _ => None,
        };
        let mut lost: Vec<_> = self.world.events.iter().filter_map(|(node, event)| Some((*node, of(event)?))).collect();
        lost.extend(self.strict.iter().filter(|one| self.world.is_closed(one.at)).map(|_| (99, "strict".to_owned())));
        lost
    }
}

#[test]
fn blocks_transactions_and_proofs_reach_all_eight_of_both_dialects_in_ten_minutes_without_a_lost_connection() {
    let mut network = Network::new();
    let (mut blocks, mut transactions, mut proofs, mut challenges) = (0u64, BTreeSet::new(), BTreeSet::new(), 0);
    let steps = 600_000 / STEP.as_millis() as u64;
    for step in 0..steps {
        let now = STEP * step as u32;
        network.step(now);
        let Network { world, nodes, strict, .. } = &mut network;
        // Until the last seconds, which are for what is on its way.
        if !step.is_multiple_of(4) || now < Duration::from_secs(10) || now > Duration::from_secs(570) {
            continue;
        }
        let second = now.as_secs();
        if second.is_multiple_of(20) {
            // In turns our nodes and each of the strict peers finds a block.
            let turn = (second / 20) as usize % 8;
            if let Some(node) = nodes.get(turn) {
                world.mine(*node);
            } else {
                let block = world.block_on(nodes[0], "csharp");
                let one = &mut strict[turn - 4];
                let said = one.peer.block(&block);
                one.say(world, vec![said]);
            }
            blocks += 1;
        }
        if second.is_multiple_of(7) {
            let time = world.now.unix;
            let payment = Transaction { sender: "ann", recipient: "bob", amount: 1, time, nonce: second };
            let payment = payment.encode().unwrap();
            transactions.insert(payment.to_vec());
            let turn = (second / 7) as usize % 8;
            if let Some(node) = nodes.get(turn) {
                world.command(*node, Command::SubmitTransaction(payment));
            } else {
                let one = &mut strict[turn - 4];
                one.peer.transactions.insert(payment.to_vec());
                let said = one.peer.say(Kind::Transaction as u8, payment.to_vec());
                one.say(world, vec![said]);
            }
        }
        if second.is_multiple_of(15) {
            let one = proof(second);
            let turn = (second / 15) as usize % 8;
            if let Some(node) = nodes.get(turn) {
                world.command(*node, Command::Gossip(Kind::ProofSubmission, one.clone().into()));
                world.command(*node, Command::Gossip(Kind::NewChallenge, second.to_le_bytes().to_vec().into()));
                challenges += 1;
            } else {
                let by = &mut strict[turn - 4];
                let said = by.peer.proof(&one);
                by.say(world, vec![said]);
            }
            proofs.insert(one);
        }
    }
    let Network { world, nodes, strict, .. } = &network;
    assert_eq!(network.lost(), []);
    assert_eq!(world.quarrels, []);
    for node in nodes {
        let best = world.get(*node).chain().best();
        assert_eq!((best.height, best.hash), (blocks, world.get(nodes[0]).chain().best().hash), "node {node}");
        let heard = |event: &Event| matches!(event, Event::Gossip { kind: Kind::ProofSubmission, .. });
        assert_eq!(world.count(*node, heard), proofs.len(), "node {node}");
        let paid = world.count(*node, |event| matches!(event, Event::TransactionAccepted { .. }));
        assert_eq!(paid, transactions.len(), "node {node}");
    }
    for Strict { peer, .. } in strict {
        let who = peer.revision;
        assert_eq!(peer.blocks.len() as u64, blocks, "{who:?}");
        assert_eq!(peer.transactions, transactions, "{who:?}");
        assert_eq!(peer.proofs, proofs, "{who:?}");
        if who == Revision::Later {
            // One for each block, its own too, and none twice.
            let once: BTreeSet<_> = peer.acceptances.iter().collect();
            assert_eq!((once.len(), peer.acceptances.len() as u64), (peer.acceptances.len(), blocks));
        } else {
            assert_eq!(peer.challenges.len(), challenges, "{who:?}");
        }
    }
}
