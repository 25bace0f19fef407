//! What makes two connections two to one node.

use core::fmt;
use core::net::SocketAddr;

use crate::address::Origin;
use crate::id::VerifiedId;

/// The node at the other end of a connection, as far as we can know: who it has proven to be, or else what it says it is and
/// from where. In the clear an id is a claim, and anybody may claim anybody's; the address at least is his own. So two that
/// give one id from two addresses are two nodes, and neither stands in the other's way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerKey {
    node_id: String,
    /// Where it claims that; `None` where the id is proven.
    claimed_from: Option<Origin>,
}

impl PeerKey {
    /// Who says to be `node_id` at `remote`, having proven to be `identity` if it has proven anything.
    pub fn new(node_id: &str, remote: SocketAddr, identity: Option<VerifiedId>) -> Self {
        let claimed_from = if identity.is_some() { None } else { Some(Origin::of(remote.ip())) };
        PeerKey { node_id: node_id.to_owned(), claimed_from }
    }

    /// The id that it gives.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Is the id proven?
    pub fn is_proven(&self) -> bool {
        self.claimed_from.is_none()
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claimed_from {
            Some(origin) => write!(f, "{:?} at {origin}", self.node_id),
            None => write!(f, "{}", self.node_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_id_is_one_node_at_each_address_and_a_proven_one_is_one_node_everywhere() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let claimed = |remote| PeerKey::new("v", at(remote), None);
        assert_eq!(claimed("192.0.2.1:1"), claimed("[::ffff:192.0.2.1]:2"));
        assert_ne!(claimed("192.0.2.1:1"), claimed("192.0.2.2:1"));
        assert_eq!(claimed("[2001:db8::1]:1"), claimed("[2001:db8::2]:1"), "a /64 is one host's");
        let identity = Some(VerifiedId::from_bytes([7; 32]));
        assert_eq!(PeerKey::new("v", at("192.0.2.1:1"), identity), PeerKey::new("v", at("192.0.2.2:1"), identity));
        assert_ne!(PeerKey::new("v", at("192.0.2.1:1"), identity), claimed("192.0.2.1:1"));
        assert_eq!(claimed("192.0.2.1:1").to_string(), "\"v\" at 192.0.2.1");
    }
}
