//! Plain buffers to lend: warm chunks for small frames, and buffers for large ones. They know nothing of who borrows them.

use bytes::{Bytes, BytesMut};

use crate::limits::{CHUNK, CHUNK_START, COPY_STEP, POOL_CHUNKS, POOL_LARGE, POOL_LARGE_BYTES};
use crate::wire::frame::KEPT_WASTE;

/// The buffers that nobody has borrowed. Both lists are bounded.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    chunks: Vec<Vec<u8>>,
    /// Of [`CHUNK_START`] bytes each: what an answer now and then takes, which would else be allocated for each.
    small: Vec<Vec<u8>>,
    large: Vec<BytesMut>,
}

impl Buffers {
    /// Bytes of memory that are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().chain(&self.small).map(Vec::capacity).sum();
        let large: usize = self.large.iter().map(BytesMut::capacity).sum();
        chunks + large
    }

    /// An empty chunk: a warm one of [`CHUNK`] bytes, or a small one that grows.
    pub(super) fn chunk(&mut self, need: usize) -> Vec<u8> {
        if let Some(warm) = self.chunks.pop() {
            return warm;
        }
        let small = if need <= CHUNK_START { self.small.pop() } else { None };
        small.unwrap_or_else(|| Vec::with_capacity(need.max(CHUNK_START)))
    }

    /// Takes a chunk back: one that has grown, or one that has not. What lies between is not worth the place.
    pub(super) fn give_chunk(&mut self, mut chunk: Vec<u8>) {
        let kept = match chunk.capacity() {
            CHUNK_START => &mut self.small,
            grown if (CHUNK / 2..=2 * CHUNK).contains(&grown) => &mut self.chunks,
            _ => return,
        };
        if kept.len() < POOL_CHUNKS {
            chunk.clear();
            kept.push(chunk);
        }
    }

    /// A buffer for a frame of `len` bytes: warm, or empty and without memory. What it holds already is to be overwritten.
    ///
    /// Whoever gets the frame may keep it, and the whole buffer with it. So a buffer is lent only where it [fits](fits); where
    /// none does, the oldest makes room for one of the size that frames have now.
    pub(super) fn large(&mut self, len: usize) -> BytesMut {
        match self.large.iter().rposition(|buffer| fits(buffer.capacity(), len)) {
            Some(at) => self.large.remove(at),
            None => {
                if self.large.len() >= POOL_LARGE {
                    self.large.remove(0);
                }
                BytesMut::new()
            }
        }
    }

    /// Takes back the buffer of a large frame, if nobody else holds it.
    pub(super) fn recycle(&mut self, payload: Bytes) {
        if self.large.len() < POOL_LARGE
            && let Ok(buffer) = payload.try_into_mut()
            && buffer.capacity() <= POOL_LARGE_BYTES
        {
            self.large.push(buffer);
        }
    }
}

/// Is a buffer not so much larger than a frame that it would be a waste to keep it for that?
fn fits(capacity: usize, len: usize) -> bool {
    capacity <= len.saturating_add(len / KEPT_WASTE)
}

/// Appends in steps; see [`COPY_STEP`].
#[inline]
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= COPY_STEP {
        buffer.extend_from_slice(bytes);
        return;
    }
    buffer.reserve(bytes.len());
    for step in bytes.chunks(COPY_STEP) {
        buffer.extend_from_slice(step);
    }
}
