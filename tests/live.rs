//! Live runs of the real program against the embedded broker: the same readings as a replay, whatever stops and goes on.
#![cfg(feature = "broker")]

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Child;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use program::{Scene, Summary};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};
use rustix::process::{Pid, Signal, kill_process};
use tables::{Cell, Rows};
use ward::Ward;

const TOPIC: &str = "LifeSupportDevice/Sensor";
const SETTINGS: [&str; 14] = [
    "--devices",
    "devices.csv",
    "--set",
    "keys.kek=file:kek",
    "--set",
    "forest.trees=15",
    "--set",
    "forest.sample_size=40",
    "--set",
    "alerts.threshold=1.3",
    "--set",
    "output.commit_rows=700",
    "--set",
    "windows.allowed_lateness=5m",
];

/// A live run, and what it says.
struct Live {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Live {
    /// Starts one and waits until the broker has agreed.
    fn start(scene: &Scene, broker: SocketAddr, workers: &str, more: &[&str]) -> Live {
        let source = format!("mqtt://{broker}");
        let mut arguments = vec![
            "run",
            "realtime_analytics",
            "--source",
            &source,
            "-o",
            "live",
            "-w",
            workers,
            "--summary",
            "live.json",
        ];
        arguments.extend(SETTINGS);
        arguments.extend(more);
        let (child, said) = scene.start(&arguments);
        let mut live = Live { child, said };
        live.wait_for(|line| line.contains("subscribed"));
        live
    }

    fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) {
        let mut line = String::new();
        let mut all = String::new();
        while !wanted(&line) {
            all.push_str(&line);
            line.clear();
            let read = self.said.read_line(&mut line).expect("text");
            assert!(read > 0, "the run ended early: {all}");
        }
    }

    /// Waits until it has seen so many `what`.
    fn wait_for_count(&mut self, count: u64, what: &str) {
        self.wait_for(|line| {
            let mut words = line.split(' ').rev().skip_while(|word| !word.starts_with(what)).skip(1);
            words
                .next()
                .and_then(|number| number.replace(',', "").parse::<u64>().ok())
                >= Some(count)
        });
    }

    /// The same, then interrupts it; its summary.
    fn end_after(mut self, scene: &Scene, count: u64, what: &str) -> Summary {
        self.wait_for_count(count, what);
        self.end(scene)
    }

    /// As a crash does.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Interrupts it; its summary.
    fn end(mut self, scene: &Scene) -> Summary {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::INT).expect("it runs");
        let mut rest = String::new();
        while self.said.read_line(&mut rest).expect("text") > 0 {}
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {rest}");
        let text = fs::read_to_string(scene.path("live.json")).expect("a summary");
        let summary = Summary::read(&text);
        summary.assert_accounted_for();
        summary
    }
}

/// Publishes the lines, and waits until the broker has acknowledged all of them.
fn publish(broker: SocketAddr, lines: &[&[u8]]) {
    let mut options = MqttOptions::new("ward", broker.ip().to_string(), broker.port());
    options.set_max_packet_size(Some(1 << 20));
    let (client, mut connection) = Client::new(options, lines.len() + 1);
    for line in lines {
        client
            .publish(TOPIC, QoS::AtLeastOnce, false, line.to_vec())
            .expect("room for all");
    }
    let mut acknowledged = 0;
    while acknowledged < lines.len() {
        if let Event::Incoming(Packet::PubAck(_)) = connection.recv().expect("a client").expect("a broker") {
            acknowledged += 1;
        }
    }
}

fn scene() -> (Scene, u64, Vec<u8>) {
    let ward = Ward {
        over_long: None,
        ..Ward::on_a_bad_day(11, 2500)
    };
    let (scene, truth) = Scene::of(&ward);
    let input = fs::read(scene.path("input.jsonl")).expect("the records");
    (scene, truth.readings, input)
}

#[test]
fn a_live_run_writes_the_readings_that_a_replay_of_its_records_writes() {
    let (scene, readings, input) = scene();
    let broker = wardflow::broker::start().expect("a broker");
    let live = Live::start(&scene, broker, "2", &[]);
    let lines: Vec<&[u8]> = input
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    publish(broker, &lines);
    let summary = live.end_after(&scene, readings, "readings");
    assert_eq!(summary.count("records_in"), lines.len() as u64);
    let replayed = scene.replay("realtime_analytics", "replayed", &SETTINGS);
    assert_eq!(summary.quarantined(), replayed.quarantined());
    for table in ["readings", "anomalies"] {
        let of = |output: &str| Rows::of(&scene.path(output), table).sorted();
        assert_eq!(of("live"), of("replayed"), "{table}");
    }
    // Windows that are open at the end are not written; those that are, are the replay's.
    let windows = |output: &str| Rows::of(&scene.path(output), "windows").rows;
    let (live, replayed) = (windows("live"), windows("replayed"));
    assert!(!live.is_empty());
    assert!(live.iter().all(|row| replayed.contains(row)));
}

