//! The virtual system: what somebody must play for the loop to run on it.

use core::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::readiness::Readiness;
use crate::time::Now;

/// A descriptor. A closed one's number may be given out again.
pub(crate) type SocketId = u32;

/// A machine's sockets and clocks. The calls answer what the calls of the same names answer on a real system, for sockets
/// that do not block; readiness is edge-triggered.
pub(crate) trait Kernel: Send {
    /// Both clocks.
    fn now(&self) -> Now;
    /// Is every arrival told, no matter what the calls before it answered? See [`Stream`](super::Stream).
    fn tells_every_arrival(&self) -> bool;
    /// Starts to connect.
    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketId>;
    /// Binds and listens.
    fn listen(&mut self, address: SocketAddr, backlog: i32) -> io::Result<SocketId>;
    /// Takes a connection that waits.
    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)>;
    /// The socket's readiness is told under this token from now on.
    fn register(&mut self, socket: SocketId, token: usize) -> io::Result<()>;
    /// Its readiness is told no more.
    fn deregister(&mut self, socket: SocketId) -> io::Result<()>;
    /// Reads what has arrived.
    fn read(&mut self, socket: SocketId, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    /// Writes what there is room for.
    fn write(&mut self, socket: SocketId, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Ends the stream behind what was written.
    fn shutdown(&mut self, socket: SocketId) -> io::Result<()>;
    /// The socket's pending error, which it then forgets.
    fn take_error(&mut self, socket: SocketId) -> io::Result<Option<io::Error>>;
    /// The other side; `NotConnected` before there is one.
    fn peer_addr(&self, socket: SocketId) -> io::Result<SocketAddr>;
    /// Our side.
    fn local_addr(&self, socket: SocketId) -> io::Result<SocketAddr>;
    /// Closes the descriptor.
    fn close(&mut self, socket: SocketId);
    /// Takes what is new, a batch at most.
    fn poll(&mut self, events: &mut Vec<Readiness>) -> io::Result<()>;
    /// The loop is wanted by another thread.
    fn wake(&mut self);
}

/// A kernel as its sockets hold it. A loop may move between threads, and its sockets with it.
pub(crate) type SharedKernel = Arc<Mutex<dyn Kernel>>;

/// The kernel, for one call. What a panic left behind is a kernel still: every call leaves it whole.
pub(super) fn lock(kernel: &SharedKernel) -> MutexGuard<'_, dyn Kernel + 'static> {
    kernel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor and whose it is. Dropping it closes it.
pub(crate) struct VirtualSocket {
    kernel: SharedKernel,
    socket: SocketId,
    tells_every_arrival: bool,
}

impl fmt::Debug for VirtualSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualSocket").field(&self.socket).finish()
    }
}

impl Drop for VirtualSocket {
    fn drop(&mut self) {
        lock(&self.kernel).close(self.socket);
    }
}

impl VirtualSocket {
    pub(super) fn new(kernel: &SharedKernel, socket: SocketId) -> Self {
        let tells_every_arrival = lock(kernel).tells_every_arrival();
        VirtualSocket { kernel: Arc::clone(kernel), socket, tells_every_arrival }
    }

    pub(super) fn tells_every_arrival(&self) -> bool {
        self.tells_every_arrival
    }

    /// The descriptor.
    pub(super) fn id(&self) -> SocketId {
        self.socket
    }

    pub(super) fn register(&self, token: usize) -> io::Result<()> {
        lock(&self.kernel).register(self.socket, token)
    }

    pub(super) fn deregister(&self) -> io::Result<()> {
        lock(&self.kernel).deregister(self.socket)
    }

    pub(super) fn accept(&self) -> io::Result<(VirtualSocket, SocketAddr)> {
        let (socket, remote) = lock(&self.kernel).accept(self.socket)?;
        Ok((VirtualSocket::new(&self.kernel, socket), remote))
    }

    pub(super) fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        lock(&self.kernel).read(self.socket, buffers)
    }

    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        lock(&self.kernel).write(self.socket, slices)
    }

    pub(super) fn shutdown(&self) -> io::Result<()> {
        lock(&self.kernel).shutdown(self.socket)
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        lock(&self.kernel).take_error(self.socket)
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        lock(&self.kernel).peer_addr(self.socket)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        lock(&self.kernel).local_addr(self.socket)
    }
}
