//! Every limit of the pipes and the loop, each with its reason, and the relations between them that must hold.
//!
//! A limit that an embedder may move is a default here and a field of [`crate::driver::Config`]; the others are constants
//! because nothing good comes from moving them.

use core::time::Duration;

use crate::wire::frame::{HEADER_LEN, MAX_PAYLOAD};
use crate::wire::pieces::{FIRST_LEN, MAX_PIECE, MIN_PIECE_DATA};

/// A frame of more bytes than this, header included, gets a buffer of its own, so that it is read straight into the
/// memory it will be given away in. Below it, copying an unfinished tail costs less than another allocation.
pub const LARGE_FRAME: usize = 64 * 1024;

/// The first size of a large frame's buffer; it doubles from here as bytes arrive. It is also all that a peer gains in
/// memory beyond twice what it really sent, or four times while what it sent moves to a larger buffer.
pub const LARGE_FRAME_STEP: usize = 64 * 1024;
/// A large frame's buffer up to this size moves at once to one of twice the size, when it is full. One above it begins to move
/// when a quarter is left, a piece with each read: a page that is touched for the first time costs up to ten microseconds on a
/// virtual machine, and a buffer of 16 MiB has four thousand.
pub const MOVED_AT_ONCE: usize = 512 * 1024;
/// Bytes of such a move for each byte that arrives. Four are enough to be done when the smaller buffer is full.
pub const MOVED_PER_BYTE: usize = 4;
/// Fresh memory that one read of a large frame touches at most, besides what is moved.
pub const FRESH_BYTES: usize = 256 * 1024;

/// Small frames that wait to be sent are packed into chunks of at most this many bytes: large enough that four of them
/// fill a vectored write, small enough that one half-used chunk is no loss.
pub const CHUNK: usize = 64 * 1024;

/// The first size of a chunk that does not come from the pool: one heartbeat for each of ten thousand peers stays small.
pub const CHUNK_START: usize = 256;

/// Payloads of at least this many bytes leave from the memory they were given in; a copy of fewer costs less than the
/// two extra slices of a vectored write.
pub const SHARE_FROM: usize = 8 * 1024;

/// Between two sides that agreed on it, payloads above this many bytes leave in pieces. Below it there is little to wait for.
pub const CUT_FROM: usize = 64 * 1024;
/// Bytes of a payload in each piece but the last: what is urgent waits for so many at most, a third of a second on a line of 50
/// kB/s. As many as a record of TLS holds.
pub const PIECE_DATA: usize = 16 * 1024;

/// The largest payload that the loop compresses: it takes about four milliseconds.
#[cfg(feature = "lz4")]
pub const COMPRESSED_MAX: usize = 512 * 1024;
/// Payloads of which the loop remembers, until the end of a turn, what they were compressed to.
#[cfg(feature = "lz4")]
pub const PACKED_KEPT: usize = 4;
/// Bytes that are compressed for one unit of work, and expanded.
#[cfg(feature = "lz4")]
pub const COMPRESS_BYTES_PER_WORK: usize = 24;
/// See [`COMPRESS_BYTES_PER_WORK`].
#[cfg(feature = "lz4")]
pub const EXPAND_BYTES_PER_WORK: usize = 80;

/// Slices in one vectored write: as many as [`WRITE_BYTES`] of the smallest shared payloads need.
pub const WRITE_SLICES: usize = 64;

/// Bytes after which a vectored write takes no further segment: what a loopback socket takes at once.
pub const WRITE_BYTES: usize = 256 * 1024;

/// Copies are made in steps of this many bytes: a long copy whose target lies a few bytes past its source, modulo the
/// page, runs many times slower on current processors.
pub const COPY_STEP: usize = 2 * 1024;

/// Empty chunks that the loop keeps: 2 MiB at most, enough for eight senders at their high marks.
pub const POOL_CHUNKS: usize = 32;

/// Buffers of finished large frames that the loop keeps, and the largest one worth keeping. Fresh pages cost more than
/// the read that fills them.
pub const POOL_LARGE: usize = 2;
/// See [`POOL_LARGE`].
pub const POOL_LARGE_BYTES: usize = 2 * 1024 * 1024;

/// Shared payloads of at least this many bytes are charged once to the send budget, however many queues hold them.
pub const LEDGER_FROM: usize = 64 * 1024;

/// Bytes queued to one connection beyond which frames are refused or dropped: one frame of the largest size and half of
/// another.
pub const OUTBOX_HARD: usize = 24 * 1024 * 1024;
/// Bytes queued to one connection from which its sender should wait: the high watermark of backpressure. As much as one
/// vectored write takes: with several times that, chunks have left the processor's second cache level before they are written.
/// A larger frame passes it, as it does any mark.
pub const OUTBOX_HIGH: usize = WRITE_BYTES;
/// Bytes queued at which a sender that waits is told to go on: the low watermark. One chunk, so that the socket has something
/// to take until the queue is filled again.
pub const OUTBOX_LOW: usize = CHUNK;

