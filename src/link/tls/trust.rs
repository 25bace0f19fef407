//! Whom we trust: four answers, one of which an operator must choose.
//!
//! | trust | a dialed address must | whoever dials us must | protects against |
//! |---|---|---|---|
//! | [`Trust::Pinned`] | show a listed identity | show a listed identity | eavesdroppers, impostors, strangers |
//! | [`Trust::FirstUse`] | show the identity it showed first | show any identity | eavesdroppers; impostors but at the first contact |
//! | [`Trust::Authority`] | show a certificate of the authority for the expected name | show a certificate of the authority | eavesdroppers, impostors, strangers without a certificate |
//! | [`Trust::Any`] | show any identity | show any identity | eavesdroppers who only listen |
//!
//! In every mode both sides prove that they hold the key that they show, so a connection belongs to one identity from its
//! first frame to its last, and reputation sticks to it.
//!
//! # Dates
//!
//! Only an authority gives dates a meaning. With the other three a certificate is a wrapper around a key, and its dates are
//! ignored: a pin does not expire.
//!
//! # First use, and those who dial us
//!
//! What is remembered is the identity behind an address that *we* dialed, for that is the only address that a peer
//! cannot choose freely. The port that a connection comes from means nothing, and the port that a peer says it listens on
//! is a claim. So an incoming connection is not compared with what is remembered: it proves its own key, and that key is its
//! node id. If it claims to listen on a remembered address, the claim is settled by the next dial to it.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};

use crate::address::canonical;
use crate::close::TlsFault;
use crate::id::VerifiedId;
use crate::link::tls::error::TlsError;
use crate::link::tls::fault::fault_of;
use crate::link::tls::identity::Identity;
use crate::link::tls::provider::provider;

/// The most addresses that are remembered, about 6 MiB. An address beyond them is met as if for the first time, every time.
pub const KNOWN_MAX: usize = 65_536;

/// Whom to trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The listed identities, and nobody else.
    Pinned(BTreeSet<VerifiedId>),
    /// Whoever answers at an address first; from then on nobody else at that address.
    FirstUse(KnownIdentities),
    /// Whoever holds a certificate of an authority.
    Authority(Authority),
    /// Everybody. It encrypts, but does not tell a node from somebody who stands between.
    Any,
}

/// The identities that dialed addresses have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownIdentities {
    by_address: BTreeMap<SocketAddr, VerifiedId>,
}

impl KnownIdentities {
    /// What is known about an address.
    pub fn get(&self, address: SocketAddr) -> Option<VerifiedId> {
        self.by_address.get(&canonical(address)).copied()
    }

    /// Remembers an identity, in place of another. False when there is no room, or it was known.
    pub fn insert(&mut self, address: SocketAddr, id: VerifiedId) -> bool {
        let address = canonical(address);
        if self.by_address.len() >= KNOWN_MAX && !self.by_address.contains_key(&address) {
            return false;
        }
        self.by_address.insert(address, id) != Some(id)
    }

    /// Forgets an address, so that whoever answers there next is remembered.
    pub fn forget(&mut self, address: SocketAddr) -> Option<VerifiedId> {
        self.by_address.remove(&canonical(address))
    }

    /// All of them, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, VerifiedId)> {
        self.by_address.iter().map(|(address, id)| (*address, *id))
    }
}

impl FromIterator<(SocketAddr, VerifiedId)> for KnownIdentities {
    fn from_iter<T: IntoIterator<Item = (SocketAddr, VerifiedId)>>(known: T) -> Self {
        let mut identities = KnownIdentities::default();
        for (address, id) in known {
            identities.insert(address, id);
        }
        identities
    }
}

/// A private authority: its root certificates, and the names that nodes have in the certificates that it signs.
///
/// A certificate that has extended key usages needs the one for servers where its node is dialed, and the one for clients
/// where it dials: a node that does both needs both.
/// The node id is the hash of the certificate's own key. Revocation lists are not read: an authority that must shut a node
/// out signs for short.
#[derive(Clone)]
pub struct Authority {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    names: Vec<ServerName<'static>>,
}

impl Authority {
    /// An authority of the roots in a PEM text.
    ///
    /// With `names`, every node's certificate must be for one of them, whoever dials. Without, the certificate of a node
    /// that we dial must be for the IP address that we dialed, or for the name by which [`Tls::expect_names`] says that it was
    /// named, and that of a node that dials us for any name.
    ///
    /// [`Tls::expect_names`]: crate::link::tls::Tls::expect_names
    ///
    /// # Errors
    ///
    /// There is no certificate in the text, or one that cannot be read, or a name that is neither a DNS name nor an address.
    pub fn from_pem<N: AsRef<str>>(roots: &[u8], names: &[N]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots) {
            store.add(certificate.map_err(|_| TlsError::Roots)?).map_err(|_| TlsError::Roots)?;
        }
        let names = names
            .iter()
            .map(|name| ServerName::try_from(name.as_ref().to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Name)?;
        let roots = Arc::new(store);
        // It refuses an empty store, so there is at least one root.
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::new(provider()))
            .clear_root_hint_subjects()
            .build()
            .map_err(|_| TlsError::Roots)?;
        Ok(Authority { roots, clients, names })
    }

    /// Is a certificate that this authority signed within its time? Others refuse one that is not, whatever else holds of it. One of
    /// another authority is not judged.
    pub fn is_in_time(&self, identity: &Identity, now: crate::time::UnixTime) -> bool {
        let chain = &identity.certified().cert;
        let Some((end, intermediates)) = chain.split_first() else { return true };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0)));
        // Of the uses that a certificate may have, it needs one only.
        self.check(None, end, intermediates, now) != Err(TlsFault::ExpiredCertificate)
    }

    /// Whether a chain is the authority's, for who shows it: a node that we dialed, which must be one of `dialed`, or one that
    /// dialed us.
    pub(crate) fn check(
        &self,
        dialed: Option<&[ServerName<'_>]>,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        // A chain whose signature is wrong is signed by somebody else, such as an authority of the same name.
        let refused = |error: rustls::Error| match fault_of(&error) {
            TlsFault::BadSignature => TlsFault::UnknownAuthority,
            fault => fault,
        };
        let parsed = ParsedCertificate::try_from(end).map_err(refused)?;
        if dialed.is_some() {
            let algorithms = provider().signature_verification_algorithms.all;
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )
            .map_err(refused)?;
        } else {
            self.clients.verify_client_cert(end, intermediates, now).map_err(refused)?;
        }
        let is_for = |name: &ServerName<'_>| rustls::client::verify_server_name(&parsed, name).is_ok();
        let right = match dialed {
            Some(names) if self.names.is_empty() => names.iter().any(is_for),
            None if self.names.is_empty() => true,
            _ => self.names.iter().any(is_for),
        };
        if right { Ok(()) } else { Err(TlsFault::WrongName) }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("roots", &self.roots.len()).field("names", &self.names).finish()
    }
}
