//! The one place of the loop that reads clocks.

use std::time::{Instant as SystemInstant, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, Now, UnixTime};

#[derive(Debug)]
pub(super) struct Clock {
    start: SystemInstant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Clock { start: SystemInstant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
        };
        Now { at: Instant::from_nanos(nanos), unix: UnixTime::from_millis(millis) }
    }
}
