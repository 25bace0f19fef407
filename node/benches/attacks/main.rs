//! The figures behind SECURITY.md: attacks on a running node, from loopback, and what honest peers see of them.
//!
//! `cargo bench -p spacetime-node --bench attacks -- NAME...` plays the attacks of these names, `all` of them, or lists them when none
//! is named. Each starts the built program with `--exempt none` in a fresh directory, and two honest peers in a process of their
//! own that ping it every 100 ms and pass a transaction each second. Attackers come from all over 127.0.0.0/8, so Linux it is. A
//! line for each says what the honest ones saw, what the node used, and whether that is within the bounds.
//!
//! Options: `--seconds N` for how long each goes on (20), `--rest N` for how long the node is left alone before its memory is
//! looked at again (60; with up to 5 seconds of attack as long as that), and `--json`. `--seconds 3` is for trying one out. Figures
//! mean something on a machine that is otherwise idle: the timer of the honest peers says how late it was itself.

#[cfg(target_os = "linux")]
mod bans;
#[cfg(target_os = "linux")]
mod branches;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod eclipse;
#[cfg(target_os = "linux")]
mod forge;
#[cfg(target_os = "linux")]
mod gossip;
#[cfg(target_os = "linux")]
mod greetings;
#[cfg(target_os = "linux")]
mod headers;
#[cfg(target_os = "linux")]
mod huge_blocks;
#[cfg(target_os = "linux")]
mod newcomers;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod questions;
#[cfg(target_os = "linux")]
mod receiving;
#[cfg(target_os = "linux")]
mod scene;
#[cfg(target_os = "linux")]
mod sealed;
#[cfg(target_os = "linux")]
mod serving;
#[cfg(target_os = "linux")]
mod settings;
#[cfg(target_os = "linux")]
mod slow_line;
#[cfg(target_os = "linux")]
mod squatting;
#[cfg(target_os = "linux")]
mod stranger;
#[cfg(target_os = "linux")]
mod transactions;
#[cfg(target_os = "linux")]
mod words;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    on_linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the attacks come from many addresses of this machine, which only Linux has");
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::ExitCode;

    use crate::scene::Report;
    use crate::settings::Settings;
    use crate::{
        bans, branches, control, eclipse, gossip, greetings, headers, huge_blocks, newcomers, questions, receiving,
        sealed, serving, slow_line, squatting, transactions,
    };

    /// Plays one attack under its name.
    type Play = fn(&str, &Settings) -> Report;

    /// All of them: the name, what is done, and who does it.
    const ATTACKS: &[(&str, &str, Play)] = &[
        ("calm", "nothing at all: what the machine itself adds", transactions::calm),
        ("tx-burst", "1,195 small transactions at once, then 19 a second", transactions::burst),
        ("tx-pool", "64 MiB of transactions from one stranger", transactions::pool),
        ("tx-crowd", "90 connections with 1,190 of the smallest transactions each", transactions::crowd),
        ("tx-buffers", "small transactions right behind large ones", transactions::buffers),
        ("silent", "70 subnets that connect and say nothing", newcomers::silent),
        ("rate-60", "60 addresses that come once a second", newcomers::rate_60),
        ("rate-300", "300 addresses that come once a second", newcomers::rate_300),
        ("strange-lengths", "200 connections that begin with no frame", newcomers::strange_lengths),
        ("unfinished", "ten unfinished frames of 16 MiB, and an honest block that is pushed", receiving::pushed),
        ("unfinished-asked", "the same, and an honest block that is asked for", receiving::asked),
        ("serving-8", "8 peers that download a block of 14 MiB again and again", serving::eight),
        ("serving-16", "16 of them", serving::sixteen),
        ("serving-small", "8 of them, and a block of the most transactions", serving::smallest),
        ("header-trees", "six branches that overtake each other, of 64 connections", headers::trees),
        ("huge-blocks", "blocks of 479,000 transactions, one body under many headers", huge_blocks::too_many),
        ("full-blocks", "the same with as many as a block may have, and a restart", huge_blocks::full),
        ("side-blocks", "44 strangers with side blocks within every budget, and two honest nodes", bans::side_blocks),
        ("fast-miner", "an honest node that mines as fast as it can, and another one", bans::fast_miner),
        ("ban-table", "violations from as many addresses as come in", bans::table),
        ("ban-subnet", "violations from 16 addresses of one subnet", bans::subnet),
        (
            "squatted-others",
            "three nodes told that somebody else is the one who is about to dial them",
            squatting::at_others,
        ),
        ("squatted-self", "a node told that somebody else is the one whom it dials", squatting::at_the_victim),
        ("eclipse", "40 strangers that dial in, say where they listen, and wait for a restart", eclipse::restart),
        ("long-ids", "greetings with ids that are long in a file", eclipse::long_ids),
        ("slow-line", "an honest reader of a block of 14.6 MiB at 100 kB a second", slow_line::play),
        ("siblings", "3,000 blocks of one height with the same 3,000 transactions", branches::siblings),
        ("to-and-fro", "two branches of 30 blocks of 12 MiB that overtake each other", branches::to_and_fro),
        ("sealed", "16 connections of TLS with records of one byte and new keys", sealed::play),
        ("greeting-errors", "48 connections that say nothing but errors", greetings::errors),
        ("challenges", "20 peers with as much junk as they may send, and five honest ones", gossip::challenges),
        ("liars", "60 peers that claim what they do not have, and an honest one that was dialed", gossip::liars),
        ("liars-inbound", "the same, and an honest one that came as they did", gossip::liars_before_a_stranger),
        ("no-liars", "the same without them", gossip::no_liars),
        ("sync-evil", "`sync` from an honest node and one whose claims never end", questions::sync),
        ("tx-pool-evil", "`tx-pool` at a server that never ends", questions::pool),
    ];

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let [argument, address] = &arguments[..]
            && argument == control::ARGUMENT
        {
            let Ok(address) = address.parse() else { return ExitCode::FAILURE };
            return match control::run(address) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("control peers: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        // Whoever runs all benches, or has them tested, has no minutes for each of these.
        let settings = match Settings::read(arguments.into_iter()) {
            Ok(settings) => settings,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        let known = |name: &String| name == "all" || ATTACKS.iter().any(|(known, ..)| known == name);
        if let Some(name) = settings.names.iter().find(|name| !known(name)) {
            eprintln!("there is no attack {name}");
            return ExitCode::from(2);
        }
        if settings.names.is_empty() {
            println!("attacks to name, or `all`:");
            ATTACKS.iter().for_each(|(name, what, _)| println!("  {name:<18} {what}"));
            return ExitCode::SUCCESS;
        }
        let mut reports = Vec::new();
        for (name, _, play) in ATTACKS.iter().filter(|(name, ..)| settings.wants(name)) {
            let report = catch_unwind(AssertUnwindSafe(|| play(name, &settings))).unwrap_or_else(|_| {
                let mut report = Report::new(name);
                report.check("the attack could be played", false);
                report
            });
            if !settings.json {
                println!("{}", report.line());
            }
            reports.push(report);
        }
        if settings.json {
            println!("{}", serde_json::to_string_pretty(&reports).unwrap_or_default());
        }
        let failed = reports.iter().filter(|report| !report.holds()).count();
        if failed > 0 {
            eprintln!("{failed} of {} are out of bounds", reports.len());
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}
