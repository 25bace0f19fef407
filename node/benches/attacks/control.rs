//! Two honest peers of the node, in a process of their own: what they see is what an attack does to others.
//!
//! Both ping ten times a second, and one of them sends a transaction each second that the other must get. They are apart from the
//! attackers so that neither their processor time nor their queues count; how late their own timer is says what the machine adds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spacetime_network::chain::transaction;
use spacetime_network::wire::message::Ping;
use spacetime_network::wire::{FrameRules, Hash, Kind, Message, Parse, frame};

use crate::forge::transfer;
use crate::stranger::Stranger;
use crate::words::{self, Greeting, courtesy, honest};

/// The hidden argument under which this program is the control peers of the node whose address follows.
pub(crate) const ARGUMENT: &str = "--control-peers";

/// Between two pings.
const INTERVAL: Duration = Duration::from_millis(100);
/// Pings between two transactions.
const PINGS_PER_TRANSACTION: u64 = 10;
/// How long a transaction may be under way before it is missed.
pub(crate) const DELIVERY: Duration = Duration::from_secs(2);
/// Names of a pool that are told at a time.
const TOLD: usize = 5_000;

/// What they saw, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) pings: usize,
    pub(crate) ping_p50: f64,
    pub(crate) ping_p99: f64,
    pub(crate) ping_max: f64,
    pub(crate) sent: usize,
    /// Of these, how many came within [`DELIVERY`].
    pub(crate) delivered: usize,
    pub(crate) slowest: f64,
    /// How late their timer was: the machine's part.
    pub(crate) late_p99: f64,
    pub(crate) late_max: f64,
    /// Why a connection of theirs is over.
    pub(crate) lost: Option<String>,
}

