//! Why a peer is not reached or not let in, as a cause and a remedy that fit how this node runs.

use std::io;
use std::path::{Path, PathBuf};

use spacetime_network::admit::CROWDED;
use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::id::VerifiedId;
use spacetime_network::link::tls::TlsRefusal;

/// Our side of TLS, as far as a remedy depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// Who we are.
    pub(crate) id: VerifiedId,
    /// The directory in which first use remembers.
    pub(crate) directory: Option<PathBuf>,
    /// Whether an authority decides (`--tls ca`), which leaves no place for pins.
    pub(crate) by_authority: bool,
    /// Whether the next process here is the same one for others.
    pub(crate) is_lasting: bool,
}

impl Ours {
    /// A refusal, by us or of us, with what the operator needs: both ids, and which flag or file to change.
    pub(crate) fn refusal(&self, refusal: &TlsRefusal) -> String {
        let TlsRefusal { remote, fault, expected, seen } = refusal;
        let ours = self.id;
        match (fault, expected, seen) {
            (TlsFault::IdentityChanged, Some(expected), Some(seen)) => {
                let directory = self.directory.as_deref().map_or_else(|| "DIR".to_owned(), quoted);
                format!(
                    "its identity was {expected} and is now {seen}; if its operator changed the key, run spacetime-node \
                     forget {remote} --data-dir {directory}, else somebody is in its place"
                )
            }
            (TlsFault::UnknownIdentity, _, Some(seen)) => {
                format!("its identity {seen} is not pinned; if it is the right node, add --pin {seen}")
            }
            (TlsFault::Alert(44 | 46 | 49), ..) if self.by_authority => {
                format!("it does not accept our identity {ours}; see that it runs with --tls ca, too")
            }
            (TlsFault::Alert(44 | 46 | 49), ..) if !self.is_lasting => {
                "it does not trust our identity, which was made for this question alone; give --data-dir DIR to keep one, and \
                 have that pinned there (spacetime-node id --data-dir DIR/client)"
                    .to_owned()
            }
            (TlsFault::Alert(44 | 46 | 49), ..) => format!(
                "it does not trust our identity {ours}; if it pins, have --pin {ours} added there; if it had met another \
                 identity at our address, have that forgotten there (spacetime-node forget)"
            ),
            _ => self.of_kind(*fault).map_or_else(|| fault.to_string(), str::to_owned),
        }
    }

    /// What depends on the kind of trust, not on identities. `None` where the fault says all there is to say.
    fn of_kind(&self, fault: TlsFault) -> Option<&'static str> {
        Some(match (fault, self.by_authority) {
            (TlsFault::UnfitCertificate, true) => {
                "its certificate is not fit: it must allow server authentication where that node is dialed, and client \
                 authentication where it dials; have a better one signed"
            }
            (TlsFault::UnfitCertificate, false) => {
                "its certificate is not a node's own with an Ed25519 key; if it runs with --tls ca, use that on both \
                 sides or on neither"
            }
            (TlsFault::NoCertificate, _) => {
                "it showed no certificate, or has none of a kind accepted here: it must present its node key; those who have \
                 none, as programs of .NET, are let in by --tls-clients optional, with --tls any or --tls ca"
            }
            (TlsFault::UnknownAuthority, _) => {
                "its certificate is signed by no trusted authority; compare our --ca with who signed it, and see that it \
                 runs with --tls ca, too"
            }
            (TlsFault::Alert(42), true) => {
                "it refused our certificate as malformed or for another name; compare the names in our --tls-cert with \
                 our address, or with --tls-name there"
            }
            (TlsFault::Alert(43 | 51), true) => {
                "it refused our certificate as not fit; ours must allow client authentication where we dial and server \
                 authentication where we are dialed, and the other side must run with --tls ca, too"
            }
            (TlsFault::Alert(48), true) => {
                "it trusts no authority that signed our certificate; compare --ca there with who signed our --tls-cert"
            }
            (TlsFault::Alert(42 | 43 | 48 | 51), false) => {
                "it does not accept a node's own certificate; if it runs with --tls ca, use that on both sides or on \
                 neither"
            }
            (TlsFault::NothingInCommon | TlsFault::Alert(40 | 71 | 116), true) => {
                "no TLS version, cipher, key exchange or kind of key in common; without --tls ca it takes Ed25519 keys \
                 only: use --tls ca on both sides; who dials with TLS 1.2 alone needs --tls-min 1.2 at the node"
            }
            (TlsFault::NothingInCommon | TlsFault::Alert(40 | 71 | 116), false) => {
                "no TLS version, cipher, key exchange or kind of key in common; it needs TLS 1.3 and an Ed25519 key, or \
                 --tls ca on both sides; who has no certificate and TLS 1.2 alone needs --tls-min 1.2 and --tls-clients \
                 optional at the node"
            }
            _ => return None,
        })
    }
}

