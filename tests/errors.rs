//! Everyday mistakes: each is told in one clear line of what failed and what to do, and nothing half-made is left to be seen.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use program::{Run, Scene};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tables::{files, read};
use ward::Ward;

fn ward() -> Scene {
    Scene::of(&Ward::on_a_bad_day(51, 200)).0
}

/// No sign of a panic, and nothing visible that is not complete.
fn assert_decent(scene: &Scene, run: &Run, what: &str) {
    for sign in [
        "panicked",
        "backtrace",
        "RUST_BACKTRACE",
        "internal error",
        "unwrap",
        ".rs:",
    ] {
        assert!(!run.stderr.contains(sign), "{what}: {sign} in {}", run.stderr);
    }
    for (name, _) in files(&scene.path(""))
        .iter()
        .filter(|(name, _)| name.contains("/date=") && name.ends_with(".parquet"))
    {
        assert!(read(&scene.path(name)).is_ok(), "{what}: {name} is not complete");
    }
}

fn run(scene: &Scene, arguments: &[&str]) -> Run {
    let command = &mut scene.command(arguments);
    command
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the program starts")
        .into()
}

/// One line for each of `lines`, in order, with the texts of each; exit status 1.
fn assert_refused(scene: &Scene, arguments: &[&str], lines: &[&[&str]]) {
    let run = run(scene, arguments);
    assert_decent(scene, &run, &format!("{arguments:?}"));
    assert_eq!(
        (run.status, run.stdout.as_str()),
        (1, ""),
        "{arguments:?}: {}",
        run.stderr
    );
    let told: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(told.len(), lines.len(), "{arguments:?}: {}", run.stderr);
    for (line, texts) in told.iter().zip(lines) {
        for text in *texts {
            assert!(line.contains(text), "{arguments:?}: no {text:?} in {line:?}");
        }
    }
    let tables = files(&scene.path("out"))
        .into_keys()
        .filter(|name| name.ends_with(".parquet"))
        .count();
    assert_eq!(tables, 0, "{arguments:?}: nothing is visible");
}

/// A replay of `input.jsonl` with more arguments is refused in one line, by one process and by two under supervision.
fn assert_replay_refused(scene: &Scene, dataflow: &str, more: &[&str], texts: &[&str]) {
    for workers in [&["-w", "2"][..], &["--spawn", "-n", "2"]] {
        let arguments = scene.replay_arguments(dataflow, "out", &[more, workers].concat());
        assert_refused(scene, &arguments, &[texts]);
    }
}

#[test]
fn an_input_that_is_not_there_or_not_readable() {
    let scene = ward();
    scene.write("empty/readme.txt", "no records");
    scene.write("packed.jsonl.gz", "x");
    scene.write("packed.csv.gz", "x");
    scene.write("empty.jsonl.zst", "");
    scene.write("misnamed.jsonl", b"\x1f\x8b\x08");
    scene.write("broken.parquet", "PAR1");
    scene.write("pictures/a.png", b"\x89PNG\r\n\x1a\n\0");
    scene.write("pictures/b.jpg", b"\xff\xd8\xff\xe0\0");
    let refused = |input: &[&str], texts: &[&str]| {
        assert_replay_refused(&scene, "sensor_collection", &[&["--input"], input].concat(), texts);
    };
    refused(&["none.jsonl"], &["none.jsonl", "no such file"]);
    refused(&["nowhere/none.jsonl"], &["nowhere/none.jsonl", "no such file"]);
    refused(&["*.ndjson"], &["*.ndjson", "matches no file"]);
    refused(&["[a"], &["[a", "glob"]);
    refused(
        &["empty"],
        &["empty", "holds no file that is read", ".jsonl", ".parquet"],
    );
    refused(&["pictures"], &["pictures", "holds no file that is read"]);
    refused(&["pictures/*"], &["matches 2 files and none that is read"]);
    refused(&["pictures/a.png"], &["a.png", "no text"]);
    refused(&["misnamed.jsonl"], &["packed with gzip", ".gz"]);
    refused(&["packed.csv.gz"], &["packed.csv.gz", "damaged or cut short"]);
    refused(&["broken.parquet"], &["broken.parquet", "damaged"]);
    refused(
        &["devices.csv"],
        &["devices.csv", "no column timestamp", "record.timestamp"],
    );
    refused(&["-", "input.jsonl"], &["standard input"]);
    refused(&["input.jsonl", "none.jsonl"], &["none.jsonl"]);
    assert!(!scene.path("out").exists(), "nothing has been made");

    // What comes to light only where it is read.
    for (file, output) in [("packed.jsonl.gz", "late"), ("empty.jsonl.zst", "later")] {
        let arguments = scene.replay_arguments("sensor_collection", output, &["--input", file]);
        assert_told_last(&run(&scene, &arguments), &[file, "damaged or cut short"]);
    }
}

