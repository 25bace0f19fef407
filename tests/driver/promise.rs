//! The promise of backpressure: whoever is refused hears when to go on, or that the connection is gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use spacetime_network::close::CloseReason;
use spacetime_network::driver::{Config, Driver, SendOutcome};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::link::OutboxLimits;
use spacetime_network::wire::Priority;
use spacetime_network::wire::frame::MAX_PAYLOAD;

use crate::party::{Party, Seen, listen, party};

/// What a sender is made to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    limits: OutboxLimits,
    send_budget: usize,
    connections: usize,
    /// To which connection, in which queue, how long, shared or copied.
    frames: Vec<(usize, usize, usize, bool)>,
    /// After so many rounds the first connection is closed.
    closes_first: Option<usize>,
    /// Its reader does not read for so many rounds.
    deaf: usize,
}

pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let len = prop_oneof![4 => 0..300usize, 3 => 300..9_000usize, 1 => 9_000..90_000usize];
    let frames = proptest::collection::vec((0..3usize, 0..4usize, len, any::<bool>()), 1..60);
    let limits = (5..70_000usize, 0..=100usize, 0..=100usize);
    let budget = prop_oneof![0..2_000usize, 2_000..200_000usize];
    (limits, budget, 1..4usize, frames, proptest::option::of(0..40usize), 0..30usize).prop_map(
        |((hard, high, low), extra, connections, frames, closes_first, deaf)| {
            let high = (hard * high / 100).max(1);
            let limits = OutboxLimits { hard, high, low: high * low / 100 };
            Plan { limits, send_budget: high + extra, connections, frames, closes_first, deaf }
        },
    )
}

type Waiting = VecDeque<(Priority, Bytes, bool)>;

fn count(driver: &Driver<Party>, wanted: &Seen) -> usize {
    driver.protocol().seen.iter().filter(|seen| *seen == wanted).count()
}

/// A sender that goes on only when it is told to gets rid of everything that can be sent.
pub(crate) fn holds(mut sending: Config, receiving: Config, plan: &Plan) {
    (sending.outbox, sending.send_budget) = (plan.limits, plan.send_budget);
    let (mut sender, mut reader) = (party(sending), party(receiving));
    let address = listen(&mut reader);
    sender.with(|_, _, net| {
        for dial in 0..plan.connections as u64 {
            net.dial(DialId(dial), address, Duration::from_secs(60));
        }
    });
    crate::party::turn_both(&mut sender, &mut reader, |sender, reader| {
        sender.protocol().opened().len() == plan.connections && reader.protocol().opened().len() == plan.connections
    });
    let conns = sender.protocol().opened();
    let mut queues: BTreeMap<ConnId, Waiting> = conns.iter().map(|conn| (*conn, VecDeque::new())).collect();
    for (to, rank, len, shared) in &plan.frames {
        let conn = conns[to % conns.len()];
        let frame = (Priority::ALL[*rank], Bytes::from(vec![*rank as u8; *len]), *shared);
        queues.get_mut(&conn).unwrap().push_back(frame);
    }
    let deaf = reader.protocol().opened()[0];
    reader.with(|_, _, net| net.pause(deaf));
    // How often each was told to go on when it was refused last.
    let mut refused: BTreeMap<ConnId, usize> = BTreeMap::new();
    let limit = Instant::now() + Duration::from_secs(60);
    for round in 0.. {
        refused.retain(|conn, told| count(&sender, &Seen::Writable(*conn)) == *told);
        queues.retain(|conn, _| {
            let gone = |seen: &Seen| matches!(seen, Seen::Closed(closed, _) if closed == conn);
            !sender.protocol().seen.iter().any(gone)
        });
        if queues.values().all(VecDeque::is_empty) {
            return;
        }
        for (conn, queue) in &mut queues {
            if refused.contains_key(conn) {
                continue;
            }
            while let Some((priority, payload, shared)) = queue.front() {
                let outcome = sender.with(|_, _, net| match shared {
                    true => net.send_shared(*conn, *priority, 1, payload),
                    false => net.send(*conn, *priority, 1, payload),
                });
                assert_eq!(outcome == SendOutcome::TooLarge, payload.len() + 5 > plan.limits.hard, "{}", payload.len());
                match outcome {
                    SendOutcome::Full => {
                        refused.insert(*conn, count(&sender, &Seen::Writable(*conn)));
                        break;
                    }
                    SendOutcome::Closed => break,
                    SendOutcome::Accepted { .. } | SendOutcome::TooLarge => drop(queue.pop_front()),
                }
            }
        }
        if plan.closes_first == Some(round) {
            sender.with(|_, _, net| net.close(conns[0], CloseReason::Requested, Duration::from_millis(20)));
        }
        if plan.deaf == round {
            reader.with(|_, _, net| net.resume(deaf));
        }
        sender.turn(Some(Duration::from_millis(1))).unwrap();
        reader.turn(Some(Duration::ZERO)).unwrap();
        assert!(Instant::now() < limit, "{refused:?} were refused and never told to go on");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    /// A sender that waited for room behind a frame that no queue could carry waited for ever.
    #[test]
    fn whoever_is_refused_is_told_when_to_go_on_or_that_there_is_nobody(plan in plans()) {
        holds(crate::party::config(), crate::party::config(), &plan);
    }
}

#[test]
fn a_frame_that_no_queue_carries_is_too_large_and_the_next_one_is_taken() {
    let mut config = crate::party::config();
    config.outbox = OutboxLimits { hard: 1000, high: 500, low: 100 };
    let mut driver = party(config);
    let (_plain, conn) = crate::party::plain(&mut driver);
    driver.with(|_, _, net| {
        assert_eq!(net.send(conn, Priority::Critical, 1, &[0; 996]), SendOutcome::TooLarge);
        assert_eq!(net.send(conn, Priority::Low, 1, &vec![0; MAX_PAYLOAD as usize + 1]), SendOutcome::TooLarge);
        assert_eq!(net.send(conn, Priority::Low, 1, &[0; 995]), SendOutcome::Accepted { dropped: 0 });
        assert_eq!(net.send(conn, Priority::Low, 1, b""), SendOutcome::Full);
        assert_eq!(net.conn_stats(conn).unwrap().refused_frames, 3);
        net.close(conn, CloseReason::Done, Duration::ZERO);
        assert_eq!(net.send(conn, Priority::Critical, 1, &[0; 996]), SendOutcome::Closed, "who is gone takes nothing");
    });
}
