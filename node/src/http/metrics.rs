//! The metrics: everything that the engine counts, as OpenMetrics, and as the older text format for whoever does not ask for that.
//!
//! Labels have values that the program knows beforehand: no peer's id, address, agent or words, so that the number of series is the
//! same whatever strangers do. What a newer part of the engine counts under a word that is not listed stands under `other`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use spacetime_network::close::CloseReason;
use spacetime_network::histogram::Histogram;
use spacetime_network::proto::peer::AdmissionRefusal;
use spacetime_network::wire::Kind;

use super::admin::{Admin, Sample};
use super::conn::Request;
use super::response::Response;
use crate::keeper;

/// What every name begins with.
const PREFIX: &str = "spacetime";
/// Where a count stands whose word is not listed.
const OTHER: &str = "other";
/// Why one is turned away, besides the limits.
const TURNED_AWAY: [&str; 2] = ["stopping", "blacklisted"];

/// OpenMetrics 1.0, section "Content Types".
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn metrics(admin: &Admin, request: &Request) -> Response {
    let sample = match admin.sample() {
        Ok(sample) => sample,
        Err(refused) => return refused,
    };
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Snapshot::of(admin, sample)));
    let mut text = String::with_capacity(64 * 1024);
    match encode(&mut text, &registry) {
        Err(_) => Response::error(500, "the metrics cannot be written"),
        Ok(()) if request.head.accepts_open_metrics => Response::new(OPEN, text),
        Ok(()) => Response::new(PLAIN, plain(&text)),
    }
}

/// All of it at one moment.
#[derive(Debug)]
struct Snapshot {
    sample: Sample,
    version: &'static str,
    network: String,
    tls: String,
    started: f64,
    connections_max: usize,
    http: [usize; 5],
    failed_saves: Vec<(&'static str, u64)>,
}

impl Snapshot {
    fn of(admin: &Admin, sample: Sample) -> Self {
        let facts = &admin.facts;
        let served = &admin.served;
        let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
        Snapshot {
            sample,
            version: env!("CARGO_PKG_VERSION"),
            network: facts.params.to_string(),
            tls: facts.tls.clone(),
            started: facts.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            connections_max: facts.connections_max,
            http: [
                count(&served.connections),
                count(&served.viewers),
                count(&served.requests),
                count(&served.refused),
                count(&served.viewers_dropped),
            ],
            failed_saves: keeper::failed_saves(),
        }
    }
}

/// A family of metrics with one label, or two.
type Rows<'a, const N: usize> = Vec<([(&'static str, &'a str); N], u64)>;

/// Writes one family after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn bytes(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: &Rows<'_, N>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in rows {
            metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
        }
        Ok(())
    }

    fn gauges<const N: usize>(&mut self, name: &str, help: &str, rows: &Rows<'_, N>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(labels)?.encode_gauge(&signed(*value))?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: usize) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_gauge(&signed(value as u64))
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn histogram(&mut self, name: &str, help: &str, times: &Histogram) -> fmt::Result {
        // What has no bound is the encoder's +Inf.
        let buckets: Vec<(f64, u64)> = times
            .buckets()
            .map(|(bound, count)| (bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()), count))
            .collect();
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(times.sum().as_secs_f64(), times.count(), &buckets, None)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Counts by words that are listed, and the sum of all others.
fn by_word<'a>(
    label: &'static str,
    words: impl IntoIterator<Item = &'a str>,
    counts: &BTreeMap<&'static str, u64>,
) -> Rows<'a, 1> {
    let mut rows: Rows<'a, 1> =
        words.into_iter().map(|word| ([(label, word)], counts.get(word).copied().unwrap_or(0))).collect();
    let listed: u64 = rows.iter().map(|(_, count)| *count).sum();
    let all: u64 = counts.values().sum();
    rows.push(([(label, OTHER)], all.saturating_sub(listed)));
    rows
}

fn by_kind(counts: &BTreeMap<Kind, u64>) -> Rows<'static, 1> {
    Kind::ALL.iter().map(|kind| ([("kind", kind.name())], counts.get(kind).copied().unwrap_or(0))).collect()
}

