//! What flags take and refuse, and what those who gave something else are told.

use super::*;

#[test]
fn an_external_address_may_leave_its_port_to_the_listener() {
    let zero = |text: &str| external_address(text).unwrap();
    assert_eq!(zero("203.0.113.7"), "203.0.113.7:0".parse().unwrap());
    assert_eq!(zero("2001:db8::7"), "[2001:db8::7]:0".parse().unwrap());
    assert_eq!(zero("[2001:db8::7]:9"), "[2001:db8::7]:9".parse().unwrap());
    for bad in ["", "name:7", "203.0.113.7:0", "0.0.0.0", "[::]:7", "224.0.0.1:7", "203.0.113.7:70000"] {
        let error = external_address(bad).unwrap_err();
        assert!(error.contains("expected ip or ip:port"), "{bad}: {error}");
    }
}

/// `ping` took `[fe80::1%lo]:P` and names, `--listen` did not.
#[test]
fn a_node_listens_at_an_address_or_at_a_name_of_it() {
    let patience = Duration::from_secs(60);
    let at = |text: &str| text.parse::<ListenAddress>().unwrap();
    assert_eq!(at("0.0.0.0:0").resolve(patience).unwrap(), ["0.0.0.0:0".parse().unwrap()]);
    for (text, port) in [("localhost:0", 0), ("localhost:7193", 7193)] {
        let found = at(text).resolve(patience).unwrap();
        assert!(!found.is_empty() && found.iter().all(|found| found.ip().is_loopback() && found.port() == port));
    }
    assert!(matches!(at("[fe80::1%lo]:0"), ListenAddress::Name(name, 0) if name.to_string() == "[fe80::1%lo]:1"));
    for bad in ["", ":0", "localhost", "localhost:70000", "127.1:0", "[::1%lo]:0", "a b:1"] {
        assert!(bad.parse::<ListenAddress>().unwrap_err().starts_with("expected ip:port or name:port"), "{bad}");
    }
    for (nobody, kind) in
        [("224.0.0.1:0", "multicast"), ("[ff02::1]:7193", "multicast"), ("255.255.255.255:7193", "broadcast")]
    {
        let why = nobody.parse::<ListenAddress>().unwrap_err();
        assert!(why.contains(&format!("is a {kind} address, at which nobody is reached")), "{why}");
    }
    for (scopeless, wanted) in [("[fe80::1]:0", "[fe80::1%eth0]:0"), ("[fe80::2]:7193", "[fe80::2%eth0]:7193")] {
        let why = scopeless.parse::<ListenAddress>().unwrap_err();
        assert!(why.contains("on which interface") && why.contains(wanted), "{why}");
    }
}

#[test]
fn endpoints_need_a_host_and_a_port() {
    for good in
        ["127.0.0.1:7193", "[::1]:1", "node-0.example.org:7193", "localhost:9", "[fe80::1%3]:1", "[fe80::1%lo]:1"]
    {
        assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
    }
    for bad in ["", "127.0.0.1", ":7193", "host:", "host:0", "host:70000", "::1:7193", "a b:1", "127.1:7193"] {
        assert!(bad.parse::<Endpoint>().unwrap_err().starts_with("expected ip:port or name:port"), "{bad}");
    }
    assert_eq!("[::ffff:127.0.0.1]:1".parse::<Endpoint>().unwrap().to_string(), "127.0.0.1:1");
}

/// `--connect 0.0.0.0:P` was taken, and the node then kept a connection to nobody without a word.
#[test]
fn an_address_at_which_nothing_can_be_dialed_is_refused_with_the_reason() {
    for (text, part) in [
        ("0.0.0.0:7193", "give one of them, or 127.0.0.1 for this machine"),
        ("[::]:7193", "or [::1] for this machine"),
        ("127.0.0.1:0", "port 0"),
        ("[::ffff:0.0.0.0]:1", "127.0.0.1"),
        ("224.0.0.1:7193", "multicast"),
        ("[ff02::1]:7193", "multicast"),
        ("255.255.255.255:7193", "reserved"),
        ("0.1.2.3:7193", "reserved"),
        ("[fe80::1]:7193", "like [fe80::1%eth0]:7193"),
    ] {
        let why = text.parse::<Endpoint>().unwrap_err();
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn a_name_is_all_of_its_addresses() {
    let local: Endpoint = "localhost:7".parse().unwrap();
    let found = local.resolve(Duration::from_secs(60)).unwrap();
    assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()));
    let (addresses, names) = apart(&["192.0.2.1:7".parse().unwrap(), local]);
    assert_eq!((addresses.len(), names.len()), (1, 1));
}

