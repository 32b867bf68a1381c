#!/usr/bin/env python3
"""How fast a live run is: `benches/live.py --binary target/release/wardflow` (Mosquitto; pyarrow and paho-mqtt in the Python).

At 50, 1,000 and 5,000 records of 1 KB a second, from the program's own simulator:
  acknowledged  from the broker's PUBLISH to wardflow's PUBACK, seen by a relay between the two
  committed     from the time in the record, which is when it was due at the publisher, to its row being visible in readings/
beside the disk's own fsync. Then the highest rate, beside a bare subscriber that only counts, and how long a start takes after SIGKILL,
with more and more to be restored. All on one machine, broker and simulator included. (The journal alone: `cargo bench --bench journal`.)
"""

import argparse
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pyarrow.parquet as parquet


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def quantiles(values):
    values = sorted(values)
    if not values:
        return "-"
    at = lambda q: values[min(len(values) - 1, int(len(values) * q))] * 1000
    return f"p50 {at(.5):.1f}  p95 {at(.95):.1f}  p99 {at(.99):.1f}  max {values[-1] * 1000:.1f} ms  (n={len(values)})"


def fsync_of(folder):
    """The disk's own time for a write of 20 KB and fdatasync."""
    times = []
    with open(pathlib.Path(folder) / "fsync", "wb", buffering=0) as file:
        for _ in range(300):
            start = time.perf_counter()
            file.write(b"x" * 20_000)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return times


