//! Why a payload is not a message, and why a message is not a payload.

use core::fmt;

use crate::wire::kind::Kind;

/// Why a payload is not the message that its type byte promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// The payload ends before the field does.
    Truncated(&'static str),
    /// Bytes are left over.
    Trailing,
    /// A number is outside its range.
    OutOfRange(&'static str),
    /// A text is not UTF-8, empty, or only white space where it must not be.
    Text(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated(field) => write!(f, "{field} is cut short"),
            DecodeError::Trailing => f.write_str("bytes are left over"),
            DecodeError::OutOfRange(field) => write!(f, "{field} is out of range"),
            DecodeError::Text(field) => write!(f, "{field} is not acceptable text"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a message cannot be sent: a field breaks the cap that every receiver would enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodeError {
    /// The message.
    pub kind: Kind,
    /// The field, or "payload".
    pub field: &'static str,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a {} breaks its limit", self.field, self.kind.name())
    }
}

impl std::error::Error for EncodeError {}
