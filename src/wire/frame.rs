//! One frame: its header, the rules it must meet and the parser that answers in three ways.

use bytes::Bytes;
use core::fmt;
use core::ops::Deref;

pub use crate::wire::kind::MAX_PAYLOAD;

use crate::wire::foreign::Foreign;
use crate::wire::kind::Kind;
use crate::wire::wrapper::{COMPRESSED, CompressedFault, GIVEN_UP, MAX_EXPANDED, MAX_PIECE, PIECE, PieceFault};

/// Bytes before the payload: the length and the type.
pub const HEADER_LEN: usize = 5;
/// The largest value of the length field; it counts the type byte.
pub const MAX_LENGTH: u32 = MAX_PAYLOAD + 1;
/// The largest payload before the handshake is done: what a stranger can make a node hold.
pub const MAX_GREETING_PAYLOAD: u32 = 1024;
/// What is kept of a frame may waste one byte of memory for so many of its own at most: budgets count it by its length, so that a
/// small thing must not hold a large buffer.
pub const KEPT_WASTE: usize = 8;

/// Which type bytes a connection accepts now, and how large each may be.
///
/// A table of 256 limits, made once and shared: the parser knows the verdict on a frame from its first five bytes.
///
/// # Examples
///
/// A protocol of one's own: type 1 is a request of at most 64 bytes, type 2 an answer of at most 1 MiB.
///
/// ```
/// use spacetime_network::wire::{FrameError, FrameRules, Parse, frame};
///
/// static RULES: FrameRules = FrameRules::none().with(1, 64).with(2, 1 << 20);
///
/// assert_eq!(RULES.max_payload(1), Some(64));
/// assert_eq!(RULES.max_payload(3), None);
///
/// // A request of 65 bytes is refused after its first five bytes, before anything is stored.
/// let header = frame::header(1, 65)?;
/// assert_eq!(frame::parse(&header, &RULES), Parse::Never(FrameError::Oversize { kind: 1, len: 65 }));
///
/// // An answer is complete when its payload is.
/// let answer = [&frame::header(2, 3)?[..], b"yes"].concat();
/// assert_eq!(frame::parse(&answer[..7], &RULES), Parse::NeedMore { total: Some(8) });
/// assert_eq!(frame::parse(&answer, &RULES), Parse::Complete { kind: 2, payload: b"yes", rest: &[] });
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct FrameRules {
    /// The largest accepted length field for each type; the field counts the type byte, so 0 means "not a type".
    bounds: [u32; 256],
    /// Is another protocol recognised by how it begins?
    foreign: bool,
    /// Do large frames come and go in pieces?
    pieces: bool,
    /// Do frames come and go compressed?
    compressed: bool,
}

impl FrameRules {
    /// No type at all; a start for [`FrameRules::with`].
    pub const fn none() -> Self {
        FrameRules { bounds: [0; 256], foreign: false, pieces: false, compressed: false }
    }

    /// Every type byte with payloads of at most `max_payload` bytes, for protocols that are not this one.
    ///
    /// A larger `max_payload` than [`MAX_PAYLOAD`] means [`MAX_PAYLOAD`].
    pub const fn any(max_payload: u32) -> Self {
        let mut rules = FrameRules::none();
        let mut byte = 0;
        while byte < 256 {
            rules = rules.with(byte as u8, max_payload);
            byte += 1;
        }
        rules
    }

    /// These rules with type `byte` accepted up to `max_payload` bytes.
    #[allow(clippy::indexing_slicing, reason = "a u8 indexes 256 places; `get_mut` is not const")]
    pub const fn with(mut self, byte: u8, max_payload: u32) -> Self {
        let max = if max_payload > MAX_PAYLOAD { MAX_PAYLOAD } else { max_payload };
        self.bounds[byte as usize] = max + 1;
        self
    }

    /// These rules for the beginning of a stream, where bytes that are no frame at all are another protocol's and told as
    /// [`FrameError::Foreign`]. A header that could be a frame's of this crate's protocol, in any of its versions, is told by
    /// what is wrong with it here.
    pub const fn with_foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// Whether they are for [the beginning of a stream](FrameRules::with_foreign).
    pub const fn recognises_foreign(&self) -> bool {
        self.foreign
    }

    /// These rules for a connection whose two sides cut large frames [in pieces](crate::wire::pieces): what comes so is put together
    /// and judged by these rules as if it came whole, and what is sent is cut.
    pub const fn with_pieces(mut self) -> Self {
        self.pieces = true;
        self.with(PIECE, MAX_PIECE).with(GIVEN_UP, 1)
    }

    /// Whether they are for a connection with [pieces](FrameRules::with_pieces).
    #[inline]
    pub const fn has_pieces(&self) -> bool {
        self.pieces
    }

