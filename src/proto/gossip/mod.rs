//! Passing on what is new: which objects were seen, which peer knows which, and what of our own still waits for one.
//!
//! A node calls [`Seen::contains`] before it validates an object, [`Seen::mark`] after the object proved valid, and then
//! [`Relay::relay`] once. An invalid object is never marked, so its name cannot be used to censor the valid one.

pub mod fair;
pub mod own;
pub mod relay;
pub mod relayed;
pub mod seen;
pub(crate) mod side_blocks;
pub mod unheard;

pub use fair::FairQueue;
pub use own::OwnGossip;
pub use relay::Relay;
pub use relayed::RelayedGossip;
pub use seen::Seen;
pub use unheard::UnheardGossip;
