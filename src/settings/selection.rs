//! `[select]` and `[deduplicate]`: which records go on.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::reader::{Checked, Section, duration_or_off, fault, text};
use super::tree::{Node, quoted};
use super::{Micros, Record};
use crate::record::{EventTime, Zone};

/// Empty lists select everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Select {
    /// Patients whose records are kept.
    pub patients: Vec<String>,
    /// Devices whose records are kept.
    pub devices: Vec<String>,
    /// Event time from which on records are kept; empty: from the first.
    pub from: String,
    /// Event time before which records are kept; empty: to the last.
    pub to: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deduplicate {
    /// How far back a copy of a record is recognised; none: copies are kept.
    pub horizon: Option<Micros>,
}

impl Default for Deduplicate {
    fn default() -> Self {
        Deduplicate {
            horizon: Some(Micros::HOUR),
        }
    }
}

impl Select {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Select {
        Select {
            patients: section.texts("patients", Vec::new()),
            devices: section.texts("devices", Vec::new()),
            from: section.read("from", String::new(), time),
            to: section.read("to", String::new(), time),
        }
    }

    /// The first event time that is kept; `None`: all.
    pub fn from(&self, record: &Record) -> Option<EventTime> {
        record.zone().of_text(&self.from)
    }

    /// The event time from which on nothing is kept; `None`: all.
    pub fn to(&self, record: &Record) -> Option<EventTime> {
        record.zone().of_text(&self.to)
    }
}

impl Deduplicate {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Deduplicate {
        let horizon = Deduplicate::default().horizon;
        Deduplicate {
            horizon: section.read("horizon", horizon, |node| duration_or_off(node, Micros(1))),
        }
    }
}

/// A time as records have it, or nothing.
fn time(node: &Node) -> Checked<String> {
    let text = text(node)?.trim().to_owned();
    // Zone and unit of the records may still change which time it is, never whether it is one.
    match text.is_empty() || Zone::new(TimeZone::UTC, 1_000_000).of_text(&text).is_some() {
        true => Ok(text),
        false => fault(
            node,
            format!(
                "{} is no time; write it as \"2017-10-15T03:55:51\" or, for midnight, \"2017-10-15\"",
                quoted(&text)
            ),
        ),
    }
}
