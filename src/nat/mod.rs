//! Asking the router at home to forward a port to us: state machines without sockets, clock or chance of their own.
//!
//! [`PortMapping`] decides: which protocol is asked, when a mapping is renewed, given back or looked for anew. It is fed with datagrams,
//! answers and the time, and says by [`Action`]s what is to be sent. What is said to a router, byte for byte, is in `pcp`, `natpmp`
//! and, with feature `upnp`, `upnp`; all of it is of a size that is fixed or bounded, and a router that lies can at most have us believe
//! in a port that it does not forward.
//!
//! | file | what it knows |
//! |---|---|
//! | `port_mapping` | which protocol, when, and what an answer means |
//! | `question` | a datagram's question and its answer, whichever of the two protocols it is |
//! | `pcp`, `natpmp` | bytes of RFC 6887 and RFC 6886 |
//! | `epoch` | whether a router has lost its memory |
//! | `job` | what is asked of a router over UPnP, and what came of it |
//! | `upnp` | the search, the description and the calls of UPnP |

mod bytes;
mod epoch;
mod job;
pub mod natpmp;
pub mod pcp;
mod port_mapping;
#[cfg(test)]
mod port_mapping_tests;
mod question;
#[cfg(feature = "upnp")]
#[cfg_attr(docsrs, doc(cfg(feature = "upnp")))]
pub mod upnp;
#[cfg(test)]
mod virtual_router;

pub use job::{Job, JobKind, JobResult, JobTicket, UpnpGrant};
pub use port_mapping::{Action, Network, PortMapping, Settings};
pub use question::{Datagram, ROUTER_PORT};
