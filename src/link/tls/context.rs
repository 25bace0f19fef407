//! What all connections of a node share to speak TLS: identity, trust, sessions to resume, and rustls's settings made of them.

use core::fmt;
use core::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, ServerConfig};

use crate::close::TlsFault;
use crate::id::{Direction, VerifiedId};
use crate::link::tls::alpn::{Inside, Resolver};
use crate::link::tls::clients::TlsClients;
use crate::link::tls::error::TlsError;
use crate::link::tls::fault::refused_by;
use crate::link::tls::identity::Identity;
use crate::link::tls::provider::provider;
use crate::link::tls::refusal::{Refusals, TlsRefusal};
use crate::link::tls::trust::{KnownIdentities, Trust};
use crate::link::tls::verify::{Verifier, name_of};

/// The most sessions that a server keeps to be resumed, each about half a KiB: the oldest is forgotten first.
const SERVER_SESSIONS_MAX: usize = 1024;
/// The most servers whose sessions a client keeps, of about 2 KiB each.
const CLIENT_SERVERS_MAX: usize = 128;
/// rustls counts eight tickets for each server.
const TICKETS_PER_SERVER: usize = 8;

/// What may be chosen beside identity and trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Speak TLS 1.2 with those who have nothing better. Off: its handshake shows certificates to whoever listens.
    pub tls12: bool,
    /// What is asked of those who dial us. Only where strangers may come in ([`Trust::Any`]) or an authority decides does
    /// [`TlsClients::Optional`] let anybody in; with pins and at first use everybody must show who he is.
    pub clients: TlsClients,
    /// Remember sessions, so that connecting again sends no certificates and signs nothing: measured, 1.6 times as many
    /// handshakes and 600 bytes less for each. On. In TLS 1.3 it saves no round trip, since a first handshake has only one.
    /// Nothing is ever sent before the handshake is done (0-RTT), for that could be replayed.
    pub resumption: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions { tls12: false, clients: TlsClients::Required, resumption: true }
    }
}

/// Everything that the connections of a node need to speak TLS. A clone is another handle to the same: sessions, trust and
/// what is remembered are shared.
///
/// # Examples
///
/// Two loops that trust each other's identity and nobody else's. Both share this thread here.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::time::Duration;
///
/// use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
/// use spacetime_network::id::{DialId, VerifiedId};
/// use spacetime_network::link::tls::identity::Identity;
/// use spacetime_network::link::tls::trust::Trust;
/// use spacetime_network::link::tls::{Tls, TlsOptions};
/// use spacetime_network::time::Now;
///
/// /// Whom it has met.
/// #[derive(Default)]
/// struct Met(Option<VerifiedId>);
///
/// impl Protocol for Met {
///     type Command = ();
///
///     fn handle(&mut self, _now: Now, event: Event<'_, ()>, _net: &mut Net) {
///         match event {
///             // Comes once TLS stands and the other side has proven its key.
///             Event::Opened { identity, .. } => self.0 = identity,
///             Event::DialFailed { reason, .. } => panic!("{reason}"),
///             _ => {}
///         }
///     }
/// }
///
/// fn with_tls(identity: &Identity, trusted: VerifiedId) -> Result<Driver<Met>, Box<dyn std::error::Error>> {
///     let mut config = Config::default();
///     let trust = Trust::Pinned(BTreeSet::from([trusted]));
///     config.tls = Some(Tls::new(identity, trust, TlsOptions::default())?);
///     Ok(Driver::new(config, Met::default())?)
/// }
///
/// // A node keeps its key: `Identity::generate_pkcs8` once, `Identity::from_pkcs8` at every start.
/// let (alice, bob) = (Identity::generate()?, Identity::generate()?);
/// let mut at_alice = with_tls(&alice, bob.id())?;
/// let mut at_bob = with_tls(&bob, alice.id())?;
/// let address = at_bob.listen("127.0.0.1:0".parse()?)?;
/// at_alice.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(10)));
/// while at_alice.protocol().0.is_none() || at_bob.protocol().0.is_none() {
///     at_alice.turn(Some(Duration::from_millis(1)))?;
///     at_bob.turn(Some(Duration::from_millis(1)))?;
/// }
/// assert_eq!(at_alice.protocol().0, Some(bob.id()));
/// assert_eq!(at_bob.protocol().0, Some(alice.id()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    options: TlsOptions,
    verifier: Arc<Verifier>,
    /// What new connections get.
    settings: Mutex<Settings>,
    time: Arc<dyn TimeProvider>,
    refusals: Refusals,
}

/// All that follows from our identity, the sessions that it began among them.
#[derive(Clone)]
struct Settings {
    id: VerifiedId,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// The same where HTTP is spoken inside.
    #[cfg(feature = "ws")]
    http: (Arc<ClientConfig>, Arc<ServerConfig>),
}

