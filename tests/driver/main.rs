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
mod stop;
mod traffic;
mod urgent;
mod waiting_room;