    /// These rules for a connection whose two sides [compress](crate::wire::compressed) frames: what comes so is expanded and judged
    /// by these rules as if it came as it is, and what is sent is compressed where that gains enough.
    #[cfg(feature = "lz4")]
    #[cfg_attr(docsrs, doc(cfg(feature = "lz4")))]
    pub const fn with_compressed(self) -> Self {
        self.compress()
    }

    const fn compress(mut self) -> Self {
        self.compressed = true;
        self.with(COMPRESSED, MAX_EXPANDED as u32)
    }

    /// Whether they are for a connection with compressed frames.
    #[inline]
    pub const fn has_compressed(&self) -> bool {
        self.compressed
    }

    /// Is a frame of this type no message, but what another frame comes in?
    #[inline]
    pub const fn wraps(&self, byte: u8) -> bool {
        match byte {
            COMPRESSED => self.compressed,
            PIECE | GIVEN_UP => self.pieces,
            _ => false,
        }
    }

    /// What the protocol accepts before the handshake is done.
    pub const fn greeting() -> &'static Self {
        &GREETING
    }

    /// What is accepted of one who need not introduce himself: whatever version 1 has, as small as a greeting.
    pub const fn unintroduced() -> &'static Self {
        &UNINTRODUCED
    }

    /// The same of one that has a place of those who need not: as large as version 1 has it, for a miner begins with its block.
    pub const fn client() -> &'static Self {
        &CLIENT
    }

    /// What protocol version `version` accepts after the handshake, extensions included: 1, or 2 for everything above. In version
    /// 1 it is what any revision of the C# library may send, see [`Dialect`](crate::wire::Dialect).
    pub const fn version(version: u8) -> &'static Self {
        if version <= 1 { &VERSION_1 } else { &VERSION_2 }
    }

    /// The same for a peer of which no block was asked, so that one which comes all the same is refused by its header. In version 1,
    /// where such a block is a new one, there is nothing to refuse.
    pub const fn version_without_blocks(version: u8) -> &'static Self {
        if version <= 1 { &VERSION_1 } else { &VERSION_2_WITHOUT_BLOCKS }
    }

    /// What version 2 accepts of a peer that [serves no runs](crate::wire::message::Extension::SERVES_RUNS), or all of it from version 1.
    pub const fn version_without_runs(version: u8) -> &'static Self {
        if version <= 1 { &VERSION_1 } else { &VERSION_2_WITHOUT_RUNS }
    }

    /// The same for a peer of which no block was asked.
    pub const fn version_without_runs_and_blocks(version: u8) -> &'static Self {
        if version <= 1 { &VERSION_1 } else { &VERSION_2_WITHOUT_RUNS_AND_BLOCKS }
    }

    /// What version 2 accepts of a peer, by what was agreed on with it.
    #[allow(clippy::indexing_slicing, reason = "four bits index sixteen places")]
    pub const fn agreed(agreed: Agreed) -> &'static Self {
        let Agreed { runs, blocks, pieces, compressed } = agreed;
        &AGREED[(runs as usize) | (blocks as usize) << 1 | (pieces as usize) << 2 | (compressed as usize) << 3]
    }

    /// The largest payload of type `byte`; `None` when the type is not accepted.
    pub fn max_payload(&self, byte: u8) -> Option<u32> {
        self.bounds.get(usize::from(byte)).and_then(|bound| bound.checked_sub(1))
    }

    #[allow(clippy::indexing_slicing, reason = "a u8 indexes 256 places; `get_mut` is not const")]
    const fn up_to(mut self, max_payload: u32) -> Self {
        let mut index = 0;
        while index < self.bounds.len() {
            if self.bounds[index] > max_payload + 1 {
                self.bounds[index] = max_payload + 1;
            }
            index += 1;
        }
        self
    }

    #[allow(clippy::indexing_slicing, reason = "a u8 indexes 256 places; `get_mut` is not const")]
    const fn without(mut self, byte: u8) -> Self {
        self.bounds[byte as usize] = 0;
        self
    }

    pub(super) const fn of_version(version: u8) -> Self {
        let mut rules = FrameRules::none();
        let mut index = 0;
        #[allow(clippy::indexing_slicing, reason = "the index is below the length")]
        while index < Kind::ALL.len() {
            let kind = Kind::ALL[index];
            if version >= 2 || kind.is_said_in_version_1() {
                rules = rules.with(kind as u8, kind.max_payload());
            }
            index += 1;
        }
        rules
    }
}

