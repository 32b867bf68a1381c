//! A replay that is killed or interrupted at any moment, and taken up again.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use program::Scene;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tables::{assert_same_output, files, read};
use ward::Ward;

const SETTINGS: [&str; 12] = [
    "--devices",
    "devices.csv",
    "--set",
    "output.commit_rows=300",
    "--set",
    "replay.epoch_records=60",
    "--set",
    "forest.trees=15",
    "--set",
    "forest.sample_size=40",
    "--set",
    "alerts.threshold=1.3",
];

/// What readers have seen in an output folder so far.
#[derive(Default)]
struct Reader {
    seen: BTreeMap<String, Vec<u8>>,
}

impl Reader {
    /// Looks: every visible Parquet file is complete, and is what it was when it was first seen.
    fn look(&mut self, output: &Path) {
        for (name, bytes) in files(output) {
            if !name.ends_with(".parquet") {
                assert!(
                    name.starts_with(".staging/"),
                    "{name} is neither a table's file nor staged"
                );
                continue;
            }
            assert!(
                !name.starts_with('.'),
                "{name}: what is staged must not look like a table's file"
            );
            if let Some(before) = self.seen.get(&name) {
                assert!(*before == bytes, "{name} has changed since it was first seen");
                continue;
            }
            let path = output.join(&name);
            assert!(
                read(&path).is_ok_and(|batches| !batches.is_empty()),
                "{name} is not complete"
            );
            self.seen.insert(name, bytes);
        }
        for name in self.seen.keys() {
            assert!(output.join(name).exists(), "{name} has gone");
        }
    }
}

fn start(scene: &Scene, output: &str, more: &[&str]) -> Child {
    let arguments = scene.replay_arguments("realtime_analytics", output, &[&SETTINGS[..], more].concat());
    let mut command = scene.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("the program starts")
}

/// All processes of a run have let go of its state folder.
fn wait_for_the_lock(state: &Path) {
    if let Ok(lock) = File::options().write(true).open(state.join("lock")) {
        flock(&lock, FlockOperation::LockExclusive).expect("the lock is free in the end");
    }
}

fn killed_again_and_again(workers: &[&str], kills: u32) {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(31, 6000));
    let started = Instant::now();
    let whole = scene.replay("realtime_analytics", "whole", &[&SETTINGS[..], workers].concat());
    let duration = started.elapsed();
    assert!(whole.count("commits") >= 20);

    let (output, mut reader) = (scene.path("out"), Reader::default());
    for kill in 1..=kills {
        let mut child = start(&scene, "out", workers);
        let moment = Instant::now() + duration.mul_f64(f64::from(kill) / f64::from(kills + 1));
        while Instant::now() < moment && child.try_wait().expect("a child").is_none() {
            reader.look(&output);
            thread::sleep(Duration::from_millis(5));
        }
        let pid = Pid::from_child(&child);
        // It may have ended already, then there is nobody to kill.
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait().expect("it has ended");
        wait_for_the_lock(&scene.path("out.state"));
        reader.look(&output);
    }
    assert!(!reader.seen.is_empty(), "some commits were made before the last kill");
    let last = scene.replay("realtime_analytics", "out", &[&SETTINGS[..], workers].concat());
    reader.look(&output);
    assert_same_output(
        &scene.path("whole"),
        &output,
        &format!("{workers:?}, killed {kills} times"),
    );
    assert_eq!(whole.facts(), last.facts());
    let show = |output: &str| {
        scene
            .run(&["vault", "show", "P-000003", "-o", output, "--kek", "file:kek"])
            .stdout
    };
    assert_eq!(show("whole"), show("out"), "the vaults say the same");
    let unknown = |state: &str| fs::read_to_string(scene.path(state).join("unknown_devices.csv")).expect("the list");
    assert_eq!(unknown("whole.state"), unknown("out.state"));
}

#[test]
fn one_process_killed_at_any_moment_leaves_whole_files_and_goes_on_to_the_same_output() {
    killed_again_and_again(&["-w", "2"], 7);
}

#[test]
fn two_processes_killed_at_any_moment_leave_whole_files_and_go_on_to_the_same_output() {
    killed_again_and_again(&["--spawn", "-n", "2"], 4);
}