fn assert_told_last(run: &Run, texts: &[&str]) {
    assert_eq!(run.status, 1, "{}", run.stderr);
    let last = run.stderr.lines().last().unwrap_or_default();
    for text in texts {
        assert!(last.contains(text), "no {text:?} in {last:?}");
    }
}

#[test]
fn times_and_speeds_that_are_none() {
    let scene = ward();
    let refused = |more: &[&str], texts: &[&str]| assert_replay_refused(&scene, "sensor_collection", more, texts);
    refused(&["--from", "yesterday"], &["select.from", "yesterday"]);
    refused(&["--from", "2017-10-16", "--to", "2017-10-15"], &["must be before"]);
    for speed in ["fast", "0", "-1x"] {
        let speed = format!("--speed={speed}");
        let run = run(&scene, &scene.replay_arguments("sensor_collection", "out", &[&speed]));
        assert_eq!(run.status, 2, "{}", run.stderr);
        assert!(run.stderr.contains("60x"), "{}", run.stderr);
    }
}

/// A pipe can be read once only; the input is looked at before it is read.
#[test]
fn a_named_pipe_is_refused_rather_than_read_in_part() {
    let scene = ward();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.path("pipe.jsonl"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a named pipe");
    assert_replay_refused(
        &scene,
        "sensor_collection",
        &["--input", "pipe.jsonl"],
        &["pipe.jsonl", "--input -"],
    );
    let text = fs::read(scene.path("input.jsonl")).expect("records");
    let mut child = scene
        .command(&scene.replay_arguments("sensor_collection", "out", &["--input", "/dev/stdin"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end before it has read everything.
    let _ = std::io::Write::write_all(&mut child.stdin.take().expect("it is piped"), &text);
    let run: Run = child.wait_with_output().expect("it ends").into();
    assert_decent(&scene, &run, "/dev/stdin");
    assert_eq!(run.status, 1, "{}", run.stdout);
    assert!(run.stderr.contains("--input -"), "{}", run.stderr);
}

#[test]
fn a_device_collection_that_cannot_be_used() {
    let scene = ward();
    scene.write("short.csv", "device_id,model\nLSD-000001,a\n");
    scene.write("twice.csv", "device_id,manufacturer,model\nA,b,c\nA,b,d\n");
    scene.write("ragged.csv", "device_id,manufacturer,model\nA,b\n");
    scene.write("broken.parquet", "PAR1");
    scene.write("folder.csv/x", "");
    let refused = |file: &str, texts: &[&str]| {
        assert_replay_refused(&scene, "ingest_transform_load", &["--devices", file], texts);
    };
    refused("none.csv", &["none.csv", "no such file"]);
    refused("short.csv", &["short.csv", "no column manufacturer"]);
    refused("twice.csv", &["rows 2 and 3", "device A"]);
    refused("ragged.csv", &["line 2"]);
    refused("broken.parquet", &["Parquet"]);
    refused("folder.csv", &["folder.csv", "cannot be read"]);
    let ward = ["--devices", "devices.csv", "--set", "devices.columns=[\"flor\"]"];
    assert_replay_refused(&scene, "realtime_analytics", &ward, &["no column flor", "ward"]);
}

#[test]
fn a_dataflow_file_with_mistakes_names_every_line() {
    let scene = ward();
    scene.write(
        "broken.toml",
        "dataflow = \"sensor_collection\"\n[record\ntimestamp = 3\n",
    );
    scene.write(
        "wrong.toml",
        "dataflow = \"realtime_analytics\"\n\n[forest]\ntreees = 50\nshingle = \"four\"\n\n[window]\nsize = \"1m\"\n",
    );
    scene.write("other.toml", "dataflow = \"realtime\"\n");
    scene.write("binary.toml", b"\xff\xfe\x00");
    let arguments = |file| ["replay", file, "--input", "input.jsonl"];
    assert_refused(&scene, &arguments("broken.toml"), &[&["broken.toml:2", "not TOML"]]);
    assert_refused(
        &scene,
        &arguments("wrong.toml"),
        &[
            &["wrong.toml:4", "treees", "trees"],
            &["wrong.toml:5", "shingle", "four"],
            &["wrong.toml:7", "window", "windows"],
        ],
    );
    assert_refused(
        &scene,
        &arguments("other.toml"),
        &[&["other.toml:1", "realtime_analytics"]],
    );
    assert_refused(&scene, &arguments("none.toml"), &[&["none.toml"]]);
    assert_refused(&scene, &arguments("realtime_analytic"), &[&["realtime_analytics"]]);
    let run = run(&scene, &arguments("binary.toml"));
    assert_decent(&scene, &run, "binary.toml");
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
}

/// `check` and `inspect` refuse as `replay` does, and in as many lines.
#[test]
fn check_and_inspect_tell_everyday_mistakes_in_one_line() {
    let scene = ward();
    scene.write("my.toml", "dataflow = \"realtime_analytics\"\n");
    scene.write("records.txt", "{}\n");
    scene.write("images/a.png", b"\x89PNG");
    scene.write("folder.toml/x", "");
    scene.write("short.csv", "device_id,model\nLSD-000001,a\n");
    let refused = |arguments: &[&str], texts: &[&str]| assert_refused(&scene, arguments, &[texts]);
    refused(&["check", "my.tml"], &["my.tml", ".toml"]);
    refused(&["check", "mye.toml"], &["no such file", "did you mean my.toml?"]);
    refused(
        &["check", "realtime_analytic.toml"],
        &["no such file", "`realtime_analytics`"],
    );
    refused(&["check", "records.txt"], &["no dataflow file", ".toml"]);
    refused(&["check", "folder.toml"], &["a folder"]);
    refused(&["check", "nowhere/none.toml"], &["no such file"]);
    refused(&["check", "my.toml", "--set", "=4"], &["wants a key"]);
    refused(&["check", "my.toml", "--set", "forest.tree=4"], &["forest.trees"]);
    refused(
        &["check", "my.toml", "--devices", "none.csv"],
        &["none.csv", "no such file"],
    );
    refused(
        &["check", "my.toml", "--devices", "short.csv"],
        &["no column manufacturer"],
    );
    refused(&["check", "my.toml", "--devices", "images"], &["images", "a folder"]);
    refused(
        &["check", "my.toml", "--input", "none.jsonl"],
        &["none.jsonl", "no such file"],
    );
    refused(&["check", "my.toml", "--input", "images"], &["images", "holds no"]);
    refused(&["inspect", "none"], &["none", "no such folder", "-o"]);
    refused(&["inspect", "my.toml"], &["my.toml", "a file"]);
    refused(&["inspect", "images"], &["images", "no output of a run"]);
    refused(&["inspect", "images", "--state", "my.toml"], &["my.toml", "--state"]);
    scene.write("damaged.state/manifest.json", "{");
    scene.write("damaged/readings/x", "");
    refused(&["inspect", "damaged"], &["manifest.json", "cannot be used"]);
}

#[test]
fn a_variable_that_is_no_setting_is_refused_with_the_nearest() {
    let scene = ward();
    for (variable, nearest) in [
        ("WARDFLOW_OUTPT_PATH", "WARDFLOW_OUTPUT_PATH"),
        ("WARDFLOW_STAT", "WARDFLOW_STATE"),
        ("WARDFLOW_FOO", "unset it"),
    ] {
        for arguments in [
            &["check", "realtime_analytics"][..],
            &["replay", "realtime_analytics", "--input", "input.jsonl"],
        ] {
            let run: Run = scene
                .command(arguments)
                .env(variable, "1")
                .output()
                .expect("the program starts")
                .into();
            assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
            assert!(
                run.stderr.contains(variable) && run.stderr.contains(nearest),
                "{}",
                run.stderr
            );
        }
    }
}

#[test]
fn settings_on_the_command_line_and_in_the_environment_with_mistakes() {
    let scene = ward();
    let refused = |set: &str, texts: &[&str]| {
        assert_replay_refused(&scene, "realtime_analytics", &["--set", set], texts);
    };
    refused("forest.treees=5", &["forest.treees", "forest.trees"]);
    refused("forest.trees=many", &["--set forest.trees", "many"]);
    refused("forest.trees=0", &["--set forest.trees", "1"]);
    refused("forest.trees", &["wants a value"]);
    refused("forest", &["wants a value"]);
    refused("forest.key=[\"vendor\"]", &["vendor"]);
    refused("windows.watermark=device", &["device_id"]);
    refused("record.name=patient_id", &["patient_id"]);
    refused("alerts.threshold=nan", &["threshold"]);
    refused("output.shards=65", &["shards", "64"]);
    let arguments = scene.replay_arguments("realtime_analytics", "out", &[]);
    let mut command = scene.command(&arguments);
    let run: Run = command
        .env("WARDFLOW_FOREST_TREEES", "5")
        .output()
        .expect("the program starts")
        .into();
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
    assert!(run.stderr.contains("WARDFLOW_FOREST_TREES"), "{}", run.stderr);
    assert!(!scene.path("out").exists(), "nothing has been made");
}

#[test]
fn keys_that_cannot_be_used_are_told_without_being_shown() {
    let scene = ward();
    scene.write("short", "5a5a");
    for (source, texts) in [
        ("file:none", &["none"][..]),
        ("file:short", &["short"]),
        ("env:NO_SUCH_VARIABLE", &["NO_SUCH_VARIABLE"]),
        ("command:false", &["false"]),
        ("command:no-such-program", &["no-such-program"]),
    ] {
        let kek = format!("keys.kek={source}");
        let arguments = [
            "replay",
            "sensor_collection",
            "--input",
            "input.jsonl",
            "-o",
            "out",
            "--set",
            &kek,
        ];
        assert_refused(&scene, &arguments, &[texts]);
        assert_refused(&scene, &[&arguments[..], &["--spawn", "-n", "2"]].concat(), &[texts]);
        fs::remove_dir_all(scene.path("out.state")).expect("the state folder");
        fs::remove_dir_all(scene.path("out")).expect("the output folder");
    }
    let key = "keys.kek=6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b";
    let run = run(
        &scene,
        &["replay", "sensor_collection", "--input", "input.jsonl", "--set", key],
    );
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
    assert!(!run.stderr.contains("6b6b6b"), "a key is never shown: {}", run.stderr);

    scene.replay("sensor_collection", "good", &[]);
    scene.write("another", "77".repeat(32));
    let before = files(&scene.path("good"));
    let other = [
        "replay",
        "sensor_collection",
        "--input",
        "input.jsonl",
        "-o",
        "good",
        "--set",
        "keys.kek=file:another",
    ];
    assert_refused(&scene, &other, &[&["vault.sqlite", "key"]]);
    assert_eq!(before, files(&scene.path("good")));
}

#[test]
fn an_output_that_is_somebody_elses() {
    let scene = ward();
    scene.replay("ingest_transform_load", "taken", &[]);
    let taken = scene.replay_arguments("realtime_analytics", "taken", &[]);
    assert_refused(
        &scene,
        &taken,
        &[&["taken", "ingest_transform_load", "realtime_analytics", "-o"]],
    );
    scene.write("strange/readings/date=2020-01-01/mine.csv", "1");
    let strange = scene.replay_arguments("realtime_analytics", "strange", &[]);
    assert_refused(&scene, &strange, &[&["strange", "readings/"]]);
    scene.write("damaged.state/manifest.json", "{\"version\":");
    let damaged = scene.replay_arguments("realtime_analytics", "damaged", &[]);
    assert_refused(&scene, &damaged, &[&["damaged.state"]]);
    scene.write("newer.state/manifest.json", "{\"version\":99}");
    assert_refused(
        &scene,
        &scene.replay_arguments("realtime_analytics", "newer", &[]),
        &[&["newer.state"]],
    );
}

#[test]
fn an_output_that_cannot_be_written() {
    let scene = ward();
    scene.write("file", "a file where a folder is wanted");
    for output in ["file", "file/below"] {
        let arguments = scene.replay_arguments("sensor_collection", output, &["--state", "state"]);
        assert_refused(&scene, &arguments, &[&[output, "a folder is wanted", "-o"]]);
        let spawned = [&arguments[..], &["--spawn", "-n", "2"]].concat();
        assert_refused(&scene, &spawned, &[&[output]]);
    }
    assert_replay_refused(&scene, "sensor_collection", &["--state", "file/state"], &["file/state"]);
    assert_replay_refused(&scene, "sensor_collection", &["--state", "file"], &["file"]);
    scene.write("blocked/readings", "a file where a table's folder is wanted");
    let blocked = scene.replay_arguments("sensor_collection", "blocked", &[]);
    assert_refused(&scene, &blocked, &[&["blocked"]]);
    scene.write("staged/.staging", "a file where the staging folder is wanted");
    let staged = scene.replay_arguments("sensor_collection", "staged", &[]);
    assert_refused(&scene, &staged, &[&["staged"]]);
    let summary = [
        "replay",
        "sensor_collection",
        "--input",
        "input.jsonl",
        "-o",
        "whole",
        "--set",
        "keys.kek=file:kek",
    ];
    let unwritable = run(&scene, &[&summary[..], &["--summary", "nowhere/summary.json"]].concat());
    assert_decent(&scene, &unwritable, "a summary that cannot be written");
    assert_eq!(unwritable.status, 1, "{}", unwritable.stderr);
    assert!(
        unwritable.stderr.contains("nowhere/summary.json"),
        "{}",
        unwritable.stderr
    );

    if rustix::process::geteuid().is_root() {
        eprintln!("skipped in part: root may write everywhere");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir(scene.path("locked")).expect("a folder");
    fs::set_permissions(scene.path("locked"), fs::Permissions::from_mode(0o500)).expect("own folder");
    let locked = scene.replay_arguments("sensor_collection", "locked/out", &["--state", "state2"]);
    assert_refused(&scene, &locked, &[&["locked/out", "permission"]]);
}

#[test]
fn a_state_folder_in_use() {
    let scene = ward();
    fs::create_dir(scene.path("out.state")).expect("a folder");
    let lock = File::create(scene.path("out.state/lock")).expect("the lock");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("it is free");
    assert_replay_refused(&scene, "sensor_collection", &[], &["out.state", "another run"]);
    drop(lock);
    scene.replay("sensor_collection", "out", &[]);
}

#[test]
fn workers_and_processes_that_cannot_be() {
    let scene = ward();
    let refused = |more: &[&str], texts: &[&str]| {
        assert_refused(
            &scene,
            &scene.replay_arguments("sensor_collection", "out", more),
            &[texts],
        );
    };
    refused(&["-w", "0"], &["-w 0"]);
    refused(&["-n", "0"], &["-n 0"]);
    refused(&["-n", "0", "--spawn"], &["-n 0"]);
    refused(&["-w", "0", "--spawn", "-n", "2"], &["-w 0"]);
    refused(&["-n", "2", "-p", "2"], &["-p 2"]);
    refused(&["--input", "-", "-n", "2"], &["standard input"]);
    refused(&["--input", "-", "--spawn", "-n", "2"], &["standard input"]);

    let hosts = |text: &str| scene.write("hosts", text);
    let with_hosts = |process: &str, texts: &[&str]| {
        refused(&["-n", "2", "-p", process, "--hostfile", "hosts"], texts);
    };
    with_hosts("0", &["hosts", "cannot be read"]);
    hosts("localhost:2990\n");
    with_hosts("0", &["hosts", "2"]);
    hosts("localhost:2990\nlocalhost:2990\n");
    with_hosts("0", &["hosts, line 2"]);
    hosts("localhost:2990\nlocalhost\n");
    with_hosts("0", &["hosts, line 2"]);
    hosts("localhost:2990\nlocalhost:99999\n");
    with_hosts("0", &["hosts, line 2"]);
    hosts("192.0.2.1:2990\nlocalhost:2991\n");
    with_hosts("0", &["192.0.2.1"]);
    hosts("no.such.host.invalid:2990\nlocalhost:2991\n");
    with_hosts("0", &["no.such.host.invalid"]);
}

#[test]
fn a_port_in_use() {
    let scene = ward();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    scene.write("hosts", format!("127.0.0.1:{port}\n127.0.0.1:1\n"));
    let arguments = scene.replay_arguments(
        "sensor_collection",
        "out",
        &["-n", "2", "-p", "0", "--hostfile", "hosts"],
    );
    assert_refused(&scene, &arguments, &[&[&port.to_string(), "in use"]]);
}

#[test]
fn wrong_use_has_status_2() {
    let scene = ward();
    let uses: [&[&str]; 12] = [
        &["replai"],
        &["inspekt", "out"],
        &["check"],
        &["check", "realtime_analytics", "--records", "0"],
        &["inspect"],
        &["completions", "tcsh"],
        &["replay"],
        &["replay", "sensor_collection"],
        &["replay", "sensor_collection", "--input"],
        &["replay", "sensor_collection", "--input", "input.jsonl", "-w", "two"],
        &[
            "replay",
            "sensor_collection",
            "--input",
            "input.jsonl",
            "--no-such-flag",
        ],
        &["vault", "show"],
    ];
    for arguments in uses {
        let run = run(&scene, arguments);
        assert_decent(&scene, &run, &format!("{arguments:?}"));
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.is_empty() && run.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_vault_that_is_not_there_or_none() {
    let scene = ward();
    assert_refused(
        &scene,
        &["vault", "show", "P-000001"],
        &[&["out.state/vault.sqlite", "no vault"]],
    );
    scene.write(
        "out.state/vault.sqlite",
        "not a database, but long enough to look at as if it were one".repeat(20),
    );
    let show = ["vault", "show", "P-000001", "--kek", "file:kek"];
    assert_refused(&scene, &show, &[&["vault.sqlite"]]);
    assert_refused(
        &scene,
        &scene.replay_arguments("sensor_collection", "out", &[]),
        &[&["vault.sqlite"]],
    );
    scene.write("out.state/vault.sqlite", "");
    assert_refused(&scene, &show, &[&["vault.sqlite"]]);
}

/// Output that nobody reads, or that does not fit, is no reason to panic.
#[test]
fn standard_output_that_is_closed_or_full() {
    let scene = ward();
    scene.replay("sensor_collection", "out", &[]);
    let show = ["vault", "show", "P-000003", "--kek", "file:kek"];
    let replay = scene.replay_arguments("sensor_collection", "out", &[]);
    for arguments in [&show[..], &replay] {
        for full in [true, false] {
            let mut command = scene.command(arguments);
            match full {
                true => command.stdout(File::options().write(true).open("/dev/full").expect("a full device")),
                false => command.stdout(closed_pipe()),
            };
            let run: Run = command
                .stderr(Stdio::piped())
                .output()
                .expect("the program starts")
                .into();
            assert_decent(&scene, &run, &format!("{arguments:?}, full: {full}"));
            assert_eq!(run.status, 1, "{arguments:?}, full: {full}: {}", run.stderr);
        }
        let mut command = scene.command(arguments);
        command.stderr(closed_pipe()).stdout(Stdio::piped());
        let run: Run = command.output().expect("the program starts").into();
        assert_eq!(run.status, 0, "{arguments:?}: a closed standard error changes nothing");
        assert!(!run.stdout.is_empty());
    }
    let mut missing = scene.command(&["replay", "sensor_collection", "--input", "none.jsonl"]);
    let status = missing.stderr(closed_pipe()).status().expect("the program starts");
    assert_eq!(status.code(), Some(1));
}

/// The writing end of a pipe whose reading end is gone.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// The processes that `supervisor` has started.
fn members(supervisor: &Child) -> Vec<i32> {
    let mut children = String::new();
    let id = supervisor.id();
    if let Ok(mut file) = File::open(format!("/proc/{id}/task/{id}/children")) {
        // It may end while it is read.
        let _ = file.read_to_string(&mut children);
    }
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn long_replay(scene: &Scene, more: &[&str]) -> Command {
    let small = ["--set", "output.commit_rows=200", "--set", "replay.epoch_records=50"];
    scene.command(&scene.replay_arguments("realtime_analytics", "out", &[&small[..], more].concat()))
}

fn has_committed(output: &Path) -> bool {
    files(output).keys().any(|name| name.ends_with(".parquet"))
}

#[test]
fn a_killed_process_ends_all_with_one_line_that_names_it() {
    for victim in [0, 1, 2] {
        let scene = Scene::of(&Ward::on_a_bad_day(52, 8000)).0;
        let mut command = long_replay(&scene, &["--spawn", "-n", "3"]);
        let mut supervisor = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        while !has_committed(&scene.path("out")) {
            assert!(
                supervisor.try_wait().expect("a child").is_none(),
                "it is long enough to be killed"
            );
            thread::sleep(Duration::from_millis(2));
        }
        let members = members(&supervisor);
        assert_eq!(members.len(), 3);
        let pid = Pid::from_raw(members[victim]).expect("a process id");
        kill_process(pid, Signal::KILL).expect("it is running");
        let run: Run = supervisor.wait_with_output().expect("it ends").into();
        assert_decent(&scene, &run, "a killed process");
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        let named = format!("process {victim} (pid {}) was killed by signal 9", members[victim]);
        assert!(run.stderr.contains(&named), "{}", run.stderr);
        for member in members {
            assert!(
                !Path::new(&format!("/proc/{member}")).exists(),
                "process {member} is left behind"
            );
        }
    }
}
