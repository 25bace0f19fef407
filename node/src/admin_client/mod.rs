//! Commands for a node of one's own, by its administration endpoint: what it is, and what it is to do.

pub(crate) mod ask;
mod top;

pub(crate) use top::top;

use serde_json::{Value, json};

use crate::admin_client::ask::Asked;
use crate::bans_file::{self, BanReport};
use crate::cli::{AdminLogArgs, BanAction, BanArgs, LimitsArgs, PeersArgs, ReachArgs, StatusArgs, StopArgs};
use crate::failure::Failure;
use crate::http::bans::BanView;
use crate::output;

/// A field as it is shown.
fn shown(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// Microseconds as people read them.
pub(crate) fn time(micros: Option<u64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros) if micros < 1_000 => format!("{micros} µs"),
        Some(micros) if micros < 1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Prints how the node is.
pub(crate) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let status = Asked::new(&args.admin, args.timeout)?.get("/api/node/status")?;
    output::result(args.output.json, &status, status_lines)
}

fn status_lines(status: &Value) -> Vec<String> {
    let at = |field: &str| shown(status, field);
    let micros = |field: &str| time(status.get(field).and_then(Value::as_u64));
    let sync = match (status.get("isSyncing"), status.get("secondsLeft").and_then(Value::as_u64)) {
        (Some(Value::Bool(true)), Some(left)) => format!("catching up with {}, about {left} s left", at("target")),
        (Some(Value::Bool(true)), None) => format!("catching up with {}", at("target")),
        _ => "nobody is known to have more".to_owned(),
    };
    let mut lines = vec![
        format!("node          {}", at("nodeId")),
        format!("version       {}, TLS {}", at("version"), at("tls")),
        format!("running       {} s", at("uptimeSeconds")),
        format!("chain         height {}, {}", at("height"), at("tip")),
        format!("sync          {sync}"),
        format!(
            "peers         {} inbound, {} outbound, {} introduce themselves, {} clients that do not",
            at("inbound"),
            at("outbound"),
            at("greeting"),
            at("clients")
        ),
        format!("reach         {}", status.get("reach").map_or_else(|| "-".to_owned(), |reach| shown(reach, "words"))),
        format!("known         {} addresses, {} bans", at("knownAddresses"), at("bans")),
        format!("waiting       {} transactions, {}", at("pendingTransactions"), bytes(number(status, "pendingBytes"))),
        format!("received      {}", bytes(number(status, "bytesIn"))),
        format!("sent          {}", bytes(number(status, "bytesOut"))),
        format!(
            "turns         99 of 100 within {}, the longest lately {}",
            micros("turnP99Micros"),
            micros("turnLongestMicros")
        ),
        format!("round trips   half of them within {}", micros("roundTripP50Micros")),
        format!("log           {}", at("logLevel")),
    ];
    if status.get("storeError").is_some() {
        lines.push(format!("store         {}", at("storeError")));
    }
    lines
}

/// Prints the peers that the node is connected with.
pub(crate) fn peers(args: &PeersArgs) -> Result<(), Failure> {
    let peers = Asked::new(&args.admin, args.timeout)?.get("/api/node/peers?max=65536")?;
    output::result(args.output.json, &peers, |peers| peers.as_array().into_iter().flatten().map(peer_line).collect())
}

fn peer_line(peer: &Value) -> String {
    let at = |field: &str| shown(peer, field);
    format!(
        "{}  {}  {}  {}  height {}  {}  in {}  out {}  score {}  {}",
        at("nodeId"),
        if peer.get("isVerified") == Some(&Value::Bool(true)) { "proven" } else { "claimed" },
        at("remote"),
        at("direction"),
        at("height"),
        time(peer.get("roundTripMicros").and_then(Value::as_u64)),
        bytes(number(peer, "bytesIn")),
        bytes(number(peer, "bytesOut")),
        at("score"),
        at("userAgent")
    )
}

fn told(done: &Value) -> Vec<String> {
    vec![shown(done, "done")]
}

