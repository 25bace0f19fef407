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
//! | `simulation` | the order of events, and what all hosts share |
//! | `host` | one honest node and its loop |
//! | `audit` | what a host counts anew now and then |
//! | `audited_node`, `auditor`, `delivery_checker` | the node's embedder, who writes down what it does |
//! | `adversary` | those who do not keep the rules |
//! | `disk` | a machine's disk, and what is left of it after a crash |
//! | `data` | what a host keeps on its disk, and the proof that it comes back |
//! | `workload`, `node_commands` | what the hosts are used for, and what that asks of one |
//! | `fault` | what goes wrong, and how often |
//! | `scenario` | situations with a name |
//! | `check` | what must hold |
//! | `tls` | who each host is under TLS |
//! | `trace` | what happened, and the hash that proves it |
//! | `timing` | how long things took to reach everybody |
//! | `table` | what a few fixed runs took, to compare |
//! | `build` | what a run is built of, from its seed |
//! | `run`, `chaos` | one run, from its first event to a report; what goes wrong in it |
//! | `newcomer` | those who come late, and those who were away |
//! | `liveness_checks` | what must hold once the faults have stopped |
// Indices here are the simulator's own, never a remote's; one that is wrong must stop the run.
#![allow(clippy::indexing_slicing)]

mod adversary;
mod audit;
mod audited_node;
mod auditor;
mod build;
mod chaos;
mod check;
mod clock;
mod data;
mod delivery_checker;
mod disk;
mod fairness_checker;
mod fault;
mod host;
mod kernel;
mod liveness_checks;
mod net;
mod newcomer;
mod node_commands;
mod pipe;
mod run;
mod scenario;
mod send_rate_checker;
mod simulation;
pub mod table;
mod timing;
mod tls;
mod trace;
mod workload;

pub use crate::invariant::Invariant;
pub use check::Failure;
pub use fault::{Class, Faults, Plan, PlanError};
pub use run::{HEALING, Options, Report, run};
pub use scenario::Scenario;
