//! Why a connection ends, as a value, and the one place that says what follows from it.
//!
//! Assertions are about ourselves; these are about peers, networks and operators. [`CloseReason::blame`] sorts them,
//! [`CloseReason::consequence`] turns them into a score, a last_error and whether to dial again.

mod blame;
mod proxy_fault;
mod tls_fault;
mod web_socket_fault;

use core::fmt;
use std::io;

pub use self::blame::Blame;
pub use self::proxy_fault::ProxyFault;
pub use self::tls_fault::TlsFault;
pub use self::web_socket_fault::WebSocketFault;
use crate::wire::{DecodeError, Foreign, FrameError, Kind};

/// Every reason for which a connection, or an attempt at one, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    // The peer misbehaved: what it sent can not come from a correct node.
    /// Bytes that can never be a frame.
    Frame(FrameError),
    /// A frame whose payload breaks its layout.
    Payload(Kind, DecodeError),
    /// A frame that has no place here: wrong direction, before the handshake, or a second handshake.
    Unexpected(Kind),
    /// A second handshake with another identity.
    IdentityChanged,
    /// A block that nobody asked for.
    UnrequestedBlock,
    /// An answer that breaks the rules of its request.
    BadAnswer(Kind),
    /// A block, header, transaction or proof that the chain refuses.
    Invalid(Kind),
    /// More of something than any correct node sends.
    Flooding(Kind),
    /// The id in the handshake is not the one that TLS has proven.
    IdentityMismatch,

    // TLS: the fault knows whose doing it is.
    /// The security layer ended it.
    Tls(TlsFault),
    /// WebSocket ended it, or never began.
    WebSocket(WebSocketFault),
    /// The proxy made no connection of the dial.
    Proxy(ProxyFault),

    // The peer is merely incompatible.
    /// It announced a version below 1.
    VersionTooLow(i32),
    /// It is on another chain.
    WrongNetwork,
    /// It is ourselves.
    SelfConnection,
    /// Another connection to the same node is kept.
    DuplicateConnection,

    // The network, or the peer's silence, ended it.
    /// The peer closed the stream between two frames.
    RemoteClosed,
    /// The stream ended in the middle of a frame: a line that was cut, or a process that died.
    TruncatedFrame,
    /// The operating system reported an error on the socket.
    Io(io::ErrorKind),
    /// The dial took too long.
    DialTimeout,
    /// The handshake took too long.
    HandshakeTimeout,
    /// Nothing was received for too long.
    IdleTimeout,
    /// A ping was not answered in time.
    PingTimeout,
    /// The peer stopped in the middle of a frame, or sent it too slowly.
    FrameTimeout,
    /// The peer did not read for too long.
    WriteTimeout,
    /// A request was not answered in time, again and again.
    RequestTimeout,

    // Our own doing: no fault of the peer.
    /// Asked for by the embedder or the operator.
    Requested,
    /// The node is stopping.
    Shutdown,
    /// A limit on connections is reached.
    LimitReached,
    /// The peer is blacklisted.
    Blacklisted,
    /// We ran out of descriptors or memory.
    LocalResource(io::ErrorKind),
    /// A client that does not introduce itself said more of this than it may. It has no place among peers, and no reputation.
    ClientTooFast(Kind),
    /// The purpose of the connection is fulfilled.
    Done,
}

/// Whether an address is worth another dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Redial {
    /// After the usual back-off.
    Later,
    /// Not in this run.
    Never,
}

/// What follows from a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consequence {
    /// Counts as one consecutive failure and costs 2 points of reputation.
    pub counts_as_failure: bool,
    /// The text of the Error frame to send first, if any; at most 1024 bytes.
    pub last_error: Option<&'static str>,
    /// Whether to dial the address again.
    pub redial: Redial,
    /// Whether the place of one who dialed us and ends so before it has introduced itself was wasted on it: it broke the rules or
    /// speaks another protocol, and counts for nothing in the rate at which strangers are let in.
    pub wastes_its_place: bool,
}

