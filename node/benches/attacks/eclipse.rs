//! Strangers who want all of a node's connections: they dial in, say where they listen, are useful for nothing, and wait for a restart.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use spacetime_network::wire::Message;

use crate::forge::transfer;
use crate::scene::{Report, Scene};
use crate::settings::Settings;
use crate::stranger::{Crowd, PACE, Stranger};
use crate::words::{Greeting, honest, source};

/// Who dial in, how many honest ones the operator names, and the transactions that each stranger gives.
const STRANGERS: usize = 40;
const SEEDS: usize = 12;
const GIFTS: u64 = 25;
/// How long after the restart the connections are counted.
const SETTLED: Duration = Duration::from_secs(20);
/// Ids of control characters that are told in the same time.
const GREETINGS: usize = 200;

/// One who can be dialed.
struct Host {
    name: String,
    listener: TcpListener,
    address: SocketAddr,
    guests: Vec<Stranger>,
}

impl Host {
    fn new(name: String, ip: Ipv4Addr) -> Host {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        Host { name, listener, address, guests: Vec::new() }
    }

    fn greeting(&self) -> Greeting {
        Greeting { port: self.address.port(), ..Greeting::of(&*self.name) }
    }

    /// Takes who comes, greets, and tells of `others` when asked.
    fn turn(&mut self, others: &[SocketAddr]) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.guests.extend(Stranger::accepted(stream));
        }
        let greeting = self.greeting();
        for guest in &mut self.guests {
            let answers = |guest: &mut Stranger, message: &Message<'_>| {
                match message {
                    Message::Handshake(_) => guest.push(greeting.answer()),
                    Message::GetPeers(_) => guest.say(&Message::Peers(others.to_vec())),
                    _ => return false,
                }
                true
            };
            guest.turn_with(answers, |_, _, _| {});
        }
        self.guests.retain(|guest| !guest.gone);
    }

    fn is_dialed(&self) -> bool {
        self.guests.iter().any(|guest| guest.greeted)
    }
}

/// So many of them have a connection that the node dialed.
fn dialed(hosts: &[Host]) -> usize {
    hosts.iter().filter(|host| host.is_dialed()).count()
}

pub(crate) fn restart(name: &str, settings: &Settings) -> Report {
    let mut strangers: Vec<Host> = (0..STRANGERS).map(|at| Host::new(format!("sybil-{at}"), source(at))).collect();
    let mut seeds: Vec<Host> = (0..SEEDS).map(|at| Host::new(format!("seed-{at}"), honest(20 + at))).collect();
    let addresses = |hosts: &[Host]| hosts.iter().map(|host| host.address).collect::<Vec<_>>();
    let (theirs, ours) = (addresses(&strangers), addresses(&seeds));
    let mut flags = vec!["--allow-private".to_owned()];
    flags.extend(ours.iter().flat_map(|seed| ["--seed-node".to_owned(), seed.to_string()]));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut scene = Scene::new(name, settings, &flags);
    let greetings: BTreeMap<usize, Greeting> =
        strangers.iter().enumerate().map(|(at, host)| (at, host.greeting())).collect();
    let patience = Duration::from_secs(60);
    let greeting = |at| greetings.get(&at).cloned().unwrap_or_else(|| Greeting::of("sybil"));
    let mut crowd = Crowd::gather(scene.node.address, (0..STRANGERS).map(source), greeting, patience);
    scene.under(|_, end| {
        let mut given = 0;
        while Instant::now() < end {
            if given < GIFTS {
                for (at, stranger) in crowd.0.iter_mut().enumerate() {
                    let gift = transfer(&format!("gift-{at}"), "r", given);
                    stranger.say(&Message::Transaction(&gift));
                }
                given += 1;
            }
            crowd.turn(|_, _, _, _| {});
            strangers.iter_mut().for_each(|host| host.turn(&theirs));
            seeds.iter_mut().for_each(|host| host.turn(&ours));
            std::thread::sleep(PACE);
        }
    });
    scene.report.note("before", format!("{} of strangers, {} of seeds", dialed(&strangers), dialed(&seeds)));
    drop(crowd);
    for host in strangers.iter_mut().chain(&mut seeds) {
        host.guests.clear();
    }
    scene.node.restart(&flags);
    let end = Instant::now() + SETTLED;
    while Instant::now() < end {
        strangers.iter_mut().for_each(|host| host.turn(&theirs));
        seeds.iter_mut().for_each(|host| host.turn(&ours));
        std::thread::sleep(PACE);
    }
    let (of_strangers, of_seeds) = (dialed(&strangers), dialed(&seeds));
    scene.report.note("after", format!("{of_strangers} of strangers, {of_seeds} of seeds"));
    scene.report.check("a restart finds honest ones", of_seeds > 0);
    scene.report.check("most that it dials are honest", of_seeds >= of_strangers);
    scene.finish()
}

/// Greetings with ids that are long when they are written to a file; the honest peers that the node dialed are saved all the same.
pub(crate) fn long_ids(name: &str, settings: &Settings) -> Report {
    let mut seed = Host::new("~ the one we dialed".to_owned(), honest(20));
    let address = seed.address.to_string();
    let mut scene = Scene::new(name, settings, &["--allow-private", "--connect", &address]);
    let told = scene.under(|node, end| {
        let mut told = 0usize;
        let mut held: Vec<Stranger> = Vec::new();
        while Instant::now() < end && told < GREETINGS.max(settings.seconds.as_secs() as usize * 40) {
            let id = format!("{}{told}", "\u{1}".repeat(120));
            if let Ok(mut stranger) = Stranger::connect(node.address, source(told)) {
                stranger.push(Greeting { port: 9, ..Greeting::of(id) }.frame());
                stranger.turn(|_, _, _| {});
                held.push(stranger);
            }
            told += 1;
            held.iter_mut().for_each(|stranger| stranger.turn(|_, _, _| {}));
            held.retain(|stranger| !stranger.greeted && !stranger.gone);
            seed.turn(&[]);
            std::thread::sleep(Duration::from_millis(22));
        }
        while Instant::now() < end {
            seed.turn(&[]);
            std::thread::sleep(PACE);
        }
        told
    });
    scene.report.note("greetings", told);
    scene.keeps(told as f64 * 2_000.0 / 1_048_576.0);
    let data = scene.data();
    // It is saved when the node stops.
    scene.node.stop();
    let file = std::fs::read_to_string(data.join("peers.json")).unwrap_or_default();
    scene.report.note("peers_json_kb", file.len() / 1024);
    scene
        .report
        .check("peers.json has the one that was dialed", file.contains(&address) || file.contains("the one we dialed"));
    scene.report.check("peers.json is at most 8 MiB", file.len() <= 8 << 20);
    scene.node.restart(&["--allow-private", "--connect", &address]);
    scene.finish()
}
