//! The table of sessions beside a plain list, with the same random moves.

use proptest::prelude::*;

use super::*;
use crate::proto::budget::{MessageRates, SendBudgets, Serving, TransactionPace};
use crate::proto::gossip::RelayedGossip;
use crate::proto::pool::{Manner, PoolExchange};
use crate::proto::session::speech::Speech;

fn conn(n: u8) -> ConnId {
    ConnId::new(n.into(), 0)
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// All of them come from one address, where an id is one node's.
const HOST: [u8; 4] = [10, 0, 0, 1];

fn key(id: u8) -> PeerKey {
    PeerKey::new(&format!("peer-{id}"), SocketAddr::from((HOST, 9)), None)
}

fn peer(id: u8, now: Instant) -> Peer {
    let rates = MessageRates::default();
    let pace = TransactionPace::new(None, false);
    let name = (format!("peer-{id}"), "test".to_owned(), 2, Speech::new(2, &rates));
    Peer::new(
        name,
        (now, now),
        pace,
        (SendBudgets::new(&rates, false), Serving::new(1, false), RelayedGossip::new(&rates, false)),
        PoolExchange::new(now, Manner::Offer, 0),
    )
}

fn open(sessions: &mut Sessions, n: u8, now: Instant, deadline: Instant) {
    let remote = SocketAddr::from((HOST, u16::from(n)));
    let budgets = PeerBudgets::new(&MessageRates::default(), false);
    sessions.open(conn(n), (remote, Direction::Inbound, None), (now, deadline), budgets);
}

/// What the plain list keeps of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plain {
    n: u8,
    id: Option<u8>,
    closing: bool,
    due: u64,
    pace: Option<u64>,
    awaited: bool,
}

#[derive(Clone, Debug)]
enum Move {
    Open(u8, u64),
    Introduce(u8, u8, u64),
    Close(u8),
    Remove(u8),
    Reschedule(u8, u64),
    Pace(u8, u64),
    Answer(u8),
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let (n, id, wait) = (0u8..6, 0u8..4, 0u64..3000);
    let one = prop_oneof![
        (n.clone(), wait.clone()).prop_map(|(n, wait)| Move::Open(n, wait)),
        (n.clone(), id, wait.clone()).prop_map(|(n, id, wait)| Move::Introduce(n, id, wait)),
        n.clone().prop_map(Move::Close),
        n.clone().prop_map(Move::Remove),
        (n.clone(), wait.clone()).prop_map(|(n, wait)| Move::Reschedule(n, wait)),
        (n.clone(), wait.clone()).prop_map(|(n, wait)| Move::Pace(n, wait)),
        n.prop_map(Move::Answer),
        wait.prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..200)
}

/// Everything that is due in the list, as the table would say it: by time, sessions before paces, then by connection.
fn pop_due(plain: &mut [Plain], now: u64) -> Option<Due> {
    let timers = plain.iter().filter(|session| !session.closing).flat_map(|session| {
        let session_timer = (session.due, 0, session.n);
        [Some(session_timer), session.pace.map(|at| (at, 1, session.n))]
    });
    let (_, kind, n) = timers.flatten().filter(|(at, ..)| *at <= now).min()?;
    let session = plain.iter_mut().find(|session| session.n == n)?;
    if kind == 1 {
        session.pace = None;
        return Some(Due::Pace(conn(n)));
    }
    session.due = now + 1000;
    session.awaited = session.id.is_some() && !session.awaited;
    Some(if session.awaited { Due::Count(conn(n)) } else { Due::Judge(conn(n)) })
}