impl Settings {
    fn client(&self, inside: Inside) -> &Arc<ClientConfig> {
        match inside {
            #[cfg(feature = "ws")]
            Inside::Http => &self.http.0,
            _ => &self.client,
        }
    }

    fn server(&self, inside: Inside) -> &Arc<ServerConfig> {
        match inside {
            #[cfg(feature = "ws")]
            Inside::Http => &self.http.1,
            _ => &self.server,
        }
    }
}

impl Tls {
    /// TLS with this identity for those whom we trust.
    ///
    /// Certificates are judged by the machine's clock where dates matter at all.
    ///
    /// # Errors
    ///
    /// The crypto library refuses the configuration.
    pub fn new(identity: &Identity, trust: Trust, options: TlsOptions) -> Result<Self, TlsError> {
        Tls::with_time(identity, trust, options, Arc::new(DefaultTimeProvider))
    }

    /// The same by another clock.
    pub(crate) fn with_time(
        identity: &Identity,
        trust: Trust,
        options: TlsOptions,
        time: Arc<dyn TimeProvider>,
    ) -> Result<Self, TlsError> {
        let verifier = Arc::new(Verifier::new(Arc::new(provider()), trust, options.clients));
        let settings = Mutex::new(Settings::new(identity, &verifier, options, &time)?);
        let inner = Inner { options, verifier, settings, time, refusals: Refusals::default() };
        Ok(Tls { inner: Arc::new(inner) })
    }

    /// Shows another identity from now on, as when a certificate was renewed. Open connections stay as they are. What has not
    /// shown itself yet shows the new one, and no session of before is resumed. A handshake that is under way while the id
    /// changes fails as if the network had cut it, for what is said inside it would be under the new id.
    ///
    /// # Errors
    ///
    /// The crypto library refuses the configuration; nothing is changed then.
    pub fn replace_identity(&self, identity: &Identity) -> Result<(), TlsError> {
        let Inner { options, verifier, time, .. } = &*self.inner;
        let settings = Settings::new(identity, verifier, *options, time)?;
        *self.settings() = settings;
        Ok(())
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.inner.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that others see.
    pub fn id(&self) -> VerifiedId {
        self.settings().id
    }

    /// Whom we trust by now, with what was learned since it was set.
    pub fn trust(&self) -> Trust {
        self.inner.verifier.trust()
    }

    /// Trusts others from now on. Open connections stay; a remembered session is judged by the new trust.
    pub fn set_trust(&self, trust: Trust) {
        self.inner.verifier.set_trust(trust);
    }

    /// The node at this address was named by these names: with an [`Authority`](crate::link::tls::trust::Authority) that has no
    /// names of its own, its certificate must be for one of them, instead of for the address. No names take that back. A name
    /// whose addresses somebody looked up is to be said here before one of them is dialed, or whoever changes the answer
    /// chooses who is believed.
    ///
    /// # Errors
    ///
    /// [`TlsError::Name`] when one is neither a DNS name nor an IP address; nothing is changed then.
    pub fn expect_names<N: AsRef<str>>(&self, remote: SocketAddr, names: &[N]) -> Result<(), TlsError> {
        let parse = |name: &N| ServerName::try_from(name.as_ref().to_owned()).map_err(|_| TlsError::Name);
        self.inner.verifier.set_names(remote, names.iter().map(parse).collect::<Result<_, _>>()?);
        Ok(())
    }

    /// What first use has remembered, when that is more than at the last call: to be saved.
    pub fn take_changes(&self) -> Option<KnownIdentities> {
        self.inner.verifier.take_changes()
    }

    /// The last refusals, by us or of us, oldest first; at most 64 are kept.
    pub fn refusals(&self) -> Vec<TlsRefusal> {
        self.inner.refusals.all()
    }

    /// The same, but each of them once: for a log. Of more than 64 since the last call, the oldest are lost.
    pub fn take_refusals(&self) -> Vec<TlsRefusal> {
        self.inner.refusals.take()
    }

    /// The last refusal of this address.
    pub fn refusal(&self, remote: SocketAddr) -> Option<TlsRefusal> {
        self.inner.refusals.of(remote)
    }

    /// What a connection that we open to `remote` needs.
    pub(in crate::link) fn client_for(
        &self,
        remote: SocketAddr,
        inside: Inside,
    ) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(self.settings().client(inside)), name_of(remote))
    }

    /// What a connection that we accept needs.
    pub(in crate::link) fn server_for(&self, inside: Inside) -> Arc<ServerConfig> {
        Arc::clone(self.settings().server(inside))
    }

    /// To be called once for each connection, when its handshake is done and before anything is read from it or written
    /// to it: who is there, if it speaks our protocol and is trusted at this moment. `spoken` is what is expected inside and what ALPN settled on. `None` is
    /// one who has dialed us and showed nothing of himself, where that is enough.
    pub(in crate::link) fn verified_for(
        &self,
        remote: SocketAddr,
        direction: Direction,
        (inside, protocol): (Inside, Option<&[u8]>),
        certificates: &[CertificateDer<'_>],
    ) -> Result<Option<VerifiedId>, TlsFault> {
        let may_be_nobody = !direction.is_outbound() && self.inner.verifier.lets_anybody_in();
        // Not everybody who speaks HTTP says so.
        let may_be_silent = may_be_nobody || inside == Inside::Http;
        let judged = if inside.is(protocol) || may_be_silent && protocol.is_none() {
            if may_be_nobody && certificates.is_empty() {
                return Ok(None);
            }
            let now = self.inner.time.current_time().ok_or(TlsFault::Internal)?;
            self.inner.verifier.verify(direction.is_outbound().then_some(remote), certificates, now)
        } else {
            Err(TlsFault::WrongService.into())
        };
        match judged {
            Ok(id) => {
                if direction.is_outbound() {
                    self.inner.verifier.remember(remote, id);
                }
                Ok(Some(id))
            }
            Err(refused) => Err(self.inner.refusals.keep(remote, refused)),
        }
    }

    #[cfg(test)]
    pub(crate) fn client(&self, remote: SocketAddr) -> (Arc<ClientConfig>, ServerName<'static>) {
        self.client_for(remote, Inside::Frames)
    }

    #[cfg(test)]
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server_for(Inside::Frames)
    }

    #[cfg(test)]
    pub(crate) fn verified(
        &self,
        remote: SocketAddr,
        direction: Direction,
        protocol: Option<&[u8]>,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Option<VerifiedId>, TlsFault> {
        self.verified_for(remote, direction, (Inside::Frames, protocol), certificates)
    }

    /// What an error of rustls means for the connection with `remote`. To be called at once, on the thread that got the
    /// error.
    ///
    /// [`TlsFault::NotTls`] is meant for the first bytes of a connection; later the same error is a
    /// [`TlsFault::Protocol`].
    pub(crate) fn fault(&self, remote: SocketAddr, error: &Error) -> TlsFault {
        self.inner.refusals.keep(remote, refused_by(error))
    }

    /// A connection with `remote` failed before its peer was known, by a fault that no error of rustls stands for.
    pub(crate) fn refused(&self, remote: SocketAddr, fault: TlsFault) {
        self.inner.refusals.keep(remote, fault.into());
    }
}