#[test]
fn durations_have_units_and_seconds_need_none() {
    assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    for bad in ["30", "0s", "-1s", "soon", "400000h"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    assert_eq!(seconds("0"), Ok(Duration::ZERO));
    assert_eq!(seconds("0.5"), seconds("500ms"));
    for bad in ["-1", "NaN", "inf", "1e300", "x"] {
        assert!(seconds(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_rate_has_a_unit_of_bytes_or_bits() {
    for (text, bytes) in [
        ("1MiB", 1 << 20),
        ("1MiB/s", 1 << 20),
        ("1.5 MB", 1_500_000),
        ("8Mbit", 1_000_000),
        ("8 Mbit/s", 1_000_000),
        ("500kB", 500_000),
        ("16384B", 16_384),
    ] {
        assert_eq!(byte_rate(text), Ok(bytes), "{text}");
    }
    for bad in ["", "1", "1MiBs", "MiB", "-1MiB", "1e9MiB", "1KiB", "0MiB", "1mib", "99999999TiB", "1..2MiB", "1M"] {
        assert!(byte_rate(bad).is_err(), "{bad}");
    }
    let day = Duration::from_secs(86_400);
    assert_eq!(quota("20GiB/day"), Ok(Quota { bytes: 20 << 30, period: day }));
    assert_eq!(quota("500 GB / 30days"), Ok(Quota { bytes: 500_000_000_000, period: day * 30 }));
    for bad in ["20GiB", "20/day", "20GiB/", "20GiB/fortnight", "0GiB/day", "1GiB/1s", "1GiB/2years"] {
        assert!(quota(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_home_directory_is_where_it_is_or_an_error() {
    let at = |path: &str, home: Option<&str>| at_home(Path::new(path), home.map(PathBuf::from));
    assert_eq!(at("~/a/b", Some("/home/u")), Ok("/home/u/a/b".into()));
    assert_eq!(at("~", Some("/home/u")), Ok("/home/u".into()));
    for plain in ["a", "/a/~/b", "./~", "./~/a", "a~"] {
        assert_eq!(at(plain, Some("/home/u")), Ok(plain.into()));
    }
    for (path, home) in [("~/a", None), ("~/a", Some("")), ("~bob/a", Some("/home/u")), ("~backup", Some("/home/u"))] {
        assert!(at(path, home).unwrap_err().contains("in full"), "{path}");
    }
}

#[test]
fn none_stands_alone_among_exempt_ranges() {
    let parse = |list: &[&str]| list.iter().map(|item| item.parse().unwrap()).collect::<Vec<Exempt>>();
    assert_eq!(ranges_of("--exempt", &parse(&["none"])), Ok(vec![]));
    assert_eq!(ranges_of("--exempt", &parse(&["10.0.0.0/8", "::1"])).unwrap().len(), 2);
    assert!(ranges_of("--exempt", &parse(&["none", "10.0.0.0/8"])).is_err());
    assert!("10.0.0.0/33".parse::<Exempt>().is_err());
    // The help calls it the default, and it was not understood.
    let usual = ExemptRanges::default().0;
    assert_eq!(ranges_of("--exempt", &parse(&["loopback"])), Ok(usual.clone()));
    assert_eq!(ranges_of("--exempt", &parse(&["loopback", "10.0.0.0/8"])).unwrap().len(), usual.len() + 1);
    assert!(ranges_of("--exempt", &parse(&["none", "loopback"])).is_err());
}

#[test]
fn an_address_of_ipv6_may_stand_in_brackets_where_others_reach_us() {
    for text in ["2001:db8::1", "[2001:db8::1]"] {
        assert_eq!(external_address(text), Ok("[2001:db8::1]:0".parse().unwrap()), "{text}");
    }
    for text in ["[203.0.113.7]", "[2001:db8::1", "[2001:db8::1]:0", "[]"] {
        assert!(external_address(text).unwrap_err().contains("[2001:db8::7]:7193"), "{text}");
    }
}

#[test]
fn a_number_that_is_none_is_told_what_it_must_be() {
    let minutes = whole(1..=10_000);
    assert_eq!(minutes("30"), Ok(30));
    for text in ["0.1", "-1", "0", "10001", "", "ten"] {
        assert_eq!(minutes(text).unwrap_err(), "expected a whole number from 1 to 10000", "{text}");
    }
    assert!(amount("-1").unwrap_err().contains("a whole number from 0 to"));
}
