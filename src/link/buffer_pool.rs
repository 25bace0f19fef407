//! The loop's memory for pipes: plain buffers to lend, what pipes need while they hold something, and the account of what they
//! have queued.
//!
//! A fresh large buffer costs a page fault for every 4 KiB, more than the system call that fills it, and a buffer kept by
//! each connection costs memory while nothing happens. So buffers belong to the loop, and connections borrow them.

use bytes::Bytes;

use crate::limits::POOL_CHUNKS;
use crate::link::buffers::Buffers;
use crate::link::inbox::held::Held;
use crate::link::outbox::queues::Queues;
use crate::link::queue_account::QueueAccount;
#[cfg(feature = "tls")]
use crate::link::tls::sealing::Sealing;
#[cfg(feature = "ws")]
use crate::link::web_socket::sender::Framing;

/// What is lent to inboxes and outboxes. All of its lists are bounded.
#[derive(Debug, Default)]
pub struct BufferPool {
    pub(super) buffers: Buffers,
    pub(super) account: QueueAccount,
    #[allow(clippy::vec_box, reason = "the boxes are what is lent; an outbox holds one pointer")]
    queues: Vec<Box<Queues>>,
    held: Option<Box<Held>>,
    #[cfg(feature = "tls")]
    sealing: Option<Box<Sealing>>,
    #[cfg(feature = "ws")]
    framing: Option<Box<Framing>>,
}

impl BufferPool {
    /// An empty pool.
    pub fn new() -> Self {
        BufferPool::default()
    }

    /// Bytes that all outboxes of this pool hold together. A large payload counts once however many hold it.
    pub fn queued_bytes(&self) -> usize {
        self.account.queued_bytes()
    }

    /// Bytes of the buffers that are kept to be lent.
    pub fn kept_bytes(&self) -> usize {
        let kept = self.buffers.kept_bytes() + self.held.as_ref().map_or(0, |held| held.capacity());
        #[cfg(feature = "tls")]
        let kept = kept + self.sealing.as_ref().map_or(0, |sealing| sealing.capacity());
        #[cfg(feature = "ws")]
        let kept = kept + self.framing.as_ref().map_or(0, |framing| framing.capacity());
        kept
    }

    /// Takes back the buffer of a frame that was [given](crate::wire::Payload::Given), if nobody else kept it.
    pub fn recycle(&mut self, payload: Bytes) {
        self.buffers.recycle(payload);
    }

    pub(super) fn queues(&mut self) -> Box<Queues> {
        self.queues.pop().unwrap_or_default()
    }

    pub(super) fn give_queues(&mut self, queues: Box<Queues>) {
        debug_assert!(queues.is_empty(), "queues are lent to the next connection with frames of the last");
        if self.queues.len() < POOL_CHUNKS && queues.is_small() {
            self.queues.push(queues);
        }
    }

    pub(super) fn held(&mut self) -> Box<Held> {
        self.held.take().unwrap_or_default()
    }

    pub(super) fn give_held(&mut self, mut held: Box<Held>) {
        if self.held.is_none() && held.reset() {
            self.held = Some(held);
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn sealing(&mut self) -> Box<Sealing> {
        self.sealing.take().unwrap_or_default()
    }

    #[cfg(feature = "tls")]
    pub(super) fn give_sealing(&mut self, sealing: Box<Sealing>) {
        self.sealing = Some(sealing);
    }

    #[cfg(feature = "ws")]
    pub(super) fn framing(&mut self) -> Box<Framing> {
        self.framing.take().unwrap_or_default()
    }

    #[cfg(feature = "ws")]
    pub(super) fn give_framing(&mut self, framing: Box<Framing>) {
        self.framing = Some(framing);
    }
}
