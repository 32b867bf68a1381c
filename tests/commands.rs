//! `check`, `inspect`, `completions` and `man`, run as a user runs them.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::{env, iter};

use program::{Run, Scene, wardflow};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tables::files;
use ward::Ward;

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", run.stdout, run.stderr))
}

/// The codes of the warnings.
fn codes(report: &Value) -> BTreeSet<&str> {
    let warnings = report["warnings"].as_array().expect("a list of warnings");
    warnings.iter().filter_map(|warning| warning["code"].as_str()).collect()
}

/// The sample's part of `check --json`.
fn check(scene: &Scene, more: &[&str]) -> Value {
    let arguments = [
        &["check", "realtime_analytics", "--input", "input.jsonl", "--json"],
        more,
    ]
    .concat();
    let run = scene.run(&arguments);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{more:?}");
    json(&run)["sample"].take()
}

fn inspect(scene: &Scene) -> Value {
    let run = scene.run(&["inspect", "out", "--json"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    json(&run)
}

#[test]
fn the_report_of_the_sample_ward_is_as_it_was() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = project.join("tests/golden/check_ward.txt");
    let arguments = [
        "check",
        "realtime_analytics",
        "--input",
        "datasets/ward.jsonl",
        "--devices",
        "datasets/devices.csv",
    ];
    let run: Run = wardflow(project, &arguments)
        .output()
        .expect("the program starts")
        .into();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    if env::var_os("WARDFLOW_REGENERATE").is_some() {
        fs::write(&golden, &run.stdout).expect("a writable checkout");
    }
    let wanted = fs::read_to_string(&golden).expect("part of the project");
    assert_eq!(run.stdout, wanted, "WARDFLOW_REGENERATE=1 writes it anew");
}

/// What a sample of the whole input counts is what a replay of it counts.
#[test]
fn check_counts_what_a_replay_counts() {
    for (seed, more) in [
        (61, &[][..]),
        (
            62,
            &[
                "--set",
                "windows.watermark=device",
                "--set",
                "windows.groupings=[\"device_id\"]",
            ],
        ),
        (
            63,
            &[
                "--set",
                "deduplicate.horizon=1m",
                "--set",
                "windows.allowed_lateness=10s",
            ],
        ),
        (64, &["--set", "select.devices=[\"LSD-000003\",\"LSD-000007\"]"]),
    ] {
        let (scene, _) = Scene::of(&Ward::on_a_bad_day(seed, 3000));
        let more = [more, &["--devices", "devices.csv"]].concat();
        let sample = check(&scene, &more);
        let summary = scene.replay("realtime_analytics", "out", &more);
        let outcomes = &sample["outcomes"];
        for (found, wanted) in [
            (&sample["records"], "records_in"),
            (&outcomes["readings"], "readings_out"),
            (&outcomes["not_selected"], "not_selected"),
            (&outcomes["duplicates"], "duplicates"),
            (&sample["late"]["readings"], "late"),
            (&sample["unknown_devices"]["readings"], "unknown_devices"),
        ] {
            assert_eq!(found.as_u64(), Some(summary.count(wanted)), "{seed}: {wanted}");
        }
        assert_eq!(outcomes["quarantined"], summary.0["quarantined"], "{seed}");
        assert_eq!(sample["input_goes_on"], false);
    }
}

#[test]
fn check_takes_no_more_records_than_it_is_told() {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(65, 300));
    for (records, taken, goes_on) in [
        ("1", 1, true),
        ("299", 299, true),
        ("300", 300, false),
        ("5000", 300, false),
    ] {
        let sample = check(&scene, &["--records", records]);
        assert_eq!(sample["records"], taken);
        assert_eq!(sample["input_goes_on"], goes_on, "{records}");
    }
}

/// Records with a canary wherever a text can stand, field names included.
#[test]
fn check_shows_nothing_of_a_record_but_names_and_figures() {
    let scene = Scene::empty();
    let record = |i: usize| {
        format!(
            "{{\"timestamp\":\"2024-03-01T10:00:{:02}\",\"device_id\":\"D{}\",\"patient_id\":\"Quenby7Patient\",\"name\":\"Quenby7Name\",\
             \"dob\":\"Quenby7Dob\",\"pulse\":70,\"text\":\"Quenby7Text\",\"ssn\":\"Quenby7Ssn\",\"zip\":90210733,\"Quenby7Key{i}\":1,\
             \"extra\":{{\"phone\":\"Quenby7Phone\",\"Quenby7Inner{i}\":2}}}}\n",
            i % 60,
            i % 3
        )
    };
    let mut lines: Vec<String> = (0..50).map(record).collect();
    lines.push("Quenby7Garbage\n".into());
    lines.push("{\"timestamp\":\"Quenby7Time\",\"device_id\":\"D1\"}\n".into());
    lines.push("{\"timestamp\":\"2024-03-01\",\"device_id\":{\"Quenby7\":1},\"pulse\":\"Quenby7Pulse\"}\n".into());
    scene.write("input.jsonl", lines.concat());
    for more in [&[][..], &["--json"]] {
        let run = scene.run(&[&["check", "realtime_analytics", "--input", "input.jsonl"], more].concat());
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        for canary in ["Quenby", "90210733"] {
            assert!(!run.stdout.contains(canary), "{canary} in {}", run.stdout);
        }
        for told in ["ssn", "zip", "extra.phone"] {
            assert!(run.stdout.contains(told), "{told} is missing in {}", run.stdout);
        }
    }
    let sample = check(&scene, &[]);
    assert!(codes(&sample).contains("unmapped_identity"), "{sample}");
}

