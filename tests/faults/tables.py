"""What lies in an output folder: a reader that looks while it is written, and the comparison of two outputs, bit for bit."""

import glob
import hashlib
import io
import os
import threading
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TABLES = ["readings", "anomalies", "windows", "quarantine"]
UNIQUE = {
    "readings": ["timestamp", "device_id"],
    "anomalies": ["timestamp", "device_id"],
    "windows": ["window_start", "grouping", "key", "revision"],
    "quarantine": ["position"],
}
SEALED = "sealed_payload"


class Wrong(Exception):
    """A promise that was not kept."""


def visible(output):
    return sorted(glob.glob(os.path.join(output, "*", "date=*", "*.parquet")))


def commit_of(path):
    """The number in part-00000012-00.parquet."""
    return int(os.path.basename(path).split("-")[1])


def rows_of(output, table, since=0):
    """The rows of a table from a commit on, floats as their bits, in one order; None if it has no file."""
    tables = []
    for path in visible(output):
        parts = os.path.relpath(path, output).split(os.sep)
        if parts[0] == table and (not since or commit_of(path) >= since):
            rows = pq.ParquetFile(path).read()
            date = pa.array([parts[1]] * rows.num_rows, pa.string())
            tables.append(rows.append_column("date", date))
    return comparable(pa.concat_tables(tables)) if tables else None


def comparable(rows):
    if SEALED in rows.column_names:
        rows = rows.drop_columns([SEALED])
    for at, field in enumerate(rows.schema):
        if pa.types.is_float64(field.type):
            bits = [chunk.view(pa.int64()) for chunk in rows.column(at).chunks]
            rows = rows.set_column(at, field.name, pa.chunked_array(bits, pa.int64()))
    return rows.sort_by([(name, "ascending") for name in rows.column_names]).combine_chunks()


def compare(live, reference, since=0):
    """The same rows in every table, to the last bit; of the live output those from a commit on."""
    for table in TABLES:
        ours, theirs = rows_of(live, table, since), rows_of(reference, table)
        counts = [0 if rows is None else rows.num_rows for rows in (ours, theirs)]
        if 0 in counts:
            if counts[0] != counts[1]:
                raise Wrong(f"{table}: {counts[0]} rows live, {counts[1]} in the undisturbed replay of the journal")
            continue
        if ours.schema.names != theirs.schema.names:
            raise Wrong(f"{table}: columns {ours.schema.names} live, {theirs.schema.names} replayed")
        if not ours.equals(theirs):
            raise Wrong(f"{table}: {counts[0]} rows live, {counts[1]} replayed; {first_difference(ours, theirs, table)}")


def first_difference(ours, theirs, table):
    ours, theirs = ours.to_pylist(), theirs.to_pylist()
    for key in UNIQUE[table]:
        ours_keys, theirs_keys = (sorted({str(row[key]) for row in rows}) for rows in (ours, theirs))
        if ours_keys != theirs_keys:
            only = [sorted(set(a) - set(b))[:5] for a, b in ((ours_keys, theirs_keys), (theirs_keys, ours_keys))]
            return f"{key} only live: {only[0]}, only replayed: {only[1]}"
    for a, b in zip(ours, theirs):
        if a != b:
            columns = [name for name in a if a[name] != b[name]]
            return f"first at {[str(a[key]) for key in UNIQUE[table]]}, in the columns {columns}: {a} and {b}"
    return "one is longer"


def assert_unique(output):
    for table, unique in UNIQUE.items():
        rows = rows_of(output, table)
        if rows is None:
            continue
        counted = rows.group_by(unique).aggregate([([], "count_all")])
        twice = counted.filter(pc.greater(counted["count_all"], 1))
        if twice.num_rows:
            raise Wrong(f"{table}: {twice.num_rows} rows are there more than once, as {twice.slice(0, 1).to_pylist()}")


def reading_keys(output):
    """(microseconds, device) of every reading."""
    rows = rows_of(output, "readings")
    if rows is None:
        return []
    return list(zip(rows["timestamp"].cast(pa.int64()).to_pylist(), rows["device_id"].to_pylist()))


class Reader(threading.Thread):
    """Looks at the output all the time, as those who use it do: what is visible is complete, stays as it is, and is there once."""

    def __init__(self, output):
        super().__init__(daemon=True)
        self.output = output
        self.wrong = None
        self.looks = 0
        self.readings = set()
        self._files = {}
        self._done = threading.Event()

    def run(self):
        try:
            while not self._done.is_set():
                self.look()
                time.sleep(0.03)
            self.look(thoroughly=True)
        except Wrong as wrong:
            self.wrong = wrong
        except Exception as failure:
            self.wrong = Wrong(f"the reader failed: {failure!r}")

    def look(self, thoroughly=False):
        found = visible(self.output)
        gone = [path for path in self._files if path not in set(found)]
        if gone:
            raise Wrong(f"{gone[0]} was visible and has gone")
        for path in found:
            stat = os.stat(path)
            state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if path not in self._files:
                self._files[path] = (state, self._take(path))
            elif self._files[path][0] != state or (thoroughly and self._files[path][1] != digest(path)):
                raise Wrong(f"{path} has changed since it was first visible")
        self.looks += 1

    def _take(self, path):
        with open(path, "rb") as file:
            content = file.read()
        try:
            rows = pq.read_table(io.BytesIO(content))
        except Exception as failure:
            raise Wrong(f"{path} is visible and not complete: {failure}") from failure
        if not rows.num_rows:
            raise Wrong(f"{path} holds no rows")
        if os.path.relpath(path, self.output).startswith("readings"):
            keys = list(zip(rows["timestamp"].cast(pa.int64()).to_pylist(), rows["device_id"].to_pylist()))
            again = [key for key in keys if key in self.readings]
            if again or len(set(keys)) < len(keys):
                raise Wrong(f"{path} holds readings that were visible before, as {(again or keys)[:1]}")
            self.readings.update(keys)
        return hashlib.sha256(content).digest()

    def end(self):
        self._done.set()
        self.join(60)
        if self.wrong:
            raise self.wrong


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).digest()
