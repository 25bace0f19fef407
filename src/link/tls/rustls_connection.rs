//! The one place that knows how a TLS library is driven: records opened in the caller's buffer, plaintext sealed into it.
//!
//! This is rustls's unbuffered interface, whose successor has other names for the same idea; nothing else may name it.
//! The library never sees a socket. What it wants to send by itself (the handshake's messages, the answer to a key
//! update, an alert) is appended to `out` as soon as it exists, and counts there as sent.
//!
//! Two rules of that interface are kept here. A record that is not discarded yet stays where it is, byte for byte, since
//! it may have been decrypted in place. And sealing first asks the library what it wants to send, for which it must be
//! shown those same bytes again.

use std::sync::Arc;

use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// Plaintext of a full record, in bytes.
pub(super) const RECORD: usize = 16 * 1024;

/// One end of a TLS connection.
pub(super) enum RustlsConnection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What [`RustlsConnection::open`] found.
pub(super) struct Opened {
    /// Bytes at the front of the input that are done with.
    pub(super) used: usize,
    pub(super) end: End,
}

/// Why [`RustlsConnection::open`] returned.
pub(super) enum End {
    /// It needs more bytes.
    More,
    /// The peer sent close_notify; what comes behind it means nothing.
    Closed,
    /// Whoever takes the plaintext wants no more of it.
    Refused,
    /// The connection can not go on. An alert may have been appended.
    Failed(Error),
}

/// What one step of the library came to.
enum Step {
    Again,
    Stop(End),
}

impl RustlsConnection {
    pub(super) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(RustlsConnection::Client)
    }

    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(RustlsConnection::Server)
    }

    fn common(&self) -> &CommonState {
        match self {
            RustlsConnection::Client(client) => client,
            RustlsConnection::Server(server) => server,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// What the peer showed of itself; empty before it did.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        self.common().peer_certificates().unwrap_or_default()
    }

    /// The protocol that both speak inside (ALPN).
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.common().alpn_protocol()
    }

    /// Opens the complete records at the front of `input` and shows their plaintext to `take`, which answers whether it wants
    /// more. What is left of `input` must come first next time, unchanged.
    pub(super) fn open(&mut self, input: &mut [u8], out: &mut Vec<u8>, take: &mut dyn FnMut(&[u8]) -> bool) -> Opened {
        let mut used = 0usize;
        loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            let (discard, step) = match self {
                RustlsConnection::Client(client) => opened(client.process_tls_records(rest), out, take),
                RustlsConnection::Server(server) => opened(server.process_tls_records(rest), out, take),
            };
            used = used.saturating_add(discard).min(input.len());
            match step {
                Step::Again => {}
                Step::Stop(end) => {
                    if matches!(end, End::Failed(_)) {
                        self.append_alert(out);
                    }
                    return Opened { used, end };
                }
            }
        }
    }

    /// Appends the alert that the library made of its error.
    fn append_alert(&mut self, out: &mut Vec<u8>) {
        // Asked for as long as there is one: without, the library would look for records where none are.
        while self.common().wants_write() {
            let step = match self {
                RustlsConnection::Client(client) => opened(client.process_tls_records(&mut []), out, &mut |_| false).1,
                RustlsConnection::Server(server) => opened(server.process_tls_records(&mut []), out, &mut |_| false).1,
            };
            if matches!(step, Step::Stop(_)) {
                return;
            }
        }
    }

    /// Appends what the library wants to send to `out`, which goes first, and then lets `fill` make records. `kept` is what
    /// [`RustlsConnection::open`] left of its input. Once the session is over, or before the handshake is done, `fill` is not called.
    pub(super) fn seal(&mut self, kept: &mut [u8], out: &mut Vec<u8>, fill: &mut Fill<'_>) -> Result<(), Error> {
        loop {
            let step = match self {
                RustlsConnection::Client(client) => sealed(client.process_tls_records(kept), out, fill),
                RustlsConnection::Server(server) => sealed(server.process_tls_records(kept), out, fill),
            };
            match step {
                Step::Again => {}
                Step::Stop(End::Failed(error)) => return Err(error),
                Step::Stop(_) => return Ok(()),
            }
        }
    }
}

/// Makes records by the first of its arguments; the second is what goes before them.
pub(super) type Fill<'f> = dyn FnMut(&mut dyn Seal, &mut Vec<u8>) -> Result<(), Error> + 'f;

/// Makes records.
pub(super) trait Seal {
    /// One record of at most [`RECORD`] bytes of plaintext into `room` from `at` on; answers its length.
    fn record(&mut self, plaintext: &[u8], room: &mut Vec<u8>, at: usize) -> Result<usize, Error>;
    /// Appends close_notify, behind which nothing may be sealed.
    fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), Error>;
}

impl<Data> Seal for WriteTraffic<'_, Data> {
    fn record(&mut self, plaintext: &[u8], room: &mut Vec<u8>, at: usize) -> Result<usize, Error> {
        within(room, at, |room| self.encrypt(plaintext, room))
    }

    fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let at = out.len();
        let count = within(out, at, |room| self.queue_close_notify(room))?;
        out.truncate(at.saturating_add(count));
        Ok(())
    }
}

/// Writes into `room` from `at` on, and makes room when it is told how much is missing.
fn within(
    room: &mut Vec<u8>,
    at: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, Error> {
    loop {
        match write(room.get_mut(at..).unwrap_or_default()) {
            Ok(count) => return Ok(count),
            Err(EncryptError::InsufficientSize(missing)) => room.resize(at.saturating_add(missing.required_size), 0),
            Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
        }
    }
}

fn opened<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> (usize, Step) {
    let mut discard = status.discard;
    let step = match status.state {
        Err(error) => Step::Stop(End::Failed(error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut step = Step::Again;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard = discard.saturating_add(record.discard);
                        if !take(record.payload) {
                            step = Step::Stop(End::Refused);
                            break;
                        }
                    }
                    Err(error) => {
                        step = Step::Stop(End::Failed(error));
                        break;
                    }
                }
            }
            step
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::Stop(End::Closed),
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Step::Stop(End::More),
        Ok(other) => transmit(other, out),
    };
    (discard, step)
}

fn sealed<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut Vec<u8>, fill: &mut Fill<'_>) -> Step {
    match status.state {
        Err(error) => Step::Stop(End::Failed(error)),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match fill(&mut traffic, out) {
            Ok(()) => Step::Stop(End::More),
            Err(error) => Step::Stop(End::Failed(error)),
        },
        // Both have ended it, or the handshake is not done: there is nothing to seal.
        Ok(ConnectionState::Closed | ConnectionState::BlockedHandshake) => Step::Stop(End::Closed),
        Ok(ConnectionState::PeerClosed) => Step::Again,
        Ok(other) => transmit(other, out),
    }
}

/// Appends what the library wants to send by itself.
fn transmit<Data>(state: ConnectionState<'_, '_, Data>, out: &mut Vec<u8>) -> Step {
    match state {
        ConnectionState::EncodeTlsData(mut message) => {
            let at = out.len();
            loop {
                match message.encode(out.get_mut(at..).unwrap_or_default()) {
                    Ok(_) => return Step::Again,
                    Err(EncodeError::InsufficientSize(missing)) => {
                        out.resize(at.saturating_add(missing.required_size), 0);
                    }
                    Err(EncodeError::AlreadyEncoded) => return Step::Again,
                }
            }
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Step::Again
        }
        // Early data is not enabled, and plaintext is not looked for here.
        _ => Step::Stop(End::Failed(Error::General("the TLS library is in a state that was not asked for".into()))),
    }
}