class Relay(threading.Thread):
    """Passes bytes both ways, and takes the time from each PUBLISH to its PUBACK."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.broker, self.sent, self.latencies = broker, {}, []

    def run(self):
        while True:
            client, _ = self.listener.accept()
            broker = socket.create_connection(("127.0.0.1", self.broker))
            for s in (client, broker):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.passes, args=(broker, client, self.published), daemon=True).start()
            threading.Thread(target=self.passes, args=(client, broker, self.acknowledged), daemon=True).start()

    def passes(self, source, sink, note):
        waiting = bytearray()
        while True:
            try:
                data = source.recv(1 << 18)
                now = time.perf_counter()
                if not data:
                    break
                sink.sendall(data)
            except OSError:
                break
            waiting += data
            at = 0
            while True:
                length, shift, place = 0, 0, at + 1
                while place < len(waiting):
                    length |= (waiting[place] & 127) << shift
                    shift += 7
                    place += 1
                    if waiting[place - 1] < 128:
                        break
                else:
                    break
                if place + length > len(waiting):
                    break
                note(waiting[at], waiting, place, now)
                at = place + length
            del waiting[:at]
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def published(self, kind, packet, at, now):
        if kind >> 4 == 3 and kind & 6:
            topic = packet[at] << 8 | packet[at + 1]
            self.sent[bytes(packet[at + 2 + topic : at + 4 + topic])] = now

    def acknowledged(self, kind, packet, at, now):
        if kind >> 4 == 4:
            sent = self.sent.pop(bytes(packet[at : at + 2]), None)
            if sent is not None:
                self.latencies.append(now - sent)


class Reader(threading.Thread):
    """Looks for new files of readings, and takes the age of their rows when they are seen."""

    def __init__(self, output):
        super().__init__(daemon=True)
        self.pattern, self.seen, self.ages, self.rows, self.ended = f"{output}/readings/*/*.parquet", set(), [], 0, False

    def run(self):
        while not self.ended:
            self.look()
            time.sleep(0.02)

    def look(self):
        for path in glob.glob(self.pattern):
            if path not in self.seen:
                now = time.time()
                self.seen.add(path)
                times = parquet.ParquetFile(path).read(["timestamp"]).column("timestamp")
                self.rows += len(times)
                self.ages += [now - t.timestamp() for t in times.to_pylist()]


class Bench:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.port = free_port()
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\npersistence false\n"
        )
        self.broker = subprocess.Popen(["mosquitto", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                time.sleep(0.05)

    def run(self, name, port, *settings):
        log = open(self.folder / f"{name}.log", "a+")
        command = [
            self.binary, "run", "realtime_analytics", "--source", f"mqtt://127.0.0.1:{port}", "-o", self.folder / name, "-w", "1",
            "--devices", self.devices, "--summary", self.folder / f"{name}.json", "--set", f"source.client_id={name}",
        ]  # fmt: skip
        for setting in settings:
            command += ["--set", setting]
        run = subprocess.Popen(command, stdout=log, stderr=log)
        while "subscribed" not in pathlib.Path(log.name).read_text():
            if run.poll() is not None:
                sys.exit(pathlib.Path(log.name).read_text())
            time.sleep(0.02)
        return run

    def simulate(self, *flags):
        command = [self.binary, "simulate", "--to", f"mqtt://127.0.0.1:{self.port}", *map(str, flags)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr.strip().splitlines()[-1]

    def end(self, run, name):
        run.send_signal(signal.SIGTERM)
        run.wait()
        return json.loads((self.folder / f"{name}.json").read_text())

    def prepare(self):
        self.devices = self.folder / "devices.csv"
        command = [self.binary, "simulate", "--to", self.folder / "unused.jsonl", "--records", "10", "--devices-file", self.devices]
        subprocess.run(command, check=True, capture_output=True)

    def latency(self, rate, seconds):
        relay = Relay(self.port)
        relay.start()
        name = f"at{rate}"
        run = self.run(name, relay.port, "output.commit_interval=1s")
        reader = Reader(self.folder / name)
        reader.start()
        said = self.simulate("--rate", rate, "--for", f"{seconds}s")
        time.sleep(2.5)
        summary = self.end(run, name)
        reader.ended = True
        reader.join()
        print(f"{rate:>6}/s  acknowledged  {quantiles(relay.latencies)}")
        print(f"          committed     {quantiles(reader.ages)}, a commit a second")
        print(f"          {summary['cpu_seconds'] / seconds * 100:.0f} % of a core, {summary['records_in']} records, {summary['peak_rss_bytes'] / 1e6:.0f} MB; {said}")

    def bare(self, records):
        """A subscriber in Python's paho would be the limit itself: mosquitto_sub counts, which is C."""
        command = ["mosquitto_sub", "-p", str(self.port), "-t", "#", "-q", "1", "-i", "bare", "-C", str(records), "-F", "%l"]
        subscriber = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        start = time.perf_counter()
        self.simulate("--unpaced", "--records", records)
        subscriber.wait()
        return records / (time.perf_counter() - start)

    def highest(self, records, *settings):
        name = f"highest{len(settings)}"
        run = self.run(name, self.port, *settings)
        start = time.perf_counter()
        self.simulate("--unpaced", "--records", records)
        published = time.perf_counter() - start
        segments = self.folder / f"{name}.state" / "journal"
        size, still = -1, 0
        while still < 10:  # until nothing has been added to the journal for a while
            now = sum(f.stat().st_size for f in segments.rglob("*") if f.is_file())
            still, size = (still + 1, size) if now == size else (0, now)
            time.sleep(0.1)
        drained = max(published, time.perf_counter() - start - 1.0)
        summary = self.end(run, name)  # commits all that has come
        behind = time.perf_counter() - start - 1.0 - drained
        return records / drained, behind, summary

    def recovery(self, records):
        name = f"recovery{records}"
        run = self.run(name, self.port, "output.commit_interval=2s")
        self.simulate("--unpaced", "--records", records)
        time.sleep(4)
        self.simulate("--rate", 1000, "--for", "1s")
        run.kill()
        run.wait()
        log = self.folder / f"{name}.log"
        log.write_text("")
        start = time.perf_counter()
        run = self.run(name, self.port, "output.commit_interval=2s")
        took = time.perf_counter() - start
        state = sum(f.stat().st_size for f in (self.folder / f"{name}.state" / "snapshots").glob("*"))
        self.end(run, name)
        return took, state


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", default="target/release/wardflow")
    arguments.add_argument("--folder", help="where to work, on the disk that is to be measured [default: a temporary folder]")
    arguments.add_argument("--seconds", type=int, default=20, help="of each rate")
    arguments.add_argument("--records", type=int, default=200_000, help="of the highest rate")
    given = arguments.parse_args()
    folder = tempfile.mkdtemp(dir=given.folder)
    bench = Bench(os.path.abspath(given.binary), folder)
    try:
        bench.prepare()
        print(f"disk      fdatasync     {quantiles(fsync_of(folder))}")
        for rate in (50, 1000, 5000):
            bench.latency(rate, given.seconds)
        bare = bench.bare(given.records)
        print(f"highest   a bare subscriber that counts: {bare:,.0f} records/s")
        for settings in ([], ["forest.enabled=false"]):
            rate, behind, summary = bench.highest(given.records, *settings)
            label = "without scores" if settings else "with scores"
            print(
                f"          {label}: {rate:,.0f} records/s acknowledged ({rate / bare:.0%}), the last of them committed {behind:.1f} s later; "
                f"{summary['cpu_seconds']:.1f} CPU-seconds"
            )
        for records in (10_000, 100_000, 400_000):
            took, state = bench.recovery(records)
            print(f"recovery  after {records:,} records, {state / 1e6:.1f} MB of state: subscribed again {took:.2f} s after the start")
    finally:
        bench.broker.terminate()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
