//! Do the book's entries, queues and counts say the same?

use std::collections::BTreeMap;

use super::{AddressBook, place};
use crate::address::{Group, Scope, Subnet};
use crate::invariant::{Broken, Invariant};

impl AddressBook {
    /// Counts everything anew. O(n log n): for the simulator and the fuzz targets.
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let rule = |holds: bool, found: &dyn Fn() -> String| Invariant::S17.check(holds, found);
        let most = self.config.addresses_max;
        rule(self.entries.len() <= most, &|| format!("{} addresses of {most}", self.entries.len()))?;
        rule(self.never.len() <= most, &|| format!("{} addresses marked never of {most}", self.never.len()))?;
        rule(self.never.len() == self.never_order.len(), &|| "the marks and their order differ".to_owned())?;
        let (mut subnets, mut groups) = (BTreeMap::new(), BTreeMap::new());
        let (mut proven, mut urgent, mut unproven) = (0, 0, 0);
        for (address, entry) in &self.entries {
            let at = (entry.next_attempt, *address);
            let queued = if entry.proven.is_some() {
                proven += 1;
                self.proven_queue.contains(&at)
            } else {
                unproven += 1;
                self.queue.contains(&at) && self.leaving.contains(&place(*address, entry))
            };
            rule(queued, &|| format!("{address} is in no queue"))?;
            if entry.is_verified() {
                urgent += 1;
                let queued = self.urgent_queue.contains(&(entry.urgent_attempt, *address));
                rule(queued, &|| format!("verified {address} is not in its queue"))?;
            }
            rule(!self.never.contains(address), &|| format!("{address} is marked never and known"))?;
            rule(Scope::of_socket(*address) != Scope::Unusable, &|| format!("{address} cannot be dialed"))?;
            *subnets.entry(Subnet::of(address.ip())).or_insert(0usize) += 1;
            if let Some(group) = Group::of(address.ip()).filter(|_| entry.is_sound()) {
                *groups.entry(group).or_insert(0usize) += 1;
            }
        }
        rule(proven == self.proven_queue.len(), &|| "the queue of proven addresses has others".to_owned())?;
        rule(urgent == self.urgent_queue.len(), &|| "the queue of verified addresses has others".to_owned())?;
        rule(unproven == self.queue.len(), &|| "the queue has addresses that are not known".to_owned())?;
        rule(unproven == self.leaving.len(), &|| "addresses give way that are not known".to_owned())?;
        rule(subnets == self.subnets, &|| "the counts by subnet are wrong".to_owned())?;
        rule(groups == self.groups, &|| "the counts by group are wrong".to_owned())?;
        let limited = |subnet: &Subnet| !self.config.allow_private || Scope::of(subnet.ip()) == Scope::Global;
        let crowded = subnets.iter().find(|(subnet, n)| limited(subnet) && **n > self.config.per_subnet_max);
        rule(crowded.is_none(), &|| format!("too many addresses of one subnet: {crowded:?}"))
    }
}
