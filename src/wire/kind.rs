//! The message kinds: one table of what each type byte means, since when, how urgent and how large.

/// The largest payload of any kind, in bytes: 16 MiB with the type byte that the length field counts.
pub const MAX_PAYLOAD: u32 = 16_777_215;

/// How urgent a frame is. Queues keep one line for each; within a line frames leave in the order they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Handshakes, liveness and errors: always first.
    Critical,
    /// News of blocks, challenges and acceptances.
    High,
    /// Requests and their answers, blocks that were asked for among them.
    Normal,
    /// Transactions: the first to be dropped.
    Low,
}

impl Priority {
    /// All four, most urgent first.
    pub const ALL: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

    /// 0 for critical to 3 for low.
    pub const fn rank(self) -> usize {
        self as usize
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, since $since:literal, relayed $relayed:literal, $priority:ident, max $max:expr;)*) => {
        /// What a frame carries: the type byte of [`wire::protocol`](crate::wire::protocol), section 2.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $byte,)* }

        impl Kind {
            /// Every kind, in the order of the type bytes.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The kind that a type byte names in any version; `None` for a byte no version defines.
            #[inline]
            pub const fn from_byte(byte: u8) -> Option<Kind> {
                match byte { $($byte => Some(Kind::$name),)* _ => None }
            }

            /// The first protocol version that has this kind.
            pub const fn since(self) -> u8 {
                match self { $(Kind::$name => $since,)* }
            }

            /// True when a node passes it on to its other peers, once.
            pub const fn is_relayed(self) -> bool {
                match self { $(Kind::$name => $relayed,)* }
            }

            /// The queue it waits in.
            pub const fn priority(self) -> Priority {
                match self { $(Kind::$name => Priority::$priority,)* }
            }

            /// The largest payload, in bytes.
            #[inline]
            pub const fn max_payload(self) -> u32 {
                match self { $(Kind::$name => $max,)* }
            }

            /// The protocol's name for it.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => stringify!($name),)* }
            }
        }
    };
}

impl Kind {
    /// Whether some revision of the C# library, all of which announce version 1, says this under the same type byte.
    pub const fn is_said_in_version_1(self) -> bool {
        self.since() <= 1 || matches!(self, Kind::Ping | Kind::Pong | Kind::TxPoolRequest)
    }
}

kinds! {
    /// The dialer's first frame.
    Handshake = 0x01, since 1, relayed false, Critical, max 1024;
    /// The acceptor's first frame.
    HandshakeAck = 0x02, since 1, relayed false, Critical, max 1024;
    /// "Still here", with the chain's length.
    Heartbeat = 0x03, since 1, relayed false, Critical, max 1024;
    /// A question whose answer measures the round trip.
    Ping = 0x04, since 2, relayed false, Critical, max 16;
    /// The answer to a ping.
    Pong = 0x05, since 2, relayed false, Critical, max 16;
    /// Asks for addresses.
    GetPeers = 0x10, since 1, relayed false, Normal, max 65_536;
    /// Addresses, asked for or as gossip.
    Peers = 0x11, since 1, relayed false, Normal, max 24_004;
    /// Asks for headers after a locator.
    GetHeaders = 0x20, since 1, relayed false, Normal, max 2_119;
    /// Headers, asked for or as an announcement.
    Headers = 0x21, since 1, relayed false, Normal, max MAX_PAYLOAD;
    /// Asks for a block by hash.
    GetBlock = 0x22, since 1, relayed false, Normal, max 32;
    /// A block that was asked for.
    Block = 0x23, since 1, relayed false, Normal, max MAX_PAYLOAD;
    /// "I do not have that block".
    NotFound = 0x24, since 2, relayed false, Normal, max 32;
    /// One transaction.
    Transaction = 0x30, since 1, relayed true, Low, max 1_048_576;
    /// A new block, whole.
    NewBlock = 0x31, since 1, relayed true, High, max MAX_PAYLOAD;
    /// Asks for the pool of waiting transactions.
    TxPoolRequest = 0x32, since 2, relayed false, Normal, max 5;
    /// The ids of waiting transactions.
    TxPool = 0x33, since 2, relayed false, Normal, max 1_600_004;
    /// A new challenge of a proof-of-space chain.
    NewChallenge = 0x40, since 1, relayed true, High, max 4_096;
    /// A miner's proof.
    ProofSubmission = 0x41, since 1, relayed true, Normal, max 1_048_621;
    /// "This block is now part of the chain".
    BlockAccepted = 0x42, since 2, relayed true, High, max 40;
    /// Asks for several blocks by their hashes; only between peers that both serve runs.
    GetBlocks = 0x50, since 2, relayed false, Normal, max 32_004;
    /// Blocks that were asked for, several in one frame; only between peers that both serve runs.
    Blocks = 0x51, since 2, relayed false, Normal, max 4_194_304;
    /// A short text before a close; only ever logged.
    Error = 0xff, since 1, relayed false, Critical, max 1_024;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_kinds_agree() {
        for byte in 0..=255u8 {
            if let Some(kind) = Kind::from_byte(byte) {
                assert_eq!(kind as u8, byte);
                assert!(Kind::ALL.contains(&kind));
                assert!(kind.max_payload() <= MAX_PAYLOAD);
                assert!((1..=2).contains(&kind.since()));
            }
        }
        assert_eq!((0..=255u8).filter_map(Kind::from_byte).count(), Kind::ALL.len());
        assert_eq!(Kind::ALL.len(), 22);
    }
}
