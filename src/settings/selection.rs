//! `[select]` and `[deduplicate]`: which records go on.

use serde::Serialize;

use super::Micros;
use super::reader::{Checked, Section, duration};
use super::tree::{Node, Value};

/// Empty lists select everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Select {
    /// Patients whose records are kept.
    pub patients: Vec<String>,
    /// Devices whose records are kept.
    pub devices: Vec<String>,
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
        }
    }
}

impl Deduplicate {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Deduplicate {
        let horizon = Deduplicate::default().horizon;
        Deduplicate {
            horizon: section.read("horizon", horizon, horizon_or_off),
        }
    }
}

fn horizon_or_off(node: &Node) -> Checked<Option<Micros>> {
    if matches!(&node.value, Value::Text(text) if text == "off") {
        return Ok(None);
    }
    duration(node, Micros(1)).map(Some).map_err(|mut faults| {
        for fault in &mut faults {
            fault.reason += ", or \"off\"";
        }
        faults
    })
}
