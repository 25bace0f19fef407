// Without a node: `node test/offline.mjs`. A socket that is played here says what an honest node says, and what none may.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { SpacetimeClient, encodeTransaction, fromHex, hasWork, readBlock, readHeader, readTransaction, sha256, toHex } from '../spacetime.js';

const hash = (bytes) => createHash('sha256').update(bytes).digest();
for (let length = 0; length < 300; length++) {
  const bytes = Uint8Array.from({ length }, (_, n) => n * 7);
  assert.equal(toHex(sha256(bytes)), hash(bytes).toString('hex'));
}
assert.throws(() => readTransaction(encodeTransaction({ from: 'a', to: 'b', amount: 1 }).subarray(1)));
assert.throws(() => fromHex('0x'));

/** A block with its work, of difficulty 1. */
function mine(height, previous, names) {
  const transactions = names.map((name, nonce) => Buffer.from(encodeTransaction({ from: 'network', to: name, amount: 50, time: height, nonce: BigInt(nonce) })));
  const root = (ids) => {
    if (ids.length === 1) return hash(Buffer.concat([Buffer.of(0), ids[0]]));
    let half = 1;
    while (half * 2 < ids.length) half *= 2;
    return hash(Buffer.concat([Buffer.of(1), root(ids.slice(0, half)), root(ids.slice(half))]));
  };
  const header = Buffer.alloc(93);
  header.writeUInt32LE(1, 0);
  header.writeBigUInt64LE(BigInt(height), 4);
  Buffer.from(previous, 'hex').copy(header, 12);
  root(transactions.map(hash)).copy(header, 44);
  header.writeBigInt64LE(BigInt(height), 76);
  header.writeUInt8(1, 84);
  for (let nonce = 0n; ; nonce++) {
    header.writeBigUInt64LE(nonce, 85);
    if (hash(header).toString('hex').startsWith('0')) break;
  }
  const parts = [header, u32(transactions.length)];
  for (const one of transactions) parts.push(u32(one.length), one);
  return { header, bytes: Buffer.concat(parts), hash: hash(header).toString('hex') };
}
const u32 = (value) => { const bytes = Buffer.alloc(4); bytes.writeUInt32LE(value); return bytes; };

const network = 'ab'.repeat(32);
const chain = [];
for (let height = 1; height <= 5; height++) chain.push(mine(height, chain.at(-1)?.hash ?? network, ['ann', 'bob', 'päul'].slice(0, 1 + height % 3)));
const block = readBlock(chain[1].bytes);
assert.equal(block.hash, chain[1].hash);
assert.ok(hasWork(readHeader(chain[1].header)));
const spoiled = Buffer.from(chain[1].bytes);
spoiled[spoiled.length - 1] ^= 1;
assert.throws(() => readBlock(spoiled), /commits/);

/** What the client dials: the last one made is `FakeSocket.last`. Frames come cut and packed. */
class FakeSocket {
  constructor() { FakeSocket.last = this; this.heard = []; queueMicrotask(() => this.onopen()); }
  send(bytes) {
    const frame = Buffer.from(bytes);
    assert.equal(frame.readUInt32LE(0), frame.length - 4, 'a message is a frame');
    this.heard.push(frame);
    FakeSocket.answer?.(this, frame[4], frame.subarray(5));
  }
  say(type, payload, cut = 7) {
    const frame = Buffer.concat([u32(payload.length + 1), Buffer.of(type), payload]);
    for (let at = 0; at < frame.length; at += cut) this.onmessage({ data: Uint8Array.from(frame.subarray(at, at + cut)).buffer });
  }
  close(code) { this.code = code; }
}
const ack = (id) => {
  const [name, agent] = [Buffer.from(id), Buffer.from('test/1')];
  const time = Buffer.alloc(8), best = Buffer.alloc(8);
  best.writeBigUInt64LE(BigInt(chain.length));
  const body = Buffer.concat([Buffer.from(network, 'hex'), Buffer.alloc(8 + 2 + 8), best, Buffer.from(chain.at(-1).hash, 'hex')]);
  return Buffer.concat([u32(2), time, u32(name.length), name, u32(agent.length), agent, Buffer.from('STX2'), Buffer.of(90, 0), body]);
};
const headers = (all) => Buffer.concat([u32(all.length), ...all.flatMap((one) => [u32(93), one.header])]);
FakeSocket.answer = (socket, type, payload) => {
  if (type === 0x01) socket.say(0x02, ack('node'), 1000);
  if (type === 0x04) socket.say(0x05, Buffer.from(payload));
  if (type === 0x22) {
    const found = chain.find((one) => one.hash === payload.toString('hex'));
    found ? socket.say(0x23, found.bytes) : socket.say(0x24, Buffer.from(payload));
  }
  if (type === 0x20) {
    const from = chain.findIndex((one) => one.hash === payload.toString('hex', 0, 32));
    socket.say(0x21, headers(chain.slice(from + 1)));
  }
};

