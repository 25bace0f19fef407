//! What `top` draws: how the node is, what it carries, and its peers.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Gauge, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use crate::admin_client::top::Answer;
use crate::admin_client::{bytes, time};
use crate::safe_text::clean;

/// Rates that are kept: as wide as any terminal.
const RATES_MAX: usize = 400;
/// By what peers are sorted, in turn: field, and how it is called.
const ORDERS: [(&str, &str); 5] = [
    ("bytesIn", "received"),
    ("bytesOut", "sent"),
    ("roundTripMicros", "round trip"),
    ("height", "height"),
    ("connectedSeconds", "here for"),
];

/// What is shown, and what it takes to show the next one.
pub(super) struct Picture {
    answer: Option<Answer>,
    /// When the last good answer came, and its sums of bytes.
    before: Option<(Instant, u64, u64)>,
    rates_in: Vec<u64>,
    rates_out: Vec<u64>,
    order: usize,
    is_reversed: bool,
    began: Instant,
}

impl Picture {
    pub(super) fn new(now: Instant) -> Self {
        let (rates_in, rates_out) = (Vec::new(), Vec::new());
        Picture { answer: None, before: None, rates_in, rates_out, order: 0, is_reversed: false, began: now }
    }

    pub(super) fn sort_next(&mut self) {
        self.order = (self.order + 1) % ORDERS.len();
    }

    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
    }

    /// Another answer came.
    pub(super) fn take(&mut self, answer: Answer, now: Instant) {
        match &answer {
            Ok((status, _)) => {
                let (sum_in, sum_out) = (number(status, "bytesIn"), number(status, "bytesOut"));
                if let Some((at, before_in, before_out)) = self.before {
                    let seconds = now.saturating_duration_since(at).as_secs_f64().max(0.001);
                    let rate = |sum: u64, before: u64| (sum.saturating_sub(before) as f64 / seconds) as u64;
                    push(&mut self.rates_in, rate(sum_in, before_in));
                    push(&mut self.rates_out, rate(sum_out, before_out));
                }
                self.before = Some((now, sum_in, sum_out));
            }
            // A node that starts anew counts from zero.
            Err(_) => self.before = None,
        }
        self.answer = Some(answer);
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, sync, traffic, table, foot] = Layout::vertical([
            Constraint::Length(5),
            Constraint::Length(1),
            Constraint::Length(5),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let keys = "q quit   s sort by another column   r the other way round";
        match &self.answer {
            None => frame.render_widget(Paragraph::new("asking the node"), head),
            Some(Err(why)) => {
                let style = Style::new().fg(Color::Red);
                frame.render_widget(Paragraph::new(clean(why)).style(style), head);
            }
            Some(Ok((status, peers))) => {
                frame.render_widget(Paragraph::new(facts(status)), head);
                if let Some((ratio, label)) = progress(status) {
                    frame.render_widget(Gauge::default().ratio(ratio).label(label), sync);
                }
                let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(traffic);
                for (area, name, rates) in [(left, "received", &self.rates_in), (right, "sent", &self.rates_out)] {
                    let last = rates.last().map_or_else(|| "-".to_owned(), |rate| format!("{}/s", bytes(*rate)));
                    let block = Block::new().borders(Borders::TOP).title(format!(" {name} {last} "));
                    let shown = rates.get(rates.len().saturating_sub(usize::from(area.width))..).unwrap_or_default();
                    frame.render_widget(Sparkline::default().block(block).data(shown), area);
                }
                frame.render_widget(self.peers(peers), table);
            }
        }
        let since = self.began.elapsed().as_secs();
        let foot_line = Line::from(vec![Span::raw(keys), Span::raw(format!("   watched for {since} s"))]);
        frame.render_widget(Paragraph::new(foot_line).style(Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn peers(&self, peers: &Value) -> Table<'static> {
        let (field, name) = ORDERS.get(self.order).copied().unwrap_or(("bytesIn", "received"));
        let mut sorted: Vec<&Value> = peers.as_array().into_iter().flatten().collect();
        sorted.sort_by_key(|peer| std::cmp::Reverse(number(peer, field)));
        if self.is_reversed {
            sorted.reverse();
        }
        let text = |peer: &Value, field: &str| match peer.get(field) {
            Some(Value::String(text)) => clean(text),
            Some(other) => other.to_string(),
            None => "-".to_owned(),
        };
        let rows: Vec<Row<'static>> = sorted
            .iter()
            .map(|peer| {
                Row::new([
                    text(peer, "nodeId").chars().take(12).collect::<String>(),
                    text(peer, "remote"),
                    if text(peer, "direction") == "outbound" { "out".to_owned() } else { "in".to_owned() },
                    text(peer, "height"),
                    time(peer.get("roundTripMicros").and_then(Value::as_u64)),
                    bytes(number(peer, "bytesIn")),
                    bytes(number(peer, "bytesOut")),
                    text(peer, "score"),
                    text(peer, "userAgent"),
                ])
            })
            .collect();
        let head = Row::new(["node", "address", "way", "height", "round trip", "received", "sent", "score", "agent"]);
        let widths = [12, 22, 4, 9, 11, 11, 11, 6].map(Constraint::Length).into_iter().chain([Constraint::Min(8)]);
        let way = if self.is_reversed { ", least first" } else { "" };
        let title = format!(" {} peers by {name}{way} ", sorted.len());
        Table::new(rows, widths)
            .header(head.style(Style::new().add_modifier(Modifier::BOLD)))
            .block(Block::new().borders(Borders::TOP).title(title))
    }
}

fn push(rates: &mut Vec<u64>, rate: u64) {
    if rates.len() >= RATES_MAX {
        rates.remove(0);
    }
    rates.push(rate);
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

fn facts(status: &Value) -> Vec<Line<'static>> {
    let text = |field: &str| clean(status.get(field).and_then(Value::as_str).unwrap_or("-"));
    let at = |field: &str| number(status, field);
    let micros = |field: &str| time(status.get(field).and_then(Value::as_u64));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![
        Line::from(vec![
            Span::styled("spacetime-node ", bold),
            Span::raw(format!("{} {}   up {} s", text("version"), text("nodeId"), at("uptimeSeconds"))),
        ]),
        Line::from(vec![
            Span::raw("height "),
            Span::styled(at("height").to_string(), bold),
            Span::raw(format!("   {}", text("tip"))),
        ]),
        Line::from(format!(
            "peers {} in, {} out, clients {}   known {}   bans {}   waiting {} transactions, {}",
            at("inbound"),
            at("outbound"),
            at("clients"),
            at("knownAddresses"),
            at("bans"),
            at("pendingTransactions"),
            bytes(at("pendingBytes"))
        )),
        Line::from(format!(
            "turns 99 of 100 within {}, longest lately {}   round trips {}   queued {}",
            micros("turnP99Micros"),
            micros("turnLongestMicros"),
            micros("roundTripP50Micros"),
            bytes(at("queuedBytes"))
        )),
    ];
    if let Some(error) = status.get("storeError").and_then(Value::as_str) {
        lines.push(Line::styled(format!("store: {}", clean(error)), Style::new().fg(Color::Red)));
    }
    lines
}

/// How far a download is, and what is said of it.
fn progress(status: &Value) -> Option<(f64, String)> {
    let (height, target) = (number(status, "height"), number(status, "target"));
    if status.get("isSyncing").and_then(Value::as_bool) != Some(true) || target == 0 {
        return None;
    }
    let ratio = (height as f64 / target as f64).clamp(0.0, 1.0);
    let left = status.get("secondsLeft").and_then(Value::as_u64);
    let left = left.map_or_else(String::new, |left| format!(", about {left} s left"));
    Some((ratio, format!("{height} of {target} blocks{left}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;
    use std::time::Duration;

    fn drawn(picture: &Picture) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 20)).unwrap();
        terminal.draw(|frame| picture.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y: u16| (0..110).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
        (0..20).map(|y| line(y).trim_end().to_owned() + "\n").collect()
    }

    fn status(sum: u64) -> Value {
        json!({"version": "0.1.0", "nodeId": "ab", "uptimeSeconds": 7, "height": 3, "tip": "00ff", "target": 12, "isSyncing": true,
               "secondsLeft": 42, "inbound": 1, "outbound": 1, "bytesIn": sum, "bytesOut": 2 * sum, "turnP99Micros": 64})
    }

    fn peers() -> Value {
        json!([
            {"nodeId": "quiet", "remote": "192.0.2.7:1", "direction": "inbound", "bytesIn": 1, "height": 3, "userAgent": "\u{1b}[2J"},
            {"nodeId": "loud", "remote": "192.0.2.8:2", "direction": "outbound", "bytesIn": 2048, "height": 2, "userAgent": "x/1"},
        ])
    }

    #[test]
    fn a_node_is_seen_at_a_glance_and_its_peers_in_the_order_that_was_asked_for() {
        let began = Instant::now();
        let mut picture = Picture::new(began);
        assert!(drawn(&picture).contains("asking the node"));
        picture.take(Ok((status(1000), peers())), began);
        picture.take(Ok((status(1000 + 3 * 1024), peers())), began + Duration::from_secs(3));
        let seen = drawn(&picture);
        for part in [
            "height 3",
            "3 of 12 blocks, about 42 s left",
            "received 1.0 KiB/s",
            "sent 2.0 KiB/s",
            "2 peers by received",
            "64 µs",
        ] {
            assert!(seen.contains(part), "{part}:\n{seen}");
        }
        let place = |seen: &str, name: &str| seen.find(name).unwrap_or_else(|| panic!("{name}:\n{seen}"));
        assert!(place(&seen, "loud") < place(&seen, "quiet"));
        picture.reverse();
        assert!(place(&drawn(&picture), "quiet") < place(&drawn(&picture), "loud"));
        (0..3).for_each(|_| picture.sort_next());
        picture.reverse();
        let by_height = drawn(&picture);
        assert!(by_height.contains("by height") && place(&by_height, "quiet") < place(&by_height, "loud"));
        assert!(!by_height.contains('\u{1b}'), "what a stranger says steers no terminal");
        picture.take(Err("cannot ask the node".to_owned()), began);
        assert!(drawn(&picture).contains("cannot ask the node"));
    }
}
