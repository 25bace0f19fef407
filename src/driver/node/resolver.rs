//! Names looked up off the loop: the system's resolver may take half a minute to say that it does not know.
//!
//! Each lookup has a thread while it lasts, of a few at most; further names wait in a queue. A name is in it once, so what
//! waits is bounded by how many names the operator gave.

use core::fmt;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::driver::node::NodeCommand;
use crate::driver::{Handle, HandleError};
use crate::proto::event::Command;
use crate::proto::peer::name::PeerName;

/// Lookups under way at a time.
const THREADS_MAX: usize = 8;
/// How long an answer waits for room in the loop's queue before it tries again.
const FULL_RETRY: Duration = Duration::from_millis(50);

/// Where a name leads to, or why nowhere.
pub type Answer = Result<Vec<SocketAddr>, String>;

/// Looks names up and passes the answers on. Dropping it ends nothing: what is under way is answered.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

/// What may block.
type Lookup = dyn Fn(&PeerName) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    look_up: Box<Lookup>,
    answer: Box<dyn Fn(PeerName, Answer) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<PeerName>,
    threads: usize,
}

impl Resolver {
    /// Looks names up as the system does, and gives the answers to a running node.
    pub fn system<C: 'static>(handle: Handle<NodeCommand<C>>) -> Self {
        Resolver::new(system, move |name, answer| {
            let mut command = NodeCommand::Do(Command::Resolved(name, answer));
            while let Err(HandleError::Full(back)) = handle.send(command) {
                thread::sleep(FULL_RETRY);
                command = back;
            }
        })
    }

    /// Looks names up by `look_up`, which may block, and gives each answer to `answer`. Both are called on threads of the
    /// resolver's.
    pub fn new(
        look_up: impl Fn(&PeerName) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        answer: impl Fn(PeerName, Answer) + Send + Sync + 'static,
    ) -> Self {
        let (look_up, answer) = (Box::new(look_up), Box::new(answer));
        Resolver { shared: Arc::new(Shared { look_up, answer, state: Mutex::default() }) }
    }

    /// Has a name looked up. Never blocks. A name that waits already is not looked up twice.
    ///
    /// False when the system gives no thread for it: there will be no answer.
    pub fn look_up(&self, name: &PeerName) -> bool {
        let mut state = self.shared.state();
        if state.waiting.contains(name) {
            return true;
        }
        if state.threads < THREADS_MAX {
            let (shared, first) = (Arc::clone(&self.shared), name.clone());
            let started = thread::Builder::new().name("resolver".to_owned()).spawn(move || shared.work(first));
            if started.is_ok() {
                state.threads += 1;
                return true;
            }
            if state.threads == 0 {
                return false;
            }
        }
        state.waiting.push_back(name.clone());
        true
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&*self.shared.state()).finish()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks names up until none waits.
    fn work(&self, first: PeerName) {
        let mut next = Some(first);
        while let Some(name) = next {
            let answer = (self.look_up)(&name).map_err(|error| error.to_string());
            (self.answer)(name, answer);
            let mut state = self.state();
            next = state.waiting.pop_front();
            if next.is_none() {
                state.threads = state.threads.saturating_sub(1);
            }
        }
    }
}

/// The addresses of a name, in the order in which the system would try them.
///
/// # Errors
///
/// What the system says. Of a name in `.onion`, which would tell a name server what is none of its business, it is not asked.
pub fn system(name: &PeerName) -> io::Result<Vec<SocketAddr>> {
    if name.is_onion() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, super::names::ONION));
    }
    // It reads `fe80::1%eth0` too, and knows the interface's number.
    (name.host(), name.port()).to_socket_addrs().map(Iterator::collect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn name(n: usize) -> PeerName {
        format!("node-{n}.example:1").parse().unwrap()
    }

    /// A name server that did not answer held up everything, for as long as the system waits for one.
    #[test]
    fn lookups_that_hang_hold_up_only_those_beyond_the_threads_and_all_are_answered() {
        let (open, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let (sender, answers) = channel();
        let sender = Mutex::new(sender);
        let look_up = move |name: &PeerName| {
            if name.host() == "node-0.example" {
                // Until the test lets it go.
                let _ = gate.lock().unwrap().recv();
                return Err(io::Error::other("nobody knows"));
            }
            Ok(vec!["127.0.0.1:1".parse().unwrap()])
        };
        let resolver = Resolver::new(look_up, move |name, answer| sender.lock().unwrap().send((name, answer)).unwrap());
        for n in 0..20 {
            assert!(resolver.look_up(&name(n)));
        }
        let others: Vec<_> = answers.iter().take(19).collect();
        assert!(others.iter().all(|(one, answer)| *one != name(0) && answer.is_ok()), "{others:?}");
        open.send(()).unwrap();
        assert_eq!(answers.recv().unwrap(), (name(0), Err("nobody knows".to_owned())));
    }

    #[test]
    fn an_onion_service_is_never_looked_up() {
        for text in ["a.onion:7", "a.b.ONION:7", "a.onion.:7"] {
            let error = system(&text.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains("give a proxy"), "{text}: {error}");
        }
    }

    #[test]
    fn the_system_knows_this_machine_and_its_interfaces() {
        let local: PeerName = "localhost:7".parse().unwrap();
        assert!(system(&local).unwrap().iter().all(|address| address.ip().is_loopback() && address.port() == 7));
    }
}
