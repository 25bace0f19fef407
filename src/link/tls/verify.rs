//! The verification of a certificate, in the places where rustls asks for it and once more when the handshake is done.
//!
//! Inside the handshake where that is possible, because then the other side learns from an alert why it was refused. And again
//! at the end because a resumed session shows no certificate: the identity comes from memory, and the trust may have changed
//! since.

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::address::canonical;
use crate::close::TlsFault;
use crate::id::VerifiedId;
use crate::link::tls::clients::TlsClients;
use crate::link::tls::fault::fault_of;
use crate::link::tls::identity::SPKI_PREFIX;
use crate::link::tls::provider::sha256;
use crate::link::tls::refusal::Refused;
use crate::link::tls::trust::{KnownIdentities, Trust};

/// The most bytes of certificates that are looked at. A node's own has about 330.
pub(crate) const CERTIFICATES_LEN_MAX: usize = 8 * 1024;
/// The most certificates in an authority's chain: a node's and three intermediates.
const CHAIN_LEN_MAX: usize = 4;

/// Trust at work.
#[derive(Debug)]
pub(crate) struct Verifier {
    provider: Arc<CryptoProvider>,
    clients: TlsClients,
    // Several loops may share one verifier; each holds it for a look-up.
    trust: Mutex<State>,
}

#[derive(Debug)]
struct State {
    trust: Trust,
    /// Something was remembered since the last look.
    changed: bool,
    /// The names by which the nodes at some addresses were named.
    names: BTreeMap<SocketAddr, Vec<ServerName<'static>>>,
}

impl Verifier {
    pub(crate) fn new(provider: Arc<CryptoProvider>, trust: Trust, clients: TlsClients) -> Self {
        Verifier { provider, clients, trust: Mutex::new(State { trust, changed: false, names: BTreeMap::new() }) }
    }

