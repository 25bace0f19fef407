//! The 32-byte name of a block, a header or a transaction.

use core::fmt;
use core::str::FromStr;

/// 32 bytes that name something, printed as 64 hexadecimal digits in byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zero: "genesis" in a locator, "any network" in a handshake.
    pub const ZERO: Hash = Hash([0; 32]);

    /// True for [`Hash::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Hash::ZERO
    }

    /// The first eight hexadecimal digits, for tables and logs.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseHashError;

impl fmt::Display for ParseHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash is 64 hexadecimal digits")
    }
}

impl std::error::Error for ParseHashError {}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        if text.len() != 64 {
            return Err(ParseHashError);
        }
        let mut bytes = [0; 32];
        let mut digits = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()));
        for byte in &mut bytes {
            match (digits.next().flatten(), digits.next().flatten()) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(ParseHashError),
            }
        }
        Ok(Hash(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_the_same_digits() {
        let mut hash = Hash::ZERO;
        hash.0[0] = 0xab;
        hash.0[31] = 0x01;
        let text = hash.to_string();
        assert!(text.starts_with("ab00") && text.ends_with("01"));
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!("ab".parse::<Hash>(), Err(ParseHashError));
        assert_eq!("é".repeat(32).parse::<Hash>(), Err(ParseHashError));
    }
}
