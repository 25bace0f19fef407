//! A node and its loop do not start on settings that cannot work, and say everything that is wrong with them.

use std::io;

use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::config::ConfigErrors;
use spacetime_network::driver::node::{NodeDriver, NodeProtocol, Observer};
use spacetime_network::driver::{self, Driver};
use spacetime_network::proto::{Config, Event, Node};
use spacetime_network::time::Now;

struct Nobody;

impl Observer<ReferenceChain> for Nobody {
    fn on_event(&mut self, _: Now, _: &Event, _: &Node<ReferenceChain>) {}
}

fn node(config: Config) -> Result<Node<ReferenceChain>, ConfigErrors> {
    Node::new(config, ReferenceChain::memory(Params::new(1, 50).unwrap()), 1, 2)
}

#[test]
fn a_node_refuses_settings_that_cannot_work_and_names_them_all() {
    let mut config = Config::default();
    config.node_id.clear();
    config.admission.pending_max = 0;
    config.sync.blocks_per_peer = 0;
    let errors = node(config).unwrap_err();
    let named: Vec<_> = errors.iter().map(|error| error.setting.as_ref()).collect();
    assert_eq!(named, ["node_id", "admission.pending_max", "sync.blocks_per_peer"]);
}

#[test]
fn a_loop_refuses_settings_that_cannot_work_and_names_them_all() {
    let mut config = driver::Config::default();
    config.turn_frames = 0;
    config.outbox.high = config.outbox.hard + 1;
    let protocol = NodeProtocol::new(node(Config::default()).unwrap(), Nobody);
    let refused: io::Result<NodeDriver<ReferenceChain, Nobody>> = Driver::new(config, protocol);
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let errors = error.get_ref().unwrap().downcast_ref::<ConfigErrors>().unwrap();
    let named: Vec<_> = errors.iter().map(|error| error.setting.as_ref()).collect();
    assert_eq!(named, ["turn_frames", "outbox.high"]);
}
