//! Which hosts cannot reach which, while the network is in parts.

/// How a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing passes between two sides.
    BothWays,
    /// Nothing passes from a lower side to a higher one.
    OneWay,
}

/// The parts of the network.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Which side each host is on. A host that came later is on side 0.
    sides: Vec<u32>,
    cut: Option<Cut>,
}

impl Partition {
    /// The network falls into parts: each host, by its number, is on the side of the same place.
    pub(super) fn begin(&mut self, cut: Cut, sides: Vec<u32>) {
        (self.sides, self.cut) = (sides, Some(cut));
    }

    /// It grows together again.
    pub(super) fn end(&mut self) {
        self.cut = None;
    }

    pub(super) fn is_active(&self) -> bool {
        self.cut.is_some()
    }

    /// Is the way from one host to another cut?
    pub(super) fn is_cut(&self, from: u32, to: u32) -> bool {
        let side = |host: u32| self.sides.get(host as usize).copied().unwrap_or(0);
        match self.cut {
            None => false,
            Some(Cut::BothWays) => side(from) != side(to),
            Some(Cut::OneWay) => side(from) < side(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_cuts_between_sides_both_ways_or_one_way_until_it_ends() {
        let mut partition = Partition::default();
        assert!(!partition.is_cut(0, 1) && !partition.is_active());
        partition.begin(Cut::BothWays, vec![0, 1, 1]);
        assert!(partition.is_cut(0, 1) && partition.is_cut(1, 0) && !partition.is_cut(1, 2));
        partition.begin(Cut::OneWay, vec![0, 1, 1]);
        assert!(partition.is_cut(0, 1) && !partition.is_cut(1, 0) && partition.is_active());
        partition.end();
        assert!(!partition.is_cut(0, 1) && !partition.is_active());
    }
}
