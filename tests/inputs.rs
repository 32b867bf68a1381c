//! Every form of the input gives the same tables, in every order that is asked for.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use program::Scene;
use serde_json::{Map, Value};
use tables::{Cell, Rows, SEALED, assert_same_output, assert_same_rows};
use ward::Ward;

const TEXTS: [&str; 5] = ["device_id", "patient_id", "name", "dob", "text"];
const MEASURES: [&str; 5] = ["temperature", "pulse", "oxygen_percent", "systolic", "diastolic"];
const SMALL_FORESTS: [&str; 6] = [
    "--set",
    "forest.trees=10",
    "--set",
    "forest.sample_size=40",
    "--set",
    "alerts.threshold=1.3",
];

type Object = Map<String, Value>;

/// Good records only: a bad line has no other form.
fn scene(seed: u64, records: u64) -> (Scene, Vec<Object>) {
    let ward = Ward {
        bad: 0.0,
        ..Ward::on_a_bad_day(seed, records)
    };
    let (scene, _) = Scene::of(&ward);
    let text = fs::read_to_string(scene.path("input.jsonl")).expect("records");
    let objects = text.lines().map(|line| serde_json::from_str(line).expect("an object"));
    (scene, objects.collect())
}

fn csv_of(records: &[Object], delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    let columns = || ["timestamp"].into_iter().chain(TEXTS).chain(MEASURES);
    writer.write_record(columns()).expect("memory takes all");
    for record in records {
        let cells = columns().map(|column| match record.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        });
        writer.write_record(cells).expect("memory takes all");
    }
    writer.into_inner().expect("memory takes all")
}

/// Microseconds UTC of a time in one of the generator's forms.
fn micros(time: &Value) -> i64 {
    match time {
        Value::Number(millis) => millis.as_i64().expect("an integer") * 1000,
        Value::String(text) => match text.parse::<i64>() {
            Ok(millis) => millis * 1000,
            Err(_) => {
                let at: jiff::Timestamp = format!("{text}Z").parse().expect("ISO-8601");
                at.as_microsecond()
            }
        },
        other => panic!("{other} is no time"),
    }
}

fn write_parquet(path: &Path, records: &[Object]) {
    let times = TimestampMicrosecondArray::from_iter_values(records.iter().map(|record| micros(&record["timestamp"])));
    let mut columns = vec![("timestamp", Arc::new(times.with_timezone("UTC")) as ArrayRef)];
    for name in TEXTS {
        let texts = records.iter().map(|record| record.get(name).and_then(Value::as_str));
        columns.push((name, Arc::new(StringArray::from_iter(texts))));
    }
    for name in MEASURES {
        let numbers = records.iter().map(|record| match record.get(name)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        });
        columns.push((name, Arc::new(Float64Array::from_iter(numbers))));
    }
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(700))
        .build();
    let file = File::create(path).expect("a new file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("memory takes all");
    writer.finish().expect("memory takes all")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory takes all")
}

/// Both parts packed, one behind the other.
fn in_two(bytes: &[u8], pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (one, two) = bytes.split_at(bytes.len() / 3);
    [pack(one), pack(two)].concat()
}