proptest! {
    #[test]
    fn the_table_keeps_what_a_plain_list_keeps(moves in moves()) {
        let (mut sessions, mut plain, mut now) = (Sessions::default(), Vec::<Plain>::new(), 0);
        for one in moves {
            match one {
                Move::Open(n, wait) => {
                    if plain.iter().all(|session| session.n != n) {
                        open(&mut sessions, n, at(now), at(now + wait));
                        let due = now + wait;
                        plain.push(Plain { n, id: None, closing: false, due, pace: None, awaited: false });
                    }
                }
                Move::Introduce(n, id, wait) => {
                    let free = plain.iter().all(|session| session.id != Some(id) || session.closing);
                    let session = plain.iter_mut().find(|s| s.n == n && s.id.is_none() && !s.closing);
                    if let Some(session) = session.filter(|_| free) {
                        sessions.introduce(conn(n), peer(id, at(now)), at(now + wait));
                        (session.id, session.due) = (Some(id), now + wait);
                    }
                }
                Move::Close(n) => {
                    let session = plain.iter_mut().find(|session| session.n == n && !session.closing);
                    let ended = sessions.close(conn(n), CloseReason::Done);
                    prop_assert_eq!(ended.is_some(), session.is_some());
                    if let (Some((.., peer)), Some(session)) = (ended, session) {
                        prop_assert_eq!(peer.is_some(), session.id.is_some());
                        (session.closing, session.pace, session.awaited) = (true, None, false);
                    }
                }
                Move::Remove(n) => {
                    let at = plain.iter().position(|session| session.n == n);
                    let gone = sessions.remove(conn(n)).map(Session::into_state);
                    let expected = at.map(|at| plain.remove(at));
                    match (gone, expected) {
                        (None, None) => {}
                        (Some(SessionState::Greeting { .. }), Some(session)) => {
                            prop_assert!(session.id.is_none() && !session.closing);
                        }
                        (Some(SessionState::Ready(_)), Some(session)) => {
                            prop_assert!(session.id.is_some() && !session.closing);
                        }
                        (Some(SessionState::Closing { reason, was }), Some(session)) => {
                            prop_assert!(session.closing && reason == CloseReason::Done);
                            let named = session.id.map_or(Was::Nobody, |id| Was::Peer(format!("peer-{id}")));
                            prop_assert_eq!(was, named);
                        }
                        (gone, expected) => prop_assert!(false, "{gone:?} instead of {expected:?}"),
                    }
                }
                Move::Reschedule(n, wait) => {
                    sessions.reschedule(conn(n), at(now + wait));
                    if let Some(session) = plain.iter_mut().find(|session| session.n == n && !session.closing) {
                        session.due = now + wait;
                    }
                }
                Move::Pace(n, wait) => {
                    sessions.pace(conn(n), at(now + wait));
                    let ready = |session: &&mut Plain| session.n == n && session.id.is_some() && !session.closing;
                    if let Some(session) = plain.iter_mut().find(ready) {
                        session.pace = Some(session.pace.map_or(now + wait, |before| before.min(now + wait)));
                    }
                }
                Move::Answer(n) => {
                    let session = plain.iter_mut().find(|session| session.n == n && session.awaited);
                    prop_assert_eq!(sessions.answered(conn(n)), session.is_some());
                    if let Some(session) = session {
                        session.awaited = false;
                    }
                }
                Move::Pass(wait) => {
                    now += wait;
                    loop {
                        let due = sessions.pop_due(at(now));
                        prop_assert_eq!(due, pop_due(&mut plain, now));
                        if due.is_none() {
                            break;
                        }
                    }
                }
            }
            prop_assert_eq!(sessions.audit(), Ok(()));
            prop_assert_eq!(sessions.len(), plain.len());
            prop_assert_eq!(sessions.is_waiting(), plain.iter().any(|session| session.awaited));
            let live = || plain.iter().filter(|session| !session.closing);
            let deadline = live().flat_map(|session| [Some(session.due), session.pace]).flatten().min();
            prop_assert_eq!(sessions.deadline(), deadline.map(at));
            for id in 0..4u8 {
                let expected = live().find(|session| session.id == Some(id)).map(|session| conn(session.n));
                prop_assert_eq!(sessions.with_key(&key(id)), expected);
            }
            prop_assert_eq!(sessions.ready_count(), live().filter(|session| session.id.is_some()).count());
        }
    }
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "leads to the node of")]
fn two_sessions_to_one_node_are_a_fault_of_ours() {
    let mut sessions = Sessions::default();
    for n in [1, 2] {
        open(&mut sessions, n, at(0), at(10));
        sessions.introduce(conn(n), peer(7, at(0)), at(10));
    }
}
