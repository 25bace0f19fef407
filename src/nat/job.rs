//! What is asked of a router over UPnP. That takes several connections, so a whole job goes to whoever has sockets, and its result
//! comes back.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use crate::mapping::Unmapped;

/// Which job a result is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTicket(pub(super) u64);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// See to it that a port is forwarded to us: this one, or the first of the others that nobody else has.
    Keep {
        /// The port on the other side that we would like, or have.
        external_port: u16,
        /// What to try when it is another machine's.
        others: [u16; 8],
        /// For how long.
        lease: Duration,
    },
    /// Give back what was granted last.
    Release,
}

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// To be handed back with the result.
    pub ticket: JobTicket,
    /// What is to be done.
    pub kind: JobKind,
    /// Our address in the network behind the router.
    pub own: Ipv4Addr,
    /// The router.
    pub router: Ipv4Addr,
    /// The port of our listener.
    pub internal_port: u16,
}

/// A port that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpnpGrant {
    /// The port on the other side.
    pub external_port: u16,
    /// What the router says that its address there is.
    pub claimed: Option<IpAddr>,
    /// For how long; `None` where the router knows only mappings for ever.
    pub lease: Option<Duration>,
}

/// What came of a job: `None` inside when a port was given back.
pub type JobResult = Result<Option<UpnpGrant>, Unmapped>;
