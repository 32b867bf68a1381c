//! A replay from a user's side: every record is accounted for, whatever the form of the input; a replay can be repeated, is refused where
//! it does not belong; the vault can be asked afterwards.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use program::{Run, Scene, Summary};
use serde_json::Value;
use tables::{Cell, Rows, assert_same_bytes, files};
use ward::{Ward, dob_of, name_of, patient_id};

const DATASETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/datasets/");

/// A real data set, if it is there.
fn dataset(name: &str) -> Option<PathBuf> {
    let path = Path::new(DATASETS).join(name);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn every_record_is_accounted_for_as_it_was_made() {
    let ward = Ward {
        over_long: Some(5000),
        bad: 0.1,
        duplicates: 0.1,
        ..Ward::on_a_bad_day(21, 5000)
    };
    let (scene, truth) = Scene::of(&ward);
    assert_eq!(
        truth.quarantined.len(),
        10,
        "every reason is among the bad lines: {:?}",
        truth.quarantined
    );
    for dataflow in ["sensor_collection", "ingest_transform_load", "realtime_analytics"] {
        let devices: &[&str] = if dataflow == "sensor_collection" {
            &[]
        } else {
            &["--devices", "devices.csv"]
        };
        let settings = [&["-w", "2", "--set", "record.max_record_bytes=2048"], devices].concat();
        let summary = scene.replay(dataflow, dataflow, &settings);
        summary.assert_accounted_for();
        assert_eq!(summary.count("records_in"), truth.records);
        assert_eq!(summary.count("readings_out"), truth.readings);
        assert_eq!(summary.count("duplicates"), truth.duplicates);
        assert_eq!(summary.quarantined(), truth.quarantined);
        if !devices.is_empty() {
            assert_eq!(summary.count("unknown_devices"), truth.unknown_devices);
        }
        let output = scene.path(dataflow);
        assert_eq!(Rows::of(&output, "readings").rows.len() as u64, truth.readings);
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let quarantine = Rows::of(&output, "quarantine");
        for reason in quarantine.column("reason") {
            let Cell::Text(reason) = reason else {
                panic!("a reason is a text")
            };
            *reasons.entry(reason).or_default() += 1;
        }
        assert_eq!(reasons, truth.quarantined);
        let bytes: usize = files(&output).values().map(Vec::len).sum();
        assert_eq!(summary.count("output_bytes"), bytes as u64);
    }
}

#[test]
fn the_summary_has_the_promised_keys() {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(22, 300));
    let summary = scene.replay("realtime_analytics", "out", &[]);
    let promised = [
        "records_in",
        "not_selected",
        "readings_out",
        "quarantined",
        "duplicates",
        "late",
        "unknown_devices",
        "windows",
        "revisions",
        "anomalies",
        "seconds",
        "cpu_seconds",
        "records_per_second",
        "peak_rss_bytes",
        "output_bytes",
    ];
    let further = ["dataflow", "commits", "stages"];
    let keys: BTreeSet<&str> = summary
        .0
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, promised.into_iter().chain(further).collect());
    for key in promised {
        match key {
            "quarantined" => assert!(summary.0[key].is_object()),
            "seconds" | "cpu_seconds" | "records_per_second" => {
                assert!(summary.0[key].as_f64().is_some_and(|n| n > 0.0))
            }
            _ => assert!(summary.0[key].is_u64(), "{key}"),
        }
    }
    let run = scene.run(&scene.replay_arguments("realtime_analytics", "second", &["--summary", "summary.json"]));
    assert_eq!(run.status, 2, "--summary twice is a mistake of use");
    let arguments = [
        "replay",
        "realtime_analytics",
        "--input",
        "input.jsonl",
        "-o",
        "third",
        "--summary",
        "summary.json",
    ];
    let run = scene.run(&arguments);
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let written = fs::read_to_string(scene.path("summary.json")).expect("the summary's file");
    assert_eq!(Summary::read(&written).facts(), summary.facts());
}

