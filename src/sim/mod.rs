//! Many nodes in one process, on virtual kernels and clocks, all of it decided by one seed.
//!
//! The very [`Driver`](crate::driver::Driver) runs here, with the same [`Node`](crate::proto::Node) behind the same
//! adapter ([`NodeProtocol`](crate::driver::node::NodeProtocol)); sockets, kernels, the network between them and all clocks
//! are played. A run that breaks an [`Invariant`] is played again by its seed.
//!
//! | file | what it plays |
//! |---|---|
//! | `kernel` | one machine's sockets, and what goes wrong in system calls |
//! | `net`, `pipe` | what lies between machines |
//! | `clock` | one machine's clocks |
//! | `air` | the order of events, and what all hosts share |
//! | `host` | one honest node and its loop |
//! | `audit` | what a host counts anew now and then |
//! | `watched`, `books`, `owed` | the node's embedder, who writes down what it does |
//! | `actor` | those who do not keep the rules |
//! | `disk` | a machine's disk, and what is left of it after a crash |
//! | `data` | what a host keeps on its disk, and the proof that it comes back |
//! | `load`, `work` | what the hosts are used for, and what that asks of one |
//! | `fault` | what goes wrong, and how often |
//! | `scenario` | situations with a name |
//! | `check` | what must hold |
//! | `secure` | who each host is under TLS |
//! | `trace` | what happened, and the hash that proves it |
//! | `timing` | how long things took to reach everybody |
//! | `table` | what a few fixed runs took, to compare |
//! | `build` | what a run is built of, from its seed |
//! | `run`, `chaos` | one run, from its first event to a report; what goes wrong in it |
//! | `late` | those who come late, and those who were away |
//! | `whole` | what must hold once the faults have stopped |
// Indices here are the simulator's own, never a remote's; one that is wrong must stop the run.
#![allow(clippy::indexing_slicing)]

mod actor;
mod air;
mod audit;
mod books;
mod build;
mod chaos;
mod check;
mod clock;
mod data;
mod disk;
mod fault;
mod host;
mod kernel;
mod late;
mod load;
mod net;
mod owed;
mod pipe;
mod run;
mod scenario;
mod secure;
mod sent;
pub mod table;
mod timing;
mod trace;
mod waits;
mod watched;
mod whole;
mod work;

pub use check::{Failure, Invariant};
pub use fault::{Class, Faults, Plan, PlanError};
pub use run::{HEALING, Options, Report, run};
pub use scenario::Scenario;
