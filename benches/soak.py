#!/usr/bin/env python3
"""Whether a run leaks: `benches/soak.py --binary target/release/wardflow --minutes 30` (Mosquitto; paho-mqtt in the Python); with
`--day 30` instead, a day of 30 records a second by replay: memory and open files by the hour of event time.

A ward of --devices monitors sends --rate records of 1 KB a second, and all of it comes and goes: each monitor is replaced by a new one,
with a new patient, every --stay minutes. Alerts go to the broker. Every minute: records, memory, open files, threads, and bytes of each
part of the state folder. The horizons are short, so that what has to be remembered for that long is remembered after a few minutes.
At the end the last third is compared with the one before it.
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import paho.mqtt.client as mqtt


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def bytes_of(path):
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                pass
    return total


class Ward(threading.Thread):
    """The simulator's records, under names that come and go, each with the time at which it is sent."""

    def __init__(self, binary, port, rate, devices, stay, until):
        super().__init__(daemon=True)
        self.rate, self.devices, self.stay, self.until = rate, devices, stay, until
        self.sent, self.names = 0, set()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "ward")
        self.client.max_inflight_messages_set(10_000)
        self.client.max_queued_messages_set(0)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        count = str(int(rate * (until - time.time())) + 1)
        self.simulator = subprocess.Popen(
            [binary, "simulate", "--to", "-", "--records", count, "--rate", str(rate), "--devices", str(devices)]
            + ["--patients", str(devices), "--anomalies", "0.002"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def run(self):
        start = time.time()
        places = {}
        for line in self.simulator.stdout:
            due = start + self.sent / self.rate
            time.sleep(max(0.0, due - time.time()))
            if time.time() >= self.until:
                break
            device = line.split(b'"device_id":"', 1)[1].split(b'"', 1)[0]
            patient = line.split(b'"patient_id":"', 1)[1].split(b'"', 1)[0]
            stamp = line.split(b'"timestamp":', 1)[1].split(b",", 1)[0]
            place = places.setdefault(device, len(places))
            # Not all at once: a monitor in so many is replaced every second.
            turn = b"-%d" % ((time.time() - start + place * self.stay / self.devices) // self.stay)
            now = b"%d" % int(time.time() * 1000)
            line = line.rstrip(b"\n").replace(b'"timestamp":' + stamp, b'"timestamp":' + now, 1)
            line = line.replace(device, device + turn, 1).replace(patient, patient + turn, 1)
            self.names.add(device + turn)
            self.client.publish("LifeSupportDevice/Sensor", line, qos=1)
            self.sent += 1
        self.simulator.kill()


def sample(engine, state, output, ward):
    status = pathlib.Path(f"/proc/{engine.pid}/status").read_text()
    field = lambda name: int(status.split(name + ":", 1)[1].split()[0])
    return {
        "records": ward.sent,
        "devices": len(ward.names),
        "RSS MB": field("VmRSS") / 1024,
        "files": len(os.listdir(f"/proc/{engine.pid}/fd")),
        "threads": field("Threads"),
        "journal MB": bytes_of(state / "journal") / 1e6,
        "snapshots MB": bytes_of(state / "snapshots") / 1e6,
        "alerts MB": bytes_of(state / "alerts") / 1e6,
        "vault MB": sum(file.stat().st_size for file in state.glob("vault*")) / 1e6,
        "manifest KB": sum(file.stat().st_size for file in state.glob("manifest*")) / 1e3,
        "tables MB": bytes_of(output) / 1e6,
    }


def day(binary, rate, folder):
    """A day of the simulator's records, through a pipe."""
    plan = ["--rate", str(rate), "--devices", "1000", "--patients", "1000"]
    ward = subprocess.Popen([binary, "simulate", "--to", "-", "--for", "24h", "--anomalies", "0.001", *plan],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    counted = {"bytes": 0}
    reader, writer = os.pipe()

    def count():
        with os.fdopen(writer, "wb") as to:
            while data := ward.stdout.read(1 << 16):
                counted["bytes"] += len(data)
                to.write(data)

    threading.Thread(target=count, daemon=True).start()
    replay = subprocess.Popen([binary, "replay", "realtime_analytics", "--input", "-", "-o", str(folder / "out"), "-w", "2"],
                              stdin=reader, stderr=subprocess.DEVNULL)
    os.close(reader)
    print(f"{'hour':>6}{'RSS MB':>10}{'files':>8}")
    hours = 0
    while replay.poll() is None:
        time.sleep(0.05)
        if counted["bytes"] / 1025 / rate / 3600 >= hours:
            try:
                status = pathlib.Path(f"/proc/{replay.pid}/status").read_text()
                memory = int(status.split("VmRSS:", 1)[1].split()[0]) / 1024
                print(f"{hours:>6}{memory:>10.0f}{len(os.listdir(f'/proc/{replay.pid}/fd')):>8}", flush=True)
            except (FileNotFoundError, IndexError):
                break
            hours += 1
    print(f"the replay ended with {replay.wait()}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--rate", type=float, default=1000)
    arguments.add_argument("--devices", type=int, default=1000)
    arguments.add_argument("--stay", type=float, default=2, help="minutes until a monitor is replaced")
    arguments.add_argument("--set", action="append", default=[], help="a setting of the run")
    arguments.add_argument("--day", type=float, metavar="RATE", help="a day at this rate, by replay")
    arguments.add_argument("--folder", help="where to work; a temporary folder otherwise")
    given = arguments.parse_args()
    binary = str(pathlib.Path(given.binary).resolve())
    folder = pathlib.Path(given.folder or tempfile.mkdtemp(prefix="wardflow-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.day:
        day(binary, given.day, folder)
        return given.folder or shutil.rmtree(folder)
    port = free_port()
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n")
    broker = subprocess.Popen(["mosquitto", "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    output, state = folder / "out", folder / "out.state"
    settings = ["deduplicate.horizon=5m", "windows.allowed_lateness=5m", "journal.retain=100MB", "output.commit_interval=10s"]
    settings += ["forest.key=[]", *given.set]
    with open(folder / "run.log", "w") as log:
        engine = subprocess.Popen(
            [binary, "run", "realtime_analytics", "--source", f"mqtt://127.0.0.1:{port}", "-o", str(output), "-w", "2"]
            + ["--summary", str(folder / "summary.json")]
            + [word for setting in settings for word in ("--set", setting)],
            stdout=log, stderr=log)
    time.sleep(1)
    start = time.time()
    ward = Ward(binary, port, given.rate, given.devices, given.stay * 60, start + given.minutes * 60)
    ward.start()
    samples = []
    try:
        while ward.is_alive() and engine.poll() is None:
            ward.join(max(0.1, min(60.0, given.minutes * 6)))
            if engine.poll() is None:
                samples.append(sample(engine, state, output, ward))
                if len(samples) == 1:
                    print("  ".join(f"{name:>12}" for name in ["minute", *samples[0]]), flush=True)
                minute = (time.time() - start) / 60
                print("  ".join(f"{value:>12.1f}" for value in [minute, *samples[-1].values()]), flush=True)
    finally:
        if engine.poll() is None:
            engine.send_signal(signal.SIGTERM)
        code = engine.wait()
        broker.terminate()
    third = len(samples) // 3
    if third:
        middle, last = samples[third:2 * third], samples[-third:]
        mean = lambda of, name: sum(one[name] for one in of) / len(of)
        print("\nmean of the last third over that of the one before it:")
        for name in samples[0]:
            before, after = mean(middle, name), mean(last, name)
            print(f"  {name:<14} {before:>10.1f} → {after:>10.1f}  {after / before if before else 1:>6.2f}")
    print(f"\nthe run ended with {code}; {(folder / 'summary.json').read_text() if code == 0 else (folder / 'run.log').read_text()}")
    if not given.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