/// Runs with `text` as standard input.
fn run_with_input(scene: &Scene, arguments: &[&str], text: &[u8]) -> Run {
    let mut child = scene
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let text = text.to_owned();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&text)));
    let output = child.wait_with_output().expect("the program ends");
    feeder.join().expect("the feeder ends");
    output.into()
}

#[test]
fn file_folder_glob_stdin_and_several_files_give_the_same_tables() {
    let (scene, truth) = Scene::of(&Ward::on_a_bad_day(23, 3000));
    let text = fs::read(scene.path("input.jsonl")).expect("the records");
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    for (name, part) in [
        ("parts/a.jsonl", 0..1),
        ("parts/b/c.ndjson", 1..1200),
        ("parts/d.json", 1200..lines.len()),
    ] {
        let mut part = lines[part].concat();
        part.pop(); // the last line of a file need not end
        scene.write(name, part);
    }
    scene.write("parts/readme.txt", "no records");
    scene.write("flat/1.jsonl", [b"\xef\xbb\xbf", &lines[..1000].concat()[..]].concat());
    scene.write(
        "flat/2.jsonl",
        [&b"\n  \r\n"[..], &lines[1000..].concat(), b"\n\n"].concat(),
    );
    scene.write("flat/0.jsonl", "");

    let whole = scene.replay("realtime_analytics", "whole", &[]);
    assert_eq!(whole.count("readings_out"), truth.readings);
    let inputs: [(&str, &[&str]); 5] = [
        ("folder", &["--input", "parts"]),
        ("glob", &["--input", "flat/*.jsonl"]),
        (
            "listed",
            &["--input", "parts/a.jsonl", "parts/b/c.ndjson", "parts/d.json"],
        ),
        ("repeated", &["--input", "flat/1.jsonl", "--input", "flat/2.jsonl"]),
        ("spawned", &["--input", "parts", "--spawn", "-n", "2"]),
    ];
    for (output, input) in inputs {
        let summary = scene.replay("realtime_analytics", output, input);
        assert_eq!(whole.count("records_in"), summary.count("records_in"), "{input:?}");
        for table in ["readings", "windows"] {
            let (a, b) = (scene.path("whole").join(table), scene.path(output).join(table));
            assert_same_bytes(&a, &b, &format!("{input:?}: {table}"));
        }
    }
    let arguments = scene.replay_arguments("realtime_analytics", "stdin", &["-w", "2", "--input", "-"]);
    let run = run_with_input(&scene, &arguments, &text);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_same_bytes(
        &scene.path("whole/readings"),
        &scene.path("stdin/readings"),
        "standard input",
    );

    let quarantine = Rows::of(&scene.path("folder"), "quarantine");
    let lines_of_b: Vec<_> = (quarantine.column("source").into_iter().zip(quarantine.column("line")))
        .zip(quarantine.column("position"))
        .filter(|((source, _), _)| **source == Cell::Text("c.ndjson".into()))
        .collect();
    assert!(!lines_of_b.is_empty());
    for ((_, line), position) in lines_of_b {
        let (Cell::Integer(line), Cell::Integer(position)) = (line, position) else {
            panic!("counts")
        };
        assert_eq!(
            *line, *position,
            "line 1 of the second file is record 1, counted from 0"
        );
    }
}

#[test]
fn an_input_without_records_gives_an_empty_output() {
    let scene = Scene::empty();
    scene.write("input.jsonl", "\n \n");
    for dataflow in ["sensor_collection", "ingest_transform_load", "realtime_analytics"] {
        let summary = scene.replay(dataflow, dataflow, &["-w", "2"]);
        assert_eq!(summary.count("records_in"), 0);
        summary.assert_accounted_for();
        assert!(files(&scene.path(dataflow)).is_empty());
        scene.replay(dataflow, dataflow, &["--spawn", "-n", "2"]);
    }
}

