//! The whole job, from files to Parquet: records per second and per CPU-second, and where the time goes.
//!
//! `cargo bench --bench replay` replays one million records of the paper (1 KB each, 10,000 devices) with 1 and 2 workers,
//! with scores, without, and without windows, three times in turn, and prints the medians. `cargo bench --bench replay -- memory` replays 1, 4
//! and 12 million without scores and prints the peak memory. `-- N` takes N records instead of a million.

#[allow(dead_code)] // the tests use the rest of it
#[path = "../tests/ward/mod.rs"]
mod ward;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use ward::Ward;

const RUNS: usize = 3;
const MILLION: u64 = 1_000_000;

/// One way to replay: what it is called, its dataflow, its workers, its further arguments.
struct Case {
    name: &'static str,
    dataflow: &'static str,
    workers: usize,
    settings: &'static [&'static str],
}

const fn case(name: &'static str, dataflow: &'static str, workers: usize, settings: &'static [&'static str]) -> Case {
    Case {
        name,
        dataflow,
        workers,
        settings,
    }
}

const LOAD: &str = "ingest_transform_load";
const ANALYTICS: &str = "realtime_analytics";
const UNSCORED: &[&str] = &["--set", "forest.enabled=false", "--set", "windows.score=false"];
const CASES: [Case; 6] = [
    case("windows, no scores", ANALYTICS, 1, UNSCORED),
    case("windows, no scores", ANALYTICS, 2, UNSCORED),
    case("windows and scores", ANALYTICS, 1, &[]),
    case("windows and scores", ANALYTICS, 2, &[]),
    case("ingest, transform, load", LOAD, 1, &[]),
    case("ingest, transform, load", LOAD, 2, &[]),
];

