//! The command line: every command and flag, with its default, its limits and an example.
//!
//! Each flag is also an environment variable, `SPACETIME_NODE_<FLAG>`, and a key of the `--config` file (see
//! [`settings`](crate::settings)); both are added to what is declared here in one place, so that no flag is forgotten.

#[cfg(feature = "http")]
mod admin;
mod bandwidth;
mod bans;
mod nat;
mod proxy;
mod simulate;
mod tls;
mod web_socket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use spacetime_network::wire::Hash;

#[cfg(feature = "http")]
pub(crate) use crate::cli::admin::{
    AdminArgs, AdminLogArgs, HttpArgs, LimitsArgs, ReachArgs, StatusArgs, StopArgs, TopArgs,
};
pub(crate) use crate::cli::bandwidth::BandwidthArgs;
pub(crate) use crate::cli::bans::{BanAction, BanArgs};
pub(crate) use crate::cli::nat::{NatArgs, NatMode};
pub(crate) use crate::cli::proxy::ProxyArgs;
pub(crate) use crate::cli::simulate::{FaultLevel, SimulateArgs};
pub(crate) use crate::cli::tls::{TlsArgs, TlsClientsArg, TlsMin, TlsMode};
pub(crate) use crate::cli::web_socket::WebSocketArgs;
use crate::value::{self, Endpoint, Exempt, ListenAddress};

