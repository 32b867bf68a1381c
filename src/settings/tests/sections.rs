//! What each section accepts.

use super::*;

#[test]
fn record_section_is_read() {
    let record = good(
        "[record]\ntimestamp = \"meta.ts\"\ndevice = \"@file\"\npatient = \"\"\nname = \"PatientName\"\ndob = \"\"
         measures = [\"hr\", \"spo2\"]\naliases = { Pulse = \"hr\", vitals.o2 = \"spo2\", \"a.b\" = \"meta.ts\" }
         timestamp_unit = \"us\"\ntimezone = \"Europe/Berlin\"\nmax_record_bytes = 65536\nmanufacturer = \"maker\"\nmodel = \"type\"",
    )
    .record;
    assert_eq!(record.timestamp, "meta.ts");
    assert_eq!(record.device, FILE_STEM);
    assert_eq!((record.patient.as_str(), record.dob.as_str()), ("", ""));
    assert_eq!(record.name, "PatientName");
    assert_eq!(record.measures, ["hr", "spo2"]);
    let aliases: Vec<_> = record.aliases.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(aliases, [("Pulse", "hr"), ("a.b", "meta.ts"), ("vitals.o2", "spo2")]);
    assert_eq!(record.timestamp_unit, TimestampUnit::Microseconds);
    assert_eq!(record.timezone.zone().iana_name(), Some("Europe/Berlin"));
    assert_eq!(record.max_record_bytes, 65536);
    assert_eq!((record.manufacturer.as_str(), record.model.as_str()), ("maker", "type"));
}

#[test]
fn time_zones_may_be_offsets() {
    let zone = good("record.timezone = \"-05:30\"").record.timezone;
    let offset = zone.zone().to_offset(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(offset.seconds(), -(5 * 3600 + 30 * 60));
}

#[test]
fn selection_and_protection_are_read() {
    let settings = good(
        "select = { patients = [\"p\"], devices = [\"d\", \"e\"] }\ndeduplicate.horizon = \"off\"
         deidentify.profile = \"whitepaper\"\nkeys.kek = \"file:/etc/kek\"",
    );
    assert_eq!(settings.select.patients, ["p"]);
    assert_eq!(settings.select.devices, ["d", "e"]);
    assert_eq!(settings.deduplicate.horizon, None);
    assert_eq!(settings.deidentify.profile, Profile::Whitepaper);
    assert_eq!(settings.keys.kek, KeySource::File("/etc/kek".into()));
    let kek = |text: &str| good(&format!("keys.kek = \"{text}\"")).keys.kek;
    assert_eq!(kek(""), KeySource::StateFolder);
    assert_eq!(kek("env:KEK"), KeySource::Environment("KEK".into()));
    assert_eq!(
        kek("command:pass show kek:1"),
        KeySource::Command("pass show kek:1".into())
    );
}

#[test]
fn times_of_the_selection_are_those_of_the_records() {
    let settings = good(
        "[select]\nfrom = \"2017-10-15\"\nto = \"2017-10-15T06:00:00+01:00\"\n[record]\ntimezone = \"Europe/Berlin\"",
    );
    let (select, record) = (&settings.select, &settings.record);
    assert_eq!(select.from(record), Some(1_508_018_400_000_000), "midnight in Berlin");
    assert_eq!(select.to(record), Some(1_508_043_600_000_000));
    let numbers = good("[select]\nfrom = \"1508039751\"\n[record]\ntimestamp_unit = \"s\"");
    assert_eq!(numbers.select.from(&numbers.record), Some(1_508_039_751_000_000));
    assert_eq!(numbers.select.to(&numbers.record), None);
    refused(
        "[select]\nfrom = \"yesterday\"",
        "ward.toml:3: [select] from: \"yesterday\" is no time; write it as \"2017-10-15T03:55:51\" or, for midnight, \"2017-10-15\"",
    );
    refused(
        "[select]\nfrom = \"2017-10-15\"\nto = \"2017-10-15\"",
        "ward.toml:4: [select] to: select.from = \"2017-10-15\" must be before select.to = \"2017-10-15\"",
    );
}

#[test]
fn forest_section_is_read() {
    let settings = good(
        "[devices]\npath = \"d.csv\"\ncolumns = [\"ward\"]\n[forest]\nenabled = false\nkey = [\"ward\", \"model\"]\ntrees = 0x10
         sample_size = 999\ntime_decay = 1_000\nshingle = 30\nscoring = \"aws\"\nseed = 18446744073709551615\nnormalise = \"standardise\"\nmax_keys = 1\nmax_devices = 2",
    );
    assert_eq!(settings.devices.path, "d.csv");
    let forest = settings.forest;
    assert!(!forest.enabled);
    assert_eq!(forest.key, ["ward", "model"]);
    assert_eq!((forest.trees, forest.sample_size), (16, 999));
    assert_eq!((forest.time_decay, forest.shingle), (1000, 30));
    assert_eq!((forest.seed, forest.max_keys, forest.max_devices), (u64::MAX, 1, 2));
    assert_eq!(forest.scoring, Scoring::Aws);
    assert_eq!(forest.normalise, Normalise::Standardise);
    assert!(good("forest.key = []").forest.key.is_empty());
}

#[test]
fn windows_and_alerts_are_read() {
    let settings = good(
        "[windows]\nsize = \"90s\"\ngroupings = [[\"manufacturer\", \"device_id\"], \"device_id\"]\nout_of_orderness = \"0s\"
         allowed_lateness = \"500ms\"\nwatermark = \"device\"\nmax_jump = \"1d\"\nidle_after = \"2 m\"\nscore = false\n[alerts]\nthreshold = 3",
    );
    let windows = settings.windows;
    assert_eq!(windows.size, Micros(90_000_000));
    assert_eq!(
        windows.groupings,
        [vec!["manufacturer", "device_id"], vec!["device_id"]]
    );
    assert_eq!(windows.out_of_orderness, Micros(0));
    assert_eq!(windows.allowed_lateness, Micros(500_000));
    assert_eq!(windows.watermark, WatermarkScope::Device);
    assert_eq!(
        (windows.max_jump, windows.idle_after),
        (Micros::DAY, Micros(120_000_000))
    );
    assert!(!windows.score);
    assert_eq!(settings.alerts.threshold, 3.0);
}

#[test]
fn alerts_section_is_read() {
    let alerts = good(
        "[record]\nmeasures = [\"pulse\", \"spo2\"]\n[alerts]\nadapt = \"rate\"\nrate = 0.01\ngrade = 0\ncool_down = \"0s\"
         ranges = { pulse = [40, 150.5], spo2 = [90, inf] }",
    )
    .alerts;
    assert_eq!((alerts.adapt, alerts.rate, alerts.grade), (Adapt::Rate, 0.01, 0.0));
    assert_eq!(alerts.cool_down, Micros(0));
    assert_eq!(alerts.ranges["pulse"], (40.0, 150.5));
    assert_eq!(alerts.ranges["spo2"], (90.0, f64::INFINITY));
    refused(
        "[alerts]\nrate = 0.6",
        "ward.toml:3: [alerts] rate: wants a number from 0.000001 to 0.5; found the number 0.6",
    );
    refused(
        "[alerts]\ngrade = 1",
        "ward.toml:3: [alerts] grade: wants a number from 0 to 0.999; found the integer 1",
    );
    for range in ["[9, 1]", "[1]", "5", "[inf, inf]", "[nan, 1]"] {
        refused(
            &format!("[alerts]\nranges = {{ pulse = {range} }}"),
            "ward.toml:3: [alerts] ranges: the range of \"pulse\" is none; write it as { pulse = [40, 150] }, the lowest and the highest ordinary value, -inf or inf where there is none",
        );
    }
    let alerts =
        good("[alerts]\ntopic = \"a/b\"\nurl = \"mqtts://u:s3cret@b\"\nfile = \"a.jsonl\"\npatient = true").alerts;
    assert_eq!(
        (alerts.topic.as_str(), alerts.file.as_str(), alerts.patient),
        ("a/b", "a.jsonl", true)
    );
    assert!(alerts.url.ends_with("@b") && !format!("{alerts:?}").contains("s3cret"));
    for topic in ["a/#", "+", "$a", "a/", "a\\u0000"] {
        let settings = format!("[alerts]\ntopic = \"{topic}\"");
        assert!(
            load(&settings).expect_err("refused")[0].starts_with("ward.toml:3: [alerts] topic: wants "),
            "{topic}"
        );
    }
    refused(
        "[alerts]\nurl = \"http://b\"",
        "ward.toml:3: [alerts] url: wants mqtt://host:port or mqtts://host:port",
    );
    refused(
        "[alerts]\nranges = { puls = [40, 150] }",
        "ward.toml:3: [alerts] ranges: \"puls\" is no measure; did you mean \"pulse\"?",
    );
    refused(
        "[alerts]\nranges = { pulse = [40, 150] }\n[forest]\nenabled = false",
        "ward.toml:5: [forest] enabled: ranges are looked at where readings are scored; set forest.enabled = true, or remove them",
    );
}

#[test]
fn output_source_and_replay_are_read() {
    let settings = good(
        "[output]\npath = \"x\"\nshards = 64\ncompression = \"none\"\ncommit_rows = 1\ncommit_bytes = \"2MiB\"\ncommit_interval = \"1h\"
         [source]\nurl = \"mqtts://user:pw@[::1]:8883\"\ntopics = [\"a/+/b\", \"#\"]\nqos = 0\nclient_id = \"c\"\n[replay]\nepoch_records = 1000000",
    );
    let output = settings.output;
    assert_eq!((output.path.as_str(), output.shards), ("x", 64));
    assert_eq!(output.compression, Compression::None);
    assert_eq!((output.commit_rows, output.commit_bytes), (1, 2 << 20));
    assert_eq!(output.commit_interval, Micros::HOUR);
    assert_eq!(settings.source.url, "mqtts://user:pw@[::1]:8883");
    assert_eq!(settings.source.topics, ["a/+/b", "#"]);
    assert_eq!((settings.source.qos, settings.source.client_id.as_str()), (0, "c"));
    assert_eq!(settings.replay.epoch_records, 1_000_000);
}

#[test]
fn sizes_have_decimal_and_binary_units() {
    for (text, bytes) in [
        ("7B", 7),
        ("7 KB", 7_000),
        ("7MB", 7_000_000),
        ("7GB", 7_000_000_000),
        ("7KiB", 7 << 10),
        ("7GiB", 7 << 30),
    ] {
        let settings = good(&format!("output.commit_bytes = \"{text}\""));
        assert_eq!(settings.output.commit_bytes, bytes, "{text}");
    }
    assert_eq!(good("output.commit_bytes = 9").output.commit_bytes, 9);
}

#[test]
fn the_source_section_is_read() {
    let source = good(
        "[source]\nurl = \"mqtts://b\"\ntopics = [\"$share/g/+/#\", \"a\"]\nprotocol = \"3.1.1\"\nuser = \"u\"\npassword = \"\"
         password_file = \"p\"\nca = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nkeep_alive = \"2m\"
         session_expiry = \"0s\"\nreceive_maximum = 65535\ngather = \"2ms\"\nretained = true",
    )
    .source;
    assert_eq!((source.protocol, source.user.as_str()), (Protocol::V3, "u"));
    let files = [&source.password_file, &source.ca, &source.certificate, &source.key];
    assert_eq!(files, ["p", "ca.pem", "c.pem", "k.pem"]);
    assert_eq!(
        (source.keep_alive, source.session_expiry),
        (Micros(120_000_000), Micros(0))
    );
    assert_eq!((source.receive_maximum, source.retained), (65535, true));
    assert_eq!(source.gather, Micros(2_000));
    refused(
        "source.gather = \"2s\"",
        "ward.toml:2: [source] gather: wants at most 1s: so long an acknowledgement may wait",
    );
    refused(
        "source.keep_alive = \"500ms\"",
        "ward.toml:2: [source] keep_alive: wants whole seconds from 1s to 65535s",
    );
    let lines = load("source.topics = [\"$share/g\", \"a/#/b\", \"x\", \"x\"]").expect_err("three mistakes");
    for (line, reason) in lines.iter().zip([
        "\"$share/g\" is no topic filter: a shared subscription is $share/GROUP/FILTER",
        "\"a/#/b\" is no topic filter: + stands for a whole level, # for all levels at the end",
        "\"x\" is there twice: its records would come twice",
    ]) {
        assert!(line.ends_with(reason), "{line}");
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_password_comes_from_the_environment_alone_and_is_not_shown() {
    let environment = [("WARDFLOW_SOURCE_PASSWORD", "[1"), ("WARDFLOW_SOURCE_USER", "u")];
    let settings = load_path("realtime_analytics", &[], &environment).expect("good settings");
    assert_eq!(settings.source.password, "[1");
    assert!(!format!("{settings:?}").contains("[1"));
    assert!(!settings.canonical_json().contains("[1"));
    for lines in [
        load("source.password = \"hunter2\"").expect_err("a file"),
        set(&["source.password=hunter2"]).expect_err("a command line"),
    ] {
        assert!(
            lines[0].contains("WARDFLOW_SOURCE_PASSWORD") && !lines[0].contains("hunter2"),
            "{lines:?}"
        );
    }
}

#[test]
fn levels_of_the_topic_may_be_fields() {
    let record = good(
        "[record]\ndevice = \"@topic/3\"\npatient = \"@topic/1\"\n[source]\ntopics = [\"a/#\", \"$share/g/a/+/+\"]",
    )
    .record;
    let levels: Vec<_> = record.of_topic().map(|(key, _, level)| (key, level)).collect();
    assert_eq!(levels, [("device", 3), ("patient", 1)]);
    assert!(record.fields().all(|(key, _)| key != "device" && key != "patient"));
    refused(
        "[record]\nmodel = \"@topic/0\"",
        "ward.toml:3: [record] model: \"@topic/0\" is no level of a topic; write \"@topic/1\" for its first level",
    );
    refused(
        "[record]\nname = \"@topic/1\"",
        "ward.toml:3: [record] name: only device, patient, manufacturer and model can come from the topic; name a field of the record",
    );
    refused(
        "[record]\ndevice = \"@topic/3\"",
        "ward.toml:3: [record] device: record.device = \"@topic/3\", and the topics of \"LifeSupportDevice/Sensor\" have 2 levels",
    );
}

#[test]
fn settings_of_the_broker_that_contradict_each_other_are_told() {
    for (text, reason) in [
        (
            "source.ca = \"ca.pem\"",
            "source.ca is for encrypted connections, and source.url is none: write mqtts://",
        ),
        (
            "source.url = \"mqtts://b\"\nsource.key = \"k\"",
            "source.key needs its certificate: set source.certificate",
        ),
        (
            "source.url = \"mqtt://u:p@b\"\nsource.user = \"u\"",
            "there is a user in source.url and in source.user: remove one of them",
        ),
        (
            "source.url = \"mqtt://u:p@b\"\nsource.password_file = \"f\"",
            "there is a password in source.url and in source.password_file: remove one of them",
        ),
        (
            "source.password_file = \"f\"",
            "source.password_file needs a user: set source.user",
        ),
    ] {
        let lines = load(text).expect_err(text);
        assert!(lines[0].ends_with(reason), "{lines:?}");
    }
}
