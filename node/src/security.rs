//! TLS as the operator asked for it: whose key we show, whom we trust, what was remembered, and what is said when somebody is
//! refused.
//!
//! A node shows the key of its data directory. A question to a running node shows one of its own, in the folder `client`
//! there, because a node does not talk to itself.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spacetime_network::close::TlsFault;
use spacetime_network::driver::Net;
use spacetime_network::id::VerifiedId;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::{KnownIdentities, Trust};
use spacetime_network::link::tls::{Tls, TlsClients, TlsOptions, TlsRefusal};
use spacetime_network::time::Instant;

use crate::cli::{TlsArgs, TlsClientsArg, TlsMin, TlsMode};
use crate::data_dir::DataDir;
use crate::explain::Ours;
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::known_identities::{self, Conflict};
use crate::logging::LineLimit;
use crate::renewal::{CertificateFiles, Renewal, unix_time};
use crate::typed_names::KnownAddresses;
use crate::value::Endpoint;

/// Lines about refusals that may come at once.
const LINES_BURST: u32 = 30;
/// Time between two of them after that.
const LINES_EVERY: Duration = Duration::from_secs(12);

/// Time between two lines about too many handshakes.
const OVERLOAD_LINE_EVERY: Duration = Duration::from_secs(10);
/// How long a question waits for another that saves what it has learned.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// TLS in use.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    tls: Tls,
    ours: Ours,
    /// Where first use remembers.
    memory: Option<Memory>,
    /// What renews our certificate, if it is one of an authority.
    renewal: Option<Renewal>,
}

/// What first use remembers, on the disk.
#[derive(Clone, Debug)]
struct Memory {
    data: DataDir,
    /// What was in the file at first, where other processes may add to it meanwhile. A node has its directory to itself.
    shared: Option<Arc<KnownIdentities>>,
}

impl Security {
    /// As a node asks for it; `None` without TLS.
    pub(crate) fn of_node(args: &TlsArgs, clients: TlsClientsArg, data: &DataDir) -> Result<Option<Self>, Failure> {
        check(args)?;
        if clients == TlsClientsArg::Optional && !lets_strangers_in(args.tls) {
            return Err(Failure::usage(
                "--tls-clients optional needs --tls any or --tls ca: with pins and at first use everybody shows who he is",
            ));
        }
        let options = options(args, clients);
        args.tls.is_on().then(|| Security::new(args, options, data, &args.tls_name, false)).transpose()
    }

    /// As a question to `endpoint` asks for it; `None` without TLS. An authority's certificate must be for the name that was
    /// asked for.
    pub(crate) fn of_client(
        args: &TlsArgs,
        directory: Option<&Path>,
        endpoint: &Endpoint,
    ) -> Result<Option<Self>, Failure> {
        check(args)?;
        let (readers, options) = (args.key_readers(), options(args, TlsClientsArg::Required));
        match args.tls {
            TlsMode::Off => Ok(None),
            // Nothing is remembered, so nothing needs a place: a health check may come from a container without a home.
            TlsMode::Any => {
                if let Some(identity) = DataDir::client_identity(directory, readers)? {
                    return Security::with(&identity, Trust::Any, options, None).map(Some);
                }
                let identity = Identity::generate().map_err(|error| Failure::new("make a key", error, "try again"))?;
                let mut security = Security::with(&identity, Trust::Any, options, None)?;
                security.ours.is_lasting = false;
                Ok(Some(security))
            }
            TlsMode::FirstUse | TlsMode::Pinned | TlsMode::Ca => {
                let data = DataDir::of_client(directory)?.with_key_readers(readers);
                let named: Vec<String> = endpoint.name().map(str::to_owned).into_iter().collect();
                let names = if args.tls_name.is_empty() { &named } else { &args.tls_name };
                Security::new(args, options, &data, names, true).map(Some)
            }
        }
    }

