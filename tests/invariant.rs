//! The committed output is a function of the input and the settings: whatever the workers, the processes and the epochs.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::fs;

use program::{Scene, Summary};
use tables::{SEALED, assert_same_bytes, assert_same_output, assert_same_rows};
use ward::{Truth, Ward};

/// Small forests, so that all of them learn soon and score.
const SMALL_FORESTS: [&str; 4] = ["--set", "forest.trees=15", "--set", "forest.sample_size=40"];
const OVER_LONG: [&str; 2] = ["--set", "record.max_record_bytes=2048"];
const TOPOLOGIES: [(&str, &[&str]); 4] = [
    ("w2", &["-w", "2"]),
    ("w4", &["-w", "4"]),
    ("n2w2", &["--spawn", "-n", "2", "-w", "2"]),
    ("n3w1", &["--spawn", "-n", "3", "-w", "1"]),
];

fn bad_day(seed: u64, records: u64) -> Ward {
    Ward {
        over_long: Some(5000),
        ..Ward::on_a_bad_day(seed, records)
    }
}

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

fn assert_true(summary: &Summary, truth: &Truth) {
    summary.assert_accounted_for();
    assert_eq!(summary.count("records_in"), truth.records);
    assert_eq!(summary.count("readings_out"), truth.readings);
    assert_eq!(summary.count("duplicates"), truth.duplicates);
    assert_eq!(summary.quarantined(), truth.quarantined);
}

/// Runs over every topology; all must give the bytes and counts of one worker.
fn assert_the_same_for_all_workers(ward: &Ward, dataflow: &str, settings: &[&str]) -> Summary {
    let (scene, truth) = Scene::of(ward);
    let forests: &[&str] = if dataflow == "realtime_analytics" {
        &SMALL_FORESTS
    } else {
        &[]
    };
    let settings = with(&[forests, &OVER_LONG, settings]);
    let one = scene.replay(dataflow, "w1", &with(&[&["-w", "1"], &settings]));
    assert_true(&one, &truth);
    for (output, workers) in TOPOLOGIES {
        let many = scene.replay(dataflow, output, &with(&[workers, &settings]));
        let what = format!("{dataflow} {settings:?}: {workers:?} against one worker");
        assert_same_output(&scene.path("w1"), &scene.path(output), &what);
        assert_eq!(one.facts(), many.facts(), "{what}: the summaries differ");
    }
    one
}

#[test]
fn sensor_collection_is_the_same_for_all_workers_and_processes() {
    assert_the_same_for_all_workers(
        &bad_day(1, 6000),
        "sensor_collection",
        &["--set", "output.commit_rows=2500"],
    );
}

#[test]
fn ingest_transform_load_is_the_same_for_all_workers_and_processes() {
    let settings = [
        "--devices",
        "devices.csv",
        "--set",
        "devices.columns=[\"ward\"]",
        "--set",
        "replay.epoch_records=500",
    ];
    let summary = assert_the_same_for_all_workers(&bad_day(2, 6000), "ingest_transform_load", &settings);
    assert!(summary.count("unknown_devices") > 100, "{}", summary.0);
}

#[test]
fn realtime_analytics_is_the_same_for_all_workers_and_processes() {
    let settings = [
        "--devices",
        "devices.csv",
        "--set",
        "alerts.threshold=1.3",
        "--set",
        "replay.epoch_records=700",
    ];
    let summary = assert_the_same_for_all_workers(&bad_day(3, 8000), "realtime_analytics", &settings);
    for interesting in ["late", "unknown_devices", "windows", "revisions", "anomalies"] {
        assert!(summary.count(interesting) > 0, "{interesting}: {}", summary.0);
    }
}

#[test]
fn several_commits_and_shards_are_the_same_for_all_workers_and_processes() {
    let settings = [
        "--devices",
        "devices.csv",
        "--set",
        "output.commit_rows=900",
        "--set",
        "output.shards=3",
        "--set",
        "replay.epoch_records=130",
        "--set",
        "output.compression=snappy",
    ];
    let summary = assert_the_same_for_all_workers(&bad_day(4, 5000), "realtime_analytics", &settings);
    assert_eq!(summary.count("commits"), 6);
}

#[test]
fn a_watermark_for_each_device_is_the_same_for_all_workers_and_processes() {
    let settings = [
        "--devices",
        "devices.csv",
        "--set",
        "windows.watermark=device",
        "--set",
        "windows.groupings=[[\"device_id\"],[\"manufacturer\",\"device_id\"]]",
        "--set",
        "forest.key=[\"device_id\"]",
        "--set",
        "replay.epoch_records=600",
    ];
    let summary = assert_the_same_for_all_workers(&bad_day(5, 6000), "realtime_analytics", &settings);
    assert!(summary.count("revisions") > 0, "{}", summary.0);
}

