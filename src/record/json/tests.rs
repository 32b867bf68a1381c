use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

mod random;
mod reference;

const MEASURES: [&str; 3] = ["temperature", "pulse", "vitals.systolic"];
/// 2017-10-15T03:55:51.778Z in microseconds.
const PAPERS_TIME: i64 = 1_508_039_751_778_000;

fn fields() -> Fields {
    let alias = |(alias, field): (&str, &str)| (alias.to_owned(), field.to_owned());
    Fields {
        timestamp: "timestamp".into(),
        device: DeviceFrom::Field("device_id".into()),
        patient: "patient_id".into(),
        name: "name".into(),
        dob: "dob".into(),
        manufacturer: String::new(),
        model: String::new(),
        measures: MEASURES.map(String::from).into(),
        aliases: [
            ("PatientID", "patient_id"),
            ("Temp", "temperature"),
            ("body.temp", "temperature"),
        ]
        .map(alias)
        .into(),
    }
}

fn parser_of(fields: Fields) -> Parser {
    Parser::new(fields, Zone::new(TimeZone::UTC, 1_000), 1 << 20)
}

fn parse(line: &[u8]) -> Result<Parsed, Rejection> {
    parser_of(fields()).parse(line, line.len() as u64, 7, "monitor-7")
}

fn read(line: &str) -> Parsed {
    parse(line.as_bytes()).unwrap_or_else(|rejection| panic!("{line}: {rejection:?}"))
}

fn reason(line: &str) -> Reason {
    parse(line.as_bytes()).expect_err(line).reason
}

/// A good record with `more` keys behind the two that every record needs.
fn with(more: &str) -> String {
    format!(r#"{{"timestamp":1508039751778,"device_id":"m1"{more}}}"#)
}

/// The measures as bits, so that NaN and the sign of zero count.
fn bits(parsed: &Parsed) -> Vec<u64> {
    parsed.reading.measures.iter().map(|m| m.to_bits()).collect()
}

const MISSING: f64 = f64::NAN;

fn measures_of(line: &str) -> Vec<u64> {
    bits(&read(line))
}

fn expect(measures: [f64; 3]) -> Vec<u64> {
    measures.map(f64::to_bits).into()
}

#[test]
fn the_parser_says_which_keys_it_asks_for_and_which_it_misses() {
    let parser = parser_of(fields());
    for (key, asks) in [
        ("pulse", true),
        ("vitals", true),
        ("vitals.systolic", true),
        ("Temp", true),
        ("systolic", false),
        ("", false),
    ] {
        assert_eq!(parser.asks_for(key), asks, "{key}");
    }
    assert_eq!(parser.misses(&["device_id", "timestamp"]), None);
    assert_eq!(
        parser.misses(&["time", "device_id"]),
        Some(("record.timestamp", "timestamp"))
    );
    assert_eq!(parser.misses(&["timestamp"]), Some(("record.device", "device_id")));
    let nested = parser_of(Fields {
        timestamp: "meta.time".into(),
        device: DeviceFrom::File,
        ..fields()
    });
    assert_eq!(nested.misses(&["meta"]), None);
    assert_eq!(nested.misses(&["meta.time"]), None);
    assert_eq!(nested.misses(&["time"]), Some(("record.timestamp", "meta.time")));
}

#[test]
fn every_field_of_the_paper_is_read() {
    let line = r#"{"timestamp":"2017-10-15T03:55:51.778","device_id":"m1","patient_id":"p1","name":"Ann","dob":"1970-01-01",
        "temperature":98.6,"pulse":"61","vitals":{"systolic":120,"unit":"mmHg"},"text":["any",{"thing":1e999}]}"#;
    let Parsed { reading, identity } = read(line);
    assert_eq!((reading.position, reading.timestamp), (7, PAPERS_TIME));
    assert_eq!((&*reading.device, reading.patient.as_deref()), ("m1", Some("p1")));
    assert_eq!(reading.measures.as_slice(), [98.6, 61.0, 120.0]);
    assert_eq!((reading.facts, reading.late), (None, false));
    assert_eq!(
        (identity.name.as_deref(), identity.dob.as_deref()),
        (Some("Ann"), Some("1970-01-01"))
    );
}

