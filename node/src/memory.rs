//! Memory that a flood made the process hold, and its way back to the system.
//!
//! The allocator keeps what was freed for a second, in case that it is wanted again, and looks at what is older when a large piece is
//! freed once more. After a flood that may be never: a quiet node frees nothing large. So somebody has to, now and then, and not the
//! loop, for giving back hundreds of megabytes takes tens of milliseconds.

use std::hint::black_box;
use std::time::Duration;

/// How often that is: a few times in the minute after which a flood shall be forgotten, and seldom enough to cost nothing.
pub(crate) const GIVE_BACK: Duration = Duration::from_secs(5);

/// Large enough that the allocator keeps none of it for itself. It is not written to, so it costs no memory.
const LARGE: usize = 4 << 20;

/// Has the allocator look at what was freed more than a second ago.
pub(crate) fn give_back() {
    drop(black_box(Vec::<u8>::with_capacity(LARGE)));
}
