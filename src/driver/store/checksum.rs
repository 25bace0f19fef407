//! CRC-32 (ISO 3309, as in gzip), for entries of files that people may edit and disks may spoil: it tells a digit that became
//! another digit. No secret, and no defence against who can write the file.

#[allow(clippy::indexing_slicing, reason = "the compiler computes it")]
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ 0xedb8_8320 } else { rest >> 1 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

/// The checksum of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        let [low, ..] = (sum ^ u32::from(*byte)).to_le_bytes();
        sum >> 8 ^ TABLE.get(usize::from(low)).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_usual_one() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