#[test]
fn only_selected_patients_come_out_and_into_the_vault() {
    let (scene, truth) = Scene::of(&Ward::on_a_bad_day(24, 3000));
    let wanted = [patient_id(3), patient_id(17)];
    let selection = format!("select.patients=[\"{}\",\"{}\"]", wanted[0], wanted[1]);
    let summary = scene.replay("sensor_collection", "out", &["-w", "2", "--set", &selection]);
    summary.assert_accounted_for();
    let (mut readings, mut copies) = (0, 0);
    for patient in &wanted {
        let (of_readings, of_copies) = truth.of_patient[patient];
        readings += of_readings;
        copies += of_copies;
    }
    assert_eq!(
        (summary.count("readings_out"), summary.count("duplicates")),
        (readings, copies)
    );
    assert_eq!(
        summary.count("not_selected"),
        truth.readings + truth.duplicates - readings - copies
    );
    let output = Rows::of(&scene.path("out"), "readings");
    assert!(
        output
            .column("patient_id")
            .iter()
            .all(|id| wanted.iter().any(|w| **id == Cell::Text(w.clone())))
    );
    assert_eq!(scene.run(&["vault", "show", &wanted[0], "--kek", "file:kek"]).status, 0);
    let other = scene.run(&["vault", "show", &patient_id(4), "--kek", "file:kek"]);
    assert_eq!(
        other.status, 1,
        "a patient who is not selected is not in the vault: {}",
        other.stdout
    );
}

#[test]
fn other_names_nested_fields_and_the_file_as_device_are_found() {
    let scene = Scene::empty();
    scene.write(
        "bed-7.jsonl",
        concat!(
            "{\"at\":{\"s\":1508039751.778},\"PatientID\":\"P1\",\"vitals\":{\"Temp\":\"98.6\",\"pulse\":61},\"device_id\":\"ignored\"}\n",
            "{\"at.s\":\"1508039752\",\"patient_id\":\"P2\",\"Temp\":99.5,\"vitals\":null,\"pulse\":7}\n",
            "{\"at\":{\"s\":\"2017-10-15T05:55:53+02:00\"},\"patient_id\":null,\"temperature\":null}\n",
        ),
    );
    let settings = [
        "--input",
        "bed-7.jsonl",
        "--set",
        "record.timestamp=at.s",
        "--set",
        "record.timestamp_unit=s",
        "--set",
        "record.device=@file",
        "--set",
        "record.measures=[\"temperature\",\"vitals.pulse\"]",
        "--set",
        "record.aliases={PatientID=\"patient_id\",Temp=\"temperature\",\"vitals.Temp\"=\"temperature\"}",
    ];
    let summary = scene.replay("sensor_collection", "out", &settings);
    assert_eq!(summary.count("readings_out"), 3, "{}", summary.0);
    let rows = Rows::of(&scene.path("out"), "readings");
    let text = |text: &str| Cell::Text(text.into());
    let float = |float: f64| Cell::Float(float.to_bits());
    assert_eq!(
        rows.column("timestamp"),
        [1_508_039_751_778_000, 1_508_039_752_000_000, 1_508_039_753_000_000]
            .map(Cell::Integer)
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(rows.column("device_id").iter().all(|id| **id == text("bed-7")));
    assert_eq!(rows.column("patient_id"), [&text("P1"), &text("P2"), &Cell::Null]);
    assert_eq!(rows.column("temperature"), [&float(98.6), &float(99.5), &Cell::Null]);
    assert_eq!(rows.column("vitals.pulse"), [&float(61.0), &Cell::Null, &Cell::Null]);
}

const WITH_RESPIRATION: [&str; 2] = [
    "--set",
    "record.measures=[\"temperature\",\"pulse\",\"oxygen_percent\",\"systolic\",\"diastolic\",\"respiration\"]",
];

/// Rows as JSON says them: of each line the measures that are not null, added up by their bits.
fn count_measures(path: &Path, names: &[&str]) -> (u64, BTreeMap<String, u64>) {
    let (mut lines, mut present) = (0, BTreeMap::new());
    for line in fs::read_to_string(path).expect("the data set").lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        lines += 1;
        for name in names {
            *present.entry((*name).to_owned()).or_default() += u64::from(record[*name].is_number());
        }
    }
    (lines, present)
}

