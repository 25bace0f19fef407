// The package `ws` of Node.js as a peer: ws_client.cjs URL GREETING PING [AUTHORITY]; frames of the wire protocol as hexadecimal digits.
// Ends with 0 when all went well, with 3 where the package is not installed.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');

let WebSocket;
try {
  WebSocket = require('ws');
} catch {
  process.exit(3);
}

const HANDSHAKE_ACK = 0x02, PONG = 0x05;
const [url, greetingHex, pingHex, authority] = process.argv.slice(2);
const greeting = Buffer.from(greetingHex, 'hex'), ping = Buffer.from(pingHex, 'hex');
const options = authority ? { ca: readFileSync(authority) } : {};
setTimeout(() => assert.fail('it took too long'), 90_000).unref();

// All frames that come, in a line.
function open(more) {
  const peer = new WebSocket(url, { ...options, ...more });
  const frames = [];
  let wake = () => {};
  peer.on('message', (message, isBinary) => {
    assert.ok(isBinary);
    assert.equal(message.readUInt32LE(0), message.length - 4, 'one message for each frame');
    frames.push(message);
    wake();
  });
  const next = async (wanted) => {
    for (;;) {
      while (frames.length === 0) await new Promise((resolve) => { wake = resolve; });
      const frame = frames.shift();
      if (frame[4] === wanted) return frame.subarray(5);
    }
  };
  return { peer, next };
}

async function main() {
  const { peer, next } = open({ perMessageDeflate: true });
  await once(peer, 'open');
  assert.equal(peer.extensions, '');
  peer.send(greeting.subarray(0, 9), { fin: false, binary: true });
  peer.send(greeting.subarray(9), { fin: true, binary: true });
  await next(HANDSHAKE_ACK);
  const answered = once(peer, 'pong');
  peer.ping('any content');
  assert.equal((await answered)[0].toString(), 'any content');
  peer.send(ping.subarray(0, 7));
  peer.send(ping.subarray(7));
  peer.send(Buffer.concat([ping, ping, ping]));
  for (let n = 0; n < 4; n++) assert.deepEqual((await next(PONG)).subarray(0, 8), ping.subarray(5, 13));
  const closed = once(peer, 'close');
  peer.close(1000, 'enough');
  assert.equal((await closed)[0], 1000);

  const other = open({ perMessageDeflate: false }).peer;
  await once(other, 'open');
  other.send('text');
  assert.equal((await once(other, 'close'))[0], 1003);
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
