//! How many connections this process can hold: the operator's wish, cut to what the system gives.

use crate::failure::Failure;

/// Descriptors kept back for the store, the log, listeners, saves and dials under way.
const RESERVE: u64 = 32;

/// Raises the limit on open files and answers how many connections fit, at most `wanted`, beside `others` of the program's own.
pub(crate) fn connections(wanted: u32, others: u64) -> Result<u32, Failure> {
    // An increase that is refused leaves the limit as it is, which is then what counts.
    let limit = match rlimit::increase_nofile_limit(u64::from(wanted).saturating_add(RESERVE).saturating_add(others)) {
        Ok(limit) => limit,
        Err(_) => current(),
    };
    clamp(wanted, limit.saturating_sub(others))
}

#[cfg(unix)]
fn current() -> u64 {
    rlimit::Resource::NOFILE.get().map_or(u64::MAX, |(soft, _)| soft)
}

#[cfg(not(unix))]
fn current() -> u64 {
    u64::MAX
}

fn clamp(wanted: u32, limit: u64) -> Result<u32, Failure> {
    match u32::try_from(limit.saturating_sub(RESERVE)).unwrap_or(u32::MAX) {
        0 => Err(Failure::new(
            "hold any connection",
            format!("only {limit} files may be open at a time"),
            format!("raise the limit above {RESERVE} with ulimit -n"),
        )),
        room => Ok(room.min(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_cut_to_what_the_system_gives() {
        assert_eq!(clamp(128, 1024), Ok(128));
        assert_eq!(clamp(128, 64), Ok(32));
        assert_eq!(clamp(128, 33), Ok(1));
        assert!(clamp(128, 32).is_err());
        assert_eq!(clamp(128, u64::MAX), Ok(128));
    }
}