    fn new(
        args: &TlsArgs,
        options: TlsOptions,
        data: &DataDir,
        names: &[String],
        shared: bool,
    ) -> Result<Self, Failure> {
        let TlsArgs { tls, pin, ca, tls_cert, tls_key, .. } = args;
        let trust = match (tls, ca, tls_cert, tls_key) {
            (TlsMode::Pinned, ..) => Trust::Pinned(pin.iter().copied().collect()),
            (TlsMode::FirstUse, ..) => return Security::remembering(data, shared),
            (TlsMode::Ca, Some(ca), Some(certificate), Some(key)) => {
                let files = CertificateFiles {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    authority: ca.clone(),
                    names: names.to_vec(),
                    key_readers: args.key_readers(),
                };
                return Security::of_files(files, options);
            }
            (TlsMode::Any, ..) => Trust::Any,
            // `check` asks for the files, and nobody without TLS comes here. Who is not sure whom to trust trusts nobody.
            (TlsMode::Ca, ..) => return Err(Failure::usage("--tls ca needs --ca, --tls-cert and --tls-key")),
            (TlsMode::Off, ..) => return Err(Failure::usage("whom to trust is a question of --tls")),
        };
        Security::with(&data.identity()?, trust, options, None)
    }

    fn of_files(files: CertificateFiles, options: TlsOptions) -> Result<Self, Failure> {
        // Before they are read: what is written meanwhile is noticed later.
        let stamp = files.stamp();
        let (identity, authority) = files.load()?;
        if !authority.is_in_time(&identity, unix_time()) {
            // The clock may be what is wrong, and others' clocks decide.
            tracing::warn!("{}", files.out_of_time());
        }
        let security = Security::with(&identity, Trust::Authority(authority), options, None)?;
        let renewal = Renewal::new(files, stamp, security.tls());
        Ok(Security { renewal: Some(renewal), ..security })
    }

    /// What keeps the certificate up to date while a node runs; `None` where it is not from files.
    pub(crate) fn renewal(&self) -> Option<Renewal> {
        self.renewal.clone()
    }

    /// The node of `data` trusts `trust`.
    pub(crate) fn trusting(data: &DataDir, trust: Trust) -> Result<Self, Failure> {
        Security::with(&data.identity()?, trust, TlsOptions::default(), None)
    }

    /// The node of `data` trusts whoever it met first at an address.
    pub(crate) fn first_use(data: &DataDir) -> Result<Self, Failure> {
        Security::remembering(data, false)
    }

    fn remembering(data: &DataDir, shared: bool) -> Result<Self, Failure> {
        let known = known_identities::load(&data.known_identities())?;
        let memory = Memory { data: data.clone(), shared: shared.then(|| Arc::new(known.clone())) };
        Security::with(&data.identity()?, Trust::FirstUse(known), TlsOptions::default(), Some(memory))
    }

    fn with(identity: &Identity, trust: Trust, options: TlsOptions, memory: Option<Memory>) -> Result<Self, Failure> {
        let by_authority = matches!(trust, Trust::Authority(_));
        let tls =
            Tls::new(identity, trust, options).map_err(|error| Failure::new("set up TLS", error, "report this"))?;
        let directory = memory.as_ref().map(|memory| memory.data.path().to_path_buf());
        Ok(Security {
            ours: Ours { id: tls.id(), directory, by_authority, is_lasting: true },
            tls,
            memory,
            renewal: None,
        })
    }

    /// For the loop's settings.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Who we are.
    pub(crate) fn id(&self) -> VerifiedId {
        self.tls.id()
    }

