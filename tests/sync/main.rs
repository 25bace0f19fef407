//! The catch-up engine against scripted peers on a virtual clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod abuse;
mod conversations;
mod deep_forks;
mod lateness;
mod lines;
mod property;
mod toy;
mod world;
