//! What of a sample looks wrong, and the setting that would mend it.

use serde::Serialize;

use super::field::Seen;
use super::names::{Hint, hint, may_be};
use super::sample::{Field, Late, Sample, Unknown};
use super::times::EARLIEST;
use crate::record::{date_of, day_of};
use crate::settings::{Dataflow, FILE_STEM, WatermarkScope};

/// A share above which something that happens in every ward is too frequent: one in twenty.
const FREQUENT: u64 = 20;

/// Something that looks wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// What it is, for programs.
    pub code: &'static str,
    /// What it is and what to do, in one line.
    pub message: String,
    /// The argument of `--set` that would mend it.
    pub set: Option<String>,
}

/// A percentage for a person: never 0 for something, never 100 for less than all.
pub fn percent(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => "–".into(),
        (0, _) => "0 %".into(),
        (part, whole) if part == whole => "100 %".into(),
        (part, whole) => match 1000 * part / whole {
            0 => "< 0.1 %".into(),
            tenths => format!("{:.1} %", tenths as f64 / 10.0),
        },
    }
}

fn frequent(part: u64, whole: u64) -> bool {
    part * FREQUENT > whole
}

#[derive(Default)]
struct Warnings(Vec<Warning>);

impl Warnings {
    fn add(&mut self, code: &'static str, message: impl Into<String>) {
        self.0.push(Warning {
            code,
            message: message.into(),
            set: None,
        });
    }

    /// With the argument of `--set` at the end of the line.
    fn set(&mut self, code: &'static str, message: impl std::fmt::Display, set: String) {
        self.0.push(Warning {
            code,
            message: format!("{message}: --set '{set}'"),
            set: Some(set),
        });
    }
}

pub(super) fn warnings(sample: &Sample<'_>, late: Option<Late>, unknown: Option<&Unknown>) -> Vec<Warning> {
    let mut warnings = Warnings::default();
    if sample.records == 0 {
        warnings.add("no_records", "the input holds no records");
        return warnings.0;
    }
    quarantine(sample, &mut warnings);
    times(sample, &mut warnings);
    let (seen, _) = sample.unnamed.nameable(sample.objects);
    missing(sample, &seen, &mut warnings);
    values(sample, &mut warnings);
    unnamed(sample, &seen, &mut warnings);
    devices(sample, unknown, &mut warnings);
    order(sample, late, &mut warnings);
    warnings.0
}

fn quarantine(sample: &Sample<'_>, warnings: &mut Warnings) {
    let quarantined: u64 = sample.outcomes.quarantined.values().sum();
    let most = sample.outcomes.quarantined.iter().max_by_key(|(_, count)| **count);
    let Some((reason, count)) = most.filter(|_| frequent(quarantined, sample.records)) else {
        return;
    };
    let (share, of) = (percent(quarantined, sample.records), percent(*count, quarantined));
    let advice = match *reason {
        "not_json" | "not_utf8" | "not_object" | "too_deep" => "the input is not one JSON object a line",
        "no_timestamp" | "unreadable_timestamp" => "look at [record] timestamp, timestamp_unit and timezone",
        "no_device" => "look at [record] device",
        "unreadable_patient" => "look at [record] patient, which wants text",
        "too_large" => "raise [record] max_record_bytes, or is there no line break between records?",
        _ => "name only measures that are numbers",
    };
    warnings.add(
        "quarantine",
        format!("{share} of the records cannot be used, {of} of them for {reason}: {advice}"),
    );
}

fn times(sample: &Sample<'_>, warnings: &mut Warnings) {
    let (times, unit) = (&sample.times, sample.settings.record.timestamp_unit);
    if let Some(better) = times.better_unit(unit, sample.now) {
        return warnings.set(
            "timestamp_unit",
            format_args!(
                "timestamps are numbers that make sense in {}, and are read as {}",
                better.name(),
                unit.name()
            ),
            format!("record.timestamp_unit={}", better.name()),
        );
    }
    for (code, count, when) in [
        (
            "times_in_the_past",
            times.too_early,
            format!("before {}", date_of(day_of(EARLIEST))),
        ),
        ("times_in_the_future", times.too_late, "in the future".into()),
    ] {
        if count > 0 {
            let share = percent(count, times.count);
            let advice = "look at [record] timestamp_unit and timezone, or at the clocks of the devices";
            warnings.add(code, format!("{share} of the timestamps are {when}: {advice}"));
        }
    }
}

