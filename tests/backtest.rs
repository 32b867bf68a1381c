//! `backtest`, run as a user runs it: on the labelled sample of the simulator, and on records with labels in every form.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::fs;
use std::path::Path;

use program::{Run, Scene, wardflow};
use serde_json::Value;
use tables::{Cell, Rows, assert_same_bytes};

const SAMPLE: [&str; 7] = [
    "backtest",
    "realtime_analytics",
    "--input",
    "datasets/anomalies.jsonl.gz",
    "--devices",
    "datasets/anomalies.devices.csv",
    "--json",
];

/// Of the sample, in the project's folder; what passes goes to `temporary`.
fn sample(temporary: &Path, more: &[&str]) -> Run {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = wardflow(project, &[&SAMPLE[..], more].concat());
    command
        .env("TMPDIR", temporary)
        .output()
        .expect("the program starts")
        .into()
}

fn json(run: &Run) -> Value {
    assert_eq!(run.status, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {}", run.stdout))
}

#[test]
fn the_simulators_labels_work_as_they_are_and_the_verdict_is_the_same_for_any_workers() {
    let scene = Scene::empty();
    let temporary = scene.path("temporary");
    fs::create_dir(&temporary).expect("a folder");
    let labelled = ["--labels", "datasets/anomalies.labels.csv", "--budget", "1/device/day"];
    let one = sample(&temporary, &labelled);
    let report = json(&one);
    assert_eq!(report["labels"]["labels"], 94);
    assert_eq!(report["labels"]["without_reading"], serde_json::json!([]));
    let verdict = &report["verdict"];
    assert_eq!(verdict["readings"], 12_000);
    assert_eq!(
        verdict["labelled"]
            .as_u64()
            .zip(verdict["unscored_labelled"].as_u64())
            .map(|(a, b)| a + b),
        Some(94)
    );
    for area in ["roc_area", "pr_area"] {
        assert!(
            verdict[area].as_f64().is_some_and(|area| area > 0.9),
            "{area}: {verdict}"
        );
    }
    let threshold = verdict["budget"]["operating"]["threshold"]
        .as_f64()
        .expect("there is one");
    let typed = format!("alerts.threshold={threshold}");
    let two = sample(&temporary, &[&labelled[..], &["-w", "2", "--set", &typed]].concat());
    let again = json(&two);
    let found = &again["verdict"];
    assert_eq!(found["roc_area"], verdict["roc_area"]);
    assert_eq!(found["thresholds"], verdict["thresholds"]);
    for what in ["flagged", "true_positives", "alarms", "false_alarms", "events_detected"] {
        assert_eq!(
            found["as_configured"][what], verdict["budget"]["operating"][what],
            "{what}"
        );
    }
    assert_eq!(
        fs::read_dir(&temporary).expect("a folder").count(),
        0,
        "nothing is left"
    );
}

#[test]
fn the_tables_that_are_kept_are_those_of_a_replay() {
    let scene = Scene::empty();
    let output = scene.path("out").display().to_string();
    let replayed = scene.path("replayed").display().to_string();
    let key = format!("keys.kek=file:{}", scene.path("kek").display());
    json(&sample(&scene.path(""), &["-o", &output, "--set", &key]));
    let arguments = [
        "replay", SAMPLE[1], SAMPLE[2], SAMPLE[3], SAMPLE[4], SAMPLE[5], "-o", &replayed, "--set", &key,
    ];
    let run: Run = wardflow(Path::new(env!("CARGO_MANIFEST_DIR")), &arguments)
        .output()
        .expect("it starts")
        .into();
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_same_bytes(
        &scene.path("out"),
        &scene.path("replayed"),
        "a backtest that keeps its tables",
    );
}

/// One device, a reading a minute, one strange reading among them, labelled in the record and in files.
fn one_strange(scene: &Scene) {
    let record = |i: u32| {
        let (pulse, label) = if i == 350 {
            (190, "\"fault\"")
        } else {
            (60 + i * 7 % 13, "0")
        };
        format!(
            "{{\"timestamp\":{},\"device_id\":\"D1\",\"pulse\":{pulse},\"truth\":{{\"label\":{label}}}}}\n",
            60_000 * i
        )
    };
    scene.write("input.jsonl", (0..400).map(record).collect::<String>());
    scene.write("points.csv", "device_id,timestamp\nD1,1970-01-01T05:50:00Z\n");
    scene.write("intervals.csv", "start;end\n1970-01-01T05:50;1970-01-01T05:50:30\n");
    scene.write(
        "windows.json",
        "{\"folder/D1.csv\": [[\"1970-01-01 05:49:30\", \"1970-01-01 05:50:00\"]]}",
    );
}

fn of_one(scene: &Scene, more: &[&str]) -> Run {
    let settings = "record.measures=[\"pulse\"]";
    scene.run(
        &[
            &[
                "backtest",
                "realtime_analytics",
                "--input",
                "input.jsonl",
                "--set",
                settings,
            ],
            more,
        ]
        .concat(),
    )
}

#[test]
fn labels_may_come_in_every_form() {
    let scene = Scene::empty();
    one_strange(&scene);
    for labels in [
        ["--label-column", "truth.label"],
        ["--labels", "points.csv"],
        ["--labels", "intervals.csv"],
        ["--labels", "windows.json"],
    ] {
        let verdict = json(&of_one(&scene, &[&labels[..], &["--json"]].concat()))["verdict"].take();
        assert_eq!(
            (&verdict["labelled"], &verdict["events"]),
            (&1.into(), &1.into()),
            "{labels:?}"
        );
        assert_eq!(verdict["roc_area"], 1.0, "{labels:?}");
        assert_eq!(verdict["unscored"], 256, "{labels:?}");
    }
    let text = of_one(&scene, &["--labels", "points.csv", "--report", "report.json"]);
    assert!(text.stdout.contains("ROC area 1.000"), "{}", text.stdout);
    let written: Value = serde_json::from_slice(&fs::read(scene.path("report.json")).expect("written")).expect("JSON");
    assert_eq!(written["verdict"]["judged"], 144);
}

#[test]
fn without_labels_alarms_are_counted_all_the_same() {
    let scene = Scene::empty();
    one_strange(&scene);
    let verdict = json(&of_one(&scene, &["--json", "--budget", "1"]))["verdict"].take();
    assert_eq!(verdict["roc_area"], Value::Null);
    assert_eq!(verdict["budget"]["operating"]["false_alarms"], 1);
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let scene = Scene::empty();
    one_strange(&scene);
    scene.write("wrong.csv", "device_id,when\nD1,5\n");
    scene.write("elsewhere.csv", "device_id,timestamp\nD9,1970-01-01\n");
    for (more, told) in [
        (&["--labels", "none.csv"][..], "none.csv: the labels cannot be read"),
        (&["--labels", "wrong.csv"], "neither timestamp nor start and end"),
        (
            &["--labels", "elsewhere.csv"],
            "none of the 1 labels belongs to a reading, the first is of D9",
        ),
        (&["--label-column", "nothing"], "no record has a field nothing"),
        (
            &["--label-column", "truth"],
            "input.jsonl, line 1: truth is an array or object",
        ),
        (&["--set", "forest.enabled=false"], "gives no scores to judge"),
        (&["--skip", "1000"], "none of the 400 readings could be judged"),
        (&["-n", "2", "-p", "0"], "give -o"),
    ] {
        let run = of_one(&scene, more);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{more:?}: {}", run.stderr);
        let last = run.stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("wardflow: ") && last.contains(told),
            "{more:?}: {}",
            run.stderr
        );
    }
    for more in [
        &["--budget", "often"][..],
        &["--thresholds", "1,x"],
        &["--labels", "a", "--label-column", "b"],
    ] {
        assert_eq!(of_one(&scene, more).status, 2, "{more:?}");
    }
}

