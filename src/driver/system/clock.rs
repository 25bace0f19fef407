//! The one place of the loop that reads clocks.

use std::time::{Instant as SystemInstant, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, Now, UnixTime};

pub(in crate::driver) enum Clock {
    Os {
        start: SystemInstant,
    },
    #[cfg(feature = "sim")]
    Virtual(super::SharedKernel),
}

impl Clock {
    pub(in crate::driver) fn new() -> Self {
        Clock::Os { start: SystemInstant::now() }
    }

    #[inline]
    pub(in crate::driver) fn now(&self) -> Now {
        match self {
            Clock::Os { start } => system_now(*start),
            #[cfg(feature = "sim")]
            Clock::Virtual(kernel) => super::lock(kernel).now(),
        }
    }
}

fn system_now(start: SystemInstant) -> Now {
    let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Now { at: Instant::from_nanos(nanos), unix: UnixTime::from_millis(millis) }
}