fn assert_real_vitals(path: &Path, more: &[&str]) {
    let measures = [
        "temperature",
        "pulse",
        "oxygen_percent",
        "systolic",
        "diastolic",
        "respiration",
    ];
    let (lines, present) = count_measures(path, &measures);
    let scene = Scene::empty();
    let input = path.display().to_string();
    let arguments = [&["-w", "2", "--input", &input], &WITH_RESPIRATION[..], more].concat();
    let summary = scene.replay("realtime_analytics", "out", &arguments);
    summary.assert_accounted_for();
    assert_eq!(summary.count("records_in"), lines);
    assert_eq!(summary.quarantined(), BTreeMap::new());
    if summary.count("duplicates") > 0 {
        return; // then the measures of copies are missing too
    }
    let readings = Rows::of(&scene.path("out"), "readings");
    for (name, count) in present {
        let found = readings
            .column(&name)
            .into_iter()
            .filter(|cell| **cell != Cell::Null)
            .count() as u64;
        assert_eq!(found, count, "{name}");
    }
    let windows = Rows::of(&scene.path("out"), "windows");
    let in_windows = |key: &str| -> i64 {
        let mut highest: BTreeMap<(&Cell, &Cell, &Cell), (&Cell, i64)> = BTreeMap::new();
        let (starts, keys, groupings) = (
            windows.column("window_start"),
            windows.column("key"),
            windows.column("grouping"),
        );
        let (revisions, records) = (windows.column("revision"), windows.column("records"));
        for i in 0..starts.len() {
            let Cell::Integer(count) = records[i] else {
                panic!("a count")
            };
            let place = highest
                .entry((starts[i], groupings[i], keys[i]))
                .or_insert((revisions[i], *count));
            if revisions[i] > place.0 {
                *place = (revisions[i], *count);
            }
        }
        highest
            .iter()
            .filter(|((_, grouping, _), _)| **grouping == Cell::Text(key.into()))
            .map(|(_, (_, n))| n)
            .sum()
    };
    let in_time = (summary.count("readings_out") - summary.count("late")) as i64;
    assert_eq!(
        in_windows("device_id"),
        in_time,
        "each reading that is not late is in one window of its device"
    );
}

#[test]
fn the_challenge_2019_vitals_come_through() {
    if let Some(path) = dataset("challenge2019/messages.jsonl") {
        assert_real_vitals(&path, &[]);
        let by_device = [
            "--set",
            "windows.watermark=device",
            "--set",
            "windows.groupings=[\"device_id\"]",
        ];
        assert_real_vitals(&path, &by_device);
    }
}

#[test]
fn the_mimic_demo_comes_through() {
    if let Some(path) = dataset("mimic3demo/vitals.jsonl") {
        let by_device = [
            "--set",
            "windows.watermark=device",
            "--set",
            "windows.groupings=[\"device_id\"]",
        ];
        assert_real_vitals(&path, &by_device);
    }
}

#[test]
fn the_iot_capture_is_refused_as_it_is_and_read_as_far_as_it_goes_with_its_fields_mapped() {
    let Some(path) = dataset("iot_mqtt/capture.jsonl") else {
        return;
    };
    let lines: Vec<Value> = fs::read_to_string(&path)
        .expect("the capture")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let scene = Scene::empty();
    let input = path.display().to_string();
    let plain = scene.replay("sensor_collection", "plain", &["--input", &input]);
    assert_eq!(plain.count("readings_out"), 0);
    assert_eq!(plain.quarantined().values().sum::<u64>(), lines.len() as u64);
    assert_eq!(Rows::of(&scene.path("plain"), "quarantine").rows.len(), lines.len());

    let mapped = [
        "--input",
        &input,
        "--set",
        "record.timestamp=payload.timestamp",
        "--set",
        "record.timestamp_unit=s",
        "--set",
        "record.device=payload.node-id",
        "--set",
        "record.patient=\"\"",
        "--set",
        "record.measures=[\"payload.temp-C\",\"payload.hum-percent\"]",
        "--set",
        "record.aliases={\"payload.deviceId\"=\"payload.node-id\"}",
        "--set",
        "deduplicate.horizon=off",
    ];
    let summary = scene.replay("sensor_collection", "mapped", &mapped);
    summary.assert_accounted_for();
    let readable = |line: &&Value| {
        let payload = &line["payload"];
        let device = ["node-id", "deviceId"]
            .iter()
            .any(|key| payload[*key].as_str().is_some_and(|id| !id.is_empty()));
        line.is_object() && device && (payload["timestamp"].is_number() || payload["timestamp"].is_string())
    };
    let expected = lines.iter().filter(readable).count() as u64;
    assert!(expected > 0);
    assert_eq!(summary.count("readings_out"), expected, "{}", summary.0);
    let distinct = scene.replay("sensor_collection", "distinct", &mapped[..mapped.len() - 2]);
    assert!(
        distinct.count("duplicates") > 0,
        "half of the capture is repeated: {}",
        distinct.0
    );
}

