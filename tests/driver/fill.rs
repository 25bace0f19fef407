//! Whoever fills a connection up to its high watermark hears when to go on, from wherever he fills it.
//!
//! Under TLS the sum that a protocol asked for held what was sealed and not written, and the mark that it was compared with
//! did not: who stopped at the one never came to the other, and waited for ever.

use std::time::Duration;

use spacetime_network::driver::{Config, Driver, Net, SendOutcome};
use spacetime_network::id::ConnId;
use spacetime_network::link::OutboxLimits;
use spacetime_network::time::Instant;
use spacetime_network::wire::Priority;

use crate::party::{Party, Seen, connect, party, reacting, turn_both};

/// From which event the first frames are queued. All others follow from `Writable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Opened,
    Frame,
    Writable,
    Timer,
    Command,
}

pub(crate) const PLACES: [Place; 5] = [Place::Opened, Place::Frame, Place::Writable, Place::Timer, Place::Command];

const LIMITS: OutboxLimits = OutboxLimits { hard: 1 << 20, high: 20_000, low: 5_000 };
const SENT: SendOutcome = SendOutcome::Accepted { dropped: 0 };

/// More than the queue, the stage and both sockets' buffers hold.
const FRAMES: usize = 8_000;
const PAYLOAD: [u8; 1_000] = [7; 1_000];

/// Queues until the sum is at the mark or nothing is left.
fn fill(conn: ConnId, left: &mut usize, net: &mut Net) {
    while *left > 0 && net.queued_bytes(conn) < net.config().outbox.high {
        assert_eq!(net.send(conn, Priority::Normal, 1, &PAYLOAD), SendOutcome::Accepted { dropped: 0 });
        *left -= 1;
    }
}

fn place_of(seen: &Seen) -> Option<(Place, Option<ConnId>)> {
    match seen {
        Seen::Opened(conn) => Some((Place::Opened, Some(*conn))),
        Seen::Frame(conn, ..) => Some((Place::Frame, Some(*conn))),
        Seen::Writable(conn) => Some((Place::Writable, Some(*conn))),
        Seen::Timer => Some((Place::Timer, None)),
        Seen::Command(_) => Some((Place::Command, None)),
        _ => None,
    }
}

/// A source that begins in one place and goes on only when it is told to.
fn source(mut config: Config, from: Place) -> Driver<Party> {
    config.outbox = LIMITS;
    let (mut known, mut begun, mut left) = (None, false, FRAMES);
    reacting(config, move |seen, net| {
        let Some((place, conn)) = place_of(seen) else { return };
        known = known.or(conn);
        let Some(conn) = known else { return };
        if from == Place::Writable && place == Place::Opened {
            // One frame as long as the mark is high: what comes of it is the first word that there is room.
            let first = vec![7; LIMITS.high];
            assert_eq!(net.send(conn, Priority::Normal, 2, &first), SendOutcome::Accepted { dropped: 0 });
        } else if place == Place::Writable || (place == from && !begun) {
            begun = true;
            fill(conn, &mut left, net);
        }
    })
}

/// The reader gets all of it, whichever side dialed.
pub(crate) fn arrives(secure: fn() -> Config, from: Place, source_dials: bool) {
    let (mut sender, mut reader) = (source(secure(), from), party(secure()));
    if source_dials {
        connect(&mut sender, &mut reader);
    } else {
        connect(&mut reader, &mut sender);
    }
    match from {
        Place::Frame => {
            let conn = reader.protocol().opened()[0];
            reader.with(|_, _, net| assert_eq!(net.send(conn, Priority::Normal, 3, b"go"), SENT));
        }
        Place::Timer => sender.protocol_mut().deadline = Some(Instant::ZERO),
        Place::Command => sender.handle().send(1).unwrap(),
        Place::Opened | Place::Writable => {}
    }
    turn_both(&mut sender, &mut reader, |_, reader| reader.protocol().frame_count() >= FRAMES);
    let filled = reader.protocol().frames().into_iter().filter(|(kind, payload)| *kind == 1 && *payload == PAYLOAD);
    assert_eq!(filled.count() + usize::from(from == Place::Writable), reader.protocol().frame_count());
}

/// While a frame was handled, what TLS had sealed was not counted, and at the end of the turn it was.
pub(crate) fn is_one_sum_everywhere(secure: fn() -> Config) {
    let mut config = secure();
    config.outbox = LIMITS;
    let (told, asked) = std::sync::mpsc::channel();
    let mut known = None;
    let mut sender = reacting(config, move |seen, net| {
        let Some((place, conn)) = place_of(seen) else { return };
        known = known.or(conn);
        // There is one connection, so the loop's account is the connection's.
        told.send((place, known.map_or(0, |conn| net.queued_bytes(conn)), net.memory().1)).unwrap();
    });
    let mut reader = party(secure());
    let (here, there) = connect(&mut sender, &mut reader);
    reader.with(|_, _, net| net.pause(there));
    // Until no more of it leaves.
    let (mut still, mut before) = (0, 0);
    while still < 20 {
        sender.with(|_, _, net| fill(here, &mut FRAMES.clone(), net));
        sender.turn(Some(Duration::ZERO)).unwrap();
        let queued = sender.net().queued_bytes(here);
        still = if queued == before && queued >= LIMITS.high { still + 1 } else { 0 };
        before = queued;
    }
    assert!(before >= LIMITS.high, "{before} bytes wait");
    sender.handle().send(1).unwrap();
    sender.protocol_mut().deadline = Some(Instant::ZERO);
    reader.with(|_, _, net| assert_eq!(net.send(there, Priority::Normal, 3, b"how much?"), SENT));
    let mut seen = Vec::new();
    turn_both(&mut sender, &mut reader, |_, _| {
        seen.extend(asked.try_iter());
        [Place::Frame, Place::Timer, Place::Command].iter().all(|place| seen.iter().any(|(at, ..)| at == place))
    });
    let words =
        |sender: &Driver<Party>| sender.protocol().seen.iter().filter(|seen| **seen == Seen::Writable(here)).count();
    let before = words(&sender);
    reader.with(|_, _, net| net.resume(there));
    turn_both(&mut sender, &mut reader, |sender, _| words(sender) > before);
    assert!(sender.net().queued_bytes(here) <= LIMITS.low);
    seen.extend(asked.try_iter());
    for (place, sum, account) in seen {
        assert_eq!(sum, account, "in {place:?}");
        assert!(sum >= LIMITS.high || matches!(place, Place::Opened | Place::Writable), "{sum} bytes in {place:?}");
    }
}

#[test]
fn who_fills_a_queue_from_any_event_hears_when_to_go_on() {
    for from in PLACES {
        arrives(crate::party::config, from, true);
    }
}

#[test]
fn a_protocol_sees_one_sum_of_what_waits_in_every_event() {
    is_one_sum_everywhere(crate::party::config);
}
