"""A TCP proxy between wardflow and the broker, whose connections can be dropped, stalled, left half open, or robbed of acknowledgements."""

import asyncio
import socket
import struct
import threading

PUBACK = 4


class Proxy:
    def __init__(self, broker_port):
        self.broker_port = broker_port
        self.port = None
        self.stalled = False  # bytes stay where they are, in both directions
        self.half_open = False  # the client's bytes vanish, the broker's side is gone, the client is not told
        self.no_acknowledgements = False
        self.acknowledgements_dropped = 0
        self.connections = 0
        self._pairs = set()
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
        self.connections += 1
        pair = (client_out, broker_out)
        self._pairs.add(pair)
        up = asyncio.ensure_future(self._forward(client_in, broker_out, Packets()))
        down = asyncio.ensure_future(self._forward(broker_in, client_out, None))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        while self.half_open:
            await asyncio.sleep(0.02)
        for task in (up, down):
            task.cancel()
        for side in pair:
            side.close()
        self._pairs.discard(pair)

    async def _forward(self, source, sink, packets):
        try:
            while data := await source.read(1 << 16):
                while self.stalled:
                    await asyncio.sleep(0.01)
                if self.half_open:
                    continue
                if packets is not None:
                    data = packets.split(data, self._passes)
                sink.write(data)
                await sink.drain()
        except (OSError, asyncio.CancelledError):
            pass

    def _passes(self, packet_type):
        dropped = self.no_acknowledgements and packet_type == PUBACK
        self.acknowledgements_dropped += dropped
        return not dropped

    def drop(self, reset):
        """Closes every connection; with a reset what is on the way is lost."""

        def close():
            for pair in list(self._pairs):
                for side in pair:
                    if reset:
                        linger = struct.pack("ii", 1, 0)
                        side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        side.transport.abort()
                    else:
                        side.close()

        self._loop.call_soon_threadsafe(close)

    def lose_broker(self):
        """From now on the client talks to nobody, without knowing."""
        self.half_open = True

        def close():
            for _, broker_side in list(self._pairs):
                broker_side.close()

        self._loop.call_soon_threadsafe(close)

    def heal(self):
        """Everything passes again; connections that were broken inside are closed."""
        broken = self.half_open or self.no_acknowledgements
        self.stalled = self.half_open = self.no_acknowledgements = False
        if broken:
            self.drop(reset=False)

    def end(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


class Packets:
    """Cuts a stream of bytes into MQTT packets: a type in the first byte's upper half, then a length of 7-bit groups."""

    def __init__(self):
        self.rest = b""

    def split(self, data, passes):
        self.rest += data
        out = b""
        while (length := self._whole()) is not None:
            packet, self.rest = self.rest[:length], self.rest[length:]
            if passes(packet[0] >> 4):
                out += packet
        return out

    def _whole(self):
        length = 0
        for at in range(1, min(5, len(self.rest))):
            length |= (self.rest[at] & 0x7F) << (7 * (at - 1))
            if not self.rest[at] & 0x80:
                whole = at + 1 + length
                return whole if whole <= len(self.rest) else None
        return None
