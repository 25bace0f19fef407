//! TLS that is all envelope: records of one byte, and keys that change all the time.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, Error};
use socket2::{Domain, Socket, Type};
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::wire::Kind;

use crate::node::{Node, forget_peak, program};
use crate::scene::{PING_P99_MAX, Report, STALL_MAX, place};
use crate::settings::Settings;
use crate::words::{Greeting, source};

#[path = "../../../tests/tls_support/anyone.rs"]
mod anyone;

/// Connections of attackers.
const CONNECTIONS: usize = 16;
/// Records of one byte that are written at once, and between two changes of keys.
const RECORDS: usize = 1_000;
const RECORDS_PER_KEY: usize = 10;
/// Between two such writes, so that it is not the attackers who take all processors.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two pings.
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn play(name: &str, settings: &Settings) -> Report {
    let mut report = Report::new(name);
    let (directory, data) = place();
    let mut node = Node::start(&data, &["--tls", "any"]);
    let (address, end) = (node.address, Instant::now() + settings.seconds);
    let before = node.usage();
    forget_peak(node.id());
    let client = directory.path().join("client").to_string_lossy().into_owned();
    let count = (settings.seconds.as_millis() / INTERVAL.as_millis()) as u64;
    let (pings, records, connections) = thread::scope(|scope| {
        let attackers: Vec<_> =
            (0..CONNECTIONS).map(|index| scope.spawn(move || attack(address, index, end))).collect();
        // They are there first.
        thread::sleep(INTERVAL * 5);
        let pings = pings(&node, &client, count.saturating_sub(5).max(1));
        let sent: Vec<(u64, u64)> = attackers.into_iter().map(|one| one.join().unwrap_or_default()).collect();
        let (records, connections) = sent.into_iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        (pings, records, connections)
    });
    let after = node.usage();
    report.seconds = settings.seconds.as_secs_f64();
    (report.cpu, report.waited) = (after.cpu - before.cpu, after.waited - before.waited);
    let quantile = |part: f64| {
        let at = (pings.len() as f64 * part).ceil() as usize;
        pings.get(at.saturating_sub(1)).copied().unwrap_or(f64::INFINITY)
    };
    report.note("pings", pings.len());
    report.note("ping_p50_ms", quantile(0.5));
    report.note("ping_p99_ms", quantile(0.99));
    report.note("ping_max_ms", quantile(1.0));
    report.note("records", records);
    report.note("connections", connections);
    report.check(format!("p99 of pings at most {PING_P99_MAX} ms"), quantile(0.99) <= PING_P99_MAX);
    report.check(format!("no stall above {STALL_MAX} ms"), quantile(1.0) <= STALL_MAX);
    thread::sleep(settings.rest);
    let rested = node.usage();
    report.memory = Some([before.memory, after.peak, rested.memory]);
    // The crypto library's own, and a session of each that may be resumed.
    report.check("memory back", rested.memory <= before.memory * 1.1 + 4.0);
    report.check("the node answers afterwards", !self::pings(&node, &client, 1).is_empty());
    report.banned = node.banned().len();
    report.check("the node stops as it should", node.stop());
    report
}

/// The round trips of so many pings, sorted, in milliseconds; none when one had no answer.
fn pings(node: &Node, client: &str, count: u64) -> Vec<f64> {
    let (address, count) = (node.address.to_string(), count.to_string());
    let interval = format!("{}ms", INTERVAL.as_millis());
    let mut command = program();
    command.args(["ping", &address, "--json", "--tls", "any", "--data-dir", client]);
    let output = command.args(["--count", &count, "--interval", &interval]).stderr(Stdio::inherit()).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let trips = report["round_trips_ms"].as_array().cloned().unwrap_or_default();
    let mut trips: Vec<f64> = trips.iter().filter_map(serde_json::Value::as_f64).collect();
    trips.sort_by(f64::total_cmp);
    trips
}

/// Until the end, with as many connections as that takes; how many records left, and on how many connections.
fn attack(node: SocketAddr, index: usize, end: Instant) -> (u64, u64) {
    let (mut records, mut connections) = (0, 0);
    while Instant::now() < end {
        connections += 1;
        // An error is the node, which ends the connection.
        let _ = talk(node, index, end, &mut records);
        thread::sleep(INTERVAL);
    }
    (records, connections)
}

fn talk(node: SocketAddr, index: usize, end: Instant, records: &mut u64) -> std::io::Result<()> {
    let key = Identity::generate_pkcs8().map_err(std::io::Error::other)?;
    let identity = Identity::from_pkcs8(&key).map_err(std::io::Error::other)?;
    let mut tls = client(&identity, key).map_err(std::io::Error::other)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source(index), 0)).into())?;
    socket.connect(&node.into())?;
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    tls.complete_io(&mut stream)?;
    tls.writer().write_all(&Greeting::of(identity.id().to_string()).frame())?;
    // A frame that goes on for all of the records.
    let length = Kind::NewBlock.max_payload();
    tls.writer().write_all(&length.to_le_bytes())?;
    tls.writer().write_all(&[Kind::NewBlock as u8])?;
    tls.writer().write_all(&crate::forge::block(crate::forge::Parent::genesis(), 1, &[]).header.encode())?;
    while tls.wants_write() {
        tls.write_tls(&mut stream)?;
    }
    while Instant::now() < end {
        for record in 0..RECORDS {
            if record % RECORDS_PER_KEY == 0 {
                tls.refresh_traffic_keys().map_err(std::io::Error::other)?;
            }
            tls.writer().write_all(&[0])?;
            *records += 1;
            while tls.wants_write() {
                tls.write_tls(&mut stream)?;
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn client(identity: &Identity, key: Vec<u8>) -> Result<ClientConnection, Error> {
    let certificate = CertificateDer::from(identity.certificate().to_vec());
    let key = PrivateKeyDer::try_from(key).map_err(|why| Error::General(why.to_owned()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = anyone::trusting(provider).with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"spacetime/2".to_vec()];
    let name = ServerName::try_from("peer.invalid").map_err(|_| Error::General("no name".to_owned()))?;
    ClientConnection::new(config.into(), name)
}
