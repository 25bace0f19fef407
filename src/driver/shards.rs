//! Several loops over one port, where one core is not enough.
//!
//! Each loop has a thread, a protocol, connections, limits and budgets of its own, and the system gives whoever comes to one of
//! them, by the addresses of both ends. Nothing is shared, so nothing is locked; what one loop has to say to another goes through
//! its [`Handle`]. A crowd that one loop would see as one is cut into as many parts: limits that count sources hold in each.

use core::num::NonZeroUsize;
use std::io;
use std::net::SocketAddr;
use std::thread;

use super::system::PortUse;
use super::{Config, Driver, Handle, Protocol, Totals};

/// Loops that listen on one port, each with a protocol of its own.
///
/// On Linux, whose kernel shares the connections of a port evenly among those who listen on it (SO_REUSEPORT). Another program of the
/// same user may then listen there as well, and take its part of them.
///
/// # Examples
///
/// Three loops, a client, and a word that goes around.
///
/// ```
/// use std::io::Read;
/// use std::net::TcpStream;
///
/// use spacetime_network::close::CloseReason;
/// use spacetime_network::driver::{Config, Event, Handle, Net, Protocol, Shards};
/// use spacetime_network::time::Now;
///
/// #[derive(Default)]
/// struct Shard {
///     next: Option<Handle<u32>>,
/// }
///
/// impl Protocol for Shard {
///     type Command = u32;
///
///     fn handle(&mut self, _now: Now, event: Event<'_, u32>, net: &mut Net) {
///         match event {
///             Event::Opened { conn, .. } => {
///                 net.close(conn, CloseReason::Done, std::time::Duration::ZERO);
///                 self.next.as_ref().map(|next| next.send(3));
///             }
///             // Who ends, ends all.
///             Event::Command(0) => net.stop(),
///             Event::Command(left) => {
///                 self.next.as_ref().map(|next| next.send(left - 1));
///             }
///             _ => {}
///         }
///     }
/// }
///
/// # if cfg!(any(target_os = "linux", target_os = "android")) {
/// let address = "127.0.0.1:0".parse()?;
/// let mut shards = Shards::listen(3.try_into()?, address, &Config::default(), |_index| Shard::default())?;
/// let handles = shards.handles();
/// for (index, driver) in shards.drivers_mut().enumerate() {
///     driver.protocol_mut().next = Some(handles[(index + 1) % 3].clone());
/// }
/// let address = shards.address();
/// let client = std::thread::spawn(move || TcpStream::connect(address)?.read(&mut [0]));
/// let (shards, totals) = shards.run()?;
/// assert_eq!((shards.len(), totals.accepted), (3, 1));
/// assert_eq!(client.join().unwrap()?, 0, "the end of the stream");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Shards<P: Protocol> {
    drivers: Vec<Driver<P>>,
    address: SocketAddr,
}

impl<P: Protocol + Send> Shards<P>
where
    P::Command: Send,
{
    /// So many loops that listen on `address`, each with these settings and what `protocol` makes for its index.
    ///
    /// # Errors
    ///
    /// As [`Driver::new`] and [`Driver::listen`]; `Unsupported` where the system does not share a port's connections evenly.
    pub fn listen(
        count: NonZeroUsize,
        address: SocketAddr,
        config: &Config,
        mut protocol: impl FnMut(usize) -> P,
    ) -> io::Result<Self> {
        let mut shards = Shards { drivers: Vec::with_capacity(count.get()), address };
        for index in 0..count.get() {
            let mut driver = Driver::new(config.clone(), protocol(index))?;
            // The first may have asked for any port; the others want its.
            shards.address = driver.listen_on(shards.address, PortUse::Shared)?;
            shards.drivers.push(driver);
        }
        Ok(shards)
    }

    /// Where they listen: the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A way into each loop, in their order. To stop one is to stop all of them.
    pub fn handles(&self) -> Vec<Handle<P::Command>> {
        self.drivers.iter().map(Driver::handle).collect()
    }

    /// The loops in their order, to introduce their protocols to each other before they run.
    pub fn drivers_mut(&mut self) -> impl Iterator<Item = &mut Driver<P>> {
        self.drivers.iter_mut()
    }

    /// Turns all of them, each on a thread of its own, until the first has ended and the others have stopped. Answers the protocols
    /// in their order, and what the loops counted together.
    ///
    /// # Errors
    ///
    /// The first error of a loop or of starting its thread; the others have stopped then too.
    ///
    /// # Panics
    ///
    /// When a protocol has panicked, after the other loops have stopped.
    pub fn run(self) -> io::Result<(Vec<P>, Totals)> {
        let handles = self.handles();
        let ended: Vec<io::Result<Driver<P>>> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .drivers
                .into_iter()
                .enumerate()
                .map(|(index, mut driver)| {
                    let stop = StopAll(handles.clone());
                    thread::Builder::new().name(format!("shard {index}")).spawn_scoped(scope, move || {
                        let ended = driver.run().map(|()| driver);
                        drop(stop);
                        ended
                    })
                })
                .collect();
            let join = |thread: io::Result<thread::ScopedJoinHandle<'_, io::Result<Driver<P>>>>| {
                thread?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let (mut protocols, mut totals) = (Vec::with_capacity(ended.len()), Totals::default());
        for driver in ended {
            let driver = driver?;
            totals.add(driver.net().totals());
            protocols.push(driver.into_protocol());
        }
        Ok((protocols, totals))
    }
}

/// Stops all loops when it goes, be it because one has ended, has panicked or could not be started.
struct StopAll<C>(Vec<Handle<C>>);

impl<C> Drop for StopAll<C> {
    fn drop(&mut self) {
        self.0.iter().for_each(Handle::stop);
    }
}
