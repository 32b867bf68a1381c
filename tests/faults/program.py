"""The real program: a live run that can be killed, and the replay of its journal."""

import json
import os
import signal
import subprocess
import sys
import threading

from broker import wait_until
from tables import Wrong

DATAFLOW = "realtime_analytics"


class Program:
    def __init__(self, binary, folder, disk, workers, settings):
        self.binary, self.folder, self.workers = os.path.abspath(binary), folder, workers
        self.output = os.path.join(disk, "out")
        self.state = os.path.join(disk, "out.state")
        self.settings = settings
        self.url = None
        self.process = None
        self.said = []  # lines of every run
        self.runs = 0
        self.marks = 0
        self._told = None

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

        # By other programs: Python's own code between fork and exec can hang where there are threads.
        limits = ["env", "--ignore-signal=XFSZ", "prlimit", "--core=0"]
        if largest_file:
            limits.append(f"--fsize={largest_file}")
        self.process = subprocess.Popen(
            limits + command,
            cwd=self.folder,
            env=self._environment(extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.said.append(f"--- run {self.runs}, {extra or 'as it is'}")
        self.marks = len(self.said)
        self._told = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self._told.start()
        if wait:
            wait_until("wardflow subscribes or ends", lambda: self.subscribed() or not self.runs_now(), 60)
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
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds):
        """Whether it ends within these seconds."""
        try:
            self.process.wait(seconds)
            self._told.join(10)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self):
        if self.runs_now():
            self.process.send_signal(signal.SIGKILL)
        self.wait(30)

    def stop(self, how=signal.SIGTERM):
        """A graceful end; its summary, which adds up."""
        self.process.send_signal(how)
        if not self.wait(60):
            self.kill()
            raise Wrong(f"signal {how} did not end the run within 60 s: {self.words()[-3:]}")
        if self.process.returncode != 0:
            raise Wrong(f"a stop ended with {self.process.returncode}: {self.words()[-3:]}")
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


def read_summary(path):
    with open(path) as file:
        summary = json.load(file)
    parts = summary["not_selected"] + summary["readings_out"] + summary["duplicates"]
    if summary["records_in"] != parts + sum(summary["quarantined"].values()):
        raise Wrong(f"the summary does not add up: {summary}")
    return summary


def log(line):
    print(line, file=sys.stderr, flush=True)
