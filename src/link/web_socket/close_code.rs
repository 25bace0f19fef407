//! The codes of close frames (RFC 6455, section 7.4): which we say, and which may be said to us.

use crate::close::{Blame, CloseReason, WebSocketFault};

/// The connection has served its purpose.
pub(super) const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const TRY_AGAIN_LATER: u16 = 1013;

/// What we say at the end of a connection that ends for this reason.
pub(super) fn of(reason: CloseReason) -> u16 {
    match (reason, reason.blame()) {
        (CloseReason::WebSocket(fault), _) => fault.code().unwrap_or(NORMAL),
        (CloseReason::Shutdown, _) => GOING_AWAY,
        (CloseReason::LimitReached | CloseReason::LocalResource(_), _) => TRY_AGAIN_LATER,
        (_, Blame::Misbehaved | Blame::Incompatible) => POLICY,
        _ => NORMAL,
    }
}

/// The code in the content of a close frame; `None` when there is none.
///
/// # Errors
///
/// A content that no endpoint may send.
pub(super) fn read(content: &[u8]) -> Result<Option<u16>, WebSocketFault> {
    let (high, low, reason) = match content {
        [] => return Ok(None),
        [high, low, reason @ ..] => (*high, *low, reason),
        [_] => return Err(WebSocketFault::Protocol),
    };
    let code = u16::from_be_bytes([high, low]);
    // 1004 to 1006 and 1015 are never sent, 1016 to 2999 are for what follows RFC 6455, and from 3000 on for anybody.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(WebSocketFault::Protocol);
    }
    match core::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(WebSocketFault::BadText),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_says_whose_fault_it_was_and_whether_to_come_again() {
        for (reason, code) in [
            (CloseReason::Shutdown, 1001),
            (CloseReason::LimitReached, 1013),
            (CloseReason::WrongNetwork, 1008),
            (CloseReason::IdentityChanged, 1008),
            (CloseReason::RemoteClosed, 1000),
            (CloseReason::Done, 1000),
            (CloseReason::WebSocket(WebSocketFault::Text), 1003),
        ] {
            assert_eq!(of(reason), code, "{reason}");
            assert!(read(&code.to_be_bytes()).is_ok(), "we say only what may be said");
        }
    }
}
