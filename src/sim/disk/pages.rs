//! The bytes of a virtual file, in pages that copies share: a crash at every write needs a copy at every write.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 4096;

type Page = [u8; PAGE];

/// Bytes, zero where nothing was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Arc<Page>>,
    len: u64,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Cuts the file, or makes it longer with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (whole, rest) = (len / PAGE as u64, (len % PAGE as u64) as usize);
            self.pages.split_off(&(whole + u64::from(rest > 0)));
            if let Some(page) = self.pages.get_mut(&whole) {
                Arc::make_mut(page)[rest..].fill(0);
            }
        }
        self.len = len;
    }

    /// Writes, and makes the file longer when it must.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        each_page(offset, bytes.len(), |page, within, part| {
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within.clone()].copy_from_slice(&bytes[part]);
        });
    }

    /// Fills `out` from `offset`; false when the file ends before that.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        if offset.saturating_add(out.len() as u64) > self.len {
            return false;
        }
        each_page(offset, out.len(), |page, within, part| match self.pages.get(&page) {
            Some(page) => out[part].copy_from_slice(&page[within]),
            None => out[part].fill(0),
        });
        true
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(0, &mut bytes);
        bytes
    }
}

/// Calls `each` for every page that `len` bytes at `offset` touch: its number, the bytes in it, and which of the `len`.
fn each_page(offset: u64, len: usize, mut each: impl FnMut(u64, core::ops::Range<usize>, core::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(len - done);
        each(at / PAGE as u64, within..within + count, done..done + count);
        done += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn pages_do_what_a_plain_vector_does() {
        let (mut pages, mut plain) = (Pages::default(), Vec::new());
        let mut rng = Rng::from_seed(5);
        for step in 0..2000 {
            let offset = rng.below(5 * PAGE as u64) as usize;
            let len = rng.below(2 * PAGE as u64) as usize;
            if rng.chance(1, 5) {
                pages.set_len(offset as u64);
                plain.resize(offset, 0);
            } else if offset <= plain.len() {
                let bytes = vec![(step % 255 + 1) as u8; len];
                pages.write(offset as u64, &bytes);
                plain.resize(plain.len().max(offset + len), 0);
                plain[offset..offset + len].copy_from_slice(&bytes);
            }
            let mut out = vec![7; len];
            assert_eq!(pages.read(offset as u64, &mut out), offset + len <= plain.len(), "step {step}");
            assert!(offset + len > plain.len() || out == plain[offset..offset + len], "step {step}");
            assert!(pages.to_vec() == plain, "step {step}");
        }
    }
}
