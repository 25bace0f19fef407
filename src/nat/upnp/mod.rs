//! UPnP's Internet Gateway Device, versions 1 and 2: the search, the description and the calls, without sockets.
//!
//! [`Igd`] holds the conversation over a [`Carrier`], which has the sockets. It speaks with the router that the routing table names and
//! nobody else: answers from elsewhere are ignored, and so is a description that leads elsewhere. Whatever comes is bounded before it is
//! looked at.
//!
//! | file | what it knows |
//! |---|---|
//! | `igd` | which call when, and what an answer means |
//! | `ssdp` | the search by datagrams |
//! | `http` | a request, and where an answer ends |
//! | `xml` | elements and texts, and nothing else of XML |
//! | `description` | where a router takes calls |
//! | `soap` | calls and their answers |

mod description;
mod http;
mod igd;
#[cfg(test)]
mod igd_tests;
mod soap;
mod ssdp;
mod xml;

pub use description::{Control, Service, control};
pub use http::{LIMIT, Response, is_whole, parse as parse_response};
pub use igd::{Carrier, Igd};
pub use soap::{Entry, Outcome, entry, external_address, outcome};
pub use ssdp::{SEARCH_PORT, location, searches};
