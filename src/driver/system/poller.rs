//! Waiting for the readiness of many sockets at once, and being woken from it.

use core::time::Duration;
use std::io;

use mio::{Events, Poll, Token};

use super::{Readiness, System};

/// Events taken from the system in one turn; the others are there next turn.
const EVENTS: usize = 1024;

/// What waits, and what it brought last.
pub(in crate::driver) enum Poller {
    Os {
        poll: Poll,
        events: Events,
    },
    #[cfg(feature = "sim")]
    Virtual {
        kernel: super::SharedKernel,
        events: Vec<Readiness>,
    },
}

/// What ends the wait from another thread.
pub(in crate::driver) enum Waker {
    Os(mio::Waker),
    #[cfg(feature = "sim")]
    Virtual(super::SharedKernel),
}

impl Poller {
    pub(in crate::driver) fn new() -> io::Result<Self> {
        Ok(Poller::Os { poll: Poll::new()?, events: Events::with_capacity(EVENTS) })
    }

    pub(in crate::driver) fn waker(&self, token: usize) -> io::Result<Waker> {
        match self {
            Poller::Os { poll, .. } => mio::Waker::new(poll.registry(), Token(token)).map(Waker::Os),
            #[cfg(feature = "sim")]
            Poller::Virtual { kernel, .. } => Ok(Waker::Virtual(std::sync::Arc::clone(kernel))),
        }
    }

    pub(in crate::driver) fn system(&self) -> io::Result<System> {
        match self {
            Poller::Os { poll, .. } => poll.registry().try_clone().map(System::Os),
            #[cfg(feature = "sim")]
            Poller::Virtual { kernel, .. } => Ok(System::Virtual(std::sync::Arc::clone(kernel))),
        }
    }

    /// Waits, at most so long, and takes what is new. A virtual system never waits: whoever plays it knows when to look.
    pub(in crate::driver) fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let outcome = match self {
            Poller::Os { poll, events } => poll.poll(events, wait),
            #[cfg(feature = "sim")]
            Poller::Virtual { kernel, events } => {
                events.clear();
                super::lock(kernel).poll(events)
            }
        };
        match outcome {
            // A signal: the turn goes on with what it has, so that timers and a stop asked for by a handler are seen.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                match self {
                    Poller::Os { events, .. } => events.clear(),
                    #[cfg(feature = "sim")]
                    Poller::Virtual { events, .. } => events.clear(),
                }
                Ok(())
            }
            other => other,
        }
    }

    /// The last wait brought nothing.
    pub(in crate::driver) fn is_empty(&self) -> bool {
        match self {
            Poller::Os { events, .. } => events.is_empty(),
            #[cfg(feature = "sim")]
            Poller::Virtual { events, .. } => events.is_empty(),
        }
    }

    /// What the last wait brought.
    #[inline]
    pub(in crate::driver) fn each(&self, mut f: impl FnMut(Readiness)) {
        match self {
            Poller::Os { events, .. } => {
                for event in events {
                    let ended = event.is_read_closed() || event.is_error();
                    f(Readiness {
                        token: event.token().0,
                        readable: event.is_readable() || ended,
                        writable: event.is_writable() || event.is_error(),
                        ended,
                        urgent: event.is_priority(),
                    });
                }
            }
            #[cfg(feature = "sim")]
            Poller::Virtual { events, .. } => events.iter().copied().for_each(f),
        }
    }

    /// The descriptor to nest in another loop; a virtual system has none.
    #[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
    pub(in crate::driver) fn raw_fd(&self) -> std::os::fd::RawFd {
        match self {
            Poller::Os { poll, .. } => std::os::fd::AsRawFd::as_raw_fd(poll),
            #[cfg(feature = "sim")]
            Poller::Virtual { .. } => -1,
        }
    }
}

impl core::fmt::Debug for Waker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

impl Waker {
    pub(in crate::driver) fn wake(&self) -> io::Result<()> {
        match self {
            Waker::Os(waker) => waker.wake(),
            #[cfg(feature = "sim")]
            Waker::Virtual(kernel) => {
                super::lock(kernel).wake();
                Ok(())
            }
        }
    }
}
