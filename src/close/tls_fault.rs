//! What goes wrong in TLS, and whose doing that is.

use core::fmt;

use super::blame::Blame;

/// Why TLS ended a connection, or never let it begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsFault {
    // It breaks TLS, or shows a certificate that is no certificate.
    /// A record or a handshake message that TLS does not allow where it came.
    Protocol,
    /// A certificate that cannot be read, or too many of them, or too large.
    BadCertificate,
    /// A signature that the certificate's key did not make.
    BadSignature,
    /// More handshake bytes than any correct node needs.
    HandshakeTooLarge,

    // It is another service, or nobody whom we trust.
    /// What it sent is not TLS.
    NotTls,
    /// No TLS version, cipher suite, key exchange or signature scheme in common.
    NothingInCommon,
    /// We dialed it, and it begins TLS as a client itself: nobody there answers.
    AlsoClient,
    /// It offers no protocol of ours (ALPN).
    WrongService,
    /// It speaks our protocol in versions that we do not (ALPN).
    WrongVersion,
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate is expired or not valid yet.
    ExpiredCertificate,
    /// Its certificate is readable, but of a kind, for a purpose or with conditions that are not accepted here.
    UnfitCertificate,
    /// Its certificate is signed by none of the authorities that we trust.
    UnknownAuthority,
    /// Its certificate is for another name.
    WrongName,
    /// Its identity is none that we trust.
    UnknownIdentity,
    /// Its address was another identity's before.
    IdentityChanged,
    /// It ended the connection with this alert (RFC 8446, section 6): something of ours displeased it.
    Alert(u8),

    // The network, or its silence, ended it.
    /// The handshake took too long.
    HandshakeTimeout,
    /// The stream ended without TLS's close_notify: it may have been cut.
    Cut,
    /// The stream that we dialed ended before a byte came: whoever is there turns us away, or is no TLS service.
    Unanswered,
    /// Whoever we dialed turned us away before the handshake: it has no place for us, or is stopping.
    TurnedAway,
    /// A record is not as the holder of the key sealed it: it was changed on its way, or put in by somebody else.
    Tampered,

    // Our own doing.
    /// The crypto library failed: no randomness, no clock.
    Internal,
}

impl TlsFault {
    /// Whose doing it is.
    pub const fn blame(self) -> Blame {
        use TlsFault::*;
        match self {
            Protocol | BadCertificate | BadSignature | HandshakeTooLarge => Blame::Misbehaved,
            NotTls | NothingInCommon | AlsoClient | WrongService | WrongVersion | NoCertificate
            | ExpiredCertificate | UnfitCertificate | UnknownAuthority | WrongName | UnknownIdentity
            | IdentityChanged | Alert(1..) => Blame::Incompatible,
            // Alert 0 is close_notify.
            Alert(0) | HandshakeTimeout | Cut | Unanswered | TurnedAway | Tampered => Blame::Lost,
            Internal => Blame::Ours,
        }
    }

    /// A word for counters and logs; one for each variant.
    pub const fn label(self) -> &'static str {
        use TlsFault::*;
        match self {
            Protocol => "tls-protocol",
            BadCertificate => "tls-bad-certificate",
            BadSignature => "tls-bad-signature",
            HandshakeTooLarge => "tls-handshake-too-large",
            NotTls => "tls-not-tls",
            NothingInCommon => "tls-nothing-in-common",
            AlsoClient => "tls-also-client",
            WrongService => "tls-wrong-service",
            WrongVersion => "tls-wrong-version",
            NoCertificate => "tls-no-certificate",
            ExpiredCertificate => "tls-expired-certificate",
            UnfitCertificate => "tls-unfit-certificate",
            UnknownAuthority => "tls-unknown-authority",
            WrongName => "tls-wrong-name",
            UnknownIdentity => "tls-unknown-identity",
            IdentityChanged => "tls-identity-changed",
            Alert(_) => "tls-alert",
            HandshakeTimeout => "tls-handshake-timeout",
            Cut => "tls-cut",
            Unanswered => "tls-unanswered",
            TurnedAway => "tls-turned-away",
            Tampered => "tls-tampered",
            Internal => "tls-internal",
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TlsFault::*;
        let text = match self {
            Protocol => "it broke the TLS protocol",
            BadCertificate => "its certificate is malformed or too large",
            BadSignature => "its certificate is wrongly signed, or it does not hold the certificate's key",
            HandshakeTooLarge => "its TLS handshake is too large",
            NotTls => "it does not speak TLS; switch TLS on there or off here",
            NothingInCommon => {
                "no TLS version, cipher, key exchange or kind of key in common; nodes need TLS 1.3 and, without an \
                 authority, an Ed25519 key"
            }
            AlsoClient => {
                "it listens, but begins TLS as a client, as the C# library's listener does: nobody can dial it with TLS; have it \
                 dial us, or run both without TLS"
            }
            WrongService => "it is another service; check the address",
            WrongVersion => {
                "it is a spacetime node of another protocol version, or one that is dialed without wss:// at its port for WebSocket; update \
                 the older of the two, or give the URL"
            }
            NoCertificate => {
                "it showed no certificate, or has none of a kind accepted here; it must present its node key"
            }
            ExpiredCertificate => "its certificate is expired or not valid yet; renew it there, or set the clock here",
            UnfitCertificate => {
                "its certificate is not of an accepted kind; nodes use Ed25519 and sign it themselves, unless both trust \
                 an authority, whose certificates must allow server authentication where a node is dialed and client \
                 authentication where it dials"
            }
            UnknownAuthority => "its certificate is signed by no trusted authority; check the authority's file",
            WrongName => "its certificate is for another name; check the address and the expected name",
            UnknownIdentity => "its identity is not among the trusted ones; add it if it is the right node",
            IdentityChanged => {
                "its address had another identity before; if its operator changed the key, forget the old one"
            }
            // The alerts by which a peer says that it does not accept our certificate, in the order of their numbers.
            Alert(40 | 71) => {
                "no cipher, key exchange or kind of key in common; nodes use Ed25519 keys, unless both trust an authority"
            }
            Alert(42) => {
                "it refused our certificate as malformed or for another name; compare its names with our address"
            }
            Alert(10) => "it does not speak TLS; switch TLS on there or off here",
            Alert(43 | 51) => "it refused our certificate as of the wrong kind; both sides must trust in the same way",
            Alert(45) => "our certificate is expired or not valid yet; renew it, or set the clock there",
            Alert(44 | 46 | 49) => "it does not trust our identity; have our node id added there",
            Alert(48) => "it trusts no authority that signed our certificate; both sides must trust the same",
            Alert(70) => "no TLS version in common; both sides need TLS 1.3",
            Alert(116) => "it wants a certificate, and has got none of a kind that it accepts",
            Alert(120) => {
                "it is another service, a spacetime node of another protocol version, or its port for WebSocket (wss://)"
            }
            Alert(0) => "it closed the connection (close_notify) before the TLS handshake was done",
            Alert(number) => return write!(f, "it refused with TLS alert {number}"),
            HandshakeTimeout => "the TLS handshake took too long",
            Cut => "the connection was cut: it ended without TLS's close_notify",
            Unanswered => {
                "closed before the TLS handshake began; the node turns us away, as when it is full, or does not speak TLS: try \
                 again later"
            }
            TurnedAway => "it turned us away: it has no place for us, or is stopping; try again later",
            Tampered => "bytes were changed on their way, or put in by somebody else",
            Internal => "the crypto library failed; look at the clock and the randomness of this machine",
        };
        f.write_str(text)
    }
}