/// Operators by the stage that they are part of; reading the file is what the workers' operators do not account for.
const STAGES: [(&str, &[&str]); 7] = [
    ("parse", &["Parse", "Select"]),
    ("de-identify", &["Deidentify", "Vault"]),
    ("deduplicate", &["Deduplicate"]),
    (
        "enrich",
        &[
            "Lookup",
            "Devices",
            "Unknown",
            "Changes",
            "CountTotal",
            "Arrange: CountTotal",
            "ListUnknown",
        ],
    ),
    (
        "score",
        &[
            "Points",
            "Score",
            "Judge",
            "Ask",
            "Explain",
            "Finish",
            "WindowPoints",
            "ScoreWindows",
            "FinishWindows",
            "Unscored",
            "Anomalies",
        ],
    ),
    (
        "window",
        &[
            "Observe",
            "Watermark",
            "MarkLate",
            "EnterWindows",
            "Tumbling",
            "FlatMap",
        ],
    ),
    (
        "Parquet",
        &["Pack", "readings", "anomalies", "windows", "quarantine", "Commit"],
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let records = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(MILLION);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the benchmark");
    if arguments.iter().any(|a| a == "memory") {
        return memory(folder.path(), records);
    }
    let input = generate(folder.path(), records);
    let mut summaries: Vec<Vec<Value>> = CASES.iter().map(|_| Vec::new()).collect();
    for run in 0..RUNS {
        for (case, summaries) in CASES.iter().zip(&mut summaries) {
            summaries.push(replay(folder.path(), &input, case, None));
            eprintln!("run {} of {RUNS}: {}, {} workers", run + 1, case.name, case.workers);
        }
    }
    println!("{records} records of about 1 KB, medians of {RUNS} runs");
    println!(
        "{:<24} {:>7} {:>12} {:>15} {:>9}",
        "", "workers", "records/s", "per CPU-second", "peak MB"
    );
    for (case, summaries) in CASES.iter().zip(&summaries) {
        let per_cpu = median(summaries, |s| number(s, "records_in") / number(s, "cpu_seconds"));
        let per_second = median(summaries, |s| number(s, "records_per_second"));
        let peak = median(summaries, |s| number(s, "peak_rss_bytes")) / 1e6;
        println!(
            "{:<24} {:>7} {per_second:>12.0} {per_cpu:>15.0} {peak:>9.0}",
            case.name, case.workers
        );
    }
    shares(&summaries);
}

/// Where the CPU time of one worker goes; the exchange is what a second worker adds to it.
fn shares(summaries: &[Vec<Value>]) {
    println!("\nshare of the CPU time of one worker, %         no scores      with scores");
    let cpu = |case: usize| median(&summaries[case], |s| number(s, "cpu_seconds"));
    let share = |case: usize, operators: &[&str]| {
        let seconds = median(&summaries[case], |s| {
            operators.iter().map(|o| s["stages"][o].as_f64().unwrap_or(0.0)).sum()
        });
        100.0 * seconds / cpu(case)
    };
    let mut rest = [100.0, 100.0];
    for (stage, operators) in STAGES {
        let of = [share(0, operators), share(2, operators)];
        rest = [rest[0] - of[0], rest[1] - of[1]];
        println!("{stage:<40} {:>16.1} {:>14.1}", of[0], of[1]);
    }
    println!(
        "{:<40} {:>16.1} {:>14.1}",
        "reading the file, and the rest", rest[0], rest[1]
    );
    let exchange = |one: usize, two: usize| 100.0 * (cpu(two) - cpu(one)) / cpu(one);
    println!(
        "{:<40} {:>16.1} {:>14.1}",
        "exchange: what a second worker adds",
        exchange(0, 1),
        exchange(2, 3)
    );
}

/// The state fills for one hour of event time, 3.6 million records; behind that the memory must not grow.
fn memory(folder: &Path, records: u64) {
    println!("{:>10} records   peak memory MB", "");
    for records in [records, 4 * records, 12 * records] {
        let ward = ward(records);
        write_devices(folder, &ward);
        let summary = replay(folder, Path::new("-"), &CASES[0], Some(&ward));
        println!("{records:>10} {:>23.0}", number(&summary, "peak_rss_bytes") / 1e6);
    }
}

/// The paper's records with 1 % out of order and 0.2 % bad lines.
fn ward(records: u64) -> Ward {
    Ward {
        disorder: 0.01,
        bad: 0.002,
        ..Ward::of_the_paper(7, records)
    }
}

/// The records in a file, and their device collection beside it.
fn generate(folder: &Path, records: u64) -> PathBuf {
    let ward = ward(records);
    let path = folder.join(format!("{records}.jsonl"));
    let mut file = BufWriter::new(File::create(&path).expect("a writable folder"));
    ward.write(&mut file)
        .and_then(|_| file.flush())
        .expect("room for the records");
    write_devices(folder, &ward);
    path
}

fn write_devices(folder: &Path, ward: &Ward) {
    let mut devices = BufWriter::new(File::create(folder.join("devices.csv")).expect("a writable folder"));
    ward.write_devices(&mut devices)
        .and_then(|()| devices.flush())
        .expect("room for the devices");
}

/// Replays a file, or `-` and what the ward writes; the summary.
fn replay(folder: &Path, input: &Path, case: &Case, written: Option<&Ward>) -> Value {
    let (output, state) = (folder.join("out"), folder.join("out.state"));
    let mut running = Command::new(env!("CARGO_BIN_EXE_wardflow"))
        .args(["replay", case.dataflow, "--summary", "-", "--input"])
        .arg(input)
        .args(["-w", &case.workers.to_string(), "-o"])
        .arg(&output)
        .arg("--devices")
        .arg(folder.join("devices.csv"))
        .args(case.settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut to = BufWriter::new(running.stdin.take().expect("a pipe was asked for"));
    if let Some(ward) = written {
        ward.write(&mut to).expect("the program reads all of it");
    }
    drop(to);
    let done = running.wait_with_output().expect("the program ends");
    assert!(done.status.success(), "the replay failed: {:?}", done.status);
    for folder in [output, state] {
        fs::remove_dir_all(folder).expect("the replay's own folder");
    }
    serde_json::from_slice(&done.stdout).expect("a summary")
}

fn number(summary: &Value, key: &str) -> f64 {
    summary[key].as_f64().expect("the summary has all its numbers")
}

fn median(summaries: &[Value], figure: impl Fn(&Value) -> f64) -> f64 {
    let mut figures: Vec<f64> = summaries.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
