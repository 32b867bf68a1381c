//! Takes a sample of records and counts.

use std::collections::{BTreeMap, HashMap, HashSet};

use compact_str::CompactString;
use serde::Serialize;
use serde_json::{Map, Value};

use super::advice::{self, Warning};
use super::field::{Unnamed, leaves, value_at};
use super::plan::names_of;
use super::times::Times;
use crate::dataflows::{parser, watermark_rules};
use crate::devices::Collection;
use crate::operators::{Copies, Lateness};
use crate::record::{DeviceId, EventTime, Known, Parser, Reading, Reason, Zone, measure_of};
use crate::settings::{Dataflow, FILE_STEM, Micros, Settings, WatermarkScope};
use crate::source;

/// Ids of unknown devices that are told.
const EXAMPLES: usize = 5;
/// Within what a living patient's measures lie, as far as a monitor can tell: °F, /min, %, mmHg, mmHg.
const PLAUSIBLE: [(&str, f64, f64); 5] = [
    ("temperature", 86.0, 113.0),
    ("pulse", 20.0, 250.0),
    ("oxygen_percent", 50.0, 100.0),
    ("systolic", 50.0, 260.0),
    ("diastolic", 20.0, 160.0),
];

/// What was found in a sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    pub records: u64,
    /// Whether the input goes on behind the sample.
    pub input_goes_on: bool,
    /// Records that are JSON objects: what the shares of the fields are of.
    pub objects: u64,
    pub outcomes: Outcomes,
    /// First and last date of the event times, UTC.
    pub dates: Option<(String, String)>,
    pub fields: Vec<Mapped>,
    /// Fields that the dataflow file does not name, the most frequent first.
    pub unmapped: Vec<Unmapped>,
    /// Further fields, of so few records or with such names that they are not told by name.
    pub further_unmapped: u64,
    /// Readings of devices that the device collection does not know; none: there is no collection.
    pub unknown_devices: Option<Unknown>,
    /// None: the dataflow has no windows.
    pub late: Option<Late>,
    pub warnings: Vec<Warning>,
}

/// What becomes of the records: records = readings + not_selected + duplicates + all quarantined.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcomes {
    pub readings: u64,
    pub not_selected: u64,
    /// Copies that are dropped.
    pub duplicates: u64,
    /// Copies that there are, also where they are kept.
    pub copies: u64,
    pub quarantined: BTreeMap<&'static str, u64>,
}

/// A field that the dataflow file names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mapped {
    pub role: &'static str,
    pub name: String,
    /// Objects in which it is neither absent nor null.
    pub present: u64,
    /// Of those, where it can be read in its role.
    pub readable: u64,
    /// Of a measure that was read at all.
    pub range: Option<Range>,
}

/// The values of a measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Range {
    pub min: f64,
    /// The lower one of two in the middle.
    pub median: f64,
    pub max: f64,
    /// Values that are physiologically plausible, and between which bounds; of the default measures only.
    pub plausible: Option<(u64, f64, f64)>,
}

/// A field that the dataflow file does not name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unmapped {
    pub name: String,
    pub present: u64,
    pub holds: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unknown {
    pub readings: u64,
    pub devices: u64,
    pub examples: Vec<String>,
}

/// Readings that are in no window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Late {
    pub readings: u64,
    /// The same if `windows.watermark` were the other one.
    pub with_other_watermark: u64,
}

/// A named field while it is being looked for.
pub(super) struct Field {
    pub(super) role: &'static str,
    pub(super) name: String,
    names: Vec<String>,
    pub(super) present: u64,
    pub(super) readable: u64,
    pub(super) values: Vec<f64>,
}

/// A sample while it is being taken.
pub struct Sample<'s> {
    pub(super) settings: &'s Settings,
    /// Today, for times that cannot be.
    pub(super) now: EventTime,
    parser: Parser,
    zone: Zone,
    patients: HashSet<&'s str>,
    devices: HashSet<&'s str>,
    copies: Copies,
    lateness: [Lateness; 2],
    collection: Option<HashMap<DeviceId, Known>>,
    pub(super) records: u64,
    pub(super) objects: u64,
    pub(super) outcomes: Outcomes,
    pub(super) fields: Vec<Field>,
    pub(super) unnamed: Unnamed,
    pub(super) times: Times,
    unknown: HashMap<CompactString, u64>,
    late: [u64; 2],
}

