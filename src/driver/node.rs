//! A node on the loop: what the driver sees becomes the node's inputs, what the node wants becomes calls on the driver.
//!
//! It decides nothing. The one rule it adds is the order: one input in, all outputs out, before the next.

mod control;
mod names;
mod nat;
mod net_api;
pub mod resolver;
#[cfg(feature = "upnp")]
mod upnp;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::driver::{self, Admit, Bandwidth, Begun, Driver, FrameStart, Meter, Net, Protocol, SendOutcome};
use crate::proto::Node;
use crate::proto::event::{Command, Event, Input, Output, Received};
use crate::proto::peer::address_book::{AddressBook, SavedAddress};
use crate::proto::peer::ban::{Ban, Banned, Lifted};
use crate::proto::peer::name::PeerName;
use crate::proto::peer::operator_bans::TooManyBans;
use crate::proto::peer::peer_table::{PeerRecord, PeerTable};
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::Kind;

pub use self::control::NoAnswer;
pub use self::nat::PortRequest;
use self::nat::{Nat, News};
pub use self::net_api::NetApi;

/// A node's driver.
pub type NodeDriver<C, O> = Driver<NodeProtocol<C, O>>;
/// A way into a running node from other threads.
pub type NodeHandle<C> = driver::Handle<NodeCommand<C>>;

/// Something to do with a running node, on the loop's thread.
pub type NodeTask<C> = Box<dyn FnOnce(NodeMut<'_, C>, Now) + Send>;

/// A node that its loop drives, at hand to be read and set.
///
/// It is no `&mut Node`: whoever had one could put another node in its place, feed it inputs or take its outputs, and then its
/// sessions would no more be the loop's connections.
///
/// ```compile_fail
/// # use spacetime_network::{driver::node::NodeMut, proto::Node, time::Now};
/// fn steal<C: spacetime_network::proto::sync::chain::Chain>(mut ours: NodeMut<'_, C>, mut theirs: Node<C>) {
///     std::mem::swap(&mut *ours, &mut theirs);
/// }
/// ```
#[derive(Debug)]
pub struct NodeMut<'a, C>(&'a mut Node<C>);

impl<C> core::ops::Deref for NodeMut<'_, C> {
    type Target = Node<C>;

    fn deref(&self) -> &Node<C> {
        self.0
    }
}

impl<C: Chain> NodeMut<'_, C> {
    /// See [`Node::set_node_id`].
    pub fn set_node_id(&mut self, now: Now, node_id: impl Into<String>) {
        self.0.set_node_id(now, node_id);
    }

    /// See [`Node::set_listening_port`].
    pub fn set_listening_port(&mut self, port: u16) {
        self.0.set_listening_port(port);
    }

    /// See [`Node::set_listening`].
    pub fn set_listening(&mut self, listening: &[SocketAddr]) {
        self.0.set_listening(listening);
    }

    /// See [`Node::set_serves_history`].
    pub fn set_serves_history(&mut self, serves: bool) {
        self.0.set_serves_history(serves);
    }

    /// See [`Node::restore_peers`].
    pub fn restore_peers(&mut self, now: Now, records: impl IntoIterator<Item = PeerRecord>) {
        self.0.restore_peers(now, records);
    }

    /// See [`Node::restore_addresses`].
    pub fn restore_addresses(&mut self, now: Now, saved: impl IntoIterator<Item = SavedAddress>) -> usize {
        self.0.restore_addresses(now, saved)
    }

    /// See [`Node::restore_bans`].
    pub fn restore_bans(&mut self, now: Now, bans: impl IntoIterator<Item = Ban>) {
        self.0.restore_bans(now, bans);
    }

    /// Keeps somebody out, as [`Command::Ban`] does.
    ///
    /// # Errors
    ///
    /// The list of bans is full; nothing changed.
    pub fn ban(&mut self, now: Now, who: Banned, term: Option<Duration>, reason: &str) -> Result<(), TooManyBans> {
        self.0.ban(now, who, term, reason)
    }

    /// Ends bans, as [`Command::LiftBan`] does.
    pub fn lift_ban(&mut self, now: Now, who: Banned) -> Lifted {
        self.0.lift_ban(now, who)
    }

    /// See [`Node::chain_mut`]. It must stay the chain that the node was made with.
    pub fn chain_mut(&mut self) -> &mut C {
        self.0.chain_mut()
    }

    /// See [`Node::set_buggify`].
    #[cfg(feature = "sim")]
    pub fn set_buggify(&mut self, buggify: crate::buggify::Buggify) {
        self.0.set_buggify(buggify);
    }
}

/// A running node and its loop, to be looked at for a moment.
#[derive(Debug)]
pub struct Look<'a, C> {
    /// The node.
    pub node: &'a Node<C>,
    /// Its connections, and what the loop counted.
    pub net: &'a Net,
    /// What the clocks say.
    pub now: Now,
}

