//! `[alerts]`: when a reading is an anomaly.

use serde::Serialize;

use super::reader::Section;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alerts {
    /// A reading is anomalous at this score or above; finite, more than zero.
    pub threshold: f64,
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts { threshold: 2.0 }
    }
}

impl Alerts {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Alerts {
        Alerts {
            threshold: section.positive("threshold", Alerts::default().threshold),
        }
    }
}
