//! Whether others reach us, as lines of the log: what a router forwards, what peers see, who came.

use spacetime_network::mapping::Mapping;
use spacetime_network::proto::Event;
use spacetime_network::proto::peer::Reach;
use tracing::{debug, info, warn};

/// Remembers what was said, so that nothing is said again with each lease.
#[derive(Debug, Default)]
pub(super) struct ReachLog {
    has_second_router: bool,
    failed: bool,
}

impl ReachLog {
    /// One event; false when it is about something else.
    pub(super) fn write(&mut self, event: &Event, reach: &Reach) -> bool {
        match event {
            Event::PortMapping(Mapping::Mapped(mapped)) => {
                self.failed = false;
                let (port, internal, via) = (mapped.external_port, mapped.internal, mapped.via.name());
                info!(port, %internal, via, "the router forwards a port to us");
            }
            Event::PortMapping(Mapping::Failed(why)) => {
                // It is tried again and again.
                if !core::mem::replace(&mut self.failed, true) {
                    info!("no port is forwarded to us, and it is tried again: {why}");
                } else {
                    debug!("no port is forwarded to us: {why}");
                }
            }
            Event::PortMapping(mapping) => debug!(?mapping, "the port that the router is to forward"),
            Event::RouterRestarted => info!("the router has lost its memory, and was asked for our port again"),
            Event::SeenAt { address } => info!(%address, "most of those whom we dialed see us at this address"),
            Event::Reachable { remote } => info!(%remote, "reachable: somebody has come from the internet"),
            _ => return false,
        }
        let has_second_router = reach.has_second_router();
        if has_second_router && !self.has_second_router {
            let claims = reach.mapping.mapped().and_then(|mapped| mapped.claimed).map(tracing::field::display);
            warn!(
                claims,
                seen = reach.seen.map(tracing::field::display),
                "a second router seems to stand between ours and the internet: what ours says of its own address is not what \
                 peers see; forward the port there too"
            );
        }
        self.has_second_router = has_second_router;
        true
    }
}
