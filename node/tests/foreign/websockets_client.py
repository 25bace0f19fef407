"""Python's `websockets` as a peer: websockets_client.py URL GREETING PING [AUTHORITY]; frames of the wire protocol as hexadecimal digits.

Ends with 0 when all went well, with 3 where the library is not installed.
"""

import asyncio
import ssl
import sys

try:
    import websockets
except ImportError:
    sys.exit(3)

HANDSHAKE_ACK, PONG = 0x02, 0x05
PATIENCE = 60


async def next_frame(peer, wanted):
    """The next frame of a kind. Each frame is a message of its own."""
    while True:
        message = await asyncio.wait_for(peer.recv(), PATIENCE)
        assert isinstance(message, bytes), "all that we say is binary"
        assert int.from_bytes(message[:4], "little") == len(message) - 4, "one message for each frame"
        if message[4] == wanted:
            return message[5:]


async def talk(url, greeting, ping, context):
    options = {"ssl": context} if context else {}
    # The library offers compression, and nobody here takes it.
    async with websockets.connect(url, **options) as peer:
        assert not peer.extensions, peer.extensions
        # A list of pieces is sent as a message of as many fragments.
        await peer.send([greeting[:1], greeting[1:30], greeting[30:]])
        await next_frame(peer, HANDSHAKE_ACK)
        await asyncio.wait_for(await peer.ping(b"any content"), PATIENCE)
        await peer.pong(b"asked by nobody")
        # A frame in two messages, and three frames in one.
        await peer.send(ping[:7])
        await peer.send(ping[7:])
        await peer.send(ping * 3)
        for _ in range(4):
            assert (await next_frame(peer, PONG))[:8] == ping[5:13]
        await peer.close(1000, "enough")
        assert peer.close_code == 1000, peer.close_code
    async with websockets.connect(url, compression=None, **options) as peer:
        await peer.send("text")
        try:
            await next_frame(peer, HANDSHAKE_ACK)
        except websockets.ConnectionClosed:
            pass
        assert peer.close_code == 1003, peer.close_code


url, greeting, ping = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
context = ssl.create_default_context(cafile=sys.argv[4]) if len(sys.argv) > 4 else None
asyncio.run(talk(url, greeting, ping, context))
