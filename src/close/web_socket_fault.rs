//! What goes wrong in WebSocket (RFC 6455), and whose doing that is.

use core::fmt;

use super::blame::Blame;

/// Why WebSocket ended a connection, or never let it begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WebSocketFault {
    // Before a frame: it is at the wrong door.
    /// What came to our WebSocket port asks for no upgrade. It is answered in HTTP.
    NotAnUpgrade,
    /// A page of an origin that is not let in.
    OriginRefused,
    /// Whoever we dialed answered with this status of HTTP.
    Refused(u16),
    /// Whoever we dialed answers an upgrade wrongly, or not in HTTP.
    BadUpgrade,

    // The network, or its silence, ended it.
    /// The upgrade took too long.
    UpgradeTimeout,
    /// The stream ended before the upgrade was done.
    Cut,

    // It breaks RFC 6455, or our bounds.
    /// A frame that RFC 6455 does not allow where it came (1002).
    Protocol,
    /// A text message: the wire protocol is binary (1003).
    Text,
    /// A reason for a close that is no UTF-8 (1007).
    BadText,
    /// A message that is longer than any correct node sends (1009).
    TooLarge,
    /// More pings, or more frames without content, than any correct node sends (1008).
    Flooding,
}

impl WebSocketFault {
    /// All of them; the status is an example.
    pub const ALL: [WebSocketFault; 11] = [
        WebSocketFault::NotAnUpgrade,
        WebSocketFault::OriginRefused,
        WebSocketFault::Refused(404),
        WebSocketFault::BadUpgrade,
        WebSocketFault::UpgradeTimeout,
        WebSocketFault::Cut,
        WebSocketFault::Protocol,
        WebSocketFault::Text,
        WebSocketFault::BadText,
        WebSocketFault::TooLarge,
        WebSocketFault::Flooding,
    ];

    /// Whose doing it is.
    pub const fn blame(self) -> Blame {
        use WebSocketFault::*;
        match self {
            NotAnUpgrade | OriginRefused | Refused(_) | BadUpgrade => Blame::Incompatible,
            UpgradeTimeout | Cut => Blame::Lost,
            Protocol | Text | BadText | TooLarge | Flooding => Blame::Misbehaved,
        }
    }

    /// Did it come to us for something that is not here?
    pub const fn is_at_the_wrong_door(self) -> bool {
        matches!(self, WebSocketFault::NotAnUpgrade | WebSocketFault::OriginRefused)
    }

    /// A word for counters and logs; one for each variant.
    pub const fn label(self) -> &'static str {
        use WebSocketFault::*;
        match self {
            NotAnUpgrade => "ws-not-an-upgrade",
            OriginRefused => "ws-origin-refused",
            Refused(_) => "ws-refused",
            BadUpgrade => "ws-bad-upgrade",
            UpgradeTimeout => "ws-upgrade-timeout",
            Cut => "ws-cut",
            Protocol => "ws-protocol",
            Text => "ws-text",
            BadText => "ws-bad-text",
            TooLarge => "ws-too-large",
            Flooding => "ws-flooding",
        }
    }

    /// The code of the close frame that says so, where a close frame can (RFC 6455, section 7.4).
    pub const fn code(self) -> Option<u16> {
        use WebSocketFault::*;
        match self {
            Protocol => Some(1002),
            Text => Some(1003),
            BadText => Some(1007),
            Flooding => Some(1008),
            TooLarge => Some(1009),
            NotAnUpgrade | OriginRefused | Refused(_) | BadUpgrade | UpgradeTimeout | Cut => None,
        }
    }
}

impl fmt::Display for WebSocketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use WebSocketFault::*;
        f.write_str(match self {
            NotAnUpgrade => "what it sent is no WebSocket upgrade: a browser or a health check at the wrong port",
            OriginRefused => "a page of an origin that is not let in; allow the origin if it is yours",
            Refused(status) => {
                return write!(f, "it answered the upgrade with HTTP status {status}: check the address and the path");
            }
            BadUpgrade => "it does not answer as a WebSocket server: check the address",
            UpgradeTimeout => "the WebSocket upgrade took too long",
            Cut => "closed before the WebSocket upgrade was done",
            Protocol => "it broke the WebSocket protocol",
            Text => "it sent a text message, where all messages are binary",
            BadText => "it closed with a reason that is no UTF-8",
            TooLarge => "its message is too large",
            Flooding => "too many pings or empty frames",
        })
    }
}