impl Settings {
    fn new(
        identity: &Identity,
        verifier: &Arc<Verifier>,
        options: TlsOptions,
        time: &Arc<dyn TimeProvider>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let versions: &[_] = if options.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let protocols =
            |inside: Inside| inside.protocols().iter().map(|protocol| protocol.to_vec()).collect::<Vec<Vec<u8>>>();

        let mut client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::clone(time))
            .with_protocol_versions(versions)
            .map_err(|_| TlsError::Library)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(verifier) as _)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
        client.alpn_protocols = protocols(Inside::Frames);
        // In TLS 1.2 only this binds a resumed session to the identities of the first.
        client.require_ems = true;
        // Nodes have no names to send.
        client.enable_sni = false;
        client.resumption = if options.resumption {
            Resumption::store(Arc::new(ClientSessionMemoryCache::new(CLIENT_SERVERS_MAX * TICKETS_PER_SERVER)))
        } else {
            Resumption::disabled()
        };

        let server_of = |inside: Inside, asks: bool| -> Result<ServerConfig, TlsError> {
            let server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(time))
                .with_protocol_versions(versions)
                .map_err(|_| TlsError::Library)?;
            let server = match asks {
                true => server.with_client_cert_verifier(Arc::clone(verifier) as _),
                false => server.with_no_client_auth(),
            };
            let mut server = server.with_cert_resolver(Arc::new(Resolver::new(identity.certified())));
            server.alpn_protocols = protocols(inside);
            server.require_ems = true;
            // Sessions are kept here rather than in encrypted tickets: they are bounded, used once, and gone with the process.
            if options.resumption {
                server.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS_MAX);
                server.send_tls13_tickets = 1;
            } else {
                server.session_storage = Arc::new(NoServerSessionStorage {});
                server.send_tls13_tickets = 0;
            }
            Ok(server)
        };
        let server = server_of(Inside::Frames, true)?;

        #[cfg(feature = "ws")]
        let http = {
            let mut client = client.clone();
            client.alpn_protocols = protocols(Inside::Http);
            // Chromium ends a WebSocket whose server asks for a certificate, even where it could go on without one. So where
            // anybody may come in without, nobody is asked.
            let server = server_of(Inside::Http, !verifier.lets_anybody_in())?;
            (Arc::new(client), Arc::new(server))
        };
        Ok(Settings {
            id: identity.id(),
            client: Arc::new(client),
            server: Arc::new(server),
            #[cfg(feature = "ws")]
            http,
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.id())
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
