//! rustls by its own unbuffered interface, with the same crypto library and the same records: the floor.
//!
//! It seals four records, writes them, and looks at what it opens; it knows no frames and keeps no queue.

use std::hint::black_box;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use spacetime_network::link::tls::identity::Identity;

use super::{Carry, Wire, anyone, provider};

const RECORD: usize = 16 * 1024;
/// Records that are sealed before they are written.
const ROUND: usize = 4;

pub(crate) struct BareRustls {
    from: UnbufferedClientConnection,
    to: UnbufferedServerConnection,
    plaintext: Vec<u8>,
    sealed: Vec<u8>,
    wire: Wire,
}

impl BareRustls {
    pub(crate) fn new(size: usize, frames: usize) -> Self {
        let provider = Arc::new(provider::provider());
        let key = Identity::generate_pkcs8().unwrap();
        let certificate = CertificateDer::from(Identity::from_pkcs8(&key).unwrap().certificate().to_vec());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key).unwrap())
            .unwrap();
        let client = anyone::trusting(provider).with_no_client_auth();
        let mut from = UnbufferedClientConnection::new(client.into(), "peer.invalid".try_into().unwrap()).unwrap();
        let mut to = UnbufferedServerConnection::new(server.into()).unwrap();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while from.is_handshaking() || to.is_handshaking() || !there.is_empty() || !back.is_empty() {
            let mut used = 0;
            while step(from.process_tls_records(&mut back[used..]), &mut there, &mut used, &mut 0) {}
            back.drain(..used);
            used = 0;
            while step(to.process_tls_records(&mut there[used..]), &mut back, &mut used, &mut 0) {}
            there.drain(..used);
        }
        let plaintext = (0..frames * (size + 5)).map(|index| (index * 31 + 7) as u8).collect();
        BareRustls { from, to, plaintext, sealed: vec![0; ROUND * (RECORD + 64)], wire: Wire::new() }
    }
}

/// What one answer of the library asks for. True when it is to be asked again.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Vec<u8>,
    used: &mut usize,
    opened: &mut usize,
) -> bool {
    *used += status.discard;
    match status.state.unwrap() {
        ConnectionState::EncodeTlsData(mut message) => {
            let at = output.len();
            output.resize(at + 16_384, 0);
            let count = message.encode(&mut output[at..]).unwrap();
            output.truncate(at + count);
        }
        ConnectionState::TransmitTlsData(sent) => sent.done(),
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record.unwrap();
                *used += record.discard;
                *opened += black_box(record.payload).len();
            }
        }
        _ => return false,
    }
    true
}

impl Carry for BareRustls {
    fn carry(&mut self) {
        let BareRustls { from, to, plaintext, sealed, wire } = self;
        let mut opened = 0;
        let mut open = |wire: &mut Wire| {
            let input = wire.read();
            let mut used = 0;
            while step(to.process_tls_records(&mut input[used..]), &mut Vec::new(), &mut used, &mut opened) {}
            assert_eq!(used, input.len());
        };
        for round in plaintext.chunks(ROUND * RECORD) {
            let ConnectionState::WriteTraffic(mut traffic) = from.process_tls_records(&mut []).state.unwrap() else {
                panic!("it may write");
            };
            let mut len = 0;
            for record in round.chunks(RECORD) {
                len += traffic.encrypt(record, &mut sealed[len..]).unwrap();
            }
            // Only complete records are written, so that the other end keeps no tails.
            if !wire.fits(len) {
                open(wire);
            }
            assert_eq!(wire.write(&sealed[..len]), len);
        }
        open(wire);
        assert_eq!(opened, plaintext.len());
    }
}
