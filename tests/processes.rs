//! Live runs of the real program with several sessions and processes, against a real Mosquitto: the same rows as a replay of their journals, whatever stops, goes on or dies.

#[allow(dead_code)] // each test file uses its part
mod mosquitto;
#[allow(dead_code)]
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mosquitto::Mosquitto;
use program::Scene;
use rustix::process::{Pid, Signal, kill_process};
use tables::Rows;
use ward::Ward;

const TOPIC: &str = "LifeSupportDevice/Sensor";
/// Longer than anything here takes; a test that hangs shall fail.
const LONG: Duration = Duration::from_secs(120);
const SETTINGS: [&str; 18] = [
    "--devices",
    "devices.csv",
    "--set",
    "keys.kek=file:kek",
    "--set",
    "forest.trees=10",
    "--set",
    "forest.sample_size=40",
    "--set",
    "alerts.threshold=1.3",
    "--set",
    "output.commit_interval=300ms",
    "--set",
    "windows.size=1s",
    "--set",
    "windows.out_of_orderness=1s",
    "--set",
    "journal.segment_bytes=20KB",
];

/// A ward's records, and how many readings they make.
struct Records {
    lines: Vec<String>,
    readings: u64,
}

fn scene(seed: u64) -> (Scene, Records) {
    let ward = Ward {
        over_long: None,
        ..Ward::on_a_bad_day(seed, 1500)
    };
    let (scene, truth) = Scene::of(&ward);
    let input = fs::read(scene.path("input.jsonl")).expect("the records");
    // Lines that are no text cannot be given to the publisher.
    let text = |line: &[u8]| std::str::from_utf8(line).ok().map(str::to_owned);
    let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.filter_map(text).collect();
    let readings = truth.readings;
    (scene, Records { lines, readings })
}

/// A live run: a process, or the supervisor of several.
struct Live {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Live {
    /// Starts one with further arguments.
    fn start(scene: &Scene, broker: &Mosquitto, more: &[&str]) -> Live {
        let url = broker.url();
        let mut arguments = vec!["run", "realtime_analytics", "--source", &url, "-o", "live"];
        arguments.extend(["--summary", "live.json"]);
        arguments.extend(SETTINGS);
        arguments.extend(more);
        let (child, stderr) = scene.start(&arguments);
        let said = Arc::new(Mutex::new(Vec::new()));
        listen(stderr, Arc::clone(&said));
        Live { child, said }
    }

    /// The same, and waits until all sessions stand.
    fn subscribed(scene: &Scene, broker: &Mosquitto, more: &[&str]) -> Live {
        let mut live = Live::start(scene, broker, more);
        live.wait_for("subscribed", |said| said.iter().any(|line| line.contains("subscribed")));
        live
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("nobody panics").clone()
    }

    fn wait_for(&mut self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + LONG;
        while !wanted(&self.said()) {
            let ended = self.child.try_wait().expect("a child");
            assert!(
                ended.is_none() && Instant::now() < until,
                "{what} does not come ({ended:?}): {:#?}",
                self.said()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// The processes of the set, by their numbers.
    fn members(&self) -> Vec<Pid> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("a process");
        let mut members: Vec<(usize, Pid)> = children
            .split_whitespace()
            .map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).expect("a process");
                let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
                let at = words.iter().position(|word| word == b"-p").expect("it is a member");
                let number = std::str::from_utf8(words[at + 1]).expect("text");
                let pid = Pid::from_raw(pid.parse().expect("a number")).expect("not 0");
                (number.parse().expect("a number"), pid)
            })
            .collect();
        members.sort_by_key(|(number, _)| *number);
        members.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Waits for its end; the status and what it has said.
    fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let until = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {:#?}", self.said());
            thread::sleep(Duration::from_millis(20));
        };
        thread::sleep(Duration::from_millis(100)); // its last words
        (status.code(), self.said())
    }

    /// Ends it in order.
    fn end(self) {
        self.signal(Signal::TERM);
        let (status, said) = self.wait();
        assert_eq!(status, Some(0), "{said:#?}");
        assert!(said.iter().all(|line| !line.contains("panicked")), "{said:#?}");
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Its members end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(from: BufReader<ChildStderr>, said: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            said.lock().expect("nobody panics").push(line);
        }
    });
}

