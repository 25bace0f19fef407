//! Peers that cut, that stall, that speak something else, and that do without end what TLS allows once.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, DigitallySignedStruct, ExtractedSecrets,
    ProtocolVersion, ServerConfig, ServerConnection, SignatureScheme, SupportedCipherSuite,
};

use super::*;
use crate::limits::HANDSHAKE_BYTES;

/// Trusts whoever signs.
#[derive(Debug)]
pub(super) struct Credulous(WebPkiSupportedAlgorithms);

impl Credulous {
    pub(super) fn like(config: &ClientConfig) -> Self {
        Credulous(config.crypto_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The other end of a stream after its handshake, with its keys laid open: it sends any record it likes.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    fn new(suite: Option<SupportedCipherSuite>, secrets: ExtractedSecrets) -> Self {
        let Some(SupportedCipherSuite::Tls13(suite)) = suite else { panic!("it is TLS 1.3") };
        let (sequence, keys) = secrets.tx;
        let encrypter = match keys {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => suite.aead_alg.encrypter(key, iv),
            _ => panic!("an unknown cipher"),
        };
        let mut forger = Forger { encrypter, sequence: 0 };
        // Some libraries insist on counting from the first record.
        (0..sequence).for_each(|_| drop(forger.record(ContentType::ApplicationData, &[])));
        forger
    }

    /// A client, and the server of ours that it shook hands with.
    fn client() -> (Self, End) {
        let (client, server) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
        let (config, name) = client.client(remote());
        let mut config = ClientConfig::clone(&config);
        config.enable_secret_extraction = true;
        let mut foreign = ClientConnection::new(config.into(), name).unwrap();
        let mut ours = End::new(&server, Direction::Inbound);
        shake(&mut ours, &mut foreign);
        let suite = foreign.negotiated_cipher_suite();
        (Forger::new(suite, foreign.dangerous_extract_secrets().unwrap()), ours)
    }

    /// A server, and the client of ours that it shook hands with.
    fn server() -> (Self, End) {
        let (client, server) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
        let mut config = ServerConfig::clone(&server.server());
        config.enable_secret_extraction = true;
        let mut foreign = ServerConnection::new(config.into()).unwrap();
        let mut ours = End::new(&client, OUTBOUND);
        shake(&mut ours, &mut foreign);
        let suite = foreign.negotiated_cipher_suite();
        (Forger::new(suite, foreign.dangerous_extract_secrets().unwrap()), ours)
    }

    fn record(&mut self, typ: ContentType, content: &[u8]) -> Vec<u8> {
        let version = ProtocolVersion::TLSv1_2;
        let message = OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(content) };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap().encode();
        self.sequence += 1;
        record
    }
}

fn shake<D: rustls::SideData>(ours: &mut End, foreign: &mut ConnectionCommon<D>) {
    loop {
        ours.flush(WriteSide::Open);
        let theirs = core::mem::take(&mut ours.wire);
        let mut rest = &theirs[..];
        while !rest.is_empty() {
            foreign.read_tls(&mut rest).unwrap();
            foreign.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while foreign.wants_write() {
            foreign.write_tls(&mut wire).unwrap();
        }
        if wire.is_empty() && theirs.is_empty() {
            break;
        }
        ours.receive(&wire);
    }
    assert!(!ours.link.transport.is_securing() && !foreign.is_handshaking());
}

/// The records of a flight.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some(len) = record_len_of(bytes) {
        let (record, rest) = bytes.split_at(len);
        records.push(record);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    records
}

fn record_len_of(bytes: &[u8]) -> Option<usize> {
    Some(5 + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])))
}

/// Sends one record after another until the stream ends; answers how many it took and what came of it.
fn exhaust(ours: &mut End, most: usize, mut next: impl FnMut() -> Vec<u8>) -> (usize, TlsFault) {
    for sent in 0..most {
        if let Some(end) = ours.end() {
            return (sent, end.unwrap_err());
        }
        ours.receive(&next());
        assert!(ours.link.held() <= 2 * (HANDSHAKE_BYTES + 18_437), "{} bytes are held", ours.link.held());
        assert!(ours.link.transport.unsent() <= 4096, "{} bytes wait", ours.link.transport.unsent());
    }
    panic!("nothing ends it");
}

#[test]
fn the_forger_is_understood() {
    for (mut forger, mut ours) in [Forger::client(), Forger::server()] {
        let record = forger.record(ContentType::ApplicationData, &[2, 0, 0, 0, 7, 9]);
        ours.receive(&record);
        assert_eq!(ours.frames, [(7, vec![9])]);
    }
}

#[test]
fn empty_records_without_end_are_a_breach() {
    let (mut forger, mut ours) = Forger::client();
    let (sent, fault) = exhaust(&mut ours, 1000, || forger.record(ContentType::ApplicationData, &[]));
    assert!(sent <= 64, "{sent}");
    assert_eq!(fault, TlsFault::Protocol);
}