#[test]
fn a_run_that_was_stopped_goes_on_behind_what_it_has_committed() {
    let (scene, readings, input) = scene();
    let broker = wardflow::broker::start().expect("a broker");
    let lines: Vec<&[u8]> = input
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let mut records = 0;
    for (half, workers) in lines.chunks(lines.len().div_ceil(2)).zip(["1", "3"]) {
        let live = Live::start(&scene, broker, workers, &[]);
        publish(broker, half);
        let summary = live.end_after(&scene, half.len() as u64 * 9 / 10, "readings");
        records += summary.count("records_in");
    }
    let kept = Rows::of(&scene.path("live"), "readings").rows.len() as u64;
    assert_eq!(records, lines.len() as u64);
    assert_eq!(
        kept, readings,
        "copies of what the run before has received are recognised, too"
    );
}

#[test]
fn a_journal_of_which_nothing_is_left_replays_from_the_state_behind_it() {
    let (scene, _, input) = scene();
    let broker = wardflow::broker::start().expect("a broker");
    let lines: Vec<&[u8]> = input
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    // One commit, at the end: its state is what a replay can begin with.
    let short = ["--set", "journal.retain=1KB", "--set", "output.commit_rows=1000000"];
    let live = Live::start(&scene, broker, "1", &short);
    publish(broker, first);
    live.end_after(&scene, first.len() as u64 * 9 / 10, "readings");
    let before = Rows::of(&scene.path("live"), "readings").rows;

    let live = Live::start(&scene, broker, "1", &short);
    let journal = scene.path("live.state/journal/0");
    while fs::read_dir(&journal).expect("a journal").next().is_some() {
        thread::sleep(Duration::from_millis(20));
    }
    live.end(&scene);
    let replay = |output: &str| {
        let mut arguments = vec!["replay", "realtime_analytics", "--input", "live.state", "-o", output];
        arguments.extend(SETTINGS);
        arguments.extend(short);
        let run = scene.run(&arguments);
        assert_eq!(run.status, 0, "{}", run.stderr);
    };
    replay("nothing");
    assert!(!scene.path("nothing/readings").exists());

    let live = Live::start(&scene, broker, "2", &short);
    publish(broker, second);
    live.end_after(&scene, second.len() as u64 * 9 / 10, "readings");
    replay("again");
    let all = Rows::of(&scene.path("live"), "readings").rows;
    let again = Rows::of(&scene.path("again"), "readings").rows;
    assert!(!again.is_empty());
    assert_eq!(before.len() + again.len(), all.len());
    assert!(again.iter().all(|row| all.contains(row) && !before.contains(row)));
}

/// The ward falls silent, no record comes that could move the watermark: the clock does, and the windows are written.
#[test]
fn a_commit_that_is_full_is_made_without_waiting_for_the_next_record() {
    let (scene, _, input) = scene();
    let broker = wardflow::broker::start().expect("a broker");
    let more = [
        "--set",
        "output.commit_rows=100",
        "--set",
        "output.commit_interval=1h",
        "--set",
        "windows.idle_after=1h",
    ];
    let live = Live::start(&scene, broker, "1", &more);
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').take(100).collect();
    publish(broker, &lines);
    let summary = live.end_after(&scene, 1, "commits");
    assert_eq!(summary.count("records_in"), 100);
}

#[test]
fn a_silent_source_does_not_keep_windows_open() {
    let (scene, ..) = scene();
    let broker = wardflow::broker::start().expect("a broker");
    let set = |setting: &'static str| ["--set", setting];
    let more = [
        set("windows.size=1s"),
        set("windows.out_of_orderness=1s"),
        set("windows.idle_after=500ms"),
        set("windows.allowed_lateness=1s"),
        set("output.commit_interval=200ms"),
    ];
    let live = Live::start(&scene, broker, "2", more.as_flattened());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    // The watermark stays 1 s behind the newest record, so that none of them closes a window.
    let records: Vec<String> = (0..4)
        .map(|n| {
            format!(
                r#"{{"device_id":"LSD-00000{}","timestamp":{},"pulse":7{n}}}"#,
                n % 2,
                now + n
            )
        })
        .collect();
    let lines: Vec<&[u8]> = records.iter().map(String::as_bytes).collect();
    publish(broker, &lines);
    let summary = live.end_after(&scene, 1, "windows");
    assert_eq!((summary.count("records_in"), summary.count("late")), (4, 0));
    assert!(
        summary.count("windows") >= 3,
        "one for the manufacturers, one for each device"
    );
}

/// The device collection's file, put in place at once.
fn collect(scene: &Scene, devices: std::ops::Range<u32>, model: &str) {
    let rows: String = devices.map(|n| format!("d{n},Acme,{model}\n")).collect();
    scene.write("devices.new", format!("device_id,manufacturer,model\n{rows}"));
    fs::rename(scene.path("devices.new"), scene.path("devices.csv")).expect("renamed");
}

