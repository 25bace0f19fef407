//! Which addresses the operator's names lead to, for those who must know: TLS, whose certificates are for names, and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use spacetime_network::address::canonical;
use spacetime_network::proto::peer::PeerName;

/// The addresses of all who were named, by now.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownAddresses(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl KnownAddresses {
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&canonical(address))
    }

    fn set(&self, addresses: BTreeSet<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

/// What the operator typed, and where it leads to.
#[derive(Debug)]
pub(crate) struct TypedNames {
    /// Those whom he named by their addresses.
    addresses: BTreeSet<SocketAddr>,
    names: BTreeMap<PeerName, BTreeSet<SocketAddr>>,
    known: KnownAddresses,
}

impl TypedNames {
    pub(crate) fn new(addresses: impl Iterator<Item = SocketAddr>) -> Self {
        let typed = TypedNames {
            addresses: addresses.map(canonical).collect(),
            names: BTreeMap::new(),
            known: KnownAddresses::default(),
        };
        typed.known.set(typed.addresses.clone());
        typed
    }

    /// Where all of them are; follows what is found later.
    pub(crate) fn known(&self) -> KnownAddresses {
        self.known.clone()
    }

    /// A name was looked up. Answers, for each address that it leads or led to, the names under which that was named; none for one
    /// that nobody names any more. An address that was typed itself is one of its names.
    pub(crate) fn found(&mut self, name: &PeerName, found: &[SocketAddr]) -> Vec<(SocketAddr, Vec<String>)> {
        let found: BTreeSet<SocketAddr> = found.iter().copied().map(canonical).collect();
        let before = self.names.insert(name.clone(), found.clone()).unwrap_or_default();
        self.known.set(self.names.values().flatten().chain(&self.addresses).copied().collect());
        let names_of = |address: &SocketAddr| {
            let named = self.names.iter().filter(|(_, addresses)| addresses.contains(address));
            let mut names: Vec<String> = named.filter_map(|(name, _)| name.dns()).map(str::to_owned).collect();
            if !names.is_empty() && self.addresses.contains(address) {
                names.push(address.ip().to_string());
            }
            names
        };
        before.union(&found).map(|address| (*address, names_of(address))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--connect NAME --tls ca` wanted a certificate for the address that somebody's name server gave.
    #[test]
    fn the_name_that_was_typed_is_the_one_that_a_certificate_must_have() {
        let (one, two): (SocketAddr, SocketAddr) = ("192.0.2.1:7".parse().unwrap(), "192.0.2.2:7".parse().unwrap());
        let name = |text: &str| text.parse::<PeerName>().unwrap();
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut typed = TypedNames::new([two].into_iter());
        let known = typed.known();
        assert!(known.contains(two) && !known.contains(one));
        assert_eq!(typed.found(&name("a.example:7"), &[one]), [(one, texts(&["a.example"]))]);
        assert!(known.contains(one));
        assert_eq!(typed.found(&name("b.example:7"), &[one]), [(one, texts(&["a.example", "b.example"]))]);
        // It moves to an address that was typed as well.
        let moved = typed.found(&name("a.example:7"), &[two]);
        assert_eq!(moved, [(one, texts(&["b.example"])), (two, texts(&["a.example", "192.0.2.2"]))]);
        assert_eq!(typed.found(&name("b.example:7"), &[]), [(one, vec![])]);
        assert!(!known.contains(one));
        let lo = "[fe80::1%1]:7".parse().unwrap();
        assert_eq!(typed.found(&name("[fe80::1%lo]:7"), &[lo]), [(lo, vec![])], "no certificate is for an interface");
    }
}