/// `lines` records, each made by `record` from its number.
fn input(scene: &Scene, lines: u32, record: impl Fn(u32) -> String) {
    let text: String = (0..lines).map(|i| record(i) + "\n").collect();
    scene.write("input.jsonl", text);
}

/// The warning with this code must be there; its argument of `--set` must silence it.
fn assert_mended(scene: &Scene, code: &str, set: &str) {
    let sample = check(scene, &[]);
    let warnings = sample["warnings"].as_array().expect("a list");
    let warning = warnings.iter().find(|warning| warning["code"] == code);
    let warning = warning.unwrap_or_else(|| panic!("no {code} in {sample}"));
    assert_eq!(warning["set"], set, "{code}");
    let mended = check(scene, &["--set", set]);
    assert!(!codes(&mended).contains(code), "{set}: {mended}");
}

#[test]
fn check_sees_usual_mistakes_and_the_setting_it_names_mends_them() {
    let scene = Scene::empty();
    let base = "\"device_id\":\"D1\",\"patient_id\":\"P1\",\"temperature\":98,\"pulse\":70,\"oxygen_percent\":98,\"systolic\":110,\"diastolic\":70";
    input(&scene, 40, |i| {
        format!("{{\"timestamp\":{},{base}}}", 1_508_039_751 + i)
    });
    assert_mended(&scene, "timestamp_unit", "record.timestamp_unit=s");
    input(&scene, 40, |i| {
        format!("{{\"timestamp\":{},{base}}}", 1_508_039_751_000_000_u64 + u64::from(i))
    });
    assert_mended(&scene, "timestamp_unit", "record.timestamp_unit=us");
    input(&scene, 40, |i| {
        format!(
            "{{\"timestamp\":{},{base},\"respiration\":{}}}",
            1_508_039_751_000_u64 + u64::from(i),
            12 + i % 4
        )
    });
    assert_mended(
        &scene,
        "unmapped_measure",
        "record.measures=[\"temperature\",\"pulse\",\"oxygen_percent\",\"systolic\",\"diastolic\",\"respiration\"]",
    );
    input(&scene, 40, |i| {
        format!(
            "{{\"timestamp\":{},{}}}",
            1_508_039_751_000_u64 + u64::from(i),
            base.replace("pulse", "HR")
        )
    });
    assert_mended(&scene, "missing_field", "record.aliases.HR=pulse");
    input(&scene, 40, |i| {
        format!(
            "{{\"timestamp\":{},{}}}",
            1_508_039_751_000_u64 + u64::from(i),
            base.replace("device_id", "monitor")
        )
    });
    assert_mended(&scene, "missing_field", "record.device=monitor");
    input(&scene, 40, |i| {
        format!("{{\"recorded_at\":\"2024-01-01T00:00:{i:02}\",{base}}}")
    });
    assert_mended(&scene, "missing_field", "record.timestamp=recorded_at");
    input(&scene, 40, |i| {
        format!(
            "{{\"timestamp\":{},{}}}",
            1_508_039_751_000_u64 + u64::from(i),
            base.replace("patient_id", "subject")
        )
    });
    assert_mended(&scene, "missing_field", "record.patient=subject");
}

