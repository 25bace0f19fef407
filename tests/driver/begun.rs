//! Large frames that the protocol does not want when it sees how they begin.

use std::io::Write;

use spacetime_network::close::CloseReason;
use spacetime_network::limits::{FRAME_START, LARGE_FRAME};

use crate::party::*;

#[test]
fn a_large_frame_is_shown_once_and_one_that_nobody_wants_costs_no_memory_and_hides_nothing_behind_it() {
    let mut driver = party(config());
    driver.protocol_mut().wants = |kind| kind != 7;
    let (mut stream, conn) = plain(&mut driver);
    let (small, wanted, unwanted) = (payload(100, 1), payload(3 * LARGE_FRAME, 2), payload(4 << 20, 3));
    let (front, rest) = unwanted.split_at(FRAME_START + 1);
    stream.write_all(&frame(7, &small)).unwrap();
    stream.write_all(&((unwanted.len() as u32 + 1).to_le_bytes())).unwrap();
    stream.write_all(&[7]).unwrap();
    stream.write_all(front).unwrap();
    turn_until(&mut driver, |driver| driver.net().totals().frames_skipped == 1);
    assert_eq!(driver.net().memory(), (0, 0), "before the rest of it has come");
    // The next one is cut as well: what comes whole in one read is delivered at once and has no beginning to be shown.
    let mut next = frame(6, &wanted);
    let mut end = next.split_off(2 * FRAME_START);
    end.extend(frame(7, b"the end"));
    let behind = [rest, &next].concat();
    let writing = std::thread::spawn(move || stream.write_all(&behind).map(|()| stream));
    turn_until(&mut driver, |driver| driver.protocol().begun.len() == 2);
    let mut stream = writing.join().unwrap().unwrap();
    let writing = std::thread::spawn(move || stream.write_all(&end).map(|()| stream));
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == 3);
    let _stream = writing.join().unwrap().unwrap();
    let frames = [(7, small), (6, wanted.clone()), (7, b"the end".to_vec())];
    assert!(driver.protocol().frames() == frames);
    let begun = &driver.protocol().begun;
    assert_eq!(begun.len(), 2);
    assert_eq!((begun[0].0, begun[0].1, &begun[0].2[..]), (7, unwanted.len(), &unwanted[..begun[0].2.len()]));
    assert_eq!((begun[1].0, begun[1].1, &begun[1].2[..]), (6, wanted.len(), &wanted[..begun[1].2.len()]));
    assert!(begun.iter().all(|(_, _, head)| head.len() >= FRAME_START));
    let stats = driver.net().conn_stats(conn).unwrap();
    assert_eq!((stats.frames_in, driver.net().memory()), (3, (0, 0)));
}

/// A frame that is thrown away is still one that must come to its end.
#[test]
fn whoever_stops_within_a_frame_that_nobody_wants_has_cut_it() {
    let mut driver = party(config());
    driver.protocol_mut().wants = |_| false;
    let (mut stream, _) = plain(&mut driver);
    stream.write_all(&frame(1, &payload(1 << 20, 1))[..LARGE_FRAME]).unwrap();
    turn_until(&mut driver, |driver| driver.net().totals().frames_skipped == 1);
    drop(stream);
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::TruncatedFrame]);
}
