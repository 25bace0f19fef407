//! The last word of a node that ends a connection at its first frame: it arrives under TLS as it does in the clear.

use std::time::{Duration, Instant};

use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::driver::Driver;
use spacetime_network::driver::node::{NodeCommand, NodeDriver, NodeProtocol, Observer};
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::proto::{Command, Config, Event, Node};
use spacetime_network::time::Now;

use crate::setting::secured;

/// Everything that a node says to its embedder.
#[derive(Default)]
struct Seen(Vec<Event>);

impl Observer<ReferenceChain> for Seen {
    fn on_event(&mut self, _: Now, event: &Event, _: &Node<ReferenceChain>) {
        self.0.push(event.clone());
    }
}

/// A node on the network with this reward, and where it listens.
fn node(reward: u64) -> (NodeDriver<ReferenceChain, Seen>, std::net::SocketAddr) {
    let loop_config = secured(Trust::Any);
    let mut config = Config::default();
    config.node_id = loop_config.tls.as_ref().unwrap().id().to_string();
    let chain = ReferenceChain::memory(Params::new(1, reward).unwrap());
    let node = Node::new(config, chain, reward, reward).unwrap();
    let mut driver = Driver::new(loop_config, NodeProtocol::new(node, Seen::default())).unwrap();
    let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    (driver, address)
}

/// What TLS itself had to send behind its handshake counted as a queue that stands before the last word, and nobody was told why
/// he was sent away.
#[test]
fn whoever_is_sent_away_at_his_first_frame_is_told_why() {
    let ((mut one, _), (mut two, address)) = (node(50), node(51));
    one.handle().send(NodeCommand::Do(Command::Connect(address))).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let told = |driver: &mut NodeDriver<ReferenceChain, Seen>| {
        driver.protocol_mut().observer_mut().0.iter().find_map(|event| match event {
            Event::HandshakeFailed { remote_error, outbound: true, .. } => Some(remote_error.clone()),
            _ => None,
        })
    };
    let remote_error = loop {
        one.turn(Some(Duration::ZERO)).unwrap();
        two.turn(Some(Duration::ZERO)).unwrap();
        if let Some(remote_error) = told(&mut one) {
            break remote_error;
        }
        assert!(Instant::now() < limit, "it never came");
    };
    assert_eq!(remote_error.as_deref(), Some("wrong network"));
}
