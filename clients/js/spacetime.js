// A client of spacetime nodes over WebSocket, for browsers and Node.js, without dependencies.
//
// It greets as a peer of version 2, checks every header by its proof of work and its links, follows the tip, asks for blocks and
// sends transactions. What it believes of the chain it has checked itself; of a block's content it checks that the header commits
// to it. src/wire/protocol.md says every byte.

const HANDSHAKE = 0x01, ACK = 0x02, HEARTBEAT = 0x03, PING = 0x04, PONG = 0x05, GET_PEERS = 0x10, PEERS = 0x11;
const GET_HEADERS = 0x20, HEADERS = 0x21, GET_BLOCK = 0x22, BLOCK = 0x23, NOT_FOUND = 0x24, TRANSACTION = 0x30;
const NEW_BLOCK = 0x31, TX_POOL_REQUEST = 0x32, TX_POOL = 0x33, ERROR = 0xff;

const HEADER_LENGTH = 93, HEADERS_MAX = 2000, FRAME_MAX = 16 * 1024 * 1024;
const HEARTBEAT_EVERY = 30_000, ANSWER_WITHIN = 30_000, BACK_OFF_FIRST = 1_000, BACK_OFF_MAX = 60_000;

const encoder = new TextEncoder(), decoder = new TextDecoder('utf-8', { fatal: true });

/** Bytes as lower-case hexadecimal digits. */
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Hexadecimal digits as bytes. */
export function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new TypeError('not hexadecimal');
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

const ROUNDS = new Uint32Array(64), START = new Uint32Array(8);
for (let prime = 2, found = 0; found < 64; prime++) {
  if ([...Array(prime).keys()].slice(2).some((n) => prime % n === 0)) continue;
  const fraction = (root) => (root - Math.floor(root)) * 2 ** 32;
  if (found < 8) START[found] = fraction(Math.sqrt(prime));
  ROUNDS[found++] = fraction(Math.cbrt(prime));
}

