"""One schedule, carried out: broker, proxy, program, ward and reader, and what goes wrong between them."""

import os
import random
import shutil
import signal
import subprocess
import time

import ward
from broker import Broker, wait_until
from program import Program
from proxy import Proxy
from tables import Reader, Wrong

SETTINGS = [
    "forest.trees=10",
    "forest.sample_size=32",
    "alerts.threshold=1.2",
    "windows.size=1s",
    "windows.out_of_orderness=300ms",
    "windows.allowed_lateness=1s",
    "windows.idle_after=1s",
    "output.commit_interval=500ms",
    "journal.segment_bytes=30KB",
    "devices.watch=50ms",
]
# Of a disk that can be filled.
SMALL_DISK = "64m"
# A run whose disk cannot be mounted small may write files of this size at most.
LARGEST_FILE = 40_000
# Debris is kept of so many crashes.
DEBRIS = 3


class Scene:
    def __init__(self, binary, folder, schedule, settings):
        self.schedule = schedule
        self.folder = folder
        self.run = os.path.join(folder, "run")  # everything in it is searched for identities
        self.disk = os.path.join(self.run, "disk")
        os.makedirs(self.disk)
        for name, text in (("devices.csv", ward.devices_file()), ("kek", "5a" * 32)):
            with open(os.path.join(self.run, name), "w") as file:
                file.write(text)
            os.chmod(os.path.join(self.run, name), 0o600)
        self.mounted = schedule.needs_small_disk() and mount(self.disk)
        self.broker = Broker(os.path.join(folder, "broker"), schedule.inflight)
        self.broker.start()
        self.proxy = Proxy(self.broker.port)
        self.dice = random.Random(f"{schedule.seed}/{schedule.number}")
        self.program = Program(
            binary, self.run, self.disk, schedule.workers, self.settings(settings), schedule.processes, self.dice
        )
        self.program.url = f"mqtt://127.0.0.1:{self.proxy.port}"
        self.reader = Reader(self.program.output)
        self.records = ward.Records(f"{schedule.seed}-{schedule.number}", schedule.records, schedule.seconds)
        self.publisher = None
        self.at_risk = set()  # acknowledged, and then lost by the broker itself
        self.cut = False  # a damaged end of the journal was cut, with a warning
        self.flipped = None  # (path, offset, bit) that nobody has noticed yet
        self.crashes = 0
        self.notes = []

    def settings(self, more):
        short = ["journal.retain=60KB"] if self.schedule.forgets else []
        return [*SETTINGS, *short, f"source.qos={self.schedule.qos}", *more]

    def play(self):
        """Everything up to the last graceful stop."""
        self.program.start()
        if not self.program.subscribed():
            raise Wrong(f"the first start failed: {self.program.words()}")
        self.reader.start()
        kind = ward.Publisher if self.schedule.client == "paho" else ward.CommandPublisher
        self.publisher = kind(self.broker.port, self.records, self.schedule.seconds, self.schedule.qos)
        began = time.monotonic()
        self.publisher.start()
        for act in self.schedule.acts:
            pause = began + act.at * self.schedule.seconds - time.monotonic()
            time.sleep(max(0, pause))
            getattr(self, act.what)(**{name.replace("with", "filling"): how for name, how in act.how.items()})
        self.publisher.join(120)
        self.publisher.wait_for_acknowledgements()
        if self.publisher.failure:
            raise self.publisher.failure
        self.drain()
        self.publisher.end()
        summary = self.program.stop()
        self.reader.end()
        return summary

    def expected(self):
        """Readings that must be in the output: the broker has acknowledged them and has not lost them itself."""
        if self.schedule.qos == 0 or self.cut:
            return set()
        sure = self.publisher.accepted() - self.at_risk
        return {self.records.keys[n] for n in sure} - {None}

    def drain(self):
        """Waits until everything expected is visible, or nothing more comes."""
        self.proxy.heal()
        if not self.program.runs_now():
            self.restart()
        expected = self.expected()
        seen, since = -1, time.monotonic()
        patience = 12 if self.schedule.qos else 3
        while not (expected and expected <= self.reader.readings) and self.reader.wrong is None:
            if len(self.reader.readings) != seen:
                seen, since = len(self.reader.readings), time.monotonic()
            if time.monotonic() - since > patience:
                break
            if not self.program.runs_now():
                raise Wrong(f"the run ended by itself with {self.program.returncode}: {self.program.words()[-3:]}")
            time.sleep(0.05)
        time.sleep(self.dice.uniform(0, 0.7))

    def restart(self, **how):
        self.program.start(**how)
        if not how and not self.program.subscribed():
            raise Wrong(f"it does not start again: {self.program.words()}")

    def crashed(self):
        """After a crash: what it has left behind is kept for the search."""
        self.crashes += 1
        if self.crashes <= DEBRIS:
            debris = os.path.join(self.run, f"debris-{self.crashes}")
            shutil.copytree(self.disk, debris, ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns("filler"))

    def kill(self, away=0.0, start=True):
        self.program.kill()
        self.crashed()
        time.sleep(away)
        if start:
            self.restart()

    def devices(self, version, in_place, number):
        """The file of the device collection changes, all at once or as it is written; or it is gone."""
        path, text = os.path.join(self.run, "devices.csv"), ward.devices_file(version, number)
        if text is None:
            if os.path.exists(path):
                os.remove(path)
            return
        with open(path if in_place else path + ".new", "w") as file:
            file.write(text)
        if not in_place:
            os.rename(path + ".new", path)

    def crash(self, points):
        self.program.kill() if self.dice.random() < 0.5 else self.program.stop()
        for point in points:
            self.program.start(crash=point)
            left = max(0.0, self.schedule.seconds * (1 - self.publisher.sent / self.schedule.records))
            if self.program.wait(left + 3):
                self.crashed()
                self.notes.append(point)
                if self.program.returncode != -signal.SIGABRT:
                    raise Wrong(f"{point}: it ended with {self.program.returncode}: {self.program.words()[-3:]}")
            else:
                self.notes.append(f"{point} not reached")
                self.program.kill()
                self.crashed()
        self.restart()

    def kill_in_recovery(self, lives):
        self.kill(start=False)
        for life in lives:
            self.program.start(wait=False)
            time.sleep(life)
            self.program.kill()
            self.crashed()
        self.restart()

    def stop(self, away):
        self.program.stop(self.dice.choice([signal.SIGTERM, signal.SIGINT]))
        time.sleep(away)
        self.restart()

    def start_broker(self):
        """Mosquitto 2.0 forgets shared subscriptions when it is started anew: what comes before the sessions stand again it has for nobody."""
        safe, connected = self.publisher.accepted(), self.connected_again()
        self.broker.start()
        if self.program.processes == 1:
            return
        if self.program.runs_now():
            sessions = self.program.processes
            again = lambda: self.connected_again() >= connected + sessions or not self.program.runs_now()
            wait_until("the sessions stand again", again, 60)
        else:
            self.restart()
        time.sleep(0.1)  # acknowledgements that were on their way
        self.at_risk |= self.publisher.accepted() - safe

    def connected_again(self):
        return sum("connected again" in line for line in self.program.words())

    def broker_restart(self, away):
        self.broker.end()
        time.sleep(away)
        self.start_broker()

    def broker_kill(self, away):
        safe = self.publisher.accepted()
        self.broker.save()
        time.sleep(self.dice.uniform(0, 0.3))
        self.broker.end(signal.SIGKILL)
        time.sleep(0.1 + away)  # acknowledgements that were on their way
        self.at_risk |= self.publisher.accepted() - safe
        self.start_broker()

    def both_kill(self, away):
        self.program.kill()
        self.broker_kill(away)
        self.crashed()
        if not self.program.runs_now():
            self.restart()

    def drop(self, times, reset):
        for _ in range(times):
            self.proxy.drop(reset)
            time.sleep(self.dice.uniform(0.05, 0.4))

    def stall(self, seconds, kill):
        self.proxy.stalled = True
        time.sleep(seconds)
        if kill:
            self.program.kill()
            self.crashed()
        self.proxy.heal()
        if kill:
            self.restart()

    def half_open(self, seconds):
        """The broker goes without a word; some time later the client is told, unless it has noticed by itself."""
        self.proxy.lose_broker()
        time.sleep(seconds)
        self.proxy.heal()

    def no_acknowledgements(self, seconds, kill):
        self.proxy.no_acknowledgements = True
        time.sleep(seconds)
        if kill:
            self.program.kill()
            self.crashed()
        self.proxy.heal()
        self.notes.append(f"{self.proxy.acknowledgements_dropped} acknowledgements dropped")
        if kill:
            self.restart()

    def slow_disk(self, milliseconds, kill):
        self.program.stop()
        self.restart(slow=milliseconds)
        if kill:
            time.sleep(self.dice.uniform(0.1, 1.5))
            self.kill()

    def full_disk(self, free, seconds):
        if not self.mounted:
            return self.small_files(seconds)
        filler = os.path.join(self.disk, "filler")
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
            file.truncate(max(0, file.tell() - free))
        ended = self.program.wait(seconds)
        self.notes.append(f"full disk: {'ended' if ended else 'went on'}")
        if ended:
            self.assert_ended_well()
            self.crashed()
            # With no room it says so again, or waits; it breaks nothing.
            self.program.start(wait=False)
            self.program.wait(1.0)
            if not self.program.runs_now():
                self.assert_ended_well()
        os.remove(filler)
        if not self.program.wait(0.5):
            self.kill()
        else:
            self.restart()

    def small_files(self, seconds):
        """Where no small disk can be mounted: no file may grow beyond a size."""
        self.program.stop()
        self.program.start(largest_file=LARGEST_FILE)
        ended = self.program.wait(seconds)
        self.notes.append(f"files limited: {'ended' if ended else 'went on'}")
        if ended:
            self.assert_ended_well()
        else:
            self.program.kill()
        self.crashed()
        self.restart()

    def assert_ended_well(self):
        """One line of what failed, status 1."""
        if self.program.returncode != 1 or not any("wardflow: " in line for line in self.program.words()):
            raise Wrong(f"it ended with {self.program.returncode}: {self.program.words()[-3:]}")

    def journal_files(self):
        """Its files with anything in them, oldest first."""
        paths = []
        for folder, _, names in os.walk(self.program.journal):
            paths += [os.path.join(folder, name) for name in names]
        return sorted((path for path in paths if os.path.getsize(path)), key=lambda path: (os.stat(path).st_mtime_ns, path))

    def flip(self, place, bit, file):
        self.kill(start=False)
        paths = self.journal_files()
        if not paths:
            raise Wrong("there is no journal")
        path = paths[int(file * len(paths))]
        offset = int(place * os.path.getsize(path))
        self.flipped = (path, offset, bit)
        flip_bit(*self.flipped)
        self.program.start()
        name = os.path.basename(path)
        named = [line for line in self.program.words() if name in line]
        if not self.program.runs_now():
            self.assert_ended_well()
            if not named:
                raise Wrong(f"a flipped bit in {name} is refused without its name: {self.program.words()}")
            self.notes.append(f"{name}: refused")
            self.mend()
            self.restart()
        elif named:
            if not any("warning" in line or "cut off" in line for line in named):
                raise Wrong(f"a flipped bit in {name} is no warning: {named}")
            self.notes.append(f"{name}: cut")
            self.cut = True
            self.flipped = None
        else:
            # Not read again, as a commit covers it: the replay will tell.
            self.notes.append(f"{name}: not read")

    def mend(self):
        if self.flipped and os.path.exists(self.flipped[0]):
            flip_bit(*self.flipped)
        self.flipped = None

    def torn_tail(self, filling, length, file):
        """A write that a power cut has torn: something stands behind what was synced."""
        self.kill(start=False)
        open_ended = self.open_ended()
        if not open_ended:
            raise Wrong("there is no journal")
        path = open_ended[int(file * len(open_ended))]
        with open(path, "rb") as whole:
            content = whole.read()
        tails = {
            "noise": lambda: self.dice.randbytes(length),
            "zeros": lambda: bytes(length),
            "its own bytes": lambda: content[-length:][: max(1, min(length, len(content)) - 1)],
        }
        with open(path, "ab") as end:
            end.write(tails[filling]())
        self.notes.append(f"{os.path.basename(path)} torn")
        self.restart()

    def open_ended(self):
        """What was being written last: of every kind of file in the journal the newest by name."""
        newest = {}
        for path in sorted(self.journal_files()):
            kind = (os.path.dirname(path), os.path.splitext(path)[1])
            newest[kind] = path
        return sorted(newest.values())

    def end(self):
        """Lets go of everything; what lay on the small disk is kept."""
        if self.publisher:
            self.publisher.end()
        if self.program.runs_now():
            self.program.kill()
        self.broker.end(signal.SIGKILL)
        self.proxy.end()
        if self.mounted:
            kept = self.disk + "-kept"
            shutil.copytree(self.disk, kept, ignore=shutil.ignore_patterns("filler"))
            subprocess.run(["umount", self.disk], check=True)
            os.rmdir(self.disk)
            os.rename(kept, self.disk)


def flip_bit(path, offset, bit):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def mount(folder):
    """A small disk, if we may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", folder]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
