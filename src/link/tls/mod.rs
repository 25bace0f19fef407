//! TLS for a node: our identity, whom we trust, and what rustls is to do with both.
//!
//! rustls's own types stay out of the public interface, for its next release renames much of what is used here.
//!
//! | file | what it is |
//! |---|---|
//! | `identity` | our key and the certificate made of it |
//! | `trust` | whom to believe |
//! | `verify` | the judgement of a certificate, as rustls asks for it |
//! | `stream` | one connection's records, both ways |
//! | `rustls_connection` | rustls's two state machines as one |
//! | `sealing` | how plaintext becomes full records |
//! | `provider` | which crypto library does what |

pub mod identity;
mod provider;
mod rustls_connection;
pub(super) mod sealing;
pub(super) mod stream;
pub mod trust;
mod verify;

use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, Error, InvalidMessage, PeerMisbehaved, ServerConfig};

use crate::close::TlsFault;
use crate::id::{Direction, VerifiedId};
use crate::link::tls::identity::Identity;
use crate::link::tls::provider::provider;
use crate::link::tls::trust::{KnownIdentities, TlsRefusal, Trust};
use crate::link::tls::verify::{Judge, Refused, name_of};

/// What we speak inside TLS (ALPN), in the order of preference. A service that offers none of them is another service.
pub(crate) const PROTOCOLS: [&[u8]; 2] = [b"spacetime/2", b"spacetime/1"];
/// How the names of all our protocol's versions begin.
const PROTOCOL_FAMILY: &[u8] = b"spacetime/";
/// The most sessions that a server keeps to be resumed, each about half a KiB: the oldest is forgotten first.
const SERVER_SESSIONS_MAX: usize = 1024;
/// The most servers whose sessions a client keeps, of about 2 KiB each.
const CLIENT_SERVERS_MAX: usize = 128;
/// rustls counts eight tickets for each server.
const TICKETS_PER_SERVER: usize = 8;
/// The most refusals that are kept for the operator.
const REFUSALS_MAX: usize = 64;

/// What may be chosen beside identity and trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Speak TLS 1.2 with those who have nothing better. Off: its handshake shows certificates to whoever listens.
    pub tls12: bool,
    /// Remember sessions, so that connecting again sends no certificates and signs nothing: measured, 1.6 times as many
    /// handshakes and 600 bytes less for each. On. In TLS 1.3 it saves no round trip, since a first handshake has only one.
    /// Nothing is ever sent before the handshake is done (0-RTT), for that could be replayed.
    pub resumption: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions { tls12: false, resumption: true }
    }
}

/// Why an identity, an authority or TLS as a whole could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The operating system gives no randomness.
    Randomness,
    /// A private key that cannot be read, or is of an unknown kind.
    Key,
    /// A certificate that cannot be read, or none.
    Certificate,
    /// A private key that is not the certificate's.
    KeyMismatch,
    /// Root certificates that cannot be read, or none.
    Roots,
    /// A name that is neither a DNS name nor an IP address.
    Name,
    /// The crypto library refuses the configuration.
    Library,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsError::Randomness => "the operating system gives no randomness",
            TlsError::Key => "the private key cannot be read or is of an unknown kind",
            TlsError::Certificate => "there is no certificate, or one that cannot be read",
            TlsError::KeyMismatch => "the private key is not the certificate's",
            TlsError::Roots => "there is no root certificate, or one that cannot be read",
            TlsError::Name => "the name is neither a DNS name nor an IP address",
            TlsError::Library => "the crypto library refuses the configuration",
        })
    }
}

impl core::error::Error for TlsError {}

/// Everything that the connections of a node need to speak TLS. A clone is another handle to the same: sessions, trust and
/// what is remembered are shared.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    id: VerifiedId,
    judge: Arc<Judge>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    time: Arc<dyn TimeProvider>,
    refusals: Mutex<Refusals>,
}

