// Against a running node: `node --experimental-websocket test/node.mjs URL NETWORK`. Says JSON lines; ends with 0 when all went well.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { SpacetimeClient, encodeTransaction, readTransaction, sha256, toHex } from '../spacetime.js';

if (typeof WebSocket === 'undefined') {
  console.log('no WebSocket');
  process.exit(0);
}
const [url, network] = process.argv.slice(2);

for (let length = 0; length < 300; length++) {
  const bytes = Uint8Array.from({ length }, (_, n) => n * 7);
  assert.equal(toHex(sha256(bytes)), createHash('sha256').update(bytes).digest('hex'));
}
assert.throws(() => readTransaction(encodeTransaction({ from: 'a', to: 'b', amount: 1 }).subarray(1)));

const other = new SpacetimeClient(url, { network: 'ab'.repeat(32) });
await assert.rejects(other.connect());
other.close();

const client = new SpacetimeClient(url, { network });
const tips = [];
client.addEventListener('tip', ({ detail }) => {
  tips.push(detail);
  console.log(JSON.stringify({ tip: detail.height }));
});
const greeting = await client.connect();
assert.equal(greeting.version, 2);
assert.ok(await client.ping() >= 0);
console.log(JSON.stringify({ node: greeting.nodeId }));

const until = async (isSo) => { while (!isSo()) await new Promise((resolve) => client.addEventListener('tip', resolve, { once: true })); };
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
await until(() => client.tip.height >= 3);
assert.equal(client.chain.length, client.tip.height + 1);
const headers = await client.headers([network]);
assert.ok(headers.length >= 3 && headers[0].previous === network);
const block = await client.block(headers[0].hash);
assert.equal(block.transactions[0].from, 'network');
await assert.rejects(client.block('cd'.repeat(32)));

const id = client.sendTransaction({ from: block.transactions[0].to, to: 'páge', amount: 1 });
console.log(JSON.stringify({ sent: id }));
// The test restarts the node now and then mines a block with what was sent.
for (let found = false; !found;) {
  const { value, done } = await lines.next();
  assert.ok(!done, 'the test has left');
  const height = Number(value);
  await until(() => client.tip.height >= height);
  for (const hash of client.chain.slice(1)) found ||= (await client.block(hash)).transactions.some((one) => one.id === id);
  console.log(JSON.stringify({ found }));
}
client.close();
process.exit(0);