#[test]
fn the_same_command_again_gives_the_same_folder() {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(25, 1500));
    let settings = ["--devices", "devices.csv", "--set", "output.commit_rows=400"];
    let first = scene.replay("realtime_analytics", "out", &settings);
    let before = files(&scene.path("out"));
    for workers in [["-w", "1"], ["-w", "2"]] {
        let again = scene.replay("realtime_analytics", "out", &[&workers[..], &settings].concat());
        assert_eq!(first.facts(), again.facts());
        assert_eq!(before, files(&scene.path("out")));
    }
}

#[test]
fn a_replay_of_anything_else_into_an_output_is_refused_and_changes_nothing() {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(26, 600));
    scene.replay("realtime_analytics", "out", &["--devices", "devices.csv"]);
    let text = fs::read(scene.path("input.jsonl")).expect("the records");
    scene.write("other.jsonl", &text[..text.len() / 2]);
    scene.write("changed.csv", "device_id,manufacturer,model\nLSD-000001,a,b\n");
    let before = (files(&scene.path("out")), files(&scene.path("out.state")));
    let others: [(&str, &[&str], &str); 7] = [
        (
            "realtime_analytics",
            &["--devices", "devices.csv", "--input", "other.jsonl"],
            "another input",
        ),
        (
            "ingest_transform_load",
            &["--devices", "devices.csv"],
            "this is ingest_transform_load",
        ),
        ("sensor_collection", &[], "this is sensor_collection"),
        (
            "realtime_analytics",
            &["--devices", "devices.csv", "--set", "forest.seed=7"],
            "forest.seed is 7, was 42",
        ),
        (
            "realtime_analytics",
            &["--devices", "devices.csv", "--set", "output.commit_rows=5"],
            "output.commit_rows",
        ),
        ("realtime_analytics", &["--devices", "changed.csv"], "device collection"),
        ("realtime_analytics", &[], "device collection"),
    ];
    for (dataflow, more, why) in others {
        for workers in [&["-w", "2"][..], &["--spawn", "-n", "2"]] {
            let run = scene.run(&scene.replay_arguments(dataflow, "out", &[more, workers].concat()));
            assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{more:?}");
            assert!(run.stderr.contains(why), "{more:?}: {}", run.stderr);
            if workers.len() == 2 {
                assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
            }
            let after = (files(&scene.path("out")), files(&scene.path("out.state")));
            assert_eq!(before.0, after.0, "{more:?}: the output has changed");
            assert_eq!(
                before.1.keys().filter(|k| *k != "cluster.secret").collect::<Vec<_>>(),
                after.1.keys().filter(|k| *k != "cluster.secret").collect::<Vec<_>>(),
                "{more:?}: the state has changed"
            );
            assert_eq!(
                before.1["manifest.json"], after.1["manifest.json"],
                "{more:?}: the manifest has changed"
            );
        }
    }
    let run = run_with_input(
        &scene,
        &scene.replay_arguments(
            "realtime_analytics",
            "out",
            &["--devices", "devices.csv", "--input", "-"],
        ),
        &text,
    );
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("standard input"), "{}", run.stderr);
    assert_eq!(before.0, files(&scene.path("out")));
}