/// A full node, and the tools around it.
#[derive(Debug, Parser)]
#[command(
    name = "spacetime-node",
    version,
    arg_required_else_help = true,
    after_help = "A first pair of nodes:\n  spacetime-node run --data-dir one --listen 127.0.0.1:7193 --mine\n  \
                  spacetime-node run --data-dir two --listen 127.0.0.1:0 --connect 127.0.0.1:7193\n\n\
                  Every flag is also an environment variable (SPACETIME_NODE_LISTEN) and a key of the --config file\n\
                  (listen = [\"0.0.0.0:7193\"]); a flag beats the environment, which beats the file.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the node that was asked is there, but full."
)]
pub(crate) struct Cli {
    /// TOML file with defaults for flags, by their names without the dashes
    #[arg(long, global = true, value_parser = value::path(), value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a full node until it is told to stop
    #[command(
        after_help = "SIGINT and SIGTERM stop the node with everything saved; a second one ends it at once. SIGHUP does the same, \
                      unless the node was started by nohup; with --tls ca it reads the certificate, its key and the \
                      authority again instead, as the node does by itself every few seconds, and with --log-file it \
                      opens the log anew.\n\n\
                      Example:\n  spacetime-node run --data-dir ./one --listen 0.0.0.0:7193 --seed-node 192.0.2.7:7193 --mine"
    )]
    Run(Box<RunArgs>),
    /// Show the whole thing at work: several full nodes in one process
    #[command(
        after_help = "Examples:\n  spacetime-node demo --nodes 5 --blocks 20\n  spacetime-node demo --tls pinned"
    )]
    Demo(DemoArgs),
    /// Run many nodes over a virtual network, with faults, and check what must hold
    #[command(after_help = "Examples:\n  spacetime-node simulate --seed 7 --faults full --trace run.txt\n  \
                            spacetime-node simulate --seeds 1000 --nodes 8 --minutes 2 --faults full\n  \
                            spacetime-node simulate --nodes 1000 --minutes 10 --faults none --plot spread.svg\n  \
                            spacetime-node simulate --seed 7 --faults none --fault reset=800 --fault kill=300\n  \
                            spacetime-node simulate --seed 7 --faults full --shrink\n\n\
                            The same seed and options in the same binary are the same run: its hash says so.")]
    Simulate(SimulateArgs),
    /// Measure round trips to a running node
    #[command(after_help = "Examples:\n  spacetime-node ping 192.0.2.7:7193 --count 10 --interval 500ms\n  \
                            spacetime-node ping 192.0.2.7:7193 --tls first-use")]
    Ping(PingArgs),
    /// Ask a running node for the addresses that it shares, or one of yours for its peers
    #[command(after_help = "Examples:\n  spacetime-node peers 192.0.2.7:7193 --json\n  \
                            spacetime-node peers --http 9464")]
    Peers(PeersArgs),
    /// Ask a running node for block headers
    #[command(after_help = "Example:\n  spacetime-node headers 192.0.2.7:7193 --max 10")]
    Headers(HeadersArgs),
    /// Ask a running node for one block
    #[command(after_help = "Example:\n  spacetime-node block 192.0.2.7:7193 HASH --out block.bin")]
    Block(BlockArgs),
    /// Ask a running node for the transactions that wait in its pool
    #[command(after_help = "Example:\n  spacetime-node tx-pool 192.0.2.7:7193")]
    TxPool(TxPoolArgs),
    /// Give a running node a transaction
    #[command(after_help = "Example:\n  spacetime-node send-tx 192.0.2.7:7193 --from alice --to bob --amount 5")]
    SendTx(SendTxArgs),
    /// Download the whole chain from running nodes, then leave
    #[command(after_help = "Example:\n  spacetime-node sync 192.0.2.7:7193 192.0.2.8:7193 --data-dir ./copy")]
    Sync(SyncArgs),
    /// Show the chain in a data directory of a node that is stopped
    #[command(after_help = "Example:\n  spacetime-node chain --data-dir ./one --verify --json")]
    Chain(ChainArgs),
    /// Show the peers that a node has saved in its data directory
    #[command(after_help = "Example:\n  spacetime-node known-peers --data-dir ./one")]
    KnownPeers(KnownPeersArgs),
    /// Print the node id; makes the key where there is none
    #[command(after_help = "Example:\n  spacetime-node id --data-dir ./one")]
    Id(IdArgs),
    /// Forget who was met at an address, so that --tls first-use trusts whoever answers there next
    #[command(after_help = "Example:\n  spacetime-node forget 192.0.2.7:7193 --data-dir ./one")]
    Forget(ForgetArgs),
    /// Show how a node of yours is, by its administration endpoint
    #[cfg(feature = "http")]
    #[command(after_help = "Example:\n  spacetime-node status --http 127.0.0.1:9464 --json")]
    Status(StatusArgs),
    /// Watch a node of yours in this terminal: what it carries, and its peers
    #[cfg(feature = "http")]
    #[command(after_help = "Example:\n  spacetime-node top --http 127.0.0.1:9464")]
    Top(TopArgs),
    /// Have a node of yours keep a connection to another one
    #[cfg(feature = "http")]
    #[command(after_help = "Example:\n  spacetime-node connect 192.0.2.7:7193 --http 127.0.0.1:9464")]
    Connect(ReachArgs),
    /// Have a node of yours leave another one, and keep no connection to it
    #[cfg(feature = "http")]
    #[command(after_help = "Example:\n  spacetime-node disconnect 192.0.2.7:7193 --http 127.0.0.1:9464")]
    Disconnect(ReachArgs),
    /// List or change who is banned: in the data directory of a node that is stopped, or by one that runs
    #[command(
        after_help = "A ban keeps an address, a range or a node id out: it is neither let in, nor dialed, nor told to others. What \
                            --exempt names, this machine by default, and whom --connect names stay exempt. An IPv6 address \
                            alone stands for its /64. A node id means something with --tls only. To remove a range removes the \
                            bans of all its parts, those of the node's own rules too.\n\n\
                            Examples:\n  spacetime-node ban list --data-dir ./one\n  \
                            spacetime-node ban add 192.0.2.0/24 --for 30days --reason \"floods\" --data-dir ./one\n  \
                            spacetime-node ban remove 192.0.2.0/24 --data-dir ./one\n  \
                            spacetime-node ban add 192.0.2.7 --for 2h --http 9464"
    )]
    Ban(BanArgs),
    /// Show the last lines of the log of a node of yours, or change its level
    #[cfg(feature = "http")]
    #[command(after_help = "Examples:\n  spacetime-node log --http 127.0.0.1:9464\n  \
                            spacetime-node log debug --http unix:/run/spacetime-node/http.sock")]
    Log(AdminLogArgs),
    /// Show the limits of a node of yours, or change those of bandwidth until it stops
    #[cfg(feature = "http")]
    #[command(after_help = "Example:\n  spacetime-node limits --max-upload 2MiB --max-download none --http 9464")]
    Limits(LimitsArgs),
    /// Stop a node of yours, as SIGTERM does
    #[cfg(feature = "http")]
    #[command(after_help = "Example:\n  spacetime-node stop --http 127.0.0.1:9464")]
    Stop(StopArgs),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  spacetime-node completions bash > /etc/bash_completion.d/spacetime-node")]
    Completions(CompletionsArgs),
    /// Write man pages, one for each command, to a directory
    #[command(hide = true, after_help = "Example:\n  spacetime-node man /usr/local/share/man/man1")]
    Man(ManArgs),
}

