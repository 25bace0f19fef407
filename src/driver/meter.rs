//! Where work is told of that is no event.

use super::net::Net;

/// What a look at [the start of a frame](super::Protocol::begun) has cost is said here.
#[derive(Debug)]
pub struct Meter<'a>(&'a mut Net);

impl Meter<'_> {
    pub(super) fn of(net: &mut Net) -> Meter<'_> {
        Meter(net)
    }

    /// So many units of work, see [`Net::spend`].
    pub fn spend(&mut self, units: u32) {
        self.0.spend(units);
    }
}
