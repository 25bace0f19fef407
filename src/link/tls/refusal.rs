//! Refusals: who was turned away for what it is, kept for the operator, who decides who is right.

use core::fmt;
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::close::TlsFault;
use crate::id::VerifiedId;

/// The most refusals that are kept.
const REFUSALS_MAX: usize = 64;

/// A peer that was refused for what it is, with what the operator needs to decide who is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsRefusal {
    /// The connection's remote address.
    pub remote: SocketAddr,
    /// Why.
    pub fault: TlsFault,
    /// The identity that was expected there, where there is exactly one.
    pub expected: Option<VerifiedId>,
    /// The identity that it showed, where its certificate could be read.
    pub seen: Option<VerifiedId>,
}

impl fmt::Display for TlsRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsRefusal { remote, fault, expected, seen } = self;
        match (expected, seen) {
            (Some(expected), Some(seen)) => write!(f, "{remote} showed identity {seen} instead of {expected}: {fault}"),
            (None, Some(seen)) => write!(f, "{remote} showed identity {seen}: {fault}"),
            _ => write!(f, "{remote}: {fault}"),
        }
    }
}

/// A refusal before it is known whose connection it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) fault: TlsFault,
    pub(super) expected: Option<VerifiedId>,
    pub(super) seen: Option<VerifiedId>,
}

impl From<TlsFault> for Refused {
    fn from(fault: TlsFault) -> Self {
        Refused { fault, expected: None, seen: None }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl core::error::Error for Refused {}

/// The last refusals, oldest first. Several loops may share them; each holds them for a look.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<TlsRefusal>,
    /// How many of them, the last ones, were not taken yet.
    fresh: usize,
}

impl Refusals {
    /// Keeps one; answers what it ends the connection with.
    pub(super) fn keep(&self, remote: SocketAddr, refused: Refused) -> TlsFault {
        let Refused { fault, expected, seen } = refused;
        let mut kept = self.kept();
        if kept.last.len() >= REFUSALS_MAX {
            kept.last.pop_front();
        }
        kept.last.push_back(TlsRefusal { remote, fault, expected, seen });
        kept.fresh = kept.fresh.saturating_add(1).min(REFUSALS_MAX);
        debug_assert!(kept.fresh <= kept.last.len() && kept.last.len() <= REFUSALS_MAX);
        fault
    }

    /// All that are kept.
    pub(super) fn all(&self) -> Vec<TlsRefusal> {
        self.kept().last.iter().copied().collect()
    }

    /// Those that were not taken yet.
    pub(super) fn take(&self) -> Vec<TlsRefusal> {
        let mut kept = self.kept();
        let fresh = core::mem::take(&mut kept.fresh);
        kept.last.range(kept.last.len().saturating_sub(fresh)..).copied().collect()
    }

    /// The last one of an address.
    pub(super) fn of(&self, remote: SocketAddr) -> Option<TlsRefusal> {
        self.kept().last.iter().rev().find(|refusal| refusal.remote == remote).copied()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
