//! `sync`: downloads the whole chain from given nodes, then leaves.
//!
//! Which network it is, the nodes say: the greeting of each names the genesis block, and that block holds the chain's numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use spacetime_network::chain::{Block, Params};
use spacetime_network::driver::Bandwidth;
use spacetime_network::link::socks::Proxy;
use spacetime_network::proto::sync::BranchProgress;
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::proto::{self, Event};
use spacetime_network::time::Now;
use spacetime_network::wire::Hash;

use crate::cli::{SyncArgs, TlsClientsArg};
use crate::client::blocking::Client;
use crate::client::fetch_block;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::full_node::{self, LiveNode, NodeHandle, Plan, Sink};
use crate::progress::Progress;
use crate::security::Security;
use crate::value::{Endpoint, apart};
use crate::{output, signals};

/// Time between two looks at the node.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long nothing more may be missing before we believe that this is all.
const SETTLED_FOR: Duration = Duration::from_millis(500);
/// How long is waited for those who do not say at once which network they are of, where others do.
const SOON: Duration = Duration::from_secs(3);
/// How long the loop may take to answer a look.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
struct Report {
    height: u64,
    tip: String,
    work: String,
    downloaded: u64,
    /// Blocks of our own that another branch has taken the place of.
    left: u64,
    seconds: f64,
}

/// What a look at the node shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeView {
    best: Tip,
    /// The height that headers have proven.
    proven: u64,
    /// The heights that peers claim, by their addresses.
    claims: Vec<(SocketAddr, u64)>,
    is_syncing: bool,
    peers: usize,
    /// Another branch whose headers come, and of which nothing is proven yet.
    branches: BranchProgress,
    /// The height of the next block to come. Below our own height that is one of another branch.
    next: Option<u64>,
    /// Blocks that came and were good, of whatever branch.
    blocks: u64,
}

/// Downloads the chain.
pub(crate) fn sync(args: &SyncArgs) -> Result<(), Failure> {
    let data = DataDir::create(args.data.data_dir.as_deref())?.with_key_readers(args.tls.key_readers());
    let _lock = data.lock()?;
    let security = Security::of_node(&args.tls, TlsClientsArg::Required, &data)?;
    let proxy = args.proxy.plan()?;
    let (params, helpers) = network_of(args, security.as_ref(), proxy.as_ref())?;
    let started = Instant::now();

    let mut config = proto::Config::default();
    config.node_id = match &security {
        Some(security) => security.id().to_string(),
        None => data.node_id()?,
    };
    config.user_agent = concat!("spacetime-node/", env!("CARGO_PKG_VERSION"), " (sync)").to_owned();
    config.outbound = 0;
    (config.connect, config.connect_names) = apart(&helpers);
    config.allow_private = true;
    config.dial_timeout = args.timeout;
    config.handshake_timeout = args.timeout;
    let bandwidth = Bandwidth::UNLIMITED;
    let plan = Plan {
        config,
        listen: Vec::new(),
        params,
        security,
        web_socket: Default::default(),
        bandwidth,
        upload_quota: None,
        nat: None,
        proxy,
    };
    let blocks = Arc::new(AtomicU64::new(0));
    let ready = full_node::prepare(plan, &data, Box::new(Blocks(Arc::clone(&blocks))))?;
    let handle = ready.handle();
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    signals::watch(move || flag.store(true, Ordering::Relaxed), || {});
    let node = thread::Builder::new()
        .name("node".to_owned())
        .spawn(move || ready.run())
        .map_err(|error| Failure::new("start a node", error, "try again"))?;

    let watched = watch((&handle, &blocks), args.timeout, &interrupted);
    let fork = watched.as_ref().ok().and_then(|first| fork_of(&handle, first.best.hash));
    handle.stop();
    let ran = node.join().unwrap_or_else(|_| Err(Failure::new("run the node", "it ended early", "report this")));
    let first = watched?;
    // Blocks may have come between the last look and the stop.
    let best = ran?;
    let fork = fork.map_or(first.best.height, |fork| fork.height);
    let report = Report {
        height: best.height,
        tip: best.hash.to_string(),
        work: best.work.to_string(),
        downloaded: best.height.saturating_sub(fork),
        left: first.best.height.saturating_sub(fork),
        seconds: started.elapsed().as_secs_f64(),
    };
    output::result(args.output.json, &report, |report| {
        let mut lines = vec![
            format!("height      {}", report.height),
            format!("tip         {}", report.tip),
            format!("downloaded  {} blocks in {:.1} s", report.downloaded, report.seconds),
        ];
        if report.left > 0 {
            lines.push(format!(
                "left        {} blocks of another branch: payments in them are undone, unless the new one has them",
                report.left
            ));
        }
        lines
    })
}

