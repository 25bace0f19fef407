//! What a node knows about others, and whom it talks to: small state machines that the node composes.
//!
//! | file | answers |
//! |---|---|
//! | [`peer_table`] | which peers do we know, and which are the best? |
//! | [`reputation`] | what has this address or identity done to us, and is it blacklisted? |
//! | [`operator_bans`] | whom does a person keep out? |
//! | [`ban`] | how is a ban written, shown and saved? |
//! | [`blacklist`] | when does somebody count as bad, for either of these two? |
//! | [`admission`] | may this stranger connect? |
//! | [`evict`] | who gives way to a newcomer? |
//! | [`address_book`] | which addresses have we heard of, and which may be dialed now? |
//! | [`outbound`] | whom do we dial next, and when do we look again? |
//! | [`reach`] | do others reach us, and where? |
//! | [`name`] | whom did the operator name, other than by an address? |
//! | [`share`] | which addresses do we tell, and how many do we listen to? |
//!
//! The peer table is keyed by node ids, which anyone may claim in plaintext; it orders dials. Reputation is keyed by
//! addresses, which an attacker has to own; it bans. None of these reads a clock or draws a random number by itself.

pub mod address_book;
pub mod admission;
pub mod ban;
pub mod blacklist;
pub mod evict;
pub mod name;
pub mod operator_bans;
pub mod outbound;
pub mod own_addresses;
pub mod peer_key;
pub mod peer_table;
pub mod reach;
pub mod reputation;
pub mod retry;
pub mod share;

mod decay;

pub use address_book::{AddressBook, AddressBookConfig};
pub use admission::{Admission, AdmissionConfig, AdmissionRefusal};
pub use ban::{Ban, Banned, BannedBy};
pub use blacklist::BlacklistConfig;
pub use name::PeerName;
pub use operator_bans::OperatorBans;
pub use outbound::{OutboundConfig, OutboundManager};
pub use peer_key::PeerKey;
pub use peer_table::{PeerRecord, PeerTable, PeerTableConfig};
pub use reach::Reach;
pub use reputation::{Reputation, ReputationConfig};
