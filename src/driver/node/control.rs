//! What an operator asks of a running node, from another thread: the calls of a [`NodeHandle`](super::NodeHandle) that wait for
//! an answer.

use core::fmt;
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use super::{NodeCommand, NodeMut};
use crate::driver::{Bandwidth, Handle, HandleError};
use crate::proto::peer::ban::{Ban, Banned, Lifted};
use crate::proto::peer::operator_bans::TooManyBans;
use crate::proto::sync::chain::Chain;
use crate::time::Now;

/// Why a running node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Its command queue is full: nothing was done. Worth another try.
    Busy,
    /// It did not come to it in time; it may still do what was asked.
    Late,
    /// It has stopped. What was asked was not done, or nobody will tell.
    Gone,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoAnswer::Busy => "the node has too much to do at present; try again",
            NoAnswer::Late => "the node did not answer in time; look whether it was done",
            NoAnswer::Gone => "the node has stopped",
        })
    }
}

impl core::error::Error for NoAnswer {}

impl<C: Chain + 'static> Handle<NodeCommand<C>> {
    /// Runs `task` on the loop's thread with the node at hand, and waits for its answer, `patience` at most. Blocks the calling
    /// thread, which must not be the loop's own. The task must return soon, since nothing else happens meanwhile.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        task: impl FnOnce(NodeMut<'_, C>, Now) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (sender, answer) = sync_channel(1);
        let command = NodeCommand::With(Box::new(move |node: NodeMut<'_, C>, now: Now| {
            // Whoever asked may have lost patience.
            let _ = sender.try_send(task(node, now));
        }));
        self.send(command).map_err(|error| match error {
            HandleError::Full(_) => NoAnswer::Busy,
            HandleError::Closed(_) => NoAnswer::Gone,
        })?;
        answer.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoAnswer::Late,
            RecvTimeoutError::Disconnected => NoAnswer::Gone,
        })
    }

    /// Keeps somebody out, for `term` or until it is lifted: from now on neither let in, nor dialed, nor told to others; who is
    /// connected is closed, and the ban is given to be saved. Whoever is exempt stays so. A ban of the same is replaced.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`]; inside, that the list of bans is full.
    pub fn ban(
        &self,
        patience: Duration,
        who: Banned,
        term: Option<Duration>,
        reason: &str,
    ) -> Result<Result<(), TooManyBans>, NoAnswer> {
        let reason = reason.to_owned();
        self.ask(patience, move |mut node, now| node.ban(now, who, term, &reason))
    }

    /// Ends the bans of somebody and of each part of it, those of the rules too, whose reputation is forgotten then. Answers how
    /// many there were, and which ban of a wider range still keeps them out.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub fn lift_ban(&self, patience: Duration, who: Banned) -> Result<Lifted, NoAnswer> {
        self.ask(patience, move |mut node, now| node.lift_ban(now, who))
    }

    /// Changes how many bytes a second may leave and come, from the next turn of the loop on. Does not wait for it.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Busy`] or [`NoAnswer::Gone`]: nothing was changed.
    pub fn set_bandwidth(&self, limits: Bandwidth) -> Result<(), NoAnswer> {
        self.send(NodeCommand::SetBandwidth(limits)).map_err(|error| match error {
            HandleError::Full(_) => NoAnswer::Busy,
            HandleError::Closed(_) => NoAnswer::Gone,
        })
    }

    /// The bans in force: see [`Node::bans`](crate::proto::Node::bans).
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub fn bans(&self, patience: Duration) -> Result<Vec<Ban>, NoAnswer> {
        self.ask(patience, |node, now| node.bans(now))
    }
}