#[test]
fn check_sees_values_that_are_of_another_unit_and_copies_and_lateness() {
    let scene = Scene::empty();
    let record = |time: u64, device: u32, temperature: f64, oxygen: f64| {
        format!(
            "{{\"timestamp\":{time},\"device_id\":\"D{device}\",\"patient_id\":\"P\",\"temperature\":{temperature},\"pulse\":70,\"oxygen_percent\":{oxygen},\"systolic\":110,\"diastolic\":70}}"
        )
    };
    input(&scene, 40, |i| record(1_508_039_751_000 + u64::from(i), 1, 37.2, 0.97));
    let sample = check(&scene, &[]);
    assert!(codes(&sample).is_superset(&["celsius", "fraction"].into()), "{sample}");
    // Two devices one after the other, each a day long.
    input(&scene, 200, |i| {
        record(1_508_039_751_000 + u64::from(i % 100) * 864_000, i / 100, 98.0, 97.0)
    });
    let sample = check(&scene, &[]);
    assert!(codes(&sample).contains("late"), "{sample}");
    assert_eq!(sample["late"]["with_other_watermark"], 0);
    input(&scene, 40, |i| {
        record(1_508_039_751_000 + u64::from(i / 2), 1, 98.0, 97.0)
    });
    assert!(codes(&check(&scene, &[])).contains("copies"));
    let kept = check(&scene, &["--set", "deduplicate.horizon=off"]);
    assert_eq!(
        (&kept["outcomes"]["duplicates"], &kept["outcomes"]["copies"]),
        (&0.into(), &20.into())
    );
}

#[test]
fn check_tells_every_mistake_of_a_file_also_as_json() {
    let scene = Scene::empty();
    scene.write(
        "my.toml",
        "dataflow = \"realtime_analytics\"\n[forest]\ntreees = 5\nshingle = \"x\"\n",
    );
    let run = scene.run(&["check", "my.toml"]);
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("my.toml:3") && run.stderr.contains("`trees`"),
        "{}",
        run.stderr
    );
    let run = scene.run(&["check", "my.toml", "--json"]);
    assert_eq!(run.status, 1);
    let mistakes = json(&run)["mistakes"].take();
    assert_eq!((&mistakes[0]["line"], &mistakes[1]["line"]), (&3.into(), &4.into()));
    for dataflow in ["sensor_collection", "ingest_transform_load", "realtime_analytics"] {
        let run = scene.run(&["check", dataflow]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        assert!(
            run.stdout.contains("the vault only") && run.stdout.contains("quarantine"),
            "{}",
            run.stdout
        );
    }
}

fn replayed() -> Scene {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(71, 2000));
    let small = ["--set", "output.commit_rows=500", "--devices", "devices.csv"];
    scene.replay("realtime_analytics", "out", &small);
    scene
}

#[test]
fn inspect_shows_what_a_replay_has_committed_and_changes_nothing() {
    let (scene, _) = Scene::of(&Ward::on_a_bad_day(71, 2000));
    let small = ["--set", "output.commit_rows=500", "--devices", "devices.csv"];
    let summary = scene.replay("realtime_analytics", "out", &small);
    let before = (files(&scene.path("out")), files(&scene.path("out.state")));
    let found = inspect(&scene);
    let much_unknown = 20 * summary.count("unknown_devices") > summary.count("readings_out");
    let wanted: BTreeSet<&str> = much_unknown.then_some("unknown_devices").into_iter().collect();
    assert_eq!((&found["status"], codes(&found)), (&"complete".into(), wanted));
    let made = &found["made"];
    for (key, wanted) in [
        ("records", "records_in"),
        ("readings", "readings_out"),
        ("commits", "commits"),
        ("late", "late"),
        ("windows", "windows"),
        ("revisions", "revisions"),
        ("anomalies", "anomalies"),
        ("duplicates", "duplicates"),
        ("output_bytes", "output_bytes"),
    ] {
        assert_eq!(made[key].as_u64(), Some(summary.count(wanted)), "{key}");
    }
    let rows = |table: &str| {
        let tables = found["tables"].as_array().expect("tables").iter();
        tables
            .filter(|t| t["table"] == table)
            .filter_map(|t| t["rows"].as_u64())
            .sum::<u64>()
    };
    assert_eq!(rows("readings"), summary.count("readings_out"));
    assert_eq!(rows("windows"), summary.count("windows") + summary.count("revisions"));
    let text = scene.run(&["inspect", "out"]);
    assert!(
        text.stdout.contains("complete") && text.stdout.contains("readings"),
        "{}",
        text.stdout
    );
    assert_eq!(
        before,
        (files(&scene.path("out")), files(&scene.path("out.state"))),
        "nothing is changed"
    );
}

/// A committed file, of the first commit or of the last.
fn a_file(scene: &Scene, last: bool) -> String {
    let names = files(&scene.path("out")).into_keys();
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".parquet")).collect();
    names.sort_by_key(|name| name.rsplit('/').next().map(str::to_owned));
    let name = if last { names.last() } else { names.first() };
    format!("out/{}", name.expect("there are files"))
}

