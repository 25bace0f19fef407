//! Walls between the nodes of a world: a network that falls apart, and grows together again.

use spacetime_network::close::CloseReason;

use crate::world::{End, Mail, World};

impl World {
    /// Builds a wall between the nodes that `side` puts on different sides, and cuts what leads through it.
    pub fn wall(&mut self, side: impl Fn(usize) -> u64) {
        self.sides = (0..self.parties.len()).map(|party| (party, side(party))).collect();
        let through: Vec<End> = self
            .links
            .iter()
            .filter(|(a, b)| self.is_node(a.0) && self.is_node(b.0) && self.sides[&a.0] != self.sides[&b.0])
            .map(|(a, _)| *a)
            .collect();
        for end in through {
            let reason = CloseReason::Io(std::io::ErrorKind::ConnectionReset);
            if self.links.contains_key(&end) {
                self.cut(end, reason);
                self.mail.push_back(Mail::Closed(end, reason));
            }
        }
        self.settle();
    }

    pub fn unwall(&mut self) {
        self.sides.clear();
    }
}
