//! Who is kept out, for an operator: the list, and what he changes of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spacetime_network::proto::peer::Banned;
use spacetime_network::proto::peer::ban::{Ban, TERM_MAX};

use super::admin::Admin;
use super::api::{body, either};
use super::conn::Request;
use super::response::Response;

/// A ban as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BanView {
    pub(crate) who: String,
    pub(crate) by: String,
    /// Missing where it lasts until it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds_left: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

impl From<&Ban> for BanView {
    fn from(ban: &Ban) -> Self {
        BanView {
            who: ban.who.to_string(),
            by: ban.by.label().to_owned(),
            seconds_left: ban.remaining.map(|left| left.as_secs()),
            reason: ban.reason.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Bans {
    count: usize,
    bans: Vec<BanView>,
}

pub(super) fn list(admin: &Admin, _: &Request) -> Response {
    let bans = admin.look(|look| look.node.bans(look.now));
    either(bans.map(|bans| {
        let bans: Vec<BanView> = bans.iter().map(BanView::from).collect();
        Response::json(&Bans { count: bans.len(), bans })
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskBan {
    who: String,
    /// Until it is lifted, if it is not said.
    seconds: Option<u64>,
    #[serde(default)]
    reason: String,
}

#[derive(Serialize)]
struct Done {
    done: String,
}

fn banned(text: &str) -> Result<Banned, Response> {
    text.parse().map_err(|error| Response::error(422, &format!("{error}")))
}

pub(super) fn add(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let AskBan { who, seconds, reason } = body(request)?;
        let who = banned(&who)?;
        let term = seconds.map(Duration::from_secs);
        if term.is_some_and(|term| term.is_zero() || term > TERM_MAX) {
            return Err(Response::error(422, "a ban lasts from a second to a hundred years, or until it is lifted"));
        }
        admin
            .change(move |mut node, now| node.ban(now, who, term, &reason))?
            .map_err(|full| Response::error(409, &full.to_string()))?;
        let until = seconds.map_or("until it is lifted".to_owned(), |seconds| format!("for {seconds} s"));
        Ok(Response::json(&Done { done: format!("{who} is banned {until}, unless it is exempt") }))
    })())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    who: String,
}

pub(super) fn remove(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let asked: Who = body(request)?;
        let who = banned(&asked.who)?;
        let lifted = admin.change(move |mut node, now| node.lift_ban(now, who))?;
        let still = lifted.still.map(|wider| format!("it is banned as a part of {wider}"));
        if lifted.lifted == 0 {
            return Err(Response::error(409, &still.unwrap_or_else(|| "it was not banned".to_owned())));
        }
        let still = still.map_or(String::new(), |still| format!("; {still} still"));
        Ok(Response::json(&Done { done: format!("the ban of {who} is lifted{still}") }))
    })())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_text_means_is_what_the_rules_know_too() {
        let of = |text: &str| banned(text).map(|who| who.to_string()).map_err(|refused| refused.status);
        assert_eq!(of("192.0.2.7/32"), of("192.0.2.7"));
        assert_eq!(of("192.0.2.7/23"), Ok("192.0.2.0/23".to_owned()));
        assert!(of(&"ab".repeat(32)).is_ok());
        for bad in ["node", "192.0.2.7:7193", ""] {
            assert_eq!(of(bad), Err(422), "{bad}");
        }
    }
}