fn both_ways(received: &BTreeMap<Kind, u64>, sent: &BTreeMap<Kind, u64>) -> Rows<'static, 2> {
    let way = |direction: &'static str, counts: &BTreeMap<Kind, u64>| {
        let row =
            |kind: &Kind| ([("direction", direction), ("kind", kind.name())], counts.get(kind).copied().unwrap_or(0));
        Kind::ALL.iter().map(row).collect::<Vec<_>>()
    };
    [way("received", received), way("sent", sent)].concat()
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        self.program(&mut out)?;
        self.connections(&mut out)?;
        self.traffic(&mut out)?;
        self.turns(&mut out)?;
        self.chain(&mut out)
    }
}

impl Snapshot {
    fn program(&self, out: &mut Families<'_>) -> fmt::Result {
        let mut info = out.0.encode_descriptor("build", "What this node is", None, MetricType::Info)?;
        info.encode_info(&[("version", self.version), ("network", self.network.as_str()), ("tls", self.tls.as_str())])?;
        out.seconds("start_time", "When the node started, since 1970", self.started)?;
        let [connections, viewers, requests, refused, dropped] = self.http;
        out.gauge("http_connections", "Connections to this endpoint", None, connections)?;
        out.gauge("http_viewers", "Viewers of the live page", None, viewers)?;
        out.counter("http_requests", "Requests to this endpoint that were begun", requests as u64)?;
        out.counter("http_refused", "Connections and requests that found no place here", refused as u64)?;
        out.counter("http_viewers_dropped", "Viewers that did not read", dropped as u64)?;
        let saves: Rows<'_, 1> = self.failed_saves.iter().map(|(what, count)| ([("file", *what)], *count)).collect();
        out.counters("save_failures", "Saves that failed, by what is at risk until one works", None, &saves)
    }

