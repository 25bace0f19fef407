//! The way into the loop from other threads: a bounded queue, a wake-up and a flag that asks to stop.

use core::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::system::Waker;

/// A way into the loop from other threads. Dropping it, or all of them, leaves the loop running.
///
/// It is cheap to clone, and every clone may go to another thread. The queue holds [`Config::commands`](super::Config::commands)
/// commands.
///
/// # Examples
///
/// ```
/// use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
/// use spacetime_network::time::Now;
///
/// #[derive(Default)]
/// struct Sum(u64);
///
/// impl Protocol for Sum {
///     type Command = u64;
///
///     fn handle(&mut self, _now: Now, event: Event<'_, u64>, _net: &mut Net) {
///         if let Event::Command(number) = event {
///             self.0 += number;
///         }
///     }
/// }
///
/// let mut driver = Driver::new(Config::default(), Sum::default())?;
/// let handle = driver.handle();
/// let other = std::thread::spawn(move || {
///     // A queue that is full hands the command back, for the loop is behind: that is backpressure too.
///     (1..=10).try_for_each(|number| handle.send(number))?;
///     handle.stop();
///     Ok::<_, spacetime_network::driver::HandleError<u64>>(())
/// });
/// driver.run()?;
/// other.join().unwrap()?;
/// assert_eq!(driver.protocol().0, 55);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Handle<C> {
    sender: SyncSender<C>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waker: Waker,
    /// A wake-up is under way, so that a thousand commands cost one.
    awake: AtomicBool,
    stop: AtomicBool,
}

/// A command that was not delivered comes back.
#[derive(Debug)]
pub enum HandleError<C> {
    /// The queue is full: the loop is behind.
    Full(C),
    /// The loop is gone.
    Closed(C),
}

impl<C> fmt::Display for HandleError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandleError::Full(_) => "the loop's command queue is full",
            HandleError::Closed(_) => "the loop is gone",
        })
    }
}

impl<C: fmt::Debug> std::error::Error for HandleError<C> {}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<C> Handle<C> {
    /// Queues a command and wakes the loop. Never blocks.
    ///
    /// # Errors
    ///
    /// [`HandleError`] with the command, when the queue is full or the loop has ended.
    pub fn send(&self, command: C) -> Result<(), HandleError<C>> {
        match self.sender.try_send(command) {
            Ok(()) => {
                self.shared.wake();
                Ok(())
            }
            Err(TrySendError::Full(command)) => Err(HandleError::Full(command)),
            Err(TrySendError::Disconnected(command)) => Err(HandleError::Closed(command)),
        }
    }

    /// Wakes the loop for a turn, without a command: for what another thread has finished and the protocol asks for itself. Never
    /// blocks, cannot be refused; of many in a row one turn comes at least.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// Asks the loop to stop gracefully; never blocks, cannot be refused.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl Shared {
    fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) && self.waker.wake().is_err() {
            // Nothing was woken, so the next one must try again.
            self.awake.store(false, Ordering::SeqCst);
        }
    }
}

/// The loop's end of the queue.
#[derive(Debug)]
pub(super) struct Commands<C> {
    handle: Handle<C>,
    /// `None` once the loop has ended, so that senders learn of it.
    receiver: Option<Receiver<C>>,
}

impl<C> Commands<C> {
    pub(super) fn new(waker: Waker, bound: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(bound);
        let shared = Arc::new(Shared { waker, awake: AtomicBool::new(false), stop: AtomicBool::new(false) });
        Ok(Commands { handle: Handle { sender, shared }, receiver: Some(receiver) })
    }

    pub(super) fn handle(&self) -> Handle<C> {
        self.handle.clone()
    }

    /// True when a handle asked for the loop's attention.
    pub(super) fn is_awake(&self) -> bool {
        self.handle.shared.awake.load(Ordering::SeqCst)
    }

    /// To be called before the queue is emptied: whatever is sent from here on wakes the loop again.
    pub(super) fn rearm(&self) {
        self.handle.shared.awake.store(false, Ordering::SeqCst);
    }

    /// There is more than this turn may take.
    pub(super) fn keep_awake(&self) {
        self.handle.shared.awake.store(true, Ordering::SeqCst);
    }

    pub(super) fn next(&self) -> Option<C> {
        self.receiver.as_ref()?.try_recv().ok()
    }

    pub(super) fn stop_asked(&self) -> bool {
        self.handle.shared.stop.load(Ordering::SeqCst)
    }

    pub(super) fn end(&mut self) {
        self.receiver = None;
    }
}