#[test]
fn timestamps_come_in_all_forms_of_the_contract() {
    for text in [
        "1508039751778",
        "1508039751778.0",
        "1.508039751778e12",
        "\"1508039751778\"",
        "\" 1508039751778 \"",
        "\"2017-10-15T03:55:51.778\"",
        "\"2017-10-15T03:55:51.778Z\"",
        "\"2017-10-15 03:55:51.778000\"",
        "\"2017-10-15T05:55:51.778+02:00\"",
        "\"2017-10-14T22:25:51.778-05:30\"",
    ] {
        let line = format!(r#"{{"device_id":"m1","timestamp":{text}}}"#);
        assert_eq!(read(&line).reading.timestamp, PAPERS_TIME, "{text}");
    }
    for text in [
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"soon\"",
        "\"NaN\"",
        "1e18",
        "-1e300",
        "\"1000000000000000000\"",
    ] {
        let line = format!(r#"{{"device_id":"m1","timestamp":{text}}}"#);
        assert_eq!(reason(&line), Reason::UnreadableTimestamp, "{text}");
    }
}

#[test]
fn times_before_1970_are_cut_to_the_microsecond_before_them_in_every_form() {
    let nanoseconds = Parser::new(fields(), Zone::new(TimeZone::UTC, 1_000_000_000), 1 << 20);
    for time in ["-100", "\"-100\"", "\"1969-12-31T23:59:59.9999999Z\""] {
        let line = format!(r#"{{"device_id":"m1","timestamp":{time}}}"#);
        let parsed = nanoseconds.parse(line.as_bytes(), 1, 0, "").expect("a reading");
        assert_eq!(parsed.reading.timestamp, -1, "{time}");
    }
}

#[test]
fn a_field_is_found_by_its_aliases_nested_paths_and_flat_keys_with_dots() {
    for (key, place) in [
        (r#""temperature":1.5"#, 0),
        (r#""Temp":1.5"#, 0),
        (r#""body":{"temp":1.5}"#, 0),
        (r#""body.temp":1.5"#, 0),
        (r#""vitals":{"systolic":1.5}"#, 2),
        (r#""vitals.systolic":1.5"#, 2),
        (r#""vitals":{"other":{"systolic":2},"systolic":1.5,"temperature":3}"#, 2),
    ] {
        let mut want = [MISSING; 3];
        want[place] = 1.5;
        assert_eq!(measures_of(&with(&format!(",{key}"))), expect(want), "{key}");
    }
    assert_eq!(
        read(&with(r#","PatientID":"p9""#)).reading.patient.as_deref(),
        Some("p9")
    );
    let elsewhere = with(r#","nested":{"temperature":1},"systolic":2,"vitals":{"vitals.systolic":3},"TEMP":4"#);
    assert_eq!(measures_of(&elsewhere), expect([MISSING; 3]));
}

#[test]
fn the_file_is_the_device_where_the_settings_say_so() {
    let parser = parser_of(Fields {
        device: DeviceFrom::File,
        ..fields()
    });
    let line = br#"{"timestamp":1,"device_id":"ignored"}"#;
    let parsed = parser.parse(line, 37, 0, "p000001").expect("a reading");
    assert_eq!(&*parsed.reading.device, "p000001");
}

#[test]
fn manufacturer_and_model_are_taken_from_the_record_only_when_asked_for() {
    let line = with(r#","manufacturer":"Acme","model":17"#);
    assert_eq!(read(&line).reading.facts, None);
    let parser = parser_of(Fields {
        manufacturer: "manufacturer".into(),
        model: "model".into(),
        ..fields()
    });
    let facts = |line: &str| {
        let parsed = parser.parse(line.as_bytes(), 1, 0, "").expect("a reading");
        let facts = parsed.reading.facts.expect("facts of the record");
        (
            facts.manufacturer.as_deref().map(str::to_owned),
            facts.model.as_deref().map(str::to_owned),
        )
    };
    assert_eq!(facts(&line), (Some("Acme".into()), Some("17".into())));
    assert_eq!(
        facts(&with(r#","manufacturer":null,"model":"""#)),
        (None, None),
        "null and empty are unknown"
    );
}

#[test]
fn measures_are_finite_32_bit_numbers_quoted_or_not_or_missing() {
    for (json, want) in [
        ("98.6", 98.6),
        ("\"98.6\"", 98.6),
        ("\" -3 \"", -3.0),
        ("-0.0", -0.0),
        ("\"-0.0\"", -0.0),
        ("-0", -0.0),
        ("0", 0.0),
        ("3.4028234e38", 3.4028234e38),
        ("18446744073709551615", 18446744073709551615.0),
        ("1e-400", 0.0),
        ("null", MISSING),
    ] {
        let got = measures_of(&with(&format!(r#","pulse":{json}"#)));
        assert_eq!(got, expect([MISSING, want, MISSING]), "{json}");
    }
    for json in [
        "1e39",
        "-1e39",
        "\"1e39\"",
        "\"1e400\"",
        "\"NaN\"",
        "\"inf\"",
        "\"-Infinity\"",
        "\"\"",
        "\"12 mmHg\"",
        "true",
        "false",
        "[1]",
        "{}",
        "{\"value\":1}",
    ] {
        assert_eq!(
            reason(&with(&format!(r#","pulse":{json}"#))),
            Reason::UnreadableMeasure,
            "{json}"
        );
    }
}

/// The grammar of JSON knows no largest number, a 64-bit float does.
#[test]
fn a_number_that_no_float_holds_is_refused_where_a_field_wants_it_and_else_skipped() {
    assert_eq!(reason(&with(r#","pulse":1e400"#)), Reason::NotJson);
    assert_eq!(measures_of(&with(r#","text":1e400"#)), expect([MISSING; 3]));
    for text in ["NaN", "Infinity", "-Infinity", "0x10", "+1", "01", ".5", "1."] {
        assert_eq!(reason(&with(&format!(r#","text":{text}"#))), Reason::NotJson, "{text}");
    }
}

#[test]
fn of_a_field_given_twice_the_last_one_counts() {
    assert_eq!(
        measures_of(&with(r#","pulse":1,"pulse":2"#)),
        expect([MISSING, 2.0, MISSING])
    );
    assert_eq!(measures_of(&with(r#","pulse":1,"pulse":null"#)), expect([MISSING; 3]));
    assert_eq!(
        measures_of(&with(r#","pulse":"broken","pulse":2"#)),
        expect([MISSING, 2.0, MISSING])
    );
    assert_eq!(
        measures_of(&with(r#","temperature":1,"Temp":2"#)),
        expect([2.0, MISSING, MISSING])
    );
    assert_eq!(&*read(&with(r#","device_id":"m2""#)).reading.device, "m2");
    assert_eq!(reason(&with(r#","timestamp":null"#)), Reason::NoTimestamp);
}

#[test]
fn null_empty_and_absent_are_the_same_for_what_may_be_missing() {
    for more in ["", r#","patient_id":null"#, r#","patient_id":"""#] {
        assert_eq!(read(&with(more)).reading.patient, None, "{more}");
    }
    for more in [r#","name":null,"dob":"""#, r#","name":{},"dob":[1]"#] {
        let identity = read(&with(more)).identity;
        assert_eq!((identity.name, identity.dob), (None, None), "{more}");
    }
}

#[test]
fn escapes_in_ids_and_keys_are_decoded() {
    let line = r#"{"timestamp":1,"device\u005fid":"m\u00e9\n\"1\\","patient_id":"\ud83e\ude7a","pul\u0073e":3}"#;
    let reading = read(line).reading;
    assert_eq!(
        (&*reading.device, reading.patient.as_deref()),
        ("mé\n\"1\\", Some("🩺"))
    );
    assert_eq!(reading.measures[1], 3.0);
    for id in [r"\ud83e", r"\ude7a", r"\ud83e\u0041", r"\x41", "\u{1}"] {
        let line = format!(r#"{{"timestamp":1,"device_id":"{id}"}}"#);
        assert_eq!(reason(&line), Reason::NotJson, "{id}");
    }
}

#[test]
fn reasons_stand_in_a_fixed_order() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let too_deep = with(&format!(r#","text":{}"#, deep(64)));
    assert_eq!(reason(&too_deep), Reason::TooDeep, "an object around 64 arrays");
    assert_eq!(reason(&format!("{}!", deep(65))), Reason::TooDeep, "before the syntax");
    assert_eq!(reason("[]!"), Reason::NotJson);
    for text in ["[]", "1", "-1", "1.5", "\"text\"", "true", "null", "[{}]"] {
        assert_eq!(reason(text), Reason::NotObject, "{text}");
    }
    for text in [
        "",
        " ",
        "{",
        "{}}",
        "{} {}",
        "{\"a\"}",
        "{'a':1}",
        "{\"a\":1,}",
        "\u{feff}{}",
        "tru",
    ] {
        assert_eq!(reason(text), Reason::NotJson, "{text:?}");
    }
    assert_eq!(reason("{}"), Reason::NoTimestamp);
    assert_eq!(reason(r#"{"timestamp":"x"}"#), Reason::UnreadableTimestamp);
    for device in [
        "",
        r#","device_id":null"#,
        r#","device_id":"""#,
        r#","device_id":5"#,
        r#","device_id":{}"#,
    ] {
        let line = format!(r#"{{"timestamp":1508039751778{device},"patient_id":5,"pulse":"x"}}"#);
        let rejection = parse(line.as_bytes()).expect_err("no device");
        assert_eq!(
            (rejection.reason, rejection.timestamp),
            (Reason::NoDevice, Some(PAPERS_TIME)),
            "{device}"
        );
    }
    assert_eq!(
        reason(&with(r#","patient_id":5,"pulse":"x""#)),
        Reason::UnreadablePatient
    );
    let rejection = parse(with(r#","pulse":"x","temperature":"y""#).as_bytes()).expect_err("two bad measures");
    assert_eq!(rejection.timestamp, Some(PAPERS_TIME));
    assert!(
        rejection.detail.starts_with("temperature"),
        "the first measure of the settings: {rejection:?}"
    );
}

#[test]
fn size_counts_before_everything_and_the_whole_length_counts() {
    let parser = Parser::new(fields(), Zone::new(TimeZone::UTC, 1_000), 10);
    let reason = |line: &[u8], length| parser.parse(line, length, 0, "").expect_err("refused").reason;
    assert_eq!(
        reason(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11),
        Reason::TooLarge
    );
    assert_eq!(reason(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10), Reason::NotUtf8);
    assert_eq!(reason(b"{        }", 10), Reason::NoTimestamp);
}

#[test]
fn bytes_that_are_no_utf8_are_told_by_their_place() {
    let mut line = with(r#","text":"Zo"#).into_bytes();
    let valid = line.len();
    line.extend_from_slice(b"\xeb\"}"); // latin-1
    let rejection = parse(&line).expect_err("latin-1");
    assert_eq!(rejection.reason, Reason::NotUtf8);
    assert!(rejection.detail.contains(&valid.to_string()), "{}", rejection.detail);
    for wrong in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xe2\x82"] {
        let line = [&b"{\"text\":\""[..], wrong, b"\"}"].concat();
        assert_eq!(
            parse(&line).expect_err("overlong, surrogate or cut").reason,
            Reason::NotUtf8,
            "{wrong:?}"
        );
    }
}

#[test]
fn sixty_four_levels_are_read_and_brackets_in_strings_are_no_levels() {
    let arrays = |levels: usize| with(&format!(r#","text":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
    assert_eq!(read(&arrays(63)).reading.timestamp, PAPERS_TIME);
    assert_eq!(reason(&arrays(64)), Reason::TooDeep);
    let quoted = with(&format!(r#","text":"\"{}\\","pulse":5"#, "[{".repeat(200)));
    assert_eq!(read(&quoted).reading.measures[1], 5.0);
    let wide = with(&format!(r#","text":[{}{{}}]"#, "{},[],".repeat(200)));
    assert_eq!(read(&wide).reading.timestamp, PAPERS_TIME);
    assert_eq!(reason(&"[".repeat(500_000)), Reason::TooDeep);
}

#[test]
fn the_fingerprint_is_of_the_payload_without_the_blanks_around_it() {
    let print = |line: &str| read(line).reading.fingerprint;
    let line = with("");
    assert_eq!(print(&line), print(&format!(" \t{line} \r")));
    assert_ne!(print(&line), print(&with(r#","text":1"#)));
    assert_ne!(print(&line), print(&with(" ")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_give_a_reading_or_a_rejection(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&line);
    }

    #[test]
    fn any_cut_or_changed_record_gives_a_reading_or_a_rejection(
        record in random::record(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut line = record.to_string().into_bytes();
        let at = at.index(line.len());
        match cut {
            true => line.truncate(at),
            false => line[at] = byte,
        }
        let _ = parse(&line);
    }

    #[test]
    fn the_event_time_alone_is_the_one_that_the_whole_record_has(
        record in random::record(), at in any::<prop::sample::Index>(), byte in any::<u8>(), change in any::<bool>(),
    ) {
        let mut line = record.to_string().into_bytes();
        let at = at.index(line.len());
        if change {
            line[at] = byte;
        }
        let time = parser_of(fields()).event_time(&line, line.len() as u64);
        match parse(&line) {
            Ok(parsed) => prop_assert_eq!(time, Some(parsed.reading.timestamp)),
            // A value of another field may be what is no JSON.
            Err(rejection) if rejection.reason == Reason::NotJson => {}
            Err(rejection) => prop_assert_eq!(time, rejection.timestamp),
        }
    }

    #[test]
    fn the_parser_agrees_with_the_slow_reference(record in random::record()) {
        let line = record.to_string();
        let want = reference::read(&record);
        match (parse(line.as_bytes()), want) {
            (Ok(got), Ok(want)) => {
                prop_assert_eq!(bits(&got), want.measures.map(f64::to_bits), "{}", line);
                let Parsed { reading, identity } = got;
                prop_assert_eq!(reading.timestamp, want.timestamp, "{}", line);
                prop_assert_eq!(&*reading.device, want.device.as_str());
                prop_assert_eq!(reading.patient.as_deref(), want.patient.as_deref());
                prop_assert_eq!(identity.name.as_deref(), want.name.as_deref());
                prop_assert_eq!(identity.dob.as_deref(), want.dob.as_deref());
                prop_assert_eq!(reading.fingerprint, xxh3_64(line.trim().as_bytes()));
            }
            (Err(got), Err((reason, timestamp))) => {
                prop_assert_eq!((got.reason, got.timestamp), (reason, timestamp), "{}", line);
            }
            (got, want) => prop_assert!(false, "{}\n{:?}\n{:?}", line, got, want),
        }
    }

    #[test]
    fn a_rejection_never_quotes_a_value(
        record in random::full_of("CANARY"), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3,
    ) {
        let mut line = record.to_string().into_bytes();
        let at = at.index(line.len());
        match how {
            0 => line.truncate(at),
            1 => line[at] = byte,
            _ => {}
        }
        if let Err(rejection) = parse(&line) {
            let rejection = Rejection { timestamp: None, ..rejection };
            let shown = format!("{rejection:?} {} {}", rejection.detail, rejection.reason);
            prop_assert!(!shown.contains("CANARY") && !shown.contains("7353"), "{}", shown);
        }
    }
}

#[test]
fn device_and_others_may_be_levels_of_the_topic() {
    let parser = parser_of(Fields {
        device: DeviceFrom::Field("@topic/3".into()),
        patient: "@topic/2".into(),
        model: "@topic/4".into(),
        ..fields()
    });
    let line = br#"{"timestamp":1508039751778,"@topic/3":"no","patient_id":"no"}"#;
    let read = |topic: &str| parser.parse(line, line.len() as u64, 0, topic);
    let reading = read("ward/P-1/D-1/M").expect("a reading").reading;
    assert_eq!(&*reading.device, "D-1");
    assert_eq!(reading.patient.as_deref(), Some("P-1"));
    assert_eq!(reading.facts.expect("from the topic").model.as_deref(), Some("M"));
    let reading = read("ward//D-1").expect("a reading").reading;
    assert_eq!(
        (reading.patient, reading.facts.expect("as above").model.clone()),
        (None, None)
    );
    for topic in ["ward/P-1", "ward/P-1/"] {
        let rejection = read(topic).map(drop).expect_err("no device");
        assert_eq!(
            (rejection.reason, rejection.detail.as_str()),
            (Reason::NoDevice, "no @topic/3")
        );
    }
}
