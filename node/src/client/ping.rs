//! `ping`: how long a frame takes to a node and back.

use std::time::{Duration, Instant};

use serde::Serialize;
use spacetime_network::wire::Message;
use spacetime_network::wire::message::Ping;

use crate::cli::PingArgs;
use crate::client::blocking::{Client, unix_millis};
use crate::failure::Failure;
use crate::output::{self, millis};

#[derive(Debug, Serialize)]
struct Report {
    address: String,
    node_id: Option<String>,
    sent: u32,
    min_ms: f64,
    median_ms: f64,
    max_ms: f64,
    round_trips_ms: Vec<f64>,
}

/// Sends pings one after the other and prints the round trips.
pub(crate) fn ping(args: &PingArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    let operation = format!("ping {}", args.ask.address);
    if client.host().version < 2 {
        client.leave();
        return Err(Failure::new(
            operation,
            "it speaks protocol version 1, which has no ping",
            "that it greets shows that it is there; ask it for its peers or headers instead",
        ));
    }
    let as_json = args.ask.output.json;
    let mut round_trips = Vec::new();
    for number in 0..args.count {
        if number > 0 {
            client.idle(&operation, args.interval)?;
        }
        let taken = one(&mut client, number)?;
        if !as_json {
            output::line(format_args!("{}: {number} {:.3} ms", args.ask.address, millis(taken)))?;
        }
        round_trips.push(taken);
    }
    let node_id = client.host().node_id.clone();
    client.leave();
    let (min, median, max) = spread(&round_trips);
    let report = Report {
        address: args.ask.address.to_string(),
        node_id,
        sent: args.count,
        min_ms: millis(min),
        median_ms: millis(median),
        max_ms: millis(max),
        round_trips_ms: round_trips.iter().copied().map(millis).collect(),
    };
    output::result(as_json, &report, |report| {
        vec![format!("min {:.3} ms, median {:.3} ms, max {:.3} ms", report.min_ms, report.median_ms, report.max_ms)]
    })
}

fn one(client: &mut Client, number: u32) -> Result<Duration, Failure> {
    let sent = Instant::now();
    let nonce = i64::from(number);
    let ping = Message::Ping(Ping { nonce, unix_millis: unix_millis() });
    client.ask("a pong", &ping, |message| match message {
        Message::Pong(pong) if pong.nonce == nonce => Some(sent.elapsed()),
        _ => None,
    })
}

/// The shortest, the middle (the lower of two) and the longest.
fn spread(durations: &[Duration]) -> (Duration, Duration, Duration) {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let last = sorted.len().saturating_sub(1);
    (at(0), at(last / 2), at(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_does_not_depend_on_the_order() {
        let ms = Duration::from_millis;
        assert_eq!(spread(&[ms(9), ms(1), ms(5)]), (ms(1), ms(5), ms(9)));
        assert_eq!(spread(&[ms(4), ms(2)]), (ms(2), ms(2), ms(4)));
        assert_eq!(spread(&[ms(3)]), (ms(3), ms(3), ms(3)));
    }
}
