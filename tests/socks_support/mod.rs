//! A SOCKS5 server of a test's own, as RFC 1928 and RFC 1929 have it, and some that are not well. It knows nothing of ours.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// How a proxy treats those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It connects them, whether or not they log in.
    Open,
    /// The same, only with this password.
    Password(&'static str),
    /// The same, each byte of its answers in a packet of its own.
    Slow,
    /// The same, with this in one packet with its answer, as if the peer had said it.
    Eager(&'static [u8]),
    /// It answers every request so, and nothing behind it.
    Refuses(u8),
    /// It says nothing.
    Silent,
    /// It says nothing when it is asked for somebody.
    SilentWhenAsked,
    /// It says this at once.
    Says(&'static [u8]),
    /// It leaves when it is greeted.
    Leaves,
    /// It leaves when it is asked for somebody.
    LeavesWhenAsked,
}

/// What it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// The host as it stood in the request: an address, or a name.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A proxy that runs until it is dropped.
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    manner: Manner,
    asked: Mutex<Vec<Asked>>,
    /// From where it has dialed.
    left_from: Mutex<Vec<SocketAddr>>,
    /// Both ends of what it carries, to be cut.
    carried: Mutex<Vec<TcpStream>>,
    has_ended: AtomicBool,
}

impl TestProxy {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), manner)
    }

    pub(crate) fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            manner,
            asked: Mutex::default(),
            left_from: Mutex::default(),
            carried: Mutex::default(),
            has_ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // Whoever leaves in the middle of it ends it.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        TestProxy { address, state }
    }

    /// What it was asked for, in that order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    pub(crate) fn left_from(&self) -> Vec<SocketAddr> {
        self.state.left_from.lock().unwrap().clone()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
        for stream in self.state.carried.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        self.carried.lock().unwrap().push(stream.try_clone()?);
        if let Manner::Says(text) = self.manner {
            stream.write_all(text)?;
            return wait_for_the_end(&mut stream);
        }
        let [5, count] = bytes::<2>(&mut stream)? else { panic!("a greeting begins with the version") };
        let methods = text(&mut stream, count)?;
        let mut asked = Asked::default();
        let wants_password = matches!(self.manner, Manner::Password(_)) || methods == [2];
        match self.manner {
            Manner::Silent => return wait_for_the_end(&mut stream),
            Manner::Leaves => return stream.shutdown(Shutdown::Both),
            _ if wants_password && !methods.contains(&2) => return self.say(&mut stream, &[5, 0xFF]),
            _ if !wants_password => self.say(&mut stream, &[5, 0])?,
            manner => {
                self.say(&mut stream, &[5, 2])?;
                let [1, len] = bytes::<2>(&mut stream)? else { panic!("a login begins with its version") };
                let user = String::from_utf8(text(&mut stream, len)?).unwrap();
                let [len] = bytes::<1>(&mut stream)?;
                let password = String::from_utf8(text(&mut stream, len)?).unwrap();
                assert!(!user.is_empty() && !password.is_empty(), "RFC 1929 has neither empty");
                let is_right = !matches!(manner, Manner::Password(right) if right != password);
                (asked.user, asked.password) = (Some(user), Some(password));
                self.say(&mut stream, &[1, u8::from(!is_right)])?;
                if !is_right {
                    return stream.shutdown(Shutdown::Both);
                }
            }
        }
        let [5, 1, 0, kind] = bytes::<4>(&mut stream)? else { panic!("a request for a connection begins so") };
        asked.host = match kind {
            1 => Ipv4Addr::from(bytes::<4>(&mut stream)?).to_string(),
            4 => Ipv6Addr::from(bytes::<16>(&mut stream)?).to_string(),
            _ => {
                let [len] = bytes::<1>(&mut stream)?;
                String::from_utf8(text(&mut stream, len)?).unwrap()
            }
        };
        asked.port = u16::from_be_bytes(bytes(&mut stream)?);
        self.asked.lock().unwrap().push(asked.clone());
        match self.manner {
            Manner::Refuses(reply) => return self.say(&mut stream, &[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]),
            Manner::SilentWhenAsked => return wait_for_the_end(&mut stream),
            Manner::LeavesWhenAsked => return stream.shutdown(Shutdown::Both),
            _ => {}
        }
        // All names lead to this machine.
        let host = asked.host.parse().unwrap_or(Ipv4Addr::LOCALHOST.into());
        let Ok(there) = TcpStream::connect(SocketAddr::new(host, asked.port)) else {
            return self.say(&mut stream, &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
        };
        there.set_nodelay(true)?;
        self.left_from.lock().unwrap().push(there.local_addr()?);
        self.carried.lock().unwrap().push(there.try_clone()?);
        let mut answer = vec![5, 0, 0, 3, 4];
        answer.extend_from_slice(b"here\x00\x07");
        if let Manner::Eager(more) = self.manner {
            answer.extend_from_slice(more);
        }
        self.say(&mut stream, &answer)?;
        let (back, forth) = ((there.try_clone()?, stream.try_clone()?), (stream, there));
        thread::spawn(move || carry(back.0, back.1));
        carry(forth.0, forth.1);
        Ok(())
    }

    fn say(&self, stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
        match self.manner {
            Manner::Slow => answer.iter().try_for_each(|byte| stream.write_all(&[*byte])),
            _ => stream.write_all(answer),
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Either end may leave at any time.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn bytes<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(stream: &mut TcpStream, len: u8) -> io::Result<Vec<u8>> {
    assert!(len > 0, "nothing in a request is empty");
    let mut text = vec![0; len.into()];
    stream.read_exact(&mut text)?;
    Ok(text)
}

fn wait_for_the_end(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}