/// What is to be seen of a running node, on the loop's thread.
pub type NodeLook<C> = Box<dyn FnOnce(Look<'_, C>) + Send>;

impl<C: 'static> NodeHandle<C> {
    /// Looks at the node and its loop on the loop's thread, and has the answer sent to whoever receives. Never blocks. Nothing else
    /// happens while `look` looks, so it must return soon: of what there may be thousands, it takes a piece.
    ///
    /// The receiver learns that the node is gone, or is driven without a loop, by an error.
    ///
    /// # Errors
    ///
    /// As [`Handle::send`](driver::Handle::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use spacetime_network::driver::node::NodeHandle;
    ///
    /// /// Peers, bytes read, and the time below which 99 of 100 turns of the loop stayed.
    /// fn ask<C: 'static>(handle: &NodeHandle<C>) -> Option<(usize, u64, Option<std::time::Duration>)> {
    ///     let answer = handle.look(|look| {
    ///         let totals = look.net.totals();
    ///         (look.node.connected().count(), totals.bytes_in, totals.turns.times.quantile(0.99))
    ///     });
    ///     answer.ok()?.recv().ok()
    /// }
    /// ```
    pub fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(Look<'_, C>) -> T + Send + 'static,
    ) -> Result<Receiver<T>, driver::HandleError<NodeCommand<C>>> {
        let (sender, answer) = sync_channel(1);
        let task = move |seen: Look<'_, C>| {
            // Whoever asked may have left.
            let _ = sender.try_send(look(seen));
        };
        self.send(NodeCommand::Look(Box::new(task))).map(|()| answer)
    }
}

/// What other threads may ask of a running node.
pub enum NodeCommand<C> {
    /// One of the protocol's commands.
    Do(Command),
    /// Changes how many bytes a second may leave and come.
    SetBandwidth(Bandwidth),
    /// Runs on the loop's thread with the node at hand: to read its state, or to make a block template from its chain.
    /// It must return soon, since nothing else happens meanwhile.
    With(NodeTask<C>),
    /// Runs on the loop's thread with the node and its connections at hand, to be looked at; see
    /// [`look`](driver::Handle::look). It must return soon, since nothing else happens meanwhile.
    Look(NodeLook<C>),
}

impl<C> fmt::Debug for NodeCommand<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeCommand::Do(command) => f.debug_tuple("Do").field(command).finish(),
            NodeCommand::SetBandwidth(limits) => f.debug_tuple("SetBandwidth").field(limits).finish(),
            NodeCommand::With(_) => f.write_str("With(..)"),
            NodeCommand::Look(_) => f.write_str("Look(..)"),
        }
    }
}

/// Who is told what happens, on the loop's thread. A closure that takes events is one.
pub trait Observer<C> {
    /// Something happened.
    fn on_event(&mut self, now: Now, event: &Event, node: &Node<C>);

    /// A name is to be looked up; never one in `.onion`, and none at all where a [proxy](driver::Config::proxy) does it. True when
    /// that has begun: [`Command::Resolved`] will come for it, as a
    /// [`Resolver`](resolver::Resolver) sends it. Without a resolver, as here, the lookup fails.
    fn resolve(&mut self, _now: Now, _name: &PeerName) -> bool {
        false
    }

    /// A turn of the loop is over: a place to look after what time alone changes. There is one every ten seconds at least,
    /// and one at its [`deadline`](Observer::deadline).
    fn turn_ended(&mut self, _now: Now, _node: &Node<C>) {}

    /// When it wants a turn of the loop although nothing else happens, for what time alone changes. Asked after every turn; one
    /// that stays in the past keeps the loop awake.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The table of known peers is due to be saved.
    fn save_peers(&mut self, _now: Now, _peers: &PeerTable) {}

    /// The address book is due to be saved, as the known peers are.
    fn save_addresses(&mut self, _now: Now, _book: &AddressBook) {}

    /// The bans have changed and are due to be saved. They are these; those that are missing are over.
    fn save_bans(&mut self, _now: Now, _bans: Vec<Ban>) {}
}

impl<C, F: FnMut(Now, &Event, &Node<C>)> Observer<C> for F {
    fn on_event(&mut self, now: Now, event: &Event, node: &Node<C>) {
        self(now, event, node);
    }
}

/// A [`Node`] as a [`Protocol`] of the loop.
#[derive(Debug)]
pub struct NodeProtocol<C, O> {
    node: Node<C>,
    observer: O,
    /// What carrying out outputs led to: the next inputs, once there is no output left.
    answers: VecDeque<Input<'static>>,
    /// A frame has begun, and what it led to waits for the next event.
    owes_outputs: bool,
    /// The port that a router is asked for.
    nat: Option<Box<Nat>>,
}