#[test]
fn the_vault_tells_a_patients_identity_and_every_version_of_it() {
    let (scene, truth) = Scene::of(&Ward {
        nulls: 0.0,
        ..Ward::on_a_bad_day(27, 800)
    });
    scene.replay("realtime_analytics", "out", &["-w", "2"]);
    let show = |patient: &str| scene.run(&["vault", "show", patient, "--kek", "file:kek"]);
    for patient in [0, 4, 14, 29] {
        let id = patient_id(patient);
        assert!(truth.of_patient.contains_key(&id));
        let run = show(&id);
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert!(run.stdout.contains(&name_of(patient)), "{}", run.stdout);
        assert!(run.stdout.contains(&dob_of(patient)), "{}", run.stdout);
        assert!(
            run.stdout.contains("version 1") && !run.stdout.contains("version 2"),
            "{}",
            run.stdout
        );
    }
    let nobody = show("P-999999");
    assert_eq!((nobody.status, nobody.stdout.as_str()), (1, ""));
    assert_eq!(nobody.stderr.lines().count(), 1, "{}", nobody.stderr);
    let wrong_key = {
        scene.write("another", "77".repeat(32));
        scene.run(&["vault", "show", &patient_id(0), "--kek", "file:another"])
    };
    assert_eq!((wrong_key.status, wrong_key.stdout.as_str()), (1, ""));
    assert_eq!(wrong_key.stderr.lines().count(), 1, "{}", wrong_key.stderr);

    let record = |at: &str, name: &str| {
        format!(
            "{{\"timestamp\":\"{at}\",\"device_id\":\"D\",\"patient_id\":\"M\",\"name\":\"{name}\",\"dob\":\"1980-02-03\",\"pulse\":70}}\n"
        )
    };
    let married = record("2024-05-01T10:00:00", "Mara Vogel")
        + &record("2024-05-01T11:00:00", "Mara Lindqvist")
        + &record("2024-05-01T10:30:00", "Mara Vogel")
        + &record("2024-05-01T12:00:00", "Mara Lindqvist");
    scene.write("married.jsonl", married);
    let arguments = [
        "--input",
        "married.jsonl",
        "--set",
        "output.commit_rows=1",
        "--spawn",
        "-n",
        "2",
        "-w",
        "2",
    ];
    scene.replay("sensor_collection", "wedding", &arguments);
    let run = scene.run(&["vault", "show", "M", "-o", "wedding", "--kek", "file:kek"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let (first, second) = run.stdout.split_once("version 2").expect("two versions");
    assert!(
        first.contains("Mara Vogel") && !first.contains("Lindqvist"),
        "{}",
        run.stdout
    );
    assert!(
        second.contains("Mara Lindqvist") && !second.contains("Vogel"),
        "{}",
        run.stdout
    );
    assert!(
        first.contains("2024-05-01T10:00:00.000000 to 2024-05-01T10:30:00.000000"),
        "{}",
        run.stdout
    );
    assert!(
        second.contains("2024-05-01T11:00:00.000000 to 2024-05-01T12:00:00.000000"),
        "{}",
        run.stdout
    );
}

#[test]
fn without_a_key_of_ones_own_the_state_folder_gets_one_that_only_its_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let (scene, _) = Scene::of(&Ward {
        nulls: 0.0,
        ..Ward::on_a_bad_day(28, 300)
    });
    let run = scene.run(&["replay", "sensor_collection", "--input", "input.jsonl"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("a new key-encryption key was created"),
        "{}",
        run.stderr
    );
    for (name, mode) in [
        ("out.state", 0o700),
        ("out.state/kek", 0o600),
        ("out.state/vault.sqlite", 0o600),
    ] {
        let found = fs::metadata(scene.path(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name} has mode {found:o}");
    }
    assert_eq!(scene.run(&["vault", "show", &patient_id(1)]).status, 0);
}
