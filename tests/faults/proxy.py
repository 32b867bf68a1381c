"""A TCP proxy between wardflow and the broker, whose connections can be dropped, stalled, left half open, or robbed of acknowledgements.

It also listens: what was published with QoS 1 must be acknowledged in its order, and nothing else may be.
"""

import asyncio
import socket
import struct
import threading
from collections import deque

PUBLISH, PUBACK = 3, 4


class Connection:
    def __init__(self, client_side, broker_side):
        self.client_side, self.broker_side = client_side, broker_side
        self.half_open = False  # the broker's side is gone, the client is not told
        self.unacknowledged = deque()  # packet ids, in the order of their messages


class Proxy:
    def __init__(self, broker_port):
        self.broker_port = broker_port
        self.port = None
        self.wrong = None
        self.stalled = False  # bytes stay where they are, in both directions
        self.no_acknowledgements = False
        self.acknowledgements = 0
        self.acknowledgements_dropped = 0
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started):
        asyncio.set_event_loop(self._loop)

        async def listen():
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    async def _accept(self, client_in, client_out):
        try:
            broker_in, broker_out = await asyncio.open_connection("127.0.0.1", self.broker_port)
        except OSError:
            client_out.close()
            return
        connection = Connection(client_out, broker_out)
        self._connections.add(connection)
        up = asyncio.ensure_future(self._forward(client_in, broker_out, connection, self._from_client))
        down = asyncio.ensure_future(self._forward(broker_in, client_out, connection, self._from_broker))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        if connection.half_open and not up.done():
            await up  # until the client has had enough
        for task in (up, down):
            task.cancel()
        for side in (client_out, broker_out):
            side.close()
        self._connections.discard(connection)

    async def _forward(self, source, sink, connection, passes):
        packets = Packets()
        try:
            while data := await source.read(1 << 16):
                while self.stalled:
                    await asyncio.sleep(0.01)
                whole = [packet for packet in packets.split(data) if passes(packet, connection)]
                if whole and not connection.half_open:
                    sink.write(b"".join(whole))
                    await sink.drain()
        except (OSError, asyncio.CancelledError):
            pass

    def _from_broker(self, packet, connection):
        quality = packet[0] >> 1 & 3
        if packet[0] >> 4 == PUBLISH and quality:
            body = after_length(packet)
            topic = int.from_bytes(packet[body : body + 2], "big")
            connection.unacknowledged.append(packet[body + 2 + topic : body + 4 + topic])
        return True

    def _from_client(self, packet, connection):
        if packet[0] >> 4 != PUBACK:
            return True
        self.acknowledgements += 1
        body = after_length(packet)
        message = packet[body : body + 2]
        if not connection.unacknowledged or connection.unacknowledged.popleft() != message:
            self.wrong = self.wrong or "an acknowledgement came out of order, or for no message of its connection"
        self.acknowledgements_dropped += self.no_acknowledgements
        return not self.no_acknowledgements

    def drop(self, reset):
        """Closes every connection; with a reset what is on the way is lost."""

        def close():
            for connection in list(self._connections):
                for side in (connection.client_side, connection.broker_side):
                    if reset:
                        linger = struct.pack("ii", 1, 0)
                        side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        side.transport.abort()
                    else:
                        side.close()

        self._loop.call_soon_threadsafe(close)

    def lose_broker(self):
        """From now on the client talks to nobody, without knowing; a new connection is a good one."""

        def close():
            for connection in list(self._connections):
                connection.half_open = True
                connection.broker_side.close()

        self._loop.call_soon_threadsafe(close)

    def heal(self):
        """Everything passes again; connections on which something was kept back are closed."""
        broken = self.no_acknowledgements or any(connection.half_open for connection in list(self._connections))
        self.stalled = self.no_acknowledgements = False
        if broken:
            self.drop(reset=False)

    def end(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


class Packets:
    """Cuts a stream of bytes into MQTT packets."""

    def __init__(self):
        self.rest = b""

    def split(self, data):
        self.rest += data
        packets = []
        while (length := self._whole()) is not None:
            packets.append(self.rest[:length])
            self.rest = self.rest[length:]
        return packets

    def _whole(self):
        body = after_length(self.rest)
        if body is None:
            return None
        length = sum((byte & 0x7F) << (7 * at) for at, byte in enumerate(self.rest[1:body]))
        return body + length if body + length <= len(self.rest) else None


def after_length(packet):
    """Where a packet's body begins: behind its type and up to four length bytes, of which all but the last have the high bit."""
    for at in range(1, min(5, len(packet))):
        if not packet[at] & 0x80:
            return at + 1
    return None
