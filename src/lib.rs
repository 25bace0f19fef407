//! Placeholder
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

#[cfg(feature = "chain")]
pub mod chain;
pub mod close;
pub mod driver;
pub mod id;
pub mod limits;
pub mod link;
pub mod proto;
pub mod rng;
pub mod time;
pub mod wire;

/// The front page's code, compiled as it stands.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