#[test]
fn key_updates_without_end_are_a_breach() {
    let (client, server) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
    let (config, name) = client.client(remote());
    let mut foreign = ClientConnection::new(config, name).unwrap();
    let mut ours = End::new(&server, Direction::Inbound);
    shake(&mut ours, &mut foreign);
    let (sent, fault) = exhaust(&mut ours, 1000, || {
        foreign.refresh_traffic_keys().unwrap();
        let mut wire = Vec::new();
        foreign.write_tls(&mut wire).unwrap();
        wire
    });
    assert!(sent <= 64, "{sent}");
    assert_eq!(fault, TlsFault::Protocol);
}

#[test]
fn one_key_update_changes_the_keys_of_both_directions() {
    let (client, server) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
    let (config, name) = client.client(remote());
    let mut foreign = ClientConnection::new(config, name).unwrap();
    let mut ours = End::new(&server, Direction::Inbound);
    shake(&mut ours, &mut foreign);
    foreign.refresh_traffic_keys().unwrap();
    // What follows is sealed with the new keys, in both directions, and ours begins with the answer.
    talk_to_buffered(&mut ours, &mut foreign);
}

#[test]
fn warnings_without_end_are_a_breach() {
    let (mut forger, mut ours) = Forger::client();
    let user_canceled = [1, 90];
    let (sent, fault) = exhaust(&mut ours, 1000, || forger.record(ContentType::Alert, &user_canceled));
    assert!(sent <= 16, "{sent}");
    assert_eq!(fault, TlsFault::Protocol);
}

#[test]
fn tickets_without_end_are_a_breach() {
    let (mut forger, mut ours) = Forger::server();
    let mut ticket = vec![4, 0, 0, 213, 0, 0, 1, 0, 1, 2, 3, 4, 0, 0, 200];
    ticket.extend_from_slice(&[7; 200]);
    ticket.extend_from_slice(&[0, 0]);
    let (sent, fault) = exhaust(&mut ours, 1000, || forger.record(ContentType::Handshake, &ticket));
    assert!((10..=HANDSHAKE_BYTES / 200).contains(&sent), "{sent}: some are fine");
    assert_eq!(fault, TlsFault::Protocol);
}

#[test]
fn a_message_of_tls_itself_that_never_ends_is_a_breach() {
    for size in [1, 1000, 16_384] {
        let (mut forger, mut ours) = Forger::client();
        // A key update of 65,000 bytes, begun over and over by its pieces.
        let mut first = vec![24, 0, 0xfd, 0xe8];
        let (sent, fault) = exhaust(&mut ours, 20_000, || {
            let mut piece = core::mem::take(&mut first);
            piece.resize(size.max(piece.len()), 0);
            forger.record(ContentType::Handshake, &piece)
        });
        assert_eq!(fault, TlsFault::HandshakeTooLarge, "{size}");
        assert!(sent * (size + 22) <= HANDSHAKE_BYTES + 2 * 16_500, "{sent} records of {size}");
    }
}

/// Found by fuzzing: the session was shown the start of a record for the first time when something was sealed, took it for
/// a breach, and was asked again.
#[test]
fn the_start_of_what_is_no_record_is_found_when_it_comes_and_not_by_the_next_who_seals() {
    for (start, needed) in [(&[99_u8, 3, 3, 0][..], 1), (&[23, 9, 9, 0], 3), (&[23, 3, 3, 0xff, 0xff, 0], 5)] {
        for size in 1..=start.len() {
            let (_, mut ours) = Forger::client();
            let mut taken = 0;
            for piece in start.chunks(size) {
                if ours.end().is_none() {
                    ours.receive(piece);
                    taken += piece.len();
                }
            }
            assert_eq!(ours.end(), Some(Err(TlsFault::Protocol)), "{start:?} by {size}");
            assert!(taken < needed + size, "{taken} of {start:?} by {size}");
            ours.send(1, &[1; 100]);
            ours.flush(WriteSide::Open);
            ours.flush(WriteSide::Closing);
            assert_eq!(ours.link.outbox.queued_frames(), 1);
        }
    }
}

#[test]
fn an_alert_says_why_the_peer_left() {
    let (mut forger, mut ours) = Forger::client();
    let record = forger.record(ContentType::Alert, &[2, 49]);
    ours.receive(&record);
    assert_eq!(ours.end(), Some(Err(TlsFault::Alert(49))));
    assert!(!ours.link.transport.owes_close_notify(), "there is nobody to send close_notify to");
}

/// It was a breach of the peer's, whose key proves that it did not send this: with a byte in each KiB changed on its way,
/// honest nodes blacklisted each other.
#[test]
fn a_record_that_was_changed_ends_it_and_is_not_held_against_the_peer() {
    let (mut one, mut two) = End::open_pair();
    one.send(1, &[1; 100]);
    one.flush(WriteSide::Open);
    let mut wire = core::mem::take(&mut one.wire);
    wire[20] ^= 1;
    two.receive(&wire);
    assert_eq!(two.end(), Some(Err(TlsFault::Tampered)));
    assert_eq!(TlsFault::Tampered.blame(), crate::close::Blame::Lost);
    assert!(two.frames.is_empty());
    two.send(1, &[1; 100]);
    two.flush(WriteSide::Closing);
    assert_eq!(two.link.outbox.queued_frames(), 1, "frames leave no more");
    one.receive(&core::mem::take(&mut two.wire));
    assert_eq!(one.end(), Some(Err(TlsFault::Alert(20))));
}

