//! What a dataflow file does, in words: each field of a record, each step, each table.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataflows::columns;
use crate::operators::Grouping;
use crate::settings::{Adapt, Alerts, Dataflow, FILE_STEM, Settings, WatermarkScope};
use crate::sink::{Anomalies, Quarantine, Readings, Table, Windows};

/// What becomes of a field of a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedField {
    pub role: &'static str,
    /// The columns or dotted paths of a record that it is read from, aliases last; empty: of no field of a record.
    pub read_from: Vec<String>,
    pub becomes: String,
}

/// A step of the dataflow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub step: &'static str,
    pub does: String,
}

/// What a dataflow file would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub name: String,
    pub dataflow: &'static str,
    pub fields: Vec<PlannedField>,
    pub steps: Vec<Step>,
    /// Folder below the output → columns.
    pub tables: BTreeMap<&'static str, Vec<String>>,
    pub output: String,
}

impl Plan {
    pub fn of(settings: &Settings) -> Plan {
        Plan {
            name: settings.name.clone(),
            dataflow: settings.dataflow.name(),
            fields: fields(settings),
            steps: steps(settings),
            tables: tables(settings),
            output: settings.output.path.clone(),
        }
    }
}

/// A field's name and the aliases that stand for it.
pub(super) fn names_of(settings: &Settings, name: &str) -> Vec<String> {
    let aliases = settings.record.aliases.iter().filter(|(_, field)| *field == name);
    std::iter::once(name.to_owned())
        .chain(aliases.map(|(alias, _)| alias.clone()))
        .collect()
}

fn fields(settings: &Settings) -> Vec<PlannedField> {
    let record = &settings.record;
    let mut fields = Vec::new();
    let mut add = |role, name: &str, becomes: String| {
        let read_from = match name {
            "" => Vec::new(),
            name => names_of(settings, name),
        };
        fields.push(PlannedField {
            role,
            read_from,
            becomes,
        });
    };
    let (unit, zone) = (record.timestamp_unit.name(), record.timezone.name());
    add(
        "event time",
        &record.timestamp,
        format!("timestamp, and the folder's date; numbers are {unit} since 1970, times without a zone are {zone}"),
    );
    match record.device.as_str() {
        FILE_STEM => add(
            "device",
            "",
            "device_id: the input file's name without its ending".into(),
        ),
        name => add("device", name, "device_id".into()),
    }
    let none = |name: &str, becomes: &str, otherwise: &str| match name {
        "" => otherwise.to_owned(),
        _ => becomes.to_owned(),
    };
    add(
        "patient",
        &record.patient,
        none(&record.patient, "patient_id", "patient_id: always null"),
    );
    for (role, name) in [("name", &record.name), ("date of birth", &record.dob)] {
        add(
            role,
            name,
            none(name, "the vault only, sealed", "nothing: records carry none"),
        );
    }
    for measure in &record.measures {
        add("measure", measure, format!("{measure}, a number"));
    }
    for (role, name) in [("manufacturer", &record.manufacturer), ("model", &record.model)] {
        let else_collected = match (settings.dataflow, settings.devices.path.as_str()) {
            (Dataflow::SensorCollection, _) => format!("{role}: always null"),
            (_, "") => format!("{role}: always null, there is no device collection"),
            (_, path) => format!("{role}, from the device collection {path}"),
        };
        add(role, name, none(name, role, &else_collected));
    }
    if settings.dataflow != Dataflow::SensorCollection {
        for column in &settings.devices.columns {
            let path = &settings.devices.path;
            add(
                "device column",
                "",
                format!("{column}, from the device collection {path}"),
            );
        }
    }
    fields.push(PlannedField {
        role: "anything else",
        read_from: Vec::new(),
        becomes: "dropped".into(),
    });
    fields
}