#[test]
fn inspect_warns_of_files_that_are_gone_strange_or_changed() {
    for last in [false, true] {
        let scene = replayed();
        let file = a_file(&scene, last);
        fs::remove_file(scene.path(&file)).expect("it is there");
        assert!(
            codes(&inspect(&scene)).contains(if last { "missing_files" } else { "rows" }),
            "{file}"
        );

        let scene = replayed();
        let file = a_file(&scene, last);
        let bytes = fs::read(scene.path(&file)).expect("it is there");
        fs::write(scene.path(&file), &bytes[..bytes.len() - 5]).expect("own file");
        assert!(codes(&inspect(&scene)).contains("unreadable_files"), "{file}");
        if last {
            assert!(codes(&inspect(&scene)).contains("changed_files"));
        }
    }
    for name in ["part-00000099-00.parquet", "part-00000000-77.parquet", "copy.parquet"] {
        let scene = replayed();
        let file = a_file(&scene, false);
        let folder = Path::new(&file).parent().expect("a folder");
        fs::copy(scene.path(&file), scene.path(&folder.join(name).display().to_string())).expect("copied");
        assert!(codes(&inspect(&scene)).contains("foreign_files"), "{name}");
    }
}

#[test]
fn inspect_warns_of_a_state_that_is_not_there_leftovers_and_a_run() {
    let scene = replayed();
    scene.write("out/.staging/00000009/readings/part", "half");
    assert!(codes(&inspect(&scene)).contains("leftovers"));
    let lock = File::options()
        .write(true)
        .open(scene.path("out.state/lock"))
        .expect("the lock");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("it is free");
    let found = inspect(&scene);
    if Path::new("/proc/locks").exists() {
        assert_eq!(found["status"], "running");
        assert!(codes(&found).contains("in_use") && !codes(&found).contains("leftovers"));
    }
    drop(lock);
    fs::rename(scene.path("out.state"), scene.path("elsewhere")).expect("moved");
    let found = inspect(&scene);
    assert_eq!(
        (&found["status"], codes(&found)),
        (&"unknown".into(), ["leftovers", "no_state"].into())
    );
    let run = scene.run(&["inspect", "out", "--state", "elsewhere", "--json"]);
    assert_eq!(json(&run)["status"], "complete");
}

#[test]
fn inspect_warns_of_times_that_cannot_be_and_of_much_quarantine() {
    let scene = Scene::empty();
    input(&scene, 40, |i| match i % 4 {
        0 => "no record".into(),
        1 => format!("{{\"timestamp\":{i},\"device_id\":\"D1\"}}"),
        2 => format!("{{\"timestamp\":\"2399-01-01T00:00:{i:02}\",\"device_id\":\"D2\"}}"),
        _ => format!("{{\"timestamp\":\"2024-01-01T00:00:{i:02}\",\"device_id\":\"D3\"}}"),
    });
    scene.replay("realtime_analytics", "out", &[]);
    let found = inspect(&scene);
    assert!(
        codes(&found).is_superset(&["past", "future", "quarantine"].into()),
        "{found}"
    );
}

/// The commands and what is below them, by the help.
fn commands(scene: &Scene, path: &[&str]) -> Vec<Vec<String>> {
    let run = scene.run(&[path, &["--help"]].concat());
    assert_eq!(run.status, 0, "{}", run.stderr);
    let listed = run
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names: Vec<String> = listed
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|l| !l.starts_with(' '))
        .filter_map(|l| Some(l.split_whitespace().next()?.to_owned()))
        .collect();
    let mut all = Vec::new();
    for name in names.iter().filter(|name| *name != "help") {
        let path: Vec<&str> = path.iter().copied().chain(iter::once(name.as_str())).collect();
        all.push(path.iter().map(|part| (*part).to_owned()).collect());
        all.extend(commands(scene, &path));
    }
    all
}

#[test]
fn completions_and_manual_know_every_command() {
    let scene = Scene::empty();
    let mut commands = commands(&scene, &[]);
    assert!(commands.contains(&vec!["vault".into(), "show".into()]), "{commands:?}");
    commands.extend([vec!["completions".to_owned()], vec!["man".to_owned()]]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = scene.run(&["completions", shell]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        for name in commands.iter().flatten() {
            assert!(run.stdout.contains(name.as_str()), "{shell}: {name}");
        }
    }
    assert_eq!(scene.run(&["completions", "tcsh"]).status, 2);
    let run = scene.run(&["man", "pages"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let main = scene.run(&["man"]).stdout;
    for command in &commands {
        let page = format!("pages/wardflow-{}.1", command.join("-"));
        let text = fs::read_to_string(scene.path(&page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.contains(&format!("wardflow {}", command.join(" "))), "{page}");
        assert!(
            command.len() > 1 || main.contains(&format!("wardflow\\-{}", command[0])),
            "{command:?}"
        );
    }
    scene.write("file", "");
    let run = scene.run(&["man", "file"]);
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
}
