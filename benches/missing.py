#!/usr/bin/env python3
"""What a missing measure should count as: `benches/missing.py --input messages.jsonl --binary target/release/wardflow` (pyarrow in the Python).

Takes real readings with many nulls, plants anomalies of known place (one present measure of a reading in a hundred, 4 to 8 standard
deviations off), and backtests them: as they are, with what the program does about nulls itself, and with the nulls filled in beforehand in
other ways. Told for each: the areas under the curves, and how much more often than their share readings with nulls are among the
hundredth with the highest scores (1 is as it should be: a null is not strange by itself). Means over several plantings.
"""

import argparse
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import tempfile

import pyarrow.dataset as dataset

MEASURES = ["temperature", "pulse", "oxygen_percent", "systolic", "diastolic", "respiration"]


def plant(rows, seed):
    dice = random.Random(seed)
    known = {m: [row[m] for row in rows if row.get(m) is not None] for m in MEASURES}
    spread = {m: (statistics.fmean(values), statistics.pstdev(values)) for m, values in known.items()}
    planted = []
    for row in rows:
        row = {**row, "planted": 0, "nulls": sum(row.get(m) is None for m in MEASURES)}
        present = [m for m in MEASURES if row.get(m) is not None]
        if present and dice.random() < 0.01:
            measure = dice.choice(present)
            mean, deviation = spread[measure]
            row[measure] = round(mean + dice.choice([-1, 1]) * dice.uniform(4, 8) * deviation, 2)
            row["planted"] = 1
        planted.append(row)
    return planted


def as_they_are(rows):
    return rows


def with_zero(rows):
    return [{**row, **{m: 0 for m in MEASURES if row[m] is None}} for row in rows]


def with_the_mean_so_far(rows):
    sums, counts, filled = dict.fromkeys(MEASURES, 0.0), dict.fromkeys(MEASURES, 0), []
    for row in rows:
        row = dict(row)
        if all(row[m] is None for m in MEASURES):
            filled.append(row)
            continue
        for m in MEASURES:
            if row[m] is None:
                row[m] = sums[m] / counts[m] if counts[m] else 0
            else:
                sums[m] += row[m]
                counts[m] += 1
        filled.append(row)
    return filled


def complete_rows_only(rows):
    """The others cannot be scored."""
    return [row if row["nulls"] == 0 else {**row, **dict.fromkeys(MEASURES)} for row in rows]


def backtest(binary, rows, settings):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with open(folder / "input.jsonl", "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        command = [binary, "backtest", "realtime_analytics", "--input", folder / "input.jsonl", "--label-column", "planted"]
        command += ["-o", folder / "out", "--report", folder / "report.json", "--unscored", "lowest"]
        for setting in ["forest.key=[]", f"record.measures={json.dumps(MEASURES)}", 'deduplicate.horizon="off"', *settings]:
            command += ["--set", setting]
        subprocess.run(command, check=True, capture_output=True)
        verdict = json.loads((folder / "report.json").read_text())
        table = dataset.dataset(folder / "out" / "readings", partitioning="hive").to_table(columns=["timestamp", "device_id", "anomaly_score"])
        nulls = {(row["timestamp"][:19], row["device_id"]): row["nulls"] for row in rows}
        scored = [
            (score, nulls[(time.strftime("%Y-%m-%dT%H:%M:%S"), device)])
            for time, device, score in zip(*(table.column(name).to_pylist() for name in table.column_names))
            if score is not None
        ]
        scored.sort(reverse=True)
        top = scored[: len(scored) // 100]
        share = lambda of: sum(nulls > 1 for _, nulls in of) / max(1, len(of))
        return verdict, share(top) / share(scored) if share(scored) else math.nan


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", default="target/release/wardflow")
    arguments.add_argument("--input", required=True)
    arguments.add_argument("--plantings", type=int, default=5)
    given = arguments.parse_args()
    with open(given.input) as file:
        rows = [json.loads(line) for line in file]
    print(f"{len(rows)} readings; null: " + ", ".join(f"{m} {sum(row.get(m) is None for row in rows) / len(rows):.0%}" for m in MEASURES))
    for normalise in ["none", "standardise"]:
        for fill in [as_they_are, with_the_mean_so_far, with_zero, complete_rows_only]:
            found = []
            for seed in range(given.plantings):
                verdict, excess = backtest(os.path.abspath(given.binary), fill(plant(rows, seed)), [f"forest.normalise={normalise}", f"forest.seed={seed}"])
                found.append((verdict["verdict"]["roc_area"], verdict["verdict"]["pr_area"], excess))
            roc, pr, excess = (statistics.fmean(column) for column in zip(*found))
            print(f"{normalise:12} {fill.__name__.replace('_', ' '):22} ROC {roc:.3f}  PR {pr:.3f}  readings with nulls among the highest {excess:.2f} times their share", flush=True)


if __name__ == "__main__":
    main()
