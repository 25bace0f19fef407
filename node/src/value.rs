//! The values that flags take, each with an error that fits on one line.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use ipnet::IpNet;
use spacetime_network::sim::{Plan, PlanError, Scenario};

use crate::failure::Failure;

/// The longest duration that a flag takes: beyond a year it is a typing error.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Somewhere to connect to: `ip:port` or `name:port`. A name is looked up when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

impl Endpoint {
    /// The first address that the text stands for.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, Failure> {
        let remedy = "check the name, or give ip:port";
        match self.0.to_socket_addrs() {
            Ok(mut addresses) => addresses
                .next()
                .ok_or_else(|| Failure::new(format!("look up {self}"), "the name has no address", remedy)),
            Err(error) => Err(Failure::new(format!("look up {self}"), error, remedy)),
        }
    }
}

impl Endpoint {
    /// The name that it was given by; `None` for an address.
    pub(crate) fn name(&self) -> Option<&str> {
        if self.0.parse::<SocketAddr>().is_ok() {
            return None;
        }
        self.0.rsplit_once(':').map(|(name, _)| name)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected ip:port or name:port, like 192.0.2.7:8333 or [2001:db8::7]:8333".to_owned();
        if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
            return Ok(Endpoint(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let named = !host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
            && port.parse::<u16>().is_ok_and(|port| port != 0);
        if named { Ok(Endpoint(text.to_owned())) } else { Err(expected()) }
    }
}

/// Where to listen: an address of this machine; port 0 asks the system for a free one.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ip:port, like 0.0.0.0:8333, [::]:8333 or 127.0.0.1:0".to_owned())
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
    /// A range.
    Range(IpNet),
}

impl FromStr for Exempt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Exempt::Nobody);
        }
        let single = || text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| ());
        text.parse::<IpNet>()
            .map_err(|_| ())
            .or_else(|()| single())
            .map(Exempt::Range)
            .map_err(|()| "expected ranges like 10.0.0.0/8,192.0.2.7 or the word none".to_owned())
    }
}

/// The ranges that a list means: `none` stands alone.
pub(crate) fn exempt_ranges(list: &[Exempt]) -> Result<Vec<IpNet>, Failure> {
    let ranges: Vec<IpNet> =
        list.iter().filter_map(|item| if let Exempt::Range(range) = item { Some(*range) } else { None }).collect();
    if list.contains(&Exempt::Nobody) && !ranges.is_empty() {
        return Err(Failure::usage("--exempt none cannot be combined with ranges: give one or the other"));
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

/// The name of a simulated situation.
pub(crate) fn scenario(text: &str) -> Result<Scenario, String> {
    Scenario::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
        format!("there is none of that name; there are {}", names.join(", "))
    })
}

/// A class of simulated faults.
pub(crate) fn fault_class(text: &str) -> Result<&'static str, String> {
    let class = Plan::CLASSES.iter().find(|class| class.name == text);
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
mod tests {
    use super::*;

    #[test]
    fn endpoints_need_a_host_and_a_port() {
        for good in ["127.0.0.1:8333", "[::1]:1", "node-0.example.org:8333", "localhost:9"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1", ":8333", "host:", "host:0", "127.0.0.1:0", "host:70000", "::1:8333", "a b:1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_units_and_seconds_need_none() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["30", "0s", "-1s", "soon", "400000h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.5"), seconds("500ms"));
        for bad in ["-1", "NaN", "inf", "1e300", "x"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_home_directory_is_where_it_is_or_an_error() {
        let at = |path: &str, home: Option<&str>| at_home(Path::new(path), home.map(PathBuf::from));
        assert_eq!(at("~/a/b", Some("/home/u")), Ok("/home/u/a/b".into()));
        assert_eq!(at("~", Some("/home/u")), Ok("/home/u".into()));
        for plain in ["a", "/a/~/b", "./~", "./~/a", "a~"] {
            assert_eq!(at(plain, Some("/home/u")), Ok(plain.into()));
        }
        for (path, home) in
            [("~/a", None), ("~/a", Some("")), ("~bob/a", Some("/home/u")), ("~backup", Some("/home/u"))]
        {
            assert!(at(path, home).unwrap_err().contains("in full"), "{path}");
        }
    }

    #[test]
    fn none_stands_alone_among_exempt_ranges() {
        let parse = |list: &[&str]| list.iter().map(|item| item.parse().unwrap()).collect::<Vec<Exempt>>();
        assert_eq!(exempt_ranges(&parse(&["none"])), Ok(vec![]));
        assert_eq!(exempt_ranges(&parse(&["10.0.0.0/8", "::1"])).unwrap().len(), 2);
        assert!(exempt_ranges(&parse(&["none", "10.0.0.0/8"])).is_err());
        assert!("10.0.0.0/33".parse::<Exempt>().is_err());
    }
}
