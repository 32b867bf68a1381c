//! `[devices]`: the device collection that readings are joined with.

use serde::Serialize;

use super::reader::Section;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Devices {
    /// The collection's file; empty: there is none, manufacturer and model are null.
    pub path: String,
    /// Further columns of the collection that readings carry.
    pub columns: Vec<String>,
}

impl Devices {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Devices {
        Devices {
            path: section.text("path", String::new()),
            columns: section.texts("columns", Vec::new()),
        }
    }
}