fn steps(settings: &Settings) -> Vec<Step> {
    let mut steps = vec![
        Step {
            step: "select",
            does: selection(settings),
        },
        Step {
            step: "copies",
            does: match settings.deduplicate.horizon {
                Some(horizon) => {
                    format!("a record with device, time and content of one before it is dropped, within {horizon}")
                }
                None => "are kept".into(),
            },
        },
        Step {
            step: "quarantine",
            does: format!(
                "records that cannot be used, or are longer than {} bytes, sealed",
                settings.record.max_record_bytes
            ),
        },
    ];
    if settings.dataflow != Dataflow::SensorCollection {
        let does = match settings.devices.path.as_str() {
            "" => "none; give one with --devices".into(),
            path => match settings.devices.watch {
                Some(every) => {
                    format!("{path}, joined by device_id; a live run looks every {every} whether it has changed")
                }
                None => format!("{path}, joined by device_id; read at the start"),
            },
        };
        steps.push(Step { step: "devices", does });
    }
    if settings.dataflow == Dataflow::RealtimeAnalytics {
        steps.extend(analytics(settings));
    }
    steps
}

fn selection(settings: &Settings) -> String {
    let count = |ids: &[String], what: &str| match ids.len() {
        0 => format!("all {what}s"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let select = &settings.select;
    format!(
        "{}, {}",
        count(&select.patients, "patient"),
        count(&select.devices, "device")
    )
}

fn analytics(settings: &Settings) -> Vec<Step> {
    let (forest, windows) = (&settings.forest, &settings.windows);
    let score = match forest.enabled {
        false => "off: anomaly_score is null".into(),
        true => {
            let key = match forest.key.as_slice() {
                [] => "one forest for all readings".into(),
                key => format!("a forest for each {}", key.join(", ")),
            };
            let shingle = match forest.shingle {
                1 => String::new(),
                n => format!(", {n} consecutive readings of a device at once"),
            };
            format!(
                "{key}, of {} trees with {} points, over the measures{shingle}; no score before {} readings",
                forest.trees, forest.sample_size, forest.sample_size
            )
        }
    };
    let groupings: Vec<String> = windows.groupings.iter().map(|columns| columns.join(" and ")).collect();
    let whose = match windows.watermark {
        WatermarkScope::Global => "all devices together",
        WatermarkScope::Device => "each device of its own",
    };
    vec![
        Step {
            step: "scores",
            does: score,
        },
        Step {
            step: "anomalies",
            does: anomalies(&settings.alerts),
        },
        Step {
            step: "windows",
            does: format!(
                "{} of event time by {}{}",
                windows.size,
                groupings.join(", and by "),
                if windows.score { ", scored" } else { "" }
            ),
        },
        Step {
            step: "lateness",
            does: format!(
                "the watermark ({whose}) stays {} behind the newest reading; up to {} later a reading revises its window, then it is late",
                windows.out_of_orderness, windows.allowed_lateness
            ),
        },
    ]
}

fn anomalies(alerts: &Alerts) -> String {
    let Alerts {
        threshold, rate, grade, ..
    } = alerts;
    let mut text = match alerts.adapt {
        Adapt::None => format!("readings with a score of {threshold} or more"),
        Adapt::Rate => {
            format!("the strangest of each key, {rate} of its readings; at first a score of {threshold} or more")
        }
        Adapt::Grade => {
            format!("readings of grade {grade} among those of their key; at first a score of {threshold} or more")
        }
    };
    for (measure, (low, high)) in &alerts.ranges {
        text += &format!("; {measure} below {low} or above {high}");
    }
    text
}

fn tables(settings: &Settings) -> BTreeMap<&'static str, Vec<String>> {
    fn columns_of<T: Table>(table: &T) -> (&'static str, Vec<String>) {
        let schema = table.schema();
        (
            T::NAME,
            schema.fields().iter().map(|field| field.name().clone()).collect(),
        )
    }
    let columns = columns(settings);
    let mut tables = BTreeMap::from([
        columns_of(&Readings::new(columns.clone())),
        columns_of(&Quarantine::new()),
    ]);
    if settings.dataflow == Dataflow::RealtimeAnalytics {
        let names = |columns: &Vec<String>| Some(Grouping::new(columns, &settings.devices.columns)?.name);
        let groupings = settings.windows.groupings.iter().filter_map(names).collect();
        tables.extend([
            columns_of(&Windows::new(&columns, groupings)),
            columns_of(&Anomalies::new(columns)),
        ]);
    }
    tables
}
