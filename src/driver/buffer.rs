//! The loop's one read buffer, and where in it a read should begin.
//!
//! On current processors a copy runs many times slower when its target lies 1 to 63 bytes past its source, modulo the
//! page: 2 GiB/s instead of 40 and more. The kernel keeps a stream's bytes in pages, mostly from the page's start, so the
//! buffer begins on a page and a read begins as far into the first page as the stream is into one of its own. Then
//! target and source are in phase from the first byte to the last.

const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct ReadBuffer {
    memory: Vec<u8>,
    /// Where the first page begins.
    start: usize,
    len: usize,
}

impl ReadBuffer {
    pub(super) fn new(len: usize) -> Self {
        let memory = vec![0; len + 2 * PAGE];
        // `align_offset` may decline to answer; then the reads are slower and nothing else.
        let start = Some(memory.as_ptr().align_offset(PAGE)).filter(|start| *start < PAGE).unwrap_or_default();
        ReadBuffer { memory, start, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Room for up to `len` bytes of a stream from its byte number `position` on.
    pub(super) fn room(&mut self, position: u64, len: usize) -> &mut [u8] {
        let start = self.start + (position % PAGE as u64) as usize;
        self.memory.get_mut(start..start + len.min(self.len)).unwrap_or_default()
    }

    /// The first `count` bytes of that room, to be opened in place.
    pub(super) fn filled_mut(&mut self, position: u64, count: usize) -> &mut [u8] {
        self.room(position, count)
    }

    /// The first `count` bytes of that room.
    pub(super) fn filled(&self, position: u64, count: usize) -> &[u8] {
        let start = self.start + (position % PAGE as u64) as usize;
        self.memory.get(start..start + count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_in_phase_with_its_stream_and_has_its_length() {
        let mut buffer = ReadBuffer::new(5000);
        for position in [0u64, 1, 4095, 4096, u64::MAX] {
            let room = buffer.room(position, 9000);
            assert_eq!(room.len(), 5000);
            assert_eq!(room.as_ptr() as usize % PAGE, (position % 4096) as usize);
            room[4999] = 7;
            assert_eq!(buffer.filled(position, 5000)[4999], 7);
        }
    }
}
