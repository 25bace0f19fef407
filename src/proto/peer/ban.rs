//! A ban as a person sees it: whom it keeps out, who set it, for how much longer and why.
//!
//! What is banned is a range of addresses or an identity that TLS has proven. Single IPv6 addresses cost nothing, so one that is
//! given alone stands for its /64, as everywhere in reputation.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;
use std::borrow::Cow;

use ipnet::{IpNet, Ipv4Net};

use crate::address::{Origin, Subnet};
use crate::id::VerifiedId;

/// The longest reason of a ban, in bytes; what is longer is cut.
pub const REASON_LEN_MAX: usize = 200;
/// A ban for longer than this is one until it is lifted: a hundred years.
pub const TERM_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Whom a ban keeps out.
///
/// # Examples
///
/// ```
/// use spacetime_network::proto::peer::Banned;
///
/// let range: Banned = "192.0.2.0/24".parse()?;
/// assert!(range.covers("192.0.2.7".parse()?));
/// // An IPv4 address is one machine's, an IPv6 address any of those that a /64 gives to one.
/// assert_eq!("192.0.2.7".parse::<Banned>()?.to_string(), "192.0.2.7");
/// assert_eq!("2001:db8::7".parse::<Banned>()?.to_string(), "2001:db8::/64");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Banned {
    /// Every address of a range. IPv4 ranges are never written as IPv6 ones, and no bit behind the prefix is set: made by
    /// [`Banned::range`].
    Range(IpNet),
    /// An identity, wherever it connects from. Means something with TLS only: without it an id is a claim.
    Identity(VerifiedId),
}

impl Banned {
    /// The range, with what stands behind its prefix left out, and an IPv4 range dressed up as IPv6 as what it is.
    pub fn range(net: IpNet) -> Self {
        let plain = match net {
            IpNet::V6(v6) if v6.prefix_len() >= 96 => match IpAddr::V6(v6.addr()).to_canonical() {
                IpAddr::V4(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(net, IpNet::V4),
                IpAddr::V6(_) => net,
            },
            other => other,
        };
        Banned::Range(plain.trunc())
    }

    /// One address: of IPv6 the whole /64.
    pub fn address(ip: IpAddr) -> Self {
        Banned::from(Origin::of(ip))
    }

    /// Is this address kept out?
    pub fn covers(&self, ip: IpAddr) -> bool {
        matches!(self, Banned::Range(net) if net.contains(&ip.to_canonical()))
    }

    /// Is whoever `other` keeps out kept out by this too?
    pub fn contains(&self, other: &Banned) -> bool {
        match (self, other) {
            (Banned::Range(wide), Banned::Range(narrow)) => wide.contains(narrow),
            (one, other) => one == other,
        }
    }

    /// The origin that reputation knows it by; `None` for a range of another size than those.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Banned::Identity(id) => Some(Origin::Identity(*id)),
            Banned::Range(net) => match (net, net.prefix_len()) {
                (IpNet::V4(_), 32) | (IpNet::V6(_), 64) => Some(Origin::of(net.addr())),
                (IpNet::V4(_), 24) | (IpNet::V6(_), 48) => Some(Origin::Net(Subnet::of(net.addr()))),
                _ => None,
            },
        }
    }
}

impl From<Origin> for Banned {
    fn from(origin: Origin) -> Self {
        let (ip, bits) = match origin {
            Origin::Identity(id) => return Banned::Identity(id),
            Origin::Ip(ip) => (ip, if ip.is_ipv4() { 32 } else { 64 }),
            Origin::Net(subnet) => (subnet.ip(), if subnet.ip().is_ipv4() { 24 } else { 48 }),
        };
        // Such prefixes always are within the address.
        Banned::range(IpNet::new(ip, bits).unwrap_or_else(|_| IpNet::from(ip)))
    }
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Banned::Range(IpNet::V4(net)) if net.prefix_len() == 32 => write!(f, "{}", net.addr()),
            Banned::Range(net) => write!(f, "{net}"),
            Banned::Identity(id) => write!(f, "{id}"),
        }
    }
}

/// A text that names nobody who can be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBannable {
    /// It is an address with a port. A port is no part of a ban: whoever is banned comes back from another.
    pub has_port: bool,
}

impl fmt::Display for NotBannable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.has_port {
            true => "a ban is of an address without a port, like 192.0.2.7",
            false => {
                "expected an address, a range or a node id, like 192.0.2.7, 2001:db8::/48 or 64 hexadecimal digits"
            }
        })
    }
}

impl core::error::Error for NotBannable {}

impl FromStr for Banned {
    type Err = NotBannable;

