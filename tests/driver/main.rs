//! The loop on real sockets: two drivers in one thread, turned in turns, or a driver and a plain socket.

mod bandwidth;
mod begun;
mod drain;
mod faults;
mod fill;
mod half_close;
mod party;
mod pieces;
mod promise;
mod shards;
mod shares;
mod socks;
#[path = "../socks_support/mod.rs"]
mod socks_support;
mod stop;
mod traffic;
mod urgent;
mod waiting_room;
