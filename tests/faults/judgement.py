"""What must be true after a schedule, and the proof that each of these checks can fail."""

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from proxy import Connection, Proxy
from tables import Reader, Wrong, assert_unique, commit_of, compare, reading_keys, rows_of, visible


def judge(scene):
    """Everything that was promised; a line of what there was."""
    live = scene.program.output
    scene.program.assert_spoken_well()
    assert_in_order(scene.proxy)
    assert_unique(live)
    assert_complete(live, scene.expected(), scene.records.keys)
    status, said, reference, summary = scene.program.replay(scene.schedule.replay_workers)
    if scene.flipped:
        name = os.path.basename(scene.flipped[0])
        if status != 0:
            if name not in said:
                raise Wrong(f"the replay refuses a flipped bit in {name} without its name: {said}")
            scene.notes.append("refused by the replay")
            scene.mend()
            shutil.rmtree(reference, ignore_errors=True)
            shutil.rmtree(reference + ".state", ignore_errors=True)
            status, said, reference, summary = scene.program.replay(scene.schedule.replay_workers)
    if status != 0:
        raise Wrong(f"the journal's replay ended with {status}: {said}")
    if scene.schedule.forgets:
        # What is left of the journal begins at a commit, with the state of then.
        since = min(map(commit_of, visible(reference)), default=None)
        if since is not None:
            scene.notes.append(f"replayed from commit {since}")
            compare(live, reference, since)
    else:
        compare(live, reference)
        assert_counted(scene, live, summary)
    return (
        f"{scene.publisher.sent} published, {summary['records_in']} in the journal, {summary['readings_out']} readings, "
        f"{summary['duplicates']} copies, {scene.program.runs} runs, {scene.reader.looks} looks"
    )


def assert_complete(live, expected, sent):
    """What the broker has accepted is there, and nothing is that nobody has sent."""
    there = set(reading_keys(live))
    missing = expected - there
    if missing:
        raise Wrong(f"{len(missing)} of {len(expected)} acknowledged readings are missing, as {sorted(missing)[:3]}")
    strange = there - set(sent)
    if strange:
        raise Wrong(f"{len(strange)} readings were never sent, as {sorted(strange)[:3]}")


def assert_counted(scene, live, summary):
    """The summary of the journal's replay counts what is in the tables of the live run."""
    rows = {table: rows_of(live, table) for table in ("readings", "anomalies", "windows", "quarantine")}
    rows = {table: 0 if found is None else found.num_rows for table, found in rows.items()}
    refused = sum(summary["quarantined"].values())
    counted = {
        "readings": summary["readings_out"],
        "anomalies": summary["anomalies"],
        "windows": summary["windows"] + summary["revisions"],
        "quarantine": refused,
    }
    if rows != counted:
        raise Wrong(f"the tables have {rows}, the summary says {counted}")
    if scene.schedule.qos == 0 or scene.cut:
        return
    keys = [scene.records.keys[n] for n in scene.publisher.accepted() - scene.at_risk]
    bad = keys.count(None)
    copies = len(keys) - bad - len(set(keys) - {None})
    if refused < bad:
        raise Wrong(f"{bad} unusable records were acknowledged, {refused} are in quarantine")
    if summary["duplicates"] < copies:
        raise Wrong(f"{copies} copies were acknowledged, {summary['duplicates']} were dropped")


def prove(scene):
    """Breaks a sound output in every way that the checks are there for, and expects each of them to notice."""
    live, folder = scene.program.output, os.path.join(scene.folder, "broken")
    reference = os.path.join(scene.run, "ref")

    def broken(breaking):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(live, folder)
        breaking([path for path in visible(folder) if f"{os.sep}readings{os.sep}" in path])

    def one_bit(paths):
        table = pq.read_table(paths[0], partitioning=None)
        at = table.schema.get_field_index("systolic")
        values = table.column(at).to_pylist()
        values[0] = values[0] * (1 + 2**-52)
        pq.write_table(table.set_column(at, "systolic", pa.array(values, pa.float64())), paths[0])

    def without_a_row(paths):
        table = pq.read_table(paths[0], partitioning=None)
        pq.write_table(table.slice(1), paths[0])

    def twice(paths):
        shutil.copy(paths[0], paths[0].replace(".parquet", "-again.parquet"))

    def torn(paths):
        with open(paths[0], "r+b") as file:
            file.truncate(os.path.getsize(paths[0]) - 9)

    must_fail = [
        ("a value that differs in its last bit", one_bit, lambda: compare(folder, reference)),
        ("a missing row", without_a_row, lambda: compare(folder, reference)),
        ("a missing row", without_a_row, lambda: assert_complete(folder, scene.expected(), scene.records.keys)),
        ("a row that is there twice", twice, lambda: assert_unique(folder)),
        ("a row that is there twice", twice, lambda: Reader(folder).look()),
        ("a file that is not complete", torn, lambda: Reader(folder).look()),
        ("a file that changes", lambda paths: None, lambda: look_twice(folder, lambda path: os.utime(path))),
        ("a file that goes", lambda paths: None, lambda: look_twice(folder, os.remove)),
        ("acknowledgements out of order", lambda paths: None, acknowledge_out_of_order),
        ("a record too many", lambda paths: None, lambda: assert_complete(folder, {(1, "D")}, scene.records.keys)),
        ("a record that nobody sent", lambda paths: None, lambda: assert_complete(folder, set(), set())),
    ]
    for what, breaking, check in must_fail:
        broken(breaking)
        try:
            check()
        except Wrong:
            continue
        raise Wrong(f"the harness does not notice {what}")
    shutil.rmtree(folder)
    return f"{len(must_fail)} ways to be wrong are noticed"


def look_twice(folder, change):
    reader = Reader(folder)
    reader.look()
    change(visible(folder)[0])
    reader.look()


def acknowledge_out_of_order():
    proxy, connection = Proxy(broker_port=0), Connection(None, None)
    published, acknowledged = b"\x32\x06\x00\x01t%s", b"\x40\x02%s"
    for message in (b"\x00\x01", b"\x00\x02"):
        proxy._from_broker(published.replace(b"%s", message), connection)
    for message in (b"\x00\x02", b"\x00\x01"):
        proxy._from_client(acknowledged.replace(b"%s", message), connection)
    proxy.end()
    assert_in_order(proxy)


def assert_in_order(proxy):
    if proxy.wrong:
        raise Wrong(proxy.wrong)
