//! Conversations between nodes and strangers on a virtual clock: what the node promises, by behaviour.
#![cfg(feature = "chain")]

mod bans;
mod blame;
mod carrier;
mod chaos;
mod claims;
mod clocks;
mod clumsy;
mod contract;
mod descriptors;
mod dialects;
mod discovery;
mod fair;
mod greeting;
mod healing;
mod hostile;
mod identity;
mod introduction;
mod judgement;
mod liveness;
mod many_headers;
mod many_transactions;
mod names;
mod own_address;
mod own_gossip;
mod places;
mod pools;
mod pushed;
mod recorded;
mod relay;
mod remembering;
mod routes;
mod runs;
mod serving;
mod settings;
mod side_blocks;
mod strict_network;
#[path = "../strict_peer/mod.rs"]
mod strict_peer;
mod walls;
mod without_handshake;
mod world;
mod wrapped;
mod wrong_door;