#[test]
fn a_cut_an_alert_or_garbage_after_any_record_of_the_handshake_ends_it_and_frees_all() {
    // The handshake as one end sees it, record by record, until there is no further record.
    let play = |breaks_at: usize, outbound: bool, how: &dyn Fn(&mut End)| -> bool {
        let (mut one, mut two) = End::pair();
        let mut seen = 0;
        loop {
            one.flush(WriteSide::Open);
            two.flush(WriteSide::Open);
            let (there, back) = (core::mem::take(&mut one.wire), core::mem::take(&mut two.wire));
            if there.is_empty() && back.is_empty() {
                return false;
            }
            let (victim, theirs, other, ours) =
                if outbound { (&mut one, back, &mut two, there) } else { (&mut two, there, &mut one, back) };
            for record in records(&theirs) {
                if seen == breaks_at {
                    if !victim.link.transport.is_securing() {
                        return false;
                    }
                    how(victim);
                    let Transport::Tls(stream) = &mut victim.link.transport else { panic!("it is TLS") };
                    assert_eq!(stream.tail.capacity(), 0);
                    stream.clear(&mut victim.pool);
                    assert_eq!(victim.pool.queued_bytes(), 0);
                    return true;
                }
                victim.receive(record);
                seen += 1;
            }
            other.receive(&ours);
        }
    };
    let cut = |end: &mut End| assert_eq!(end.link.transport.end(), None, "a socket that ends now was cut");
    let alert = |end: &mut End| {
        end.receive(&[21, 3, 3, 0, 2, 2, 40]);
        assert!(
            matches!(end.end(), Some(Err(TlsFault::Alert(40) | TlsFault::Protocol | TlsFault::Tampered))),
            "{:?}",
            end.end()
        );
    };
    let garbage = |end: &mut End| {
        end.receive(&[22, 3, 3, 0, 6, 99, 0, 0, 2, 1, 2]);
        assert!(matches!(end.end(), Some(Err(TlsFault::Protocol | TlsFault::Tampered))), "{:?}", end.end());
    };
    let ways: [&dyn Fn(&mut End); 3] = [&cut, &alert, &garbage];
    for outbound in [true, false] {
        for how in ways {
            let steps = (0..).take_while(|at| play(*at, outbound, how)).count();
            assert!(steps >= 2, "{steps} records make no handshake");
        }
    }
}

#[test]
fn a_hello_in_tiny_records_passes_as_far_as_the_limit_goes() {
    for size in [1, 3, 500] {
        let (mut one, mut two) = End::pair();
        one.flush(WriteSide::Open);
        let hello = core::mem::take(&mut one.wire);
        for record in records(&hello) {
            for part in record[5..].chunks(size) {
                let mut small = vec![22, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
                small.extend_from_slice(part);
                small.iter().for_each(|byte| two.receive(&[*byte]));
            }
        }
        assert_eq!(two.end(), None, "pieces of {size}");
        converse(&mut one, &mut two, |bytes| bytes.len());
        assert!(!two.link.transport.is_securing() && two.link.held() == 0, "pieces of {size}");
    }
}

#[test]
fn a_handshake_without_end_ends_at_its_limit() {
    for size in [1, 100, 16_384] {
        let (_, mut two) = End::pair();
        // The hello claims 65,000 bytes.
        let mut first = vec![1, 0, 0xfd, 0xe8];
        let mut fed = 0;
        while two.end().is_none() {
            let mut part = core::mem::take(&mut first);
            part.resize(size.max(part.len()), 0);
            let mut record = vec![22, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
            record.extend_from_slice(&part);
            let room = two.link.transport.room();
            record.truncate(room);
            fed += record.len();
            two.receive(&record);
            assert!(two.link.held() <= 2 * HANDSHAKE_BYTES);
        }
        assert_eq!((two.end(), fed), (Some(Err(TlsFault::HandshakeTooLarge)), HANDSHAKE_BYTES), "pieces of {size}");
        assert_eq!(two.link.held(), 0);
    }
}

#[test]
fn what_is_not_tls_is_refused_at_its_first_bytes_and_not_answered() {
    let plain_frame = [60, 0, 0, 0, 1];
    for (bytes, needed) in [(&b"GET / HTTP/1.1"[..], 1), (b"SSH-2.0-x", 1), (&plain_frame, 1), (b"\x16\x03\x09xx", 3)] {
        for outbound in [true, false] {
            let (one, two) = End::pair();
            let mut end = if outbound { one } else { two };
            end.flush(WriteSide::Open);
            end.wire.clear();
            let mut taken = 0;
            for byte in bytes {
                if end.end().is_some() {
                    break;
                }
                end.receive(&[*byte]);
                taken += 1;
            }
            assert_eq!((end.end(), taken), (Some(Err(TlsFault::NotTls)), needed), "{bytes:?}");
            assert_eq!(end.link.transport.unsent(), 0);
        }
    }
}
