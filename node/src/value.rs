//! The values that flags take, each with an error that fits on one line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use ipnet::IpNet;
use spacetime_network::address::{ExemptRanges, Scope, canonical, stand_in};
use spacetime_network::driver::node::resolver;
use spacetime_network::proto::peer::PeerName;
use spacetime_network::sim::{Plan, PlanError, Scenario};

use crate::failure::Failure;

/// The longest duration that a flag takes: beyond a year it is a typing error.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Somewhere to connect to: an address, or a name that is looked up when it is dialed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    /// `ip:port`, also `[fe80::1%2]:port` with the number of an interface.
    Address(SocketAddr),
    /// `name:port`, also `[fe80::1%eth0]:port` with its name.
    Name(PeerName),
}

impl Endpoint {
    /// Its addresses, at least one. A resolver that does not answer is not waited for longer than `patience`.
    pub(crate) fn resolve(&self, patience: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let name = match self {
            Endpoint::Address(address) => return Ok(vec![*address]),
            Endpoint::Name(name) => name.clone(),
        };
        let failed =
            |why: &dyn fmt::Display| Failure::new(format!("look up {self}"), why, "check the name, or give ip:port");
        let (sender, answer) = sync_channel(1);
        let look_up = move || {
            // Whoever asked may have left.
            let _ = sender.try_send(resolver::system(&name));
        };
        thread::Builder::new().name("resolver".to_owned()).spawn(look_up).map_err(|error| failed(&error))?;
        let found = match answer.recv_timeout(patience) {
            Ok(found) => found.map_err(|error| failed(&error))?,
            Err(_) => return Err(failed(&format_args!("no answer came in {}", humantime::format_duration(patience)))),
        };
        let usable: Vec<SocketAddr> =
            found.into_iter().filter(|address| Scope::of_socket(*address) != Scope::Unusable).collect();
        if usable.is_empty() { Err(failed(&"it has no address that can be dialed")) } else { Ok(usable) }
    }

    /// Where it is dialed through a proxy, which looks its name up: an address that stands for that.
    pub(crate) fn through_proxy(&self) -> SocketAddr {
        match self {
            Endpoint::Address(address) => *address,
            Endpoint::Name(name) => stand_in(name.host(), name.port(), 0),
        }
    }

    /// The name that its certificate must be for, where it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Endpoint::Address(_) => None,
            Endpoint::Name(name) => name.dns(),
        }
    }
}

/// The addresses and the names of a list.
pub(crate) fn apart(endpoints: &[Endpoint]) -> (Vec<SocketAddr>, Vec<PeerName>) {
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Address(address) => addresses.push(*address),
            Endpoint::Name(name) => names.push(name.clone()),
        }
    }
    (addresses, names)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Address(address) => address.fmt(f),
            Endpoint::Name(name) => name.fmt(f),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let address = canonical(address);
            return match why_unusable(address) {
                None => Ok(Endpoint::Address(address)),
                Some(why) => Err(why),
            };
        }
        if text.contains("://") {
            return Err("only run --connect takes the URL of a WebSocket: give ip:port or name:port".to_owned());
        }
        text.parse().map(Endpoint::Name).map_err(|_| {
            "expected ip:port or name:port, like 192.0.2.7:7193, [2001:db8::7]:7193 or node.example.org:7193".to_owned()
        })
    }
}

/// An [`Endpoint`], or the URL of a WebSocket.
pub(crate) fn dialable(text: &str) -> Result<Endpoint, String> {
    if !text.contains("://") {
        return text.parse();
    }
    let name: PeerName = text.parse().map_err(|_| {
        "expected the URL of a WebSocket, like ws://node.example.org:7194/ or wss://192.0.2.7/node".to_owned()
    })?;
    // An address is judged here as one without a URL is; of a name it is known when it was looked up.
    let ip = name.host().trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match ip.ok().and_then(|ip| why_unusable(canonical(SocketAddr::new(ip, name.port())))) {
        Some(why) => Err(why),
        None => Ok(Endpoint::Name(name)),
    }
}

/// Why nothing can be dialed at an address, if nothing can. Where a node listens is no answer to where it is: taking 0.0.0.0 for
/// this machine, as some programs do, would make of an address that was copied from another machine's output a node that talks
/// to itself.
fn why_unusable(address: SocketAddr) -> Option<String> {
    let ip = address.ip();
    if Scope::of_socket(address) != Scope::Unusable {
        return None;
    }
    Some(match ip {
        _ if address.port() == 0 => {
            "port 0 is no port that a node listens on: give the one that it has printed".to_owned()
        }
        _ if ip.is_unspecified() => format!(
            "{ip} stands for every address of the machine that listens: give one of them, or {} for this machine",
            if ip.is_ipv4() { "127.0.0.1" } else { "[::1]" }
        ),
        _ if ip.is_multicast() => format!("{ip} is a multicast address: give the address of one node"),
        IpAddr::V6(_) => {
            format!("{ip} is a link-local address: say on which interface, like [{ip}%eth0]:{}", address.port())
        }
        IpAddr::V4(_) => format!("{ip} is a reserved address: no node can be there"),
    })
}

