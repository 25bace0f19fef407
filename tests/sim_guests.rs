//! The simulator with peers exactly as strict as either revision of the C# library among its nodes.

#[path = "strict_peer/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod strict_peer;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use spacetime_network::chain::Transaction;
use spacetime_network::sim::{Faults, Guest, Invitation, Options, run_with_guests};
use spacetime_network::time::UnixTime;
use strict_peer::{Revision, Role, Said, StrictPeer, TRANSACTION};

/// How long the network is played.
const TIME: Duration = Duration::from_secs(600);

/// By the bytes of its header: blocks that differ, differ there.
fn hash_of(block: &[u8]) -> [u8; 32] {
    let mut hash = [0u8; 32];
    block.iter().take(93).enumerate().for_each(|(at, byte)| {
        hash[at % 32] = hash[at % 32].rotate_left(3) ^ byte;
    });
    hash
}

/// What became of one of them.
#[derive(Default)]
struct Fate {
    /// What a frame threw.
    thrown: Vec<String>,
    /// Connections that ended, but for those by which somebody only looked.
    lost: usize,
    blocks: BTreeSet<[u8; 32]>,
    transactions: BTreeSet<Vec<u8>>,
    proofs: BTreeSet<Vec<u8>>,
    acceptances: usize,
}

struct Csharp {
    revision: Revision,
    number: u64,
    lines: BTreeMap<u32, StrictPeer>,
    /// The connection that stays.
    first: Option<u32>,
    said: u64,
    fate: Rc<RefCell<Fate>>,
}

impl Guest for Csharp {
    fn opened(&mut self, conn: u32, dialed: bool, at: Duration) -> Vec<Said> {
        let role = if dialed { Role::Dialer } else { Role::Listener };
        let name = format!("csharp-{}", self.number);
        let (peer, said) = StrictPeer::new(self.revision, role, &name, hash_of, at);
        self.first.get_or_insert(conn);
        self.lines.insert(conn, peer);
        said
    }

    fn heard(&mut self, conn: u32, at: Duration, byte: u8, payload: &[u8]) -> Vec<Said> {
        let Some(peer) = self.lines.get_mut(&conn) else { return Vec::new() };
        let mut fate = self.fate.borrow_mut();
        match peer.hear(at, byte, payload) {
            Ok(said) => {
                fate.blocks.extend(peer.blocks.keys());
                fate.transactions.extend(std::mem::take(&mut peer.transactions));
                fate.proofs.extend(peer.proofs.iter().cloned());
                if self.first == Some(conn) {
                    fate.acceptances = peer.acceptances.len();
                }
                said
            }
            Err(thrown) => {
                fate.thrown.push(format!("{at:?}: {thrown}"));
                Vec::new()
            }
        }
    }

    fn due(&mut self, conn: u32, at: Duration) -> Vec<Said> {
        let Some(peer) = self.lines.get_mut(&conn) else { return Vec::new() };
        let mut said = peer.tick(at);
        // Each has its moment for a payment and a proof, until the last seconds.
        let turn = Duration::from_secs(20 * (self.said + 1) + 3 * self.number);
        if self.first == Some(conn) && at >= turn && at + Duration::from_secs(15) < TIME {
            self.said += 1;
            let nonce = self.said * 10 + self.number;
            let time = UnixTime::from_secs(1_800_000_000);
            let payment = Transaction { sender: "csharp", recipient: "bob", amount: 1, time, nonce };
            let payment = payment.encode().unwrap().to_vec();
            let proof = [&nonce.to_le_bytes()[..], &[2; 33], &1i32.to_le_bytes(), &[7]].concat();
            let mut fate = self.fate.borrow_mut();
            fate.transactions.insert(payment.clone());
            fate.proofs.insert(proof.clone());
            said.push(peer.say(TRANSACTION, payment));
            said.push(peer.proof(&proof));
        }
        said
    }

    fn lost(&mut self, conn: u32, _: Duration) {
        self.lines.remove(&conn);
        if self.first == Some(conn) {
            self.fate.borrow_mut().lost += 1;
        }
    }
}

/// Four nodes and four strict peers, of each revision one that dials and one that is dialed.
#[test]
fn blocks_transactions_and_proofs_reach_strict_peers_of_both_revisions_in_ten_minutes_without_a_lost_connection() {
    let mut fates = Vec::new();
    let mut invitations = Vec::new();
    for (number, (revision, dials)) in
        [(Revision::First, true), (Revision::First, false), (Revision::Later, true), (Revision::Later, false)]
            .into_iter()
            .enumerate()
    {
        let fate = Rc::new(RefCell::new(Fate::default()));
        fates.push((revision, Rc::clone(&fate)));
        let number = number as u64;
        let guest = Csharp { revision, number, lines: BTreeMap::new(), first: None, said: 0, fate };
        let node = Some(number as u32);
        let (dials, dialed_by) = if dials { (node, None) } else { (None, node) };
        invitations.push(Invitation { guest: Box::new(guest), dials, dialed_by });
    }
    let options = Options { seed: 19, nodes: 4, chaos: TIME, faults: Faults::None, scenario: None };
    let report = run_with_guests(&options, invitations).unwrap();
    assert!(report.failure.is_none(), "{}", report.failure.unwrap());
    assert!(report.height >= 20, "{}", report.height);
    let all: BTreeSet<Vec<u8>> = fates.iter().flat_map(|(_, fate)| fate.borrow().proofs.clone()).collect();
    assert!(all.len() >= 100, "{}", all.len());
    let paid: BTreeSet<Vec<u8>> = fates.iter().flat_map(|(_, fate)| fate.borrow().transactions.clone()).collect();
    for (revision, fate) in &fates {
        let fate = fate.borrow();
        assert_eq!((fate.thrown.as_slice(), fate.lost), (&[][..], 0), "{revision:?}");
        assert!(fate.blocks.len() as u64 >= report.height - 1, "{revision:?}: {} blocks", fate.blocks.len());
        assert_eq!(fate.proofs, all, "{revision:?}");
        // What was paid in the last moment may be on its way.
        assert!(
            fate.transactions.len() + 5 >= paid.len(),
            "{revision:?}: {} of {}",
            fate.transactions.len(),
            paid.len()
        );
        if *revision == Revision::Later {
            assert!(fate.acceptances as u64 >= report.height - 1, "{} acceptances", fate.acceptances);
        }
    }
}