impl<C: Chain, O: Observer<C>> NodeProtocol<C, O> {
    /// Joins a node and whoever wants to know what it does.
    pub fn new(node: Node<C>, observer: O) -> Self {
        NodeProtocol { node, observer, answers: VecDeque::new(), owes_outputs: false, nat: None }
    }

    /// Asks the router at home to forward a port from now on, until the loop stops; nobody where a [proxy](driver::Config::proxy)
    /// hides where we are. `seed` decides what nobody may guess; `wake`
    /// wakes the loop, from another thread.
    pub fn request_port(&mut self, request: PortRequest, seed: u64, wake: impl Fn() + Send + Sync + 'static) {
        self.nat = Some(Box::new(Nat::new(request, seed, Arc::new(wake))));
    }

    /// The node.
    pub fn node(&self) -> &Node<C> {
        &self.node
    }

    /// The node, to change it before the loop runs or between two turns.
    pub fn node_mut(&mut self) -> NodeMut<'_, C> {
        NodeMut(&mut self.node)
    }

    /// The whole of it, for the simulator, which ends nodes in the middle of their lives.
    #[cfg(feature = "sim")]
    pub(crate) fn whole_node_mut(&mut self) -> &mut Node<C> {
        &mut self.node
    }

    /// The observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// [`Protocol::admit`], over any carrier.
    pub fn admit_over(&mut self, now: Now, remote: SocketAddr, net: &mut impl NetApi) -> Admit {
        self.settle_begun(now, net);
        let answer = self.node.admit(now, remote);
        self.finish(now, net);
        answer
    }

    /// [`Protocol::begun`], over any carrier, and the units of work that it took.
    pub fn begun_over(&mut self, now: Now, start: FrameStart<'_>) -> (Begun, u32) {
        let begun = self.node.frame_begun(now, start);
        self.owes_outputs = true;
        (begun, self.node.take_work())
    }

    /// [`Protocol::handle`], over any carrier.
    pub fn handle_over(&mut self, now: Now, event: driver::Event<'_, NodeCommand<C>>, net: &mut impl NetApi) {
        self.settle_begun(now, net);
        let has_proxy = net.has_proxy();
        self.node.set_through_proxy(has_proxy);
        self.ask_router(now, &event, net);
        let input = match event {
            driver::Event::Opened { conn, remote, local, direction, identity } => {
                // Of a dial through a proxy our end is the one that the proxy sees.
                let local = Some(local).filter(|_| !has_proxy || !direction.is_outbound());
                let opened = Input::Opened { conn, remote, local, direction, identity };
                if !net.is_web_socket(conn) {
                    opened
                } else {
                    self.node.handle(now, opened);
                    self.finish(now, net);
                    Input::OverWebSocket { conn }
                }
            }
            driver::Event::AdmissionReleased { remote, reason } => Input::AdmissionReleased { remote, reason },
            driver::Event::WaitedInVain { remote, .. } => Input::WaitedInVain { remote },
            driver::Event::DialFailed { dial, reason, .. } => Input::DialFailed { dial, reason },
            driver::Event::Frame { conn, frame } => Input::Frame { conn, frame },
            driver::Event::BadFrame { conn, error } => Input::BadFrame { conn, error },
            driver::Event::HalfClosed { conn } => Input::HalfClosed { conn },
            driver::Event::Writable { conn } => Input::Writable { conn },
            driver::Event::Closed { conn, reason } => Input::Closed { conn, reason },
            driver::Event::Timer => Input::Tick,
            // Only routers are spoken with by datagrams.
            driver::Event::Datagram { .. } => return,
            driver::Event::TurnEnded => {
                self.node.handle(now, Input::TurnEnded);
                self.finish(now, net);
                return self.observer.turn_ended(now, &self.node);
            }
            driver::Event::Stopping => Input::Command(Command::Stop),
            driver::Event::Command(NodeCommand::Do(command)) => {
                #[cfg(feature = "ws")]
                if let Command::Resolved(name, Ok(addresses)) = &command {
                    names::note_web_socket(name, addresses, net);
                }
                Input::Command(command)
            }
            driver::Event::Command(NodeCommand::SetBandwidth(limits)) => return net.set_bandwidth(limits),
            driver::Event::Command(NodeCommand::With(task)) => {
                task(NodeMut(&mut self.node), now);
                return self.finish(now, net);
            }
            driver::Event::Command(NodeCommand::Look(look)) => {
                if let Some(net) = net.net() {
                    look(Look { node: &self.node, net, now });
                }
                return;
            }
        };
        self.node.handle(now, input);
        self.finish(now, net);
    }

    /// Whoever asks the router sees everything first: a stop, the time, its answers.
    fn ask_router(&mut self, now: Now, event: &driver::Event<'_, NodeCommand<C>>, net: &mut impl NetApi) {
        let Some(nat) = self.nat.as_mut().filter(|_| !net.has_proxy()) else { return };
        for news in nat.on_event(now.at, event, net) {
            let command = match news {
                News::Mapping(mapping) => Command::PortMapping(mapping),
                News::RouterRestarted => Command::RouterRestarted,
            };
            self.node.handle(now, Input::Command(command));
            self.finish(now, net);
        }
    }

    /// Carries out what a frame that has begun has led to.
    fn settle_begun(&mut self, now: Now, net: &mut impl NetApi) {
        if core::mem::take(&mut self.owes_outputs) {
            self.finish(now, net);
        }
    }

    /// Carries out all outputs, then feeds what that led to, one input at a time, until nothing is left.
    fn finish(&mut self, now: Now, net: &mut impl NetApi) {
        self.carry_out(now, net);
        while let Some(answer) = self.answers.pop_front() {
            self.node.handle(now, answer);
            self.carry_out(now, net);
        }
        net.spend(self.node.take_work());
    }

    fn carry_out(&mut self, now: Now, net: &mut impl NetApi) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Dial { dial, address, timeout } => net.dial(dial, address, timeout),
                Output::Resolve { name } => {
                    let known = names::not_looked_up(&name, net);
                    let answer = match known {
                        Some(answer) => answer,
                        None if self.observer.resolve(now, &name) => continue,
                        None => Err("there is no resolver".to_owned()),
                    };
                    #[cfg(feature = "ws")]
                    names::note_web_socket(&name, answer.as_deref().unwrap_or_default(), net);
                    self.answers.push_back(Input::Command(Command::Resolved(name, answer)));
                }
                Output::Send { conn, kind, byte, priority, payload, report } => {
                    match net.send_shared(conn, priority, byte, &payload) {
                        SendOutcome::Accepted { .. } if report => {
                            self.answers.push_back(Input::SendAccepted { conn });
                        }
                        SendOutcome::TooLarge => {
                            self.answers.push_back(Input::SendTooLarge { conn, kind, payload });
                        }
                        SendOutcome::Full => self.answers.push_back(Input::SendRefused { conn, kind, payload }),
                        // The word that it is gone is on its way.
                        SendOutcome::Accepted { .. } | SendOutcome::Closed => {}
                    }
                }
                Output::CountReceived { conn } => {
                    if let Some(stats) = net.conn_stats(conn) {
                        let (bytes, frames) = (stats.bytes_in, stats.frames_in);
                        let (sent_bytes, sent_frames) = (stats.bytes_out, stats.frames_out);
                        let received = Received { bytes, frames, sent_bytes, sent_frames };
                        self.answers.push_back(Input::Received { conn, received });
                    }
                }
                Output::Hold { conn } => net.hold(conn),
                Output::Release { conn } => net.release(conn),
                Output::Rules { conn, rules } => net.set_rules(conn, rules),
                Output::Close { conn, reason, last_error, drain } => {
                    // Behind frames that wait it would come too late. What TLS has to say of its own does not keep it.
                    if let Some(payload) = last_error
                        && net.conn_stats(conn).is_some_and(|stats| stats.queued_frames == 0)
                    {
                        // A refusal changes nothing: the connection ends either way.
                        let _ = net.send_shared(conn, Kind::Error.priority(), Kind::Error as u8, &payload);
                    }
                    net.close(conn, reason, drain);
                }
                Output::Event(event) => self.observer.on_event(now, &event, &self.node),
                Output::SavePeers => {
                    self.observer.save_peers(now, self.node.peers());
                    self.observer.save_addresses(now, self.node.book());
                }
                Output::SaveBans => self.observer.save_bans(now, self.node.bans(now)),
            }
        }
    }
}

impl<C: Chain + 'static, O: Observer<C>> Protocol for NodeProtocol<C, O> {
    type Command = NodeCommand<C>;

    fn admit(&mut self, now: Now, remote: SocketAddr, net: &mut Net) -> Admit {
        self.admit_over(now, remote, net)
    }

    fn begun(&mut self, now: Now, start: FrameStart<'_>, meter: &mut Meter<'_>) -> Begun {
        let (begun, work) = self.begun_over(now, start);
        meter.spend(work);
        begun
    }

    fn handle(&mut self, now: Now, event: driver::Event<'_, NodeCommand<C>>, net: &mut Net) {
        self.handle_over(now, event, net);
    }

    fn deadline(&self) -> Option<Instant> {
        let nat = self.nat.as_ref().and_then(|nat| nat.deadline());
        [self.node.deadline(), self.observer.deadline(), nat].into_iter().flatten().min()
    }
}
