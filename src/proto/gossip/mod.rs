//! Passing on what is new: which objects were seen, and which peer knows which.
//!
//! A node calls [`Seen::contains`] before it validates an object, [`Seen::mark`] after the object proved valid, and then
//! [`Relay::relay`] once. An invalid object is never marked, so its name cannot be used to censor the valid one.

pub mod relay;
pub mod seen;

pub use relay::Relay;
pub use seen::Seen;
