//! Keys made of a reading's columns: what forests and windows are kept by.

use compact_str::CompactString;

use crate::record::{Key, Reading};

/// A column of a reading that can be part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Manufacturer,
    Model,
    Device,
    Patient,
    /// A further column of the device collection, by its place in `devices.columns`.
    Further(usize),
}

/// The columns of a key, in order.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// As in the output: the columns' names, joined by commas.
    pub name: String,
    columns: Vec<Column>,
}

impl Grouping {
    /// Resolves column names; `further` are the further columns of the device collection. `None` for a name that is none.
    pub fn new(names: &[String], further: &[String]) -> Option<Grouping> {
        let column = |name: &String| match name.as_str() {
            "manufacturer" => Some(Column::Manufacturer),
            "model" => Some(Column::Model),
            "device_id" => Some(Column::Device),
            "patient_id" => Some(Column::Patient),
            _ => further.iter().position(|f| f == name).map(Column::Further),
        };
        Some(Grouping {
            name: names.join(","),
            columns: names.iter().map(column).collect::<Option<_>>()?,
        })
    }

    /// The key of a reading. Several columns are joined by commas, with `\` before a comma or a backslash of a value
    /// and `\N` for null, so that different values never make the same key.
    pub fn key(&self, reading: &Reading) -> Key {
        match self.columns.as_slice() {
            [column] => value(*column, reading).cloned(),
            columns => {
                let mut key = CompactString::default();
                for (i, column) in columns.iter().enumerate() {
                    if i > 0 {
                        key.push(',');
                    }
                    escape(value(*column, reading), &mut key);
                }
                Some(key)
            }
        }
    }
}

/// A key as bytes, null apart from every text: what seeds a random stream.
pub(super) fn key_bytes(key: &Key) -> Vec<u8> {
    match key {
        None => vec![0],
        Some(text) => [&[1], text.as_bytes()].concat(),
    }
}

fn value(column: Column, reading: &Reading) -> Option<&CompactString> {
    let facts = reading.facts.as_deref();
    match column {
        Column::Device => Some(reading.device.text()),
        Column::Patient => reading.patient.as_ref(),
        Column::Manufacturer => facts?.manufacturer.as_ref(),
        Column::Model => facts?.model.as_ref(),
        Column::Further(i) => facts?.columns.get(i)?.as_ref(),
    }
}

fn escape(value: Option<&CompactString>, key: &mut CompactString) {
    let Some(value) = value else { return key.push_str("\\N") };
    for c in value.chars() {
        if matches!(c, ',' | '\\') {
            key.push('\\');
        }
        key.push(c);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Device, DeviceId};

    fn key_of(manufacturer: Option<String>, model: Option<String>, names: &[&str]) -> Key {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let facts = Device {
            manufacturer: manufacturer.map(Into::into),
            model: model.map(Into::into),
            columns: Box::default(),
        };
        let reading = Reading {
            position: 0,
            timestamp: 0,
            received: i64::MAX,
            device: DeviceId::new("d"),
            patient: None,
            measures: Default::default(),
            fingerprint: 0,
            facts: Some(Arc::new(facts)),
            late: false,
        };
        Grouping::new(&names, &[]).expect("known columns").key(&reading)
    }

    #[test]
    fn a_null_key_is_a_key_of_its_own() {
        assert_eq!(key_of(None, None, &["manufacturer"]), None);
        assert_eq!(key_of(Some("\\N".into()), None, &["manufacturer"]), Some("\\N".into()));
        assert_ne!(key_bytes(&None), key_bytes(&Some("".into())));
        assert_eq!(key_of(None, None, &[]), Some("".into()), "no column: one key for all");
    }

    proptest! {
        #[test]
        fn different_values_never_make_the_same_key(
            a in proptest::option::of("[,\\\\Na]{0,4}"), b in proptest::option::of("[,\\\\Na]{0,4}"),
            c in proptest::option::of("[,\\\\Na]{0,4}"), d in proptest::option::of("[,\\\\Na]{0,4}"),
        ) {
            let columns = ["manufacturer", "model"];
            let same = (&a, &b) == (&c, &d);
            prop_assert_eq!(key_of(a, b, &columns) == key_of(c, d, &columns), same);
        }
    }
}