/// A record of each of the devices, `phase` their pulse.
fn phase(phase: u32) -> Vec<String> {
    let of_device = |n: u32| {
        let timestamp = 1_508_039_751_778_i64 + i64::from(phase * 20_000 + n);
        format!(r#"{{"device_id":"d{n}","patient_id":"P-{n}","timestamp":{timestamp},"pulse":{phase}}}"#)
    };
    (0..12).map(of_device).collect()
}

/// How many readings of a phase have this model.
fn with_model(scene: &Scene, phase: u32, model: &str) -> usize {
    let readings = Rows::of(&scene.path("live"), "readings");
    let of_phase = Cell::Float(f64::from(phase).to_bits());
    let model = match model {
        "" => Cell::Null,
        model => Cell::Text(model.into()),
    };
    let mut rows = readings.column("pulse").into_iter().zip(readings.column("model"));
    rows.by_ref().filter(|row| *row == (&of_phase, &model)).count()
}

/// The file grows, breaks, shrinks and, while the run is dead, changes again.
fn readings_meet_the_devices_of_their_time(commit_interval: &str, all_is_committed: bool) {
    let scene = Scene::empty();
    let broker = wardflow::broker::start().expect("a broker");
    let send = |number: u32| {
        let records = phase(number);
        publish(broker, &records.iter().map(String::as_bytes).collect::<Vec<_>>());
    };
    let more = ["--set", "devices.watch=20ms", "--set", commit_interval];
    collect(&scene, 0..6, "M1");
    let mut live = Live::start(&scene, broker, "2", &more);
    send(1);
    live.wait_for_count(12, "readings");
    collect(&scene, 0..12, "M1");
    live.wait_for(|line| line.contains("device collection: 6 added, 0 changed, 0 gone; in force from epoch"));
    send(2);
    live.wait_for_count(24, "readings");
    scene.write("devices.csv", "device_id,manufacturer,model\nd0,Acme,M2\nd1,Ac");
    live.wait_for(|line| line.contains("line 3: 2 values") && line.contains("stays in force"));
    collect(&scene, 0..2, "M2");
    live.wait_for(|line| line.contains("10 of 12 devices are gone") && line.contains("devices.max_loss"));
    send(3);
    live.wait_for_count(36, "readings");
    while all_is_committed && Rows::of(&scene.path("live"), "readings").rows.len() < 36 {
        thread::sleep(Duration::from_millis(20));
    }
    live.kill();

    collect(&scene, 0..12, "M9");
    let mut live = Live::start(&scene, broker, "3", &more);
    send(4);
    live.wait_for(|line| line.contains("device collection: 0 added, 12 changed, 0 gone"));
    live.wait_for_count(if all_is_committed { 12 } else { 48 }, "readings");
    live.end(&scene);
    let told = |number| ["", "M1", "M2", "M9"].map(|model| with_model(&scene, number, model));
    assert_eq!(told(1), [6, 6, 0, 0]);
    assert_eq!(told(2), [0, 12, 0, 0]);
    assert_eq!(told(3), [0, 12, 0, 0]);
    assert_eq!(told(4), [0, 0, 0, 12]);

    // A start over a state goes on with the version before a broken one.
    scene.write("devices.csv", "nonsense\n");
    Live::start(&scene, broker, "1", &more).end(&scene);
    fs::remove_file(scene.path("devices.csv")).expect("removed");
    for workers in ["1", "2"] {
        let output = format!("again{workers}");
        let mut arguments = vec!["replay", "realtime_analytics", "--input", "live.state"];
        arguments.extend(["-o", &output, "-w", workers]);
        arguments.extend(SETTINGS);
        let run = scene.run(&arguments);
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert!(
            run.stderr.contains("as the live run had it, in 3 versions"),
            "{}",
            run.stderr
        );
        for table in ["readings", "anomalies", "windows"] {
            let of = |output: &str| Rows::of(&scene.path(output), table).sorted();
            assert_eq!(of(&output), of("live"), "{table}, {workers} workers");
        }
    }
    scene.write("other.csv", "device_id,manufacturer,model\nd3,Bolt,M3\n");
    let file = [
        "--input",
        "live.state",
        "--devices",
        "other.csv",
        "--set",
        "devices.history=file",
    ];
    scene.replay("realtime_analytics", "other", &file);
    let other = Rows::of(&scene.path("other"), "readings");
    let known = other.column("model").into_iter().filter(|model| **model != Cell::Null);
    assert_eq!(known.count(), 4);
}

#[test]
fn readings_meet_the_device_collection_of_their_time_when_all_is_committed() {
    readings_meet_the_devices_of_their_time("output.commit_interval=100ms", true);
}

#[test]
fn readings_meet_the_device_collection_of_their_time_when_nothing_is() {
    readings_meet_the_devices_of_their_time("output.commit_interval=1h", false);
}

#[test]
fn a_broker_that_is_not_there_is_told_in_one_line() {
    let scene = Scene::empty();
    let run = scene.run(&[
        "run",
        "sensor_collection",
        "--source",
        "mqtt://127.0.0.1:9",
        "--set",
        "keys.kek=file:kek",
    ]);
    assert_eq!(run.status, 1);
    assert_eq!(
        run.stderr,
        "wardflow: mqtt://127.0.0.1:9: no broker listens there; start one, or set source.url\n"
    );
}
