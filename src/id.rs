//! Names for connections, sockets for datagrams and dials that outlive what they name, and for those who have proven who they are.

use core::fmt;
use core::str::FromStr;

/// A connection: a slab slot and the slot's generation.
///
/// A slot is used again after a close, with the next generation, so an event or a command for a connection that is gone
/// finds nobody instead of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// The name of slot `index` in its life number `generation`.
    pub const fn new(index: u32, generation: u32) -> Self {
        ConnId { index, generation }
    }

    /// The slab slot.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How many connections the slot had before this one.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// An attempt to connect, named by whoever asks for it; it comes back in the event that says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// A socket for datagrams. No name is given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatagramId(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The remote side dialed us.
    Inbound,
    /// We dialed, under this name.
    Outbound(DialId),
}

impl Direction {
    /// True when we dialed.
    pub const fn is_outbound(self) -> bool {
        matches!(self, Direction::Outbound(_))
    }
}

/// Who is at the other end, as TLS has proven it: the SHA-256 of the SubjectPublicKeyInfo of the key that signed the
/// handshake.
///
/// Its text, 64 lower-case hexadecimal digits, is the node id under TLS. Unlike an id that is only claimed, nobody without
/// the private key can show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifiedId([u8; 32]);

impl VerifiedId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        VerifiedId(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for VerifiedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VerifiedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedId({self})")
    }
}

/// A text that is no [`VerifiedId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id is 64 hexadecimal digits")
    }
}

impl core::error::Error for NotAnId {}

impl FromStr for VerifiedId {
    type Err = NotAnId;

    /// Reads 64 hexadecimal digits of either case.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(NotAnId);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(NotAnId);
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(VerifiedId(bytes))
    }
}

/// How the names begin of those who give none of their own.
pub(crate) const UNNAMED_PREFIX: &str = "peer_";

/// What a peer at this address is called that gives no id of its own.
pub(crate) fn unnamed(address: core::net::SocketAddr) -> String {
    format!("{UNNAMED_PREFIX}{}_{}", address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_hexadecimal_digits_and_nothing_else() {
        let text = "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f";
        let id: VerifiedId = text.parse().unwrap();
        assert_eq!(id.as_bytes()[..2], [0xa1, 0xe9]);
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        let plus = format!("+{}", &text[1..]);
        for bad in ["", &text[1..], &format!("{text}0"), &format!("{text}00"), &text.replace('f', "g"), &plus] {
            assert_eq!(bad.parse::<VerifiedId>(), Err(NotAnId), "{bad}");
        }
    }
}
