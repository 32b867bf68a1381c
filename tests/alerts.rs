//! Alerts of the real program over a real Mosquitto, both of which die again and again. Needs mosquitto and mosquitto_sub on the path.

#[allow(dead_code)] // each test file uses its part
mod canaries;
#[allow(dead_code)]
mod mosquitto;
#[allow(dead_code)]
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use canaries::Search;
use mosquitto::Mosquitto;
use program::{Scene, Summary};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const TOPIC: &str = "LifeSupportDevice/Sensor";
const CANARIES: [&str; 4] = [
    "Quenby7Name7Canary",
    "Quenby7Dob7Canary",
    "Quenby7Text7Canary",
    "Quenby7Patient7Canary",
];
/// Longer than anything here takes; a test that hangs shall fail.
const LONG: Duration = Duration::from_secs(120);
/// Device, manufacturer, and its level.
const DEVICES: [(&str, &str, &str); 3] = [
    ("MON-0", "A/B Med", "A%2FB Med"),
    ("MON-1", "Müller", "Müller"),
    ("MON-2", "unknown", "%75nknown"),
];

/// Record `n` of five devices, a second after the one before it. Every seventh is beyond its range, and the device's next one is as well.
fn record(n: u64) -> String {
    let pulse = if n.is_multiple_of(7) || n % 7 == 5 {
        200
    } else {
        70 + n % 9
    };
    let [name, dob, text, patient] = CANARIES;
    format!(
        r#"{{"device_id":"MON-{}","patient_id":"{patient}{n}","name":"{name}","dob":"{dob}","text":"{text}","timestamp":{},"temperature":98.{},"pulse":{pulse}}}"#,
        n % 5,
        1_508_039_751_000 + 1000 * n,
        n % 10
    )
}

/// Device and time of the incidents among the first so many records.
fn incidents(records: u64) -> BTreeSet<(String, String)> {
    let second = |n: u64| {
        format!(
            "{:02}:{:02}:{:02}.000000",
            3 + (55 * 60 + 51 + n) / 3600,
            (55 * 60 + 51 + n) / 60 % 60,
            (51 + n) % 60
        )
    };
    (0..records)
        .filter(|n| n.is_multiple_of(7))
        .map(|n| (format!("MON-{}", n % 5), format!("2017-10-15T{}", second(n))))
        .collect()
}

struct Live(Child);