/// Bytes of a TLS handshake in each direction, and of TLS's own messages between two of the peer's frames: several times
/// what two nodes need with post-quantum keys, and room for a short chain of a private authority.
pub const HANDSHAKE_BYTES: usize = 16 * 1024;
/// How long a connection may take until TLS stands, the connecting included.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Inbound connections whose TLS handshake is under way.
pub const TLS_PENDING: usize = 64;
/// Sockets that wait for one of these places, where nobody crowds more than they do: with them, more friends than a node has
/// places may dial at the same moment.
pub const TLS_BACKLOG: usize = 256;
/// Sockets that wait until the protocol has a place for them, where nobody crowds more than they do.
pub const ADMIT_WAITING: usize = 128;
/// How long they wait at most: half of what a dialer gives a greeting.
pub const ADMIT_WAIT: Duration = Duration::from_secs(5);
/// How long after a question about the first of them there is no other one, whatever happens.
pub const ADMIT_PAUSE: Duration = Duration::from_millis(1);
/// When the protocol is asked again though nothing has happened: somebody may have been silent for too long.
pub const ADMIT_RETRY: Duration = Duration::from_millis(250);
/// How long a handshake under way may say nothing while others wait for its place: a hello follows its connection at once, unless
/// it is lost and sent again.
pub const TLS_SILENCE: Duration = Duration::from_secs(1);
/// TLS handshakes begun by others each second. Each costs about 0.4 ms of a core, and an attacker's side need not pay: this is
/// a twelfth of a core, and four times what a node admits of strangers.
pub const TLS_RATE: u32 = 200;
/// The same at once.
pub const TLS_BURST: u32 = 256;
/// The same from one address, each second and at once.
pub const TLS_RATE_PER_IP: u32 = 20;
/// See [`TLS_RATE_PER_IP`].
pub const TLS_BURST_PER_IP: u32 = 64;
/// The same from one subnet, each second and at once.
pub const TLS_RATE_PER_SUBNET: u32 = 50;
/// See [`TLS_RATE_PER_SUBNET`].
pub const TLS_BURST_PER_SUBNET: u32 = 128;
/// How long a handshake for which there is no budget waits before it is looked at again.
pub const TLS_RETRY: Duration = Duration::from_millis(10);

/// The loop's one read buffer, in bytes.
pub const READ_BUFFER: usize = 256 * 1024;
/// Bytes of a large frame's payload that are there when it is first looked at: more than a header of a block takes on any chain that
/// is known here.
pub const FRAME_START: usize = 4 * 1024;
/// Bytes read from one connection in one turn.
pub const TURN_BYTES: usize = 256 * 1024;
/// Frames delivered from one connection in one turn.
pub const TURN_FRAMES: usize = 8192;
/// Bytes written to one connection in one turn, so that a fast reader does not hold the loop.
pub const TURN_WRITE_BYTES: usize = 1024 * 1024;
/// Connections accepted from one listener in one turn.
pub const TURN_ACCEPTS: usize = 64;
/// Work is counted in units, so that it can be bounded and shared without a look at a clock: one is about what a look-up in a large
/// table takes, or a hash of 64 bytes, which is a fifth of a microsecond on a slow core of today. This many may one connection
/// cause in one turn: 5 ms.
pub const TURN_WORK: u32 = 25_000;
/// Units that all connections together may cause before a turn flushes and looks at the timers: 20 ms, as [`TURN_TIME`].
pub const LOOP_WORK: u32 = 100_000;
/// Where many connections wait for service, each has an equal part of [`LOOP_WORK`] in a turn, but no less than this: a fifth of a
/// millisecond.
pub const SLICE_WORK_MIN: u32 = 1_000;
/// Units in one slice from which on they are noted: whoever causes less waits behind nobody.
pub const WORK_NOTICED: u64 = 500;
/// What a source has used is forgotten at this many units in a microsecond, shared by all of which something is noted: half of
/// what a core does.
pub const WORK_DRAINED_PER_MICRO: u64 = 2;
/// No more than this is remembered of a source: five seconds of a core, so that nobody is last for ever.
pub const WORK_REMEMBERED: u64 = 25_000_000;
/// Units that a TLS record costs besides its bytes: its key schedule, its tag and the calls around them.
pub const RECORD_WORK: u32 = 8;
/// Bytes of a TLS record that cost one unit.
pub const RECORD_BYTES_PER_UNIT: usize = 256;
/// Units that a WebSocket frame costs besides its bytes.
pub const WS_FRAME_WORK: u32 = 1;
/// Bytes in WebSocket frames that cost one unit: the mask.
pub const WS_BYTES_PER_UNIT: usize = 2048;
/// A WebSocket that was quiet for so long in our direction gets a ping: proxies cut what is quiet for 30 seconds.
pub const WS_PING_AFTER: Duration = Duration::from_secs(25);
/// How long a turn serves sockets before it flushes and looks at the timers; the rest is served next turn.
pub const TURN_TIME: Duration = Duration::from_millis(20);

