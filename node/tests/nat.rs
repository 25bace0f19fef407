//! A node at home behind a real router: the kernel's NAT and miniupnpd, in network namespaces that the tests make.
//!
//! They need the right to make those, `iproute2`, `nftables` and miniupnpd (Debian's `miniupnpd-nftables`); elsewhere they say so and are
//! left out.

#![cfg(all(target_os = "linux", feature = "http"))]

mod nat_support;

use nat_support::{Lab, PORT, Routers, SEEN, wait_for};

const ALL_ON: [&str; 2] = ["enable_natpmp=yes", "enable_upnp=yes"];

fn address(port: u16) -> String {
    format!("{SEEN}:{port}")
}

/// A node at home is dialed from outside, by its mapping; after its end nothing is forwarded any more.
fn is_dialed_from_outside(nat: &str, router: &[&str], via: &str) {
    let Some(mut lab) = Lab::new(Routers::One) else { return };
    lab.start_router(router);
    let _outside = lab.outside();
    let home = lab.at_home("home", nat);
    assert_eq!(home.announced(), address(PORT));
    let reach = home.reach();
    assert_eq!((&reach["mappedBy"], &reach["seen"]), (&via.into(), &SEEN.into()), "{reach:#}");
    assert!(lab.is_reached(&address(PORT)), "{} {}", lab.forwarded(), home.log());
    assert_eq!(home.reach()["isReached"], true);
    home.says("reachable: somebody has come from the internet");
    home.stop();
    assert_eq!(lab.forwarded(), "", "nothing is left mapped");
}

#[test]
fn a_node_at_home_is_dialed_from_outside_by_pcp() {
    is_dialed_from_outside("pcp", &ALL_ON, "PCP");
}

#[test]
fn a_node_at_home_is_dialed_from_outside_by_nat_pmp() {
    is_dialed_from_outside("natpmp", &ALL_ON, "NAT-PMP");
}

#[test]
fn a_node_at_home_is_dialed_from_outside_by_upnp() {
    is_dialed_from_outside("upnp", &ALL_ON, "UPnP");
}

#[test]
fn auto_finds_the_way_that_the_router_knows() {
    is_dialed_from_outside("auto", &ALL_ON, "PCP");
}

#[test]
fn a_router_that_lost_its_memory_is_asked_again_whichever_way() {
    let Some(mut lab) = Lab::new(Routers::One) else { return };
    for nat in ["pcp", "natpmp", "upnp"] {
        lab.start_router(&ALL_ON);
        let _outside = lab.outside();
        let home = lab.at_home("home", nat);
        assert_eq!(home.announced(), address(PORT), "{nat}");
        lab.stop_router();
        assert_eq!(lab.forwarded(), "");
        // Its UPnP is at another port now.
        lab.start_router(&ALL_ON);
        wait_for("the mapping", || {
            if lab.forwarded().contains(&format!("dport {PORT} ")) { Ok(()) } else { Err(home.log()) }
        });
        assert!(lab.is_reached(&address(PORT)), "{nat}: {}", home.log());
        home.stop();
        assert_eq!(lab.forwarded(), "", "{nat}");
        lab.stop_router();
    }
}

#[test]
fn two_nodes_behind_one_router_have_a_port_each() {
    let Some(mut lab) = Lab::new(Routers::One) else { return };
    lab.start_router(&ALL_ON);
    let _outside = lab.outside();
    for nat in ["pcp", "natpmp", "upnp"] {
        let first = lab.at_home("home", nat);
        assert_eq!(first.announced(), address(PORT), "{nat}");
        let second = lab.at_home("home2", nat);
        let announced = second.announced();
        assert_ne!(announced, address(PORT), "{nat}");
        assert!(lab.is_reached(&announced) && lab.is_reached(&address(PORT)), "{nat}: {}", lab.forwarded());
        second.stop();
        assert!(lab.is_reached(&address(PORT)), "{nat}: the other's is untouched");
        first.stop();
        assert_eq!(lab.forwarded(), "", "{nat}");
    }
}

#[test]
fn a_mapping_that_another_machine_has_taken_is_left_to_it_and_another_port_announced() {
    let Some(mut lab) = Lab::new(Routers::One) else { return };
    let _outside = lab.outside();
    for nat in ["natpmp", "upnp"] {
        lab.start_router(&ALL_ON);
        let home = lab.at_home("home", nat);
        assert_eq!(home.announced(), address(PORT));
        // While its cable is out, the router restarts, and somebody else is quicker.
        lab.within("router", "link set home down");
        lab.stop_router();
        lab.start_router(&ALL_ON);
        let thief = lab.at_home("home2", nat);
        assert_eq!(thief.announced(), address(PORT));
        lab.within("router", "link set home up");
        let port = |reach: &serde_json::Value| reach["externalPort"].as_u64().filter(|port| *port != u64::from(PORT));
        let reach = home.until("another port", |reach| port(reach).is_some());
        let announced = format!("{SEEN}:{}", port(&reach).unwrap());
        assert_eq!(home.announced(), announced, "{nat}");
        wait_for("the way in", || if lab.is_reached(&announced) { Ok(()) } else { Err(home.log()) });
        assert!(lab.is_reached(&address(PORT)));
        home.stop();
        thief.stop();
        lab.stop_router();
    }
}

#[test]
fn behind_a_second_router_that_is_said_and_nobody_comes() {
    let Some(mut lab) = Lab::new(Routers::Two) else { return };
    // It claims an address of the internet, which is not the one that peers see.
    lab.start_router(&[&ALL_ON[..], &["ext_ip=11.0.0.1"]].concat());
    let _outside = lab.outside();
    let home = lab.at_home("home", "pcp");
    let reach = home.until("a second router", |reach| reach["secondRouter"] == true && reach["seen"] == SEEN);
    assert_eq!((&reach["routerClaims"], &reach["isReached"]), (&"11.0.0.1".into(), &false.into()), "{reach:#}");
    home.says("a second router seems to stand between ours and the internet");
    assert!(!lab.is_reached(&address(PORT)));
    home.stop();
    assert_eq!(lab.forwarded(), "");
}

#[test]
fn without_a_network_at_start_and_with_another_address_later_the_port_is_forwarded() {
    let Some(mut lab) = Lab::new(Routers::One) else { return };
    lab.start_router(&ALL_ON);
    let _outside = lab.outside();
    lab.within("home", "link set eth0 down");
    let home = lab.at_home("home", "pcp");
    home.until("that there is no router", |reach| reach["mapping"] == "failed");
    lab.within("home", "link set eth0 up");
    lab.within("home", "route add default via 192.168.77.1");
    home.until("a mapping", |reach| reach["mapping"] == "mapped");
    // A new lease of the address, as DHCP may give.
    lab.within("home", "addr del 192.168.77.2/24 dev eth0");
    lab.within("home", "addr add 192.168.77.12/24 dev eth0");
    lab.within("home", "route add default via 192.168.77.1");
    wait_for("a mapping to the new address", || {
        if lab.forwarded().contains("192.168.77.12") { Ok(()) } else { Err(home.log()) }
    });
    let port = home.until("a port", |reach| reach["externalPort"].is_u64())["externalPort"].as_u64().unwrap();
    let address = format!("{SEEN}:{port}");
    wait_for("the way in", || if lab.is_reached(&address) { Ok(()) } else { Err(home.log()) });
    home.stop();
}
