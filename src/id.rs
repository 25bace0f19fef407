//! Names for connections and dials that outlive what they name.

use core::fmt;

/// A connection: a slab slot and the slot's generation.
///
/// A slot is used again after a close, with the next generation, so an event or a command for a connection that is gone
/// finds nobody instead of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// The name of slot `index` in its life number `generation`.
    pub const fn new(index: u32, generation: u32) -> Self {
        ConnId { index, generation }
    }

    /// The slab slot.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How many connections the slot had before this one.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// An attempt to connect, named by whoever asks for it; it comes back in the event that says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The remote side dialed us.
    Inbound,
    /// We dialed, under this name.
    Outbound(DialId),
}

impl Direction {
    /// True when we dialed.
    pub const fn is_outbound(self) -> bool {
        matches!(self, Direction::Outbound(_))
    }
}
