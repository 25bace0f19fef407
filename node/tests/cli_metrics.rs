//! The metrics before those who read them: promtool's rules, a Prometheus that scrapes a node, and the rules for its alerts.
//!
//! Left out with a word where Prometheus is not installed (Debian's package `prometheus`).

#![cfg(all(unix, feature = "http"))]

mod cli_support;
mod http_support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cli_support::wait_for;
use http_support::{Answer, ask, get, post, start};
use serde_json::{Value, json};

fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("{program} is not installed: what it would say is not tested");
    }
    is_there
}

fn open(http: &str) -> Answer {
    ask(http, "GET", "/metrics", &["Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.1"], "")
}

#[test]
fn both_formats_say_the_same_and_every_family_has_its_type_and_help() {
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &[]);
    post(&http, "/api/node/mine", &json!({})).json();
    let (open, plain) = (open(&http), get(&http, "/metrics"));
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(plain.head.contains("text/plain; version=0.0.4"), "{}", plain.head);
    assert!(open.body.ends_with("# EOF\n") && !plain.body.contains("# EOF"));
    for line in [
        "spacetime_chain_height 1\n",
        "spacetime_turn_duration_seconds_bucket{le=\"+Inf\"}",
        "spacetime_build_info{version=",
    ] {
        assert!(open.body.contains(line) && plain.body.contains(line), "{line}: {}", open.body);
    }
    assert!(open.body.contains("# UNIT spacetime_received_bytes bytes"), "{}", open.body);
    assert!(plain.body.contains("# TYPE spacetime_received_bytes_total counter\nspacetime_received_bytes_total "));
    // The buckets add up, and the last one holds all.
    let of = |name: &str| -> f64 {
        let line = plain.body.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    let count = of("spacetime_turn_duration_seconds_count");
    assert!(count > 0.0 && count == of("spacetime_turn_duration_seconds_bucket{le=\"+Inf\"}"));
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics_the_alerts_and_what_they_name() {
    if !is_installed("promtool") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &[]);
    let metrics = get(&http, "/metrics").body;
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.trim().is_empty(), "{text}");
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("operations");
    let checked =
        Command::new("promtool").args(["check", "rules"]).arg(operations.join("alerts.yml")).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    // An alert on a metric that is not there never comes, and nobody sees that; the same of a panel.
    for file in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(operations.join(file)).unwrap();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for name in text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("spacetime_")) {
            assert!(metrics.contains(&format!("\n{name}")), "{file}: {name} is no metric");
        }
    }
}

struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_prometheus_scrapes_a_node() {
    if !is_installed("prometheus") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_node, http) = start(&directory.path().join("a"), &[]);
    post(&http, "/api/node/mine", &json!({})).json();
    // The port is free at this moment, and the system gives each only after many others.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = directory.path().join("prometheus.yml");
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("operations");
    fs::write(
        &config,
        format!(
            "global:\n  scrape_interval: 1s\nrule_files: [\"{}\"]\nscrape_configs:\n  - job_name: spacetime-node\n    static_configs:\n      - targets: [\"{http}\"]\n",
            operations.join("alerts.yml").display()
        ),
    )
    .unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _prometheus = Prometheus(child);
    wait_for("Prometheus", || std::net::TcpStream::connect(&address).is_ok());
    let query = |text: &str| -> Option<String> {
        let answer = get(&address, &format!("/api/v1/query?query={text}"));
        let value: Value = serde_json::from_str(&answer.body[answer.body.find('{')?..=answer.body.rfind('}')?]).ok()?;
        value["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    wait_for("a scrape", || query("spacetime_chain_height").is_some());
    assert_eq!(query("spacetime_chain_height").as_deref(), Some("1"));
    assert_eq!(query("up").as_deref(), Some("1"));
    let all: u64 = query("scrape_samples_scraped").unwrap().parse().unwrap();
    assert!(all > 300, "{all}");
    wait_for("a histogram", || query("spacetime_turn_duration_seconds_count").is_some());
}
