//! What is wrong with one key, and with which words it is refused.

use super::*;

#[test]
fn unknown_keys_name_the_nearest() {
    refused(
        "\n\n[forest]\n# many\ntress = 5",
        "ward.toml:6: [forest] tress: unknown key; did you mean `trees`?",
    );
    refused(
        "[windows]\nsize = \"1m\"\n\ntrees = 5",
        "ward.toml:5: [windows] trees: `trees` belongs in [forest]",
    );
    refused(
        "[alerts]\npath = \"x\"",
        "ward.toml:3: [alerts] path: `path` belongs in [devices] or [output]",
    );
    refused(
        "[alerts]\ntres = 1",
        "ward.toml:3: [alerts] tres: unknown key; did you mean `trees` in [forest]?",
    );
    refused(
        "[alerts]\nzzzzzz = 1",
        "ward.toml:3: [alerts] zzzzzz: unknown key; [alerts] has threshold, adapt, rate, grade, ranges, cool_down, topic, url, file, patient",
    );
    refused(
        "[alerts]\ndataflow = 1",
        "ward.toml:3: [alerts] dataflow: belongs at the top of the file, above the first [section]",
    );
    refused("trees = 5", "ward.toml:2: trees: `trees` belongs in [forest]");
    refused(
        "[forrest]\ntrees = 5",
        "ward.toml:2: forrest: unknown section; did you mean [forest]?",
    );
    refused(
        "dataflw = 5",
        "ward.toml:2: dataflw: unknown key; did you mean `dataflow`?",
    );
    refused(
        "zzzzzz = 5",
        "ward.toml:2: zzzzzz: unknown key; above the first [section] stands only `dataflow`",
    );
    refused(
        "forest = 5",
        "ward.toml:2: forest: is a section: write [forest] on a line, its keys below it",
    );
    refused(
        "[[forest]]\ntrees = 5",
        "ward.toml:2: forest: is a section: write [forest] on a line, its keys below it",
    );
    let lines = load("[zzzzzz]").expect_err("no such section");
    assert!(
        lines[0].starts_with("ward.toml:2: zzzzzz: unknown section; there are record, select, "),
        "{lines:?}"
    );
}

#[test]
fn wrong_types_say_what_was_found_and_what_is_wanted() {
    refused(
        "[forest]\ntrees = \"5\"",
        "ward.toml:3: [forest] trees: wants an integer from 1 to 1000; found the string \"5\"",
    );
    refused(
        "[forest]\nenabled = 1",
        "ward.toml:3: [forest] enabled: wants true or false; found the integer 1",
    );
    refused(
        "[forest]\nkey = \"model\"",
        "ward.toml:3: [forest] key: wants a list of strings, as [\"a\", \"b\"]; found the string \"model\"",
    );
    refused(
        "[forest]\nkey = [\n  \"model\",\n  7,\n]",
        "ward.toml:5: [forest] key: wants a string in quotes; found the integer 7",
    );
    refused(
        "[alerts]\nthreshold = 2001-01-01",
        "ward.toml:3: [alerts] threshold: wants a number above 0; found a date or time",
    );
    refused(
        "[output]\npath = true",
        "ward.toml:3: [output] path: wants a string in quotes; found the boolean true",
    );
    refused(
        "[output]\ncommit_bytes = 1.5",
        "ward.toml:3: [output] commit_bytes: wants a size such as \"100MB\"; found the number 1.5",
    );
    refused(
        "[windows]\nsize = 60",
        "ward.toml:3: [windows] size: wants a duration such as \"30s\"; found the integer 60",
    );
    refused(
        "[deduplicate]\nhorizon = false",
        "ward.toml:3: [deduplicate] horizon: wants a duration such as \"30s\"; found the boolean false, or \"off\"",
    );
    refused(
        "[record]\naliases = [1]",
        "ward.toml:3: [record] aliases: wants a table, as { Temp = \"temperature\" }; found a list",
    );
    refused(
        "[windows]\ngroupings = \"model\"",
        "ward.toml:3: [windows] groupings: wants a list of columns or of lists of columns, as [\"device_id\", [\"manufacturer\", \"model\"]]; found the string \"model\"",
    );
    refused(
        "[record]\nmeasures = [[[[[[[[[[[\"a\"]]]]]]]]]]]",
        "ward.toml:3: [record] measures: wants a string in quotes; found a list",
    );
}

