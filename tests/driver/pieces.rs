//! Large frames in pieces, and compressed ones, between two loops and from a plain socket.

use std::io::Write;

use spacetime_network::limits::PIECE_DATA;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Priority};

use crate::party::*;

static PIECES: FrameRules = FrameRules::any(MAX_PAYLOAD).with_pieces();

fn piece(line: u8, begins: Option<(u8, usize)>, data: &[u8]) -> Vec<u8> {
    let mut payload = vec![line + 1];
    if let Some((kind, len)) = begins {
        payload = [&[(line + 1) | 0x80, kind][..], &(len as u32).to_le_bytes()].concat();
    }
    payload.extend_from_slice(data);
    frame(0x53, &payload)
}

#[test]
fn what_is_urgent_overtakes_a_large_frame_that_has_begun() {
    let with_pieces = || {
        let mut config = config();
        config.rules = &PIECES;
        config
    };
    let (mut one, mut two) = (party(with_pieces()), party(with_pieces()));
    let (here, _) = connect(&mut one, &mut two);
    let block = payload(8 << 20, 1);
    one.with(|_, _, net| {
        let _ = net.send_shared(here, Priority::Normal, 7, &block.clone().into());
    });
    // Some of it is on its way, and the other side does not read yet.
    for _ in 0..5 {
        one.turn(Some(std::time::Duration::ZERO)).unwrap();
    }
    assert!(one.net().conn_stats(here).unwrap().queued_bytes > 1 << 20);
    one.with(|_, _, net| {
        for (priority, kind) in [(Priority::Critical, 1), (Priority::High, 2), (Priority::Low, 3)] {
            let _ = net.send(here, priority, kind, b"urgent");
        }
        let _ = net.send(here, Priority::Normal, 8, b"behind it");
    });
    turn_both(&mut one, &mut two, |_, two| two.protocol().frame_count() == 5);
    let frames = two.protocol().frames();
    let kinds: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 2, 3, 7, 8]);
    assert!(frames[3].1 == block);
    let begun = &two.protocol().begun;
    assert_eq!((begun.len(), begun[0].0, begun[0].1), (1, 7, block.len()));
    assert_eq!((one.net().memory(), two.net().memory()), ((0, 0), (0, 0)));
    assert_eq!(one.net().totals().frames_out, 5, "pieces are no frames");
}

#[test]
fn a_frame_in_pieces_that_nobody_wants_costs_no_memory_and_hides_nothing() {
    let mut config = config();
    config.rules = &PIECES;
    let mut driver = party(config);
    driver.protocol_mut().wants = |kind| kind != 7;
    let (mut stream, _) = plain(&mut driver);
    let (unwanted, wanted) = (payload(100_000, 1), payload(90_000, 2));
    stream.write_all(&piece(0, Some((7, unwanted.len())), &unwanted[..PIECE_DATA])).unwrap();
    stream.write_all(&piece(2, Some((6, wanted.len())), &wanted[..PIECE_DATA])).unwrap();
    turn_until(&mut driver, |driver| driver.protocol().begun.len() == 2);
    assert_eq!(driver.net().totals().frames_skipped, 1);
    let (held, _) = driver.net().memory();
    assert!((PIECE_DATA..=64 * 1024).contains(&held), "{held} bytes for one of the two");
    let mut rest = Vec::new();
    for from in [PIECE_DATA, 2 * PIECE_DATA, 3 * PIECE_DATA, 4 * PIECE_DATA, 5 * PIECE_DATA, 6 * PIECE_DATA] {
        for (line, all) in [(0, &unwanted), (2, &wanted)] {
            if let Some(left) = all.get(from..).filter(|left| !left.is_empty()) {
                rest.extend(piece(line, None, &left[..left.len().min(PIECE_DATA)]));
            }
        }
        rest.extend(frame(5, &[from as u8]));
    }
    stream.write_all(&rest).unwrap();
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == 7);
    let frames = driver.protocol().frames();
    assert!(frames.iter().filter(|(kind, _)| *kind == 6).all(|(_, all)| *all == wanted));
    assert_eq!(frames.iter().filter(|(kind, _)| *kind == 5).count(), 6);
    assert_eq!(driver.net().memory(), (0, 0));
}

#[cfg(feature = "lz4")]
mod compressed {
    use super::*;
    use spacetime_network::close::CloseReason;
    use spacetime_network::wire::FrameError;
    use spacetime_network::wire::compressed::CompressedFault;

    static BOTH: FrameRules = FrameRules::any(MAX_PAYLOAD).with(9, 2000).with_pieces().with_compressed();

    #[test]
    fn what_gains_leaves_compressed_and_comes_as_it_was() {
        let with_both = || {
            let mut config = config();
            config.rules = &BOTH;
            config
        };
        let (mut one, mut two) = (party(with_both()), party(with_both()));
        let (here, _) = connect(&mut one, &mut two);
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).take(500_000).collect();
        let small = vec![3; 1023];
        let noise = payload(300_000, 1);
        one.with(|_, _, net| {
            for sent in [&text, &small, &noise, &text] {
                let _ = net.send_shared(here, Priority::Normal, 7, &sent.clone().into());
            }
        });
        turn_both(&mut one, &mut two, |_, two| two.protocol().frame_count() == 4);
        let frames: Vec<Vec<u8>> = two.protocol().frames().into_iter().map(|(_, all)| all).collect();
        assert!(frames == [text.clone(), small, noise.clone(), text.clone()]);
        let bytes = one.net().totals().bytes_out as usize;
        assert!(bytes < noise.len() + 2 * text.len() / 2, "{bytes} bytes for {}", noise.len() + 2 * text.len());
        assert!(two.net().totals().work > 0, "what comes out is paid for");
    }

    #[test]
    fn what_comes_compressed_is_judged_by_what_is_in_it_and_must_be_what_it_says() {
        let envelope =
            |kind: u8, len: u32, block: &[u8]| frame(0x52, &[&[kind][..], &len.to_le_bytes(), block].concat());
        // A literal, a copy of it over and over, and the literals that end a block.
        let zeros = [0x1f, 0, 1, 0, 255, 255, 255, 230 - 5, 0x50, 0, 0, 0, 0, 0];
        for (bytes, error) in [
            (envelope(9, 5000, &zeros), FrameError::Oversize { kind: 9, len: 5000 }),
            (envelope(0x53, 1024, &zeros), FrameError::UnknownType(0x53)),
            (envelope(7, 1_048_577, &[0; 5000]), FrameError::Compressed(CompressedFault::Envelope)),
            (envelope(7, 1_048_576, &zeros), FrameError::Compressed(CompressedFault::Envelope)),
            (envelope(7, 1024, &zeros), FrameError::Compressed(CompressedFault::Block)),
            (envelope(7, 1100, &[0xff; 900]), FrameError::Compressed(CompressedFault::Block)),
        ] {
            let mut config = config();
            config.rules = &BOTH;
            let mut driver = party(config);
            let (mut stream, _) = plain(&mut driver);
            stream.write_all(&bytes).unwrap();
            turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
            assert_eq!(driver.protocol().closed(), [CloseReason::Frame(error)]);
            assert_eq!(driver.protocol().frame_count(), 0);
        }
    }
}