const client = new SpacetimeClient('ws://node/', { network, difficulty: 1, WebSocket: FakeSocket });
const tips = [];
client.addEventListener('tip', ({ detail }) => tips.push(detail.height));
const greeting = await client.connect();
assert.deepEqual([greeting.nodeId, greeting.version, greeting.best.height], ['node', 2, 5]);
while (client.tip.height < 5) await new Promise((resolve) => setTimeout(resolve, 1));
assert.deepEqual(tips, [5]);
assert.ok(await client.ping() >= 0);
assert.equal((await client.block(chain[2].hash)).transactions[0].to, 'ann');
await assert.rejects(client.block('cd'.repeat(32)), /does not have it/);
const sent = client.sendTransaction({ from: 'ann', to: 'bob', amount: 3n });
const frame = FakeSocket.last.heard.at(-1);
assert.deepEqual([frame[4], hash(frame.subarray(5)).toString('hex')], [0x30, sent]);

// A block that hangs from the tip, and two behind it of which one was missed.
chain.push(mine(6, chain.at(-1).hash, ['ann']));
FakeSocket.last.say(0x31, chain.at(-1).bytes);
assert.equal(client.tip.height, 6);
chain.push(mine(7, chain.at(-1).hash, ['bob']), mine(8, mine(7, chain.at(-1).hash, ['bob']).hash, ['ann']));
FakeSocket.last.say(0x21, headers(chain.slice(-1)));
while (client.tip.height < 8) await new Promise((resolve) => setTimeout(resolve, 1));
assert.equal(client.chain.length, 9);
// A longer branch takes its place.
const branch = [];
for (let height = 7; height <= 10; height++) branch.push(mine(height, branch.at(-1)?.hash ?? chain[5].hash, ['eve']));
FakeSocket.last.say(0x21, headers(branch));
assert.deepEqual([client.tip.hash, client.chain[7]], [branch.at(-1).hash, branch[0].hash]);

// What no node may say ends the connection, and it is dialed again.
const first = FakeSocket.last;
const lost = new Promise((resolve) => client.addEventListener('lost', ({ detail }) => resolve(detail), { once: true }));
const cheap = Buffer.from(branch.at(-1).header);
do cheap[90]++; while (hash(cheap).toString('hex').startsWith('0'));
first.say(0x31, Buffer.concat([cheap, u32(0)]));
const { reason, again } = await lost;
assert.match(reason, /without its work/);
assert.ok(again > 0 && first.code === 4000);
await new Promise((resolve) => client.addEventListener('open', resolve, { once: true }));
assert.notEqual(FakeSocket.last, first);
client.close();
assert.throws(() => client.sendTransaction({ from: 'a', to: 'b', amount: 1 }), /not connected/);

// Another network is left at once.
const other = new SpacetimeClient('ws://node/', { network: 'cd'.repeat(32), difficulty: 1, WebSocket: FakeSocket });
await assert.rejects(other.connect(), /wrong network/);
other.close();
console.log('ok');