/// What a node says last when it ends a connection. It knows better than we why it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerError {
    /// It has no place for us.
    Full,
    /// It has no place for more of our address.
    Crowded,
    /// It stops.
    Stopping,
    /// It knows us by another connection.
    AlreadyConnected,
    /// Something that an operator should know of.
    Other,
}

impl PeerError {
    /// The meaning of an Error frame's text.
    pub(crate) fn of(text: &str) -> Self {
        let is = |reason: CloseReason| reason.consequence().last_error == Some(text);
        match text {
            _ if is(CloseReason::LimitReached) => PeerError::Full,
            CROWDED => PeerError::Crowded,
            _ if is(CloseReason::Shutdown) => PeerError::Stopping,
            _ if is(CloseReason::DuplicateConnection) => PeerError::AlreadyConnected,
            _ => PeerError::Other,
        }
    }
}

/// Why a connection ended: our reason, and what the other side said.
pub(crate) fn ended(reason: CloseReason, said: Option<&str>) -> String {
    match said {
        None => reason.to_string(),
        Some(text) if reason == CloseReason::RemoteClosed => format!("it left, saying \"{text}\""),
        Some(text) => format!("{reason}, after it said \"{text}\""),
    }
}

/// What to do about a connection that could not be had, or did not last. What the other side said decides; with `secured`, TLS
/// was to be spoken.
pub(crate) fn remedy(reason: CloseReason, said: Option<&str>, secured: bool) -> &'static str {
    let is = |text: &str, reason: CloseReason| reason.consequence().last_error == Some(text);
    match (said.map(PeerError::of), reason) {
        (Some(PeerError::Full), _) => "it is full: try again later, or allow more --max-connections there",
        // All that TLS lets be said before its handshake.
        (None, CloseReason::Tls(TlsFault::TurnedAway)) => {
            "it is there, and has no place for this address at present: try again later; there, allow more --max-connections, \
             or have the address exempted (--exempt) if many come from it"
        }
        (Some(PeerError::Crowded), _) => {
            "too many connections from this address: try again later and less often, or have it exempted there (--exempt)"
        }
        (Some(PeerError::Stopping), _) => "try again when it runs",
        (Some(PeerError::AlreadyConnected), _) => "it is connected already, by another address",
        (Some(PeerError::Other), _) if said.is_some_and(|said| is(said, CloseReason::WrongNetwork)) => {
            of_reason(CloseReason::WrongNetwork, secured)
        }
        (Some(PeerError::Other), _) if said.is_some_and(|said| is(said, CloseReason::VersionTooLow(0))) => {
            "update the older of the two"
        }
        (Some(PeerError::Other), _) if said.is_some_and(|said| is(said, CloseReason::IdentityMismatch)) => {
            "our greeting and our certificate disagree; restart with one --data-dir"
        }
        (Some(PeerError::Other), _) if said.is_some_and(|said| is(said, CloseReason::Tls(TlsFault::NotTls))) => {
            "give --tls here, as it has"
        }
        (Some(PeerError::Other), _) => "look into its log",
        (None, _) => of_reason(reason, secured),
    }
}