#[test]
fn every_form_of_the_same_records_gives_the_same_tables() {
    let (scene, records) = scene(61, 3000);
    let lines = fs::read(scene.path("input.jsonl")).expect("records");
    let csv = csv_of(&records, b',');
    scene.write("lines.jsonl.gz", in_two(&lines, gzip));
    scene.write("lines.ndjson.zst", in_two(&lines, zstd));
    scene.write("rows.csv", [b"\xef\xbb\xbf", &csv[..]].concat());
    scene.write("rows.csv.gz", in_two(&csv, gzip));
    scene.write("semicolons.csv.zst", zstd(&csv_of(&records, b';')));
    scene.write("tabs.csv", csv_of(&records, b'\t'));
    write_parquet(&scene.path("rows.parquet"), &records);
    let common = [
        &SMALL_FORESTS[..],
        &["--devices", "devices.csv", "--set", "output.commit_rows=1100"],
    ]
    .concat();
    let whole = scene.replay("realtime_analytics", "whole", &common);
    assert!(whole.count("anomalies") > 0 && whole.count("duplicates") > 0 && whole.count("revisions") > 0);
    for (i, input) in [
        "lines.jsonl.gz",
        "lines.ndjson.zst",
        "rows.csv",
        "rows.csv.gz",
        "semicolons.csv.zst",
        "tabs.csv",
        "rows.parquet",
    ]
    .into_iter()
    .enumerate()
    {
        let (workers, output) = (["1", "3"][i % 2], format!("{input}.out"));
        let summary = scene.replay(
            "realtime_analytics",
            &output,
            &[&common[..], &["-w", workers, "--input", input]].concat(),
        );
        assert_same_rows(&scene.path("whole"), &scene.path(&output), &[], input);
        for count in [
            "records_in",
            "readings_out",
            "duplicates",
            "late",
            "unknown_devices",
            "revisions",
        ] {
            assert_eq!(whole.count(count), summary.count(count), "{input}: {count}");
        }
    }
}

/// Bad rows among the good: each is refused alone, and told where it stood.
#[test]
fn rows_that_cannot_be_used_are_quarantined_one_by_one() {
    let scene = Scene::empty();
    let rows = [
        "timestamp;device_id;pulse;text",
        "2020-01-01;a;60;",
        "2020-01-01T00:00:01;a;61",
        "2020-01-01T00:00:02;a;\"62;",
        "2020-01-01T00:00:03;a;much;",
        ";a;63;",
        "2020-01-01T00:00:04;;64;",
        "2020-01-01T00:00:05;\"a\";\"65\";\"two\nlines\"",
        "2020-01-01T00:00:06;a;66;\"\"",
    ];
    scene.write("rows.csv", rows.join("\n"));
    let settings = ["--set", "record.measures=[\"pulse\"]", "--input", "rows.csv"];
    for workers in [&["-w", "1"][..], &["-w", "3"], &["--spawn", "-n", "2"]] {
        let output = format!("out{}", workers.concat());
        let summary = scene.replay("sensor_collection", &output, &[&settings[..], workers].concat());
        summary.assert_accounted_for();
        assert_eq!((summary.count("records_in"), summary.count("readings_out")), (8, 3));
        let reasons = [
            ("no_device", 1),
            ("no_timestamp", 1),
            ("not_csv", 2),
            ("unreadable_measure", 1),
        ];
        assert_eq!(summary.quarantined(), reasons.into());
        let quarantine = Rows::of(&scene.path(&output), "quarantine");
        let mut lines: Vec<&Cell> = quarantine.column("line");
        lines.sort();
        assert_eq!(lines, [3, 4, 5, 6, 7].map(Cell::Integer).iter().collect::<Vec<_>>());
    }
}

/// The records dealt out to files of several forms, with bad lines among them.
fn dealt(seed: u64) -> Scene {
    let (scene, records) = scene(seed, 2500);
    let part = |i: usize| -> Vec<Object> { records.iter().skip(i).step_by(3).cloned().collect() };
    let lines: Vec<String> = part(0)
        .into_iter()
        .map(|record| Value::Object(record).to_string())
        .collect();
    scene.write(
        "parts/a.jsonl.gz",
        gzip((lines.join("\n") + "\nno record\n{\"timestamp\":1}\n").as_bytes()),
    );
    scene.write("parts/b.csv", [csv_of(&part(1), b','), b"uneven\n".to_vec()].concat());
    write_parquet(&scene.path("parts/c.parquet"), &part(2));
    scene
}

const TOPOLOGIES: [(&str, &[&str]); 3] = [
    ("w3", &["-w", "3"]),
    ("n2w2", &["--spawn", "-n", "2", "-w", "2"]),
    ("n3", &["--spawn", "-n", "3"]),
];

