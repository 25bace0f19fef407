//! Why those who dialed a node are no peers of it, by count: a node alone that turns its friends away must not say that nobody came.

use std::collections::BTreeMap;
use std::time::Duration;

use spacetime_network::close::{Blame, CloseReason, TlsFault};
use spacetime_network::time::Instant;
use spacetime_network::wire::{Foreign, FrameError};

use crate::logging::LineLimit;

/// Time between two lines about those who come with another setting of TLS, for each of the two.
const LINE_EVERY: Duration = Duration::from_secs(3600);

const PLAIN: &str = "for plain text, where we want TLS (give --tls there, or leave it out here)";
const TLS: &str = "for TLS, where we want plain text (give --tls here, or leave it out there)";

/// Who was not let in since there was a peer last.
#[derive(Debug, Default)]
pub(crate) struct NotLetIn {
    by_kind: BTreeMap<&'static str, u64>,
    lines: BTreeMap<&'static str, LineLimit>,
}

impl NotLetIn {
    /// A connection that another opened ended before its greeting was done.
    pub(crate) fn failed(&mut self, reason: CloseReason) {
        self.count(kind(reason));
    }

    /// The limit of this label kept somebody out.
    pub(crate) fn turned_away(&mut self, label: &str) {
        self.count(match label {
            "stopping" => None,
            "blacklisted" => Some("for a ban"),
            "connections" | "inbound" | "pending" => Some("for want of a place (--max-connections)"),
            _ => Some("for coming too often, or too many from one place"),
        });
    }

    fn count(&mut self, kind: Option<&'static str>) {
        if let Some(kind) = kind {
            let count = self.by_kind.entry(kind).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// There is a peer.
    pub(crate) fn clear(&mut self) {
        self.by_kind.clear();
    }

    /// How many were not let in, and why, the most frequent reason first.
    pub(crate) fn summary(&self) -> Option<String> {
        let all = self.by_kind.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let mut kinds: Vec<(&str, u64)> = self.by_kind.iter().map(|(kind, count)| (*kind, *count)).collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        (all > 0).then(|| format!("{all} tried to connect and were not let in: {}", kinds.join(", ")))
    }

    /// Whether one who dialed us has another setting of TLS than we have, and that is to be said: with lines withheld.
    pub(crate) fn first_line(
        &mut self,
        now: Instant,
        outbound: bool,
        reason: CloseReason,
    ) -> Option<(&'static str, Option<u64>)> {
        let kind = kind(reason).filter(|kind| !outbound && [PLAIN, TLS].contains(kind))?;
        let line = self.lines.entry(kind).or_insert_with(|| LineLimit::new(1, LINE_EVERY));
        line.admit(now).map(|withheld| (kind, withheld))
    }
}

/// What the operator may want to know of one who is no peer; nothing of those who are no loss.
fn kind(reason: CloseReason) -> Option<&'static str> {
    use CloseReason::{
        Blacklisted, Done, DuplicateConnection, Frame, LimitReached, LocalResource, Requested, SelfConnection,
        Shutdown, Tls, VersionTooLow, WrongNetwork,
    };
    Some(match reason {
        Done | DuplicateConnection | Requested | SelfConnection | Shutdown => return None,
        Tls(TlsFault::NotTls) => PLAIN,
        Frame(FrameError::Foreign(Foreign::TlsHello | Foreign::TlsAlert)) => TLS,
        Frame(FrameError::Foreign(_)) => "for being no node (a health check, or another program)",
        WrongNetwork => "for another network (compare --difficulty and --reward)",
        VersionTooLow(_) => "for too old a version",
        Tls(TlsFault::UnknownIdentity) => "for an identity that is not pinned (--pin)",
        Tls(TlsFault::IdentityChanged) => "for another identity than they had before (spacetime-node forget)",
        Tls(TlsFault::Alert(1..)) => "for what they did not accept of us in TLS (--tls must be the same on both sides)",
        Blacklisted => "for a ban",
        LimitReached => "for want of a place (--max-connections)",
        LocalResource(_) => "for want of files or memory here",
        _ => match reason.blame() {
            Blame::Misbehaved => "for breaking the protocol",
            Blame::Incompatible => "for TLS that does not fit ours (--tls must be the same on both sides)",
            Blame::Lost | Blame::Ours => "for leaving, or saying nothing, before they had greeted",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_were_not_let_in_are_counted_by_reason_until_there_is_a_peer() {
        let mut refused = NotLetIn::default();
        assert_eq!(refused.summary(), None);
        refused.failed(CloseReason::Done);
        refused.turned_away("stopping");
        assert_eq!(refused.summary(), None, "who only asked, and those whom a node that stops sends away");
        refused.failed(CloseReason::WrongNetwork);
        (0..3).for_each(|_| refused.failed(CloseReason::Tls(TlsFault::NotTls)));
        refused.turned_away("rate-per-ip");
        refused.turned_away("blacklisted");
        let text = refused.summary().unwrap();
        assert!(text.starts_with(&format!("6 tried to connect and were not let in: 3 {PLAIN}, 1 for ")), "{text}");
        assert!(text.contains("1 for another network (compare --difficulty and --reward)"), "{text}");
        assert!(text.contains("1 for a ban") && text.contains("1 for coming too often"), "{text}");
        refused.clear();
        assert_eq!(refused.summary(), None);
    }

    #[test]
    fn another_setting_of_tls_is_said_once_an_hour_whoever_comes() {
        let mut refused = NotLetIn::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let hello = CloseReason::Frame(FrameError::Foreign(Foreign::TlsHello));
        assert_eq!(refused.first_line(at(1), false, hello), Some((TLS, None)));
        assert_eq!(refused.first_line(at(2), false, hello), None);
        assert_eq!(refused.first_line(at(2), false, CloseReason::Tls(TlsFault::NotTls)), Some((PLAIN, None)));
        assert_eq!(refused.first_line(at(3), true, CloseReason::Tls(TlsFault::NotTls)), None, "whom we dial has lines");
        assert_eq!(refused.first_line(at(3), false, CloseReason::RemoteClosed), None);
        assert_eq!(refused.first_line(at(3602), false, hello), Some((TLS, Some(1))));
    }
}