/// Fields that the dataflow file names and few records have.
fn missing(sample: &Sample<'_>, seen: &[&Seen], warnings: &mut Warnings) {
    for field in &sample.fields {
        if sample.objects == 0 || frequent(field.present, sample.objects) || is_optional(field) {
            continue;
        }
        let told = match field.present {
            0 => format!("no record has the {} {}", field.role, field.name),
            n => format!(
                "only {} of the records have the {} {}",
                percent(n, sample.objects),
                field.role,
                field.name
            ),
        };
        let often: Vec<&&Seen> = seen.iter().filter(|seen| 2 * seen.present > sample.objects).collect();
        let candidate = often.iter().find(|seen| stands_for(seen, field));
        match (candidate, field.role) {
            (None, "measure") => warnings.add(
                "missing_field",
                format!("{told}: take it out of [record] measures, or add an alias"),
            ),
            (None, "patient") => warnings.set(
                "missing_field",
                format_args!("{told}; if records carry none"),
                "record.patient=".into(),
            ),
            (None, _) => warnings.add("missing_field", format!("{told}: name the field in [record]")),
            (Some(seen), "measure") => warnings.set(
                "missing_field",
                format_args!("{told}, but {} looks like it", seen.path),
                format!("record.aliases.{}={}", seen.path, field.name),
            ),
            (Some(seen), role) => {
                let key = if role == "event time" { "timestamp" } else { role };
                let set = format!("record.{key}={}", seen.path);
                warnings.set(
                    "missing_field",
                    format_args!("{told}, but {} looks like it", seen.path),
                    set,
                );
            }
        }
    }
}

/// Records do without these.
fn is_optional(field: &Field) -> bool {
    matches!(field.role, "name" | "date of birth" | "manufacturer" | "model")
}

fn stands_for(seen: &Seen, field: &Field) -> bool {
    let hint = hint(&seen.path);
    match field.role {
        "event time" => seen.kind() == "times" || (hint == Hint::Time && 2 * seen.large > seen.present),
        "device" => hint == Hint::Device && seen.kind() == "text",
        "patient" => hint == Hint::Patient && seen.kind() == "text",
        _ => seen.kind() == "numbers" && may_be(&seen.path, &field.name),
    }
}

/// Fields that are there and hold what they should not.
fn values(sample: &Sample<'_>, warnings: &mut Warnings) {
    for field in &sample.fields {
        let unreadable = field.present - field.readable;
        if frequent(unreadable, field.present) && field.role != "event time" {
            let wanted = match field.role {
                "measure" => "a number",
                _ => "text",
            };
            let share = percent(unreadable, field.present);
            warnings.add(
                "unreadable_field",
                format!("{}: {share} of the values are not {wanted}", field.name),
            );
        }
        let Some((plausible, low, high)) = field.range().and_then(|range| range.plausible) else {
            continue;
        };
        let values = field.values.len() as u64;
        let outside = values - plausible;
        let (celsius, fraction) = (field.between(25.0, 45.0), field.between(0.0, 1.0));
        let name = &field.name;
        match name.as_str() {
            "temperature" if frequent(celsius, values) => {
                let share = percent(celsius, values);
                let mixed = match frequent(plausible, values) {
                    true => {
                        "and the rest not: bring them to one unit before, forests and windows cannot tell them apart"
                    }
                    false => "where °F is the convention: forests and windows work as well, in °C",
                };
                warnings.add(
                    "celsius",
                    format!("{name}: {share} of the values look like °C, {mixed}"),
                );
            }
            "oxygen_percent" if 2 * fraction > values => warnings.add(
                "fraction",
                format!("{name}: the values look like fractions of 1, not like percent"),
            ),
            _ if frequent(outside, values) => warnings.add(
                "implausible",
                format!(
                    "{name}: {} of the values are outside {low} to {high}: is it another unit or field?",
                    percent(outside, values)
                ),
            ),
            _ => {}
        }
    }
}

