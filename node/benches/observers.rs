//! What those who look at a node cost those who talk to it: a viewer of the page, a scraper each second and 100 slow clients of its
//! administration endpoint, beside 1,000 peers that ping as fast as they are answered.
//!
//! `cargo bench -p spacetime-node --bench observers -- run [--phases N] [--seconds N]` plays it; without `run` it is only built. Phases
//! with and without observers take turns in one run, for a machine that has more to do slows down both. The slow clients are as busy
//! in phases without observers, and trouble somebody who reads nothing: elsewhere they have machines of their own, and what they cost
//! this one is not what they cost the node. A line for each pair, and the median of their ratios.

#[cfg(all(target_os = "linux", feature = "http"))]
fn main() {
    on_linux::main();
}

#[cfg(not(all(target_os = "linux", feature = "http")))]
fn main() {
    println!("there is nothing to observe without the feature `http`, and no socket of the file system but on Linux");
}

#[cfg(all(target_os = "linux", feature = "http"))]
mod on_linux {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use spacetime_network::chain::Params;
    use spacetime_network::wire::message::{Extension, Handshake, Ping};
    use spacetime_network::wire::{Hash, Kind, Message};

    /// Peers that ping.
    const PEERS: u64 = 1_000;
    /// Clients that never finish a request.
    const SLOW: usize = 100;

    /// A peer, and what it has read of the next frame.
    struct Peer {
        stream: TcpStream,
        input: Vec<u8>,
    }

    impl Peer {
        fn greet(address: &str, n: u64) -> Peer {
            let stream = TcpStream::connect(address).expect("the node listens");
            stream.set_nodelay(true).expect("a socket of ours");
            let network = Params::default().genesis().header.hash();
            let extension = Extension {
                network,
                nonce: n + 1,
                listening_port: 0,
                features: 0,
                best_height: 0,
                best_hash: Hash::ZERO,
                seen: None,
            };
            let unix_seconds = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() as i64;
            let node_id = format!("{n:064x}");
            let greeting = Handshake {
                version: 2,
                unix_seconds,
                node_id: &node_id,
                user_agent: "bench/1",
                extension: Some(extension),
            };
            let mut peer = Peer { stream, input: Vec::new() };
            peer.say(&Message::Handshake(greeting));
            peer.read_to(Kind::HandshakeAck);
            peer
        }

        fn say(&mut self, message: &Message<'_>) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).expect("within its caps");
            self.stream.write_all(&bytes).expect("the node reads");
        }

        /// Reads frames up to the first of a kind, and answers what is asked meanwhile.
        fn read_to(&mut self, wanted: Kind) {
            let mut buffer = [0; 4096];
            loop {
                while let Some((kind, payload)) = self.frame() {
                    if kind == Kind::Ping as u8 {
                        let nonce = i64::from_le_bytes(payload[..8].try_into().expect("eight bytes"));
                        self.say(&Message::Pong(Ping { nonce, unix_millis: 0 }));
                    }
                    if kind == wanted as u8 {
                        return;
                    }
                }
                let len = self.stream.read(&mut buffer).expect("the node answers");
                assert!(len > 0, "the node has closed the connection");
                self.input.extend_from_slice(&buffer[..len]);
            }
        }

        fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
            let length = u32::from_le_bytes(self.input.get(..4)?.try_into().ok()?) as usize;
            let frame: Vec<u8> = self.input.get(4..4 + length)?.to_vec();
            self.input.drain(..4 + length);
            Some((frame[0], frame[1..].to_vec()))
        }
    }

    struct Node(Child);

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Pings all and waits for all, again and again; answers how many pings a second were answered.
    fn echo(peers: &mut [Peer], time: Duration) -> f64 {
        let (began, mut answered) = (Instant::now(), 0_u64);
        while began.elapsed() < time {
            for peer in peers.iter_mut() {
                peer.say(&Message::Ping(Ping { nonce: 7, unix_millis: 0 }));
            }
            for peer in peers.iter_mut() {
                peer.read_to(Kind::Pong);
                answered += 1;
            }
        }
        answered as f64 / began.elapsed().as_secs_f64()
    }

    fn request(http: &str, path: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(http)?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").as_bytes())?;
        Ok(stream)
    }

    /// Observes while it is on. What fails is tried again: whoever gives way for others is gone.
    fn observe(http: String, nobody: String, is_on: Arc<AtomicBool>, scrapes: Arc<AtomicU64>, news: Arc<AtomicU64>) {
        let (to_view, on) = (http.clone(), Arc::clone(&is_on));
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                if !on.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                let Ok(mut stream) = request(&to_view, "/api/node/events") else { continue };
                while on.load(Ordering::SeqCst) {
                    match stream.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(len) => drop(news.fetch_add(len as u64, Ordering::Relaxed)),
                        Err(_) => {}
                    }
                }
            }
        });
        let (to_scrape, on) = (http.clone(), Arc::clone(&is_on));
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(1));
                let mut text = String::new();
                if on.load(Ordering::SeqCst)
                    && request(&to_scrape, "/metrics").is_ok_and(|mut stream| stream.read_to_string(&mut text).is_ok())
                {
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        thread::spawn(move || {
            let mut slow: Vec<TcpStream> = Vec::new();
            let mut was_on = false;
            loop {
                thread::sleep(Duration::from_millis(50));
                let is_on = is_on.load(Ordering::SeqCst);
                if was_on != is_on {
                    slow.clear();
                }
                was_on = is_on;
                // A byte from each, and a new one for each that gave way.
                slow.retain_mut(|stream| stream.write_all(b"x").is_ok());
                while slow.len() < SLOW {
                    let Ok(mut stream) = TcpStream::connect(if is_on { &http } else { &nobody }) else { break };
                    if stream.write_all(b"GET /").is_ok() {
                        slow.push(stream);
                    }
                }
            }
        });
    }

    /// An address that takes as many connections as there are slow clients and reads from none.
    fn reads_nothing() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket of ours");
        let address = listener.local_addr().expect("bound").to_string();
        thread::spawn(move || {
            let mut kept = std::collections::VecDeque::new();
            for stream in listener.incoming() {
                kept.push_back(stream);
                if kept.len() > SLOW {
                    kept.pop_front();
                }
            }
        });
        address
    }

    fn option(name: &str, usual: u64) -> u64 {
        let arguments: Vec<String> = std::env::args().collect();
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(usual)
    }

    pub(super) fn main() {
        if !std::env::args().any(|argument| argument == "run") {
            return println!("give `run` to play it: cargo bench -p spacetime-node --bench observers -- run");
        }
        let (phases, seconds) = (option("--phases", 8), Duration::from_secs(option("--seconds", 5)));
        rlimit::increase_nofile_limit(4_096).expect("descriptors");
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_spacetime-node"))
            .args([
                "run",
                "--listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--max-connections",
                "1200",
                "--data-dir",
            ])
            .arg(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let _node = Node(child);
        let (mut listening, mut http) = (String::new(), String::new());
        for line in output.lines() {
            let line = line.expect("text");
            if let Some(address) = line.strip_prefix("listening ") {
                listening = address.to_owned();
            } else if let Some(address) = line.strip_prefix("http ") {
                http = address.to_owned();
            } else if line == "ready" {
                break;
            }
        }
        let mut peers: Vec<Peer> = (0..PEERS).map(|n| Peer::greet(&listening, n)).collect();
        let is_on = Arc::<AtomicBool>::default();
        let (scrapes, news) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        observe(http, reads_nothing(), Arc::clone(&is_on), Arc::clone(&scrapes), Arc::clone(&news));
        echo(&mut peers, Duration::from_secs(2));
        let mut ratios = Vec::new();
        for phase in 0..phases {
            // Who is first takes turns too.
            let mut rates = [0.0; 2];
            for with in if phase % 2 == 0 { [0, 1] } else { [1, 0] } {
                is_on.store(with == 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(300));
                rates[with] = echo(&mut peers, seconds);
            }
            ratios.push(rates[1] / rates[0]);
            println!("without {:>8.0} /s   with {:>8.0} /s   ratio {:.3}", rates[0], rates[1], rates[1] / rates[0]);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "median ratio {:.3} of {} pairs; {} scrapes, {} KiB of news",
            ratios[ratios.len() / 2],
            ratios.len(),
            scrapes.load(Ordering::Relaxed),
            news.load(Ordering::Relaxed) / 1024
        );
    }
}
