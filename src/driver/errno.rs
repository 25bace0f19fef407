//! Which errors are about us: out of descriptors or memory.

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

#[cfg(any(target_os = "linux", target_os = "android"))]
const EAFNOSUPPORT: i32 = 97;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const EAFNOSUPPORT: i32 = 47;

/// True when trying again later, and only later, may help, and the peer has nothing to do with it.
pub(super) fn is_resource(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
        || matches!(error.kind(), io::ErrorKind::OutOfMemory)
}

/// Why a dial failed. That this machine has no address for it (EADDRNOTAVAIL, as with IPv6 switched off) or does not know its
/// family (EAFNOSUPPORT) is no lack of anything that could be freed: it cannot be reached from here.
pub(super) fn dial_reason(error: &io::Error) -> CloseReason {
    if is_resource(error) {
        CloseReason::LocalResource(error.kind())
    } else if error.raw_os_error() == Some(EAFNOSUPPORT) {
        // The standard library has no kind for it.
        CloseReason::Io(io::ErrorKind::Unsupported)
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
    }

    /// With IPv6 switched off, every dial told the operator to free files and memory.
    #[test]
    fn a_family_that_this_machine_does_not_have_is_out_of_reach_and_no_lack_of_resources() {
        let unreachable = [
            (io::Error::from(io::ErrorKind::AddrNotAvailable), io::ErrorKind::AddrNotAvailable),
            (io::Error::from(io::ErrorKind::NetworkUnreachable), io::ErrorKind::NetworkUnreachable),
            (io::Error::from_raw_os_error(EAFNOSUPPORT), io::ErrorKind::Unsupported),
        ];
        for (error, kind) in unreachable {
            assert_eq!(dial_reason(&error), CloseReason::Io(kind), "{error}");
        }
    }
}