impl<'s> Sample<'s> {
    /// `now` in microseconds since 1970: what lies behind it is in the future.
    pub fn new(settings: &'s Settings, collection: Option<Collection>, now: EventTime) -> Sample<'s> {
        let rules = watermark_rules(&settings.windows);
        let per_device = settings.windows.watermark == WatermarkScope::Device;
        let set = |ids: &'s [String]| ids.iter().map(String::as_str).collect();
        Sample {
            settings,
            now,
            parser: parser(&settings.record),
            zone: settings.record.zone(),
            patients: set(&settings.select.patients),
            devices: set(&settings.select.devices),
            copies: Copies::new(settings.deduplicate.horizon.unwrap_or(Micros::HOUR).0),
            lateness: [per_device, !per_device].map(|per_device| Lateness::new(rules, per_device)),
            collection: collection.map(|devices| devices.into_devices().collect()),
            records: 0,
            objects: 0,
            outcomes: Outcomes::default(),
            fields: fields(settings),
            unnamed: Unnamed::default(),
            times: Times::default(),
            unknown: HashMap::new(),
            late: [0; 2],
        }
    }

    /// Takes the next record of the input.
    pub fn take(&mut self, record: &source::Record<'_>) {
        self.records += 1;
        let parsed = record.read(&self.parser);
        let is_object = !parsed.as_ref().is_err_and(|rejection| {
            matches!(
                rejection.reason,
                Reason::TooLarge | Reason::NotUtf8 | Reason::NotJson | Reason::NotObject | Reason::TooDeep
            )
        });
        if is_object && let Ok(object) = serde_json::from_slice::<Map<String, Value>>(record.bytes) {
            self.look_into(&object);
        }
        match parsed {
            Ok(parsed) => self.follow(&parsed.reading),
            Err(rejection) => *self.outcomes.quarantined.entry(rejection.reason.code()).or_default() += 1,
        }
    }

    fn look_into(&mut self, object: &Map<String, Value>) {
        self.objects += 1;
        for field in &mut self.fields {
            let found = field.names.iter().find_map(|name| value_at(object, name));
            let Some(value) = found else { continue };
            field.present += 1;
            let text = || value.as_str().is_some_and(|text| !text.is_empty());
            let readable = match field.role {
                "event time" => {
                    if let Some(number) = measure_or_large(value) {
                        self.times.take_number(number);
                    }
                    let time = self.zone.time_of(value);
                    time.into_iter().for_each(|time| self.times.take(time, self.now));
                    time.is_some()
                }
                "measure" => {
                    let number = measure_of(value);
                    field.values.extend(number);
                    number.is_some()
                }
                "device" | "patient" => text(),
                _ => text() || value.is_i64(),
            };
            field.readable += u64::from(readable);
        }
        let (fields, unnamed, zone) = (&self.fields, &mut self.unnamed, &self.zone);
        leaves(object, &mut |path, value| {
            let is_named = fields.iter().flat_map(|field| &field.names).any(|name| name == path);
            if !is_named {
                unnamed.take(path, value, zone);
            }
        });
    }

    /// Where a reading goes, as the dataflow would have it.
    fn follow(&mut self, reading: &Reading) {
        let wanted = (self.devices.is_empty() || self.devices.contains(&**reading.device.text()))
            && (self.patients.is_empty()
                || reading
                    .patient
                    .as_ref()
                    .is_some_and(|id| self.patients.contains(id.as_str())));
        if !wanted {
            self.outcomes.not_selected += 1;
            return;
        }
        if !self.copies.is_new(reading) {
            self.outcomes.copies += 1;
            if self.settings.deduplicate.horizon.is_some() {
                self.outcomes.duplicates += 1;
                return;
            }
        }
        self.outcomes.readings += 1;
        let is_unknown = |known: &HashMap<DeviceId, Known>| {
            let known = known.get(&reading.device);
            reading.facts.is_none() && known.and_then(|known| known.at(reading.timestamp)).is_none()
        };
        if self.collection.as_ref().is_some_and(is_unknown) {
            *self.unknown.entry(reading.device.text().clone()).or_default() += 1;
        }
        for (lateness, late) in self.lateness.iter_mut().zip(&mut self.late) {
            *late += u64::from(lateness.is_late(reading));
        }
    }

    /// What was found. `input_goes_on`: there are records behind the last one taken.
    pub fn finish(mut self, input_goes_on: bool) -> Coverage {
        for field in &mut self.fields {
            field.values.sort_by(f64::total_cmp);
        }
        let has_windows = self.settings.dataflow == Dataflow::RealtimeAnalytics;
        let late = has_windows.then_some(Late {
            readings: self.late[0],
            with_other_watermark: self.late[1],
        });
        let unknown_devices = self.collection.as_ref().map(|_| unknown(&self.unknown));
        let warnings = advice::warnings(&self, late, unknown_devices.as_ref());
        let (unmapped, further_unmapped) = self.unnamed.nameable(self.objects);
        let unmapped = unmapped.into_iter().map(|seen| Unmapped {
            name: seen.path.clone(),
            present: seen.present,
            holds: seen.kind(),
        });
        Coverage {
            records: self.records,
            input_goes_on,
            objects: self.objects,
            dates: self.times.dates(),
            unmapped: unmapped.collect(),
            further_unmapped,
            fields: self.fields.iter().map(Field::found).collect(),
            outcomes: self.outcomes,
            unknown_devices,
            late,
            warnings,
        }
    }
}

fn fields(settings: &Settings) -> Vec<Field> {
    let record = &settings.record;
    let single = [
        ("event time", &record.timestamp),
        ("device", &record.device),
        ("patient", &record.patient),
        ("name", &record.name),
        ("date of birth", &record.dob),
        ("manufacturer", &record.manufacturer),
        ("model", &record.model),
    ];
    let (before, after) = single.split_at(5);
    let measures = record.measures.iter().map(|name| ("measure", name));
    let all = before.iter().copied().chain(measures).chain(after.iter().copied());
    all.filter(|(role, name)| !name.is_empty() && (*role != "device" || *name != FILE_STEM))
        .map(|(role, name)| Field {
            role,
            name: name.clone(),
            names: names_of(settings, name),
            present: 0,
            readable: 0,
            values: Vec::new(),
        })
        .collect()
}

/// A number, quoted or not.
fn measure_or_large(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn unknown(readings: &HashMap<CompactString, u64>) -> Unknown {
    let mut devices: Vec<(&CompactString, &u64)> = readings.iter().collect();
    devices.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    Unknown {
        readings: readings.values().sum(),
        devices: devices.len() as u64,
        examples: devices.iter().take(EXAMPLES).map(|(id, _)| shown(id)).collect(),
    }
}

/// An id on a screen: nothing in it takes hold of the terminal.
fn shown(id: &str) -> String {
    let short: String = id.chars().take(64).collect();
    short
        .chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

impl Field {
    fn found(&self) -> Mapped {
        Mapped {
            role: self.role,
            name: self.name.clone(),
            present: self.present,
            readable: self.readable,
            range: self.range(),
        }
    }

    /// Of values in order.
    pub(super) fn range(&self) -> Option<Range> {
        let (min, max) = (*self.values.first()?, *self.values.last()?);
        let plausible = PLAUSIBLE.iter().find(|(name, ..)| *name == self.name);
        Some(Range {
            min,
            median: self.values[(self.values.len() - 1) / 2],
            max,
            plausible: plausible.map(|(_, low, high)| (self.between(*low, *high), *low, *high)),
        })
    }

    pub(super) fn between(&self, low: f64, high: f64) -> u64 {
        self.values.iter().filter(|value| (low..=high).contains(*value)).count() as u64
    }
}
