"""Reads a replay's tables with pyarrow and with DuckDB and holds them against the replay's own summary.

usage: readers.py OUTPUT SUMMARY
"""

import json
import sys

import duckdb
import pyarrow.dataset
import pyarrow.parquet


def main(output, summary_path):
    with open(summary_path) as file:
        summary = json.load(file)
    expected = {
        "readings": summary["readings_out"],
        "anomalies": summary["anomalies"],
        "windows": summary["windows"] + summary["revisions"],
        "quarantine": sum(summary["quarantined"].values()),
    }
    for table, rows in expected.items():
        assert rows > 0, f"the sample has rows for every table, but none for {table}"
        dataset = pyarrow.dataset.dataset(f"{output}/{table}", format="parquet", partitioning="hive")
        assert dataset.count_rows() == rows, (table, "pyarrow", dataset.count_rows(), rows)
        glob = f"read_parquet('{output}/{table}/**/*.parquet', hive_partitioning = true)"
        found = duckdb.sql(f"select count(*) from {glob}").fetchall()[0][0]
        assert found == rows, (table, "DuckDB", found, rows)

    readings = f"read_parquet('{output}/readings/**/*.parquet', hive_partitioning = true)"
    types = dict(duckdb.sql(f"select column_name, column_type from (describe select * from {readings})").fetchall())
    assert types["timestamp"] == "TIMESTAMP WITH TIME ZONE", types
    assert types["temperature"] == types["anomaly_score"] == "DOUBLE", types
    assert types["device_id"] == "VARCHAR" and types["late"] == "BOOLEAN", types
    assert "name" not in types and "dob" not in types and "text" not in types, types

    # The partition is the UTC date of every row in it.
    duckdb.sql("set timezone = 'UTC'")
    wrong = duckdb.sql(f"select count(*) from {readings} where cast(timestamp as date) <> cast(date as date)").fetchall()[0][0]
    assert wrong == 0, f"{wrong} readings lie in the partition of another date"

    # The windows say of a device what its readings say, computed by someone else.
    windows = f"read_parquet('{output}/windows/**/*.parquet', hive_partitioning = true)"
    compared, different = duckdb.sql(
        f"""
        with latest as (
            select * from {windows} where grouping = 'device_id'
            qualify revision = max(revision) over (partition by window_start, key)
        ), computed as (
            select device_id, time_bucket(interval '1 minute', timestamp) as start, count(*) as records,
                   count(pulse) as pulses, avg(pulse) as mean, min(pulse) as low, max(pulse) as high, stddev_samp(pulse) as deviation
            from {readings} where not late group by all
        )
        select count(*), count(*) filter (
            where w.records is distinct from c.records or w.pulse_count is distinct from c.pulses
               or w.pulse_min is distinct from c.low or w.pulse_max is distinct from c.high
               or abs(w.pulse_mean - c.mean) > 1e-9 * abs(c.mean)
               or abs(coalesce(w.pulse_stddev, -1) - coalesce(c.deviation, -1)) > 1e-6)
        from latest w full join computed c on w.key = c.device_id and w.window_start = c.start
        """
    ).fetchall()[0]
    assert compared > 0 and different == 0, (compared, different)

    # What a reader of single files sees: each is complete, and says what it is.
    for fragment in pyarrow.dataset.dataset(f"{output}/readings", format="parquet", partitioning="hive").get_fragments():
        metadata = pyarrow.parquet.read_metadata(fragment.path)
        assert metadata.num_rows > 0 and metadata.row_group(0).column(0).compression == "ZSTD"

    print(f"pyarrow and DuckDB agree with the summary on {expected} and on {compared} windows")


if __name__ == "__main__":
    main(*sys.argv[1:])