    /// Saves what a question has taught us, beside what others have learned meanwhile.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let (Some(memory), Some(known)) = (&self.memory, self.tls.take_changes()) else { return Ok(()) };
        let path = memory.data.known_identities();
        let Some(loaded) = &memory.shared else { return known_identities::save(&path, &known) };
        let _lock = memory.data.lock_within(LOCK_PATIENCE)?;
        known_identities::add(&path, loaded, &known)?.map_err(|Conflict { address, saved, learned }| {
            let fault = TlsFault::IdentityChanged;
            let refusal = TlsRefusal { remote: address, fault, expected: Some(saved), seen: Some(learned) };
            Failure::plain(format!("trust {address}"), self.ours().refusal(&refusal))
        })
    }

    /// What is kept up to date while a node runs.
    ///
    /// Of those in `named` the event log speaks, which knows whether they were reached since.
    pub(crate) fn watch(&self, named: KnownAddresses) -> Result<SecurityWatch, Failure> {
        let keeper =
            self.memory.as_ref().map(|memory| known_identities::keeper(&memory.data.known_identities())).transpose()?;
        let lines = LineLimit::new(LINES_BURST, LINES_EVERY);
        let overload_lines = LineLimit::new(1, OVERLOAD_LINE_EVERY);
        Ok(SecurityWatch { security: self.clone(), keeper, lines, named, overload_lines, told: (0, 0) })
    }

    /// Our side, as it is by now: a renewed certificate may have another key.
    fn ours(&self) -> Ours {
        Ours { id: self.tls.id(), ..self.ours.clone() }
    }

    /// Whether it was for this that `remote` was refused, by us or by itself, before the connection stood.
    pub(crate) fn has_refused(&self, remote: SocketAddr, fault: TlsFault) -> bool {
        self.refusal(remote, fault).is_some()
    }

    fn refusal(&self, remote: SocketAddr, fault: TlsFault) -> Option<TlsRefusal> {
        self.tls.refusal(remote).filter(|refusal| refusal.fault == fault)
    }

    /// A fault of a connection with `remote`, as a cause and a remedy.
    pub(crate) fn explain(&self, remote: SocketAddr, fault: TlsFault) -> String {
        let refusal = self.refusal(remote, fault);
        self.ours().refusal(&refusal.unwrap_or(TlsRefusal { remote, fault, expected: None, seen: None }))
    }
}

/// The part of a running node's TLS that needs somebody to look after it.
#[derive(Debug)]
pub(crate) struct SecurityWatch {
    security: Security,
    keeper: Option<Keeper<KnownIdentities>>,
    lines: LineLimit,
    named: KnownAddresses,
    overload_lines: LineLimit,
    /// Handshakes that gave way, and that waited, of which the log has told.
    told: (u64, u64),
}

impl SecurityWatch {
    /// Saves what is new and logs who was refused. Called after every turn of the loop.
    pub(crate) fn look(&mut self, now: Instant) {
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(self.security.tls.take_changes());
        }
        for refusal in self.security.tls.take_refusals() {
            if self.named.contains(refusal.remote) {
                continue;
            }
            let Some(withheld) = self.lines.admit(now) else { continue };
            let (remote, why) = (refusal.remote, self.security.ours().refusal(&refusal));
            if refusal.fault == TlsFault::IdentityChanged {
                tracing::warn!(%remote, withheld, "TLS: {why}");
            } else {
                tracing::info!(%remote, withheld, "TLS: {why}");
            }
        }
    }

    /// Logs that more handshakes come than there is room or time for. Called after every turn of the loop.
    pub(crate) fn log_overload(&mut self, now: Instant, net: &Net) {
        let counted = (net.totals().tls_evicted, net.totals().tls_throttled);
        if counted == self.told || self.overload_lines.admit(now).is_none() {
            return;
        }
        let (gave_way, waited) = (counted.0 - self.told.0, counted.1 - self.told.1);
        self.told = counted;
        let remote = net.last_throttled_handshake().map_or_else(String::new, |remote| remote.to_string());
        tracing::warn!(
            remote,
            gave_way,
            waited,
            "TLS: more handshakes than there is room for; the oldest of the most crowded network give way, others wait"
        );
    }

    /// Saves the last of it.
    ///
    /// # Errors
    ///
    /// The disk takes nothing.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        keeper.keep(self.security.tls.take_changes());
        keeper.finish()
    }
}

/// May others than nodes come? Who is compared with a list must have an identity.
fn lets_strangers_in(mode: TlsMode) -> bool {
    matches!(mode, TlsMode::Any | TlsMode::Ca)
}

/// What may be chosen beside identity and trust.
fn options(args: &TlsArgs, clients: TlsClientsArg) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.tls12 = args.tls_min == TlsMin::V1_2;
    options.clients = match clients {
        TlsClientsArg::Required => TlsClients::Required,
        TlsClientsArg::Optional => TlsClients::Optional,
    };
    options
}

/// Flags that need each other, and flags that would do nothing.
fn check(args: &TlsArgs) -> Result<(), Failure> {
    let TlsArgs { tls, pin, ca, tls_name, tls_cert, tls_key, .. } = args;
    let wrong = |text: &str| Err(Failure::usage(text));
    if args.tls_min == TlsMin::V1_2 && !lets_strangers_in(*tls) {
        return wrong(
            "--tls-min 1.2 needs --tls any or --tls ca: with pins and at first use all are nodes, which have TLS 1.3",
        );
    }
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
