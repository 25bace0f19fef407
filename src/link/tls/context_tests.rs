//! Two ends in memory, for every trust and every refusal.

use std::collections::BTreeSet;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::ClientConnectionData;
use rustls::crypto::CryptoProvider;
use rustls::server::ServerConnectionData;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ClientConnection, ConnectionCommon, HandshakeKind, ProtocolVersion, ServerConnection};

use super::*;
use crate::id::DialId;
use crate::link::tls::alpn::PROTOCOLS;
use crate::link::tls::trust::Authority;

#[path = "enormous_key_tests.rs"]
mod enormous_key;
#[path = "context_renewal_tests.rs"]
mod renewal;

const REMOTE: &str = "192.0.2.7:8333";
const OUTBOUND: Direction = Direction::Outbound(DialId(0));

fn remote() -> SocketAddr {
    REMOTE.parse().unwrap()
}

fn tls(identity: &Identity, trust: Trust) -> Tls {
    Tls::new(identity, trust, TlsOptions::default()).unwrap()
}

fn anyone() -> (Identity, Tls) {
    let identity = Identity::generate().unwrap();
    let tls = tls(&identity, Trust::Any);
    (identity, tls)
}

fn pinned(pins: &[VerifiedId]) -> Trust {
    Trust::Pinned(pins.iter().copied().collect())
}

/// What the two ends of a handshake came to.
struct Met {
    /// What the dialing end says.
    dialing: Result<VerifiedId, TlsFault>,
    /// What the accepting end says.
    accepting: Result<VerifiedId, TlsFault>,
    kind: Option<HandshakeKind>,
    version: Option<ProtocolVersion>,
}

/// Everything that one end has to say goes to the other.
fn pass<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> Result<bool, Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(!wire.is_empty())
}

fn run(
    client: &mut ConnectionCommon<ClientConnectionData>,
    server: &mut ConnectionCommon<ServerConnectionData>,
) -> (Result<(), Error>, Result<(), Error>) {
    let (mut dialing, mut accepting) = (Ok(()), Ok(()));
    loop {
        let mut moved = false;
        if accepting.is_ok() {
            match pass(client, server) {
                Ok(passed) => moved |= passed,
                Err(error) => (accepting, moved) = (Err(error), true),
            }
        }
        if dialing.is_ok() {
            match pass(server, client) {
                Ok(passed) => moved |= passed,
                Err(error) => (dialing, moved) = (Err(error), true),
            }
        }
        if !moved {
            return (dialing, accepting);
        }
    }
}

fn meet_as(client: Arc<ClientConfig>, dialing: &Tls, server: Arc<ServerConfig>, accepting: &Tls) -> Met {
    let (_, name) = dialing.client(remote());
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (dialed, accepted) = run(&mut client, &mut server);
    let dialed = dialed.map_err(|error| dialing.fault(remote(), &error)).and_then(|()| {
        dialing.verified(remote(), OUTBOUND, client.alpn_protocol(), client.peer_certificates().unwrap_or_default())
    });
    let accepted = accepted.map_err(|error| accepting.fault(remote(), &error)).and_then(|()| {
        let certificates = server.peer_certificates().unwrap_or_default();
        accepting.verified(remote(), Direction::Inbound, server.alpn_protocol(), certificates)
    });
    // None of these has nothing to show.
    let (dialing, accepting) = (dialed.map(Option::unwrap), accepted.map(Option::unwrap));
    Met { dialing, accepting, kind: client.handshake_kind(), version: client.protocol_version() }
}

fn meet(dialing: &Tls, accepting: &Tls) -> Met {
    meet_as(dialing.client(remote()).0, dialing, accepting.server(), accepting)
}

/// A client that shows what it likes to a server that trusts anybody.
fn show(certificates: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Met {
    let (_, tls) = anyone();
    let mut config = ClientConfig::clone(&tls.client(remote()).0);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, key)));
    meet_as(Arc::new(config), &tls, tls.server(), &tls)
}

