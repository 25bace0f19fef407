//! `spacetime-example`: a node of the Spacetime blockchain, and the tools to try one out.

#![forbid(unsafe_code)]

use core::net::SocketAddr;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use clap::{Parser, Subcommand};
use ipnet::IpNet;
use spacetime_example::client::{self, Payment};
use spacetime_example::codec::to_hex;
use spacetime_example::crypto::{PublicKey, SecretKey};
use spacetime_example::farmer::key_path;
use spacetime_example::genesis::Genesis;
use spacetime_example::node::{self, Plan};
use spacetime_example::plot;

/// A full node of the Spacetime blockchain, as an example of a chain on the spacetime-network engine.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a full node until SIGINT or SIGTERM
    Run(RunArgs),
    /// Make a new network: prints its genesis file
    Genesis {
        /// Its name
        #[arg(long)]
        network: String,
        /// The first difficulty: one leaf in so many is good enough
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
        difficulty: i64,
        /// Coins for a public key, or for the key in a file; may be given several times
        #[arg(long, value_name = "KEY=AMOUNT", value_parser = grant)]
        grant: Vec<(PublicKey, i64)>,
    },
    /// Make a new key: prints its file, which is to be kept secret
    Key,
    /// Make a plot, with its tree and a copy of its key beside it
    Plot {
        /// The file to make
        file: PathBuf,
        /// The file with the key of whoever is to farm it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// How large it is to be
        #[arg(long, default_value = "1MiB", value_parser = size)]
        size: u64,
    },
    /// Send coins, by way of a node that runs
    Send {
        #[command(flatten)]
        node: NodeArgs,
        /// The file with the sender's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The recipient: a public key, or the name of a file with a key
        #[arg(long, value_name = "KEY", value_parser = client::public_key)]
        to: PublicKey,
        /// Coins
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        amount: i64,
        /// For whoever makes the block
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
        fee: i64,
    },
    /// Print who has how much, by the chain of a node that runs
    Balances {
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The network's genesis file
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// A node to stay connected to
    #[arg(long, value_name = "ADDR")]
    connect: Vec<SocketAddr>,
    /// Where to keep the chain; without it nothing is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A plot to farm
    #[arg(long, value_name = "PLOT")]
    farm: Vec<PathBuf>,
    /// Let clients in from here that do not introduce themselves, as the C# miner
    #[arg(long, value_name = "CIDR")]
    without_handshake: Vec<IpNet>,
}

#[derive(Debug, clap::Args)]
struct NodeArgs {
    /// The network's genesis file
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A node that runs
    #[arg(long, value_name = "ADDR")]
    connect: SocketAddr,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => node::run(Plan {
            genesis: genesis(&args.genesis)?,
            listen: args.listen,
            connect: args.connect,
            data_dir: args.data_dir,
            farm: args.farm,
            without_handshake: args.without_handshake,
        }),
        Command::Genesis { network, difficulty, grant } => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
            let genesis = Genesis::new(&network, i64::try_from(now)?, difficulty, &grant)?;
            print(&format!("{}\n", serde_json::to_string_pretty(&genesis)?))
        }
        Command::Key => print(&client::key_text(&SecretKey::random()?)),
        Command::Plot { file, key, size } => plot(&file, &key, size),
        Command::Send { node, key, to, amount, fee } => {
            let payment = Payment { recipient: to, amount, fee };
            let id = client::send(&genesis(&node.genesis)?, node.connect, &client::read_key(&key)?, payment)?;
            print(&format!("sent {id}\n"))
        }
        Command::Balances { node } => {
            let driver = client::take_chain(&genesis(&node.genesis)?, node.connect)?;
            let ledger = driver.protocol().node().chain().ledger();
            let mut text = format!("height {}\n", ledger.best().height);
            for (key, account) in ledger.accounts().iter() {
                text += &format!("{} balance {} nonce {}\n", to_hex(key), account.balance, account.nonce);
            }
            print(&text)
        }
    }
}

fn plot(file: &Path, key: &Path, size: u64) -> Result<(), Failure> {
    let owner = client::read_key(key)?;
    let leaves = size / 32;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let begun = Instant::now();
    // Before the plot: one without its key is of no use.
    write_secret(&key_path(file), &client::key_text(&owner))?;
    let header = plot::create(file, &owner.public(), seed, leaves)?;
    let took = begun.elapsed().as_secs_f64();
    print(&format!("plot {} leaves {leaves} root {} in {took:.1} s\n", file.display(), to_hex(&header.root)))
}

fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?.write_all(text.as_bytes())?)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn genesis(path: &Path) -> Result<Genesis, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let genesis: Genesis = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    genesis.decoded().map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(genesis)
}

fn grant(text: &str) -> Result<(PublicKey, i64), String> {
    let (key, amount) = text.rsplit_once('=').ok_or("it must be KEY=AMOUNT")?;
    let amount = amount.parse().ok().filter(|amount| *amount > 0).ok_or("the amount must be a number above 0")?;
    Ok((client::public_key(key)?, amount))
}

fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit))).unwrap_or((text, &1));
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
    bytes.filter(|bytes| *bytes >= 32 && bytes.is_multiple_of(32)).ok_or_else(|| "it must be like 1MiB".to_owned())
}
