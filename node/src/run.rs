//! `run`: a full node in the foreground, from its files to its last save.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use spacetime_network::address::ExemptRanges;
use spacetime_network::chain::Params;
use spacetime_network::proto;

use crate::cli::{GenesisArgs, NatMode, RunArgs, WebSocketArgs};
use crate::data_dir::DataDir;
use crate::event_log::EventLog;
use crate::failure::Failure;
#[cfg(feature = "http")]
use crate::full_node::Both;
use crate::full_node::{self, Plan, Sink};
#[cfg(feature = "http")]
use crate::http;
use crate::miner::{self, MinerPlan};
use crate::output::announce;
use crate::security::Security;
use crate::value::{Endpoint, ListenAddress, apart, ranges_of};
use crate::{catch_up, limits, logging, service, signals, stopping};

/// Where a node listens when it is not told. IANA has given the port to nobody (the ports 7182 to 7199 are unassigned), no program
/// of note uses it, and no system takes it for the near end of a dial. 8333, which it was before, is Bitcoin's.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7193);
/// How long looking up a name may take under which to listen. It is of this machine, so that nobody far away is asked.
const LISTEN_LOOKUP: Duration = Duration::from_secs(10);
/// Digits of the node id that name a miner who has no name.
const MINER_DIGITS: usize = 16;

/// Runs a node until it is told to stop.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    signals::may_leave("stopped before it was ready");
    let written = logging::start(&args.log)?;
    let log_control = written.control();
    let params = params(args.genesis)?;
    let config = config(args)?;
    let data = DataDir::create(args.data.data_dir.as_deref())?.with_key_readers(args.tls.key_readers());
    let _lock = data.lock()?;
    data.warn_of_weak_names();
    let security = Security::of_node(&args.tls, args.tls_clients, &data)?;
    let proxy = args.proxy.plan()?;
    let proxy_address = proxy.as_ref().map(|proxy| proxy.address);
    let node_id = match &security {
        Some(security) => security.id().to_string(),
        None => data.node_id()?,
    };

    #[cfg(feature = "http")]
    let endpoint = args.http.plan()?.map(|plan| http::Endpoint::listen(&plan)).transpose()?;
    let log = EventLog::new(&args.connect, &args.seed_node, security.clone());
    #[cfg(feature = "http")]
    let watched = endpoint.as_ref().map(|_| std::sync::Arc::<http::admin::Watched>::default());
    #[cfg(feature = "http")]
    let sink: Box<dyn Sink> = match &watched {
        Some(watched) => Box::new(Both(log, http::admin::Watcher(std::sync::Arc::clone(watched)))),
        None => Box::new(log),
    };
    #[cfg(not(feature = "http"))]
    let sink: Box<dyn Sink> = Box::new(log);
    let renewal = security.as_ref().and_then(Security::renewal);
    let plan = Plan {
        config: proto_with_id(config, &node_id),
        listen: listeners(args)?,
        web_socket: web_socket(args)?,
        params,
        security,
        bandwidth: args.bandwidth.limits(),
        upload_quota: args.bandwidth.upload_quota,
        nat: Some(args.nat).filter(|_| proxy.is_none()),
        proxy,
    };
    #[cfg(feature = "http")]
    let limits = &plan.config.admission;
    #[cfg(feature = "http")]
    let (connections_max, inbound_max, outbound) = (limits.connections_max, limits.inbound_max, plan.config.outbound);
    let ready = full_node::prepare(plan, &data, sink)?;
    let (handle, signal) = (ready.handle(), ready.signal());
    let stop = {
        let (handle, signal) = (handle.clone(), std::sync::Arc::clone(&signal));
        let (progress, traffic) = (ready.progress(), ready.traffic());
        move || {
            signal.stop();
            handle.stop();
            stopping::tell(progress, traffic);
        }
    };
    signals::watch(stop, || {});
    let bell = renewal.map(|renewal| renewal.start(handle.clone())).transpose()?;
    let (reopen, bar) = (log_control.reopen(), log_control.bar());
    if bell.is_some() || reopen.is_some() {
        signals::reload_on_hangup(move || {
            bell.iter().for_each(|bell| bell.ring());
            reopen.iter().for_each(|reopen| reopen());
        });
    }

    let (listening, listening_ws) = (ready.listening().to_vec(), ready.listening_ws().to_vec());
    announce(format_args!("node {node_id}"))?;
    for address in &listening {
        announce(format_args!("listening {address}"))?;
    }
    for address in &listening_ws {
        announce(format_args!("listening-ws {}://{address}/", if args.tls.tls.is_on() { "wss" } else { "ws" }))?;
    }
    #[cfg(feature = "http")]
    let _endpoint = match (endpoint, watched) {
        (Some(endpoint), Some(watched)) => {
            announce(format_args!("http {}", endpoint.at()))?;
            let facts = http::admin::Facts {
                node_id: node_id.clone(),
                listening: listening.iter().map(ToString::to_string).collect(),
                params,
                tls: args.tls.tls.name(),
                miner: miner_plan(args, &node_id).name,
                connections_max,
                inbound_max,
                outbound,
                started: std::time::SystemTime::now(),
                began: std::time::Instant::now(),
            };
            Some(endpoint.start(handle.clone(), facts, watched, log_control)?)
        }
        _ => None,
    };
    let miner = match args.mine {
        true => Some(miner::start(miner_plan(args, &node_id), handle.clone(), signal)?),
        false => None,
    };
    announce("ready")?;
    if let Some(bar) = bar {
        catch_up::show(bar, handle.clone())?;
    }
    service::watch(handle.clone(), ready.traffic())?;
    service::ready(&listening.iter().map(|address| format!("listening {address}")).collect::<Vec<_>>().join(", "));
    let tls = args.tls.tls.name();
    if !args.tls.tls.is_on() {
        warn_of_plain_text(&listening);
        warn_of_plain_text(&listening_ws);
    }
    if let Some(proxy) = proxy_address {
        tracing::info!(%proxy, "dialing through the proxy, and never past it");
        warn_of_listening(listening.iter().chain(&listening_ws));
    }
    tracing::info!(directory = %data.path().display(), network = %params, tls, "running");
    let ran = ready.run();
    service::stopping();
    if let Some(miner) = miner
        && miner.join().is_err()
    {
        tracing::error!("the miner ended early");
    }
    ran?;
    tracing::info!("stopped");
    Ok(())
}

