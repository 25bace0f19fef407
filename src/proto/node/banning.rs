//! Who is kept out: by the rules for what it did, or because a person said so. One question for both, asked before anybody is let
//! in, dialed or told to others; and the calls of the person.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::address::Origin;
use crate::close::CloseReason;
use crate::id::{ConnId, VerifiedId};
use crate::proto::event::{Event, Output};
use crate::proto::node::Node;
use crate::proto::peer::ban::{Ban, Banned, BannedBy, Lifted, reason};
use crate::proto::peer::operator_bans::{OperatorBans, TooManyBans};
use crate::proto::peer::reputation::Reputation;
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};

impl<C: Chain> Node<C> {
    /// See [`Command::Ban`](crate::proto::Command::Ban).
    pub(crate) fn ban(&mut self, now: Now, who: Banned, term: Option<Duration>, why: &str) -> Result<(), TooManyBans> {
        self.bans.ban(who, term, reason(why), now.at)?;
        self.emit(Event::Banned { who, term });
        self.save_bans();
        self.close_banned(now);
        Ok(())
    }

    /// See [`Command::LiftBan`](crate::proto::Command::LiftBan).
    pub(crate) fn lift_ban(&mut self, now: Now, who: Banned) -> Lifted {
        let (ours, theirs) = (self.bans.lift(who, now.at), self.reputation.lift(who, now.at));
        let lifted = Lifted { lifted: ours.lifted + theirs.lifted, still: ours.still.or(theirs.still) };
        self.emit(Event::BanLifted { who, lifted });
        self.save_bans();
        // It may be worth a dial again.
        self.outbound.nudge();
        lifted
    }

    pub(super) fn save_bans(&mut self) {
        self.bans_changed = false;
        self.outputs.push_back(Output::SaveBans);
    }

    /// Closes every connection of an address or identity that is kept out.
    pub(super) fn close_banned(&mut self, now: Now) {
        let open = self.sessions.iter().filter(|session| !session.is_closing());
        let banned = open.filter(|session| self.is_banned(now, session.remote(), session.identity()));
        let conns: Vec<ConnId> = banned.map(|session| session.conn()).collect();
        for conn in conns {
            self.close(now, conn, CloseReason::Blacklisted);
        }
    }
}

impl<C> Node<C> {
    /// The bans in force, those of the operator first, each by whom it keeps out. What the rules have banned within the last
    /// seconds is among them before it is saved.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.bans(now.at).chain(self.reputation.bans(now.at)).collect()
    }

    /// How many bans are in force.
    pub fn ban_count(&self, now: Now) -> usize {
        self.bans.bans(now.at).count().saturating_add(self.reputation.bans(now.at).count())
    }

    /// Takes over the bans that an earlier run saved, with the time that remains of each. Before the node runs: nobody is
    /// disconnected for them. Limits apply again: those of the rules last no longer than the rules say, and of an operator's too many
    /// the first ones count.
    pub fn restore_bans(&mut self, now: Now, bans: impl IntoIterator<Item = Ban>) {
        for Ban { who, by, remaining, reason } in bans {
            match (by, who.origin()) {
                // A full list keeps what it has.
                (BannedBy::Operator, _) => drop(self.bans.ban(who, remaining, reason, now.at)),
                (BannedBy::Rules, Some(origin)) => {
                    self.reputation.restore_ban(origin, remaining.unwrap_or(Duration::MAX), reason, now.at);
                }
                // The rules ban no such range.
                (BannedBy::Rules, None) => {}
            }
        }
    }

    /// Kept out by its address, or by who it has proven to be.
    pub(super) fn is_banned(&self, now: Now, remote: SocketAddr, identity: Option<VerifiedId>) -> bool {
        let judges = (&self.reputation, &self.bans);
        let is_identity_out = |id: VerifiedId| {
            self.reputation.is_blacklisted(Origin::Identity(id), now.at) || self.bans.is_identity_banned(id, now.at)
        };
        !self.is_exempt(remote) && (is_kept_out(judges, remote.ip(), now.at) || identity.is_some_and(is_identity_out))
    }

    /// Exempt from bans, rates and per-address limits: by its range, or because the operator named it.
    pub(super) fn is_exempt(&self, remote: SocketAddr) -> bool {
        self.admission.exempt().contains(remote.ip()) || self.outbound.is_kept(remote)
    }
}

/// Does one of the two keep this address out? Nobody who is exempt should be asked about.
pub(super) fn is_kept_out((reputation, bans): (&Reputation, &OperatorBans), ip: IpAddr, now: Instant) -> bool {
    bans.is_banned(ip, now) || reputation.is_blacklisted(Origin::of(ip), now)
}

/// Whose reputation changes by what a peer does: its address's, and its identity's where it has proven one.
pub(super) fn origins(remote: SocketAddr, identity: Option<VerifiedId>) -> impl Iterator<Item = Origin> {
    core::iter::once(Origin::of(remote.ip())).chain(identity.map(Origin::Identity))
}
