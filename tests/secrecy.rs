//! Nothing of a patient's name, date of birth or raw record is anywhere but in the answer of `vault show`.
//!
//! Unmistakable texts are planted in records, good ones and every kind of bad one; then every byte that a run has written, and every value
//! that can be decoded from it, is searched for them in every form in which they could hide.

#[allow(dead_code)] // each test file uses its part
mod canaries;
#[allow(dead_code)]
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use canaries::{Search, Seen};
use program::{Run, Scene};
use rustix::process::{Pid, Signal, kill_process};
use ward::Ward;

/// Where canaries are planted; each has its own, so that a find tells the place.
const PLACES: [&str; 26] = [
    "Name",
    "Dob",
    "Text",
    "Key",
    "Nested",
    "SecondName",
    "SecondDob",
    "Truncated",
    "TruncatedDob",
    "Array",
    "String",
    "OverLong",
    "OverLongTail",
    "BrokenUtf8",
    "BrokenUtf8Tail",
    "Measure",
    "MeasureList",
    "Timestamp",
    "DeviceObject",
    "PatientList",
    "NameList",
    "DobObject",
    "TooDeep",
    "NoTimestamp",
    "NoDevice",
    "Garbage",
];

fn canary(place: &str) -> String {
    format!("Quenby7{place}7Canary")
}

/// The records with canaries, 26 places in all, among ordinary ones.
fn records() -> Vec<u8> {
    let c = canary;
    let good = |n: u32, rest: String| {
        format!(
            "{{\"timestamp\":\"2024-03-01T10:00:{n:02}\",\"device_id\":\"LSD-000001\",\"patient_id\":\"PX\",{rest}}}"
        )
        .into_bytes()
    };
    let mut lines = vec![
        good(
            1,
            format!(
                "\"name\":\"Zoë \\\"{}\\\"\",\"dob\":\"{}\",\"pulse\":70,\"text\":\"{}\",\"{}\":1,\"extra\":{{\"name\":\"{}\"}}",
                c("Name"),
                c("Dob"),
                c("Text"),
                c("Key"),
                c("Nested")
            ),
        ),
        good(
            2,
            format!(
                "\"name\":\"{}\",\"dob\":\"{}\",\"pulse\":71",
                c("SecondName"),
                c("SecondDob")
            ),
        ),
        good(
            3,
            format!("\"name\":\"{}\",\"dob\":\"{}", c("Truncated"), c("TruncatedDob")),
        ),
        [b"[", &good(4, format!("\"name\":\"{}\"", c("Array")))[..], b"]"].concat(),
        format!("\"{}\"", c("String")).into_bytes(),
        good(
            5,
            format!(
                "\"name\":\"{}\",\"text\":\"{}{}\"",
                c("OverLong"),
                "x".repeat(3000),
                c("OverLongTail")
            ),
        ),
        [
            &good(6, format!("\"name\":\"{}", c("BrokenUtf8")))[..],
            b"\xff\xfe",
            format!("{}\"", c("BrokenUtf8Tail")).as_bytes(),
        ]
        .concat(),
        good(7, format!("\"pulse\":\"{}\"", c("Measure"))),
        good(8, format!("\"pulse\":[\"{}\"]", c("MeasureList"))),
        format!("{{\"timestamp\":\"{}\",\"device_id\":\"LSD-000001\"}}", c("Timestamp")).into_bytes(),
        format!("{{\"timestamp\":1,\"device_id\":{{\"id\":\"{}\"}}}}", c("DeviceObject")).into_bytes(),
        format!(
            "{{\"timestamp\":1,\"device_id\":\"D\",\"patient_id\":[\"{}\"]}}",
            c("PatientList")
        )
        .into_bytes(),
        good(
            9,
            format!(
                "\"name\":[\"{}\"],\"dob\":{{\"d\":\"{}\"}}",
                c("NameList"),
                c("DobObject")
            ),
        ),
        good(
            10,
            format!("\"text\":{}\"{}\"{}", "[".repeat(90), c("TooDeep"), "]".repeat(90)),
        ),
        format!("{{\"device_id\":\"D\",\"name\":\"{}\"}}", c("NoTimestamp")).into_bytes(),
        format!("{{\"timestamp\":1,\"name\":\"{}\"}}", c("NoDevice")).into_bytes(),
        c("Garbage").into_bytes(),
    ];
    lines.push(lines[0].clone());
    let mut ordinary = Vec::new();
    let ward = Ward {
        start: 1_709_287_200_000_000,
        ..Ward::on_a_bad_day(41, 1200)
    };
    ward.write(&mut ordinary).expect("memory takes all");
    let mut all = Vec::new();
    for (i, line) in ordinary.split_inclusive(|b| *b == b'\n').enumerate() {
        if i % 60 == 0 && i / 60 < lines.len() {
            all.extend_from_slice(&lines[i / 60]);
            all.push(b'\n');
        }
        all.extend_from_slice(line);
    }
    all
}