/// The chain's numbers.
fn params(args: GenesisArgs) -> Result<Params, Failure> {
    Params::new(args.difficulty, args.reward).map_err(|error| Failure::usage(format!("--difficulty: {error}")))
}

/// What goes beyond this machine in plain text can be read and changed on its way.
fn warn_of_plain_text(listening: &[SocketAddr]) {
    for address in listening.iter().filter(|address| !address.ip().to_canonical().is_loopback()) {
        tracing::warn!(
            %address,
            "listening in plain text beyond this machine: whoever is on the line reads and changes what is sent; use --tls, \
             or listen on 127.0.0.1"
        );
    }
}

/// A proxy hides only who dials.
fn warn_of_listening<'a>(listening: impl Iterator<Item = &'a SocketAddr>) {
    for address in listening.filter(|address| !address.ip().to_canonical().is_loopback()) {
        tracing::warn!(
            %address,
            "listening beyond this machine beside --proxy: who connects here sees where we are; use --no-listen, or listen on \
             127.0.0.1"
        );
    }
}

/// What would tell others where we are, which a proxy is to hide.
fn check_proxy(args: &RunArgs) -> Result<(), Failure> {
    if args.proxy.proxy.is_none() {
        let onion = args.connect.iter().chain(&args.seed_node).find_map(|endpoint| match endpoint {
            Endpoint::Name(name) if name.is_onion() => Some(name),
            _ => None,
        });
        return match onion {
            Some(name) => Err(Failure::usage(format!(
                "{name} is reached through a proxy only, and never looked up: give --proxy HOST:PORT, as of Tor"
            ))),
            None => Ok(()),
        };
    }
    if !args.external.is_empty() {
        return Err(Failure::usage("--external tells others where we are, which --proxy hides: give one or the other"));
    }
    let looked_up = args.listen.iter().chain(&args.web_socket.listen_ws).find_map(|listed| match listed {
        ListenAddress::Name(name, _) if name.dns().is_some_and(|host| host != "localhost") => Some(name),
        _ => None,
    });
    if let Some(name) = looked_up {
        return Err(Failure::usage(format!(
            "{} would be looked up here, and with --proxy no name is: give the address to listen at",
            name.host()
        )));
    }
    if !matches!(args.nat.nat, NatMode::None | NatMode::Auto) {
        return Err(Failure::usage("--nat asks a router past the --proxy: give one or the other"));
    }
    Ok(())
}

