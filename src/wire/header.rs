//! GetHeaders and Headers: the chain's skeleton, asked for and given.

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::hash::Hash;
use crate::wire::kind::Kind;

/// The most headers in one Headers.
pub const MAX_HEADERS: u32 = 2000;
/// The most that a GetHeaders may ask for, where both sides say that an answer may be several Headers; elsewhere it is [`MAX_HEADERS`].
pub const MAX_HEADERS_ASKED: u32 = 8 * MAX_HEADERS;
/// The most locator hashes after the main one.
pub const MAX_MORE_LOCATORS: u16 = 64;

/// An empty header in a Headers, in bytes: its length.
const MIN_HEADER_LEN: usize = 4;
/// A hash, in bytes.
const HASH_LEN: usize = 32;

const _: () =
    assert!(32 + 1 + 32 + 4 + 2 + MAX_MORE_LOCATORS as usize * HASH_LEN == Kind::GetHeaders.max_payload() as usize);

/// Asks for headers after the first locator hash that is on the answerer's best chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetHeaders {
    /// The main locator hash; zero means genesis.
    pub locator: Hash,
    /// Where to stop, if anywhere.
    pub stop: Option<Hash>,
    /// 1 to 16,000; above 2000 only with the feature bit for it.
    pub max: u32,
    /// Version 2: at most 64 further locator hashes, newest first. `None` when the tail is absent.
    pub more: Option<Vec<Hash>>,
}

impl GetHeaders {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let locator = reader.hash("locator")?;
        let stop = if reader.flag("stop flag")? { Some(reader.hash("stop")?) } else { None };
        let max = reader.within("max", 1..=MAX_HEADERS_ASKED)?;
        let more = if reader.is_empty() { None } else { Some(read_more(reader)?) };
        Ok(GetHeaders { locator, stop, max, more })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.hash(&self.locator)?;
        writer.bytes(&[u8::from(self.stop.is_some())])?;
        writer.hashes(self.stop.as_slice())?;
        writer.within("max", self.max, 1..=MAX_HEADERS_ASKED)?;
        let Some(more) = &self.more else { return Ok(()) };
        let count = u16::try_from(more.len()).ok().filter(|count| *count <= MAX_MORE_LOCATORS);
        writer.bytes(&count.ok_or("locator count")?.to_le_bytes())?;
        writer.hashes(more)
    }
}

fn read_more(reader: &mut Reader<'_>) -> Result<Vec<Hash>, DecodeError> {
    let count = reader.u16("locator count")?;
    if count > MAX_MORE_LOCATORS {
        return Err(DecodeError::OutOfRange("locator count"));
    }
    let count = reader.affordable("locator count", u32::from(count), HASH_LEN)?;
    let mut more = Vec::with_capacity(count);
    for _ in 0..count {
        more.push(reader.hash("locator")?);
    }
    Ok(more)
}

pub(super) fn read_headers<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, DecodeError> {
    let count = reader.count("count", MAX_HEADERS, MIN_HEADER_LEN)?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let len = usize::try_from(reader.i32("header length")?);
        headers.push(reader.bytes("header", len.map_err(|_| DecodeError::OutOfRange("header length"))?)?);
    }
    Ok(headers)
}

pub(super) fn write_headers(headers: &[&[u8]], writer: &mut Writer<'_>) -> Written {
    writer.count("count", headers.len(), MAX_HEADERS)?;
    for header in headers {
        writer.count("header length", header.len(), Kind::Headers.max_payload())?;
        writer.bytes(header)?;
    }
    Ok(())
}
