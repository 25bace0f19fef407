//! Lines between nodes: the same bytes through a bare socket, a proxy that delays what passes, and one that makes of an honest node one
//! that gives no block or a wrong one.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use spacetime_network::wire::Kind;

/// Bytes that one read of a line takes.
const CHUNK: usize = 64 * 1024;
/// Chunks that are on their way in a line, beyond which its sender waits.
const ON_THEIR_WAY: usize = 4096;

/// What becomes of the blocks that pass a line.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// They do not come.
    Silent,
    /// They come with another last byte.
    Lying,
}

/// How long these bytes take from one thread to another through loopback, with nothing made of them.
pub(crate) fn bare(blocks: &[Bytes]) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let all: usize = blocks.iter().map(Bytes::len).sum();
    let began = Instant::now();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut buffer, mut came) = (vec![0; CHUNK], 0);
        while came < all {
            came += stream.read(&mut buffer).unwrap();
        }
    });
    let mut stream = std::io::BufWriter::with_capacity(CHUNK, TcpStream::connect(address).unwrap());
    blocks.iter().for_each(|block| stream.write_all(block).unwrap());
    stream.flush().unwrap();
    reader.join().unwrap();
    began.elapsed()
}

/// An address behind which `to` is, half of `round_trip` further away in each direction.
pub(crate) fn delayed(to: SocketAddr, round_trip: Duration) -> SocketAddr {
    if round_trip.is_zero() {
        return to;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(to) else { continue };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                carry(from, to, round_trip / 2);
            }
        }
    });
    address
}

/// Carries bytes in one direction, each `delay` after it came.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(ON_THEIR_WAY);
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..len].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (at, bytes) in receiver {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// An address behind which `to` is, in either direction of which no block passes as it is. It comes from a loopback address of its own.
pub(crate) fn hostile(to: SocketAddr, manner: Manner, from: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = connect_from(from, to) else { continue };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = pass_frames(BufReader::new(from), &to, manner);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// Until one side ends.
fn pass_frames(mut from: impl Read, mut to: impl Write, manner: Manner) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        from.read_exact(&mut frame)?;
        let is_block = [Kind::Block, Kind::Blocks].iter().any(|kind| frame.first() == Some(&(*kind as u8)));
        match (is_block, manner) {
            (true, Manner::Silent) => continue,
            (true, Manner::Lying) => frame.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1),
            (false, _) => {}
        }
        to.write_all(&length)?;
        to.write_all(&frame)?;
    }
}