#[test]
fn anomalies_carry_the_threshold_that_applied_and_ranges_make_anomalies_of_their_own() {
    let scene = Scene::empty();
    one_strange(&scene);
    let arguments = |output| {
        let settings = "record.measures=[\"pulse\"]";
        [
            "replay",
            "realtime_analytics",
            "--input",
            "input.jsonl",
            "-o",
            output,
            "--set",
            settings,
            "--set",
        ]
    };
    let run = scene.run(&[&arguments("ranged")[..], &["alerts.ranges={pulse=[61,150]}"]].concat());
    assert_eq!(run.status, 0, "{}", run.stderr);
    let rows = Rows::of(&scene.path("ranged"), "anomalies");
    let (pulses, scores, parts) = (
        rows.column("pulse"),
        rows.column("anomaly_score"),
        rows.column("attribution_pulse"),
    );
    let outside = (0..400u32).filter(|i| *i == 350 || i * 7 % 13 == 0).count();
    assert_eq!(pulses.len(), outside);
    let scoreless = scores.iter().filter(|score| ***score == Cell::Null).count();
    assert_eq!(scoreless, (0..256u32).filter(|i| i * 7 % 13 == 0).count());
    assert_eq!(parts.iter().filter(|part| ***part == Cell::Null).count(), scoreless);
    let run = scene.run(
        &[
            &arguments("learned")[..],
            &[
                "alerts.adapt=grade",
                "--set",
                "alerts.grade=0",
                "--set",
                "forest.sample_size=10",
            ],
        ]
        .concat(),
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let rows = Rows::of(&scene.path("learned"), "anomalies");
    let thresholds = rows.column("threshold");
    assert!(
        thresholds.iter().any(|cell| **cell != Cell::Float(2.0f64.to_bits())),
        "{thresholds:?}"
    );
}
