//! TLS as the operator asked for it: whose key we show, whom we trust, what was remembered, and what is said when somebody is
//! refused.
//!
//! A node shows the key of its data directory. A question to a running node shows one of its own, in the folder `client`
//! there, because a node does not talk to itself.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spacetime_network::close::TlsFault;
use spacetime_network::driver::Net;
use spacetime_network::id::VerifiedId;
use spacetime_network::link::identity::Identity;
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::link::trust::{Authority, Refusal, Trust};
use spacetime_network::time::Instant;

use crate::cli::{TlsArgs, TlsMode};
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::key;
use crate::known_identities::{self, Keeper};
use crate::logging::Ration;
use crate::value::Endpoint;

/// Lines about refusals that a minute may have.
const LINES_PER_MINUTE: u32 = 30;

/// Time between two lines about too many handshakes.
const PRESS_LINE_EVERY: Duration = Duration::from_secs(10);

/// TLS in use.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    tls: Tls,
    /// Where first use remembers.
    known: Option<PathBuf>,
}

impl Security {
    /// As a node asks for it; `None` without TLS.
    pub(crate) fn of_node(args: &TlsArgs, data: &DataDir) -> Result<Option<Self>, Failure> {
        check(args)?;
        args.tls.is_on().then(|| Security::new(args, data, &args.tls_name)).transpose()
    }

    /// As a question to `endpoint` asks for it; `None` without TLS. An authority's certificate must be for the name that was
    /// asked for.
    pub(crate) fn of_client(
        args: &TlsArgs,
        directory: Option<&Path>,
        endpoint: &Endpoint,
    ) -> Result<Option<Self>, Failure> {
        check(args)?;
        if !args.tls.is_on() {
            return Ok(None);
        }
        let data = DataDir::of_client(directory)?;
        let named: Vec<String> = endpoint.name().map(str::to_owned).into_iter().collect();
        let names = if args.tls_name.is_empty() { &named } else { &args.tls_name };
        Security::new(args, &data, names).map(Some)
    }

    fn new(args: &TlsArgs, data: &DataDir, names: &[String]) -> Result<Self, Failure> {
        let TlsArgs { tls, pin, ca, tls_cert, tls_key, .. } = args;
        let trust = match (tls, ca) {
            (TlsMode::Pinned, _) => Trust::Pinned(pin.iter().copied().collect()),
            (TlsMode::FirstUse, _) => return Security::first_use(data),
            (TlsMode::Ca, Some(ca)) => Trust::Authority(authority(ca, names)?),
            _ => Trust::Any,
        };
        let identity = match (tls_cert, tls_key) {
            (Some(certificate), Some(key)) => bring(certificate, key)?,
            _ => key::identity(&data.key())?,
        };
        Security::with(&identity, trust, None)
    }

    /// The node of `data` trusts `trust`.
    pub(crate) fn trusting(data: &DataDir, trust: Trust) -> Result<Self, Failure> {
        Security::with(&key::identity(&data.key())?, trust, None)
    }

    /// The node of `data` trusts whoever it met first at an address.
    pub(crate) fn first_use(data: &DataDir) -> Result<Self, Failure> {
        let path = data.known_identities();
        let known = known_identities::load(&path)?;
        Security::with(&key::identity(&data.key())?, Trust::FirstUse(known), Some(path))
    }

    fn with(identity: &Identity, trust: Trust, known: Option<PathBuf>) -> Result<Self, Failure> {
        let tls = Tls::new(identity, trust, TlsOptions::default())
            .map_err(|error| Failure::new("set up TLS", error, "report this"))?;
        Ok(Security { tls, known })
    }

    /// For the loop's settings.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Who we are.
    pub(crate) fn id(&self) -> VerifiedId {
        self.tls.id()
    }

    /// Saves what a question has taught us.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        match (&self.known, self.tls.take_changes()) {
            (Some(path), Some(known)) => known_identities::save(path, &known),
            _ => Ok(()),
        }
    }

    /// What is kept up to date while a node runs.
    pub(crate) fn watch(&self) -> Result<SecurityWatch, Failure> {
        let keeper = self.known.as_deref().map(Keeper::start).transpose()?;
        let lines = Ration::new(LINES_PER_MINUTE, Duration::from_secs(60));
        let press = Ration::new(1, PRESS_LINE_EVERY);
        Ok(SecurityWatch { tls: self.tls(), known: self.known.clone(), keeper, lines, press, told: (0, 0) })
    }

    /// A fault of a connection with `remote`, as a cause and a remedy.
    pub(crate) fn explain(&self, remote: SocketAddr, fault: TlsFault) -> String {
        let refusal = self.tls.refusal(remote).filter(|refusal| refusal.fault == fault);
        let refusal = refusal.unwrap_or(Refusal { remote, fault, expected: None, seen: None });
        explain(&refusal, self.id(), self.known.as_deref())
    }
}

/// The part of a running node's TLS that needs somebody to look after it.
#[derive(Debug)]
pub(crate) struct SecurityWatch {
    tls: Tls,
    known: Option<PathBuf>,
    keeper: Option<Keeper>,
    lines: Ration,
    press: Ration,
    /// Handshakes that gave way, and that waited, of which the log has told.
    told: (u64, u64),
}