fn of_reason(reason: CloseReason, secured: bool) -> &'static str {
    match reason {
        CloseReason::Io(io::ErrorKind::ConnectionRefused) => "check the address and that a node is listening there",
        CloseReason::Io(io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {
            "this machine has no address or no free port to dial from; look whether IPv6 is switched off here"
        }
        CloseReason::DialTimeout | CloseReason::Io(_) => "check the address and the network between",
        CloseReason::RemoteClosed if !secured => {
            "it may be full, stopping, not a spacetime node, or want TLS: try --tls"
        }
        CloseReason::RemoteClosed => "it may be full, stopping or not a spacetime node",
        CloseReason::HandshakeTimeout if !secured => {
            "check that it is a spacetime node; if it is one with TLS, give --tls"
        }
        CloseReason::IdentityMismatch => "it greets under an id that is not its key's; do not trust it",
        CloseReason::SelfConnection => {
            "it is this very node, or another one with our key or our id: each needs its own"
        }
        CloseReason::WrongNetwork => "compare --difficulty and --reward with what it runs with",
        // What TLS answers to a plain greeting reads as an impossible frame.
        CloseReason::Frame(_) if !secured => {
            "check that it is a spacetime node; if it is one with TLS, give the same --tls"
        }
        CloseReason::LimitReached => "allow more --max-connections, or dial fewer nodes",
        CloseReason::LocalResource(_) => "free some files and memory, then try again",
        CloseReason::Proxy(fault) if fault.is_of_all_dials() => {
            "it is the one of --proxy, and nobody is dialed past it"
        }
        CloseReason::Proxy(_) => "check the address; the proxy's log may say more",
        _ => "check that it is a spacetime node",
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | ':' | '@');
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(by_authority: bool) -> Ours {
        Ours {
            id: VerifiedId::from_bytes([0xaa; 32]),
            directory: Some("a b/client".into()),
            by_authority,
            is_lasting: true,
        }
    }

    fn explain(by_authority: bool, fault: TlsFault, expected: Option<u8>, seen: Option<u8>) -> String {
        let id = |byte: u8| VerifiedId::from_bytes([byte; 32]);
        let remote = "192.0.2.7:8333".parse().unwrap();
        ours(by_authority).refusal(&TlsRefusal { remote, fault, expected: expected.map(id), seen: seen.map(id) })
    }

    #[test]
    fn an_operator_is_told_both_ids_and_what_to_change() {
        let text = explain(false, TlsFault::IdentityChanged, Some(1), Some(2));
        for part in [&"01".repeat(32), &"02".repeat(32), "forget 192.0.2.7:8333 --data-dir 'a b/client'"] {
            assert!(text.contains(part), "{text}");
        }
        let text = explain(false, TlsFault::UnknownIdentity, None, Some(2));
        assert!(text.ends_with(&format!("add --pin {}", "02".repeat(32))), "{text}");
        let text = explain(false, TlsFault::Alert(46), None, None);
        assert!(text.contains(&format!("--pin {}", "aa".repeat(32))) && text.contains("forget"), "{text}");
    }

    #[test]
    fn a_key_that_nobody_keeps_is_not_worth_a_pin() {
        let ours = Ours { is_lasting: false, ..ours(false) };
        let remote = "192.0.2.7:8333".parse().unwrap();
        let refusal = TlsRefusal { remote, fault: TlsFault::Alert(46), expected: None, seen: None };
        let text = ours.refusal(&refusal);
        assert!(text.contains("--data-dir DIR") && !text.contains("--pin"), "{text}");
    }

    /// Once a node with a certificate was told to have itself pinned, which `--tls ca` rejects.
    #[test]
    fn an_authority_leaves_no_place_for_pins() {
        for alert in 0..=u8::MAX {
            let text = explain(true, TlsFault::Alert(alert), None, None);
            assert!(!text.contains("--pin"), "{alert}: {text}");
        }
        assert!(explain(true, TlsFault::Alert(48), None, None).contains("compare --ca there"));
        assert!(explain(true, TlsFault::Alert(42), None, None).contains("--tls-name there"));
        assert!(explain(true, TlsFault::Alert(43), None, None).contains("client authentication"));
    }

    /// Once an RSA key was answered with "both sides need TLS 1.3", which both had.
    #[test]
    fn a_key_of_another_kind_is_not_taken_for_an_old_tls() {
        for fault in [TlsFault::NothingInCommon, TlsFault::Alert(40)] {
            let text = explain(false, fault, None, None);
            assert!(text.contains("Ed25519 key") && !text.contains("both sides need TLS 1.3"), "{text}");
        }
        assert!(explain(false, TlsFault::Alert(70), None, None).contains("TLS 1.3"));
    }

    /// A node of another network had said "wrong network", and the remedy was that it might be full, or want TLS.
    #[test]
    fn what_the_other_side_said_last_decides_the_remedy() {
        for (said, part) in [
            (Some("wrong network"), "--difficulty and --reward"),
            (Some("too many connections"), "it is full"),
            (Some("too many connections from this address"), "try again later and less often"),
            (Some("shutting down"), "when it runs"),
            (Some("already connected"), "by another address"),
            (Some("protocol version not supported"), "update the older"),
            (Some("this node wants TLS"), "give --tls here"),
            (Some("go away"), "its log"),
            (None, "try --tls"),
        ] {
            let text = remedy(CloseReason::RemoteClosed, said, false);
            assert!(text.contains(part), "{said:?}: {text}");
        }
        assert_eq!(ended(CloseReason::RemoteClosed, Some("go away")), "it left, saying \"go away\"");
        assert_eq!(ended(CloseReason::RemoteClosed, None), "closed by the peer");
        let turned_away = CloseReason::Tls(TlsFault::TurnedAway);
        assert!(remedy(turned_away, None, true).contains("no place for this address at present"));
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_cut_it() {
        for (path, text) in [("/a/b-1", "/a/b-1"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")] {
            assert_eq!(quoted(Path::new(path)), text);
        }
    }
}
