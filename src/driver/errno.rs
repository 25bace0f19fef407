//! Which errors are about us: out of descriptors, memory or local addresses.

use std::io;

use crate::close::CloseReason;

// The standard library has no kinds for the first three. POSIX names them, every system numbers them alike but the last.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
pub(crate) const EMFILE: i32 = 24;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const ENOBUFS: i32 = 105;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const ENOBUFS: i32 = 55;

/// True when trying again later, and only later, may help, and the peer has nothing to do with it.
pub(super) fn is_resource(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
        || matches!(error.kind(), io::ErrorKind::OutOfMemory)
}

/// Why a dial failed.
pub(super) fn dial_reason(error: &io::Error) -> CloseReason {
    if is_resource(error) || error.kind() == io::ErrorKind::AddrNotAvailable {
        CloseReason::LocalResource(error.kind())
    } else {
        CloseReason::Io(error.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_errors_are_ours_and_connection_errors_are_not() {
        for code in [ENOMEM, ENFILE, EMFILE, ENOBUFS] {
            assert!(is_resource(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for kind in [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::Interrupted,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::NetworkDown,
        ] {
            assert!(!is_resource(&kind.into()), "{kind}");
        }
        let none_left = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert_eq!(dial_reason(&none_left), CloseReason::LocalResource(io::ErrorKind::AddrNotAvailable));
    }
}
