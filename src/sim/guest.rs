//! Guests: those at the network whom a test plays, frame by frame, as peers that are no nodes of ours.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};

use super::kernel::{Machine, SharedMachine};
use super::simulation::SimState;
use crate::driver::{Kernel, SocketId};
use crate::time::Instant;
use crate::wire::frame;

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// How often a guest is asked what it has to say by itself.
const PACE: Duration = Duration::from_millis(250);

/// A frame: its type byte and its payload.
pub type Said = (u8, Vec<u8>);

/// Who comes to the network besides the nodes. Each of its connections has a number.
pub trait Guest {
    /// A connection stands: what it says first.
    fn opened(&mut self, conn: u32, dialed: bool, at: Duration) -> Vec<Said>;
    /// A frame came: what it answers.
    fn heard(&mut self, conn: u32, at: Duration, byte: u8, payload: &[u8]) -> Vec<Said>;
    /// Time passes, a quarter of a second or less: what it says by itself.
    fn due(&mut self, conn: u32, at: Duration) -> Vec<Said>;
    /// The other side, or the network, has ended a connection.
    fn lost(&mut self, conn: u32, at: Duration);
}

/// A guest, and how it comes to the network.
pub struct Invitation {
    /// Who it is.
    pub guest: Box<dyn Guest>,
    /// The node that it dials, by its number.
    pub dials: Option<u32>,
    /// The node that keeps a connection to it.
    pub dialed_by: Option<u32>,
}

#[derive(Default)]
struct Line {
    input: Vec<u8>,
    output: Vec<u8>,
    connected: bool,
    dialed: bool,
}

/// A guest on its machine.
pub(super) struct GuestHost {
    index: u32,
    address: SocketAddr,
    machine: SharedMachine,
    guest: Box<dyn Guest>,
    dials: Option<SocketAddr>,
    listener: Option<SocketId>,
    lines: BTreeMap<SocketId, Line>,
    due: Instant,
}

impl GuestHost {
    pub(super) fn new(
        (index, address): (u32, SocketAddr),
        guest: Box<dyn Guest>,
        dials: Option<SocketAddr>,
        machine: SharedMachine,
    ) -> Self {
        GuestHost { index, address, machine, guest, dials, listener: None, lines: BTreeMap::new(), due: Instant::ZERO }
    }

    fn kernel(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its turn: whatever its sockets have for it, and what it says in its own time.
    pub(super) fn turn(&mut self, sim: &mut SimState<'_>) {
        // Its kernel learns the time.
        drop(sim.machine(self.index));
        let at = sim.now().since(Instant::ZERO);
        if self.listener.is_none() {
            self.arrive();
        }
        let mut events = Vec::new();
        // Its kernel has no faults, so a wait does not fail.
        let _ = self.kernel().poll(&mut events);
        for event in events {
            let socket = event.token as SocketId;
            if self.listener == Some(socket) {
                self.accept(at);
            } else {
                self.serve(socket, at);
            }
        }
        if self.due <= sim.now() {
            self.due = sim.now() + PACE;
            let open: Vec<SocketId> =
                self.lines.iter().filter(|(_, line)| line.connected).map(|(key, _)| *key).collect();
            for key in open {
                let said = self.guest.due(key, at);
                self.say(key, said);
            }
        }
        let keys: Vec<SocketId> = self.lines.keys().copied().collect();
        keys.into_iter().for_each(|key| self.flush(key, at));
        sim.pump(self.index);
        if self.kernel().has_news() {
            sim.schedule.touch(self.index);
        }
        sim.schedule.turn_at(self.index, self.due);
    }

    /// It listens, and dials.
    fn arrive(&mut self) {
        let (address, dials) = (self.address, self.dials);
        let mut kernel = self.kernel();
        let listener = kernel.listen(address, 1024).ok();
        if let Some(socket) = listener {
            let _ = kernel.register(socket, socket as usize);
        }
        let dialed = dials.and_then(|target| kernel.connect(target).ok());
        if let Some(socket) = dialed {
            let _ = kernel.register(socket, socket as usize);
        }
        drop(kernel);
        self.listener = listener;
        if let Some(socket) = dialed {
            self.lines.insert(socket, Line { dialed: true, ..Line::default() });
        }
    }

    fn accept(&mut self, at: Duration) {
        let Some(listener) = self.listener else { return };
        loop {
            let accepted = self.kernel().accept(listener);
            let Ok((socket, _)) = accepted else { return };
            let _ = self.kernel().register(socket, socket as usize);
            self.lines.insert(socket, Line { connected: true, ..Line::default() });
            let said = self.guest.opened(socket, false, at);
            self.say(socket, said);
        }
    }

    fn serve(&mut self, key: SocketId, at: Duration) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        if !line.connected {
            let stands = self.machine.lock().unwrap_or_else(PoisonError::into_inner).peer_addr(key).is_ok();
            if !stands {
                return self.drop_line(key, at);
            }
            line.connected = true;
            let said = self.guest.opened(key, line.dialed, at);
            self.say(key, said);
        }
        while self.read(key, at) {}
    }

    /// Reads once; true when there may be more.
    fn read(&mut self, key: SocketId, at: Duration) -> bool {
        let mut buffer = vec![0; READ];
        let outcome = self.kernel().read(key, &mut [IoSliceMut::new(&mut buffer)]);
        let count = match outcome {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {
                self.drop_line(key, at);
                return false;
            }
        };
        let Some(line) = self.lines.get_mut(&key) else { return false };
        line.input.extend_from_slice(&buffer[..count]);
        let mut input = core::mem::take(&mut line.input);
        while let Some(length) = input.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize)
            && length >= 1
            && input.len() >= 4 + length
        {
            let rest = input.split_off(4 + length);
            let said = self.guest.heard(key, at, input[4], &input[5..]);
            self.say(key, said);
            input = rest;
        }
        if let Some(line) = self.lines.get_mut(&key) {
            line.input = input;
        }
        true
    }

    fn say(&mut self, key: SocketId, frames: Vec<Said>) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        for (byte, payload) in frames {
            if let Ok(header) = frame::header(byte, payload.len()) {
                line.output.extend_from_slice(&header);
                line.output.extend_from_slice(&payload);
            }
        }
    }

    fn flush(&mut self, key: SocketId, at: Duration) {
        while let Some(line) = self.lines.get_mut(&key).filter(|line| line.connected && !line.output.is_empty()) {
            let written = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let mut written = written;
            match written.write(key, &[IoSlice::new(&line.output)]) {
                Ok(count) => drop(line.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    drop(written);
                    return self.drop_line(key, at);
                }
            }
        }
    }

    fn drop_line(&mut self, key: SocketId, at: Duration) {
        if self.lines.remove(&key).is_some() {
            self.kernel().close(key);
            self.guest.lost(key, at);
        }
    }
}
