"""A Mosquitto of our own: a free port of the loopback, its own configuration, memory that is saved when we say so."""

import os
import signal
import socket
import subprocess
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


class Broker:
    def __init__(self, folder, inflight):
        self.folder = folder
        self.port = free_port()
        self.process = None
        os.makedirs(folder)
        # Queued messages are bounded by nothing; the default of 1,000 drops the rest in silence.
        # Saved is at a graceful end and at SIGUSR1 only: what SIGKILL loses is then known.
        with open(self._path("mosquitto.conf"), "w") as config:
            config.write(
                f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
                f"persistence true\npersistence_location {folder}/\nautosave_interval 0\n"
                f"max_queued_messages 0\nmax_inflight_messages {inflight}\n"
                "set_tcp_nodelay true\nlog_type error\nlog_type warning\n"
                + ("user root\n" if os.geteuid() == 0 else "")
            )

    def _path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        with open(self._path("log"), "ab") as log:
            self.process = subprocess.Popen(
                ["mosquitto", "-c", self._path("mosquitto.conf")],
                env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        wait_until("Mosquitto listens", self.listens)

    def listens(self):
        if self.process.poll() is not None:
            with open(self._path("log")) as log:
                raise RuntimeError(f"Mosquitto ended with {self.process.returncode}: {log.read()[-500:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def save(self):
        """Writes its memory to disk, and returns once that is done."""
        database = self._path("mosquitto.db")
        before = os.stat(database).st_ino if os.path.exists(database) else None
        self.process.send_signal(signal.SIGUSR1)
        # It writes a new file and renames it.
        wait_until("Mosquitto saves", lambda: os.path.exists(database) and os.stat(database).st_ino != before)

    def end(self, how=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)
