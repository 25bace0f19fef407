//! Our links: queue, flush, read, open, parse.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use spacetime_network::id::{DialId, Direction};
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::link::{BufferPool, Link, OutboxLimits, Transport, WriteSide};
use spacetime_network::time::Instant;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Payload, Priority};

use super::{Carry, Wire};

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);
const OUTBOUND: Direction = Direction::Outbound(DialId(1));

/// The settings of two nodes, the dialer first.
pub(crate) fn parties(resumption: bool) -> [Tls; 2] {
    let mut options = TlsOptions::default();
    options.resumption = resumption;
    [(); 2].map(|()| Tls::new(&Identity::generate().unwrap(), Trust::Any, options).unwrap())
}

fn remote() -> SocketAddr {
    "192.0.2.1:9333".parse().unwrap()
}

/// Two links that have shaken hands, and the bytes that went there and back.
pub(crate) fn connect(parties: &[Tls; 2]) -> ([Link; 2], [usize; 2]) {
    let link =
        |tls, direction| Link { transport: Transport::tls(tls, remote(), direction).unwrap(), ..Link::default() };
    let [mut one, mut two] = [link(&parties[0], OUTBOUND), link(&parties[1], Direction::Inbound)];
    let mut sent = [0; 2];
    loop {
        let there = pass(&mut one, &mut two);
        let back = pass(&mut two, &mut one);
        sent = [sent[0] + there, sent[1] + back];
        if there + back == 0 {
            break;
        }
    }
    assert!(one.transport.identity() == Some(parties[1].id()) && two.transport.identity() == Some(parties[0].id()));
    ([one, two], sent)
}

/// One handshake; the bytes that went there and back.
pub(crate) fn handshake(parties: &[Tls; 2]) -> [usize; 2] {
    connect(parties).1
}

fn pass(from: &mut Link, to: &mut Link) -> usize {
    let mut wire = Vec::new();
    from.flush(&mut BufferPool::new(), usize::MAX, WriteSide::Open, |slices| {
        slices.iter().for_each(|slice| wire.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    });
    to.transport.open(&mut wire, Instant::ZERO, &mut |_| panic!("nobody sent a frame"));
    wire.len()
}

/// Frames of one size through a pair of links.
pub(crate) struct Ours {
    from: Link,
    to: Link,
    /// Each end's loop has its own.
    pools: [BufferPool; 2],
    wire: Wire,
    payload: Bytes,
    frames: usize,
    limits: OutboxLimits,
}

impl Ours {
    pub(crate) fn secured(size: usize, frames: usize) -> Self {
        let ([from, to], _) = connect(&parties(false));
        Ours::over(from, to, size, frames)
    }

    pub(crate) fn plain(size: usize, frames: usize) -> Self {
        Ours::over(Link::default(), Link::default(), size, frames)
    }

    fn over(from: Link, to: Link, size: usize, frames: usize) -> Self {
        Ours {
            from,
            to,
            pools: [BufferPool::new(), BufferPool::new()],
            wire: Wire::new(),
            payload: Bytes::from((0..size).map(|index| (index * 31 + 7) as u8).collect::<Vec<u8>>()),
            frames,
            limits: OutboxLimits::default(),
        }
    }
}

impl Carry for Ours {
    fn carry(&mut self) {
        let Ours { from, to, pools: [sending, receiving], wire, payload, frames, limits } = self;
        for _ in 0..*frames {
            from.outbox.push_shared(Priority::Normal, 1, payload, limits, sending).unwrap();
        }
        let mut left = *frames;
        while left > 0 {
            from.flush(sending, usize::MAX, WriteSide::Open, |slices| {
                let mut taken = 0;
                for slice in slices {
                    let count = wire.write(slice);
                    taken += count;
                    if count < slice.len() {
                        break;
                    }
                }
                if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
            });
            let Link { transport, inbox, .. } = &mut *to;
            transport.open(wire.read(), Instant::ZERO, &mut |mut plaintext| {
                while let Some(frame) = inbox.next(&mut plaintext, &RULES, Instant::ZERO, receiving).unwrap() {
                    assert!(frame.payload.len() == payload.len() && frame.payload.last() == payload.last());
                    left -= 1;
                    if let Payload::Given(bytes) = frame.payload {
                        receiving.recycle(bytes);
                    }
                }
                true
            });
        }
        assert!(from.is_flushed());
    }
}
