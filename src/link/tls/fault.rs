//! Faults and rustls's errors, there and back: what an error says about the other side, and which alert a refusal becomes.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, HandshakeType, InvalidMessage, OtherError, PeerMisbehaved};

use crate::close::TlsFault;
use crate::link::tls::alpn::{Offer, last_offer};
use crate::link::tls::refusal::Refused;

/// What an error of rustls says about the other side.
pub(super) fn fault_of(error: &Error) -> TlsFault {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFault::NotTls,
        Error::InvalidMessage(
            InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge,
        ) => TlsFault::HandshakeTooLarge,
        Error::NoCertificatesPresented => TlsFault::NoCertificate,
        Error::InappropriateHandshakeMessage { got_type: HandshakeType::ClientHello, .. } => TlsFault::AlsoClient,
        Error::InvalidCertificate(error) => fault_of_certificate(error),
        Error::PeerIncompatible(_) => TlsFault::NothingInCommon,
        Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => TlsFault::WrongService,
        // Nobody cancels but who turns a stranger away before the handshake.
        Error::AlertReceived(AlertDescription::UserCanceled) => TlsFault::TurnedAway,
        Error::AlertReceived(alert) => TlsFault::Alert(u8::from(*alert)),
        // Whoever can put a byte into the stream can do this to a peer, and the key has proven that it was not the peer.
        Error::DecryptError => TlsFault::Tampered,
        Error::NoApplicationProtocol => match last_offer() {
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

/// The refusal that an error carries, if it is one of ours.
pub(super) fn refused_by(error: &Error) -> Refused {
    let refused = match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref::<Refused>().copied(),
        _ => None,
    };
    refused.unwrap_or_else(|| fault_of(error).into())
}

impl From<Refused> for Error {
    /// As rustls's own error where it has one, for that decides which alert the other side gets.
    fn from(refused: Refused) -> Error {
        Error::InvalidCertificate(match refused.fault {
            TlsFault::BadCertificate => CertificateError::BadEncoding,
            TlsFault::BadSignature => CertificateError::BadSignature,
            TlsFault::ExpiredCertificate => CertificateError::Expired,
            TlsFault::UnfitCertificate => CertificateError::InvalidPurpose,
            TlsFault::UnknownAuthority => CertificateError::UnknownIssuer,
            TlsFault::WrongName => CertificateError::NotValidForName,
            _ => CertificateError::Other(OtherError(Arc::new(refused))),
        })
    }
}
