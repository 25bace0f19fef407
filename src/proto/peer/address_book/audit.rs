//! Do the book's entries, queues and counts say the same?

use std::collections::BTreeMap;

use super::{AddressBook, place};
use crate::address::{Group, Scope, Subnet};

impl AddressBook {
    /// Counts everything anew. O(n log n): for the simulator and the fuzz targets.
    ///
    /// # Errors
    ///
    /// What is wrong, first the name of the rule.
    pub fn audit(&self) -> Result<(), String> {
        let rule = |holds: bool, found: &dyn Fn() -> String| if holds { Ok(()) } else { Err(found()) };
        let most = self.config.addresses_max;
        rule(self.entries.len() <= most, &|| format!("S17: {} addresses of {most}", self.entries.len()))?;
        rule(self.never.len() <= most, &|| format!("S17: {} addresses marked never of {most}", self.never.len()))?;
        rule(self.never.len() == self.never_order.len(), &|| "S17: the marks and their order differ".to_owned())?;
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
            rule(queued, &|| format!("S17: {address} is in no queue"))?;
            if entry.is_verified() {
                urgent += 1;
                let queued = self.urgent_queue.contains(&(entry.urgent_attempt, *address));
                rule(queued, &|| format!("S17: verified {address} is not in its queue"))?;
            }
            rule(!self.never.contains(address), &|| format!("S17: {address} is marked never and known"))?;
            rule(Scope::of_socket(*address) != Scope::Unusable, &|| format!("S17: {address} cannot be dialed"))?;
            *subnets.entry(Subnet::of(address.ip())).or_insert(0usize) += 1;
            if let Some(group) = Group::of(address.ip()).filter(|_| entry.is_sound()) {
                *groups.entry(group).or_insert(0usize) += 1;
            }
        }
        rule(proven == self.proven_queue.len(), &|| "S17: the queue of proven addresses has others".to_owned())?;
        rule(urgent == self.urgent_queue.len(), &|| "S17: the queue of verified addresses has others".to_owned())?;
        rule(unproven == self.queue.len(), &|| "S17: the queue has addresses that are not known".to_owned())?;
        rule(unproven == self.leaving.len(), &|| "S17: addresses give way that are not known".to_owned())?;
        rule(subnets == self.subnets, &|| "S17: the counts by subnet are wrong".to_owned())?;
        rule(groups == self.groups, &|| "S17: the counts by group are wrong".to_owned())?;
        let limited = |subnet: &Subnet| !self.config.allow_private || Scope::of(subnet.ip()) == Scope::Global;
        let crowded = subnets.iter().find(|(subnet, n)| limited(subnet) && **n > self.config.per_subnet_max);
        rule(crowded.is_none(), &|| format!("S17: too many addresses of one subnet: {crowded:?}"))
    }
}
