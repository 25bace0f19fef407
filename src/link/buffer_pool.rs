//! The loop's memory for pipes: warm buffers to lend, and the account of what all outboxes hold together.
//!
//! A fresh large buffer costs a page fault for every 4 KiB, more than the system call that fills it, and a buffer kept by
//! each connection costs memory while nothing happens. So buffers belong to the loop, and connections borrow them.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::limits::{CHUNK, CHUNK_START, LEDGER_FROM, POOL_CHUNKS, POOL_LARGE, POOL_LARGE_BYTES};
use crate::link::inbox::Held;
use crate::link::outbox::Queues;
#[cfg(feature = "tls")]
use crate::link::tls::sealing::Sealing;

/// What is lent to inboxes and outboxes. All of its lists are bounded.
#[derive(Debug, Default)]
pub struct BufferPool {
    chunks: Vec<Vec<u8>>,
    large: Vec<BytesMut>,
    #[allow(clippy::vec_box, reason = "the boxes are what is lent; an outbox holds one pointer")]
    queues: Vec<Box<Queues>>,
    held: Option<Box<Held>>,
    #[cfg(feature = "tls")]
    sealing: Option<Box<Sealing>>,
    /// How many queues hold each large shared payload, by address.
    ledger: BTreeMap<usize, u32>,
    charged: usize,
}

impl BufferPool {
    /// An empty pool.
    pub fn new() -> Self {
        BufferPool::default()
    }

    /// Bytes that all outboxes of this pool hold together. A large payload counts once however many hold it.
    pub fn queued_bytes(&self) -> usize {
        self.charged
    }

    /// Bytes of the buffers that are kept to be lent.
    pub fn kept_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        let large: usize = self.large.iter().map(BytesMut::capacity).sum();
        let kept = chunks + large + self.held.as_ref().map_or(0, |held| held.capacity());
        #[cfg(feature = "tls")]
        let kept = kept + self.sealing.as_ref().map_or(0, |sealing| sealing.capacity());
        kept
    }

    /// Takes back the buffer of a frame that was [given](crate::wire::Payload::Given), if nobody else kept it.
    pub fn recycle(&mut self, payload: Bytes) {
        if self.large.len() < POOL_LARGE
            && let Ok(buffer) = payload.try_into_mut()
            && buffer.capacity() <= POOL_LARGE_BYTES
        {
            self.large.push(buffer);
        }
    }

    /// An empty chunk: a warm one of [`CHUNK`] bytes, or a small one that grows.
    pub(super) fn chunk(&mut self, need: usize) -> Vec<u8> {
        self.chunks.pop().unwrap_or_else(|| Vec::with_capacity(need.max(CHUNK_START)))
    }

    /// Takes a chunk back. Small ones are not worth the place.
    pub(super) fn give_chunk(&mut self, mut chunk: Vec<u8>) {
        if self.chunks.len() < POOL_CHUNKS && (CHUNK / 2..=2 * CHUNK).contains(&chunk.capacity()) {
            chunk.clear();
            self.chunks.push(chunk);
        }
    }

    /// A buffer for a large frame: warm, or empty and without memory.
    pub(super) fn large(&mut self) -> BytesMut {
        self.large.pop().unwrap_or_default()
    }

    pub(super) fn queues(&mut self) -> Box<Queues> {
        self.queues.pop().unwrap_or_default()
    }

    pub(super) fn give_queues(&mut self, queues: Box<Queues>) {
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

    #[inline]
    pub(super) fn charge(&mut self, bytes: usize) {
        self.charged = self.charged.saturating_add(bytes);
    }

    #[inline]
    pub(super) fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.charged, "more is released than was charged");
        self.charged = self.charged.saturating_sub(bytes);
    }

    pub(super) fn charge_shared(&mut self, body: &Bytes) {
        let new = body.len() < LEDGER_FROM || {
            let holders = self.ledger.entry(body.as_ptr() as usize).or_insert(0);
            *holders = holders.saturating_add(1);
            *holders == 1
        };
        if new {
            self.charge(body.len());
        }
    }

    pub(super) fn release_shared(&mut self, body: &Bytes) {
        let last = body.len() < LEDGER_FROM || {
            let address = body.as_ptr() as usize;
            match self.ledger.get_mut(&address) {
                Some(holders) if *holders > 1 => {
                    *holders -= 1;
                    false
                }
                _ => self.ledger.remove(&address).is_some(),
            }
        };
        if last {
            self.release(body.len());
        }
    }
}