impl SecurityWatch {
    /// Saves what is new and logs who was refused. Called after every turn of the loop.
    pub(crate) fn look(&mut self, now: Instant) {
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(self.tls.take_changes());
        }
        for refusal in self.tls.take_refusals() {
            let Some(withheld) = self.lines.admit(now) else { continue };
            let (remote, why) = (refusal.remote, explain(&refusal, self.tls.id(), self.known.as_deref()));
            if refusal.fault == TlsFault::IdentityChanged {
                tracing::warn!(%remote, withheld, "TLS: {why}");
            } else {
                tracing::info!(%remote, withheld, "TLS: {why}");
            }
        }
    }

    /// Logs that more handshakes come than there is room or time for. Called after every turn of the loop.
    pub(crate) fn look_at_press(&mut self, now: Instant, net: &Net) {
        let counted = (net.totals().tls_gave_way, net.totals().tls_waited);
        if counted == self.told || self.press.admit(now).is_none() {
            return;
        }
        let (gave_way, waited) = (counted.0 - self.told.0, counted.1 - self.told.1);
        self.told = counted;
        let remote = net.pressing().map_or_else(String::new, |remote| remote.to_string());
        tracing::warn!(
            remote,
            gave_way,
            waited,
            "TLS: more handshakes than there is room for; the oldest of the most crowded network give way, others wait"
        );
    }

    /// Saves the last of it.
    pub(crate) fn finish(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(self.tls.take_changes());
            keeper.finish();
        }
    }
}

/// A refusal with what the operator needs: both ids, and which flag or file to change.
fn explain(refusal: &Refusal, ours: VerifiedId, known: Option<&Path>) -> String {
    let Refusal { remote, fault, expected, seen } = refusal;
    match (fault, expected, seen) {
        (TlsFault::IdentityChanged, Some(expected), Some(seen)) => {
            let file = known.map_or_else(|| "what is remembered".into(), Path::to_string_lossy);
            format!(
                "its identity was {expected} and is now {seen}; if its operator changed the key, remove {remote} from \
                 {file}, else somebody is in its place"
            )
        }
        (TlsFault::UnknownIdentity, _, Some(seen)) => {
            format!("its identity {seen} is not pinned; if it is the right node, add --pin {seen}")
        }
        (TlsFault::Alert(42..=44 | 46 | 48 | 49), ..) => {
            format!("it does not trust our identity {ours}; have it added there with --pin {ours}")
        }
        _ => fault.to_string(),
    }
}

/// Flags that need each other, and flags that would do nothing.
fn check(args: &TlsArgs) -> Result<(), Failure> {
    let TlsArgs { tls, pin, ca, tls_name, tls_cert, tls_key } = args;
    let wrong = |text: &str| Err(Failure::usage(text));
    if *tls == TlsMode::Pinned && pin.is_empty() {
        return wrong("--tls pinned trusts nobody without --pin ID: give the ids of the nodes to trust");
    }
    if *tls != TlsMode::Pinned && !pin.is_empty() {
        return wrong("--pin does nothing without --tls pinned: add it, or remove --pin");
    }
    if *tls == TlsMode::Ca && (ca.is_none() || tls_cert.is_none() || tls_key.is_none()) {
        return wrong("--tls ca needs --ca FILE (whom to trust) and our own --tls-cert FILE and --tls-key FILE");
    }
    if *tls != TlsMode::Ca && (ca.is_some() || tls_cert.is_some() || tls_key.is_some() || !tls_name.is_empty()) {
        return wrong("--ca, --tls-cert, --tls-key and --tls-name do nothing without --tls ca: add it, or remove them");
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error: io::Error| {
        Failure::new(format!("read {}", path.display()), error, "check its path and that this user may read it")
    })
}

fn authority(path: &Path, names: &[String]) -> Result<Authority, Failure> {
    Authority::from_pem(&read(path)?, names).map_err(|error| {
        Failure::new(
            format!("use the authority in {}", path.display()),
            error,
            "give root certificates as PEM, and names like node-0.example.org or 192.0.2.7",
        )
    })
}

fn bring(certificate: &Path, key: &Path) -> Result<Identity, Failure> {
    Identity::from_pem(&read(certificate)?, &key::read_private(key)?).map_err(|error| {
        Failure::new(
            format!("use the certificate in {} with the key in {}", certificate.display(), key.display()),
            error,
            "give the node's certificate with its intermediates, and its private key, as PEM",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(fault: TlsFault, expected: Option<u8>, seen: Option<u8>) -> Refusal {
        let id = |byte: u8| VerifiedId::from_bytes([byte; 32]);
        Refusal { remote: "192.0.2.7:8333".parse().unwrap(), fault, expected: expected.map(id), seen: seen.map(id) }
    }

    #[test]
    fn an_operator_is_told_both_ids_and_what_to_change() {
        let ours = VerifiedId::from_bytes([0xaa; 32]);
        let text = explain(&refusal(TlsFault::IdentityChanged, Some(1), Some(2)), ours, Some(Path::new("known.json")));
        for part in [&"01".repeat(32), &"02".repeat(32), "remove 192.0.2.7:8333 from known.json"] {
            assert!(text.contains(part), "{text}");
        }
        let text = explain(&refusal(TlsFault::UnknownIdentity, None, Some(2)), ours, None);
        assert!(text.ends_with(&format!("add --pin {}", "02".repeat(32))), "{text}");
        let text = explain(&refusal(TlsFault::Alert(46), None, None), ours, None);
        assert!(text.contains(&format!("--pin {ours}")), "{text}");
    }
}
