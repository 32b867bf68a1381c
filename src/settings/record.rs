//! `[record]`: where in an input record each field is found, and how its time is read.

use std::collections::BTreeMap;

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Serialize, Serializer};

use super::mistake::nearest;
use super::reader::{Checked, Section, all, fault, filled_text, text, texts};
use super::tree::{Node, Value, quoted};
use crate::record::{Zone, topic_level};

const MOST_MEASURES: usize = 64;

/// The value of `record.device` that stands for the stem of the input file's name.
pub const FILE_STEM: &str = "@file";

/// Fields are named by a column, or by a dotted path into nested objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Event time.
    pub timestamp: String,
    /// The device, or [`FILE_STEM`]. This, patient, manufacturer and model may also be a level of an MQTT topic: `@topic/3`.
    pub device: String,
    /// The patient; empty: records carry none.
    pub patient: String,
    /// The patient's name; empty: records carry none.
    pub name: String,
    /// The patient's date of birth; empty: records carry none.
    pub dob: String,
    /// The measures, 1 to 64, in the order of the output's columns.
    pub measures: Vec<String>,
    /// Further names that a record may use: input column or dotted path → one of the fields above or below.
    pub aliases: BTreeMap<String, String>,
    /// Unit of timestamps that are numbers.
    pub timestamp_unit: TimestampUnit,
    /// Zone of timestamps that name none.
    pub timezone: Timezone,
    /// Records of more bytes than this go to quarantine.
    pub max_record_bytes: usize,
    /// The manufacturer; empty: it comes from the device collection.
    pub manufacturer: String,
    /// The model; empty: it comes from the device collection.
    pub model: String,
}

impl Default for Record {
    fn default() -> Self {
        let measures = ["temperature", "pulse", "oxygen_percent", "systolic", "diastolic"];
        Record {
            timestamp: "timestamp".into(),
            device: "device_id".into(),
            patient: "patient_id".into(),
            name: "name".into(),
            dob: "dob".into(),
            measures: measures.map(String::from).into(),
            aliases: BTreeMap::new(),
            timestamp_unit: TimestampUnit::Milliseconds,
            timezone: Timezone::utc(),
            max_record_bytes: 1 << 20,
            manufacturer: String::new(),
            model: String::new(),
        }
    }
}

/// Unit of a timestamp that is a number since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TimestampUnit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl TimestampUnit {
    /// Units in one second.
    pub const fn per_second(self) -> i64 {
        match self {
            TimestampUnit::Seconds => 1,
            TimestampUnit::Milliseconds => 1_000,
            TimestampUnit::Microseconds => 1_000_000,
            TimestampUnit::Nanoseconds => 1_000_000_000,
        }
    }

    /// As the setting is written.
    pub const fn name(self) -> &'static str {
        match self {
            TimestampUnit::Seconds => "s",
            TimestampUnit::Milliseconds => "ms",
            TimestampUnit::Microseconds => "us",
            TimestampUnit::Nanoseconds => "ns",
        }
    }
}

/// A time zone that is known to exist: of the database built into the program, so that every machine reads the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct Timezone {
    name: String,
    zone: TimeZone,
}

impl Timezone {
    fn utc() -> Timezone {
        Timezone {
            name: "UTC".into(),
            zone: TimeZone::UTC,
        }
    }

    /// As the setting is written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone itself.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// As its name.
impl Serialize for Timezone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl Record {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Record {
        let default = Record::default();
        let units = [
            TimestampUnit::Seconds,
            TimestampUnit::Milliseconds,
            TimestampUnit::Microseconds,
            TimestampUnit::Nanoseconds,
        ]
        .map(|unit| (unit.name(), unit));
        Record {
            timestamp: section.read("timestamp", default.timestamp, |node| not_topic(node, filled_text)),
            device: section.read("device", default.device, device),
            patient: section.read("patient", default.patient, or_topic),
            name: section.read("name", default.name, |node| not_topic(node, text)),
            dob: section.read("dob", default.dob, |node| not_topic(node, text)),
            measures: section.read("measures", default.measures, measures),
            aliases: section.read("aliases", default.aliases, aliases),
            timestamp_unit: section.choice("timestamp_unit", &units, default.timestamp_unit),
            timezone: section.read("timezone", default.timezone, timezone),
            max_record_bytes: section.size("max_record_bytes", 1 << 10..=64 << 20, default.max_record_bytes as u64)
                as usize,
            manufacturer: section.read("manufacturer", default.manufacturer, or_topic),
            model: section.read("model", default.model, or_topic),
        }
    }

    /// How times are read.
    pub fn zone(&self) -> Zone {
        Zone::new(self.timezone.zone().clone(), self.timestamp_unit.per_second())
    }