/** SHA-256. By hand, for pages without TLS have no other, and a header must be checked at once. */
export function sha256(bytes) {
  const padded = new Uint8Array((bytes.length + 72) & ~63), words = new Uint32Array(64), state = START.slice();
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
  const turn = (word, by) => (word >>> by) | (word << (32 - by));
  for (let at = 0; at < padded.length; at += 64) {
    for (let n = 0; n < 64; n++) {
      if (n < 16) { words[n] = view.getUint32(at + 4 * n); continue; }
      const x = words[n - 15], y = words[n - 2];
      words[n] = words[n - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + words[n - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let n = 0; n < 64; n++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[n] + words[n]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, n) => { state[n] += word; });
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((word, n) => out.setUint32(4 * n, word));
  return new Uint8Array(out.buffer);
}

/** Reads little-endian numbers; throws where bytes are missing. */
class Reader {
  constructor(bytes) { this.bytes = bytes; this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length); this.at = 0; }
  take(count) {
    if (count < 0 || count > this.bytes.length - this.at) throw new RangeError('truncated');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  u8() { return this.take(1)[0]; }
  u16() { this.take(2); return this.view.getUint16(this.at - 2, true); }
  u32() { this.take(4); return this.view.getUint32(this.at - 4, true); }
  i32() { this.take(4); return this.view.getInt32(this.at - 4, true); }
  u64() { this.take(8); return this.view.getBigUint64(this.at - 8, true); }
  i64() { this.take(8); return this.view.getBigInt64(this.at - 8, true); }
  text(count) { return decoder.decode(this.take(count)); }
  end() { if (this.at !== this.bytes.length) throw new RangeError('bytes are left over'); }
}

const number = (bytes, set, value) => { const view = new DataView(new ArrayBuffer(bytes)); view[set](0, value, true); return new Uint8Array(view.buffer); };
const u8 = (value) => Uint8Array.of(value), u16 = (value) => number(2, 'setUint16', value), u32 = (value) => number(4, 'setUint32', value);
const u64 = (value) => number(8, 'setBigUint64', BigInt(value)), i64 = (value) => number(8, 'setBigInt64', BigInt(value));

function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
}

/** Reads a header and hashes it. */
export function readHeader(bytes) {
  if (bytes.length !== HEADER_LENGTH) throw new RangeError('a header has 93 bytes');
  const from = new Reader(bytes);
  if (from.u32() !== 1) throw new RangeError('a header of another version');
  const [height, previous, root] = [Number(from.u64()), toHex(from.take(32)), toHex(from.take(32))];
  const [time, difficulty, nonce] = [Number(from.i64()), from.u8(), from.u64()];
  return { height, previous, root, time, difficulty, nonce, hash: toHex(sha256(bytes)) };
}

/** Is the work done that the header claims? */
export const hasWork = (header) => header.hash.startsWith('0'.repeat(header.difficulty));

/** The bytes of a transaction. */
export function encodeTransaction({ from, to, amount, time = Date.now(), nonce = randomU64() }) {
  const name = (text) => { const bytes = encoder.encode(text); return join(u16(bytes.length), bytes); };
  if (!from || !to) throw new TypeError('a transaction has two names');
  return join(u8(1), name(from), name(to), u64(amount), i64(time), u64(nonce));
}

/** Reads a transaction; its id is the hash of its bytes. */
export function readTransaction(bytes) {
  const from = new Reader(bytes);
  if (from.u8() !== 1) throw new RangeError('a transaction of another version');
  const [sender, recipient] = [from.text(from.u16()), from.text(from.u16())];
  const transaction = { from: sender, to: recipient, amount: from.u64(), time: Number(from.i64()), nonce: from.u64(), id: toHex(sha256(bytes)) };
  from.end();
  return transaction;
}

/** The Merkle tree hash of RFC 6962 over ids. */
function merkleRoot(ids) {
  if (ids.length === 0) return sha256(new Uint8Array());
  if (ids.length === 1) return sha256(join(u8(0), ids[0]));
  let half = 1;
  while (half * 2 < ids.length) half *= 2;
  return sha256(join(u8(1), merkleRoot(ids.slice(0, half)), merkleRoot(ids.slice(half))));
}

/** Reads a block; throws if its header does not commit to what it holds. */
export function readBlock(bytes) {
  const from = new Reader(bytes), header = readHeader(from.take(HEADER_LENGTH)), transactions = [], ids = [];
  for (let left = from.u32(); left > 0; left--) {
    const raw = from.take(from.u32());
    ids.push(sha256(raw));
    transactions.push(readTransaction(raw));
  }
  from.end();
  if (toHex(merkleRoot(ids)) !== header.root) throw new RangeError('the block is not what its header commits to');
  return { ...header, transactions };
}

function randomU64() { return new DataView(crypto.getRandomValues(new Uint8Array(8)).buffer).getBigUint64(0); }

/**
 * A connection to one node that is kept: it dials again when it is lost, with back-off.
 *
 * Events: `open` (detail: who the node is), `tip` (detail: the header that the best chain ends with), `transaction`
 * (detail: one that the node passes on), `lost` (detail: why, and when it is dialed again).
 */
export class SpacetimeClient extends EventTarget {
  #socket = null; #received = new Uint8Array(); #wanted = new Map(); #timers = new Set(); #failures = 0; #closed = false; #greeted = false;

  /** `network` is the hash of the chain's genesis, `difficulty` the chain's. */
  constructor(url, { network, difficulty = 2, nodeId, userAgent = 'spacetime-js/0.1', WebSocket = globalThis.WebSocket }) {
    super();
    if (!/^[0-9a-f]{64}$/.test(network ?? '')) throw new TypeError('network: the hash of genesis, 64 hexadecimal digits');
    Object.assign(this, { url, network, difficulty, userAgent, WebSocket });
    this.nodeId = nodeId ?? `web-${toHex(crypto.getRandomValues(new Uint8Array(16)))}`;
    /** The hashes of the best chain as it was checked, from genesis on. */
    this.chain = [network];
    this.tip = { height: 0, hash: network };
  }

  /** Dials; the answer comes when the node has greeted back for the first time. */
  connect() {
    return new Promise((resolve, reject) => {
      this.addEventListener('open', (event) => resolve(event.detail), { once: true });
      this.addEventListener('lost', (event) => reject(new Error(event.detail.reason)), { once: true });
      this.#dial();
    });
  }

  /** Ends the connection and dials no more. */
  close() {
    this.#closed = true;
    this.#socket?.close(1000);
    this.#ended('closed');
    this.#timers.forEach(clearTimeout);
  }

  /** The round trip to the node, in milliseconds. */
  async ping() {
    const nonce = randomU64() >> 1n, began = performance.now();
    await this.#ask(`pong ${nonce}`, PING, join(i64(nonce), i64(Date.now())));
    return performance.now() - began;
  }

  /** Checked headers behind the first of these hashes that the node knows. */
  async headers(locators, max = HEADERS_MAX) {
    const [first, ...more] = locators.map(fromHex);
    const body = join(first, u8(0), u32(max), u16(more.length), ...more);
    while (this.#wanted.has('headers')) await this.#wanted.get('headers').settled;
    return this.#ask('headers', GET_HEADERS, body);
  }

  /** A block by its hash; rejects if the node has none. */
  block(hash) { return this.#ask(`block ${hash}`, GET_BLOCK, fromHex(hash)); }

  /** Gives the node a transaction; answers its id. What the node thinks of it, the next blocks say. */
  sendTransaction(transaction) {
    const bytes = encodeTransaction(transaction);
    this.#send(TRANSACTION, bytes);
    return toHex(sha256(bytes));
  }

  #dial() {
    const socket = new this.WebSocket(this.url);
    socket.binaryType = 'arraybuffer';
    [this.#socket, this.#received, this.#greeted] = [socket, new Uint8Array(), false];
    socket.onopen = () => this.#greet();
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      try {
        this.#receive(new Uint8Array(data));
      } catch (error) {
        socket.close(4000);
        this.#ended(`the node breaks the protocol: ${error.message}`);
      }
    };
    socket.onclose = ({ code, reason }) => { if (socket === this.#socket) this.#ended(reason || `closed with code ${code}`); };
  }

  #ended(reason) {
    if (!this.#socket) return;
    this.#socket = null;
    this.#timers.forEach(clearTimeout);
    this.#timers.clear();
    for (const { reject } of [...this.#wanted.values()]) reject(new Error(reason));
    this.#wanted.clear();
    const wait = Math.min(BACK_OFF_MAX, BACK_OFF_FIRST * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    if (!this.#closed) this.#later(wait, () => this.#dial());
    this.dispatchEvent(new CustomEvent('lost', { detail: { reason, again: this.#closed ? null : wait } }));
  }

  #later(wait, act) {
    const timer = setTimeout(() => { this.#timers.delete(timer); act(); }, wait);
    this.#timers.add(timer);
    return timer;
  }

  #greet() {
    const [id, agent] = [encoder.encode(this.nodeId), encoder.encode(this.userAgent)];
    const network = fromHex(this.network);
    const extension = join(network, u64(randomU64()), u16(0), u64(0), u64(0), network);
    const seconds = Math.floor(Date.now() / 1000);
    this.#write(HANDSHAKE, join(u32(2), i64(seconds), u32(id.length), id, u32(agent.length), agent, encoder.encode('STX2'), u16(extension.length), extension));
  }

  #write(type, payload = new Uint8Array()) { this.#socket.send(join(u32(payload.length + 1), u8(type), payload)); }

  #send(type, payload) {
    if (!this.#socket || !this.#greeted) throw new Error('not connected');
    this.#write(type, payload);
  }

  /** One question; its answer is found by `key`. */
  #ask(key, type, payload) {
    const known = this.#wanted.get(key);
    if (known) return known.settled;
    const wanted = {};
    wanted.settled = new Promise((resolve, reject) => {
      const timer = this.#later(ANSWER_WITHIN, () => wanted.reject(new Error('no answer in time')));
      const done = (settle) => (value) => { this.#wanted.delete(key); clearTimeout(timer); this.#timers.delete(timer); settle(value); };
      Object.assign(wanted, { resolve: done(resolve), reject: done(reject) });
    });
    this.#wanted.set(key, wanted);
    try { this.#send(type, payload); } catch (error) { wanted.reject(error); }
    return wanted.settled;
  }

  /** The byte stream in the messages, whatever their packing. */
  #receive(bytes) {
    this.#received = this.#received.length ? join(this.#received, bytes) : bytes;
    while (this.#received.length >= 5) {
      const length = new Reader(this.#received).u32();
      if (length < 1 || length > FRAME_MAX) throw new RangeError('bad frame length');
      if (this.#received.length < 4 + length) return;
      const [type, payload] = [this.#received[4], this.#received.slice(5, 4 + length)];
      this.#received = this.#received.subarray(4 + length);
      this.#on(type, payload, new Reader(payload));
      if (!this.#socket) return;
    }
  }

  #on(type, payload, from) {
    if (type === ERROR) return this.#fail(new TextDecoder().decode(payload));
    if (!this.#greeted) {
      if (type !== ACK) throw new RangeError('a frame before the greeting');
      return this.#onAck(from);
    }
    switch (type) {
      case PING: return this.#write(PONG, join(payload.slice(0, 8), i64(Date.now())));
      case PONG: return this.#wanted.get(`pong ${from.i64()}`)?.resolve();
      case HEADERS: return this.#onHeaders(from);
      case BLOCK: { const block = readBlock(payload); return this.#wanted.get(`block ${block.hash}`)?.resolve(block); }
      case NOT_FOUND: return this.#wanted.get(`block ${toHex(payload)}`)?.reject(new Error('the node does not have it'));
      case NEW_BLOCK: return this.#onAnnounced([readHeader(from.take(HEADER_LENGTH))]);
      case TRANSACTION: return this.dispatchEvent(new CustomEvent('transaction', { detail: readTransaction(payload) }));
      // We have nothing to give.
      case GET_PEERS: return this.#write(PEERS, u32(0));
      case GET_HEADERS: return this.#write(HEADERS, u32(0));
      case GET_BLOCK: return this.#write(NOT_FOUND, payload);
      case TX_POOL_REQUEST: return this.#write(TX_POOL, u32(0));
      default: return undefined;
    }
  }

  #fail(reason) {
    this.#socket?.close(1000);
    this.#ended(reason);
  }

  #onAck(from) {
    const version = from.i32();
    from.i64();
    const [nodeId, userAgent] = [from.text(from.i32()), from.text(from.i32())];
    if (version < 2 || from.text(4) !== 'STX2') throw new RangeError('the node does not speak version 2');
    from.u16();
    if (toHex(from.take(32)) !== this.network) return this.#fail('wrong network');
    from.take(8 + 2 + 8);
    const best = { height: Number(from.u64()), hash: toHex(from.take(32)) };
    [this.#greeted, this.#failures] = [true, 0];
    const beat = () => { this.#write(HEARTBEAT); this.#later(HEARTBEAT_EVERY, beat); };
    this.#later(HEARTBEAT_EVERY, beat);
    this.dispatchEvent(new CustomEvent('open', { detail: { nodeId, userAgent, version, best } }));
    if (best.height > this.tip.height || best.hash !== this.tip.hash) this.#catchUp();
  }

  /** Headers that were asked for, or the word of a new tip. All are checked for their work and their links. */
  #onHeaders(from) {
    const headers = [];
    for (let left = from.i32(); left > 0; left--) headers.push(readHeader(from.take(from.i32())));
    headers.forEach((header, n) => {
      if (n > 0 && header.previous !== headers[n - 1].hash) throw new RangeError('headers that do not link');
      this.#check(header);
    });
    const wanted = this.#wanted.get('headers');
    if (wanted) wanted.resolve(headers); else this.#onAnnounced(headers);
  }

  #check(header) {
    if (header.difficulty !== this.difficulty || !hasWork(header)) throw new RangeError('a header without its work');
  }

  #onAnnounced(headers) {
    headers.forEach((header) => this.#check(header));
    if (headers.length > 0 && !this.#extend(headers)) this.#catchUp();
  }

  /** Puts checked headers onto the chain, if that makes it longer. False when they hang from nothing known. */
  #extend(headers) {
    const base = headers[0].height - 1, last = headers.at(-1);
    if (this.chain[base] !== headers[0].previous) return this.chain[last.height] === last.hash;
    if (headers.some((header, n) => header.height !== base + 1 + n)) throw new RangeError('a header of the wrong height');
    if (last.height <= this.tip.height) return true;
    this.chain.length = base + 1;
    this.chain.push(...headers.map((header) => header.hash));
    this.tip = last;
    this.dispatchEvent(new CustomEvent('tip', { detail: last }));
    return true;
  }

  /** Asks for headers until there are no more. Of a node that does not answer, its silence is told elsewhere. */
  async #catchUp() {
    if (this.#wanted.has('catching up')) return;
    this.#wanted.set('catching up', { reject() {} });
    try {
      for (;;) {
        const locators = [];
        for (let at = this.chain.length - 1, step = 1; at > 0 && locators.length < 60; at -= step) {
          locators.push(this.chain[at]);
          if (locators.length > 8) step *= 2;
        }
        const headers = await this.headers([...locators, this.network]);
        if (headers.length === 0 || !this.#extend(headers) || headers.length < HEADERS_MAX) return;
      }
    } catch (error) {
      if (this.#socket && this.#greeted) this.#fail(error.message);
    } finally {
      this.#wanted.delete('catching up');
    }
  }
}
