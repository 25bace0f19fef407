//! `addresses.json`: the address book, restored at start and saved now and then by a thread of its own.

use std::path::Path;

use spacetime_network::chain::ReferenceChain;
use spacetime_network::driver::node::NodeMut;
use spacetime_network::driver::store::addresses;
use spacetime_network::driver::store::peers::LoadProblem;
use spacetime_network::driver::store::{DanglingLink, NotAFile};
use spacetime_network::proto::peer::address_book::SavedAddress;
use spacetime_network::time::Now;

use crate::failure::{Failure, disk_remedy};
use crate::keeper::{Keeper, Kept};

/// Saves the book of a running node.
pub(crate) fn keeper(path: &Path) -> Result<Keeper<Vec<SavedAddress>>, Failure> {
    Keeper::start(path, Kept { what: "addresses", at_risk: "a restart before knows fewer of them", save })
}

/// Saves the book now.
#[allow(clippy::ptr_arg, reason = "what is kept is a list")]
pub(crate) fn save(path: &Path, list: &Vec<SavedAddress>) -> Result<(), Failure> {
    addresses::save(path, list)
        .map_err(|error| Failure::new(format!("save {}", path.display()), &error, disk_remedy(&error)))
}

/// Gives the node the addresses of an earlier run. What cannot be used is reported, and the node goes on without it.
///
/// # Errors
///
/// As for the saved peers.
pub(crate) fn restore(path: &Path, mut node: NodeMut<'_, ReferenceChain>, now: Now) -> Result<(), Failure> {
    let loaded = addresses::load(path, now.unix);
    match loaded.problem {
        Some(LoadProblem::Unreadable(error))
            if DanglingLink::behind(&error).is_some() || NotAFile::behind(&error).is_some() =>
        {
            return Err(Failure::new(format!("read {}", path.display()), &error, disk_remedy(&error)));
        }
        Some(problem @ LoadProblem::DamagedInPart { .. }) => {
            tracing::warn!(file = %path.display(), %problem, "starting with the rest of the saved addresses");
        }
        Some(problem) => tracing::warn!(file = %path.display(), %problem, "starting without the saved addresses"),
        None => {}
    }
    let (saved, taken) = (loaded.addresses.len(), node.restore_addresses(now, loaded.addresses));
    tracing::debug!(saved, taken, "addresses of an earlier run");
    Ok(())
}