/// Where the chain that was there at the beginning leaves the one that is there now.
fn fork_of(handle: &NodeHandle, tip: Hash) -> Option<Tip> {
    full_node::look(handle, PATIENCE, move |node, _| node.chain().fork_of(&tip)).flatten()
}

/// Counts good blocks; for the rest the download is watched from outside.
struct Blocks(Arc<AtomicU64>);

impl Sink for Blocks {
    fn on_event(&mut self, _: Now, event: &Event, _: &LiveNode) {
        if matches!(event, Event::BlockAccepted { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The network that most of the nodes are of, among equals that of the first who is named, and the nodes to download from. All are asked
/// at once, and one that does not answer soon holds up nobody who does; it may answer later. Who is of another network is left out.
fn network_of(
    args: &SyncArgs,
    security: Option<&Security>,
    proxy: Option<&Proxy>,
) -> Result<(Params, Vec<Endpoint>), Failure> {
    let mut answers = ask_all(&args.addresses, args.timeout.min(SOON), (security, proxy));
    if !answers.iter().any(Result::is_ok) && args.timeout > SOON {
        answers = ask_all(&args.addresses, args.timeout, (security, proxy));
    }
    let told: Vec<Params> = answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
    let Some(params) = most_named(&told) else {
        let last = answers.into_iter().filter_map(Result::err).next_back();
        return Err(last.unwrap_or_else(|| Failure::usage("give the address of at least one node")));
    };
    let mut helpers = Vec::new();
    for (endpoint, answer) in args.addresses.iter().zip(&answers) {
        match answer {
            Ok(other) if *other != params => output::note(format_args!(
                "note: {endpoint} is of another network ({other}) than the others ({params}), and is left out"
            )),
            _ => helpers.push(endpoint.clone()),
        }
    }
    Ok((params, helpers))
}

/// What each says within this time.
fn ask_all(
    endpoints: &[Endpoint],
    timeout: Duration,
    (security, proxy): (Option<&Security>, Option<&Proxy>),
) -> Vec<Result<Params, Failure>> {
    thread::scope(|scope| {
        let asked: Vec<_> = endpoints
            .iter()
            .map(|endpoint| scope.spawn(move || ask_network(endpoint, timeout, (security, proxy))))
            .collect();
        let died = || Failure::new("ask for the network", "it ended early", "report this");
        asked.into_iter().map(|asked| asked.join().unwrap_or_else(|_| Err(died()))).collect()
    })
}

/// What is named most often; among equals the first.
fn most_named(told: &[Params]) -> Option<Params> {
    let count = |params: &Params| told.iter().filter(|other| *other == params).count();
    told.iter().rev().max_by_key(|params| count(params)).copied()
}

fn ask_network(
    endpoint: &Endpoint,
    timeout: Duration,
    (security, proxy): (Option<&Security>, Option<&Proxy>),
) -> Result<Params, Failure> {
    let mut client = Client::open_as(endpoint, timeout, security, proxy)?;
    let Some(extension) = client.host().extension else {
        // A node of version 1 cannot say; it is taken for one of the default network.
        client.leave();
        return Ok(Params::default());
    };
    let genesis = fetch_block(&mut client, extension.network)?;
    client.leave();
    genesis.as_ref().and_then(Block::decode).as_ref().and_then(Params::of_genesis).ok_or_else(|| {
        Failure::new(
            format!("download the chain of {endpoint}"),
            "its first block is not one of the reference chain",
            "use a program of that node's own chain",
        )
    })
}

/// How often the best height that peers claim must be reached before a chain that grows all the while is said to be there.
const ROUNDS: u32 = 3;

/// The end of a download that cannot catch up: a chain may grow as fast as it is downloaded, and who follows its tip never stops.
/// Only what peers claim counts. The headers that are known so far grow too, while a long chain is still on its way.
#[derive(Debug, Default)]
struct Rounds {
    /// What is to be reached in this one.
    goal: Option<u64>,
    done: u32,
}

impl Rounds {
    /// True when what was claimed at the beginning of each round was reached in all of them.
    fn are_over(&mut self, height: u64, claimed: u64) -> bool {
        if self.goal.is_some_and(|goal| height >= goal) {
            (self.goal, self.done) = (None, self.done + 1);
        }
        if claimed > height {
            self.goal.get_or_insert(claimed);
        }
        self.done >= ROUNDS
    }
}

/// What a look says about the download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    Done,
    /// There is all that one node had at the beginning, and what another one claims does not come.
    DoneBelow(u64),
    Stalled,
}

/// Of what is still missing, this part must come in each time of patience once one node's chain is there. A node that claims a
/// long chain and gives a block now and then is not waited for.
const PART: u64 = 1000;

/// What moves while a download goes on: the work held, the height proven, the peers, the headers of
/// other branches and their blocks.
type Moved = (u128, u64, usize, u64, u64);

/// When a download is over. What headers prove is waited for, and what each node claimed first: a claim costs nothing, and who
/// claims more every second was followed for ever.
#[derive(Debug)]
struct Download {
    patience: Duration,
    /// What was claimed first, by address, so that a new connection is no new claim.
    claims: BTreeMap<SocketAddr, u64>,
    rounds: Rounds,
    /// When something was proven or counted last, and what.
    moved: (Duration, Moved),
    settled: Option<Duration>,
    /// When the time began in which a part must come, and how much had come then.
    part: (Duration, u64),
}

impl Download {
    fn new(patience: Duration) -> Self {
        let (moved, part) = ((Duration::ZERO, (0, 0, 0, 0, 0)), (Duration::ZERO, 0));
        Download { patience, claims: BTreeMap::new(), rounds: Rounds::default(), moved, settled: None, part }
    }

    /// The height that it works towards.
    fn goal(&self, proven: u64) -> u64 {
        self.claims.values().copied().fold(proven, u64::max)
    }

    /// A look, `at` so long after the begin.
    fn step(&mut self, at: Duration, view: &NodeView) -> Step {
        for (remote, claimed) in view.claims.iter().filter(|(_, claimed)| *claimed > 0) {
            self.claims.entry(*remote).or_insert(*claimed);
        }
        let (height, goal) = (view.best.height, self.goal(view.proven));
        let is_enough = view.peers > 0 && self.claims.values().any(|claimed| *claimed <= height);
        // Who tells a branch, breaks off and tells it again is waited for only while there is nothing else.
        let headers = if is_enough { view.branches.furthest } else { view.branches.told };
        let moved = (view.best.work, view.proven, view.peers, headers, view.blocks);
        if moved != self.moved.1 {
            self.moved = (at, moved);
        }
        let claimed = view.claims.iter().map(|(_, claimed)| *claimed).max().unwrap_or(0);
        if self.rounds.are_over(height, claimed) {
            return Step::Done;
        }
        if view.peers > 0 && !view.is_syncing && height >= goal {
            if at.saturating_sub(*self.settled.get_or_insert(at)) >= SETTLED_FOR {
                return Step::Done;
            }
        } else {
            self.settled = None;
        }
        let done = if height >= goal { Step::Done } else { Step::DoneBelow(goal) };
        if at.saturating_sub(self.part.0) >= self.patience {
            let here = height.saturating_add(view.branches.furthest).saturating_add(view.blocks);
            let came = here.saturating_sub(self.part.1);
            self.part = (at, here);
            if is_enough && came.saturating_mul(PART) < goal.saturating_sub(height) {
                return done;
            }
        }
        match at.saturating_sub(self.moved.0) >= self.patience {
            true if is_enough => done,
            true => Step::Stalled,
            false => Step::GoOn,
        }
    }
}

/// Waits until nothing more is missing. Answers the first look.
fn watch(
    node: (&NodeHandle, &Arc<AtomicU64>),
    timeout: Duration,
    interrupted: &AtomicBool,
) -> Result<NodeView, Failure> {
    let operation = "download the chain";
    let (mut progress, begun) = (Progress::start(), Instant::now());
    let first = look(node)?;
    let mut download = Download::new(timeout);
    loop {
        thread::sleep(LOOK_EVERY);
        let now = look(node)?;
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(operation, "interrupted", again(&now)));
        }
        let goal = download.goal(now.proven);
        progress.show(begun.elapsed(), (now.best.height, goal), now.blocks, &besides(&now));
        match download.step(begun.elapsed(), &now) {
            Step::GoOn => {}
            Step::Done => {
                progress.finish();
                return Ok(first);
            }
            Step::DoneBelow(claimed) => {
                progress.finish();
                output::note(format_args!(
                    "note: a node claims a chain of height {claimed} and did not give it; that of the others is there"
                ));
                return Ok(first);
            }
            Step::Stalled => {
                let (height, branch) = (now.best.height, now.branches.counting);
                let happened = match (now.peers, branch) {
                    (0, _) => "no node is connected".to_owned(),
                    (_, None) => format!("nothing came for {timeout:?} at height {height} of {goal}"),
                    (_, Some(headers)) => format!(
                        "nothing came for {timeout:?} after {headers} headers of another branch, at height {height} of {goal}"
                    ),
                };
                return Err(Failure::new(operation, happened, format!("{}, or name other nodes", again(&now))));
            }
        }
    }
}

/// What is worth another try. Blocks are on the disk; what was counted of another branch is not.
fn again(view: &NodeView) -> &'static str {
    match view.branches.counting {
        None => "run the command again to go on from here",
        Some(_) => "run the command again: the other branch is then counted from its beginning",
    }
}

