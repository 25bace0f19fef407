//! What the loop knows of WebSocket beside its connections: whom it dials so, and where masks come from.

#[cfg(feature = "ws")]
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

#[cfg(feature = "ws")]
use crate::{link::web_socket::WebSocketTarget, rng::Rng};

/// Without the feature `ws` it takes no memory to speak of.
#[derive(Debug, Default)]
pub(super) struct WebSockets {
    /// Is the transport that is taken out of its connection WebSocket?
    pub(super) is_lent: bool,
    /// Whom a dial speaks WebSocket with.
    #[cfg(feature = "ws")]
    pub(super) targets: BTreeMap<SocketAddr, Arc<WebSocketTarget>>,
    #[cfg(feature = "ws")]
    pub(super) rng: Option<Rng>,
}