fn miner_plan(args: &RunArgs, node_id: &str) -> MinerPlan {
    let name = args.miner.clone().unwrap_or_else(|| node_id.chars().take(MINER_DIGITS).collect());
    MinerPlan { name, interval: args.block_interval }
}

fn listeners(args: &RunArgs) -> Result<Vec<SocketAddr>, Failure> {
    match (args.no_listen, args.listen.as_slice()) {
        (true, _) => Ok(Vec::new()),
        (false, []) => Ok(vec![LISTEN]),
        (false, listed) => {
            let found: Result<Vec<_>, _> = listed.iter().map(|listed| listed.resolve(LISTEN_LOOKUP)).collect();
            Ok(found?.concat())
        }
    }
}

/// Where WebSocket connections are accepted, and whose pages may open them.
fn web_socket(args: &RunArgs) -> Result<(Vec<SocketAddr>, Vec<String>), Failure> {
    let WebSocketArgs { listen_ws, ws_origin } = &args.web_socket;
    let found: Result<Vec<_>, _> = listen_ws.iter().map(|listed| listed.resolve(LISTEN_LOOKUP)).collect();
    Ok((found?.concat(), ws_origin.clone()))
}

/// What is dialed over WebSocket is encrypted exactly if everything else is.
fn check_urls(args: &RunArgs) -> Result<(), Failure> {
    let urls = args.connect.iter().filter_map(|endpoint| match endpoint {
        Endpoint::Name(name) => name.web().map(|web| (endpoint, web)),
        Endpoint::Address(_) => None,
    });
    for (endpoint, web) in urls {
        match (web.is_secure(), args.tls.tls.is_on()) {
            (true, false) => {
                return Err(Failure::usage(format!("--connect {endpoint} needs --tls: say whom to trust there")));
            }
            (false, true) => {
                return Err(Failure::usage(format!(
                    "--connect {endpoint} is plain text, and --tls is given: use wss://"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn proto_with_id(mut config: proto::Config, node_id: &str) -> proto::Config {
    node_id.clone_into(&mut config.node_id);
    config
}

fn config(args: &RunArgs) -> Result<proto::Config, Failure> {
    check_urls(args)?;
    check_proxy(args)?;
    if args.idle_timeout <= args.heartbeat {
        return Err(Failure::usage("--idle-timeout must be longer than --heartbeat, or quiet peers are dropped"));
    }
    // Those who administrate the node do not cost it peers, nor its peers them.
    #[cfg(feature = "http")]
    let others = if args.http.http.is_some() { http::DESCRIPTORS } else { 0 };
    #[cfg(not(feature = "http"))]
    let others = 0;
    let connections = limits::connections(args.max_connections, others)?;
    if connections < args.max_connections {
        tracing::warn!(connections, asked = args.max_connections, "fewer connections: the limit on open files is low");
    }
    let mut config = proto::Config::default();
    config.user_agent = concat!("spacetime-node/", env!("CARGO_PKG_VERSION")).to_owned();
    config.outbound = usize::try_from(args.outbound.min(connections)).unwrap_or(usize::MAX);
    (config.connect, config.connect_names) = apart(&args.connect);
    (config.seeds, config.seed_names) = apart(&args.seed_node);
    config.allow_private = args.allow_private;
    config.external.clone_from(&args.external);
    config.dial_timeout = args.handshake_timeout;
    config.handshake_timeout = args.handshake_timeout;
    config.heartbeat = args.heartbeat;
    config.idle_timeout = args.idle_timeout;
    config.compression = !args.bandwidth.no_compression;
    node_limits(&mut config, connections, ranges(args)?);
    config.admission.without_handshake = ExemptRanges(ranges_of("--without-handshake", &args.without_handshake)?);
    Ok(config)
}

/// `None` when nothing was said about exemptions.
fn ranges(args: &RunArgs) -> Result<Option<Vec<IpNet>>, Failure> {
    if args.exempt.is_empty() { Ok(None) } else { ranges_of("--exempt", &args.exempt).map(Some) }
}

fn node_limits(config: &mut proto::Config, connections: u32, exempt: Option<Vec<IpNet>>) {
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    config.admission.connections_max = connections;
    config.admission.inbound_max = connections.saturating_sub(config.outbound).max(1).min(connections);
    if let Some(ranges) = exempt {
        config.admission.exempt = ExemptRanges(ranges);
    }
}