/// Where a node keeps its files.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataDirArg {
    /// Directory of the node's files [default: $XDG_DATA_HOME/spacetime-node, else ~/.local/share/spacetime-node]
    #[arg(long, value_parser = value::path(), value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct JsonArg {
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much is logged, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// Log lines of this weight and above, on standard error
    #[arg(long, value_enum, default_value_t = LogLevel::Info, value_name = "LEVEL", help_heading = "Logging")]
    pub(crate) log_level: LogLevel,
    /// Log as text or as one JSON object per line
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", help_heading = "Logging")]
    pub(crate) log_format: LogFormat,
    /// Append the log to this file instead; SIGHUP opens it anew, as after logrotate moved it away
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "Logging")]
    pub(crate) log_file: Option<PathBuf>,
}

/// The weight of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where questions keep what they need for TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientDirArg {
    /// Directory whose folder client holds our own key and the nodes that first use remembers [default: as for run]
    #[arg(long, value_parser = value::path(), value_name = "DIR", help_heading = "TLS")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Whom the demo's nodes trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoTls {
    /// No TLS
    Off,
    /// Anybody
    Any,
    /// Whoever answers first at an address
    FirstUse,
    /// Each other
    Pinned,
}

/// The numbers that make a chain: nodes that differ in them are on different networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub(crate) struct GenesisArgs {
    /// Hexadecimal zeros that a block hash starts with
    #[arg(long, default_value_t = 2, value_name = "ZEROS", value_parser = clap::value_parser!(u8).range(0..=30),
          help_heading = "Chain")]
    pub(crate) difficulty: u8,
    /// What the miner of a block gets
    #[arg(long, default_value_t = 50, value_name = "AMOUNT", value_parser = value::amount, help_heading = "Chain")]
    pub(crate) reward: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Accept connections here, port 0 for any free one; may be given several times [default: 0.0.0.0:7193]
    #[arg(long, value_name = "ADDR", value_delimiter = ',', help_heading = "Network")]
    pub(crate) listen: Vec<ListenAddress>,
    /// Accept no connections, only dial
    #[arg(long, help_heading = "Network")]
    pub(crate) no_listen: bool,
    /// Tell peers that we are reached here, as behind a router that forwards a port; without a port, that of --listen; may be given
    /// several times
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = value::external_address, conflicts_with = "no_listen",
          help_heading = "Network")]
    pub(crate) external: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) nat: NatArgs,
    #[command(flatten)]
    pub(crate) web_socket: WebSocketArgs,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    /// Keep a connection to this node, ip:port, name:port or ws://name:port/path, wss:// with --tls; may be given several times
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = value::dialable, help_heading = "Network")]
    pub(crate) connect: Vec<Endpoint>,
    /// Ask this node for addresses when there are too few peers; may be given several times
    // Its old name is that of the simulation's seed, which is a number.
    #[arg(long, alias = "seed", value_name = "ADDR", value_delimiter = ',', help_heading = "Network")]
    pub(crate) seed_node: Vec<Endpoint>,
    /// Most connections at a time, in both directions
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = value::whole(1..=65_536),
          help_heading = "Network")]
    pub(crate) max_connections: u32,
    /// Connections to dial and keep
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = value::whole(0..=1_024),
          help_heading = "Network")]
    pub(crate) outbound: u32,
    /// Dial and share addresses of private ranges too, as in a network of one's own
    #[arg(long, help_heading = "Network")]
    pub(crate) allow_private: bool,
    /// Ranges that bans and limits per address do not apply to; "loopback" is this machine, "none" nobody
    /// [default: loopback]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Network")]
    pub(crate) exempt: Vec<Exempt>,
    /// Ranges from which clients may come that do not introduce themselves, as the C# library's miner and download do; they are
    /// answered and are no peers [default: none]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Network")]
    pub(crate) without_handshake: Vec<Exempt>,
    /// Tell each peer this often that we are here
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = value::duration, help_heading = "Network")]
    pub(crate) heartbeat: Duration,
    /// Leave a peer that sent nothing for this long
    #[arg(long, default_value = "90s", value_name = "TIME", value_parser = value::duration, help_heading = "Network")]
    pub(crate) idle_timeout: Duration,
    /// Time for connecting and greeting
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration, help_heading = "Network")]
    pub(crate) handshake_timeout: Duration,

    #[command(flatten)]
    pub(crate) bandwidth: BandwidthArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// With --tls any or ca: what those who dial us must show
    #[arg(long, value_enum, default_value_t = TlsClientsArg::Required, value_name = "WHAT", help_heading = "TLS")]
    pub(crate) tls_clients: TlsClientsArg,
    #[command(flatten)]
    pub(crate) data: DataDirArg,

    /// Mine blocks
    #[arg(long, help_heading = "Chain")]
    pub(crate) mine: bool,
    /// Who gets the reward of mined blocks [default: the first 16 digits of the node id]
    #[arg(long, value_name = "NAME", value_parser = value::account, help_heading = "Chain")]
    pub(crate) miner: Option<String>,
    /// Mine a block no sooner than this many seconds after its parent; 0 for as fast as it can
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = value::seconds, help_heading = "Chain")]
    pub(crate) block_interval: Duration,
    #[command(flatten)]
    pub(crate) genesis: GenesisArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[cfg(feature = "http")]
    #[command(flatten)]
    pub(crate) http: HttpArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Full nodes to run
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=50))]
    pub(crate) nodes: u16,
    /// Height that every node must reach
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=200))]
    pub(crate) blocks: u64,
    /// CSV file of sender,recipient,amount [default: bundled examples]
    #[arg(long, value_parser = value::path(), value_name = "FILE")]
    pub(crate) transactions: Option<PathBuf>,
    /// Encrypt connections and prove identities; whom to trust
    #[arg(long, value_enum, default_value_t = DemoTls::Off, value_name = "TRUST")]
    pub(crate) tls: DemoTls,
    /// Keep the data directories in DIR [default: a temporary directory that is removed]
    #[arg(long, value_parser = value::path(), value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

