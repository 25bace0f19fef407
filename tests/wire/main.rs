//! The wire contract, from outside: vectors, layouts, caps and frames.

#[path = "../../benches/feeder/mod.rs"]
mod feeder;

mod corpus;
mod frames;
mod limits;
mod messages;
mod page;
mod vectors;
mod wrapped;