impl CloseReason {
    /// Every word that [`label`](Self::label) may say: a program that counts by them has so many rows, whatever strangers do.
    #[rustfmt::skip]
    pub const LABELS: [&'static str; 83] = [
        "foreign-protocol", "bad-frame", "bad-payload", "unexpected-message", "truncated-frame", "identity-changed",
        "unrequested-block", "bad-answer", "invalid-data", "flooding", "identity-mismatch", "version-too-low",
        "wrong-network", "self-connection", "duplicate-connection", "remote-closed", "io-error", "dial-timeout",
        "handshake-timeout", "idle-timeout", "ping-timeout", "frame-timeout", "write-timeout", "request-timeout",
        "requested", "shutdown", "limit-reached", "blacklisted", "local-resource", "client-too-fast", "done", "tls-protocol",
        "tls-bad-certificate", "tls-bad-signature", "tls-handshake-too-large", "tls-not-tls",
        "tls-nothing-in-common", "tls-also-client", "tls-wrong-service", "tls-wrong-version", "tls-no-certificate",
        "tls-expired-certificate", "tls-unfit-certificate", "tls-unknown-authority", "tls-wrong-name",
        "tls-unknown-identity", "tls-identity-changed", "tls-alert", "tls-handshake-timeout", "tls-cut",
        "tls-unanswered", "tls-turned-away", "tls-tampered", "tls-internal", "ws-not-an-upgrade", "ws-origin-refused",
        "ws-refused", "ws-bad-upgrade", "ws-upgrade-timeout", "ws-cut", "ws-protocol", "ws-text", "ws-bad-text",
        "ws-too-large", "ws-flooding", "proxy-unreachable", "proxy-silent", "proxy-cut", "proxy-not-socks", "proxy-no-method",
        "proxy-credentials-refused", "proxy-protocol", "proxy-no-connect", "proxy-failed", "proxy-not-allowed",
        "proxy-address-kind", "proxy-dropped", "proxy-no-target", "proxy-network-unreachable", "proxy-host-unreachable",
        "proxy-refused", "proxy-expired", "proxy-other",
    ];

    /// Whose doing the close is.
    pub const fn blame(self) -> Blame {
        use CloseReason::*;
        match self {
            // It is at the wrong door. Only the beginning of a stream is taken for another protocol: whoever has said one frame of
            // ours is held to our rules.
            Frame(FrameError::Foreign(_)) => Blame::Incompatible,
            Frame(_) | Payload(..) | Unexpected(_) | IdentityChanged | UnrequestedBlock | BadAnswer(_) | Invalid(_)
            | Flooding(_) | IdentityMismatch => Blame::Misbehaved,
            Tls(fault) => fault.blame(),
            WebSocket(fault) => fault.blame(),
            Proxy(fault) => fault.blame(),
            VersionTooLow(_) | WrongNetwork | SelfConnection | DuplicateConnection => Blame::Incompatible,
            RemoteClosed | TruncatedFrame | Io(_) | DialTimeout | HandshakeTimeout | IdleTimeout | PingTimeout
            | FrameTimeout | WriteTimeout | RequestTimeout => Blame::Lost,
            Requested | Shutdown | LimitReached | Blacklisted | LocalResource(_) | ClientTooFast(_) | Done => {
                Blame::Ours
            }
        }
    }

    /// What follows from the close: the only map from reasons to consequences.
    pub const fn consequence(self) -> Consequence {
        use CloseReason::*;
        let counts_as_failure = match self.blame() {
            Blame::Misbehaved => true,
            Blame::Incompatible | Blame::Ours => false,
            // A clean close is no failure: peers may leave.
            Blame::Lost => !matches!(self, RemoteClosed | Tls(TlsFault::TurnedAway)),
        };
        let last_error = match self {
            Frame(FrameError::Foreign(Foreign::Unknown)) => Some("not a frame of this protocol"),
            Frame(FrameError::Length(_)) => Some("bad frame length"),
            Frame(FrameError::UnknownType(_)) => Some("unknown message type"),
            Frame(FrameError::Oversize { .. }) => Some("frame too large for its type"),
            Frame(FrameError::Pieces(_) | FrameError::Compressed(_)) => Some("bad piece or compressed frame"),
            Payload(..) => Some("malformed payload"),
            Unexpected(_) => Some("unexpected message"),
            IdentityChanged => Some("identity changed"),
            UnrequestedBlock => Some("block was not asked for"),
            BadAnswer(_) => Some("answer breaks the rules of its request"),
            Invalid(_) => Some("invalid data"),
            Flooding(_) | ClientTooFast(_) => Some("too many messages"),
            IdentityMismatch => Some("node id is not the certificate's"),
            VersionTooLow(_) => Some("protocol version not supported"),
            WrongNetwork => Some("wrong network"),
            DuplicateConnection => Some("already connected"),
            Tls(TlsFault::NotTls) => Some("this node wants TLS"),
            LimitReached => Some("too many connections"),
            HandshakeTimeout => Some("handshake timed out"),
            IdleTimeout => Some("nothing received for too long"),
            PingTimeout => Some("ping not answered"),
            Shutdown => Some("shutting down"),
            _ => None,
        };
        let redial = match self {
            SelfConnection | WrongNetwork => Redial::Never,
            _ => Redial::Later,
        };
        let is_at_the_wrong_door = match self {
            Frame(FrameError::Foreign(_)) | Tls(TlsFault::NotTls) => true,
            WebSocket(fault) => fault.is_at_the_wrong_door(),
            _ => false,
        };
        let wastes_its_place = is_at_the_wrong_door || matches!(self.blame(), Blame::Misbehaved);
        Consequence { counts_as_failure, last_error, redial, wastes_its_place }
    }

