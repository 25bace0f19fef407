//! The router between this machine and the internet, by the system's routing table.

use std::io;
use std::net::Ipv4Addr;

/// What is read of a routing table at most, in bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TABLE_MAX: u64 = 1 << 20;

/// The router that packets to the internet go to; `None` when there is none.
///
/// # Errors
///
/// `Unsupported` where this program does not know how to ask.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn router() -> io::Result<Option<Ipv4Addr>> {
    use std::io::Read;
    let mut table = String::new();
    std::fs::File::open("/proc/net/route")?.take(TABLE_MAX).read_to_string(&mut table)?;
    Ok(router_in(&table))
}

/// The same, where nobody has written it yet.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn router() -> io::Result<Option<Ipv4Addr>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The gateway of the default route with the lowest metric, in the words of Linux: `Iface Destination Gateway Flags RefCnt Use Metric
/// Mask ...`, in hexadecimal and the machine's own order of bytes, but for the metric.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code, reason = "read on Linux alone"))]
fn router_in(table: &str) -> Option<Ipv4Addr> {
    /// The route is up, and goes by a gateway.
    const USABLE: u32 = 0x3;
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let mut hex = || u32::from_str_radix(fields.next()?, 16).ok();
        let (destination, gateway, flags) = (hex()?, hex()?, hex()?);
        let metric: u32 = fields.nth(2)?.parse().ok()?;
        let mask = u32::from_str_radix(fields.next()?, 16).ok()?;
        let is_default = destination == 0 && mask == 0 && flags & USABLE == USABLE && gateway != 0;
        is_default.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, router)| router)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn line(destination: u32, gateway: [u8; 4], flags: u32, metric: u32, mask: u32) -> String {
        let gateway = u32::from_ne_bytes(gateway);
        format!("eth0\t{destination:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn of_several_default_routes_the_one_with_the_lowest_metric_counts() {
        let table = [
            HEAD.to_owned(),
            line(0, [10, 0, 0, 1], 3, 600, 0),
            line(0, [192, 168, 1, 1], 3, 100, 0),
            line(0x00a8c0, [0, 0, 0, 0], 1, 0, 0xff_ffff),
        ];
        assert_eq!(router_in(&table.concat()), Some(Ipv4Addr::new(192, 168, 1, 1)));
    }

    #[test]
    fn a_route_that_is_down_without_gateway_or_not_the_default_is_none() {
        let table = [
            HEAD.to_owned(),
            line(0, [10, 0, 0, 1], 2, 0, 0),
            line(0, [0, 0, 0, 0], 1, 0, 0),
            line(0x0a, [10, 0, 0, 1], 3, 0, 0xff),
            "eth0 nonsense\n".to_owned(),
        ];
        assert_eq!(router_in(&table.concat()), None);
        assert_eq!(router_in(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machines_table_can_be_read() {
        router().unwrap();
    }
}