/// The last refusals, oldest first, and how many of them were not taken yet.
#[derive(Debug, Default)]
struct Refusals {
    last: VecDeque<TlsRefusal>,
    fresh: usize,
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
        let provider = Arc::new(provider());
        let judge = Arc::new(Judge::new(Arc::clone(&provider), trust));
        let versions: &[_] = if options.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let protocols: Vec<Vec<u8>> = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();

        let mut client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&time))
            .with_protocol_versions(versions)
            .map_err(|_| TlsError::Library)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&judge) as _)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
        client.alpn_protocols.clone_from(&protocols);
        // In TLS 1.2 only this binds a resumed session to the identities of the first.
        client.require_ems = true;
        // Nodes have no names to send.
        client.enable_sni = false;
        client.resumption = if options.resumption {
            Resumption::store(Arc::new(ClientSessionMemoryCache::new(CLIENT_SERVERS_MAX * TICKETS_PER_SERVER)))
        } else {
            Resumption::disabled()
        };

        let mut server = ServerConfig::builder_with_details(provider, Arc::clone(&time))
            .with_protocol_versions(versions)
            .map_err(|_| TlsError::Library)?
            .with_client_cert_verifier(Arc::clone(&judge) as _)
            .with_cert_resolver(Arc::new(Resolver { certified: identity.certified() }));
        server.alpn_protocols = protocols;
        server.require_ems = true;
        // Sessions are kept here rather than in encrypted tickets: they are bounded, used once, and gone with the process.
        if options.resumption {
            server.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS_MAX);
            server.send_tls13_tickets = 1;
        } else {
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }

        let (client, server) = (Arc::new(client), Arc::new(server));
        let inner = Inner { id: identity.id(), judge, client, server, time, refusals: Mutex::default() };
        Ok(Tls { inner: Arc::new(inner) })
    }

    /// The id that others see.
    pub fn id(&self) -> VerifiedId {
        self.inner.id
    }

    /// Whom we trust by now, with what was learned since it was set.
    pub fn trust(&self) -> Trust {
        self.inner.judge.trust()
    }

    /// Trusts others from now on. Open connections stay; a remembered session is judged by the new trust.
    pub fn set_trust(&self, trust: Trust) {
        self.inner.judge.set_trust(trust);
    }

    /// What first use has remembered, when that is more than at the last call: to be saved.
    pub fn take_changes(&self) -> Option<KnownIdentities> {
        self.inner.judge.take_changes()
    }

    /// The last refusals, by us or of us, oldest first; at most 64 are kept.
    pub fn refusals(&self) -> Vec<TlsRefusal> {
        self.kept().last.iter().copied().collect()
    }

    /// The same, but each of them once: for a log. Of more than 64 since the last call, the oldest are lost.
    pub fn take_refusals(&self) -> Vec<TlsRefusal> {
        let mut kept = self.kept();
        let fresh = core::mem::take(&mut kept.fresh);
        kept.last.range(kept.last.len().saturating_sub(fresh)..).copied().collect()
    }

    /// The last refusal of this address.
    pub fn refusal(&self, remote: SocketAddr) -> Option<TlsRefusal> {
        self.kept().last.iter().rev().find(|refusal| refusal.remote == remote).copied()
    }

    fn kept(&self) -> MutexGuard<'_, Refusals> {
        self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a connection that we open to `remote` needs.
    pub(crate) fn client(&self, remote: SocketAddr) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(&self.inner.client), name_of(remote))
    }

    /// What a connection that we accept needs.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.inner.server)
    }

    /// To be called once for each connection, when its handshake is done and before anything is read from it or written
    /// to it: who is there, if it speaks our protocol and is trusted at this moment. `protocol` is what ALPN settled on.
    pub(crate) fn verified(
        &self,
        remote: SocketAddr,
        direction: Direction,
        protocol: Option<&[u8]>,
        certificates: &[CertificateDer<'_>],
    ) -> Result<VerifiedId, TlsFault> {
        let judged = if protocol.is_some_and(|protocol| PROTOCOLS.contains(&protocol)) {
            let now = self.inner.time.current_time().ok_or(TlsFault::Internal)?;
            self.inner.judge.judge(direction.is_outbound().then_some(remote), certificates, now)
        } else {
            Err(TlsFault::WrongService.into())
        };
        match judged {
            Ok(id) => {
                if direction.is_outbound() {
                    self.inner.judge.remember(remote, id);
                }
                Ok(id)
            }
            Err(refused) => Err(self.refuse(remote, refused)),
        }
    }

    /// What an error of rustls means for the connection with `remote`. To be called at once, on the thread that got the
    /// error.
    ///
    /// [`TlsFault::NotTls`] is meant for the first bytes of a connection; later the same error is a
    /// [`TlsFault::Protocol`].
    pub(crate) fn fault(&self, remote: SocketAddr, error: &Error) -> TlsFault {
        let refused = match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref::<Refused>().copied(),
            _ => None,
        };
        self.refuse(remote, refused.unwrap_or_else(|| fault_of(error).into()))
    }

    /// A connection with `remote` failed before its peer was known, by a fault that no error of rustls stands for.
    pub(crate) fn refused(&self, remote: SocketAddr, fault: TlsFault) {
        self.refuse(remote, fault.into());
    }

    /// Keeps a refusal for the operator.
    fn refuse(&self, remote: SocketAddr, refused: Refused) -> TlsFault {
        let Refused { fault, expected, seen } = refused;
        let mut kept = self.kept();
        if kept.last.len() >= REFUSALS_MAX {
            kept.last.pop_front();
        }
        kept.last.push_back(TlsRefusal { remote, fault, expected, seen });
        kept.fresh = kept.fresh.saturating_add(1).min(REFUSALS_MAX);
        fault
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.inner.id)
    }
}