fn assert_the_same_for_all_workers(scene: &Scene, settings: &[&str]) -> program::Summary {
    let settings = [
        &SMALL_FORESTS[..],
        &["--input", "parts", "--set", "replay.epoch_records=170"],
        settings,
    ]
    .concat();
    let one = scene.replay("realtime_analytics", "w1", &settings);
    one.assert_accounted_for();
    for (output, workers) in TOPOLOGIES {
        let many = scene.replay("realtime_analytics", output, &[&settings[..], workers].concat());
        assert_same_output(
            &scene.path("w1"),
            &scene.path(output),
            &format!("{settings:?} {workers:?}"),
        );
        assert_eq!(one.facts(), many.facts(), "{workers:?}");
    }
    one
}

#[test]
fn merged_files_are_the_same_for_all_workers_and_belong_to_the_order() {
    let scene = dealt(62);
    let strict = ["--set", "windows.allowed_lateness=1m"];
    let settings = [&strict[..], &["--merge", "--set", "output.commit_rows=900"]].concat();
    let merged = assert_the_same_for_all_workers(&scene, &settings);
    let apart = scene.replay(
        "realtime_analytics",
        "apart",
        &[&strict[..], &["--input", "parts"]].concat(),
    );
    assert!(
        merged.count("late") * 10 < apart.count("late"),
        "one file after the other, most of the later ones are late: {} and {}",
        merged.count("late"),
        apart.count("late")
    );
    let first = [&SMALL_FORESTS[..], &settings].concat();
    let without: Vec<&str> = first
        .iter()
        .copied()
        .filter(|argument| *argument != "--merge")
        .collect();
    let with = [&strict[..], &["--merge"]].concat();
    for (output, more) in [("apart", with), ("w1", without)] {
        let again = scene.replay_arguments(
            "realtime_analytics",
            output,
            &[&["--input", "parts"], &more[..]].concat(),
        );
        let run = scene.run(&again);
        assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
        assert!(run.stderr.contains("another input"), "{}", run.stderr);
    }
}

#[test]
fn a_span_of_time_is_the_same_for_all_workers() {
    let scene = dealt(63);
    let (from, to) = ("2017-10-15T03:57", "2017-10-15T05:01:30+01:00");
    let summary = assert_the_same_for_all_workers(&scene, &["--merge", "--from", from, "--to", to]);
    assert!(summary.count("not_selected") > 500 && summary.count("readings_out") > 500);
    let readings = Rows::of(&scene.path("w1"), "readings");
    let micros = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_microsecond();
    let (from, to) = (micros("2017-10-15T03:57:00Z"), micros("2017-10-15T04:01:30Z"));
    for time in readings.column("timestamp") {
        assert!(matches!(time, Cell::Integer(time) if (from..to).contains(time)));
    }
    let other = ["--input", "parts", "--merge", "--from", "2017-10-15T03:58"];
    let run = scene.run(&scene.replay_arguments("realtime_analytics", "w1", &[&SMALL_FORESTS[..], &other].concat()));
    assert_eq!(run.status, 1, "another span is another output: {}", run.stderr);
    assert!(run.stderr.contains("select."), "{}", run.stderr);
}

#[test]
fn speed_changes_no_row() {
    let scene = dealt(64);
    let common = [&SMALL_FORESTS[..], &["--input", "parts", "--merge"]].concat();
    let fast = scene.replay("realtime_analytics", "fast", &common);
    for (output, workers) in [("w1", &["-w", "1"][..]), ("n2", &["--spawn", "-n", "2"])] {
        let paced = scene.replay(
            "realtime_analytics",
            output,
            &[&common[..], &["--speed", "2000x"], workers].concat(),
        );
        assert_same_rows(&scene.path("fast"), &scene.path(output), &[SEALED], output);
        assert_eq!(fast.count("commits"), paced.count("commits"));
        let seconds = paced.0["seconds"].as_f64().expect("a number");
        assert!(
            seconds > 0.2,
            "500 s of event time and some late ones take 0.25 s: {seconds}"
        );
    }
}

