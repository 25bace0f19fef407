//! The administration endpoint, `--http`: metrics, an API and a live view of a running node, for its operator.
//!
//! Nothing here is in the engine, and nothing here can hold it up: the loop is asked by a bounded queue, answers in a few steps, and
//! waits for nobody. Everything else happens on threads of the endpoint.
//!
//! | file | why it is there |
//! |---|---|
//! | `request`, `response` | bytes to requests, and answers to bytes |
//! | `guard` | who may ask |
//! | `conn`, `server` | one connection; all of them, and the lines of those who wait for an answer |
//! | `routes` | which path leads where |
//! | `admin` | what is known of the node, and how it is asked |
//! | `api`, `bans`, `chain_api`, `limits`, `metrics` | the answers |
//! | `history`, `pulse`, `view` | the last hour, the news for those who view, and the page |
//! | `address` | where it listens, as it is written on the command line |

pub(crate) mod address;
pub(crate) mod admin;
mod api;
pub(crate) mod bans;
mod chain_api;
mod conn;
mod guard;
mod history;
mod limits;
mod metrics;
mod pulse;
pub(crate) mod request;
mod response;
mod routes;
mod server;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spacetime_network::driver::store::read_bounded;

use self::address::HttpAddress;
use self::admin::{Admin, Facts, Watched};
use self::guard::{Guard, Token};
use self::pulse::Pulse;
use self::server::{Listener, Running, Server};
use crate::failure::{Failure, read_remedy};
use crate::full_node::NodeHandle;
use crate::logging::LogControl;

/// Descriptors that it needs at most: connections, its listener, what wakes its thread, and what its answers read.
pub(crate) const DESCRIPTORS: u64 = server::CONNECTIONS_MAX as u64 + 8;

/// The longest token.
const TOKEN_MAX: u64 = 4 * 1024;
/// The shortest: what is guessed sooner is no secret.
const TOKEN_MIN: usize = 16;

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub(crate) struct HttpPlan {
    pub(crate) address: HttpAddress,
    pub(crate) token: Option<PathBuf>,
    pub(crate) names: Vec<String>,
}

/// An endpoint that listens, and answers nobody yet.
pub(crate) struct Endpoint {
    server: Server,
    guard: Guard,
    at: String,
}

/// One that answers. Dropping it ends it.
pub(crate) struct Answering {
    // In this order: who tells goes before who is told.
    _pulse: Pulse,
    _server: Running,
}

impl Endpoint {
    /// Listens, before anything else of the node is begun: what cannot work is said at once.
    pub(crate) fn listen(plan: &HttpPlan) -> Result<Self, Failure> {
        let token = plan.token.as_deref().map(read_token).transpose()?;
        let is_unix = plan.address.is_unix();
        if token.is_none() && !plan.address.is_local() {
            return Err(Failure::usage(format_args!(
                "--http {} is reached from other machines: give --http-token FILE with a secret in it, or listen on 127.0.0.1",
                plan.address
            )));
        }
        let failed = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "stop the program that uses it or choose another --http",
                io::ErrorKind::AddrNotAvailable => "choose an address of this machine",
                io::ErrorKind::AlreadyExists => "move it away or choose another path",
                io::ErrorKind::PermissionDenied => "choose a port above 1023, or a directory that this user may write",
                io::ErrorKind::NotFound => "make the directory first",
                _ => "choose another --http",
            };
            Failure::new(format!("answer at {}", plan.address), error, remedy)
        };
        let listener = match &plan.address {
            HttpAddress::Tcp(address) => Listener::tcp(*address),
            #[cfg(unix)]
            HttpAddress::Unix(path) => Listener::unix(path),
            #[cfg(not(unix))]
            HttpAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
        .map_err(failed)?;
        let at = listener.local().map_err(failed)?;
        let guard = Guard { token, is_unix, names: plan.names.clone() };
        Ok(Endpoint { server: Server::new(listener).map_err(failed)?, guard, at })
    }

    /// Where it really listens.
    pub(crate) fn at(&self) -> &str {
        &self.at
    }

    /// Answers from now on.
    pub(crate) fn start(
        self,
        handle: NodeHandle,
        facts: Facts,
        watched: Arc<Watched>,
        log: LogControl,
    ) -> Result<Answering, Failure> {
        log.tail.keep();
        let viewers = self.server.viewers();
        let admin = Arc::new(Admin::new(handle, facts, (watched, log, Arc::clone(&viewers.served))));
        let pulse = Pulse::start(Arc::clone(&admin), viewers)?;
        let thread = pulse.thread();
        let greet = move || thread.iter().for_each(std::thread::Thread::unpark);
        let server = self.server.start(self.guard, move |request| routes::answer(&admin, request), greet)?;
        Ok(Answering { _pulse: pulse, _server: server })
    }
}

/// The first line of a file that only its owner should be able to read.
fn read_token(path: &Path) -> Result<Token, Failure> {
    #[cfg(unix)]
    if std::fs::metadata(path)
        .is_ok_and(|found| std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o004 != 0)
    {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the token of --http-token: chmod 600 it");
    }
    token_text(path).map(|text| Token::new(&text))
}

/// The same as text, for whoever shows it.
pub(crate) fn token_text(path: &Path) -> Result<String, Failure> {
    let operation = || format!("read the token in {}", path.display());
    let bytes =
        read_bounded(path, TOKEN_MAX).map_err(|error| Failure::new(operation(), &error, read_remedy(&error)))?;
    let bytes = bytes.ok_or_else(|| {
        Failure::new(operation(), "there is no such file", "make one, as by: head -c 24 /dev/urandom | base64 > FILE")
    })?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    let is_fit = line.len() >= TOKEN_MIN && line.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_fit {
        return Err(Failure::new(
            operation(),
            "its first line is not 16 or more visible characters of ASCII",
            "make a new one, as by: head -c 24 /dev/urandom | base64 > FILE",
        ));
    }
    Ok(line)
}