impl Live {
    fn start(scene: &Scene, broker: &str, workers: &str, more: &[&str]) -> Live {
        let mut arguments = vec![
            "run",
            "realtime_analytics",
            "--source",
            broker,
            "-o",
            "live",
            "-w",
            workers,
        ];
        arguments.extend(["--summary", "live.json", "--devices", "devices.csv"]);
        for setting in [
            "keys.kek=file:kek",
            "forest.trees=5",
            "alerts.threshold=1000",
            "alerts.ranges={ pulse = [40, 150] }",
            "alerts.cool_down=5s",
            "output.commit_interval=300ms",
        ] {
            arguments.extend(["--set", setting]);
        }
        arguments.extend(more);
        let (child, mut said) = scene.start(&arguments);
        let (mut line, mut all) = (String::new(), String::new());
        while !line.contains("subscribed") {
            all.push_str(&line);
            line.clear();
            assert!(
                said.read_line(&mut line).expect("text") > 0,
                "the run ended early: {all}"
            );
        }
        thread::spawn(move || said.lines().for_each(drop)); // so that it never waits for a reader
        Live(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }

    fn end(mut self, scene: &Scene) -> Summary {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
        Summary::read(&fs::read_to_string(scene.path("live.json")).expect("a summary"))
    }
}

/// A subscriber that is not ours; its session outlives the broker's restarts.
struct Watcher(Child);

impl Watcher {
    fn start(port: u16, into: &Path) -> Watcher {
        let mut watcher = Command::new("mosquitto_sub");
        watcher.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-i",
            "watcher",
            "-c",
            "-q",
            "1",
        ]);
        watcher.args(["-t", "wardflow/alerts/#", "-F", "%t\t%p"]);
        watcher
            .stdout(File::create(into).expect("a file"))
            .stderr(Stdio::null());
        Watcher(watcher.spawn().expect("mosquitto_sub is installed, and on the path"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended itself
        let _ = self.0.wait();
    }
}

/// Whole lines of a file that grows.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

fn incident(alert: &Value) -> (String, String) {
    let text = |key: &str| alert[key].as_str().expect("a text").to_owned();
    (text("device_id"), text("timestamp"))
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LONG, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn scene() -> Scene {
    let scene = Scene::empty();
    let mut devices = "device_id,manufacturer,model\n".to_owned();
    for (device, manufacturer, _) in DEVICES {
        devices += &format!("{device},{manufacturer},M1\n");
    }
    scene.write("devices.csv", devices);
    scene
}

#[test]
#[ignore = "needs mosquitto"]
fn every_incident_is_told_of_whoever_dies_and_always_in_the_same_words() {
    let scene = scene();
    let mut broker = Mosquitto::start(
        "persistence true\nautosave_interval 1\nautosave_on_changes true\nmax_queued_messages 0\nmax_inflight_messages 0\n",
    );
    let (got, file) = (scene.path("got"), scene.path("alerts.jsonl"));
    let _watcher = Watcher::start(broker.port, &got);
    wait_until("the watcher has subscribed", || {
        let log = fs::read_to_string(broker.folder.path().join("log")).unwrap_or_default();
        log.contains("as watcher")
    });
    let url = broker.url();
    let to_file = ["--set", "alerts.file=alerts.jsonl"];
    let mut sent = 0;
    for round in 0..6_u64 {
        let live = Live::start(&scene, &url, ["1", "2", "3"][round as usize % 3], &to_file);
        for _ in 0..3 {
            let records: Vec<String> = (sent..sent + 70).map(record).collect();
            sent += 70;
            broker.publish(TOPIC, &records);
            if round == 3 {
                broker.restart();
            }
            thread::sleep(Duration::from_millis(60 * round));
        }
        if round == 4 {
            broker.restart();
        }
        live.kill();
        if round == 2 {
            broker.restart();
        }
    }
    let wanted = incidents(sent);
    let live = Live::start(&scene, &url, "2", &to_file);
    let told = |path: &Path| -> Vec<Value> {
        let json = |line: &String| parsed(line.split_once('\t').map_or(line.as_str(), |(_, json)| json));
        lines(path).iter().map(json).collect()
    };
    for path in [&file, &got] {
        wait_until("all incidents are told of", || {
            told(path).iter().map(incident).collect::<BTreeSet<_>>() == wanted
        });
    }
    let summary = live.end(&scene);
    assert_eq!(summary.count("alerts_waiting"), 0);

    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    for alert in told(&got).into_iter().chain(told(&file)) {
        let id = alert["alert_id"].as_str().expect("a text").to_owned();
        assert_eq!(by_id.entry(id).or_insert(alert.clone()), &alert, "one id, two alerts");
    }
    let told_of: BTreeSet<_> = by_id.values().map(incident).collect();
    assert_eq!(
        (by_id.len(), told_of),
        (wanted.len(), wanted.clone()),
        "one alert for each incident"
    );
    assert_eq!(lines(&file).len(), wanted.len(), "the file has every alert once");
    for line in lines(&got) {
        let (topic, json) = line.split_once('\t').expect("a topic");
        let device = incident(&parsed(json)).0;
        let known = DEVICES.iter().find(|(of, ..)| *of == device);
        let level = known.map_or("unknown", |(_, _, level)| level);
        assert_eq!(topic, format!("wardflow/alerts/{level}"));
    }

    let (name, dob, text, patient) = (CANARIES[0], CANARIES[1], CANARIES[2], CANARIES[3]);
    let alerts = Search::of([name, dob, text, patient]);
    for path in [&got, &file] {
        alerts.assert_absent(&fs::read(path).expect("a file"), "the alerts");
    }
    let seen = alerts.assert_absent_below(&scene.path("live.state").join("alerts"), &[]);
    assert!(seen.bytes > 0);
}

/// A broker that is away: the tables go on, the alerts wait for it, also in the next run.
#[test]
#[ignore = "needs mosquitto"]
fn alerts_wait_for_a_broker_that_is_away() {
    let scene = scene();
    let (source, absent) = (Mosquitto::start(""), Mosquitto::start(""));
    let (url, alerts) = (source.url(), format!("alerts.url={}", absent.url()));
    let port = absent.port;
    drop(absent);
    let live = Live::start(&scene, &url, "1", &["--set", &alerts, "--set", "alerts.patient=true"]);
    let records: Vec<String> = (0..140).map(record).collect();
    source.publish(TOPIC, &records);
    let manifest = scene.path("live.state").join("manifest.json");
    wait_until("the records are committed", || {
        let manifest = fs::read_to_string(&manifest).unwrap_or_default();
        serde_json::from_str::<Value>(&manifest).is_ok_and(|manifest| manifest["tally"]["readings"] == 140)
    });
    let summary = live.end(&scene);
    assert_eq!((summary.count("alerts"), summary.count("alerts_waiting")), (20, 20));

    let back = Mosquitto::start_at(port);
    let got = scene.path("got");
    let _watcher = Watcher::start(back.port, &got);
    wait_until("the watcher has subscribed", || {
        let log = fs::read_to_string(back.folder.path().join("log")).unwrap_or_default();
        log.contains("as watcher")
    });
    thread::sleep(Duration::from_millis(300)); // the subscription follows the greeting
    let live = Live::start(&scene, &url, "2", &["--set", &alerts, "--set", "alerts.patient=true"]);
    wait_until("the alerts have come", || lines(&got).len() >= 20);
    let summary = live.end(&scene);
    assert_eq!((summary.count("alerts"), summary.count("alerts_waiting")), (0, 0));
    let found: Vec<Value> = lines(&got)
        .iter()
        .map(|line| parsed(line.split_once('\t').expect("a topic").1))
        .collect();
    assert_eq!(found.iter().map(incident).collect::<BTreeSet<_>>(), incidents(140));
    assert_eq!(found.len(), 20, "each once");
    assert!(
        found
            .iter()
            .all(|alert| alert["patient_id"].as_str().is_some_and(|id| id.contains("Patient")))
    );
}
