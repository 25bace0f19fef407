//! What is spoken on a socket before frames flow, besides TLS: nothing, or the upgrade to WebSocket.

#[cfg(feature = "ws")]
use std::sync::Arc;

#[cfg(feature = "ws")]
use crate::link::web_socket::{self, WebSocketOptions, WebSocketTarget};

/// By which way a connection comes to be. Without the feature `ws` there is one, which takes no memory.
#[derive(Clone, Debug, Default)]
pub(super) enum Door {
    /// Frames from the first byte on, or from the end of TLS's handshake.
    #[default]
    Frames,
    /// Somebody came to a WebSocket listener with these settings.
    #[cfg(feature = "ws")]
    WebSocket(Arc<WebSocketOptions>),
    /// We dial somebody over WebSocket.
    #[cfg(feature = "ws")]
    Target(Arc<WebSocketTarget>),
}

impl Door {
    pub(super) fn is_web_socket(&self) -> bool {
        !matches!(self, Door::Frames)
    }
}

/// What is said in plain text to one who is turned away from a WebSocket port.
#[cfg(feature = "ws")]
pub(super) const TURNED_AWAY: &[u8] = web_socket::TURNED_AWAY;
/// Nobody comes to one.
#[cfg(not(feature = "ws"))]
pub(super) const TURNED_AWAY: &[u8] = &[];