fn look((handle, blocks): (&NodeHandle, &Arc<AtomicU64>)) -> Result<NodeView, Failure> {
    let blocks = Arc::clone(blocks);
    full_node::look(handle, PATIENCE, move |node, _| {
        let (proven, is_syncing) = node.sync_target();
        // Peers say how many blocks they have, genesis included.
        let claims = node.connected().map(|peer| (peer.remote, peer.chain_length.saturating_sub(1))).collect();
        let (best, peers) = (node.chain().best(), node.connected().count());
        let (next, blocks) = (node.followed().map(|branch| branch.next), blocks.load(Ordering::Relaxed));
        NodeView { best, proven, claims, is_syncing, peers, branches: node.branch_progress(), next, blocks }
    })
    .ok_or_else(|| Failure::new("download the chain", "the node has stopped", "look at the lines above"))
}

/// What there is to say besides the heights.
fn besides(look: &NodeView) -> String {
    let other = look.next.filter(|next| *next <= look.best.height);
    let branch = match (look.branches.counting, other) {
        (Some(headers), _) => format!(", counting another branch: {headers} headers"),
        (None, Some(next)) => format!(", fetching another branch: at height {next}"),
        (None, None) => String::new(),
    };
    format!("{} peers{branch}", look.peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(height: u64, proven: u64, claims: &[u64]) -> NodeView {
        let best = Tip { hash: Hash::ZERO, height, work: u128::from(height) };
        let remote = |at: usize| SocketAddr::from(([192, 0, 2, 1], u16::try_from(at).unwrap()));
        let claims: Vec<_> = claims.iter().enumerate().map(|(at, claimed)| (remote(at), *claimed)).collect();
        let (peers, is_syncing) = (claims.len(), height < proven);
        NodeView { best, proven, peers, claims, is_syncing, branches: BranchProgress::default(), next: None, blocks: 0 }
    }

    /// The same with headers of another branch: so many came, so many of them for the first time.
    fn counted(view: NodeView, told: u64, furthest: u64) -> NodeView {
        let mut branches = BranchProgress::default();
        (branches.told, branches.furthest, branches.counting) = (told, furthest, Some(furthest));
        NodeView { branches, ..view }
    }

    /// Looks a second apart, until it is over: when, and how.
    fn ends(mut look: impl FnMut(u64) -> NodeView) -> (u64, Step) {
        let mut download = Download::new(Duration::from_secs(30));
        (1..100_000)
            .map(|at| (at, download.step(Duration::from_secs(at), &look(at))))
            .find(|(_, step)| *step != Step::GoOn)
            .expect("it is followed for ever")
    }

    /// `sync GOOD EVIL` never ended: EVIL claimed one more block each second, and each claim was news.
    #[test]
    fn who_claims_one_more_block_each_second_is_not_waited_for() {
        // The chain of the good one is there after ten seconds.
        let good = |at: u64| (at * 50).min(500);
        assert_eq!(ends(|at| view(good(at), 500, &[500, 500 + at])).1, Step::DoneBelow(501));
        // A claim that never moves, and one that begins far above all.
        assert_eq!(ends(|at| view(good(at), 500, &[500, 900])), (40, Step::DoneBelow(900)));
        assert_eq!(ends(|at| view(good(at), 500, &[500, u64::MAX - at])).1, Step::DoneBelow(u64::MAX - 1));
        // One who gives a real block each second of the chain that he claims.
        let (at, step) = ends(|at| view(good(at) + at, 500 + at, &[500, 1 << 40]));
        assert!(at <= 60 && step == Step::DoneBelow(1 << 40), "{at}: {step:?}");
        // Of a liar alone there is nothing, and that is no chain.
        assert_eq!(ends(|at| view(0, 0, &[500 + at])), (31, Step::Stalled));
        assert_eq!(ends(|_| view(7, 7, &[])).1, Step::Stalled);
    }

    #[test]
    fn a_chain_is_waited_for_as_long_as_it_comes() {
        // Slower than one in a second, but all of what the other one lacks.
        assert_eq!(ends(|at| view(at / 4, 400, &[10, 400])), (1601, Step::Done));
        assert_eq!(ends(|at| view(at.min(20) * 100, 2000, &[2000])), (21, Step::Done));
        // What headers prove is waited for, though nobody claims it.
        assert_eq!(ends(|at| view(at.min(900), 900, &[3])), (901, Step::Done));
    }

    /// `sync` into a directory with a chain of its own, which the network's left 130,000 blocks below: counting that branch takes
    /// 35 s in which no height moves, and it ended after ten with "nothing came", each time anew.
    #[test]
    fn headers_of_another_branch_are_counted_for_as_long_as_they_come_and_are_not_waited_for_twice() {
        // Counted for 100 s, then fetched.
        let deep = |at: u64| match at {
            ..=100 => counted(view(134, 134, &[1250]), at * 4000, at * 4000),
            _ => counted(view((134 + (at - 100) * 50).min(1250), 1250, &[1250]), 400_000, 400_000),
        };
        assert_eq!(ends(deep), (124, Step::Done));
        // A node that has only our own old chain changes nothing.
        assert_eq!(ends(|at| NodeView { peers: 2, ..deep(at) }).1, Step::Done);
        let beside = |at: u64| {
            let mut view = deep(at);
            view.claims.push((SocketAddr::from(([192, 0, 2, 9], 9)), 134));
            view
        };
        assert_eq!(ends(beside), (124, Step::Done));
        // All its headers are here, and its blocks come, for a minute in which our own tip stands still.
        let fetched = |at: u64| match at {
            ..=60 => NodeView { blocks: at * 1000, ..counted(view(70_000, 80_000, &[80_000]), 80_000, 80_000) },
            _ => view(80_000, 80_000, &[80_000]),
        };
        assert_eq!(ends(fetched), (62, Step::Done));
        let beside = |at: u64| {
            let mut view = fetched(at);
            view.claims.push((SocketAddr::from(([192, 0, 2, 9], 9)), 70_000));
            view
        };
        assert_eq!(ends(beside), (62, Step::Done));
        // They stop coming.
        assert_eq!(ends(|at| counted(view(134, 134, &[1250]), at.min(50), at.min(50))), (80, Step::Stalled));
        // One who breaks off and tells the same again and again is not waited for beside a chain that is there.
        let again = |at: u64| counted(view(500, 500, &[500, 900]), at * 4000, at.min(20) * 4000);
        assert_eq!(ends(again), (50, Step::DoneBelow(900)));
    }

    #[test]
    fn the_network_is_the_one_that_most_name_and_among_equals_that_of_the_first() {
        let [one, two] = [1, 2].map(|difficulty| Params::new(difficulty, 50).unwrap());
        assert_eq!(most_named(&[]), None);
        assert_eq!(most_named(&[one, two]), Some(one));
        assert_eq!(most_named(&[two, one]), Some(two));
        assert_eq!(most_named(&[one, two, two]), Some(two));
        assert_eq!(most_named(&[one, two, two, one]), Some(one));
    }

    /// A node that mined a thousand blocks a second was followed for ever.
    #[test]
    fn a_chain_that_grows_as_fast_as_it_comes_is_there_when_its_height_was_reached_three_times() {
        let mut rounds = Rounds::default();
        assert!(!(0..10).any(|_| rounds.are_over(0, 0)), "nobody has said how long the chain is");
        let (mut height, mut looks) = (0, 0);
        while !rounds.are_over(height, height + 100) {
            (height, looks) = (height + 10, looks + 1);
            assert!(looks < 100);
        }
        assert_eq!(looks, 30);
        // Of peers that claim nothing only headers are known, and those come by the thousand: nothing ends on the way.
        let mut rounds = Rounds::default();
        assert!(!(0..9000).any(|height| rounds.are_over(height, 0)));
        // Somebody comes late with a long chain: all of it is waited for.
        let mut rounds = Rounds::default();
        assert!(!rounds.are_over(0, 5) && !rounds.are_over(5, 9000) && !rounds.are_over(8999, 9000));
    }
}
