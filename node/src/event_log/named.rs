//! The nodes of --connect and --seed-node: why they are not reached, said once until something changes.
//!
//! A name leads to several addresses. It is not reached when all of them have failed since it last was.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use spacetime_network::address::canonical;
use spacetime_network::proto::peer::PeerName;

use crate::value::Endpoint;

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is not reached, for this reason.
    Lost(Endpoint, String),
    /// Nothing new.
    Nothing,
}

/// All that were named for one purpose.
#[derive(Debug, Default)]
pub(crate) struct Named {
    nodes: BTreeMap<Endpoint, Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Where it was said to be.
    addresses: Vec<SocketAddr>,
    /// Those that have failed since it was reached, and why.
    failed: BTreeMap<SocketAddr, String>,
    /// What was said last.
    said: Option<String>,
}

/// A lookup that has failed, as a reason.
pub(crate) fn nowhere(why: &str) -> String {
    format!("the name leads nowhere: {why}")
}

impl Named {
    pub(crate) fn new(endpoints: &[Endpoint]) -> Self {
        let node = |endpoint: &Endpoint| {
            let addresses = match endpoint {
                Endpoint::Address(address) => vec![canonical(*address)],
                Endpoint::Name(_) => Vec::new(),
            };
            (endpoint.clone(), Node { addresses, ..Node::default() })
        };
        Named { nodes: endpoints.iter().map(node).collect() }
    }

    /// Somebody was named who is at this address.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.nodes.values().any(|node| node.addresses.contains(&canonical(address)))
    }

    /// A name was looked up.
    pub(crate) fn resolved(&mut self, name: &PeerName, answer: &Result<Vec<SocketAddr>, String>) -> News {
        let endpoint = Endpoint::Name(name.clone());
        let Some(node) = self.nodes.get_mut(&endpoint) else { return News::Nothing };
        match answer {
            Ok(addresses) => {
                node.addresses.clone_from(addresses);
                node.failed.retain(|address, _| addresses.contains(address));
                News::Nothing
            }
            // While it is where it was before, nobody is lost.
            Err(_) if !node.addresses.is_empty() => News::Nothing,
            Err(why) => node.say(&endpoint, nowhere(why)),
        }
    }

    /// An address has failed. What is said of each node that is there.
    pub(crate) fn failed(&mut self, address: SocketAddr, why: &str) -> Vec<News> {
        let address = canonical(address);
        let mut news = Vec::new();
        for (endpoint, node) in self.nodes.iter_mut().filter(|(_, node)| node.addresses.contains(&address)) {
            node.failed.insert(address, why.to_owned());
            let all = node.addresses.iter().all(|address| node.failed.contains_key(address));
            news.push(if all { node.say(endpoint, node.reasons()) } else { News::Nothing });
        }
        news
    }

    /// A connection to the address stands, or the node behind it is connected by another one.
    pub(crate) fn reached(&mut self, address: SocketAddr) {
        for node in self.nodes.values_mut().filter(|node| node.addresses.contains(&canonical(address))) {
            node.failed.clear();
            node.said = None;
        }
    }
}

impl Node {
    fn say(&mut self, endpoint: &Endpoint, why: String) -> News {
        if self.said.as_ref() == Some(&why) {
            return News::Nothing;
        }
        self.said = Some(why.clone());
        News::Lost(endpoint.clone(), why)
    }

    /// One reason when all addresses failed for the same, else that of each.
    fn reasons(&self) -> String {
        let mut reasons: Vec<&String> = self.failed.values().collect();
        reasons.dedup();
        match reasons[..] {
            [only] => only.clone(),
            _ => self.failed.iter().map(|(address, why)| format!("{address}: {why}")).collect::<Vec<_>>().join("; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(endpoint: &str, why: &str) -> News {
        News::Lost(endpoint.parse().unwrap(), why.to_owned())
    }

    #[test]
    fn a_name_is_lost_when_all_of_its_addresses_are_and_that_is_said_once() {
        let name: PeerName = "localhost:7".parse().unwrap();
        let mut named = Named::new(&["localhost:7".parse().unwrap()]);
        let (six, four) = ("[::1]:7".parse().unwrap(), "127.0.0.1:7".parse().unwrap());
        let unknown = Err("no such name".to_owned());
        assert_eq!(named.resolved(&name, &unknown), lost("localhost:7", "the name leads nowhere: no such name"));
        assert_eq!(named.resolved(&name, &unknown), News::Nothing);
        assert_eq!(named.resolved(&name, &Ok(vec![six, four])), News::Nothing);
        assert_eq!(named.failed(six, "refused"), [News::Nothing], "there is another one to try");
        assert_eq!(named.failed(four, "refused"), [lost("localhost:7", "refused")]);
        assert_eq!(named.failed(six, "refused"), [News::Nothing]);
        assert_eq!(named.failed(four, "full"), [lost("localhost:7", "127.0.0.1:7: full; [::1]:7: refused")]);
        named.reached(four);
        assert_eq!(named.failed(six, "refused"), [News::Nothing]);
        assert_eq!(named.failed("127.0.0.2:7".parse().unwrap(), "refused"), []);
    }

    /// `[::ffff:127.0.0.1]:1` was dialed as `127.0.0.1:1`, and then its failures were those of nobody.
    #[test]
    fn an_address_in_another_dress_is_the_same_node() {
        let mut named = Named::new(&["[::ffff:127.0.0.1]:7".parse().unwrap()]);
        assert_eq!(named.failed("127.0.0.1:7".parse().unwrap(), "refused"), [lost("127.0.0.1:7", "refused")]);
    }
}