#[test]
fn two_who_trust_anybody_know_each_other_by_id() {
    let ((one, dialing), (two, accepting)) = (anyone(), anyone());
    let met = meet(&dialing, &accepting);
    assert_eq!((met.dialing, met.accepting), (Ok(two.id()), Ok(one.id())));
    assert_eq!(met.version, Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn pins_are_checked_on_both_sides_and_the_refused_side_learns_why() {
    let (one, two, three) =
        (Identity::generate().unwrap(), Identity::generate().unwrap(), Identity::generate().unwrap());
    let met = meet(&tls(&one, pinned(&[two.id()])), &tls(&two, pinned(&[three.id(), one.id()])));
    assert_eq!((met.dialing, met.accepting), (Ok(two.id()), Ok(one.id())));

    let dialing = tls(&one, pinned(&[three.id()]));
    let met = meet(&dialing, &tls(&two, pinned(&[one.id()])));
    assert_eq!((met.dialing, met.accepting), (Err(TlsFault::UnknownIdentity), Err(TlsFault::Alert(46))));
    let refusal = dialing.refusal(remote()).unwrap();
    assert_eq!((refusal.expected, refusal.seen), (Some(three.id()), Some(two.id())));
    assert!(refusal.to_string().contains(&two.id().to_string()) && refusal.to_string().contains("instead of"));

    let accepting = tls(&two, pinned(&[three.id()]));
    let met = meet(&tls(&one, pinned(&[two.id()])), &accepting);
    assert_eq!((met.dialing, met.accepting), (Err(TlsFault::Alert(46)), Err(TlsFault::UnknownIdentity)));
    assert_eq!(accepting.take_refusals()[0].seen, Some(one.id()));
}

#[test]
fn nobody_is_trusted_where_nobody_is_pinned() {
    let ((_, dialing), identity) = (anyone(), Identity::generate().unwrap());
    assert_eq!(meet(&dialing, &tls(&identity, pinned(&[]))).accepting, Err(TlsFault::UnknownIdentity));
}

#[test]
fn first_use_remembers_and_a_changed_identity_is_refused_until_the_old_one_is_forgotten() {
    let ((first, at_first), (second, later)) = (anyone(), anyone());
    let us = tls(&Identity::generate().unwrap(), Trust::FirstUse(KnownIdentities::default()));
    assert_eq!(us.take_changes(), None);
    assert_eq!(meet(&us, &at_first).dialing, Ok(first.id()));
    assert_eq!(us.take_changes().unwrap().get(remote()), Some(first.id()));
    assert_eq!(meet(&us, &at_first).dialing, Ok(first.id()));
    assert_eq!(us.take_changes(), None, "nothing new");

    let met = meet(&us, &later);
    assert_eq!((met.dialing, met.accepting), (Err(TlsFault::IdentityChanged), Err(TlsFault::Alert(46))));
    let text = us.refusal(remote()).unwrap().to_string();
    assert!(text.contains(&first.id().to_string()) && text.contains(&second.id().to_string()), "{text}");
    assert_eq!(us.take_changes(), None, "a refused identity is not remembered");

    let Trust::FirstUse(mut known) = us.trust() else { panic!() };
    assert_eq!(known.forget(remote()), Some(first.id()));
    us.set_trust(Trust::FirstUse(known));
    assert_eq!(meet(&us, &later).dialing, Ok(second.id()));
}

#[test]
fn who_dials_us_is_neither_remembered_nor_compared() {
    let us = tls(&Identity::generate().unwrap(), Trust::FirstUse(KnownIdentities::default()));
    for _ in 0..2 {
        let (identity, dialing) = anyone();
        assert_eq!(meet(&dialing, &us).accepting, Ok(identity.id()));
    }
    assert_eq!(us.take_changes(), None);
}

#[test]
fn an_identity_is_remembered_only_when_its_key_was_proven() {
    let (victim, thief) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let us = tls(&Identity::generate().unwrap(), Trust::FirstUse(KnownIdentities::default()));
    let accepting = tls(&thief, Trust::Any);
    let mut server = ServerConfig::clone(&accepting.server());
    let stolen = CertifiedKey::new(victim.certified().cert.clone(), Arc::clone(&thief.certified().key));
    server.cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
    let met = meet_as(us.client(remote()).0, &us, Arc::new(server), &accepting);
    assert_eq!(met.dialing, Err(TlsFault::BadSignature));
    assert_eq!(us.take_changes(), None);
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let (_, tls) = anyone();
    let mut config = ClientConfig::clone(&tls.client(remote()).0);
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    assert_eq!(meet_as(Arc::new(config), &tls, tls.server(), &tls).accepting, Err(TlsFault::NoCertificate));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_certificate_with_a_bit_wrong_anywhere_shows_the_key_that_is_proven_or_is_refused() {
    let identity = Identity::generate().unwrap();
    let key = || Arc::clone(&identity.certified().key);
    let good = identity.certificate();
    assert_eq!(show(vec![good.to_vec().into()], key()).accepting, Ok(identity.id()));
    let prefix = &crate::link::tls::identity::SPKI_PREFIX;
    let of_key = good.windows(prefix.len()).position(|bytes| bytes == prefix).unwrap() + prefix.len();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        let is_key = (of_key..of_key + 32).contains(&at);
        match show(vec![bad.into()], key()).accepting {
            // What it says beside the key is nothing to us, and its own signature neither.
            Ok(id) => assert!(id == identity.id() && !is_key, "byte {at}: {id}"),
            Err(TlsFault::BadSignature) => assert!(is_key, "byte {at}"),
            Err(fault) => {
                assert!(matches!(fault, TlsFault::BadCertificate | TlsFault::UnfitCertificate), "byte {at}: {fault:?}");
            }
        }
    }
    for bad in [&good[..1], &good[..good.len() - 1], &[], &[0; 300], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(show(vec![bad.to_vec().into()], key()).accepting, Err(TlsFault::BadCertificate));
    }
}

#[test]
fn a_key_that_is_not_the_certificates_proves_nothing() {
    let (victim, thief) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let met = show(victim.certified().cert.clone(), Arc::clone(&thief.certified().key));
    assert_eq!(met.accepting, Err(TlsFault::BadSignature));
}

#[test]
fn too_many_certificates_and_too_large_ones_are_refused_before_anything_is_computed() {
    let identity = Identity::generate().unwrap();
    let key = || Arc::clone(&identity.certified().key);
    let one = identity.certified().cert[0].clone();
    assert_eq!(show(vec![one.clone(); 2], key()).accepting, Err(TlsFault::UnfitCertificate));
    assert_eq!(show(vec![one.clone(); 5], key()).accepting, Err(TlsFault::BadCertificate));
    assert_eq!(show(vec![one, vec![0; 8192].into()], key()).accepting, Err(TlsFault::BadCertificate));
    assert_eq!(show(vec![vec![0x30; 60_000].into()], key()).accepting, Err(TlsFault::BadCertificate));
}

/// A self-signed certificate of another kind of key.
fn p256() -> (CertificateDer<'static>, Arc<dyn SigningKey>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["node".to_owned()]).unwrap().self_signed(&key).unwrap();
    (
        certificate.der().clone(),
        library().key_provider.load_private_key(key.serialize_der().try_into().unwrap()).unwrap(),
    )
}

fn library() -> CryptoProvider {
    crate::link::tls::provider::provider()
}

#[test]
fn a_node_has_an_ed25519_key_and_no_other() {
    let (certificate, key) = p256();
    // Its own library finds no scheme that it could sign with, and sends nothing.
    assert_eq!(show(vec![certificate.clone()], key).accepting, Err(TlsFault::NoCertificate));
    // One that sends it all the same gets no further.
    let any_key = Arc::clone(&Identity::generate().unwrap().certified().key);
    assert_eq!(show(vec![certificate], any_key).accepting, Err(TlsFault::UnfitCertificate));
}

/// A private authority, and what it signs.
struct Office {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Office {
    fn open() -> Self {
        Self::open_as("office")
    }

    fn open_as(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Office { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn trust(&self, names: &[&str]) -> Trust {
        Trust::Authority(Authority::from_pem(self.pem.as_bytes(), names).unwrap())
    }
}

#[test]
fn an_authority_vouches_for_both_sides() {
    let office = Office::open();
    let (one, two) = (office.sign("one.example", |_| ()), office.sign("192.0.2.7", |_| ()));
    for names in [&[][..], &["192.0.2.7", "one.example"]] {
        let met = meet(&tls(&one, office.trust(names)), &tls(&two, office.trust(names)));
        assert_eq!((met.dialing, met.accepting), (Ok(two.id()), Ok(one.id())), "{names:?}");
    }
    assert_ne!(one.id(), two.id());
}

#[test]
fn without_names_the_dialed_address_is_the_name_and_with_names_everybody_has_one() {
    let office = Office::open();
    let (one, two) = (office.sign("one.example", |_| ()), office.sign("two.example", |_| ()));
    let wrong = |met: Met| (met.dialing.err(), met.accepting.err());
    let met = meet(&tls(&one, office.trust(&[])), &tls(&two, office.trust(&[])));
    assert_eq!(wrong(met), (Some(TlsFault::WrongName), Some(TlsFault::Alert(42))));
    let met = meet(&tls(&one, office.trust(&["two.example"])), &tls(&two, office.trust(&["two.example"])));
    assert_eq!(wrong(met), (Some(TlsFault::Alert(42)), Some(TlsFault::WrongName)));
}

/// A node that was dialed by its name was asked for a certificate for its IP address, which no public name has.
#[test]
fn a_node_that_was_named_must_have_that_name_in_its_certificate() {
    let office = Office::open();
    let (us, them) = (office.sign("us", |_| ()), office.sign("two.example", |_| ()));
    let (us, there) = (tls(&us, office.trust(&[])), tls(&them, office.trust(&[])));
    us.expect_names(remote(), &["one.example", "two.example"]).unwrap();
    assert_eq!(meet(&us, &there).dialing, Ok(them.id()));
    us.expect_names(remote(), &["one.example"]).unwrap();
    assert_eq!(meet(&us, &there).dialing, Err(TlsFault::WrongName), "also when a session could be resumed");
    assert_eq!(us.expect_names(remote(), &["not a name"]), Err(TlsError::Name));
    us.expect_names::<&str>(remote(), &[]).unwrap();
    assert_eq!(meet(&us, &there).dialing, Err(TlsFault::WrongName), "by the address again");
}

#[test]
fn an_authority_refuses_strangers_dates_and_other_purposes() {
    let (office, other, namesake) = (Office::open(), Office::open_as("other"), Office::open());
    let us = tls(&office.sign("us", |_| ()), office.trust(&["us", "node"]));
    let refused = |identity: &Identity| {
        let them = tls(identity, Trust::Authority(Authority::from_pem(office.pem.as_bytes(), &["us"]).unwrap()));
        let (dialed, accepted) = (meet(&us, &them), meet(&them, &us));
        assert_eq!(dialed.dialing, accepted.accepting, "the same for whoever dials");
        assert!(matches!(accepted.dialing, Err(TlsFault::Alert(_))), "{:?}", accepted.dialing);
        dialed.dialing
    };
    let good = office.sign("node", |_| ());
    assert_eq!(meet(&us, &tls(&good, office.trust(&["us"]))).dialing, Ok(good.id()));
    assert_eq!(refused(&other.sign("node", |_| ())), Err(TlsFault::UnknownAuthority));
    // Found by this test: a root that was made anew under its old name read as a forged signature, which is misbehavior.
    assert_eq!(refused(&namesake.sign("node", |_| ())), Err(TlsFault::UnknownAuthority));
    let expired = office.sign("node", |params| params.not_after = date_time_ymd(2001, 1, 1));
    assert_eq!(refused(&expired), Err(TlsFault::ExpiredCertificate));
    let early = office.sign("node", |params| params.not_before = date_time_ymd(2999, 1, 1));
    assert_eq!(refused(&early), Err(TlsFault::ExpiredCertificate));
    let mail = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    };
    assert_eq!(refused(&office.sign("node", mail)), Err(TlsFault::UnfitCertificate));
    assert_eq!(refused(&Identity::generate().unwrap()), Err(TlsFault::UnknownAuthority));
}

#[test]
fn an_authoritys_certificates_are_wrapped_keys_to_everybody_else() {
    // Pins do not expire, but they are for node keys: a certificate of another kind is told apart from a malformed one.
    let identity = Office::open().sign("node", |_| ());
    let accepting = tls(&identity, Trust::Any);
    let (_, dialing) = anyone();
    let met = meet(&dialing, &accepting);
    assert!(matches!(met.dialing, Err(TlsFault::Alert(_) | TlsFault::UnfitCertificate)), "{:?}", met.dialing);
    assert_eq!(met.accepting, Err(TlsFault::NothingInCommon));
}

#[test]
fn dates_mean_nothing_without_an_authority() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let identity = Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let (_, dialing) = anyone();
    assert_eq!(meet(&dialing, &tls(&identity, Trust::Any)).dialing, Ok(identity.id()));
}

fn offering(protocols: &[&str]) -> Met {
    let ((_, dialing), (_, accepting)) = (anyone(), anyone());
    let mut config = ClientConfig::clone(&dialing.client(remote()).0);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    meet_as(Arc::new(config), &dialing, accepting.server(), &accepting)
}

#[test]
fn another_service_is_told_apart_from_another_version() {
    assert_eq!(offering(&["h2", "spacetime/1"]).accepting.map(drop), Ok(()));
    let fault = |protocols: &[&str]| {
        let met = offering(protocols);
        (met.accepting.unwrap_err(), met.dialing.unwrap_err())
    };
    assert_eq!(fault(&["h2", "http/1.1"]), (TlsFault::WrongService, TlsFault::Alert(120)));
    assert_eq!(fault(&["h2", "spacetime/9"]), (TlsFault::WrongVersion, TlsFault::Alert(120)));
    assert_eq!(fault(&["spacetime/9", "h2"]), (TlsFault::WrongVersion, TlsFault::Alert(120)));
    // TLS lets a server go on with a client that offers nothing; we do not.
    assert_eq!(fault(&[]).0, TlsFault::WrongService);
}

#[test]
fn a_server_without_our_protocol_is_another_service() {
    let ((_, dialing), (_, accepting)) = (anyone(), anyone());
    let mut config = ServerConfig::clone(&accepting.server());
    config.alpn_protocols.clear();
    let met = meet_as(dialing.client(remote()).0, &dialing, Arc::new(config), &accepting);
    assert_eq!(met.dialing, Err(TlsFault::WrongService));
}

#[test]
fn tls_1_2_is_spoken_only_when_asked_for() {
    let options = TlsOptions { tls12: true, ..TlsOptions::default() };
    let identity = Identity::generate().unwrap();
    let both = Tls::new(&identity, Trust::Any, options).unwrap();
    assert_eq!(meet(&both, &both).version, Some(ProtocolVersion::TLSv1_3), "the better one where both have it");

    let mut old = ClientConfig::builder_with_provider(Arc::new(library()))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&both.inner.verifier) as _)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    old.alpn_protocols = vec![PROTOCOLS[0].to_vec()];
    let old = Arc::new(old);
    let met = meet_as(Arc::clone(&old), &both, both.server(), &both);
    assert_eq!((met.dialing, met.accepting), (Ok(identity.id()), Ok(identity.id())));
    assert_eq!(met.version, Some(ProtocolVersion::TLSv1_2));

    let (_, strict) = anyone();
    let met = meet_as(old, &both, strict.server(), &strict);
    assert_eq!((met.dialing, met.accepting), (Err(TlsFault::Alert(70)), Err(TlsFault::NothingInCommon)));
}

#[test]
fn a_second_connection_resumes_the_first_and_is_judged_again() {
    let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (dialing, accepting) = (tls(&one, pinned(&[two.id()])), tls(&two, pinned(&[one.id()])));
    assert_eq!(meet(&dialing, &accepting).kind, Some(HandshakeKind::Full));
    let again = meet(&dialing, &accepting);
    assert_eq!(again.kind, Some(HandshakeKind::Resumed));
    assert_eq!((again.dialing, again.accepting), (Ok(two.id()), Ok(one.id())));

    accepting.set_trust(pinned(&[]));
    let after = meet(&dialing, &accepting);
    assert_eq!((after.kind, after.accepting), (Some(HandshakeKind::Resumed), Err(TlsFault::UnknownIdentity)));
    accepting.set_trust(pinned(&[one.id()]));
    dialing.set_trust(pinned(&[]));
    let after = meet(&dialing, &accepting);
    assert_eq!(after.dialing, Err(TlsFault::UnknownIdentity));
}

#[test]
fn nothing_is_remembered_where_resumption_is_off() {
    let identity = Identity::generate().unwrap();
    let tls = Tls::new(&identity, Trust::Any, TlsOptions { resumption: false, ..TlsOptions::default() }).unwrap();
    assert_eq!(meet(&tls, &tls).kind, Some(HandshakeKind::Full));
    assert_eq!(meet(&tls, &tls).kind, Some(HandshakeKind::Full));
}

#[test]
fn sessions_of_two_ports_of_one_host_are_not_mixed_up() {
    let ((_, us), (one, first), (two, second)) = (anyone(), anyone(), anyone());
    let other: SocketAddr = "192.0.2.7:8334".parse().unwrap();
    let visit = |address: SocketAddr, them: &Tls| {
        let (config, name) = us.client(address);
        let mut client = ClientConnection::new(config, name).unwrap();
        let mut server = ServerConnection::new(them.server()).unwrap();
        let (dialed, _) = run(&mut client, &mut server);
        dialed.unwrap();
        let certificates = client.peer_certificates().unwrap();
        us.verified(address, OUTBOUND, client.alpn_protocol(), certificates).unwrap().unwrap()
    };
    for _ in 0..2 {
        assert_eq!((visit(remote(), &first), visit(other, &second)), (one.id(), two.id()));
    }
}

#[test]
fn what_is_not_tls_is_called_so() {
    let (_, tls) = anyone();
    for text in ["GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "\0\0\0\x2a\x01\x02\x03\x04"] {
        let mut server = ServerConnection::new(tls.server()).unwrap();
        server.read_tls(&mut text.as_bytes()).unwrap();
        let error = server.process_new_packets().unwrap_err();
        assert_eq!(tls.fault(remote(), &error), TlsFault::NotTls, "{text}");
    }
}

#[test]
fn at_most_64_refusals_are_kept() {
    let (identity, us) = (Identity::generate().unwrap(), tls(&Identity::generate().unwrap(), pinned(&[])));
    let chain = identity.certified().cert.clone();
    for _ in 0..100 {
        us.verified(remote(), OUTBOUND, Some(PROTOCOLS[0]), &chain).unwrap_err();
    }
    assert_eq!(us.refusals().len(), 64);
    assert_eq!(us.take_refusals().len(), 64);
    assert_eq!(us.take_refusals(), []);
    us.verified(remote(), OUTBOUND, Some(PROTOCOLS[0]), &chain).unwrap_err();
    assert_eq!(us.take_refusals().len(), 1);
}

#[test]
fn what_cannot_be_read_is_refused_when_it_is_given_to_us() {
    let office = Office::open();
    let roots = |text: &str, names: &[&str]| Authority::from_pem(text.as_bytes(), names).unwrap_err();
    assert_eq!(roots("", &[]), TlsError::Roots);
    assert_eq!(roots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &[]), TlsError::Roots);
    assert_eq!(roots(&office.pem, &["a b"]), TlsError::Name);
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
    let identity =
        |certificate: &str, key: &str| Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert_eq!(identity("", &key.serialize_pem()), TlsError::Certificate);
    assert_eq!(identity(&certificate, ""), TlsError::Key);
    assert_eq!(identity(&certificate, &other.serialize_pem()), TlsError::KeyMismatch);
}

#[test]
fn every_pin_of_a_large_set_is_found() {
    let pins: BTreeSet<VerifiedId> = (0..=255).map(|byte| VerifiedId::from_bytes([byte; 32])).collect();
    let (identity, dialing) = anyone();
    let us = tls(&Identity::generate().unwrap(), Trust::Pinned(pins.iter().copied().chain([identity.id()]).collect()));
    assert_eq!(meet(&dialing, &us).accepting, Ok(identity.id()));
}
