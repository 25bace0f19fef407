//! Whether others reach us, and where: by the port that a router forwards, by the address that peers see, and by who came.
//!
//! No single one is believed. A router says which port it forwards and what its own address is; the address that is told to others is the
//! one at which most of those see us whom we dialed, counted by networks that are handed out together; and that we are reached is
//! said when somebody from the internet has come.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use crate::address::{Group, Scope};
use crate::mapping::Mapping;

/// What is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// How it stands with the port that a router should forward.
    pub mapping: Mapping,
    /// The address of the internet at which most of those see us whom we dialed.
    pub seen: Option<IpAddr>,
    /// Somebody has come from the internet, since the mapping is as it is.
    pub is_reached: bool,
}

impl Reach {
    /// Where the forwarded port can be reached: what others are told.
    pub fn announced(&self) -> Option<SocketAddr> {
        let mapped = self.mapping.mapped()?;
        let seen = self.seen.filter(|seen| seen.is_ipv4() == mapped.internal.is_ipv4())?;
        Some(SocketAddr::new(seen, mapped.external_port))
    }

    /// Is there another router behind the one that forwards the port? Then its own address is not of the internet, or not the one
    /// at which we are seen.
    pub fn has_second_router(&self) -> bool {
        let claimed = self.mapping.mapped().and_then(|mapped| mapped.claimed);
        claimed.is_some_and(|claimed| {
            Scope::of(claimed) != Scope::Global
                || self.seen.is_some_and(|seen| seen.is_ipv4() == claimed.is_ipv4() && seen != claimed)
        })
    }
}

/// The address of the internet at which more than half of the networks see us that say so. Of one network the last word counts.
pub(crate) fn majority(views: impl IntoIterator<Item = (Group, IpAddr)>) -> Option<IpAddr> {
    let views: BTreeMap<Group, IpAddr> = views.into_iter().collect();
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    views.values().for_each(|seen| *counts.entry(*seen).or_default() += 1);
    let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count * 2 > views.len() && Scope::of(most) == Scope::Global).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{Mapped, Via};
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn views(texts: &[(&str, &str)]) -> Vec<(Group, IpAddr)> {
        texts.iter().map(|(group, seen)| (Group::of(ip(group)).unwrap(), ip(seen))).collect()
    }

    #[test]
    fn one_network_has_one_voice_however_many_of_it_speak() {
        let lie = "66.6.6.6";
        let told = views(&[
            ("45.1.1.1", lie),
            ("45.1.2.2", lie),
            ("45.1.3.3", lie),
            ("46.1.1.1", "11.0.0.1"),
            ("47.1.1.1", "11.0.0.1"),
        ]);
        assert_eq!(majority(told), Some(ip("11.0.0.1")));
    }

    #[test]
    fn half_is_no_majority_and_a_private_address_is_none_of_the_internet() {
        assert_eq!(majority(views(&[("45.1.1.1", "66.6.6.6"), ("46.1.1.1", "11.0.0.1")])), None);
        assert_eq!(majority(views(&[("45.1.1.1", "10.0.0.1"), ("46.1.1.1", "10.0.0.1")])), None);
        assert_eq!(majority([]), None);
        assert_eq!(majority(views(&[("45.1.1.1", "11.0.0.1")])), Some(ip("11.0.0.1")));
    }

    fn reach(claimed: Option<&str>, seen: Option<&str>) -> Reach {
        let internal = SocketAddr::new(ip("192.168.1.2"), 7193);
        let mapped = Mapped { via: Via::Pcp, internal, external_port: 4000, claimed: claimed.map(ip), lease: None };
        Reach { mapping: Mapping::Mapped(mapped), seen: seen.map(ip), is_reached: false }
    }

    #[test]
    fn what_a_router_says_of_itself_is_compared_and_never_told() {
        let lies = reach(Some("66.6.6.6"), Some("11.0.0.1"));
        assert_eq!(lies.announced(), Some("11.0.0.1:4000".parse().unwrap()));
        assert!(lies.has_second_router());
        assert!(reach(Some("10.0.0.1"), None).has_second_router(), "it has itself a private address");
        assert!(!reach(Some("11.0.0.1"), Some("11.0.0.1")).has_second_router());
        assert!(!reach(None, Some("11.0.0.1")).has_second_router());
        assert_eq!(reach(Some("11.0.0.1"), None).announced(), None, "nobody has confirmed it");
        assert_eq!(reach(None, Some("2a00::1")).announced(), None, "another family");
    }

    proptest! {
        #[test]
        fn the_majority_is_what_a_count_by_hand_says(told in proptest::collection::vec((0u8..12, 0u8..3), 0..30)) {
            let told: Vec<(Group, IpAddr)> = told
                .into_iter()
                .map(|(group, seen)| (Group::of(IpAddr::from([45, group, 0, 1])).unwrap(), IpAddr::from([11, 0, 0, seen])))
                .collect();
            let mut last: Vec<(Group, IpAddr)> = Vec::new();
            for (group, seen) in &told {
                last.retain(|(other, _)| other != group);
                last.push((*group, *seen));
            }
            let expected = (0..3u8)
                .map(|seen| IpAddr::from([11, 0, 0, seen]))
                .find(|seen| last.iter().filter(|(_, other)| other == seen).count() * 2 > last.len());
            prop_assert_eq!(majority(told), expected);
        }
    }
}
