//! Which path leads where: one table, by which the sockets know how long an answer may take, and the threads who finds it.

use super::admin::Admin;
use super::conn::Request;
use super::guard::Purpose;
use super::request::{Head, Method, unescape};
use super::response::Response;
use super::{api, bans, chain_api, limits, metrics, view};

/// How long an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// A look at the node.
    Quick,
    /// It reads the chain, mines, or waits for a verdict.
    Slow,
    /// As long as somebody views.
    View,
}

/// Who answers.
type Answer = fn(&Admin, &Request) -> Response;

/// A path that leads somewhere.
struct Route {
    method: Method,
    path: &'static str,
    speed: Speed,
    answer: Answer,
}

const fn get(path: &'static str, answer: Answer) -> Route {
    Route { method: Method::Get, path, speed: Speed::Quick, answer }
}

const fn post(path: &'static str, answer: Answer) -> Route {
    Route { method: Method::Post, path, speed: Speed::Quick, answer }
}

const fn slow(route: Route) -> Route {
    Route { speed: Speed::Slow, ..route }
}

/// The path of the news that viewers get.
pub(crate) const EVENTS: &str = "/api/node/events";
/// What a name follows.
const BALANCE: &str = "/api/node/balance/";

const ROUTES: &[Route] = &[
    get("/", view::page),
    get("/view.css", view::style),
    get("/view.js", view::script),
    get("/metrics", metrics::metrics),
    get("/api/openapi.json", api::openapi),
    get("/api/node/ping", api::ping),
    get("/api/node/status", api::status),
    get("/api/node/peers", api::peers),
    get("/api/node/clients", api::clients),
    get("/api/node/pending", api::pending),
    get("/api/node/limits", limits::show),
    get("/api/node/log", api::log),
    get("/api/node/history", api::history),
    get("/api/node/bans", bans::list),
    // Never answered from here: the sockets know it.
    Route { method: Method::Get, path: EVENTS, speed: Speed::View, answer: api::history },
    slow(get("/api/node/chain", chain_api::chain)),
    slow(get("/api/node/validate", chain_api::validate)),
    slow(post("/api/node/transaction", chain_api::transaction)),
    slow(post("/api/node/block", chain_api::block)),
    slow(post("/api/node/mine", chain_api::mine)),
    slow(post("/api/node/sync", api::sync)),
    post("/api/node/peers/connect", api::connect),
    post("/api/node/disconnect", api::disconnect),
    post("/api/node/ban", bans::add),
    post("/api/node/unban", bans::remove),
    post("/api/node/limits", limits::set),
    post("/api/node/log", api::set_log),
    post("/api/node/stop", api::stop),
];

/// What a path is for.
pub(crate) fn purpose(path: &str) -> Purpose {
    if matches!(path, "/" | "/view.css" | "/view.js") { Purpose::Page } else { Purpose::Node }
}

/// How long an answer takes.
pub(crate) fn speed(head: &Head) -> Speed {
    if head.path.starts_with(BALANCE) {
        return Speed::Slow;
    }
    route(head).map_or(Speed::Quick, |route| route.speed)
}

fn route(head: &Head) -> Option<&'static Route> {
    let method = if head.method == Method::Head { Method::Get } else { head.method };
    // Nobody goes on viewing what he wants the head of.
    let is_view = |route: &Route| route.speed == Speed::View && head.method == Method::Head;
    ROUTES.iter().find(|route| route.path == head.path && route.method == method && !is_view(route))
}

/// The answer to a request that may be asked.
pub(crate) fn answer(admin: &Admin, request: &Request) -> Response {
    let head = &request.head;
    if head.method != Method::Post && head.body_len > 0 {
        return Response::error(400, "a request that reads has no body");
    }
    let is_read = matches!(head.method, Method::Get | Method::Head);
    if let Some(name) = head.path.strip_prefix(BALANCE).filter(|_| is_read) {
        return match unescape(name) {
            Some(name) if crate::value::account(&name).is_ok() => chain_api::balance(admin, &name),
            _ => Response::error(400, "a name has 1 to 128 bytes and no control characters"),
        };
    }
    match route(head) {
        Some(route) => (route.answer)(admin, request),
        None => match allowed(&head.path) {
            Some(methods) => Response::not_allowed(methods),
            None => Response::error(404, "nothing is here; /api/openapi.json says what there is"),
        },
    }
}

/// By which methods something is asked there, if anything is there.
fn allowed(path: &str) -> Option<&'static str> {
    if path.starts_with(BALANCE) {
        return Some("GET, HEAD");
    }
    let has = |method| ROUTES.iter().any(|route| route.path == path && route.method == method);
    match (has(Method::Get), has(Method::Post)) {
        (true, true) => Some("GET, HEAD, POST"),
        (true, false) if path == EVENTS => Some("GET"),
        (true, false) => Some("GET, HEAD"),
        (false, true) => Some("POST"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths and methods that are described, and those that there are.
    #[test]
    fn what_is_described_is_there_and_what_is_there_is_described() {
        let described: serde_json::Value = serde_json::from_slice(include_bytes!("openapi.json")).unwrap();
        let mut told: Vec<String> = Vec::new();
        for (path, methods) in described["paths"].as_object().unwrap() {
            told.extend(methods.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
        }
        let name = |method| if method == Method::Get { "get" } else { "post" };
        let mut there: Vec<String> = ROUTES
            .iter()
            .filter(|route| purpose(route.path) == Purpose::Node && route.path != "/api/openapi.json")
            .map(|route| format!("{} {}", name(route.method), route.path))
            .chain([format!("get {BALANCE}{{name}}")])
            .collect();
        told.sort();
        there.sort();
        assert_eq!(told, there);
    }

    #[test]
    fn what_is_asked_by_another_method_is_told_by_which_it_can_be() {
        let told = ["/metrics", EVENTS, "/api/node/mine", "/api/node/limits", "/api/node/balance/ann", "/nothing"]
            .map(allowed);
        let get = Some("GET, HEAD");
        assert_eq!(told, [get, Some("GET"), Some("POST"), Some("GET, HEAD, POST"), get, None]);
    }

    #[test]
    fn no_route_stands_twice() {
        for (index, route) in ROUTES.iter().enumerate() {
            let same = |other: &&Route| other.path == route.path && other.method == route.method;
            assert!(!ROUTES[index + 1..].iter().any(|other| same(&other)), "{}", route.path);
        }
    }
}