    /// The fields that are read from a record besides the measures: key in `[record]` and configured name.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("timestamp", &self.timestamp),
            ("device", &self.device),
            ("patient", &self.patient),
            ("name", &self.name),
            ("dob", &self.dob),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
        ]
        .into_iter()
        .filter(|(key, name)| !name.is_empty() && (*key != "device" || *name != FILE_STEM))
        .filter(|(_, name)| topic_level(name).is_none())
        .map(|(key, name)| (key, name.as_str()))
    }

    /// What comes from the MQTT topic: key in `[record]`, setting, and level from 1.
    pub fn of_topic(&self) -> impl Iterator<Item = (&'static str, &str, usize)> {
        [
            ("device", &self.device),
            ("patient", &self.patient),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
        ]
        .into_iter()
        .filter_map(|(key, name)| Some((key, name.as_str(), topic_level(name)?)))
    }
}

fn device(node: &Node) -> Checked<String> {
    let name = filled_text(node)?;
    match name.starts_with('@') && name != FILE_STEM && topic_level(&name).is_none() {
        true if looks_like_topic(&name) => no_level(node, &name),
        true => fault(
            node,
            format!("there is no {}; did you mean {FILE_STEM:?}?", quoted(&name)),
        ),
        false => Ok(name),
    }
}

fn looks_like_topic(name: &str) -> bool {
    name.starts_with("@topic")
}

fn no_level<T>(node: &Node, name: &str) -> Checked<T> {
    fault(
        node,
        format!(
            "{} is no level of a topic; write \"@topic/1\" for its first level",
            quoted(name)
        ),
    )
}

/// A field, or a level of the topic.
fn or_topic(node: &Node) -> Checked<String> {
    let name = text(node)?;
    match looks_like_topic(&name) && topic_level(&name).is_none() {
        true => no_level(node, &name),
        false => Ok(name),
    }
}

/// A field that no topic holds.
fn not_topic(node: &Node, check: fn(&Node) -> Checked<String>) -> Checked<String> {
    let name = check(node)?;
    match looks_like_topic(&name) {
        true => fault(
            node,
            "only device, patient, manufacturer and model can come from the topic; name a field of the record",
        ),
        false => Ok(name),
    }
}

fn measures(node: &Node) -> Checked<Vec<String>> {
    let names = texts(node)?;
    match names.len() {
        1..=MOST_MEASURES => Ok(names),
        n => fault(node, format!("wants 1 to {MOST_MEASURES} measures; found {n}")),
    }
}

fn aliases(node: &Node) -> Checked<BTreeMap<String, String>> {
    if !matches!(node.value, Value::Table(_)) {
        let found = node.value.describe();
        return fault(
            node,
            format!("wants a table, as {{ Temp = \"temperature\" }}; found {found}"),
        );
    }
    let entries = alias_entries(node);
    let fields = all(entries.iter().map(|(input, entry)| match input.as_str() {
        "" => fault(entry, "the name of an alias must not be empty"),
        _ => filled_text(entry),
    }))?;
    let inputs = entries.into_iter().map(|(input, _)| input);
    Ok(inputs.zip(fields).collect())
}

/// The entries of a table of aliases by input column or dotted path, which may be written as nested tables, as TOML does.
pub(super) fn alias_entries(table: &Node) -> Vec<(String, &Node)> {
    let Value::Table(entries) = &table.value else {
        return Vec::new();
    };
    let nested = |(key, entry)| -> Vec<(String, &Node)> {
        let (key, entry): (&String, &Node) = (key, entry);
        match entry.value {
            Value::Table(_) => alias_entries(entry)
                .into_iter()
                .map(|(rest, leaf)| (format!("{key}.{rest}"), leaf))
                .collect(),
            _ => vec![(key.clone(), entry)],
        }
    };
    entries.iter().flat_map(nested).collect()
}

/// `UTC`, a name of the IANA database, or an offset such as `+02:00`.
fn timezone(node: &Node) -> Checked<Timezone> {
    let name = text(node)?;
    if name == "UTC" {
        return Ok(Timezone::utc());
    }
    let database = TimeZoneDatabase::bundled();
    let zone = match name.starts_with(['+', '-']) {
        true => DateTimeParser::new().parse_time_zone_with(&database, &name).ok(),
        false => database.get(&name).ok(),
    };
    if let Some(zone) = zone {
        return Ok(Timezone { name, zone });
    }
    let names: Vec<String> = database.available().map(|n| n.as_str().to_owned()).collect();
    let advice = match nearest(&name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "write \"UTC\", a name such as \"Europe/Berlin\", or an offset such as \"+02:00\"".into(),
    };
    fault(node, format!("there is no time zone {}; {advice}", quoted(&name)))
}
