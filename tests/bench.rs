//! `wardflow bench` in small: that it measures what it says.
#![cfg(feature = "broker")]

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod ward;

use program::Scene;
use serde_json::Value;

#[test]
fn every_latency_of_a_scenario_is_measured_for_every_record_and_nothing_is_left_behind() {
    let scene = Scene::empty();
    let run = scene.run(&[
        "bench",
        "small-tables",
        "--for",
        "3s",
        "--warm-up",
        "8000",
        "--set",
        "forest.trees=10",
        "--set",
        "output.commit_interval=1s",
        "--summary",
        "-",
    ]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON and nothing else");
    let figures = &report["scenarios"][0];
    assert_eq!(
        (&figures["scenario"], &figures["rate"]),
        (&"small-tables".into(), &100.0.into())
    );
    assert_eq!(figures["records"], 300);
    for what in ["acknowledged", "committed"] {
        assert_eq!(figures[what]["count"], 300, "{what}");
        let at = |share: &str| figures[what][share].as_f64().expect("seconds");
        assert!(
            at("p50") > 0.0 && at("p50") <= at("p99") && at("p99") <= at("max"),
            "{what}: {figures}"
        );
    }
    // It is in the tables once it has been acknowledged.
    assert!(figures["committed"]["p50"].as_f64() > figures["acknowledged"]["p50"].as_f64());
    assert_eq!(figures["cost"]["paper_body_dollars"], 841);
    assert!(figures["cpu_share"].as_f64() > Some(0.0) && figures["written_bytes"].as_u64() > Some(0));
    let left: Vec<_> = std::fs::read_dir(scene.path("."))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["kek"]);
}

#[test]
fn an_unknown_scenario_and_a_broker_that_is_not_there_are_told_in_one_line() {
    let scene = Scene::empty();
    let run = scene.run(&["bench", "gigantic"]);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("[possible values: small, small-tables, medium, large, unpaced]"),
        "{}",
        run.stderr
    );
    let run = scene.run(&["bench", "small", "--source", "mqtt://127.0.0.1:9"]);
    assert_eq!(run.status, 1);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("wardflow: ") && last.contains("127.0.0.1:9"),
        "{}",
        run.stderr
    );
}