/// Our protocol among those that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// Nothing of ours.
    Nothing,
    /// Versions of ours that we do not speak.
    OtherVersions,
}

thread_local! {
    /// What the hello that this thread looked at last has offered. rustls tells a server only that there is nothing in
    /// common; the hello is seen by the resolver in the same call that then fails, on the same thread.
    static OFFER: Cell<Offer> = const { Cell::new(Offer::Nothing) };
}

/// Our one certificate, and a look at the hello.
#[derive(Debug)]
struct Resolver {
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ours = hello.alpn().is_some_and(|mut offered| offered.any(|name| name.starts_with(PROTOCOL_FAMILY)));
        OFFER.set(if ours { Offer::OtherVersions } else { Offer::Nothing });
        Some(Arc::clone(&self.certified))
    }
}

/// What an error of rustls says about the other side.
pub(crate) fn fault_of(error: &Error) -> TlsFault {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFault::NotTls,
        Error::InvalidMessage(
            InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge,
        ) => TlsFault::HandshakeTooLarge,
        Error::NoCertificatesPresented => TlsFault::NoCertificate,
        Error::InvalidCertificate(error) => fault_of_certificate(error),
        Error::PeerIncompatible(_) => TlsFault::NothingInCommon,
        Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => TlsFault::WrongService,
        Error::AlertReceived(alert) => TlsFault::Alert(u8::from(*alert)),
        // Whoever can put a byte into the stream can do this to a peer, and the key has proven that it was not the peer.
        Error::DecryptError => TlsFault::Tampered,
        Error::NoApplicationProtocol => match OFFER.get() {
            Offer::Nothing => TlsFault::WrongService,
            Offer::OtherVersions => TlsFault::WrongVersion,
        },
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes | Error::EncryptError | Error::General(_) => {
            TlsFault::Internal
        }
        _ => TlsFault::Protocol,
    }
}

fn fault_of_certificate(error: &CertificateError) -> TlsFault {
    use CertificateError::*;
    match error {
        BadEncoding => TlsFault::BadCertificate,
        BadSignature => TlsFault::BadSignature,
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => TlsFault::ExpiredCertificate,
        UnknownIssuer => TlsFault::UnknownAuthority,
        NotValidForName | NotValidForNameContext { .. } => TlsFault::WrongName,
        Other(other) => other.0.downcast_ref::<Refused>().map_or(TlsFault::BadCertificate, |refused| refused.fault),
        _ => TlsFault::UnfitCertificate,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