#[test]
fn files_are_devices_and_those_of_one_name_are_told() {
    let scene = Scene::empty();
    for (name, start) in [("x/one.csv", 0), ("x/two.csv.gz", 500), ("y/one.csv", 900)] {
        let rows: String = (start..start + 200)
            .map(|second| format!("{second},{}\n", second % 7))
            .collect();
        let text = format!("timestamp,value\n{rows}");
        let packed = if name.ends_with(".gz") {
            gzip(text.as_bytes())
        } else {
            text.into_bytes()
        };
        scene.write(name, packed);
    }
    let settings = [
        "--set",
        "record.device=@file",
        "--set",
        "record.patient=",
        "--set",
        "record.timestamp_unit=s",
        "--set",
        "record.measures=[\"value\"]",
        "--set",
        "forest.key=[\"device_id\"]",
        "--set",
        "windows.groupings=[\"device_id\"]",
    ];
    let each = ["--set", "windows.watermark=device", "--input", "x"];
    let summary = scene.replay("realtime_analytics", "x.out", &[&settings[..], &each].concat());
    assert_eq!(summary.count("late"), 0, "each device has its own watermark");
    let windows = Rows::of(&scene.path("x.out"), "windows");
    let mut devices: Vec<&Cell> = windows.column("key");
    devices.sort();
    devices.dedup();
    assert_eq!(devices, [&Cell::Text("one".into()), &Cell::Text("two".into())]);
    for (output, input) in [("both.out", &["x", "y"][..]), ("merged.out", &["*/*.csv*", "--merge"])] {
        let more = [&settings[..], &["--input"], input].concat();
        let run = scene.run(&scene.replay_arguments("realtime_analytics", output, &more));
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert!(
            run.stderr.contains("x/one.csv and y/one.csv count as one device, one"),
            "{}",
            run.stderr
        );
    }
}

/// A table without the columns that records need, among others that have them.
#[test]
fn a_file_of_something_else_is_told_and_stops_nothing() {
    let scene = Scene::empty();
    scene.write("in/a.csv", "timestamp,device_id\n2020-01-01,a\n");
    scene.write("in/index.csv", "file,rows\na.csv,1\n");
    let run = scene.run(&scene.replay_arguments("sensor_collection", "out", &["--input", "in"]));
    assert_eq!(run.status, 0, "{}", run.stderr);
    let summary = program::Summary::read(&run.stdout);
    assert_eq!(
        (summary.count("readings_out"), summary.quarantined()),
        (1, [("no_timestamp", 1)].into())
    );
    assert!(
        run.stderr.contains("in/index.csv: it has no column timestamp"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_packed_file_that_is_cut_short_is_named() {
    let (scene, _) = scene(65, 2000);
    let lines = fs::read(scene.path("input.jsonl")).expect("records");
    for (name, pack) in [("cut.jsonl.gz", gzip as fn(&[u8]) -> Vec<u8>), ("cut.jsonl.zst", zstd)] {
        let packed = pack(&lines);
        scene.write(name, &packed[..packed.len() - 20]);
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 0x55;
        let changed_name = name.replace("cut", "changed");
        scene.write(&changed_name, changed);
        // Of the two only gzip always has a checksum.
        let names = [name, changed_name.as_str()];
        for name in &names[..if name.ends_with(".gz") { 2 } else { 1 }] {
            let run =
                scene.run(&scene.replay_arguments("sensor_collection", &format!("{name}.out"), &["--input", name]));
            let last = run.stderr.lines().last().unwrap_or_default().to_owned();
            assert_eq!(run.status, 1, "{}", run.stderr);
            assert!(last.contains(name) && last.contains("damaged or cut short"), "{last}");
        }
    }
}