    /// Reads an address, a range in CIDR notation or the 64 hexadecimal digits of an identity.
    fn from_str(text: &str) -> Result<Self, NotBannable> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Banned::address(ip));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Banned::range(net));
        }
        let has_port = text.parse::<SocketAddr>().is_ok();
        text.parse().map(Banned::Identity).map_err(|_| NotBannable { has_port })
    }
}

/// Who blacklisted somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BannedBy {
    /// The rules, by what it did.
    Rules,
    /// A person.
    Operator,
}

impl BannedBy {
    /// One word for it.
    pub const fn label(self) -> &'static str {
        match self {
            BannedBy::Rules => "rules",
            BannedBy::Operator => "operator",
        }
    }
}

/// A ban in force, as it is saved and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who is kept out.
    pub who: Banned,
    /// By whom.
    pub by: BannedBy,
    /// For how much longer; `None` until it is lifted. Counted by the monotonic clock, so that no wall clock that is set changes
    /// it.
    pub remaining: Option<Duration>,
    /// Why, in at most [`REASON_LEN_MAX`] bytes without control characters; may be empty.
    pub reason: Cow<'static, str>,
}

impl Ban {
    /// The ban with `passed` of its time served; `None` when that was all of it.
    pub fn after(mut self, passed: Duration) -> Option<Ban> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.checked_sub(passed).filter(|left| !left.is_zero())?;
        }
        Some(self)
    }
}

/// What came of lifting bans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// How many bans ended: of all that was named, and of all parts of it.
    pub lifted: usize,
    /// A ban of a wider range, which goes on keeping them out.
    pub still: Option<Banned>,
}

/// `text` as the reason of a ban: cut to [`REASON_LEN_MAX`] bytes, on one line.
pub fn reason(text: &str) -> Cow<'static, str> {
    let mut reason: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let end = (0..=reason.len().min(REASON_LEN_MAX)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
    reason.truncate(end);
    Cow::Owned(reason.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banned(text: &str) -> Banned {
        text.parse().unwrap()
    }

    #[test]
    fn one_machine_is_one_ban_however_its_address_is_written() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3::4/128", "2001:db8:1:2:3::4/128"),
            ("2001:db8:1::/48", "2001:db8:1::/48"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            let who = banned(text);
            assert_eq!((who.to_string(), banned(shown)), (shown.to_owned(), who), "{text}");
            if let Some(origin) = who.origin() {
                assert_eq!(Banned::from(origin), who, "{text}");
            }
        }
        let id = "0f".repeat(32);
        assert_eq!(banned(&id.to_uppercase()), Banned::Identity(VerifiedId::from_bytes([0x0f; 32])));
        assert_eq!("192.0.2.7:7193".parse::<Banned>(), Err(NotBannable { has_port: true }));
        for nobody in ["", "example.org", "192.0.2.7/33", "192.0.2", "::/129", "0f"] {
            assert_eq!(nobody.parse::<Banned>(), Err(NotBannable { has_port: false }), "{nobody}");
        }
    }

    #[test]
    fn a_range_holds_its_parts_and_not_the_other_family() {
        let wide = banned("192.0.0.0/16");
        assert!(wide.contains(&banned("192.0.2.0/24")) && wide.contains(&wide) && wide.contains(&banned("192.0.2.7")));
        assert!(!banned("192.0.2.7").contains(&wide) && !wide.contains(&banned("193.0.2.7")));
        assert!(!banned("0.0.0.0/0").contains(&banned("::/0")));
        assert!(wide.covers("::ffff:192.0.9.9".parse().unwrap()) && !wide.covers("192.1.0.0".parse().unwrap()));
        let id = banned(&"0f".repeat(32));
        assert!(id.contains(&id) && !id.covers("192.0.2.7".parse().unwrap()) && !banned("::/0").contains(&id));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(reason(" spam\n\x1b[31m "), "spam  [31m");
        let long = "é".repeat(REASON_LEN_MAX);
        assert_eq!(reason(&long).len(), REASON_LEN_MAX);
        assert_eq!(reason(&format!("a{long}")).len(), REASON_LEN_MAX - 1);
    }

    #[test]
    fn time_that_was_served_does_not_come_back() {
        let ban = |seconds| Ban {
            who: banned("192.0.2.7"),
            by: BannedBy::Operator,
            remaining: Some(Duration::from_secs(seconds)),
            reason: Cow::Borrowed(""),
        };
        assert_eq!(ban(10).after(Duration::from_secs(4)), Some(ban(6)));
        assert_eq!((ban(10).after(Duration::from_secs(10)), ban(10).after(Duration::MAX)), (None, None));
        let endless = Ban { remaining: None, ..ban(1) };
        assert_eq!(endless.clone().after(Duration::MAX), Some(endless));
    }
}
