//! What is wrong between keys.

use super::*;

#[test]
fn contradictions_stand_at_the_later_key() {
    refused(
        "[forest]\ntime_decay = 100\nsample_size = 100",
        "ward.toml:4: [forest] sample_size: forest.sample_size = 100 must be below forest.time_decay = 100",
    );
    refused(
        "[forest]\nsample_size = 100\ntime_decay = 100",
        "ward.toml:4: [forest] time_decay: forest.sample_size = 100 must be below forest.time_decay = 100",
    );
    refused(
        "[forest]\ntime_decay = 100",
        "ward.toml:3: [forest] time_decay: forest.sample_size = 256 must be below forest.time_decay = 100",
    );
    refused(
        "[forest]\nkey = [\"manufactuer\"]",
        "ward.toml:3: [forest] key: \"manufactuer\" is no column to group by; did you mean \"manufacturer\"?",
    );
    refused(
        "[forest]\nkey = [\"ward\"]",
        "ward.toml:3: [forest] key: \"ward\" is no column to group by; there are manufacturer, model, device_id, patient_id; further columns of the device collection are named in devices.columns first",
    );
    refused(
        "[forest]\nkey = [\"model\", \"model\"]",
        "ward.toml:3: [forest] key: \"model\" is there twice",
    );
    refused(
        "[forest]\nkey = [\"patient_id\"]\n[record]\npatient = \"\"",
        "ward.toml:5: [record] patient: patient_id is always null with record.patient = \"\"; name the patient's field, or another column here",
    );
    refused(
        "[windows]\nwatermark = \"device\"",
        "ward.toml:3: [windows] watermark: windows.watermark = \"device\" needs device_id in every grouping, and the one by manufacturer is without; use \"global\", or change windows.groupings",
    );
    refused(
        "[windows]\nwatermark = \"device\"\ngroupings = [\n[\"device_id\", \"model\"],\n\"model\"]",
        "ward.toml:6: [windows] groupings: windows.watermark = \"device\" needs device_id in every grouping, and the one by model is without; use \"global\", or change windows.groupings",
    );
    refused(
        "[windows]\ngroupings = [[\"model\", \"device_id\"],\n[\"device_id\", \"model\"]]",
        "ward.toml:4: [windows] groupings: the grouping by device_id, model is there twice",
    );
    refused(
        "[windows]\ngroupings = [[\"model\", \"model\"]]",
        "ward.toml:3: [windows] groupings: a column is there twice in one grouping",
    );
}

#[test]
fn fields_and_columns_have_one_role() {
    refused(
        "[record]\nname = \"device_id\"",
        "ward.toml:3: [record] name: \"device_id\" is read as device and as name; a field has one role",
    );
    refused(
        "[record]\nmeasures = [\"dob\"]",
        "ward.toml:3: [record] measures: \"dob\" is read as dob and as a measure; a field has one role",
    );
    refused(
        "[record]\nmeasures = [\"a\"]\nmodel = \"a\"",
        "ward.toml:4: [record] model: \"a\" is read as model and as a measure; a field has one role",
    );
    refused(
        "[record]\nmeasures = [\"a\",\n\"A\"]",
        "ward.toml:4: [record] measures: \"A\" is there twice (many readers ignore case)",
    );
    refused(
        "[record]\nmeasures = [\"Late\"]",
        "ward.toml:3: [record] measures: the output has a column \"Late\" of its own; give the measure another name, and map it in record.aliases",
    );
    refused(
        "[record]\nmeasures = [\"attribution_a\",\n\"a\"]",
        "ward.toml:4: [record] measures: anomalies have a column \"attribution_a\" for the measure \"a\"; choose another name",
    );
    refused(
        "[devices]\ncolumns = [\"manufacturer\"]",
        "ward.toml:3: [devices] columns: the output has a column \"manufacturer\" of its own; remove it here, or rename the device collection's",
    );
    refused(
        "[devices]\ncolumns = [\"pulse\"]",
        "ward.toml:3: [devices] columns: \"pulse\" is a measure and a device column; the output can have only one of them",
    );
    refused(
        "[devices]\ncolumns = [\"direction_pulse\"]",
        "ward.toml:3: [devices] columns: anomalies have a column \"direction_pulse\" for the measure \"pulse\"",
    );
    refused(
        "[devices]\ncolumns = [\"a\",\n\"b\",\n\"a\"]",
        "ward.toml:5: [devices] columns: \"a\" is there twice (many readers ignore case)",
    );
}

#[test]
fn aliases_lead_to_fields_that_are_read() {
    refused(
        "[record]\naliases = {\n  Temp = \"temprature\" }",
        "ward.toml:4: [record] aliases: \"Temp\" leads to \"temprature\", which is no field that is read; did you mean \"temperature\"?",
    );
    refused(
        "[record.aliases]\nTemp = \"temperature\"\npulse = \"systolic\"",
        "ward.toml:4: [record] aliases: \"pulse\" is a field that is read, so it cannot be an alias too; remove one of them",
    );
    refused(
        "[record.aliases]\nTemp = 5",
        "ward.toml:3: [record] aliases: wants a string in quotes; found the integer 5",
    );
    refused(
        "[record.aliases]\n\"\" = \"pulse\"",
        "ward.toml:3: [record] aliases: the name of an alias must not be empty",
    );
}

#[test]
fn sections_of_another_dataflow_are_refused() {
    let text = "dataflow = \"ingest_transform_load\"\n[record]\n[forest]\ntrees = 5\nsample_size = 3";
    let forest = "[forest] is not part of ingest_transform_load; remove it, or set dataflow = \"realtime_analytics\"";
    let windows = forest.replace("forest", "windows");
    assert_eq!(
        load_with(text, &["forest.trees=7"], &[("WARDFLOW_WINDOWS_SIZE", "1m")]),
        Err(vec![
            format!("ward.toml:3: {forest}"),
            "ward.toml:5: [forest] sample_size: wants a value from 10 to 1000; found the integer 3".into(),
            format!("WARDFLOW_WINDOWS_SIZE: {windows}"),
            format!("--set forest.trees: {forest}"),
        ])
    );
    assert_eq!(
        load_path("sensor_collection", &["devices.path=d.csv"], &[]),
        Err(vec!["--set devices.path: [devices] is not part of sensor_collection; remove it, or set dataflow = \"ingest_transform_load\"".into()])
    );
}

#[test]
fn a_contradiction_across_layers_stands_at_the_layer_that_wins() {
    let env = [("WARDFLOW_FOREST_TIME_DECAY", "50")];
    assert_eq!(
        load_path("realtime_analytics", &["forest.sample_size=60"], &env),
        Err(vec![
            "--set forest.sample_size: forest.sample_size = 60 must be below forest.time_decay = 50".into()
        ])
    );
}