/// Waits until so many readings are committed.
fn committed(scene: &Scene, live: &mut Live, readings: u64) {
    live.wait_for(&format!("{readings} readings"), |_| {
        Rows::of(&scene.path("live"), "readings").rows.len() as u64 >= readings
    });
}

/// The journals' replay gives the same rows, bit for bit, with any number of workers.
fn assert_replayed(scene: &Scene, readings: u64) {
    let input = ["--input", "live.state"];
    for (output, workers) in [("one", &["-w", "1"][..]), ("four", &["-w", "2", "-n", "2", "--spawn"])] {
        let mut more = SETTINGS.to_vec();
        more.extend(input);
        more.extend(workers);
        scene.replay("realtime_analytics", output, &more);
        for table in ["readings", "anomalies", "windows", "quarantine"] {
            let of = |output: &str| Rows::of(&scene.path(output), table).without(tables::SEALED).sorted();
            let (live, replayed) = (of("live"), of(output));
            assert!(!replayed.rows.is_empty(), "{table}");
            assert!(
                live == replayed,
                "{table} of the live run is not what the replay {output} makes of its journals"
            );
        }
    }
    let kept = Rows::of(&scene.path("live"), "readings").rows.len() as u64;
    assert_eq!(kept, readings, "every reading once");
}

fn journals(scene: &Scene) -> Vec<bool> {
    let has_segments = |session: usize| {
        let names = fs::read_dir(scene.path(&format!("live.state/journal/{session}")));
        names.is_ok_and(|mut names| names.next().is_some())
    };
    (0..4).map(has_segments).collect()
}

#[test]
#[ignore = "needs mosquitto"]
fn sessions_of_one_process_share_the_records_and_a_replay_gives_the_same_rows() {
    let (scene, records) = scene(21);
    let broker = Mosquitto::start("max_queued_messages 0\n");
    let mut live = Live::subscribed(&scene, &broker, &["-w", "2", "--set", "source.sessions=3"]);
    broker.publish(TOPIC, &records.lines);
    committed(&scene, &mut live, records.readings);
    live.end();
    assert_eq!(journals(&scene), [true, true, true, false]);
    assert_replayed(&scene, records.readings);
}

#[test]
#[ignore = "needs mosquitto"]
fn processes_with_a_session_each_make_one_run() {
    let (scene, records) = scene(22);
    let broker = Mosquitto::start("max_queued_messages 0\n");
    let set = ["-w", "2", "-n", "2", "--spawn", "--set", "source.sessions=2"];
    let mut live = Live::subscribed(&scene, &broker, &set);
    broker.publish(TOPIC, &records.lines);
    committed(&scene, &mut live, records.readings);
    live.end();
    assert_eq!(journals(&scene), [true, true, false, false]);
    assert_replayed(&scene, records.readings);
}

#[test]
#[ignore = "needs mosquitto"]
fn a_run_goes_on_with_any_number_of_workers_processes_and_sessions() {
    let (scene, records) = scene(23);
    let broker = Mosquitto::start("max_queued_messages 0\n");
    let shapes: [&[&str]; 5] = [
        &["-w", "2"],
        &["-w", "2", "-n", "2", "--spawn", "--set", "source.sessions=2"],
        &["-w", "1", "--set", "source.sessions=2"],
        &["-w", "1", "-n", "3", "--spawn", "--set", "source.sessions=4"],
        &["-w", "3"], // the sessions that are too many still bring what the broker has for them
    ];
    let part = records.lines.len().div_ceil(shapes.len());
    for (shape, lines) in shapes.iter().zip(records.lines.chunks(part)) {
        let before = Rows::of(&scene.path("live"), "readings").rows.len() as u64;
        let mut live = Live::subscribed(&scene, &broker, shape);
        broker.publish(TOPIC, lines);
        // Most of them: which are copies is known of all records only.
        committed(&scene, &mut live, before + lines.len() as u64 * 7 / 10);
        live.end();
    }
    let mut live = Live::subscribed(&scene, &broker, &["-w", "2"]);
    committed(&scene, &mut live, records.readings);
    live.end();
    assert_replayed(&scene, records.readings);
}

