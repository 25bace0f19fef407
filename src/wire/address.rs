//! GetPeers and Peers: addresses, asked for and given.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::kind::Kind;

/// The most addresses in one Peers, and so the most that a GetPeers may ask for.
pub const MAX_PEERS: u32 = 1000;
/// The most addresses that a GetPeers may exclude.
pub const MAX_EXCLUDED: u32 = 1000;

/// An IPv4 address in a Peers, in bytes: length, address, port.
const MIN_PEER_LEN: usize = 4 + 4 + 4;
/// An IPv6 address in a Peers, in bytes.
const MAX_PEER_LEN: u32 = 4 + 16 + 4;
/// An empty text in a GetPeers, in bytes.
const MIN_EXCLUDED_LEN: usize = 1;

const _: () = assert!(4 + MAX_PEERS * MAX_PEER_LEN == Kind::Peers.max_payload());

/// Asks for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetPeers<'a> {
    /// The empty payload: at most 1000, none excluded.
    All,
    /// With a limit and addresses that are not wanted.
    Limited {
        /// 1 to 1000.
        max: u32,
        /// At most 1000 texts `ip:port`, as sent.
        exclude: Vec<&'a str>,
    },
}

impl<'a> GetPeers<'a> {
    /// What means the same as [`GetPeers::All`] and can be read by every revision of the C# library, of which later ones take an
    /// empty question for a broken one.
    pub const fn everybody() -> Self {
        GetPeers::Limited { max: MAX_PEERS, exclude: Vec::new() }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.is_empty() {
            return Ok(GetPeers::All);
        }
        let max = reader.within("max", 1..=MAX_PEERS)?;
        let count = reader.count("exclusion count", MAX_EXCLUDED, MIN_EXCLUDED_LEN)?;
        let mut exclude = Vec::with_capacity(count);
        for _ in 0..count {
            exclude.push(reader.prefixed_text("exclusion")?);
        }
        Ok(GetPeers::Limited { max, exclude })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        let GetPeers::Limited { max, exclude } = self else { return Ok(()) };
        writer.within("max", *max, 1..=MAX_PEERS)?;
        writer.count("exclusion count", exclude.len(), MAX_EXCLUDED)?;
        exclude.iter().try_for_each(|text| writer.prefixed_text("exclusion", text))
    }
}

/// One address that is wrong makes the whole message wrong; port 0 is kept, for the address book to judge.
pub(super) fn read_peers(reader: &mut Reader<'_>) -> Result<Vec<SocketAddr>, DecodeError> {
    let count = reader.count("count", MAX_PEERS, MIN_PEER_LEN)?;
    let mut peers = Vec::with_capacity(count);
    for _ in 0..count {
        let ip = match reader.i32("address length")? {
            4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>("address")?)),
            16 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>("address")?)),
            _ => return Err(DecodeError::OutOfRange("address length")),
        };
        let port = u16::try_from(reader.i32("port")?).map_err(|_| DecodeError::OutOfRange("port"))?;
        peers.push(SocketAddr::new(ip, port));
    }
    Ok(peers)
}

/// The flow label and the scope of an IPv6 address mean nothing to another host and are not sent.
pub(super) fn write_peers(peers: &[SocketAddr], writer: &mut Writer<'_>) -> Written {
    writer.count("count", peers.len(), MAX_PEERS)?;
    for peer in peers {
        match peer.ip() {
            IpAddr::V4(ip) => {
                writer.bytes(&4i32.to_le_bytes())?;
                writer.bytes(&ip.octets())?;
            }
            IpAddr::V6(ip) => {
                writer.bytes(&16i32.to_le_bytes())?;
                writer.bytes(&ip.octets())?;
            }
        }
        writer.bytes(&i32::from(peer.port()).to_le_bytes())?;
    }
    Ok(())
}
