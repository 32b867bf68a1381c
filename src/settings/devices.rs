//! `[devices]`: the device collection that readings are joined with.

use serde::Serialize;

use super::Micros;
use super::alerts::share;
use super::reader::{Section, duration_or_off};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Devices {
    /// The collection's file; empty: there is none, manufacturer and model are null.
    pub path: String,
    /// Further columns of the collection that readings carry.
    pub columns: Vec<String>,
    /// How often a live run looks whether the file has changed; none: it is read at the start only.
    pub watch: Option<Micros>,
    /// The share of the devices that may be gone from a new version, 0 to 1; one in which more are gone is refused.
    pub max_loss: f64,
    /// What the replay of a journal joins with.
    pub history: DeviceHistory,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceHistory {
    /// The versions that the live run had, each from its epoch on.
    Recorded,
    /// The file as it is now.
    File,
}

impl Default for Devices {
    fn default() -> Self {
        Devices {
            path: String::new(),
            columns: Vec::new(),
            watch: Some(Micros(2 * Micros::SECOND.0)),
            max_loss: 0.5,
            history: DeviceHistory::Recorded,
        }
    }
}

impl Devices {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Devices {
        let default = Devices::default();
        let histories = [("recorded", DeviceHistory::Recorded), ("file", DeviceHistory::File)];
        Devices {
            path: section.text("path", default.path),
            columns: section.texts("columns", default.columns),
            watch: section.read("watch", default.watch, |node| duration_or_off(node, Micros(1))),
            max_loss: section.read("max_loss", default.max_loss, |node| {
                share(node, |x| (0.0..=1.0).contains(&x), "a number from 0 to 1")
            }),
            history: section.choice("history", &histories, default.history),
        }
    }
}