#[test]
fn values_out_of_range_say_the_range() {
    refused(
        "[forest]\ntrees = 1001",
        "ward.toml:3: [forest] trees: wants a value from 1 to 1000; found the integer 1001",
    );
    refused(
        "[forest]\nseed = -1",
        "ward.toml:3: [forest] seed: wants a value from 0 to 18446744073709551615; found the integer -1",
    );
    refused(
        "[source]\nqos = 2",
        "ward.toml:3: [source] qos: wants a value from 0 to 1; found the integer 2",
    );
    refused(
        "[record]\nmax_record_bytes = 1023",
        "ward.toml:3: [record] max_record_bytes: wants a value from 1024 to 67108864; found the integer 1023",
    );
    refused(
        "[alerts]\nthreshold = inf",
        "ward.toml:3: [alerts] threshold: wants a number above 0; found the number inf",
    );
    refused(
        "[alerts]\nthreshold = 0",
        "ward.toml:3: [alerts] threshold: wants a number above 0; found the integer 0",
    );
    refused(
        "[windows]\nsize = \"0s\"",
        "ward.toml:3: [windows] size: must be longer than 0",
    );
    refused(
        "[windows]\nsize = \"40000d\"",
        "ward.toml:3: [windows] size: \"40000d\" is more than 36500d; write a whole number with us, ms, s, m, h or d, as \"30s\"",
    );
    refused(
        "[windows]\nsize = \"1.5h\"",
        "ward.toml:3: [windows] size: \"1.5h\" has an unknown unit; write a whole number with us, ms, s, m, h or d, as \"30s\"",
    );
    refused(
        "[windows]\nsize = \"60\"",
        "ward.toml:3: [windows] size: \"60\" has no unit; write a whole number with us, ms, s, m, h or d, as \"30s\"",
    );
    refused(
        "[output]\ncommit_bytes = \"many\"",
        "ward.toml:3: [output] commit_bytes: \"many\" is not a size; write bytes, or a whole number with B, KB, MB, GB, KiB, MiB or GiB, as \"100MB\"",
    );
    refused(
        "[output]\ncompression = \"zstandard\"",
        "ward.toml:3: [output] compression: wants \"zstd\" or \"snappy\" or \"gzip\" or \"none\"; found \"zstandard\"",
    );
    refused(
        "[output]\ncompression = \"zst\"",
        "ward.toml:3: [output] compression: wants \"zstd\" or \"snappy\" or \"gzip\" or \"none\"; found \"zst\"; did you mean \"zstd\"?",
    );
    refused("[output]\npath = \"\"", "ward.toml:3: [output] path: must not be empty");
    refused(
        "[record]\nmeasures = []",
        "ward.toml:3: [record] measures: wants 1 to 64 measures; found 0",
    );
    refused(
        "[record]\ndevice = \"@flie\"",
        "ward.toml:3: [record] device: there is no \"@flie\"; did you mean \"@file\"?",
    );
    refused(
        "[record]\ntimezone = \"Europe/Berlim\"",
        "ward.toml:3: [record] timezone: there is no time zone \"Europe/Berlim\"; did you mean \"Europe/Berlin\"?",
    );
    refused(
        "[source]\ntopics = [\"a\",\n\"b#\"]",
        "ward.toml:4: [source] topics: \"b#\" is no topic filter: + stands for a whole level, # for all levels at the end",
    );
    refused(
        "[windows]\ngroupings = []",
        "ward.toml:3: [windows] groupings: wants at least one grouping",
    );
    refused(
        "[windows]\ngroupings = [\"model\",\n[]]",
        "ward.toml:4: [windows] groupings: a grouping wants at least one column",
    );
    let measures: Vec<String> = (0..65).map(|i| format!("m{i}")).collect();
    refused(
        &format!("[record]\nmeasures = {measures:?}"),
        "ward.toml:3: [record] measures: wants 1 to 64 measures; found 65",
    );
}

#[test]
fn what_may_be_secret_is_not_repeated() {
    for text in [
        "keys.kek = \"hunter2\"",
        "keys.kek = \"hunter2:\"",
        "keys.kek = [\"hunter2\"]",
        "source.url = \"http://u:hunter2@host\"",
        "source.url = \"mqtt://u:hunter2@host:port\"",
    ] {
        let lines = load(text).expect_err(text);
        assert!(!lines[0].contains("hunter2"), "{lines:?}");
        let lines = set(&[&text.replace(" = ", "=")]).expect_err(text);
        assert!(!lines[0].contains("hunter2"), "{lines:?}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    for (text, line) in [
        ("[forest\ntrees = 5", "ward.toml:2: "),
        ("[forest]\ntrees = ", "ward.toml:3: "),
        ("[forest]\ntrees = 5\ntrees = 6", "ward.toml:4: "),
        ("[forest]\n[alerts]\n[forest]", "ward.toml:4: "),
        ("\n\nsource.url = \"mqtt", "ward.toml:4: "),
    ] {
        let lines = load(text).expect_err(text);
        assert!(lines.iter().any(|l| l.starts_with(line)), "{lines:?}");
        assert!(lines.iter().all(|l| l.contains(": this is not TOML: ")), "{lines:?}");
    }
}
