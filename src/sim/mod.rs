//! Many nodes in one process, on virtual kernels and clocks, all of it decided by one seed.
//!
//! The very [`Driver`](crate::driver::Driver) runs here, with the same [`Node`](crate::proto::Node) behind the same
//! adapter ([`NodeProtocol`](crate::driver::node::NodeProtocol)); sockets, kernels, the network between them and all clocks
//! are played. A run that breaks an [`Invariant`] is played again by its seed.
//!
//! | file | what it plays |
//! |---|---|
//! | `kernel` | one machine's sockets, and what goes wrong in system calls |
//! | `net`, `pipe`, `partition` | what lies between machines |
//! | `clock` | one machine's clocks |
//! | `simulation` | what all hosts share, part by part |
//! | `schedule`, `machines` | the order of events; who lives where |
//! | `host` | one honest node and its loop |
//! | `audit` | what a host has counted anew now and then |
//! | `audited_node`, `auditor`, `turn_report` | the node's embedder, who writes down what it does; what becomes of that |
//! | `delivery_checker`, `fairness_checker`, `send_rate_checker` | what one connection carries: in order, fairly, not too much |
//! | `adversary` | those who do not keep the rules |
//! | `guest` | those whom a test plays |
//! | `disk` | a machine's disk, and what is left of it after a crash |
//! | `data` | what a host keeps on its disk, and the proof that it comes back |
//! | `workload`, `activity`, `node_commands` | what the hosts are asked for, who does it, and how one does |
//! | `fault` | what goes wrong, and how often |
//! | `scenario` | situations with a name |
//! | `check` | how often each invariant was looked at, and the first that did not hold |
//! | `tls` | who each host is under TLS |
//! | `trace` | what happened, and the hash that proves it |
//! | `timing`, `best_chain`, `counters` | how long things took to reach everybody, the heaviest chain, and how often what happened |
//! | `table` | what a few fixed runs took, to compare |
//! | `build` | what a run is built of, from its seed |
//! | `run`, `chaos` | one run, from its first event to a report; what goes wrong in it |
//! | `newcomer` | those who come late, and those who were away |
//! | `eclipse` | whom attackers have cut off from the others |
//! | `liveness_checks` | what must hold once the faults have stopped |
// Indices here are the simulator's own, never a remote's; one that is wrong must stop the run.
#![allow(clippy::indexing_slicing)]

mod activity;
mod adversary;
mod audit;
mod audited_node;
mod auditor;
mod best_chain;
mod build;
mod chaos;
mod check;
mod clock;
mod counters;
mod data;
mod delivery_checker;
mod disk;
mod eclipse;
mod fairness_checker;
mod fault;
mod guest;
mod host;
mod kernel;
mod liveness_checks;
mod machines;
mod net;
mod newcomer;
mod node_commands;
mod partition;
mod pipe;
mod run;
mod scenario;
mod schedule;
mod send_rate_checker;
mod simulation;
pub mod table;
mod timing;
mod tls;
mod trace;
mod turn_report;
mod workload;

pub use crate::invariant::Invariant;
pub use adversary::ATTACKERS;
pub use check::Failure;
pub use fault::{Class, Faults, Plan, PlanError};
pub use guest::{Guest, Invitation, Said};
pub use run::{HEALING, Options, Report, run, run_with_guests};
pub use scenario::Scenario;
