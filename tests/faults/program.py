"""The real program: a live run that can be killed, and the replay of its journal."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

from broker import wait_until
from tables import Wrong

DATAFLOW = "realtime_analytics"


class Program:
    """One process, or several of a set that the harness starts and ends itself: with one of them all must end."""

    def __init__(self, binary, folder, disk, workers, settings, processes=1, dice=None):
        self.binary, self.folder, self.workers = os.path.abspath(binary), folder, workers
        self.output = os.path.join(disk, "out")
        self.state = os.path.join(disk, "out.state")
        self.settings = settings
        self.url = None
        self.processes, self.dice = processes, dice
        self.members = []
        self.put_down = []  # by the harness, since they would have waited for one that was missing
        self.said = []  # lines of every run
        self.runs = 0
        self.marks = 0
        self._told = []

    @property
    def journal(self):
        return os.path.join(self.state, "journal")

    def _settings(self):
        shared = ["--devices", os.path.join(self.folder, "devices.csv")]
        kek = f"keys.kek=file:{os.path.join(self.folder, 'kek')}"
        for setting in [kek, *self.settings]:
            shared += ["--set", setting]
        return shared

    def _environment(self, extra):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WARDFLOW_")}
        # What is temporary shall be where it is searched for identities.
        return {**clean, "TMPDIR": self.folder, "RUST_BACKTRACE": "1", **extra}

    def start(self, crash=None, slow=None, largest_file=None, wait=True):
        extra = {}
        if crash:
            extra["WARDFLOW_CRASH"] = crash
        if slow:
            extra["WARDFLOW_SLOW_DISK"] = str(slow)
        self.runs += 1
        summary = os.path.join(self.folder, f"summary-{self.runs}.json")
        command = [self.binary, "run", DATAFLOW, "--source", self.url, "-o", self.output, "--state", self.state]
        command += ["-w", str(self.workers), "--summary", summary, *self._settings()]
        commands = [command]
        if self.processes > 1:
            hosts = os.path.join(self.folder, "hosts")
            with open(hosts, "w") as file:
                file.writelines(f"127.0.0.1:{port}\n" for port in free_ports(self.processes))
            extra_of_all = {"WARDFLOW_CLUSTER_SECRET": "5c" * 32}
            sessions = ["--set", f"source.sessions={self.processes}", "-n", str(self.processes), "--hostfile", hosts]
            commands = [[*command, *sessions, "-p", str(member)] for member in range(self.processes)]
        else:
            extra_of_all = {}
        # Only process 0 cuts epochs and commits; any appends to its journal.
        where = 0
        if crash and crash.startswith("journal."):
            where = self.dice.randrange(self.processes)

        # By other programs: Python's own code between fork and exec can hang where there are threads.
        limits = ["env", "--ignore-signal=XFSZ", "prlimit", "--core=0"]
        if largest_file:
            limits.append(f"--fsize={largest_file}")
        self.said.append(f"--- run {self.runs}, {extra or 'as it is'}{f' at process {where}' if crash and self.processes > 1 else ''}")
        self.marks = len(self.said)
        self.members, self._told = [], []
        for member, command in enumerate(commands):
            own = {name: value for name, value in extra.items() if name != "WARDFLOW_CRASH" or member == where}
            process = subprocess.Popen(
                limits + command,
                cwd=self.folder,
                env=self._environment({**own, **extra_of_all}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            self.members.append(process)
            told = threading.Thread(target=self._listen, args=(process,), daemon=True)
            told.start()
            self._told.append(told)
        if wait:
            wait_until("wardflow subscribes or ends", lambda: self.subscribed() or not self.runs_now(), 60)
            if not self.runs_now():
                self.wait(30)
        return self

    def _listen(self, process):
        with open(os.path.join(self.folder, "stderr"), "ab") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                self.said.append(line.decode(errors="replace").rstrip())

    def words(self):
        """What this run has said."""
        return self.said[self.marks :]

    def subscribed(self):
        return any("subscribed" in line for line in self.words())

    def runs_now(self):
        """Whether all of it runs: with one that has ended the others end by themselves."""
        return bool(self.members) and all(process.poll() is None for process in self.members)

    @property
    def returncode(self):
        """Of the process whose end ended all: one that only lost another says so with status 1, as a failed one does."""
        codes = [process.returncode for process in self.members if process not in self.put_down]
        return min(codes, key=lambda code: (code is None, code >= 0 if code is not None else True, code == 0))

    def wait(self, seconds):
        """Whether it ends within these seconds. Of a set whose member has ended the others must end soon."""
        until = time.monotonic() + seconds
        while self.runs_now() and time.monotonic() < until:
            time.sleep(0.01)
        if self.runs_now():
            return False
        for process in self.members:
            try:
                # Where a set has not come together the others wait a while for the one that is missing.
                process.wait(30 if self.subscribed() else 0.5)
            except subprocess.TimeoutExpired:
                self._kill_all()
                if not self.subscribed():
                    continue
                raise Wrong(f"a process goes on for 30 s after another has ended: {self.words()[-5:]}") from None
        for told in self._told:
            told.join(10)
        return True

    def _kill_all(self):
        for process in self.members:
            if process.poll() is None:
                self.put_down.append(process)
                process.send_signal(signal.SIGKILL)
            process.wait()

    def kill(self):
        """One process, and the others of its set end by themselves; or all at once."""
        if self.runs_now():
            struck = self.dice.choice([*[[process] for process in self.members], self.members]) if self.processes > 1 else self.members
            for process in struck:
                process.send_signal(signal.SIGKILL)
        if self.members:
            self.wait(30)

    def stop(self, how=signal.SIGTERM):
        """A graceful end; its summary, which adds up."""
        # Whichever is asked, all end.
        asked = self.dice.choice(self.members) if self.processes > 1 else self.members[0]
        asked.send_signal(how)
        if not self.wait(60):
            self._kill_all()
            raise Wrong(f"signal {how} did not end the run within 60 s: {self.words()[-3:]}")
        codes = [process.returncode for process in self.members]
        if any(codes):
            raise Wrong(f"a stop ended with {codes}: {self.words()[-5:]}")
        return read_summary(os.path.join(self.folder, f"summary-{self.runs}.json"))

    def assert_spoken_well(self):
        """No panic, nothing for the developers' eyes only, on a user's screen."""
        for line in self.said:
            if "panicked" in line or "stack backtrace" in line or "RUST_BACKTRACE" in line:
                raise Wrong(f"the program said: {line}")

    def replay(self, workers):
        """Replays the journal into `ref`, undisturbed: exit status, what was said, the summary."""
        reference = os.path.join(self.folder, "ref")
        summary = os.path.join(self.folder, "ref.json")
        command = [self.binary, "replay", DATAFLOW, "--input", self.journal, "-o", reference]
        command += ["--state", reference + ".state", "-w", str(workers), "--summary", summary, *self._settings()]
        run = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.said.append("--- replay of the journal")
        self.said.extend(run.stderr.splitlines())
        return run.returncode, run.stderr, reference, (read_summary(summary) if run.returncode == 0 else None)


def free_ports(count):
    """Ports that nobody has now, below those that outgoing connections get."""
    ports = []
    while len(ports) < count:
        port = random.randrange(10_240, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def read_summary(path):
    with open(path) as file:
        summary = json.load(file)
    parts = summary["not_selected"] + summary["readings_out"] + summary["duplicates"]
    if summary["records_in"] != parts + sum(summary["quarantined"].values()):
        raise Wrong(f"the summary does not add up: {summary}")
    return summary


def log(line):
    print(line, file=sys.stderr, flush=True)