    fn connections(&self, out: &mut Families<'_>) -> fmt::Result {
        let (sample, totals, counters, tally) =
            (&self.sample, &self.sample.totals, &self.sample.counters, &self.sample.tally);
        let row = |direction, state, count: usize| ([("direction", direction), ("state", state)], count as u64);
        let rows: Rows<'_, 2> = vec![
            row("inbound", "ready", tally.inbound),
            row("outbound", "ready", tally.outbound),
            row("inbound", "greeting", tally.greeting_inbound),
            row("outbound", "greeting", tally.greeting_outbound),
            row("inbound", "client", tally.clients),
            row("any", "closing", tally.closing),
        ];
        out.gauges("connections", "Connections by direction and state", &rows)?;
        let peers = tally.inbound + tally.outbound;
        let rows: Rows<'_, 1> = [("proven", tally.proven), ("claimed", peers.saturating_sub(tally.proven))]
            .map(|(identity, count)| ([("identity", identity)], count as u64))
            .into();
        out.gauges("peers", "Peers by what is known of their identity: proven by TLS, or only claimed", &rows)?;
        out.gauge(
            "connections_open",
            "Connections that the loop has, those that drain included",
            None,
            sample.connections,
        )?;
        out.gauge("connections_max", "Connections that it may have", None, self.connections_max)?;
        out.gauge("connections_pending", "Places of those who have not introduced themselves", None, sample.pending)?;
        out.gauge("dials", "Dials under way", None, sample.dialing)?;
        out.counter("accepted", "Connections of others that were opened", totals.accepted)?;
        out.counter("accept_errors", "Errors of accept", totals.accept_errors)?;
        out.counter("dialed", "Dials that were begun", totals.dialed)?;
        out.counter("dial_failures", "Dials that ended without a connection", totals.dial_failures)?;
        let limits = AdmissionRefusal::ALL.map(AdmissionRefusal::label).into_iter().chain(TURNED_AWAY);
        out.counters(
            "turned_away",
            "Those who were not let in, by the limit",
            None,
            &by_word("limit", limits, &counters.turned_away),
        )?;
        out.counter("refused_by_loop", "Connections that the loop had no place for", totals.refused_limit)?;
        out.counter("admit_waited", "Those who waited for a place", totals.admit_waited)?;
        out.counter("drains_cut", "Connections whose drain was cut short for others", totals.drains_cut)?;
        let closes = by_word("reason", CloseReason::LABELS, &totals.closes);
        out.counters("closes", "Connections that ended, by the reason", None, &closes)?;
        let sessions = by_word("reason", CloseReason::LABELS, &counters.closed);
        out.counters("sessions_ended", "Sessions that ended, by the reason", None, &sessions)?;
        let failed: u64 = totals.tls_failures.values().sum();
        let outcomes: Rows<'_, 1> = [
            ("done", totals.tls_handshakes),
            ("failed", failed),
            ("evicted", totals.tls_evicted),
            ("throttled", totals.tls_throttled),
            ("waited", totals.tls_waited),
        ]
        .map(|(outcome, count)| ([("outcome", outcome)], count))
        .into();
        out.counters("tls_handshakes", "TLS handshakes by what became of them", None, &outcomes)?;
        let faults = by_word("reason", CloseReason::LABELS, &totals.tls_failures);
        out.counters("tls_failures", "TLS handshakes of others that failed, by the reason", None, &faults)?;
        let faults = by_word("reason", CloseReason::LABELS, &totals.tls_dial_failures);
        out.counters("tls_dial_failures", "Dials of ours that failed in TLS, by the reason", None, &faults)?;
        out.counter("web_sockets", "WebSockets that were opened, by others and by us", totals.web_sockets)?;
        out.gauge("bans", "Addresses, subnets and identities that are banned", None, sample.bans)?;
        out.counter("bans_imposed", "Bans that the rules imposed", counters.blacklisted)?;
        out.gauge(
            "reputation_origins",
            "Addresses and identities that something is held against, or in favour of",
            None,
            sample.origins,
        )?;
        out.gauge("book_addresses", "Addresses that may be dialed", None, sample.addresses)?;
        out.gauge("known_peers", "Peers in the table of known peers", None, sample.known_peers)
    }

    fn traffic(&self, out: &mut Families<'_>) -> fmt::Result {
        let (sample, totals, counters) = (&self.sample, &self.sample.totals, &self.sample.counters);
        out.bytes("received", "Bytes read from sockets", totals.bytes_in)?;
        out.bytes("sent", "Bytes written to sockets", totals.bytes_out)?;
        out.counter("frames_received", "Frames that were delivered", totals.frames_in)?;
        out.counter("frames_sent", "Frames that were written to their last byte", totals.frames_out)?;
        out.counter("frames_skipped", "Large frames that were not wanted when they began", totals.frames_skipped)?;
        out.counter("frames_dropped", "Frames that gave way in a queue to more urgent ones", totals.dropped_frames)?;
        out.counter("frames_refused", "Frames that a full queue did not take", totals.refused_frames)?;
        out.counter("reads", "Calls that read from a socket", totals.reads)?;
        out.counter("writes", "Calls that wrote to a socket", totals.writes)?;
        let rows = both_ways(&counters.received, &counters.sent);
        out.counters("messages", "Messages by direction and kind", None, &rows)?;
        let rows = both_ways(&counters.received_bytes, &counters.sent_bytes);
        out.counters("message", "Payloads by direction and kind", Some(&Unit::Bytes), &rows)?;
        out.counters(
            "messages_over_budget",
            "Messages dropped because they came too fast",
            None,
            &by_kind(&counters.over_budget),
        )?;
        out.counters("messages_refused", "Messages that a full queue did not take", None, &by_kind(&counters.refused))?;
        out.counters(
            "submissions_refused",
            "Submissions of our own that were refused",
            None,
            &by_kind(&counters.submissions_refused),
        )?;
        out.counter("relay_dropped", "What others said and was not passed on to a peer", counters.relay_dropped)?;
        out.gauge(
            "relay_waiting",
            "Transactions that wait until a peer takes more",
            None,
            sample.tally.waiting_transactions,
        )?;
        out.gauge("held", "Memory for received and unfinished frames", Some(&Unit::Bytes), sample.held_bytes)?;
        out.gauge("queued", "Memory for frames that wait to be written", Some(&Unit::Bytes), sample.queued_bytes)?;
        out.gauge("pooled", "Memory that the loop keeps for its connections", Some(&Unit::Bytes), sample.pooled_bytes)
    }

    fn turns(&self, out: &mut Families<'_>) -> fmt::Result {
        let (totals, counters) = (&self.sample.totals, &self.sample.counters);
        out.histogram(
            "turn_duration",
            "How long turns of the loop took, from the end of the wait to the end of the flush",
            &totals.turns.times,
        )?;
        let longest = |time: Duration| time.as_secs_f64();
        out.seconds(
            "turn_longest_lately",
            "The longest turn of the last minute or two",
            longest(totals.turns.worst_lately().time),
        )?;
        out.counter("work_units", "Units of work that the protocol said it has done", totals.work)?;
        out.histogram("round_trip", "Round trips of pings to all peers", &counters.round_trips)
    }

    fn chain(&self, out: &mut Families<'_>) -> fmt::Result {
        let (sample, counters, health) = (&self.sample, &self.sample.counters, &self.sample.health);
        out.gauge(
            "chain_height",
            "Height of the best block",
            None,
            usize::try_from(sample.tip.height).unwrap_or(usize::MAX),
        )?;
        out.gauge(
            "chain_target_height",
            "Height that is headed for",
            None,
            usize::try_from(sample.target).unwrap_or(usize::MAX),
        )?;
        out.gauge(
            "chain_syncing",
            "1 while blocks of a heavier branch are fetched",
            None,
            usize::from(sample.is_syncing),
        )?;
        out.gauge("chain_blocks", "Blocks that are held, on all branches", None, sample.blocks)?;
        out.counter("chain_new_tips", "How often the best chain came to end elsewhere", counters.new_tips)?;
        out.counter(
            "chain_reorganisations",
            "Moves of the best chain to another branch",
            sample.reorganisations.count,
        )?;
        out.counter("chain_reorganised_blocks", "Blocks that these left behind", sample.reorganisations.blocks)?;
        let deepest = usize::try_from(sample.reorganisations.deepest).unwrap_or(usize::MAX);
        out.gauge("chain_reorganisation_deepest", "The most blocks that one of them left behind", None, deepest)?;
        out.counter("chain_blocks_skipped", "Pushed blocks that were not read to their end", counters.blocks_skipped)?;
        out.gauge("mempool_transactions", "Transactions that wait for a block", None, sample.pool)?;
        out.gauge("mempool", "Bytes of transactions that wait for a block", Some(&Unit::Bytes), sample.pool_bytes)?;
        out.gauge(
            "store_healthy",
            "1 while blocks are stored as they should be",
            None,
            usize::from(health.error.is_none()),
        )?;
        out.gauge("store_backlog", "Blocks that are not durable yet", Some(&Unit::Bytes), health.backlog_bytes)?;
        out.counter("store_blocks_written", "Blocks made durable", health.written)?;
        out.counter("store_failures", "Writes of the store that failed", health.failures)?;
        out.histogram("store_write", "How long batches of blocks took to be made durable", &health.writes)
    }
}

/// The older text format, in which a counter's name and its sample's are one, and there are neither units nor infos.
fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    // HELP comes before TYPE, which says what the name is to be.
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if line.starts_with("# UNIT ") || line.starts_with("# EOF") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let open = "# HELP a_x Help of it.\n# TYPE a_x counter\na_x_total 3\n# HELP b_bytes B.\n# TYPE b_bytes gauge\n\
                    # UNIT b_bytes bytes\nb_bytes 4\n# HELP c C.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_x_total Help of it.\n# TYPE a_x_total counter\na_x_total 3\n# HELP b_bytes B.\n\
                        # TYPE b_bytes gauge\nb_bytes 4\n# HELP c_info C.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(plain(open), expected);
    }

    #[test]
    fn a_word_that_nobody_listed_is_counted_and_makes_no_series() {
        let counts = BTreeMap::from([("a", 1), ("new", 7), ("newer", 2)]);
        let rows = by_word("reason", ["a", "b"], &counts);
        assert_eq!(rows, [([("reason", "a")], 1), ([("reason", "b")], 0), ([("reason", "other")], 9)]);
    }
}