/// Where to listen: an address of this machine, or a name of it, which is looked up once. Port 0 asks the system for a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// `ip:port`.
    Address(SocketAddr),
    /// `name:port`, also `[fe80::1%eth0]:port`. The name's own port is never 0, so the port stands beside it.
    Name(PeerName, u16),
}

impl ListenAddress {
    /// Its addresses, at least one.
    pub(crate) fn resolve(&self, patience: Duration) -> Result<Vec<SocketAddr>, Failure> {
        match self {
            ListenAddress::Address(address) => Ok(vec![*address]),
            ListenAddress::Name(name, port) => {
                let mut found = Endpoint::Name(name.clone()).resolve(patience)?;
                found.iter_mut().for_each(|address| address.set_port(*port));
                found.sort_unstable();
                found.dedup();
                Ok(found)
            }
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let ip = address.ip().to_canonical();
            // The system takes the first and the second, and nobody can ever connect.
            if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
                let kind = if ip.is_multicast() { "multicast" } else { "broadcast" };
                return Err(format!(
                    "{ip} is a {kind} address, at which nobody is reached: give one of this machine, or 0.0.0.0 for all"
                ));
            }
            if let SocketAddr::V6(v6) = address
                && v6.ip().is_unicast_link_local()
                && v6.scope_id() == 0
            {
                return Err(format!(
                    "{ip} is a link-local address: say on which interface, like [{ip}%eth0]:{}",
                    address.port()
                ));
            }
            return Ok(ListenAddress::Address(address));
        }
        let (named, any_port) = match text.strip_suffix(":0") {
            Some(host) => (format!("{host}:1"), true),
            None => (text.to_owned(), false),
        };
        let name: Option<PeerName> = named.parse().ok().filter(|name: &PeerName| name.web().is_none());
        let name = name.ok_or_else(|| {
            "expected ip:port or name:port, like 0.0.0.0:7193, [::]:7193, 127.0.0.1:0 or localhost:7193".to_owned()
        })?;
        let port = if any_port { 0 } else { name.port() };
        Ok(ListenAddress::Name(name, port))
    }
}

/// `203.0.113.7`, `203.0.113.7:7193` or `[2001:db8::7]:7193`: where others reach us. Port 0 stands for none.
pub(crate) fn external_address(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected ip or ip:port, like 203.0.113.7 or [2001:db8::7]:7193";
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let in_brackets = bare.and_then(|ip| ip.parse::<Ipv6Addr>().ok()).map(IpAddr::V6);
    let address = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>().ok().or(in_brackets)) {
        (Ok(address), _) if address.port() != 0 => address,
        (_, Some(ip)) => SocketAddr::new(ip, 0),
        _ => return Err(expected.to_owned()),
    };
    if Scope::of(address.ip()) == Scope::Unusable {
        return Err(format!("nobody can be reached at {}; {expected}", address.ip()));
    }
    Ok(address)
}

/// A path, in which `~/` at the begin is the home directory wherever it was written: no shell looks at files and variables.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| at_home(&path, std::env::home_dir()))
}

fn at_home(path: &Path, home: Option<PathBuf>) -> Result<PathBuf, String> {
    let first = path.components().next().map(|first| first.as_os_str().as_encoded_bytes());
    match (path.strip_prefix("~"), first) {
        (Ok(rest), _) => match home.filter(|home| !home.as_os_str().is_empty()) {
            Some(home) => Ok(home.join(rest)),
            None => Err("~ stands for the home directory, and HOME is not set: write the path in full".to_owned()),
        },
        (Err(_), Some([b'~', ..])) => {
            Err("of ~ only ~/ is understood: write the path in full, or ./~ for a name that begins so".to_owned())
        }
        _ => Ok(path.to_owned()),
    }
}

/// "30s", "1m 30s", "250ms": a time with a unit, above zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than nothing".to_owned()),
        Ok(duration) if duration > LONGEST => Err("it must be at most a year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("expected a number with a unit, like 30s, 1m30s or 250ms".to_owned()),
    }
}

/// "24h", "30days", "10years": a time with a unit, above zero and as long as one likes.
pub(crate) fn term(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < Duration::from_secs(1) => Err("it must be a second at least".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("expected a number with a unit, like 24h or 30days".to_owned()),
    }
}

/// The slowest limit of bandwidth: below it peers are silent for longer than they may be.
const RATE_MIN: u64 = 16 * 1024;

/// "1MiB", "1.5 MB", "8Mbit/s": bytes in a second.
pub(crate) fn byte_rate(text: &str) -> Result<u64, String> {
    let rate = size(text.strip_suffix("/s").unwrap_or(text).trim())?;
    if rate < RATE_MIN { Err("it must be 16KiB (131,072 bits) a second at least".to_owned()) } else { Ok(rate) }
}