    /// May somebody dial us who shows nothing of himself? Not where only those may come who are known.
    pub(crate) fn lets_anybody_in(&self) -> bool {
        self.clients == TlsClients::Optional && matches!(self.state().trust, Trust::Any | Trust::Authority(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panicking holder leaves behind is complete: each change is one assignment.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_trust(&self, trust: Trust) {
        self.state().trust = trust;
    }

    pub(crate) fn trust(&self) -> Trust {
        self.state().trust.clone()
    }

    /// What is known by now, if that is more than at the last call.
    pub(crate) fn take_changes(&self) -> Option<KnownIdentities> {
        let mut state = self.state();
        match (core::mem::take(&mut state.changed), &state.trust) {
            (true, Trust::FirstUse(known)) => Some(known.clone()),
            _ => None,
        }
    }

    /// Remembers who answered at an address that we dialed, when the handshake has proven it.
    pub(crate) fn remember(&self, dialed: SocketAddr, id: VerifiedId) {
        let mut state = self.state();
        if let Trust::FirstUse(known) = &mut state.trust {
            let new = known.insert(dialed, id);
            state.changed |= new;
        }
    }

    /// The node at `dialed` must be one of these.
    pub(crate) fn set_names(&self, dialed: SocketAddr, names: Vec<ServerName<'static>>) {
        let (dialed, mut state) = (canonical(dialed), self.state());
        if names.is_empty() {
            state.names.remove(&dialed);
        } else {
            state.names.insert(dialed, names);
        }
    }

    fn names_of(&self, dialed: SocketAddr) -> Vec<ServerName<'static>> {
        self.state().names.get(&canonical(dialed)).cloned().unwrap_or_default()
    }

    /// Who shows this chain, and whether we trust it. `dialed` is the address that we dialed, if it was us who did.
    pub(crate) fn verify(
        &self,
        dialed: Option<SocketAddr>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedId, Refused> {
        let (end, intermediates) = chain.split_first().ok_or(TlsFault::NoCertificate)?;
        self.verify_parts(dialed, end, intermediates, now)
    }

    fn verify_parts(
        &self,
        dialed: Option<SocketAddr>,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedId, Refused> {
        // Sizes first: nothing is computed for who sends too much.
        let length = intermediates.iter().map(|certificate| certificate.len()).fold(end.len(), usize::saturating_add);
        if length > CERTIFICATES_LEN_MAX || intermediates.len() >= CHAIN_LEN_MAX {
            return Err(TlsFault::BadCertificate.into());
        }
        if let Trust::Authority(authority) = self.trust_of_authority() {
            let dialed = dialed.map(|address| match self.names_of(address) {
                // Nobody named it: it must be for the address.
                names if names.is_empty() => vec![ServerName::from(address.ip().to_canonical())],
                names => names,
            });
            authority.check(dialed.as_deref(), end, intermediates, now)?;
            return self.id_of(end);
        }
        if !intermediates.is_empty() {
            return Err(TlsFault::UnfitCertificate.into());
        }
        let id = self.id_of_node(end)?;
        let refused = |fault, expected| Err(Refused { fault, expected, seen: Some(id) });
        match &self.state().trust {
            Trust::Pinned(pins) if pins.contains(&id) => Ok(id),
            Trust::Pinned(pins) => {
                let only = if pins.len() == 1 { pins.first().copied() } else { None };
                refused(TlsFault::UnknownIdentity, only)
            }
            Trust::FirstUse(known) => match dialed.and_then(|address| known.get(address)) {
                Some(expected) if expected != id => refused(TlsFault::IdentityChanged, Some(expected)),
                _ => Ok(id),
            },
            Trust::Any | Trust::Authority(_) => Ok(id),
        }
    }

    /// The authority, without holding the lock while signatures are verified; [`Trust::Any`] stands for the rest.
    fn trust_of_authority(&self) -> Trust {
        match &self.state().trust {
            Trust::Authority(authority) => Trust::Authority(authority.clone()),
            _ => Trust::Any,
        }
    }

    fn id_of(&self, end: &CertificateDer<'_>) -> Result<VerifiedId, Refused> {
        let parsed = ParsedCertificate::try_from(end).map_err(|error| fault_of(&error))?;
        self.hash(&parsed.subject_public_key_info())
    }

    /// The id of a self-signed Ed25519 certificate: the hash of its key, and of nothing else that it says.
    ///
    /// The signature that proves the key is the handshake's. It covers the certificate too, as it was sent, so nobody in between can
    /// have changed that. The certificate's own signature would show once more that its maker had the key, over names and times that
    /// nobody here looks at; whoever lacks the key gains nothing by a wrong one. So it is not computed: it is a seventh of a handshake,
    /// and whoever dials could have us do that.
    fn id_of_node(&self, end: &CertificateDer<'_>) -> Result<VerifiedId, Refused> {
        let parsed = ParsedCertificate::try_from(end).map_err(|error| fault_of(&error))?;
        let spki = parsed.subject_public_key_info();
        spki.strip_prefix(&SPKI_PREFIX).filter(|key| key.len() == 32).ok_or(TlsFault::UnfitCertificate)?;
        // An authority's certificate comes from one who trusts others than we do.
        let (issuer, subject) = body(end).and_then(issuer_and_subject).ok_or(TlsFault::BadCertificate)?;
        if issuer != subject {
            return Err(TlsFault::UnfitCertificate.into());
        }
        self.hash(&spki)
    }

    fn hash(&self, spki: &[u8]) -> Result<VerifiedId, Refused> {
        Ok(VerifiedId::from_bytes(sha256(&self.provider, spki).ok_or(TlsFault::Internal)?))
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        match self.state().trust {
            Trust::Authority(_) => self.provider.signature_verification_algorithms.supported_schemes(),
            // So that nobody can make us verify with a key of 16384 bits.
            _ => vec![SignatureScheme::ED25519],
        }
    }
}

/// What a certificate's signature covers, if one follows.
fn body<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let (_, content, _) = value(certificate)?;
    let (body, _, rest) = value(content)?;
    let (_, _, rest) = value(rest)?; // signature algorithm
    value(rest).map(|_| body)
}

/// Who a certificate says has issued it, and for whom (RFC 5280, section 4.1). Self-signed, it names one as both.
fn issuer_and_subject(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, content, _) = value(body)?;
    // The version is left out where it is 1.
    let rest = if content.first() == Some(&0xa0) { value(content)?.2 } else { content };
    let (_, _, rest) = value(rest)?; // serial number
    let (_, _, rest) = value(rest)?; // signature algorithm
    let (issuer, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?; // validity
    let (subject, _, _) = value(rest)?;
    Some((issuer, subject))
}

/// The first DER value of some bytes, its content, and what follows it.
fn value(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (header, length) = match *bytes.get(1..)? {
        [short @ 0..=0x7f, ..] => (2, usize::from(short)),
        [0x81, length, ..] => (3, usize::from(length)),
        [0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    let (value, rest) = bytes.split_at_checked(header + length)?;
    Some((value, value.get(header..)?, rest))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let dialed = address_of(name).ok_or(Error::UnsupportedNameType)?;
        self.verify_parts(Some(dialed), end, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.lets_anybody_in()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Who dials has one certificate and shows it; a hint would only be bytes.
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_parts(None, end, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// The name under which rustls knows an address. It is never sent; it separates the remembered sessions of two ports of one
/// host, and tells the verifier which address was dialed.
pub(crate) fn name_of(address: SocketAddr) -> ServerName<'static> {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let scope = match canonical(address) {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    // A letter and hexadecimal digits are always a DNS name; what is not would be refused by the verifier.
    ServerName::try_from(format!("n{:032x}{:04x}{scope:08x}", ip.to_bits(), address.port()))
        .unwrap_or_else(|_| ServerName::from(address.ip()))
}

fn address_of(name: &ServerName<'_>) -> Option<SocketAddr> {
    let ServerName::DnsName(name) = name else { return None };
    let (ip, rest) = name.as_ref().strip_prefix('n')?.split_at_checked(32)?;
    let (port, scope) = rest.split_at_checked(4)?;
    let ip = Ipv6Addr::from_bits(u128::from_str_radix(ip, 16).ok()?);
    let (port, scope) = (u16::from_str_radix(port, 16).ok()?, u32::from_str_radix(scope, 16).ok()?);
    Some(canonical(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_being_a_name() {
        for text in
            ["127.0.0.1:1", "0.0.0.0:0", "[::1]:8333", "[2001:db8::1]:65535", "255.255.255.255:9", "[fe80::1%7]:2"]
        {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(address_of(&name_of(address)), Some(address));
        }
        let mapped = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(address_of(&name_of(mapped)), Some("10.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn a_certificate_that_is_cut_anywhere_has_no_parts() {
        let identity = crate::link::tls::identity::Identity::generate().unwrap();
        let complete = identity.certificate();
        assert!(body(&complete.into()).is_some());
        for cut in 0..complete.len() {
            assert_eq!(body(&complete[..cut].into()), None, "{cut}");
        }
    }

    #[test]
    fn an_authoritys_certificate_is_told_from_a_nodes_own() {
        let own = crate::link::tls::identity::Identity::generate().unwrap();
        let own = CertificateDer::from(own.certificate());
        assert!(body(&own).and_then(issuer_and_subject).is_some_and(|(issuer, subject)| issuer == subject));
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let issuer = rcgen::Issuer::new(params, rcgen::KeyPair::generate().unwrap());
        let key = rcgen::KeyPair::generate().unwrap();
        let signed = rcgen::CertificateParams::new(["node".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let signed = body(signed.der()).unwrap();
        assert!(issuer_and_subject(signed).is_some_and(|(issuer, subject)| issuer != subject));
        assert!(issuer_and_subject(&signed[..30]).is_none() && issuer_and_subject(&[]).is_none());
    }
}
