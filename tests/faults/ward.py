"""The ward: records with unmistakable identities, and clients that are not ours which publish them."""

import json
import random
import subprocess
import threading
import time
from datetime import datetime, timezone

import paho.mqtt.client as mqtt

CANARY = "Quenby7Fault7Canary"
TOPIC = "LifeSupportDevice/Sensor"
DEVICES = [f"LSD-{n:06}" for n in range(24)]
MANUFACTURERS = ["Aesculon", "Borealis", "Cardea", "Drava"]


def devices_file(version="whole", number=0):
    """A version of the device collection, or what is none; `None`: there is no file."""
    known = {"more": DEVICES, "few": DEVICES[:3]}.get(version, DEVICES[:-2])  # the others are unknown
    shift = number if version in ("other", "half") else 0
    text = "device_id,manufacturer,model\n" + "".join(
        f"{device},{MANUFACTURERS[(n + shift) % len(MANUFACTURERS)]},M{n % 3}\n" for n, device in enumerate(known)
    )
    return {"half": text[: len(text) // 2 + number], "none": None}.get(version, text)


class Records:
    """`count` records over `seconds` from now on: a little out of order, with copies and unusable ones among them."""

    def __init__(self, seed, count, seconds):
        dice = random.Random(seed)
        start = time.time_ns() // 1000
        self.payloads = []
        self.keys = []  # (microseconds, device) of each payload; None: it is unusable
        for n in range(count):
            if self.payloads and dice.random() < 0.03:
                again = dice.randrange(max(0, len(self.payloads) - 50), len(self.payloads))
                self.payloads.append(self.payloads[again])
                self.keys.append(self.keys[again])
            elif dice.random() < 0.03:
                self.payloads.append(unusable(dice, n))
                self.keys.append(None)
            else:
                self._reading(dice, n, start + int(n * seconds * 1e6 / count))

    def _reading(self, dice, n, due):
        # The last three digits make it unique.
        micros = (due - (dice.randrange(600_000) if dice.random() < 0.1 else 0)) // 1000 * 1000 + n % 1000
        device = dice.choice(DEVICES)
        if (micros, device) in set(self.keys[-2500:]):
            micros += 1000
        stamp = datetime.fromtimestamp(micros // 1_000_000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        patient = dice.randrange(40)
        record = {
            "timestamp": f"{stamp}.{micros % 1_000_000:06}",
            "device_id": device,
            "patient_id": f"P-{patient:04}",
            "name": f"{CANARY} {patient}",
            "dob": f"19{patient:02}-01-01 {CANARY}",
            "temperature": round(dice.gauss(98.6, 0.7), 1),
            "pulse": n % 4096,
            "oxygen_percent": dice.choice([96, 97.5, "98", None]),
            "systolic": round(dice.gauss(120, 9), 2),
            "diastolic": round(dice.gauss(80, 7), 2),
            "text": f"{CANARY} " + "x" * dice.randrange(400),
        }
        self.payloads.append(json.dumps(record).encode())
        self.keys.append((micros, device))


def unusable(dice, n):
    return dice.choice(
        [
            f"{CANARY} is no JSON {n}",
            f'{{"timestamp": {n}, "name": "{CANARY}"}}',
            f'{{"device_id": "LSD-000001", "name": "{CANARY}", "n": {n}}}',
            f'{{"timestamp": 1, "device_id": "LSD-000001", "pulse": "{CANARY}", "n": {n}}}',
            f'["{CANARY}", {n}]',
        ]
    ).encode()


class Publisher(threading.Thread):
    """Publishes with paho, and keeps account of what the broker has acknowledged."""

    def __init__(self, port, records, seconds, qos):
        super().__init__(daemon=True)
        self.records, self.seconds, self.qos = records, seconds, qos
        self.acknowledged = set()
        self.sent = 0
        self.failure = None
        self._ids = {}
        self._lock = threading.Lock()
        self._early = set()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="ward", protocol=mqtt.MQTTv311, clean_session=False
        )
        self.client.max_inflight_messages_set(50)
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(0.05, 0.2)
        self.client.on_publish = self._published
        self.client.connect("127.0.0.1", port, keepalive=5)

    def _published(self, client, data, message_id, reason, properties):
        with self._lock:
            if message_id in self._ids:
                self.acknowledged.add(self._ids[message_id])
            else:
                self._early.add(message_id)

    def run(self):
        try:
            self.client.loop_start()
            pause = self.seconds / len(self.records.payloads)
            start = time.monotonic()
            for n, payload in enumerate(self.records.payloads):
                wait = start + n * pause - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                message_id = self.client.publish(TOPIC, payload, qos=self.qos).mid
                with self._lock:
                    self._ids[message_id] = n
                    if message_id in self._early:
                        self._early.discard(message_id)
                        self.acknowledged.add(n)
                self.sent = n + 1
        except Exception as failure:  # told by whoever waits for this thread
            self.failure = failure

    def accepted(self):
        with self._lock:
            return set(self.acknowledged)

    def wait_for_acknowledgements(self, seconds=30):
        end = time.monotonic() + seconds
        while self.qos and len(self.accepted()) < self.sent and time.monotonic() < end:
            time.sleep(0.02)

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


class CommandPublisher(threading.Thread):
    """Publishes with mosquitto_pub, which ends well only if the broker has acknowledged everything."""

    def __init__(self, port, records, seconds, qos):
        super().__init__(daemon=True)
        self.records, self.seconds = records, seconds
        self.sent = 0
        self.failure = None
        self.well = False
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-t", TOPIC, "-q", str(qos), "-l"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def run(self):
        try:
            pause = self.seconds / len(self.records.payloads)
            for n, payload in enumerate(self.records.payloads):
                self.process.stdin.write(payload + b"\n")
                self.process.stdin.flush()
                self.sent = n + 1
                time.sleep(pause)
            self.process.stdin.close()
            self.well = self.process.wait(60) == 0
        except Exception as failure:
            self.failure = failure

    def accepted(self):
        return set(range(self.sent)) if self.well else set()

    def wait_for_acknowledgements(self):
        if not self.well:
            self.failure = self.failure or RuntimeError("mosquitto_pub failed")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
