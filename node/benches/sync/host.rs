//! A node in a thread of this process, on the driver and the store that the program uses.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use spacetime_network::chain::ReferenceChain;
use spacetime_network::driver::node::{NodeCommand, NodeDriver, NodeProtocol};
use spacetime_network::driver::{self, Handle, HandleError};
use spacetime_network::proto::{Command, Config, Event, Node};
use spacetime_network::time::Now;

/// How long a download may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// A node that runs. It stops when this is dropped.
pub(crate) struct Host {
    handle: Handle<NodeCommand<ReferenceChain>>,
    thread: Option<JoinHandle<()>>,
    heights: Receiver<(u64, Instant)>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Host {
    /// Starts one on this chain, which dials these addresses. The number tells it from the others.
    pub(crate) fn start(number: u64, chain: ReferenceChain, connect: Vec<SocketAddr>) -> Host {
        let mut config = Config::default();
        config.node_id = format!("host-{number}");
        config.outbound = 0;
        config.connect = connect;
        config.allow_private = true;
        let (told, heights) = mpsc::channel();
        let observer = move |_: Now, event: &Event, _: &Node<ReferenceChain>| {
            if let Event::NewTip(tip) = event {
                let _ = told.send((tip.height, Instant::now()));
            }
        };
        let node = Node::new(config, chain, number + 1, number + 1).unwrap();
        let mut driver = NodeDriver::new(driver::Config::default(), NodeProtocol::new(node, observer)).unwrap();
        let handle = driver.handle();
        let waker = handle.clone();
        driver.protocol_mut().node_mut().chain_mut().work_off_loop(move || waker.wake());
        let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        driver.protocol_mut().node_mut().set_listening(&[address]);
        let thread = std::thread::Builder::new().name(format!("host-{number}"));
        let thread = thread.spawn(move || {
            driver.run().unwrap();
            driver.protocol_mut().node_mut().chain_mut().flush(PATIENCE).unwrap();
        });
        Host { handle, thread: Some(thread.unwrap()), heights, address }
    }

    /// When it had a chain of this height.
    pub(crate) fn reaches(&self, height: u64) -> Instant {
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let (at, when) = self.heights.recv_timeout(left).expect("the download ended before its end");
            if at >= height {
                return when;
            }
        }
    }

    /// Gives it a command, as soon as there is room for one.
    pub(crate) fn tell(&self, command: Command) {
        let mut command = NodeCommand::Do(command);
        while let Err(back) = self.handle.send(command) {
            let HandleError::Full(same) = back else { panic!("the node has ended") };
            command = same;
            std::thread::yield_now();
        }
    }

    /// What `look` sees of the node, between two turns.
    pub(crate) fn look<T: Send + 'static>(&self, look: impl FnOnce(&Node<ReferenceChain>) -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::sync_channel(1);
        let look = move |node: spacetime_network::driver::node::NodeMut<'_, ReferenceChain>, _: Now| {
            let _ = sender.send(look(&node));
        };
        assert!(self.handle.send(NodeCommand::With(Box::new(look))).is_ok());
        receiver.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
