//! The promises of the dataflow file: what is accepted, what is refused and with which words, who wins.

mod contradictions;
mod mistakes;
mod precedence;
mod properties;
mod sections;

use super::*;

/// Loads a file of this text, called ward.toml; mistakes name it without its folder.
fn load_with(text: &str, set: &[&str], env: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ward.toml");
    std::fs::write(&path, text).expect("a temporary file");
    load_path(path.to_str().expect("a path of UTF-8"), set, env).map_err(|lines| {
        let prefix = format!("{}/", folder.path().display());
        lines.iter().map(|l| l.replace(&prefix, "")).collect()
    })
}

fn load_path(path: &str, set: &[&str], env: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    Settings::load(path, &set, env).map_err(|m| {
        assert!(m.iter().count() > 0);
        m.to_string().lines().map(String::from).collect()
    })
}

/// A file of realtime_analytics; the text starts on line 2.
fn load(text: &str) -> Result<Settings, Vec<String>> {
    load_with(&format!("dataflow = \"realtime_analytics\"\n{text}"), &[], &[])
}

fn good(text: &str) -> Settings {
    load(text).unwrap_or_else(|m| panic!("{text}: {m:?}"))
}

fn set(arguments: &[&str]) -> Result<Settings, Vec<String>> {
    load_path("realtime_analytics", arguments, &[])
}

/// The only mistake of this text.
#[track_caller]
fn refused(text: &str, line: &str) {
    assert_eq!(load(text), Err(vec![line.to_string()]), "{text}");
}

#[test]
fn built_in_dataflows_equal_the_defaults() {
    for dataflow in Dataflow::ALL {
        let settings = load_path(dataflow.name(), &[], &[]).expect("a built-in dataflow loads");
        let (nothing, mut none) = (Tree::default(), MistakeList::default());
        let defaults = Settings::read(dataflow, &mut Reader::new(&nothing, &mut none));
        assert_eq!(settings, defaults);
    }
}

#[test]
fn built_in_dataflows_show_every_setting_they_have() {
    for dataflow in Dataflow::ALL {
        let document = builtin::open(dataflow.name()).expect("it is built in");
        let tree = layers::parse(&document, &mut MistakeList::default()).expect("it is TOML");
        for path in all_keys().paths() {
            let [section, key] = path.as_slice() else {
                continue;
            };
            let shown = tree.node(section, key).is_some();
            let listed = shown || (section, key.as_str()) == (&"record".into(), "aliases");
            assert_eq!(listed, dataflow.uses(section), "{section}.{key}");
        }
    }
}

#[test]
fn a_file_with_nothing_but_its_dataflow_has_the_defaults() {
    let mut settings = good("");
    assert_eq!(settings.name, "ward");
    settings.name = "realtime_analytics".into();
    assert_eq!(Ok(settings), set(&[]));
}

#[test]
fn canonical_json_holds_what_can_influence_the_tables() {
    let base = set(&[]).expect("good settings").canonical_json();
    let with = |argument: &str| set(&[argument]).expect(argument).canonical_json();
    for argument in [
        "output.path=x",
        "keys.kek=env:X",
        "devices.path=d.csv",
        "forest.max_keys=1",
        "forest.max_devices=1",
        "source.url=mqtt://h",
        "source.qos=0",
        "source.topics=['a']",
        "source.client_id=x",
        "replay.epoch_records=1",
    ] {
        assert_eq!(with(argument), base, "{argument}");
    }
    for (argument, difference) in [
        ("forest.trees=50", "forest.trees is 50, was 100"),
        (
            "record.measures=['a']",
            "record.measures is [\"a\"], was [\"temperature\",\"pulse\",\"oxygen_percent\",\"systolic\",\"diastolic\"]",
        ),
        (
            "record.aliases.Temp=pulse",
            "record.aliases.Temp is \"pulse\", was not set",
        ),
        ("record.timezone=+01:00", "record.timezone is \"+01:00\", was \"UTC\""),
        ("deduplicate.horizon=off", "deduplicate.horizon is null, was 3600000000"),
        ("output.commit_rows=5", "output.commit_rows is 5, was 1000000"),
        ("alerts.threshold=2.5", "alerts.threshold is 2.5, was 2.0"),
    ] {
        assert_eq!(first_difference(&base, &with(argument)), Some(difference.into()));
    }
    let shorter = load_path("ingest_transform_load", &[], &[])
        .expect("good settings")
        .canonical_json();
    assert_eq!(
        first_difference(&base, &shorter),
        Some("dataflow is \"ingest_transform_load\", was \"realtime_analytics\"".into())
    );
    assert!(!shorter.contains("forest"));
    assert_eq!(first_difference(&base, &base), None);
    assert!(first_difference(&base, "{").is_some());
}