/// What all questions to a running node share.
#[derive(Clone, Debug, Args)]
pub(crate) struct AskArgs {
    /// The node to ask: ip:port or name:port
    #[arg(value_name = "ADDR")]
    pub(crate) address: Endpoint,
    /// Longest wait for the connection, and for each answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) data: ClientDirArg,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Pings to send
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = value::whole(1..=1_000_000))]
    pub(crate) count: u32,
    /// Time between pings
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) interval: Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PeersArgs {
    /// The node to ask: ip:port or name:port
    #[arg(value_name = "ADDR")]
    pub(crate) address: Option<Endpoint>,
    /// Longest wait for the connection, and for each answer
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) data: ClientDirArg,
    #[command(flatten)]
    pub(crate) output: JsonArg,
    #[cfg(feature = "http")]
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct HeadersArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Start after this block [default: the first block]
    #[arg(long, value_name = "HASH")]
    pub(crate) from: Option<Hash>,
    /// Most headers to ask for
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = value::whole(1..=2000))]
    pub(crate) max: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BlockArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// The block's hash, 64 hexadecimal digits
    #[arg(value_name = "HASH")]
    pub(crate) hash: Hash,
    /// Write the block's bytes to this file
    #[arg(long, value_parser = value::path(), value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TxPoolArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SendTxArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Who pays
    #[arg(long, value_name = "NAME", value_parser = value::account)]
    pub(crate) from: String,
    /// Who is paid
    #[arg(long, value_name = "NAME", value_parser = value::account)]
    pub(crate) to: String,
    /// How much
    #[arg(long, value_name = "N", value_parser = value::amount)]
    pub(crate) amount: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SyncArgs {
    /// Nodes to download from: ip:port or name:port
    #[arg(value_name = "ADDR", required = true)]
    pub(crate) addresses: Vec<Endpoint>,
    /// Give up when nothing moved for this long
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = value::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) data: DataDirArg,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ChainArgs {
    #[command(flatten)]
    pub(crate) data: DataDirArg,
    /// Check every block again, from the first to the last
    #[arg(long)]
    pub(crate) verify: bool,
    /// Show what everybody has
    #[arg(long)]
    pub(crate) balances: bool,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct KnownPeersArgs {
    #[command(flatten)]
    pub(crate) data: DataDirArg,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    pub(crate) data: DataDirArg,
    /// Use a private key that its group may read too (mode 0640)
    #[arg(long)]
    pub(crate) key_mode_group: bool,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The address as it was dialed, ip:port or name:port: of a name, each of its addresses
    #[arg(value_name = "ADDR", value_parser = proxy::remembered)]
    pub(crate) address: Endpoint,
    #[command(flatten)]
    pub(crate) data: DataDirArg,
    #[command(flatten)]
    pub(crate) output: JsonArg,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// Where to, made where it is missing
    #[arg(value_name = "DIR", value_parser = value::path())]
    pub(crate) directory: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
