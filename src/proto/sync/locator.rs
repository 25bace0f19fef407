//! Asking for headers and answering: from a locator to the headers after it.

use bytes::Bytes;

use crate::proto::sync::chain::Chain;
use crate::wire::Hash;
use crate::wire::message::{GetHeaders, MAX_HEADERS_ASKED};

/// Hashes that a version 2 request may carry after the main one.
pub const LOCATOR_TAIL_MAX: usize = 64;
/// The largest answer in bytes, as it is encoded: a requester may be on a slow line, and asks again for the rest.
pub const HEADERS_ANSWER_BYTES_MAX: usize = 4 << 20;
/// Headers in one answer.
pub const HEADERS_ANSWER_MAX: u32 = 2_000;

/// The headers that answer a request: at most as many as it asks for, at most 2,000, and at most 4 MiB encoded.
pub fn answer_get_headers<C: Chain>(chain: &C, request: &GetHeaders) -> Vec<Bytes> {
    let max = usize::try_from(request.max.min(HEADERS_ANSWER_MAX)).unwrap_or(0);
    let tail = request.more.iter().flatten().take(LOCATOR_TAIL_MAX);
    let mut locator = core::iter::once(&request.locator).chain(tail).copied();
    let mut headers = chain.headers_after(&mut locator, request.stop, max);
    headers.truncate(max);
    // The count takes four bytes, each header's length four more.
    let mut room = HEADERS_ANSWER_BYTES_MAX - 4;
    let fits = headers.iter().take_while(|header| match room.checked_sub(header.len().saturating_add(4)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    let count = fits.count();
    headers.truncate(count);
    headers
}

/// The request for what follows the first of `anchors` that the other side has on its best chain. A version 1 peer gets
/// the first anchor alone.
pub(super) fn request(version: u8, anchors: &[Hash], max: u32) -> GetHeaders {
    let main = anchors.first().copied().unwrap_or(Hash::ZERO);
    let more = (version >= 2).then(|| anchors.iter().skip(1).take(LOCATOR_TAIL_MAX).copied().collect());
    GetHeaders { locator: main, stop: None, max: max.clamp(1, MAX_HEADERS_ASKED), more }
}
