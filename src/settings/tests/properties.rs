//! Whatever is written, there are settings or mistakes.

use proptest::prelude::*;

use super::*;

#[test]
fn nesting_beyond_sense_is_a_mistake_and_no_overflow() {
    let path = vec!["a"; 70].join(".");
    let nested = format!("{path} = {}1{}", format!("{{ {path} = ").repeat(60), " }".repeat(60));
    let brackets = format!("record.measures = {}", "[".repeat(100_000));
    for text in [nested, brackets, format!("{}=1", "a.".repeat(100_000))] {
        assert!(load(&text).is_err());
        assert!(set(&[&text]).is_err());
    }
}

/// Text that is often nearly a dataflow file.
fn near_toml() -> impl Strategy<Value = String> {
    let pieces = [
        "dataflow",
        " = ",
        "\"realtime_analytics\"",
        "\n",
        "[forest]\n",
        "[record]\n",
        "[windows]\n",
        "trees",
        "measures",
        "groupings",
        "aliases",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"a\"",
        "\"device_id\"",
        "1",
        "-3",
        "1e400",
        "\"5s\"",
        "true",
        ".",
        "#",
        "\\",
        "'",
        "\"",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(pieces.to_vec()).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_file_and_any_set_give_settings_or_mistakes(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in near_toml(),
        set in prop::collection::vec(prop_oneof![near_toml(), any::<String>()], 0..3),
        path in prop::sample::select(all_keys().paths().map(|p| p.join(".")).collect::<Vec<_>>()),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("w.toml");
        let name = file.to_str().expect("a path of UTF-8");
        let mut arguments: Vec<String> = set.iter().map(|value| format!("{path}={value}")).collect();
        arguments.extend(set);
        for content in [bytes, text.clone().into_bytes(), format!("dataflow = \"realtime_analytics\"\n{text}").into_bytes()] {
            std::fs::write(&file, content).expect("a temporary file");
            let environment = [(format!("WARDFLOW_{path}").replace('.', "_").to_uppercase(), text.clone())];
            if let Err(mistakes) = Settings::load(name, &arguments, environment) {
                prop_assert_eq!(mistakes.to_string().lines().count(), mistakes.iter().count());
            }
        }
    }

    #[test]
    fn any_value_of_any_setting_gives_settings_or_mistakes(
        value in any::<String>(),
        number in any::<i64>(),
        path in prop::sample::select(all_keys().paths().map(|p| p.join(".")).collect::<Vec<_>>()),
    ) {
        for value in [value.clone(), number.to_string(), format!("[{value:?}]"), format!("{value:?}")] {
            let loaded = Settings::load("realtime_analytics", &[format!("{path}={value}")], []);
            let sound = match loaded {
                Ok(settings) => serde_json::from_str::<serde_json::Value>(&settings.canonical_json()).is_ok(),
                Err(mistakes) => mistakes.iter().count() > 0,
            };
            prop_assert!(sound);
        }
    }
}
