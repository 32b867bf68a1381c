//! Who wins, and what is told about the whole.

use super::*;

#[test]
fn all_mistakes_are_told_in_order() {
    assert_eq!(
        load_with(
            "[forest]\ntress = 5\nshingle = 99\n[record]\nname = \"x\"\ndob = \"x\"\n[keys]\nkek = 1",
            &["alerts.threshold=-1", "nonsense"],
            &[("WARDFLOW_OUTPUT_SHARDS", "0"), ("WARDFLOW_FOREST_TRES", "5")],
        ),
        Err(vec![
            "ward.toml: dataflow: is missing; write dataflow = one of \"sensor_collection\", \"ingest_transform_load\", \"realtime_analytics\" at the top of the file".into(),
            "ward.toml:2: [forest] tress: unknown key; did you mean `trees`?".into(),
            "ward.toml:3: [forest] shingle: wants a value from 1 to 30; found the integer 99".into(),
            "ward.toml:6: [record] dob: \"x\" is read as name and as dob; a field has one role".into(),
            "ward.toml:8: [keys] kek: wants \"\", \"file:PATH\", \"env:NAME\" or \"command:LINE\"; a key itself does not belong here (what was found is not shown)".into(),
            "WARDFLOW_FOREST_TRES: no such setting; did you mean WARDFLOW_FOREST_TREES?".into(),
            "WARDFLOW_OUTPUT_SHARDS: wants a value from 1 to 64; found the integer 0".into(),
            "--set alerts.threshold: wants a number above 0; found the integer -1".into(),
            "--set nonsense: wants a value: --set section.key=value".into(),
        ])
    );
}

#[test]
fn the_dataflow_key_is_checked() {
    let wants = "wants one of \"sensor_collection\", \"ingest_transform_load\", \"realtime_analytics\"; found";
    let file = |text| load_with(text, &[], &[]).expect_err("a wrong dataflow");
    assert_eq!(
        file("\ndataflow = \"realtime_analytic\""),
        [format!(
            "ward.toml:2: dataflow: {wants} \"realtime_analytic\"; did you mean \"realtime_analytics\"?"
        )]
    );
    assert_eq!(
        file("dataflow = 3"),
        [format!("ward.toml:1: dataflow: {wants} the integer 3")]
    );
    let other = load_path(
        "ingest_transform_load",
        &["dataflow=realtime_analytics", "forest.trees=3"],
        &[],
    );
    assert_eq!(
        other.map(|s| (s.dataflow, s.forest.trees)),
        Ok((Dataflow::RealtimeAnalytics, 3))
    );
}

#[test]
fn set_wins_over_environment_over_file_over_default() {
    let text = "dataflow = \"realtime_analytics\"\n[forest]\ntrees = 2\nshingle = 2\nseed = 2";
    let env = [
        ("WARDFLOW_FOREST_SHINGLE", "3"),
        ("WARDFLOW_FOREST_SEED", "3"),
        ("WARDFLOW_WINDOWS_OUT_OF_ORDERNESS", "3s"),
        ("WARDFLOW_CLUSTER_SECRET", "x"),
        ("WARDFLOW_CLUSTER_ANYTHING", "x"),
        ("WARDFLOW_TEST_DATA", "x"),
        ("WARDFLOW_STATE", "x"),
        ("PATH", "x"),
    ];
    let set = ["forest.seed=4", "forest.seed=5", "record.aliases.Temp=temperature"];
    let settings = load_with(text, &set, &env).expect("good settings");
    let forest = settings.forest;
    assert_eq!((forest.trees, forest.shingle, forest.seed), (2, 3, 5));
    assert_eq!(forest.sample_size, 256);
    assert_eq!(settings.windows.out_of_orderness, Micros(3_000_000));
    assert_eq!(settings.record.aliases["Temp"], "temperature");
}