#[test]
#[ignore = "needs mosquitto"]
fn a_set_whose_member_dies_is_started_again_and_loses_nothing() {
    let (scene, records) = scene(24);
    let broker = Mosquitto::start("max_queued_messages 0\n");
    let set = ["-w", "1", "-n", "2", "--spawn", "--set", "source.sessions=2"];
    let mut live = Live::subscribed(&scene, &broker, &set);
    for (turn, lines) in records.lines.chunks(records.lines.len().div_ceil(3)).enumerate() {
        broker.publish(TOPIC, lines);
        if turn == 2 {
            break;
        }
        let members = live.members();
        kill_process(members[turn], Signal::KILL).expect("it runs");
        live.wait_for("the next start", |said| {
            let again = said
                .iter()
                .filter(|line| line.contains("started again from the last commit"));
            let subscribed = said.iter().filter(|line| line.contains("subscribed"));
            (again.count(), subscribed.count()) == (turn + 1, turn + 2)
        });
    }
    committed(&scene, &mut live, records.readings);
    // Any member may be asked to end: all do, in order.
    kill_process(live.members()[1], Signal::TERM).expect("it runs");
    let (status, said) = live.wait();
    assert_eq!(status, Some(0), "{said:#?}");
    assert_replayed(&scene, records.readings);
}

#[test]
#[ignore = "needs mosquitto"]
fn a_second_set_is_refused_and_one_that_was_held_up_is_fenced_off() {
    let (scene, records) = scene(25);
    let broker = Mosquitto::start("max_queued_messages 0\n");
    let set = ["-w", "1", "-n", "2", "--spawn", "--set", "source.sessions=2"];
    let mut first = Live::subscribed(&scene, &broker, &set);
    let (early, late) = records.lines.split_at(records.lines.len() / 2);
    broker.publish(TOPIC, early);
    committed(&scene, &mut first, early.len() as u64 / 2);

    let (status, said) = Live::start(&scene, &broker, &set).wait();
    assert_eq!(status, Some(1));
    assert!(
        said.iter()
            .any(|line| line.contains("another run uses this state folder")),
        "{said:#?}"
    );

    // Held up, and its locks lost, as those of a machine that was cut off.
    let members = first.members();
    first.signal(Signal::STOP);
    members
        .iter()
        .for_each(|member| kill_process(*member, Signal::STOP).expect("it runs"));
    for lock in ["lock", "vault.sqlite.lock", "session-0.lock", "session-1.lock"] {
        fs::remove_file(scene.path("live.state").join(lock)).expect(lock);
    }
    let mut second = Live::subscribed(&scene, &broker, &set);
    broker.publish(TOPIC, late);
    members
        .iter()
        .for_each(|member| kill_process(*member, Signal::CONT).expect("it is there"));
    first.signal(Signal::CONT);
    first.wait_for("the fence", |said| {
        said.iter()
            .any(|line| line.contains("has taken over this state folder"))
    });
    drop(first);
    committed(&scene, &mut second, records.readings);
    second.end();
    assert_replayed(&scene, records.readings);
}

#[test]
#[ignore = "needs mosquitto"]
fn processes_that_do_not_reach_the_same_folders_are_told_so() {
    let (scene, _) = scene(26);
    let broker = Mosquitto::start("");
    let port = 20_000 + std::process::id() % 10_000;
    scene.write("hosts", format!("127.0.0.1:{port}\n127.0.0.1:{}\n", port + 1));
    let secret = "5b".repeat(32);
    for (flag, what) in [("--state", "state"), ("-o", "output")] {
        let url = broker.url();
        let start = |process: &str, folder: &str| {
            let mut arguments = vec!["run", "realtime_analytics", "--source", &url, "-n", "2", "-p", process];
            arguments.extend(["--hostfile", "hosts"]);
            arguments.extend(SETTINGS);
            let state = if flag == "--state" { folder } else { "there.state" };
            let output = if flag == "-o" { folder } else { "there" };
            arguments.extend(["--state", state, "-o", output]);
            let mut command = scene.command(&arguments);
            command
                .env("WARDFLOW_CLUSTER_SECRET", &secret)
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command.spawn().expect("the program starts")
        };
        let ends =
            [start("0", "here"), start("1", "elsewhere")].map(|child| child.wait_with_output().expect("it ends"));
        let said = String::from_utf8_lossy(&ends[1].stderr);
        assert_eq!(ends[1].status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("is not the {what} folder of process 0")),
            "{said}"
        );
        assert!(!ends[0].status.success());
    }
}