/// Has the node keep a connection.
pub(crate) fn connect(args: &ReachArgs) -> Result<(), Failure> {
    reach(args, "/api/node/peers/connect")
}

/// Has it keep none.
pub(crate) fn disconnect(args: &ReachArgs) -> Result<(), Failure> {
    reach(args, "/api/node/disconnect")
}

fn reach(args: &ReachArgs, path: &str) -> Result<(), Failure> {
    let body = json!({ "address": args.address.to_string() });
    let done = Asked::new(&args.admin, args.timeout)?.post(path, &body)?;
    output::result(args.output.json, &done, told)
}

/// Lists or changes the bans of a node that runs.
pub(crate) fn ban(args: &BanArgs) -> Result<(), Failure> {
    let asked = Asked::new(&args.admin, args.timeout)?;
    let done = match (args.action, args.who.map(|who| who.to_string())) {
        (BanAction::List, _) => {
            let bans = asked.get("/api/node/bans")?;
            let list = bans.get("bans").cloned().unwrap_or_default();
            let list: Vec<BanView> = serde_json::from_value(list)
                .map_err(|error| Failure::new("read the list of bans", error, "is that a node of this version?"))?;
            return bans_file::print(args.output.json, list.into_iter().map(BanReport::from).collect());
        }
        (BanAction::Add, who) => {
            // A part of a second is one too.
            let seconds = args.term.map(|term| term.as_secs().max(1));
            asked.post(
                "/api/node/ban",
                &json!({ "who": who, "seconds": seconds, "reason": args.reason.as_deref().unwrap_or("") }),
            )?
        }
        (BanAction::Remove, who) => asked.post("/api/node/unban", &json!({ "who": who }))?,
    };
    output::result(args.output.json, &done, told)
}

/// Prints the log's last lines, or changes its level.
pub(crate) fn log(args: &AdminLogArgs) -> Result<(), Failure> {
    use clap::ValueEnum;
    let asked = Asked::new(&args.admin, args.timeout)?;
    let Some(level) = args.level.and_then(|level| level.to_possible_value()) else {
        let log = asked.get("/api/node/log")?;
        return output::result(args.output.json, &log, |log| {
            let lines = log.get("lines").and_then(Value::as_array).into_iter().flatten();
            lines.filter_map(Value::as_str).map(str::to_owned).collect()
        });
    };
    let now = asked.post("/api/node/log", &json!({ "level": level.get_name() }))?;
    output::result(args.output.json, &now, |now| vec![format!("the log is at {} now", shown(now, "level"))])
}

/// Prints the limits that hold, or changes those of bandwidth.
pub(crate) fn limits(args: &LimitsArgs) -> Result<(), Failure> {
    let asked = Asked::new(&args.admin, args.timeout)?;
    let wanted = [
        ("maxUpload", args.max_upload),
        ("maxDownload", args.max_download),
        ("maxUploadPerPeer", args.max_upload_per_peer),
    ];
    let change: serde_json::Map<String, Value> =
        wanted.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?.rate())))).collect();
    let limits = match change.is_empty() {
        true => asked.get("/api/node/limits")?,
        false => asked.post("/api/node/limits", &Value::Object(change))?,
    };
    output::result(args.output.json, &limits, |limits| {
        let fields = limits.as_object().into_iter().flatten();
        fields
            .map(|(name, value)| {
                format!("{name:<24}{}", if value.is_null() { "none".to_owned() } else { value.to_string() })
            })
            .collect()
    })
}

/// Stops the node.
pub(crate) fn stop(args: &StopArgs) -> Result<(), Failure> {
    let done = Asked::new(&args.admin, args.timeout)?.post("/api/node/stop", &json!({}))?;
    output::result(args.output.json, &done, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(
            [time(None), time(Some(7)), time(Some(1_500)), time(Some(2_500_000))],
            ["-", "7 µs", "1.5 ms", "2.5 s"]
        );
    }
}