#[test]
fn every_kind_of_forest_is_the_same_for_all_workers_and_processes() {
    let kinds: [&[&str]; 3] = [
        &["--set", "forest.key=[]", "--set", "forest.scoring=aws"],
        &[
            "--set",
            "forest.key=[\"manufacturer\",\"model\"]",
            "--set",
            "forest.shingle=4",
        ],
        &[
            "--set",
            "forest.key=[\"device_id\"]",
            "--set",
            "forest.scoring=aws",
            "--set",
            "forest.shingle=2",
        ],
    ];
    for (seed, kind) in (6..).zip(kinds) {
        let settings = with(&[&["--devices", "devices.csv", "--set", "alerts.threshold=1.2"], kind]);
        let summary = assert_the_same_for_all_workers(&bad_day(seed, 4000), "realtime_analytics", &settings);
        assert!(summary.count("anomalies") > 0, "{kind:?}: {}", summary.0);
    }
}

/// Where epochs, commits and shards are cut decides in which file a row lies, never which rows there are.
#[test]
fn epochs_commits_and_shards_change_no_row() {
    let (scene, _) = Scene::of(&bad_day(9, 4000));
    let common = with(&[
        &SMALL_FORESTS,
        &OVER_LONG,
        &["--devices", "devices.csv", "--set", "alerts.threshold=1.3"],
    ]);
    let whole = scene.replay("realtime_analytics", "whole", &common);
    let cuts: [(&str, &[&str]); 6] = [
        ("epoch7", &["--set", "replay.epoch_records=7"]),
        ("epoch100", &["-w", "2", "--set", "replay.epoch_records=100"]),
        ("epoch8192", &["-w", "4", "--set", "replay.epoch_records=8192"]),
        ("shards3", &["--set", "output.shards=3"]),
        (
            "commits",
            &[
                "-w",
                "2",
                "--set",
                "output.commit_rows=333",
                "--set",
                "replay.epoch_records=50",
            ],
        ),
        (
            "bytes",
            &["--set", "output.commit_bytes=100KB", "--set", "output.shards=2"],
        ),
    ];
    for (output, cut) in cuts {
        let other = scene.replay("realtime_analytics", output, &with(&[&common, cut]));
        assert_same_rows(
            &scene.path("whole"),
            &scene.path(output),
            &[SEALED],
            &format!("{cut:?}"),
        );
        for count in [
            "readings_out",
            "late",
            "windows",
            "revisions",
            "anomalies",
            "duplicates",
            "unknown_devices",
        ] {
            assert_eq!(whole.count(count), other.count(count), "{cut:?}: {count}");
        }
    }
}

#[test]
fn an_epoch_for_every_record_changes_no_row() {
    let (scene, _) = Scene::of(&bad_day(10, 700));
    for dataflow in ["sensor_collection", "ingest_transform_load", "realtime_analytics"] {
        let devices: &[&str] = if dataflow == "sensor_collection" {
            &[]
        } else {
            &["--devices", "devices.csv"]
        };
        let common = with(&[&OVER_LONG, devices]);
        let (whole, single) = (format!("{dataflow}-whole"), format!("{dataflow}-single"));
        scene.replay(dataflow, &whole, &common);
        scene.replay(
            dataflow,
            &single,
            &with(&[&common, &["-w", "3", "--set", "replay.epoch_records=1"]]),
        );
        assert_same_rows(&scene.path(&whole), &scene.path(&single), &[SEALED], dataflow);
    }
}

/// The payload key lives in the vault: who shares it, has the same sealed bytes.
#[test]
fn runs_that_share_a_vault_are_the_same_to_the_byte_of_the_quarantine() {
    let (scene, truth) = Scene::of(&bad_day(11, 3000));
    let common = with(&[&SMALL_FORESTS, &OVER_LONG, &["--set", "output.commit_rows=1000"]]);
    assert_true(&scene.replay("realtime_analytics", "out", &common), &truth);
    for workers in [["-w", "1"], ["-w", "3"]] {
        fs::rename(scene.path("out"), scene.path("before")).expect("the output is moved");
        fs::remove_file(scene.path("out.state/manifest.json")).expect("the manifest is removed");
        scene.replay("realtime_analytics", "out", &with(&[&workers, &common]));
        assert_same_bytes(
            &scene.path("before"),
            &scene.path("out"),
            &format!("{workers:?} with the same vault"),
        );
        fs::remove_dir_all(scene.path("before")).expect("the earlier output is removed");
    }
    let spawned = with(&[&["--spawn", "-n", "2", "-w", "2"], &common]);
    fs::rename(scene.path("out"), scene.path("before")).expect("the output is moved");
    fs::remove_file(scene.path("out.state/manifest.json")).expect("the manifest is removed");
    scene.replay("realtime_analytics", "out", &spawned);
    assert_same_bytes(
        &scene.path("before"),
        &scene.path("out"),
        "two processes with the same vault",
    );
}

/// The generator is the oracle of all this: it must make the same bytes from the same seed.
#[test]
fn the_generated_ward_is_the_same_every_time() {
    let made = |seed| {
        let mut bytes = Vec::new();
        let truth = bad_day(seed, 500).write(&mut bytes).expect("memory takes all");
        (bytes, truth)
    };
    assert_eq!(made(12), made(12));
    assert_ne!(made(12).0, made(13).0);
    let (bytes, truth) = made(12);
    assert_eq!(bytes.split(|b| *b == b'\n').count() as u64 - 1, truth.records);
    assert_eq!(
        truth.readings + truth.duplicates + truth.quarantined.values().sum::<u64>(),
        truth.records
    );
}
