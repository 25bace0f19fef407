//! The limits that hold, and those that change while the node runs: how many bytes a second may leave and come.

use serde::{Deserialize, Deserializer, Serialize};
use spacetime_network::driver::Bandwidth;

use super::admin::Admin;
use super::api::{body, either};
use super::conn::Request;
use super::request::{BODY_MAX, HEAD_MAX};
use super::response::Response;
use super::server::{CONNECTIONS_MAX, VIEWERS_MAX};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    connections_max: usize,
    inbound_max: usize,
    outbound: usize,
    http_connections_max: usize,
    http_viewers_max: usize,
    http_head_bytes_max: usize,
    http_body_bytes_max: usize,
    blacklist_seconds: u64,
    idle_timeout_seconds: u64,
    handshake_timeout_seconds: u64,
    serving_bytes_per_second: u64,
    #[serde(flatten)]
    bandwidth: BandwidthView,
}

/// Bytes a second; null where there is no limit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BandwidthView {
    max_upload: Option<u64>,
    max_download: Option<u64>,
    max_upload_per_peer: Option<u64>,
}

impl From<Bandwidth> for BandwidthView {
    fn from(limits: Bandwidth) -> Self {
        BandwidthView {
            max_upload: limits.upload,
            max_download: limits.download,
            max_upload_per_peer: limits.upload_per_peer,
        }
    }
}

pub(super) fn show(admin: &Admin, _: &Request) -> Response {
    let config = admin.look(|look| {
        let config = look.node.config();
        let (blacklist, idle, handshake) = (config.blacklist.duration, config.idle_timeout, config.handshake_timeout);
        (blacklist.as_secs(), idle.as_secs(), handshake.as_secs(), config.serving_rate, look.net.bandwidth())
    });
    let facts = &admin.facts;
    either(config.map(|(blacklist, idle, handshake, serving, bandwidth)| {
        Response::json(&Limits {
            connections_max: facts.connections_max,
            inbound_max: facts.inbound_max,
            outbound: facts.outbound,
            http_connections_max: CONNECTIONS_MAX,
            http_viewers_max: VIEWERS_MAX,
            http_head_bytes_max: HEAD_MAX,
            http_body_bytes_max: BODY_MAX,
            blacklist_seconds: blacklist,
            idle_timeout_seconds: idle,
            handshake_timeout_seconds: handshake,
            serving_bytes_per_second: serving,
            bandwidth: bandwidth.into(),
        })
    }))
}

/// What is to change: what is missing stays, and null lifts a limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Change {
    #[serde(default, deserialize_with = "given")]
    max_upload: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    max_download: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    max_upload_per_peer: Option<Option<u64>>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub(super) fn set(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let change: Change = body(request)?;
        let wanted = [change.max_upload, change.max_download, change.max_upload_per_peer];
        if wanted.contains(&Some(Some(0))) {
            return Err(Response::error(422, "a limit is of at least one byte a second; null lifts it"));
        }
        // What is missing is read first, and nobody else may change it meanwhile.
        let _alone = admin.submit_alone();
        let mut limits = admin.look(|look| look.net.bandwidth())?;
        let fields = [&mut limits.upload, &mut limits.download, &mut limits.upload_per_peer];
        fields.into_iter().zip(wanted).for_each(|(field, wanted)| *field = wanted.unwrap_or(*field));
        admin.handle().set_bandwidth(limits).map_err(|why| Response::error(503, &why.to_string()))?;
        tracing::info!(
            upload = ?limits.upload, download = ?limits.download, upload_per_peer = ?limits.upload_per_peer,
            "the limits of bandwidth were changed"
        );
        Ok(Response::json(&BandwidthView::from(limits)))
    })())
}
