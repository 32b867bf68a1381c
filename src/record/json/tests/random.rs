//! Random records: JSON as a tree that keeps the order of keys, their repetitions and the digits of numbers.

use std::fmt;

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Truth(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

use Json::{Array, Null, Number, Object, Text, Truth};

/// As JSON; some characters are escaped that need not be.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Null => f.write_str("null"),
            Truth(truth) => write!(f, "{truth}"),
            Number(digits) => f.write_str(digits),
            Text(text) => quote(text, f),
            Array(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Object(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if i > 0 { " ,\t" } else { "" })?;
                    quote(key, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            'e' => f.write_str("\\u0065")?,
            c if c.is_control() || u32::from(c) > 0xffff => {
                c.encode_utf16(&mut [0; 2])
                    .iter()
                    .try_for_each(|unit| write!(f, "\\u{unit:04X}"))?;
            }
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

fn number() -> impl Strategy<Value = Json> {
    prop_oneof![
        4 => (-300i32..300).prop_map(|n| n.to_string()),
        4 => any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        2 => any::<i64>().prop_map(|n| n.to_string()),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
        1 => prop::sample::select(vec!["-0", "-0.0", "1e39", "-3.4028236e38", "1E+2", "1e400", "-1e999", "0.1e-500"])
            .prop_map(str::to_owned),
    ]
    .prop_map(Number)
}

fn text() -> impl Strategy<Value = Json> {
    prop_oneof![
        2 => number().prop_map(|n| n.to_string()),
        2 => "[a-zé\\\\\"\u{1F600}\n ]{0,6}",
        1 => number().prop_map(|n| format!(" {n}\t")),
        1 => prop::sample::select(vec!["NaN", "inf", "-infinity", "", " ", "[", "}}"]).prop_map(str::to_owned),
    ]
    .prop_map(Text)
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![3 => number(), 2 => text(), 1 => Just(Null), 1 => any::<bool>().prop_map(Truth)]
}

fn any_json() -> impl Strategy<Value = Json> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Array),
            proptest::collection::vec(("[a-z.]{0,4}", inner), 0..4).prop_map(Object),
        ]
    })
}

/// Times around our days, in the forms of the contract, and some that are none.
fn timestamp() -> impl Strategy<Value = Json> {
    let millis = -2_000_000_000_000i64..4_000_000_000_000;
    let iso = (1890i32..2110, 1u8..13, 1u8..29, 0u8..24, 0u8..60, 0u8..60);
    let iso = (
        iso,
        0u32..1_000_000,
        prop::sample::select(vec!["", "Z", "+00:00", "-05:30", "+14:00"]),
        0..3,
    );
    prop_oneof![
        4 => millis.clone().prop_map(|n| Number(n.to_string())),
        2 => millis.prop_map(|n| Text(n.to_string())),
        4 => iso.prop_map(|((y, mo, d, h, mi, s), micros, zone, form)| {
            let fraction = match form {
                0 => String::new(),
                1 => format!(".{:03}", micros / 1000),
                _ => format!(".{micros:06}"),
            };
            Text(format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{fraction}{zone}"))
        }),
        1 => any_json(),
    ]
}

fn key(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(names).prop_map(str::to_owned)
}

fn entry() -> impl Strategy<Value = (String, Json)> {
    prop_oneof![
        1 => (key(&["timestamp"]), timestamp()),
        1 => (key(&["device_id", "patient_id", "PatientID", "name", "dob"]), prop_oneof![3 => text(), 1 => any_json()]),
        4 => (
            key(&["temperature", "Temp", "body.temp", "pulse", "vitals.systolic"]),
            prop_oneof![6 => (-300i32..300).prop_map(|n| Number(n.to_string())), 2 => scalar(), 1 => any_json()],
        ),
        1 => (key(&["text", "manufacturer", "systolic", "Timestamp", ""]), any_json()),
        1 => (key(&["vitals"]), inside("systolic")),
        1 => (key(&["body"]), inside("temp")),
    ]
}

/// What stands where a path leads through: mostly an object with the path's next key.
fn inside(name: &'static str) -> impl Strategy<Value = Json> {
    let entry = (prop_oneof![Just(name.to_owned()), Just("other".to_owned())], scalar());
    prop_oneof![4 => proptest::collection::vec(entry, 0..3).prop_map(Object), 1 => any_json()]
}

/// Objects that mostly are good records, with keys in any order, repeated and missing.
pub(super) fn record() -> impl Strategy<Value = Json> {
    let needed = (
        proptest::option::weighted(0.95, timestamp()),
        proptest::option::weighted(0.95, "[a-zé\"]{1,30}"),
    );
    let entries = proptest::collection::vec(entry(), 0..8);
    let object = (needed, entries, any::<prop::sample::Index>()).prop_map(|((time, device), mut entries, at)| {
        let at = at.index(entries.len() + 1);
        entries.splice(at..at, device.map(|id| ("device_id".to_owned(), Text(id))));
        entries.splice(0..0, time.map(|time| ("timestamp".to_owned(), time)));
        Object(entries)
    });
    prop_oneof![30 => object, 1 => any_json()]
}

/// Records in which every value but the time, and every key that no field has, holds a `canary`; 7353 stands for it in numbers.
pub(super) fn full_of(canary: &'static str) -> impl Strategy<Value = Json> {
    record().prop_map(move |json| marked(json, canary))
}

fn marked(json: Json, canary: &str) -> Json {
    match json {
        Null | Truth(_) => Text(canary.into()),
        Number(digits) if digits.starts_with('-') => Number("-7353".into()),
        Number(digits) => Number(format!("7353{}", digits.replace(['.', '-', 'e', 'E', '+'], ""))),
        Text(text) => Text(format!("{text}{canary}{text}")),
        Array(values) => Array(values.into_iter().map(|value| marked(value, canary)).collect()),
        Object(entries) => {
            let entry = |(key, value): (String, Json)| match key.as_str() {
                "timestamp" => (key, value), // not secret, and an unreadable one would hide the values behind it
                "" | "text" | "other" => (canary.to_owned(), marked(value, canary)),
                _ => (key, marked(value, canary)),
            };
            Object(entries.into_iter().map(entry).collect())
        }
    }
}
