//! `chain`, `known-peers`, `id`, `forget`: what is done to a data directory without a node.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use spacetime_network::chain::verify::{VerifyError, VerifyReport};
use spacetime_network::chain::{OpenError, Params, ReferenceChain};
use spacetime_network::id::VerifiedId;
use spacetime_network::proto::sync::chain::Chain;

use crate::cli::{ChainArgs, ForgetArgs, IdArgs, KnownPeersArgs};
use crate::data_dir::DataDir;
use crate::failure::{Failure, one_line, read_remedy};
use crate::key::KeyReaders;
use crate::output;
use crate::value::Endpoint;
use crate::{full_node, known_identities, peers_file};

/// Time between two lines where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How long looking up a name may take.
const LOOKUP: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct ChainReport {
    height: u64,
    tip: String,
    work: String,
    genesis: String,
    difficulty: u8,
    reward: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balances: Option<BTreeMap<String, i128>>,
}

#[derive(Debug, Serialize)]
struct Verified {
    blocks: u64,
    side_blocks: u64,
    transactions: u64,
}

/// Prints where the chain ends, and what was asked for besides.
pub(crate) fn chain(args: &ChainArgs) -> Result<(), Failure> {
    let data = DataDir::existing(args.data.data_dir.as_deref())?;
    if let Some(earlier) = data.earlier_chain() {
        return Err(full_node::earlier_chain(&earlier));
    }
    if !is_there(&data)? {
        return Err(Failure::new(
            format!("show the chain in {}", data.path().display()),
            "there is none",
            "give the --data-dir that a node has run with",
        ));
    }
    let _lock = data.lock_to_look()?;
    let chain = open(&data)?;
    let damaged = |operation: &str, error: VerifyError| {
        Failure::new(
            format!("{operation} {}", data.chain().display()),
            error,
            "move it away and run the node again to download the chain anew",
        )
    };
    let verified = match args.verify {
        true => Some(verify(&chain).map_err(|error| damaged("verify", error))?),
        false => None,
    };
    let balances = match args.balances {
        true => Some(chain.balances().map_err(|error| damaged("add up", error))?),
        false => None,
    };
    let (best, params) = (chain.best(), chain.params());
    let report = ChainReport {
        height: best.height,
        tip: best.hash.to_string(),
        work: best.work.to_string(),
        genesis: chain.genesis().to_string(),
        difficulty: params.difficulty(),
        reward: params.reward(),
        verified: verified.map(|report| Verified {
            blocks: report.blocks,
            side_blocks: report.side_blocks,
            transactions: report.transactions,
        }),
        balances,
    };
    output::result(args.output.json, &report, chain_lines)
}

fn chain_lines(report: &ChainReport) -> Vec<String> {
    let mut lines = vec![
        format!("height      {}", report.height),
        format!("tip         {}", report.tip),
        format!("work        {}", report.work),
        format!("genesis     {}", report.genesis),
        format!("network     difficulty {}, reward {}", report.difficulty, report.reward),
    ];
    if let Some(verified) = &report.verified {
        lines.push(format!(
            "verified    {} blocks ({} on side branches), {} transactions: all good",
            verified.blocks, verified.side_blocks, verified.transactions
        ));
    }
    if let Some(balances) = &report.balances {
        lines.extend(balances.iter().map(|(name, balance)| format!("balance     {balance:>12}  {name}")));
    }
    lines
}

/// Whether there is a chain, or a link to one; an error when that cannot be known.
fn is_there(data: &DataDir) -> Result<bool, Failure> {
    match data.chain().symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            let operation = format!("show the chain in {}", data.path().display());
            Err(Failure::new(operation, &error, read_remedy(&error)))
        }
    }
}