/// Waits until the first file is visible; true unless the run has ended before.
fn wait_for_a_commit(child: &mut Child, output: &Path) -> bool {
    while child.try_wait().expect("a child").is_none() {
        if files(output).keys().any(|name| name.ends_with(".parquet")) {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

fn interrupted(workers: &[&str], signal: Signal) {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(32, 12_000));
    let records = fs::read(scene.path("input.jsonl")).expect("records");
    scene.write("packed.jsonl.zst", zstd::encode_all(&records[..], 1).expect("packed"));
    scene.replay("realtime_analytics", "whole", &[&SETTINGS[..], workers].concat());
    let mut child = start(&scene, "out", workers);
    assert!(
        wait_for_a_commit(&mut child, &scene.path("out")),
        "it has commits on the way"
    );
    kill_process(Pid::from_child(&child), signal).expect("it is running");
    let run: program::Run = child.wait_with_output().expect("it ends").into();
    assert_eq!((run.status, run.stdout.as_str()), (130, ""), "{}", run.stderr);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    wait_for_the_lock(&scene.path("out.state"));
    let mut reader = Reader::default();
    reader.look(&scene.path("out"));
    assert!(!reader.seen.is_empty(), "what was committed stays");
    scene.replay("realtime_analytics", "out", &[&SETTINGS[..], workers].concat());
    reader.look(&scene.path("out"));
    assert_same_output(&scene.path("whole"), &scene.path("out"), "interrupted and gone on");
}

#[test]
fn an_interrupted_replay_keeps_its_commits_and_goes_on() {
    interrupted(&["-w", "2"], Signal::INT);
}

#[test]
fn a_terminated_replay_keeps_its_commits_and_goes_on() {
    interrupted(&["-w", "1"], Signal::TERM);
}

#[test]
fn an_interrupted_replay_of_a_packed_file_keeps_its_commits_and_goes_on() {
    interrupted(&["--input", "packed.jsonl.zst"], Signal::INT);
}

/// A gap that takes hours at this speed is no reason to wait for the end.
#[test]
fn an_interrupted_wait_ends_at_once() {
    let scene = Scene::empty();
    let record = |time: &str| format!("{{\"timestamp\":\"{time}\",\"device_id\":\"a\"}}\n");
    scene.write(
        "input.jsonl",
        record("2020-01-01T00:00:00") + &record("2020-01-01T09:00:00"),
    );
    let arguments = scene.replay_arguments("sensor_collection", "out", &["--speed", "1x"]);
    let mut command = scene.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    while !scene.path("out.state/vault.sqlite").exists() {
        assert!(child.try_wait().expect("a child").is_none(), "it has much to wait for");
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("a child").is_none(), "it waits");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is running");
    let run: program::Run = child.wait_with_output().expect("it ends").into();
    assert_eq!(run.status, 130, "{}", run.stderr);
    let whole = scene.replay("sensor_collection", "out", &[]);
    assert_eq!(whole.count("readings_out"), 2);
}

#[test]
fn interrupted_processes_keep_their_commits_and_go_on() {
    interrupted(&["--spawn", "-n", "2"], Signal::INT);
}

/// A run that goes through an input again stages every file again. What it had half written when it was killed must not come to be seen,
/// not even by a start that fails.
#[test]
fn what_a_killed_repetition_has_half_written_takes_the_place_of_nothing() {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(33, 900));
    scene.replay("realtime_analytics", "out", &SETTINGS);
    let before = files(&scene.path("out"));
    let manifest = fs::read_to_string(scene.path("out.state/manifest.json")).expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let last = manifest["commits"].as_u64().expect("a count") - 1;
    for file in manifest["last"].as_array().expect("files") {
        let path = file["path"].as_str().expect("a path");
        let staged = path.strip_suffix(".parquet").expect("a table's file");
        let half = &before[path][..before[path].len() / 2];
        scene.write(&format!("out/.staging/{last:08}/{staged}"), half);
    }
    let failing = [&SETTINGS[..], &["--set", "keys.kek=file:none"]].concat();
    let run = scene.run(&scene.replay_arguments("realtime_analytics", "out", &failing));
    assert_eq!(run.status, 1, "{}", run.stderr);
    let mut after = files(&scene.path("out"));
    after.retain(|name, _| !name.starts_with(".staging/"));
    assert!(before == after, "a start that failed has changed what is visible");
    scene.replay("realtime_analytics", "out", &SETTINGS);
    assert_eq!(before, files(&scene.path("out")));
}