    /// A word for counters and logs; one for each variant.
    pub const fn label(self) -> &'static str {
        use CloseReason::*;
        match self {
            Frame(FrameError::Foreign(_)) => "foreign-protocol",
            Frame(_) => "bad-frame",
            Payload(..) => "bad-payload",
            Unexpected(_) => "unexpected-message",
            TruncatedFrame => "truncated-frame",
            IdentityChanged => "identity-changed",
            UnrequestedBlock => "unrequested-block",
            BadAnswer(_) => "bad-answer",
            Invalid(_) => "invalid-data",
            Flooding(_) => "flooding",
            IdentityMismatch => "identity-mismatch",
            Tls(fault) => fault.label(),
            WebSocket(fault) => fault.label(),
            Proxy(fault) => fault.label(),
            VersionTooLow(_) => "version-too-low",
            WrongNetwork => "wrong-network",
            SelfConnection => "self-connection",
            DuplicateConnection => "duplicate-connection",
            RemoteClosed => "remote-closed",
            Io(_) => "io-error",
            DialTimeout => "dial-timeout",
            HandshakeTimeout => "handshake-timeout",
            IdleTimeout => "idle-timeout",
            PingTimeout => "ping-timeout",
            FrameTimeout => "frame-timeout",
            WriteTimeout => "write-timeout",
            RequestTimeout => "request-timeout",
            Requested => "requested",
            Shutdown => "shutdown",
            LimitReached => "limit-reached",
            Blacklisted => "blacklisted",
            LocalResource(_) => "local-resource",
            ClientTooFast(_) => "client-too-fast",
            Done => "done",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CloseReason::*;
        match self {
            Frame(error) => write!(f, "{error}"),
            Payload(kind, error) => write!(f, "malformed {}: {error}", kind.name()),
            Unexpected(kind) => write!(f, "unexpected {}", kind.name()),
            TruncatedFrame => f.write_str("closed in the middle of a frame"),
            BadAnswer(kind) => write!(f, "{} breaks the rules of its request", kind.name()),
            Invalid(kind) => write!(f, "invalid {}", kind.name()),
            Flooding(kind) => write!(f, "too many {} messages", kind.name()),
            ClientTooFast(kind) => write!(f, "too many {} messages of a client", kind.name()),
            VersionTooLow(version) => write!(f, "protocol version {version} is below 1"),
            IdentityMismatch => f.write_str("the node id in its handshake is not its certificate's"),
            Tls(fault) => write!(f, "TLS: {fault}"),
            WebSocket(fault) => write!(f, "WebSocket: {fault}"),
            Proxy(fault) => write!(f, "the proxy: {fault}"),
            RemoteClosed => f.write_str("closed by the peer"),
            Io(kind) => write!(f, "{kind}"),
            LocalResource(kind) => write!(f, "local resources: {kind}"),
            other => f.write_str(other.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{compressed::CompressedFault, pieces::PieceFault};

    /// Every reason, with one of each of what it carries. A new one does not compile until it stands here.
    fn every_reason() -> Vec<CloseReason> {
        use CloseReason::*;
        let next = |reason: Option<CloseReason>| {
            Some(match reason {
                None => Frame(FrameError::Length(0)),
                Some(Frame(FrameError::Length(_))) => Frame(FrameError::UnknownType(9)),
                Some(Frame(FrameError::UnknownType(_))) => Frame(FrameError::Oversize { kind: 1, len: 9 }),
                Some(Frame(FrameError::Oversize { .. })) => Frame(FrameError::Foreign(Foreign::ALL[0])),
                Some(Frame(FrameError::Foreign(foreign))) => {
                    match Foreign::ALL.iter().skip_while(|other| **other != foreign).nth(1) {
                        Some(next) => Frame(FrameError::Foreign(*next)),
                        None => Frame(FrameError::Pieces(PieceFault::Small)),
                    }
                }
                Some(Frame(FrameError::Pieces(_))) => Frame(FrameError::Compressed(CompressedFault::Block)),
                Some(Frame(FrameError::Compressed(_))) => Payload(Kind::Ping, DecodeError::Trailing),
                Some(Payload(..)) => Unexpected(Kind::Ping),
                Some(Unexpected(_)) => TruncatedFrame,
                Some(TruncatedFrame) => IdentityChanged,
                Some(IdentityChanged) => UnrequestedBlock,
                Some(UnrequestedBlock) => BadAnswer(Kind::Headers),
                Some(BadAnswer(_)) => Invalid(Kind::Block),
                Some(Invalid(_)) => Flooding(Kind::Ping),
                Some(Flooding(_)) => IdentityMismatch,
                Some(IdentityMismatch) => VersionTooLow(0),
                Some(VersionTooLow(_)) => WrongNetwork,
                Some(WrongNetwork) => SelfConnection,
                Some(SelfConnection) => DuplicateConnection,
                Some(DuplicateConnection) => RemoteClosed,
                Some(RemoteClosed) => Io(io::ErrorKind::ConnectionReset),
                Some(Io(_)) => DialTimeout,
                Some(DialTimeout) => HandshakeTimeout,
                Some(HandshakeTimeout) => IdleTimeout,
                Some(IdleTimeout) => PingTimeout,
                Some(PingTimeout) => FrameTimeout,
                Some(FrameTimeout) => WriteTimeout,
                Some(WriteTimeout) => RequestTimeout,
                Some(RequestTimeout) => Requested,
                Some(Requested) => Shutdown,
                Some(Shutdown) => LimitReached,
                Some(LimitReached) => Blacklisted,
                Some(Blacklisted) => LocalResource(io::ErrorKind::Other),
                Some(LocalResource(_)) => ClientTooFast(Kind::GetPeers),
                Some(ClientTooFast(_)) => Done,
                Some(Done) => Tls(TlsFault::Protocol),
                Some(Tls(fault)) => match after(fault) {
                    Some(next) => Tls(next),
                    None => WebSocket(WebSocketFault::ALL[0]),
                },
                Some(WebSocket(fault)) => {
                    match WebSocketFault::ALL.iter().skip_while(|other| **other != fault).nth(1) {
                        Some(next) => WebSocket(*next),
                        None => Proxy(ProxyFault::ALL[0]),
                    }
                }
                Some(Proxy(fault)) => Proxy(*ProxyFault::ALL.iter().skip_while(|other| **other != fault).nth(1)?),
            })
        };
        core::iter::successors(next(None), |reason| next(Some(*reason))).collect()
    }

    fn after(fault: TlsFault) -> Option<TlsFault> {
        use TlsFault::*;
        Some(match fault {
            Protocol => BadCertificate,
            BadCertificate => BadSignature,
            BadSignature => HandshakeTooLarge,
            HandshakeTooLarge => NotTls,
            NotTls => NothingInCommon,
            NothingInCommon => AlsoClient,
            AlsoClient => WrongService,
            WrongService => WrongVersion,
            WrongVersion => NoCertificate,
            NoCertificate => ExpiredCertificate,
            ExpiredCertificate => UnfitCertificate,
            UnfitCertificate => UnknownAuthority,
            UnknownAuthority => WrongName,
            WrongName => UnknownIdentity,
            UnknownIdentity => IdentityChanged,
            IdentityChanged => Alert(0),
            Alert(0) => Alert(40),
            Alert(_) => HandshakeTimeout,
            HandshakeTimeout => Cut,
            Cut => Unanswered,
            Unanswered => TurnedAway,
            TurnedAway => Tampered,
            Tampered => Internal,
            Internal => return None,
        })
    }

    /// The whole table: whose doing a reason is, and whether it counts as a failure. Only misbehaviour leads to a ban.
    #[test]
    fn every_reason_has_its_blame_and_its_consequence() {
        use CloseReason::*;
        let mut labels = std::collections::BTreeMap::new();
        for reason in every_reason() {
            let blame = match reason {
                Frame(FrameError::Foreign(_)) => Blame::Incompatible,
                Frame(_) | Payload(..) | Unexpected(_) | IdentityChanged | UnrequestedBlock | BadAnswer(_)
                | Invalid(_) | Flooding(_) | IdentityMismatch => Blame::Misbehaved,
                VersionTooLow(_) | WrongNetwork | SelfConnection | DuplicateConnection => Blame::Incompatible,
                Requested | Shutdown | LimitReached | Blacklisted | LocalResource(_) | ClientTooFast(_) | Done => {
                    Blame::Ours
                }
                Tls(
                    TlsFault::Protocol
                    | TlsFault::BadCertificate
                    | TlsFault::BadSignature
                    | TlsFault::HandshakeTooLarge,
                ) => Blame::Misbehaved,
                Tls(
                    TlsFault::Alert(0)
                    | TlsFault::HandshakeTimeout
                    | TlsFault::Cut
                    | TlsFault::Unanswered
                    | TlsFault::TurnedAway
                    | TlsFault::Tampered,
                ) => Blame::Lost,
                Tls(TlsFault::Internal) => Blame::Ours,
                Tls(_) => Blame::Incompatible,
                WebSocket(
                    WebSocketFault::NotAnUpgrade
                    | WebSocketFault::OriginRefused
                    | WebSocketFault::Refused(_)
                    | WebSocketFault::BadUpgrade,
                ) => Blame::Incompatible,
                WebSocket(WebSocketFault::UpgradeTimeout | WebSocketFault::Cut) => Blame::Lost,
                WebSocket(_) => Blame::Misbehaved,
                Proxy(
                    ProxyFault::NetworkUnreachable
                    | ProxyFault::HostUnreachable
                    | ProxyFault::Refused
                    | ProxyFault::Expired
                    | ProxyFault::Other(_),
                ) => Blame::Lost,
                Proxy(_) => Blame::Ours,
                _ => Blame::Lost,
            };
            let consequence = reason.consequence();
            assert_eq!(reason.blame(), blame, "{reason:?}");
            let polite = matches!(reason, RemoteClosed | Tls(TlsFault::TurnedAway));
            let fails = blame == Blame::Misbehaved || (blame == Blame::Lost && !polite);
            assert_eq!(consequence.counts_as_failure, fails, "{reason:?}");
            let wrong_door = matches!(
                reason,
                Frame(FrameError::Foreign(_))
                    | Tls(TlsFault::NotTls)
                    | WebSocket(WebSocketFault::NotAnUpgrade | WebSocketFault::OriginRefused)
            );
            assert_eq!(consequence.wastes_its_place, wrong_door || blame == Blame::Misbehaved, "{reason:?}");
            let never = matches!(reason, SelfConnection | WrongNetwork);
            assert_eq!(consequence.redial == Redial::Never, never, "{reason:?}");
            assert!(consequence.last_error.is_none_or(|text| text.len() <= 1024 && !text.is_empty()), "{reason:?}");
            assert!(!reason.to_string().is_empty());
            let same = labels.insert(reason.label(), reason);
            let shared = matches!(reason, Frame(_) | Tls(TlsFault::Alert(_)));
            assert!(same.is_none() || shared, "{reason:?} has the label of {same:?}");
        }
        assert_eq!(
            Vec::from_iter(labels.into_keys()),
            std::collections::BTreeSet::from(CloseReason::LABELS).into_iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn our_own_reasons_cost_the_peer_nothing() {
        for reason in
            [CloseReason::Shutdown, CloseReason::LimitReached, CloseReason::LocalResource(io::ErrorKind::Other)]
        {
            assert_eq!(reason.blame(), Blame::Ours);
            assert!(!reason.consequence().counts_as_failure);
        }
    }

    #[test]
    fn a_violation_counts_and_a_clean_close_does_not() {
        assert!(CloseReason::Frame(FrameError::Length(0)).consequence().counts_as_failure);
        assert!(CloseReason::TruncatedFrame.consequence().counts_as_failure);
        assert!(!CloseReason::RemoteClosed.consequence().counts_as_failure);
        assert_eq!(CloseReason::WrongNetwork.consequence().last_error, Some("wrong network"));
        assert_eq!(CloseReason::SelfConnection.consequence().redial, Redial::Never);
    }
}