/// The chain, which is not changed, not even repaired: it may be a copy on a disk that cannot be written. It says itself
/// which network it is of.
fn open(data: &DataDir) -> Result<ReferenceChain, Failure> {
    let path = data.chain();
    let opened = match ReferenceChain::open_read_only(Params::default(), &path) {
        Err(OpenError::OtherNetwork { found: Some(params), .. }) => ReferenceChain::open_read_only(params, &path),
        other => other,
    };
    opened.map_err(|error| Failure::Failed(one_line(&error.to_string())))
}

fn verify(chain: &ReferenceChain) -> Result<VerifyReport, VerifyError> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks checked, {eta} left") {
            bar.set_style(style);
        }
        bar
    });
    let mut line = Instant::now();
    let report = chain.verify(|done, total| match &bar {
        Some(bar) => {
            bar.set_length(total);
            bar.set_position(done);
        }
        None if line.elapsed() >= LINE_EVERY => {
            line = Instant::now();
            output::note(format_args!("{done} of {total} blocks checked"));
        }
        None => {}
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    report
}

/// Prints the peers that a node has saved.
pub(crate) fn known_peers(args: &KnownPeersArgs) -> Result<(), Failure> {
    let data = DataDir::existing(args.data.data_dir.as_deref())?;
    let is_in_use = data.is_in_use();
    let (peers, bad) = peers_file::read(&data.peers())?;
    if is_in_use {
        output::note(beside_a_node(&data));
    }
    if let Some(bad) = bad {
        output::note(one_line(&format!("warning: {}: {bad}", data.peers().display())));
    }
    if args.output.json {
        return output::json(&peers_file::as_json(&peers)?);
    }
    output::lines(peers.iter().map(peers_file::line))
}

/// What is said where a node runs whose peers have changed since it saved them.
fn beside_a_node(data: &DataDir) -> String {
    let file = data.peers();
    let saved = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let when = saved.map_or_else(
        || "it has saved none yet".to_owned(),
        |saved| format!("these are the peers that it saved at {}", humantime::format_rfc3339_seconds(saved)),
    );
    format!("note: a node is running on {}: {when}; ask the node itself with `peers`", data.path().display())
}

#[derive(Debug, Serialize)]
struct IdReport {
    node_id: String,
}

/// Prints the node id.
pub(crate) fn id(args: &IdArgs) -> Result<(), Failure> {
    let readers = KeyReaders::of_flag(args.key_mode_group);
    let data = DataDir::create(args.data.data_dir.as_deref())?.with_key_readers(readers);
    let (node_id, warning) = data.public_id()?;
    if let Some(warning) = warning {
        output::note(warning);
    }
    let report = IdReport { node_id };
    output::result(args.output.json, &report, |report| vec![report.node_id.clone()])
}

#[derive(Debug, Serialize)]
struct ForgetReport {
    address: String,
    node_id: String,
}

/// Takes an address out of what first use remembers.
pub(crate) fn forget(args: &ForgetArgs) -> Result<(), Failure> {
    let data = DataDir::existing(args.data.data_dir.as_deref())?;
    // A running node would write it back.
    let _lock = data.lock()?;
    let forget =
        |addresses: &[SocketAddr]| known_identities::forget(&data.known_identities(), &args.address, addresses);
    // Of one that was dialed through a proxy, what stands for its name is remembered, and that needs no lookup.
    let forgotten = match forget(&[args.address.through_proxy()]) {
        Ok(forgotten) => forgotten,
        Err(_) => forget(&args.address.resolve(LOOKUP)?)?,
    };
    let report = |(address, id): &(SocketAddr, VerifiedId)| ForgetReport {
        address: address.to_string(),
        node_id: id.to_string(),
    };
    let reports: Vec<ForgetReport> = forgotten.iter().map(report).collect();
    // One address is one object, as it always was; a name may be several.
    match (&args.address, reports.as_slice()) {
        (Endpoint::Address(_), [one]) if args.output.json => output::json(one),
        _ => output::result(args.output.json, &reports, |reports| {
            reports.iter().map(|report| format!("forgot {} at {}", report.node_id, report.address)).collect()
        }),
    }
}