/// The process of the control peers, for the bench.
#[derive(Debug)]
pub(crate) struct Control {
    child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Control {
    /// Starts them, and waits until both have greeted the node.
    pub(crate) fn start(node: SocketAddr) -> Control {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([ARGUMENT, &node.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (words, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut control = Control { child, words, answers };
        assert_eq!(control.line(), "ready", "the control peers are not let in");
        control
    }

    /// What they see counts from now on.
    pub(crate) fn begin(&mut self) {
        let _ = self.words.write_all(b"begin\n");
    }

    /// What they have seen since.
    pub(crate) fn seen(&mut self) -> Seen {
        let _ = self.words.write_all(b"seen\n");
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.answers.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Default)]
struct Book {
    asked: BTreeMap<i64, Instant>,
    answered: Vec<Duration>,
    sent: BTreeMap<Hash, Instant>,
    came: Vec<Duration>,
    late: Vec<Duration>,
    pool: Vec<Hash>,
    lost: Option<String>,
}

impl Book {
    fn begin(&mut self) {
        let (pool, lost) = (std::mem::take(&mut self.pool), self.lost.take());
        *self = Book { pool, lost, ..Book::default() };
    }

    fn seen(&self) -> Seen {
        let now = Instant::now();
        // What is still under way took at least so long.
        let waiting = |since: &Instant| now.duration_since(*since);
        let mut pings: Vec<Duration> = self.answered.clone();
        pings.extend(self.asked.values().map(waiting));
        let mut ways: Vec<Duration> = self.came.clone();
        let under_way: Vec<Duration> = self.sent.values().map(waiting).collect();
        // One that was sent a moment ago is neither here nor missed.
        let missed = under_way.iter().filter(|way| **way > DELIVERY).count();
        let delivered = ways.iter().filter(|way| **way <= DELIVERY).count();
        let sent = ways.len() + missed;
        ways.extend(under_way.into_iter().filter(|way| *way > DELIVERY));
        let (pings, ways, late) = (sorted(pings), sorted(ways), sorted(self.late.clone()));
        Seen {
            pings: pings.len(),
            ping_p50: quantile(&pings, 0.5),
            ping_p99: quantile(&pings, 0.99),
            ping_max: quantile(&pings, 1.0),
            sent,
            delivered,
            slowest: quantile(&ways, 1.0),
            late_p99: quantile(&late, 0.99),
            late_max: quantile(&late, 1.0),
            lost: self.lost.clone(),
        }
    }
}

fn sorted(values: Vec<Duration>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().map(|value| value.as_secs_f64() * 1000.0).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    let value = sorted.get(at.saturating_sub(1)).copied().unwrap_or_default();
    (value * 100.0).round() / 100.0
}

/// One of the two: its line for writing; a thread of its own reads.
struct Peer {
    line: Arc<Mutex<std::net::TcpStream>>,
}

impl Peer {
    fn open(node: SocketAddr, index: usize, book: &Arc<Mutex<Book>>) -> Result<Peer, String> {
        let greeting = Greeting::of(format!("control-{index}"));
        let stranger = Stranger::greet(node, honest(index), &greeting, Duration::from_secs(10))?;
        let (stream, rest) = stranger.into_blocking().map_err(|error| error.to_string())?;
        // A node that does not read must not keep the timer.
        stream.set_write_timeout(Some(Duration::from_secs(1))).map_err(|error| error.to_string())?;
        let reader = stream.try_clone().map_err(|error| error.to_string())?;
        let line = Arc::new(Mutex::new(stream));
        let (answers, book) = (Arc::clone(&line), Arc::clone(book));
        thread::spawn(move || listen(reader, rest, &answers, &book));
        Ok(Peer { line })
    }

    fn say(&self, message: &Message<'_>) {
        // Whoever reads notices that the connection is over.
        let _ = self.line.lock().unwrap().write_all(&words::frame(message));
    }
}

fn listen(
    mut stream: std::net::TcpStream,
    mut inbox: Vec<u8>,
    answers: &Mutex<std::net::TcpStream>,
    book: &Mutex<Book>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut taken = 0;
        while let Some(Parse::Complete { kind, payload, rest }) =
            inbox.get(taken..).map(|input| frame::parse(input, FrameRules::version(2)))
        {
            let message = Kind::from_byte(kind).and_then(|kind| Message::decode(kind, payload).ok());
            // The book is closed before the answer is written: that may wait, and the timer must not.
            let answer = message.and_then(|message| hear(&message, &mut book.lock().unwrap()));
            if let Some(answer) = answer {
                let _ = answers.lock().unwrap().write_all(&answer);
            }
            taken = inbox.len() - rest.len();
        }
        inbox.drain(..taken);
        match stream.read(&mut buffer) {
            Ok(0) => return lose(book, "closed"),
            Ok(count) => inbox.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) => return lose(book, &error.to_string()),
        }
    }
}

fn lose(book: &Mutex<Book>, why: &str) {
    book.lock().unwrap().lost.get_or_insert_with(|| why.to_owned());
}

fn hear(message: &Message<'_>, book: &mut Book) -> Option<Bytes> {
    let now = Instant::now();
    match message {
        Message::Pong(pong) => {
            if let Some(asked) = book.asked.remove(&pong.nonce) {
                book.answered.push(now.duration_since(asked));
            }
            None
        }
        Message::Transaction(bytes) => {
            let id = transaction::id(bytes);
            book.pool.push(id);
            if let Some(sent) = book.sent.remove(&id) {
                book.came.push(now.duration_since(sent));
            }
            None
        }
        Message::TxPoolRequest(_) => {
            let pool = book.pool.iter().rev().take(TOLD).copied().collect();
            Some(words::frame(&Message::TxPool(pool)))
        }
        Message::Error(text) => {
            book.lost.get_or_insert_with(|| format!("the node said: {text}"));
            None
        }
        message => courtesy(message),
    }
}

fn questions() -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

/// The process: until its standard input ends.
///
/// # Errors
///
/// Why the node does not let them in.
pub(crate) fn run(node: SocketAddr) -> Result<(), String> {
    let book = Arc::new(Mutex::new(Book::default()));
    let peers = [Peer::open(node, 0, &book)?, Peer::open(node, 1, &book)?];
    println!("ready");
    let questions = questions();
    let (mut nonce, mut due) = (0, Instant::now());
    let begun = words::now().as_millis();
    for round in 0u64.. {
        due += INTERVAL;
        let wait = due.saturating_duration_since(Instant::now());
        thread::sleep(wait);
        book.lock().unwrap().late.push(due.elapsed());
        for peer in &peers {
            nonce += 1;
            book.lock().unwrap().asked.insert(nonce, Instant::now());
            peer.say(&Message::Ping(Ping { nonce, unix_millis: words::now().as_millis() }));
        }
        let [one, _] = &peers;
        if round % PINGS_PER_TRANSACTION == 0 {
            let bytes = transfer("control", &format!("at {begun}"), round);
            book.lock().unwrap().sent.insert(transaction::id(&bytes), Instant::now());
            book.lock().unwrap().pool.push(transaction::id(&bytes));
            one.say(&Message::Transaction(&bytes));
        }
        loop {
            match questions.try_recv().as_deref() {
                Ok("begin") => book.lock().unwrap().begin(),
                Ok(_) => {
                    let seen = book.lock().unwrap().seen();
                    println!("{}", serde_json::to_string(&seen).map_err(|error| error.to_string())?);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
    Ok(())
}