fn search() -> Search {
    Search::of(PLACES.map(canary))
}

/// Everything below the scene but its input: a vault is there, and whole tables.
fn assert_absent_in(scene: &Scene) -> Seen {
    let seen = search().assert_absent_below(&scene.path(""), &["in/"]);
    assert!(seen.values > 0, "there is a vault to search: {seen:?}");
    seen
}

/// The input lies in a folder of its own; temporary files would come to lie beside the output.
fn scene() -> Scene {
    let scene = Scene::empty();
    scene.write("in/input.jsonl", records());
    scene.write("tmp/.keep", "");
    let mut devices = Vec::new();
    Ward::on_a_bad_day(41, 0)
        .write_devices(&mut devices)
        .expect("memory takes all");
    scene.write("devices.csv", devices);
    scene
}

fn command(scene: &Scene, dataflow: &str, more: &[&str]) -> Command {
    let limit = ["--input", "in/input.jsonl", "--set", "record.max_record_bytes=2048"];
    let mut command = scene.command(&scene.replay_arguments(dataflow, "out", &[&limit, more].concat()));
    command
        .env("TMPDIR", scene.path("tmp"))
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LOG", "trace");
    command
}

#[test]
fn every_canary_is_planted() {
    let input = records();
    for place in PLACES {
        let found = search().in_bytes(&input, "the input").finds;
        assert!(found.iter().any(|find| find.canary == canary(place)), "{place}");
    }
}

fn assert_secret(dataflow: &str, more: &[&str]) -> Scene {
    let (search, scene) = (search(), scene());
    let run: Run = command(&scene, dataflow, more)
        .output()
        .expect("the program starts")
        .into();
    assert_eq!(run.status, 0, "{}", run.stderr);
    search.assert_absent(run.stdout.as_bytes(), "standard output");
    search.assert_absent(run.stderr.as_bytes(), "standard error");
    let summary = program::Summary::read(&run.stdout);
    let reasons: BTreeMap<&str, u64> = summary.quarantined();
    assert!(
        reasons.len() >= 9,
        "the canaries went into quarantine for every reason: {reasons:?}"
    );
    let seen = assert_absent_in(&scene);
    assert!(seen.cells > 100, "there are tables to search: {seen:?}");
    scene
}

#[test]
fn sensor_collection_shows_no_identity_and_the_vault_shows_it_to_who_has_the_key() {
    let scene = assert_secret("sensor_collection", &["-w", "2"]);
    let shown = scene.run(&["vault", "show", "PX", "--kek", "file:kek"]);
    assert_eq!(shown.status, 0, "{}", shown.stderr);
    for place in ["Name", "Dob", "SecondName", "SecondDob"] {
        assert!(shown.stdout.contains(&canary(place)), "{place}: {}", shown.stdout);
    }
    for place in PLACES
        .iter()
        .filter(|place| !["Name", "Dob", "SecondName", "SecondDob"].contains(place))
    {
        assert!(!shown.stdout.contains(&canary(place)), "{place}: {}", shown.stdout);
    }
    let search = search();
    search.assert_absent(shown.stderr.as_bytes(), "standard error of vault show");
    assert_absent_in(&scene);
    scene.write("another", "77".repeat(32));
    let refused = scene.run(&["vault", "show", "PX", "--kek", "file:another"]);
    assert_eq!(refused.status, 1);
    search.assert_absent(
        (refused.stdout + &refused.stderr).as_bytes(),
        "a refused look into the vault",
    );
}

#[test]
fn ingest_transform_load_shows_no_identity() {
    assert_secret(
        "ingest_transform_load",
        &["--devices", "devices.csv", "--spawn", "-n", "2", "-w", "2"],
    );
}

#[test]
fn realtime_analytics_shows_no_identity() {
    let small = [
        "--set",
        "forest.sample_size=20",
        "--set",
        "alerts.threshold=1.0",
        "--set",
        "output.compression=none",
    ];
    assert_secret(
        "realtime_analytics",
        &[&["--devices", "devices.csv", "-w", "2"], &small[..]].concat(),
    );
}

#[test]
fn patients_who_are_not_selected_leave_no_trace() {
    let scene = assert_secret("sensor_collection", &["--set", "select.patients=[\"P-000001\"]"]);
    assert_eq!(scene.run(&["vault", "show", "PX", "--kek", "file:kek"]).status, 1);
}

