//! A node on a thread of its own, and a blocking socket to talk to it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::driver::node::{NodeDriver, NodeHandle, NodeProtocol};
use spacetime_network::driver::{self, Driver};
use spacetime_network::proto::{Config, Event, Node};
use spacetime_network::time::Now;
use spacetime_network::wire::{Kind, Message};

use crate::introduction::introduction;

/// No answer within this is an answer: the socket was not closed. Far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Silent = fn(Now, &Event, &Node<ReferenceChain>);

/// A running node; dropping it stops it.
pub struct Running {
    pub address: SocketAddr,
    pub handle: NodeHandle<ReferenceChain>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(change: impl FnOnce(&mut Config)) -> Running {
        Self::start_on(driver::Config::default(), ReferenceChain::memory(Params::new(1, 50).unwrap()), change)
    }

    pub fn start_on(loop_config: driver::Config, chain: ReferenceChain, change: impl FnOnce(&mut Config)) -> Running {
        let mut config = Config::default();
        config.node_id = "engine".to_owned();
        change(&mut config);
        let node = Node::new(config, chain, 7, 0x5eed).unwrap();
        let observer: Silent = |_, _, _| {};
        let protocol = NodeProtocol::new(node, observer);
        let mut driver: NodeDriver<ReferenceChain, Silent> = Driver::new(loop_config, protocol).unwrap();
        let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let handle = driver.handle();
        let thread = std::thread::spawn(move || driver.run().unwrap());
        Running { address, handle, thread: Some(thread) }
    }

    pub fn connect(&self) -> Stranger {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Stranger { socket }
    }

    /// A connection whose handshake is done.
    pub fn greet(&self, id: &str, version: u8) -> Stranger {
        let mut stranger = self.connect();
        stranger.greet(id, version);
        stranger
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the node's thread ends without a panic");
        }
    }
}

pub struct Stranger<S = TcpStream> {
    pub socket: S,
}

impl<S: Read + Write> Stranger<S> {
    pub fn greet(&mut self, id: &str, version: u8) {
        self.say(&introduction(id, version, 0));
        let (kind, _) = self.hear().unwrap();
        assert_eq!(kind, Kind::HandshakeAck);
    }

    pub fn say(&mut self, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        self.say_bytes(&bytes);
    }

    /// The other side may have closed meanwhile: that shows when reading.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// The next frame, or how the stream ended.
    pub fn hear(&mut self) -> io::Result<(Kind, Vec<u8>)> {
        let mut header = [0; 5];
        self.socket.read_exact(&mut header)?;
        let [a, b, c, d, kind] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize - 1;
        let mut payload = vec![0; len];
        self.socket.read_exact(&mut payload)?;
        Ok((Kind::from_byte(kind).expect("our node sends only what it knows"), payload))
    }

    /// Reads on until a frame of this kind.
    pub fn hear_kind(&mut self, wanted: Kind) -> Vec<u8> {
        loop {
            let (kind, payload) = self.hear().unwrap_or_else(|error| panic!("no {}: {error}", wanted.name()));
            if kind == wanted {
                return payload;
            }
        }
    }

    /// Reads to the end of the stream; the text of an Error frame on the way, if there was one.
    pub fn hear_end(&mut self) -> Option<String> {
        let mut text = None;
        loop {
            match self.hear() {
                Ok((Kind::Error, payload)) => text = Some(String::from_utf8(payload).unwrap()),
                Ok(_) => {}
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        !matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
                        "the connection stays open"
                    );
                    return text;
                }
            }
        }
    }
}
