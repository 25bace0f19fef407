//! Many nodes in one process, on virtual streams and clocks, all of it decided by one seed.
//!
//! The driver's twin: the same [`Node`](crate::proto::Node) behind the same adapter
//! ([`NodeProtocol`](crate::driver::node::NodeProtocol)), the same [`link`](crate::link) pipes, but sockets, kernel buffers,
//! the network and both clocks are played here. A run that breaks an [`Invariant`] is played again by its seed.
//!
//! | file | what it plays |
//! |---|---|
//! | `net` | streams, latency, buffers, the order of events |
//! | `port` | one host's connections: the loop's `Net` |
//! | `host` | one honest node and its loop |
//! | `actor` | those who do not keep the rules |
//! | `disk` | a machine's disk, and what is left of it after a crash |
//! | `fault` | what goes wrong, and how often |
//! | `scenario` | situations with a name |
//! | `check` | what must hold |
//! | `trace` | what happened, and the hash that proves it |
//! | `run` | one run, from a seed to a report |
//! | `whole` | what must hold once the faults have stopped |
// Indices here are the simulator's own, never a remote's; one that is wrong must stop the run.
#![allow(clippy::indexing_slicing)]

mod actor;
mod check;
mod disk;
mod fault;
mod host;
mod net;
mod port;
mod run;
mod scenario;
mod trace;
mod whole;

pub use check::{Failure, Invariant};
pub use fault::Faults;
pub use run::{HEALING, Options, Report, run};
pub use scenario::Scenario;