/// What was agreed on with a peer of version 2, and so what it may send: see [`FrameRules::agreed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Both [serve runs](crate::wire::message::Extension::SERVES_RUNS).
    pub runs: bool,
    /// It was asked for a block. Otherwise one that comes all the same is refused by its header.
    pub blocks: bool,
    /// Both take [pieces](crate::wire::message::Extension::TAKES_PIECES).
    pub pieces: bool,
    /// Both take [compressed frames](crate::wire::message::Extension::TAKES_COMPRESSED).
    pub compressed: bool,
}

impl fmt::Debug for FrameRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries((0..=255u8).filter_map(|byte| Some((byte, self.max_payload(byte)?)))).finish()
    }
}

static GREETING: FrameRules = FrameRules::none()
    .with(Kind::Handshake as u8, MAX_GREETING_PAYLOAD)
    .with(Kind::HandshakeAck as u8, MAX_GREETING_PAYLOAD)
    .with(Kind::Error as u8, MAX_GREETING_PAYLOAD)
    .with_foreign();
/// A later revision says under 0x40 what is a ProofSubmission.
static VERSION_1: FrameRules =
    FrameRules::of_version(1).with(Kind::NewChallenge as u8, Kind::ProofSubmission.max_payload());
static CLIENT: FrameRules =
    FrameRules::of_version(1).with(Kind::NewChallenge as u8, Kind::ProofSubmission.max_payload()).with_foreign();
static UNINTRODUCED: FrameRules = FrameRules::of_version(1).up_to(MAX_GREETING_PAYLOAD).with_foreign();
static VERSION_2: FrameRules = FrameRules::of_version(2);
static VERSION_2_WITHOUT_BLOCKS: FrameRules =
    FrameRules::of_version(2).without(Kind::Block as u8).without(Kind::Blocks as u8);
static VERSION_2_WITHOUT_RUNS: FrameRules =
    FrameRules::of_version(2).without(Kind::GetBlocks as u8).without(Kind::Blocks as u8);
static VERSION_2_WITHOUT_RUNS_AND_BLOCKS: FrameRules =
    FrameRules::of_version(2).without(Kind::GetBlocks as u8).without(Kind::Blocks as u8).without(Kind::Block as u8);

/// By the bits of what was agreed.
static AGREED: [FrameRules; 16] = {
    let mut all = [const { FrameRules::of_version(2) }; 16];
    let mut bits = 0;
    #[allow(clippy::indexing_slicing, reason = "the index is below the length")]
    while bits < all.len() {
        let mut rules = FrameRules::of_version(2);
        if bits & 1 == 0 {
            rules = rules.without(Kind::GetBlocks as u8).without(Kind::Blocks as u8);
        }
        if bits & 2 == 0 {
            rules = rules.without(Kind::Block as u8).without(Kind::Blocks as u8);
        }
        if bits & 4 != 0 {
            rules = rules.with_pieces();
        }
        if bits & 8 != 0 {
            rules = rules.compress();
        }
        all[bits] = rules;
        bits += 1;
    }
    all
};

/// Why bytes can never become a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// The length field is 0 or above [`MAX_LENGTH`]; known after four bytes.
    Length(u32),
    /// The type is not defined here; known after five bytes.
    UnknownType(u8),
    /// The payload would be larger than its type allows; known after five bytes.
    Oversize {
        /// The type byte.
        kind: u8,
        /// The payload's length in bytes, as announced.
        len: u32,
    },
    /// The stream begins as another protocol does, or as none that is ours; known after four or five bytes, where the rules
    /// [ask for it](FrameRules::with_foreign).
    Foreign(Foreign),
    /// What comes in pieces is none, or breaks the order of them.
    Pieces(PieceFault),
    /// What comes compressed can not be what it says.
    Compressed(CompressedFault),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::Length(length) => {
                write!(f, "frame length {length} is not within 1..={MAX_LENGTH}")?;
                match Foreign::of(length.to_le_bytes()) {
                    Some(foreign) => write!(f, ", but {foreign}"),
                    None => Ok(()),
                }
            }
            FrameError::UnknownType(byte) => write!(f, "type 0x{byte:02x} is not accepted here"),
            FrameError::Oversize { kind, len } => write!(f, "{len} bytes are too many for type 0x{kind:02x}"),
            FrameError::Foreign(foreign) => write!(f, "{foreign}"),
            FrameError::Pieces(fault) => write!(f, "{fault}"),
            FrameError::Compressed(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The parser's three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse<'a> {
    /// A whole frame stands at the front of the input.
    Complete {
        /// The type byte, accepted by the rules.
        kind: u8,
        /// The payload, borrowed from the input.
        payload: &'a [u8],
        /// What follows the frame.
        rest: &'a [u8],
    },
    /// The input is the start of a frame that may become valid.
    NeedMore {
        /// The frame's whole length in bytes, header included, once the first five are there.
        total: Option<usize>,
    },
    /// No continuation makes this a frame.
    Never(FrameError),
}

/// Looks for one frame at the front of `input`.
///
/// Reads at most the five header bytes and copies nothing. What can be known is said at once: a wrong length at byte 4,
/// a wrong type or size at byte 5.
#[inline]
pub fn parse<'a>(input: &'a [u8], rules: &FrameRules) -> Parse<'a> {
    let Some((header, body)) = input.split_first_chunk::<HEADER_LEN>() else {
        return match input.first_chunk::<4>() {
            Some(prefix) if !length_is_valid(u32::from_le_bytes(*prefix)) => {
                Parse::Never(refusal(u32::from_le_bytes(*prefix), 0, 0, rules.foreign))
            }
            _ => Parse::NeedMore { total: None },
        };
    };
    let [a, b, c, d, kind] = *header;
    let length = u32::from_le_bytes([a, b, c, d]);
    // One comparison accepts the frame: a bound is at most MAX_LENGTH, it is 0 for a type that is not accepted, and a
    // length of 0 wraps to the top.
    #[allow(clippy::indexing_slicing, reason = "a u8 indexes 256 places")]
    let bound = rules.bounds[usize::from(kind)];
    if length.wrapping_sub(1) >= bound {
        return Parse::Never(refusal(length, kind, bound, rules.foreign));
    }
    let len = (length - 1) as usize;
    match body.split_at_checked(len) {
        Some((payload, rest)) => Parse::Complete { kind, payload, rest },
        None => Parse::NeedMore { total: Some(HEADER_LEN + len) },
    }
}