/// How long a loop looks for work before it sleeps, at most. Being woken costs about half of it on a virtual
/// machine, on both sides of the wake-up.
pub const SPIN: Duration = Duration::from_micros(100);
/// The first such look after a short sleep.
pub const SPIN_START: Duration = Duration::from_micros(10);
/// Such a loop offers its core to other threads. Below this time nobody took it: the call alone takes about half of it.
pub const YIELD_ALONE: Duration = Duration::from_nanos(1500);
/// So many looks make no offer after one that nobody took: a few microseconds.
pub const LOOKS_ALONE: u32 = 15;

/// Connections of one loop, dials included.
pub const CONNECTIONS: usize = 1024;
/// Connections that the kernel completes before they are accepted.
pub const BACKLOG: i32 = 1024;
/// Commands from handles that wait for the loop.
pub const COMMANDS: usize = 1024;

/// Memory for unfinished and undelivered frames, over all connections.
pub const RECEIVE_BUDGET: usize = 256 * 1024 * 1024;
/// Memory for queued frames, over all connections.
pub const SEND_BUDGET: usize = 256 * 1024 * 1024;
/// How long a connection that met the receive budget waits before it is read again.
pub const RECEIVE_RETRY: Duration = Duration::from_millis(50);
/// How long one connection may read a large frame above the receive budget before another one that waits has its turn.
pub const RECEIVE_TURN: Duration = Duration::from_millis(500);
/// How long a peer may read nothing of what is queued for it, while the send budget is short and others wait for room.
pub const SCARCE_WRITE_STALL: Duration = Duration::from_secs(5);
/// How often a connection that met the send budget is told to try again, one at a time.
pub const SEND_RETRY: Duration = Duration::from_millis(50);

/// No byte written for this long while something is queued: the peer does not read.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// No byte of an unfinished frame for this long: the peer does not write.
pub const FRAME_STALL: Duration = Duration::from_secs(30);
/// A frame's time in all is [`FRAME_STALL`] and its length at this many bytes per second.
pub const FRAME_RATE: u64 = 64 * 1024;
/// How long the alert may take that says why a peer's TLS was refused: to leave, and to be read before bytes that still arrive
/// turn into a reset that destroys it.
pub const LINGER: Duration = Duration::from_millis(250);
/// How long a connection may still be written whose peer has ended its direction: the answers of a turn or two over a slow line,
/// and not as long as one that does not read may keep its place otherwise.
pub const HALF_CLOSE_DRAIN: Duration = Duration::from_secs(10);
/// How long connections may flush when the loop stops.
pub const STOP_DRAIN: Duration = Duration::from_secs(3);
/// The first pause after `accept` ran out of descriptors or memory; it doubles to [`ACCEPT_PAUSE_MAX`].
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// See [`ACCEPT_PAUSE`].
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

const _: () = {
    assert!(SLICE_WORK_MIN as u64 >= WORK_NOTICED && SLICE_WORK_MIN <= TURN_WORK);
    assert!(TURN_WORK <= LOOP_WORK && WORK_NOTICED < TURN_WORK as u64 && WORK_REMEMBERED > LOOP_WORK as u64);
    assert!(OUTBOX_LOW < OUTBOX_HIGH && OUTBOX_HIGH < OUTBOX_HARD);
    assert!(OUTBOX_HARD > MAX_PAYLOAD as usize + HEADER_LEN, "every frame fits an empty queue");
    assert!(SHARE_FROM + HEADER_LEN <= CHUNK, "what is not shared is packed");
    assert!(CUT_FROM >= PIECE_DATA && CUT_FROM >= SHARE_FROM, "what is cut has two pieces, and is shared");
    assert!(PIECE_DATA >= MIN_PIECE_DATA && PIECE_DATA + FIRST_LEN <= MAX_PIECE as usize);
    assert!(MAX_PIECE as usize + HEADER_LEN <= LARGE_FRAME, "a piece is no large frame");
    assert!(MIN_PIECE_DATA >= FRAME_START, "how a frame begins is in its first piece");
    assert!(LARGE_FRAME_STEP <= LARGE_FRAME && LARGE_FRAME_STEP <= MOVED_AT_ONCE);
    assert!(MOVED_PER_BYTE >= 4, "a quarter that arrives moves the whole");
    assert!(SEND_BUDGET > OUTBOX_HARD && RECEIVE_BUDGET > MAX_PAYLOAD as usize);
    assert!(WRITE_SLICES / 2 * SHARE_FROM >= WRITE_BYTES, "a write is full before its slices are used up");
    assert!(HALF_CLOSE_DRAIN.as_secs() < WRITE_STALL.as_secs());
    assert!(WRITE_SLICES * CHUNK >= WRITE_BYTES);
};