/// Fields that the dataflow file does not name and that somebody may miss, or be glad to see dropped.
fn unnamed(sample: &Sample<'_>, seen: &[&Seen], warnings: &mut Warnings) {
    let absent = |field: &&Field| !frequent(field.present, sample.objects);
    let is_told = |seen: &Seen| sample.fields.iter().filter(absent).any(|field| stands_for(seen, field));
    let measures: Vec<&str> = seen
        .iter()
        .filter(|seen| 2 * seen.numbers > sample.objects && 2 * seen.large < seen.present)
        .filter(|seen| hint(&seen.path) == Hint::Nothing && !is_told(seen))
        .map(|seen| seen.path.as_str())
        .collect();
    if !measures.is_empty() {
        let all = sample
            .settings
            .record
            .measures
            .iter()
            .map(String::as_str)
            .chain(measures.iter().copied());
        let list: Vec<String> = all.map(|name| toml::Value::from(name).to_string()).collect();
        let (are, them) = match measures.len() {
            1 => ("is a number", "it"),
            _ => ("are numbers", "them"),
        };
        warnings.set(
            "unmapped_measure",
            format_args!("{} {are} and dropped; to keep {them}", measures.join(", ")),
            format!("record.measures=[{}]", list.join(",")),
        );
    }
    let identities: Vec<&str> = seen
        .iter()
        .filter(|seen| hint(&seen.path) == Hint::Identity)
        .map(|seen| seen.path.as_str())
        .collect();
    if !identities.is_empty() {
        warnings.add(
            "unmapped_identity",
            format!(
                "{} look like identities and are dropped: they reach neither the tables nor the vault; only [record] name and dob go to the vault",
                identities.join(", ")
            ),
        );
    }
}

fn devices(sample: &Sample<'_>, unknown: Option<&Unknown>, warnings: &mut Warnings) {
    let settings = sample.settings;
    match unknown {
        Some(unknown) if unknown.readings > 0 => {
            let more = if unknown.devices > unknown.examples.len() as u64 {
                ", …"
            } else {
                ""
            };
            let share = percent(unknown.readings, sample.outcomes.readings);
            warnings.add(
                "unknown_devices",
                format!(
                    "{} {} not in the device collection, {share} of the readings: {}{more}",
                    unknown.devices,
                    if unknown.devices == 1 {
                        "device is"
                    } else {
                        "devices are"
                    },
                    unknown.examples.join(", ")
                ),
            );
        }
        Some(_) => {}
        None => {
            let grouped = |columns: &[String]| columns.iter().any(|c| c == "manufacturer" || c == "model");
            let needed = settings.dataflow == Dataflow::RealtimeAnalytics
                && settings.record.manufacturer.is_empty()
                && (grouped(&settings.forest.key) || settings.windows.groupings.iter().any(|g| grouped(g)));
            if needed {
                warnings.add(
                    "no_device_collection",
                    "there is no device collection: all readings share one forest and one window of no manufacturer; give it with --devices FILE",
                );
            }
        }
    }
}

fn order(sample: &Sample<'_>, late: Option<Late>, warnings: &mut Warnings) {
    let readings = sample.outcomes.readings;
    if let Some(late) = late.filter(|late| frequent(late.readings, readings)) {
        let share = percent(late.readings, readings);
        let other = percent(late.with_other_watermark, readings);
        match sample.settings.windows.watermark {
            WatermarkScope::Global => warnings.set(
                "late",
                format_args!(
                    "{share} of the readings come too late for every window; replay --merge if several files cover the same time, \
                     or a watermark for each device ({other} late then; every grouping needs device_id)"
                ),
                "windows.watermark=device".into(),
            ),
            WatermarkScope::Device => warnings.add(
                "late",
                format!("{share} of the readings come too late for every window: raise [windows] allowed_lateness or out_of_orderness, or replay --merge"),
            ),
        }
    }
    let copies = sample.outcomes.copies;
    match sample.settings.deduplicate.horizon {
        None if copies > 0 => warnings.set(
            "copies",
            format_args!(
                "{} of the readings are exact copies and are kept; to drop them",
                percent(copies, readings)
            ),
            "deduplicate.horizon=1h".into(),
        ),
        Some(_) if frequent(copies, readings + copies) => warnings.add(
            "copies",
            format!(
                "{} of the records are exact copies and are dropped: is the input given twice?",
                percent(copies, readings + copies)
            ),
        ),
        _ => {}
    }
    if sample.settings.record.device == FILE_STEM && sample.records > 0 && unused(sample) {
        warnings.add(
            "device_from_file",
            "the device is the file's name although records have a field that looks like a device",
        );
    }
}

/// Whether a field that looks like a device is in most records.
fn unused(sample: &Sample<'_>) -> bool {
    let (seen, _) = sample.unnamed.nameable(sample.objects);
    seen.iter()
        .any(|seen| hint(&seen.path) == Hint::Device && seen.kind() == "text" && 2 * seen.present > sample.objects)
}
