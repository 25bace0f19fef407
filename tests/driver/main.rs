//! The loop on real sockets: two drivers in one thread, turned in turns, or a driver and a plain socket.

mod begun;
mod drain;
mod faults;
mod half_close;
mod party;
mod promise;
mod shares;
mod stop;
mod traffic;
mod urgent;
mod waiting_room;