/// What a killed run leaves behind is searched as well: staged files, the vault's journal, whatever was temporary.
#[test]
fn a_killed_run_leaves_no_identity_behind() {
    let scene = scene();
    scene.write("in/more.jsonl", records().repeat(8));
    let small = [
        "--input",
        "in/more.jsonl",
        "--set",
        "output.commit_rows=200",
        "--set",
        "replay.epoch_records=100",
    ];
    let mut child = command(
        &scene,
        "realtime_analytics",
        &[&small[..], &["-w", "2", "--set", "deduplicate.horizon=off"]].concat(),
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("the program starts");
    while child.try_wait().expect("a child").is_none() && !scene.path("out/quarantine").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(30));
    let _ = kill_process(Pid::from_child(&child), Signal::KILL); // it may have ended by itself
    child.wait().expect("it has ended");
    assert!(fs::metadata(scene.path("out.state/vault.sqlite")).is_ok());
    assert_absent_in(&scene);
}

/// Journal, snapshots and what lies about after a crash, then what the next run makes of it, and what a replay of the journal writes.
#[cfg(feature = "broker")]
#[test]
fn a_live_run_leaves_no_identity_in_its_journal_nor_in_what_a_crash_leaves() {
    let scene = scene();
    let broker = wardflow::broker::start().expect("a broker");
    let input = records();
    let lines: Vec<&[u8]> = input.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let (half, rest) = lines.split_at(lines.len() * 2 / 3);
    let mut live = start_live(&scene, broker, "first.log");
    publish(broker, half);
    wait_for(&mut live, "a commit", || scene.path("out/quarantine").exists());
    publish(broker, rest);
    kill_process(Pid::from_child(&live), Signal::KILL).expect("it runs");
    live.wait().expect("it has ended");
    assert_absent_in(&scene);
    assert!(
        !tables::files(&scene.path("out.state/journal")).is_empty(),
        "there is a journal to search"
    );

    // Another broker: the demo's own does not let a killed client in again. What the first one had not acknowledged is published anew.
    let broker = wardflow::broker::start().expect("a broker");
    let mut live = start_live(&scene, broker, "second.log");
    publish(broker, rest);
    wait_for(&mut live, "another commit", || {
        tables::files(&scene.path("out"))
            .keys()
            .filter(|name| name.starts_with("quarantine/"))
            .count()
            > 1
    });
    kill_process(Pid::from_child(&live), Signal::TERM).expect("it runs");
    assert!(live.wait().expect("it has ended").success());
    assert_absent_in(&scene);

    let run = scene.run(&[
        "replay",
        "realtime_analytics",
        "--input",
        "out.state/journal",
        "--devices",
        "devices.csv",
        "-o",
        "replayed",
        "--set",
        "keys.kek=file:kek",
        "--set",
        "record.max_record_bytes=2048",
    ]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    search().assert_absent((run.stdout + &run.stderr).as_bytes(), "what the replay says");
    assert_absent_in(&scene);
}

/// A live run whose messages go to the file `log`, subscribed.
#[cfg(feature = "broker")]
fn start_live(scene: &Scene, broker: std::net::SocketAddr, log: &str) -> std::process::Child {
    let source = format!("mqtt://{broker}");
    let mut arguments = vec!["run", "realtime_analytics", "--source", &source, "-o", "out", "-w", "2"];
    for setting in [
        "keys.kek=file:kek",
        "record.max_record_bytes=2048",
        "output.commit_interval=300ms",
        "forest.trees=10",
        "forest.sample_size=20",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(["--devices", "devices.csv"]);
    let said = fs::File::create(scene.path(log)).expect("a new file");
    let mut child = scene
        .command(&arguments)
        .env("TMPDIR", scene.path("tmp"))
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .expect("the program starts");
    wait_for(&mut child, "a subscription", || {
        fs::read_to_string(scene.path(log)).is_ok_and(|said| said.contains("subscribed"))
    });
    child
}

/// Waits as long as the run goes on.
#[cfg(feature = "broker")]
fn wait_for(live: &mut std::process::Child, what: &str, condition: impl Fn() -> bool) {
    while !condition() {
        let ended = live.try_wait().expect("a child");
        assert!(ended.is_none(), "it ended before there was {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Publishes the lines, and waits until the broker has acknowledged all of them.
#[cfg(feature = "broker")]
fn publish(broker: std::net::SocketAddr, lines: &[&[u8]]) {
    use rumqttc::v5::mqttbytes::{QoS, v5::Packet};
    use rumqttc::v5::{Client, Event, MqttOptions};

    let options = MqttOptions::new("ward", broker.ip().to_string(), broker.port());
    let (client, mut connection) = Client::new(options, lines.len() + 1);
    for line in lines {
        client
            .publish("LifeSupportDevice/Sensor", QoS::AtLeastOnce, false, line.to_vec())
            .expect("room for all");
    }
    let mut acknowledged = 0;
    while acknowledged < lines.len() {
        if let Event::Incoming(Packet::PubAck(_)) = connection.recv().expect("a client").expect("a broker") {
            acknowledged += 1;
        }
    }
}