const fn length_is_valid(length: u32) -> bool {
    length >= 1 && length <= MAX_LENGTH
}

#[cold]
fn refusal(length: u32, kind: u8, bound: u32, foreign: bool) -> FrameError {
    if foreign && let Some(foreign) = Foreign::of(length.to_le_bytes()) {
        FrameError::Foreign(foreign)
    } else if foreign && (!length_is_valid(length) || Kind::from_byte(kind).is_none()) {
        FrameError::Foreign(Foreign::Unknown)
    } else if !length_is_valid(length) {
        FrameError::Length(length)
    } else if bound == 0 {
        FrameError::UnknownType(kind)
    } else {
        FrameError::Oversize { kind, len: length - 1 }
    }
}

/// The five bytes before a payload of `len` bytes.
///
/// # Errors
///
/// [`FrameError::Length`] when the payload is longer than [`MAX_PAYLOAD`].
#[inline]
pub fn header(kind: u8, len: usize) -> Result<[u8; HEADER_LEN], FrameError> {
    match u32::try_from(len) {
        Ok(len) if len <= MAX_PAYLOAD => {
            let [a, b, c, d] = (len + 1).to_le_bytes();
            Ok([a, b, c, d, kind])
        }
        Ok(len) => Err(FrameError::Length(len.saturating_add(1))),
        Err(_) => Err(FrameError::Length(u32::MAX)),
    }
}

/// A frame's payload: lent from a buffer that will be used again, or given in a buffer of its own.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// A slice of the read buffer; copy what must be kept.
    Lent(&'a [u8]),
    /// Assembled in its own buffer, which is hardly larger; keeping all of it costs nothing.
    Given(Bytes),
}

impl Payload<'_> {
    /// The payload to keep: a copy of what was lent, what was given as it is.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Payload::Lent(slice) => Bytes::copy_from_slice(slice),
            Payload::Given(bytes) => bytes,
        }
    }

    /// The part of the payload that `slice` points at, to keep. `slice` must be borrowed from this payload.
    ///
    /// A slice from elsewhere is copied, and so is a part that would keep much of the payload for nothing.
    pub fn keep(&self, slice: &[u8]) -> Bytes {
        match self {
            Payload::Given(bytes) if is_within(bytes, slice) && !is_wasteful(bytes.len(), slice.len()) => {
                bytes.slice_ref(slice)
            }
            _ => Bytes::copy_from_slice(slice),
        }
    }
}

/// Would keeping so many bytes of so many waste memory?
fn is_wasteful(all: usize, kept: usize) -> bool {
    all.saturating_sub(kept) > kept / KEPT_WASTE
}

fn is_within(outer: &[u8], inner: &[u8]) -> bool {
    let (outer, inner) = (outer.as_ptr_range(), inner.as_ptr_range());
    outer.start <= inner.start && inner.end <= outer.end
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Lent(slice) => slice,
            Payload::Given(bytes) => bytes,
        }
    }
}

/// A frame that met its connection's rules.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The type byte.
    pub kind: u8,
    /// What it carries.
    pub payload: Payload<'a>,
}