#[test]
fn values_of_set_are_toml_or_plain_text() {
    let settings = set(&[
        "record.measures=[\"value\"]",
        "devices.path=a/b.csv",
        "output.path=2024",
        "deduplicate.horizon=off",
        "windows.size = 5m",
        "record.patient=",
        "forest.key=['model']",
        "record.aliases={ \"a.b\" = \"value\" }",
        "record.aliases.c.d=value",
    ])
    .expect("good settings");
    assert_eq!(settings.record.measures, ["value"]);
    assert_eq!(settings.devices.path, "a/b.csv");
    assert_eq!(settings.output.path, "2024");
    assert_eq!(settings.deduplicate.horizon, None);
    assert_eq!(settings.windows.size, Micros(300_000_000));
    assert_eq!(settings.record.patient, "");
    assert_eq!(settings.forest.key, ["model"]);
    assert_eq!(settings.record.aliases.keys().collect::<Vec<_>>(), ["a.b", "c.d"]);
}

#[test]
fn unknown_names_of_set_and_environment_name_the_nearest() {
    for (argument, line) in [
        (
            "forest.tress=5",
            "--set forest.tress: no such setting; did you mean forest.trees?",
        ),
        ("trees=5", "--set trees: unknown key; did you mean forest.trees?"),
        (
            "output.trees=5",
            "--set output.trees: unknown key; did you mean forest.trees?",
        ),
        (
            "path=5",
            "--set path: unknown key; did you mean devices.path or output.path?",
        ),
        (
            "forest.trees.x=5",
            "--set forest.trees.x: has too many parts; write --set forest.trees=value",
        ),
        (
            "alerts=5",
            "--set alerts: is a section; write --set alerts.key=value with one of threshold, adapt, rate, grade, ranges, cool_down, topic, url, file, patient",
        ),
        ("=5", "--set : wants a key: --set section.key=value"),
        (
            "forest.trees=5.5",
            "--set forest.trees: wants an integer from 1 to 1000; found the number 5.5",
        ),
    ] {
        assert_eq!(set(&[argument]), Err(vec![line.into()]));
    }
    let env = |name| load_path("realtime_analytics", &[], &[(name, "1")]).expect_err(name);
    assert_eq!(
        env("WARDFLOW_forest_trees"),
        ["WARDFLOW_forest_trees: no such setting; did you mean WARDFLOW_FOREST_TREES?"]
    );
    assert_eq!(
        env("WARDFLOW_"),
        ["WARDFLOW_: no such setting; unset it: WARDFLOW_<SECTION>_<KEY> are settings of the dataflow file"]
    );
}

#[test]
fn a_dataflow_that_is_not_there_is_one_clear_line() {
    assert_eq!(
        load_path("realtime_analytic", &[], &[]),
        Err(vec!["realtime_analytic: no dataflow of this name is built in, only sensor_collection, ingest_transform_load, realtime_analytics; did you mean `realtime_analytics`?".into()])
    );
    assert_eq!(
        load_path("readings.jsonl", &[], &[]),
        Err(vec!["readings.jsonl: no dataflow of this name is built in, only sensor_collection, ingest_transform_load, realtime_analytics; a file of your own is a path that ends in .toml".into()])
    );
    let lines = load_path("no/such/file.toml", &[], &[]).expect_err("no such file");
    assert_eq!(lines, ["no/such/file.toml: no such file; check the path"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.toml");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"").expect("a temporary file");
    let lines = load_path(path.to_str().expect("a path of UTF-8"), &[], &[]).expect_err("not UTF-8");
    assert!(
        lines[0].ends_with("w.toml: line 2 is not UTF-8; save the file as UTF-8"),
        "{lines:?}"
    );
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).expect("a temporary file");
    let lines = load_path(path.to_str().expect("a path of UTF-8"), &[], &[]).expect_err("too large");
    assert!(lines[0].contains("is larger than 1 MiB"), "{lines:?}");
}