/// Bytes from a number with a unit, of bytes or of bits.
fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected a number with a unit, like 1MiB, 500kB or 8Mbit".to_owned();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let bytes = match unit.trim() {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        "kbit" | "Kbit" => 125.0,
        "Mbit" => 125e3,
        "Gbit" => 125e6,
        _ => return Err(expected()),
    };
    let bytes = number * bytes;
    // Above that a number that has a fraction loses single bytes.
    if bytes.is_finite() && bytes < 9e15 { Ok(bytes as u64) } else { Err("it is too large".to_owned()) }
}

/// So many bytes in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) bytes: u64,
    pub(crate) period: Duration,
}

/// "20GiB/day", "500GB/30days": bytes in each period.
pub(crate) fn quota(text: &str) -> Result<Quota, String> {
    let expected = "expected SIZE/PERIOD, like 20GiB/day or 500GB/30days";
    let (bytes, period) = text.split_once('/').ok_or(expected)?;
    let bytes = size(bytes.trim())?;
    let period = match period.trim() {
        "hour" => Duration::from_secs(3600),
        "day" => Duration::from_secs(24 * 3600),
        "week" => Duration::from_secs(7 * 24 * 3600),
        "month" => Duration::from_secs(30 * 24 * 3600),
        other => humantime::parse_duration(other).map_err(|_| expected)?,
    };
    if bytes == 0 || period < Duration::from_secs(60) || period > LONGEST {
        return Err("it must be more than nothing, in a minute at least and a year at most".to_owned());
    }
    Ok(Quota { bytes, period })
}

/// Seconds as a plain number, perhaps with a fraction, or a time with a unit; zero is allowed.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let expected = || "expected seconds, like 10 or 0.5, or a time with a unit, like 500ms".to_owned();
    let duration = match text.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number).map_err(|_| expected())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| expected())?,
    };
    if duration > LONGEST { Err("it must be at most a year".to_owned()) } else { Ok(duration) }
}

/// The ranges that bans and per-address limits do not apply to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exempt {
    /// `none`: nobody.
    Nobody,
    /// `loopback`: this machine, as when nothing is said.
    Loopback,
    /// A range.
    Range(IpNet),
}

impl FromStr for Exempt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Exempt::Nobody);
        }
        if text == "loopback" {
            return Ok(Exempt::Loopback);
        }
        let single = || text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| ());
        text.parse::<IpNet>()
            .map_err(|_| ())
            .or_else(|()| single())
            .map(Exempt::Range)
            .map_err(|()| "expected ranges like 10.0.0.0/8,192.0.2.7, or the word loopback or none".to_owned())
    }
}

/// The ranges that a list means: `none` stands alone.
pub(crate) fn ranges_of(flag: &str, list: &[Exempt]) -> Result<Vec<IpNet>, Failure> {
    let ranges_of = |item: &Exempt| match item {
        Exempt::Nobody => Vec::new(),
        Exempt::Loopback => ExemptRanges::default().0,
        Exempt::Range(range) => vec![*range],
    };
    let ranges: Vec<IpNet> = list.iter().flat_map(ranges_of).collect();
    if list.contains(&Exempt::Nobody) && !ranges.is_empty() {
        return Err(Failure::usage(format!("{flag} none cannot be combined with ranges: give one or the other")));
    }
    Ok(ranges)
}

/// A name on the reference chain: 1 to 128 bytes, no control characters.
pub(crate) fn account(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        return Err("a name has 1 to 128 bytes and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// What a transaction moves.
pub(crate) fn amount(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("an amount is a whole number from 0 to {}", u64::MAX))
}

/// A whole number within these bounds.
pub(crate) fn whole(
    bounds: RangeInclusive<u32>,
) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", bounds.start(), bounds.end()))
    }
}

/// The name of a simulated situation.
pub(crate) fn scenario(text: &str) -> Result<Scenario, String> {
    Scenario::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
        format!("there is none of that name; there are {}", names.join(", "))
    })
}

/// A class of simulated faults.
pub(crate) fn fault_class(text: &str) -> Result<&'static str, String> {
    let class = Plan::class(text);
    class.map(|class| class.name).ok_or_else(|| PlanError::Unknown(text.to_owned()).to_string())
}

/// A class of simulated faults and its rate: `reset=800`.
pub(crate) fn fault(text: &str) -> Result<(&'static str, u64), String> {
    let (name, rate) = text.split_once('=').ok_or("expected NAME=RATE, like reset=800")?;
    let name = fault_class(name)?;
    let rate = rate.parse().map_err(|_| format!("the rate of {name} is a whole number, like {name}=8"))?;
    Plan::default().set(name, rate).map_err(|error| error.to_string())?;
    Ok((name, rate))
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
