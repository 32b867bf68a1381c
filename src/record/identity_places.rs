//! Where the identity stands in a record, for those who keep the record itself.
//!
//! In: the bytes of a record. Out: whose it is and which stretches of it are name and date of birth. Every value that a key
//! of the identity ever has is found, also where the key comes twice and only its last value counts.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fields::{Node, Slot};

/// Whose record it is, and what in it must not be kept in clear.
#[derive(Debug, PartialEq, Eq)]
pub struct IdentityPlaces {
    pub patient: String,
    /// In order, without overlap, never empty: the texts of name and date of birth between their quotation marks, or the whole record
    /// where a value cannot be cut out by itself.
    pub places: Vec<Range<usize>>,
}

/// The places in `text`, an object whose wanted keys are `tree` and whose patient the topic may say; `None` where there is no patient, no identity or no readable record.
pub(super) fn find(text: &str, tree: &Node, patient: Option<&str>) -> Option<IdentityPlaces> {
    let mut found = Found {
        start: text.as_ptr() as usize,
        patient: None,
        places: Vec::new(),
        whole: false,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Value {
        node: tree,
        found: &mut found,
    };
    value.deserialize(&mut json).ok()?;
    json.end().ok()?;
    let patient = patient
        .map(str::to_owned)
        .or(found.patient)
        .filter(|patient| !patient.is_empty())?;
    let mut places = found.places;
    if found.whole {
        places = std::iter::once(0..text.len()).collect();
    }
    places.sort_by_key(|place| place.start);
    (!places.is_empty()).then_some(IdentityPlaces { patient, places })
}

struct Found {
    /// Where the text begins in memory.
    start: usize,
    patient: Option<String>,
    places: Vec<Range<usize>>,
    whole: bool,
}

/// A value: of a wanted key, or inside one.
struct Value<'n, 'f> {
    node: &'n Node,
    found: &'f mut Found,
}

impl Value<'_, '_> {
    fn is_identity(&self) -> bool {
        matches!(self.node.slot, Some(Slot::Name | Slot::Dob))
    }

    /// A value that is no text: what is part of an identity cannot be cut out of it.
    fn other(self) {
        self.found.whole |= self.is_identity();
        if self.node.slot == Some(Slot::Patient) {
            self.found.patient = None;
        }
    }

    fn text(self, text: &str, at: Option<usize>) {
        if self.node.slot == Some(Slot::Patient) {
            self.found.patient = Some(text.to_owned());
        }
        if self.is_identity() && !text.is_empty() {
            match at {
                Some(at) => self.found.places.push(at..at + text.len()),
                None => self.found.whole = true, // it has escapes
            }
        }
    }
}

impl<'a> DeserializeSeed<'a> for Value<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.other();
        Ok(())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.other();
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.other();
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.other();
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.node.slot == Some(Slot::Patient) {
            self.found.patient = None;
        }
        Ok(())
    }
    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        let at = text.as_ptr() as usize - self.found.start; // borrowed from the record itself
        self.text(text, Some(at));
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(text, None);
        Ok(())
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.other();
        Ok(())
    }
    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        if self.is_identity() {
            self.found.whole = true;
        }
        let (mut next, found) = (0, self.found);
        while let Some(node) = map.next_key_seed(Key {
            node: self.node,
            next: &mut next,
        })? {
            match node {
                Some(node) => map.next_value_seed(Value {
                    node,
                    found: &mut *found,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Key<'n, 'k> {
    node: &'n Node,
    next: &'k mut usize,
}

impl<'a, 'n> DeserializeSeed<'a> for Key<'n, '_> {
    type Value = Option<&'n Node>;
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a, 'n> Visitor<'a> for Key<'n, '_> {
    type Value = Option<&'n Node>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.node.find(key, self.next))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::{DeviceFrom, Fields, Parser, Zone};

    fn places(record: &str) -> Option<(String, Vec<&str>)> {
        let fields = Fields {
            timestamp: "timestamp".into(),
            device: DeviceFrom::Field("device_id".into()),
            patient: "patient_id".into(),
            name: "name".into(),
            dob: "dob".into(),
            manufacturer: String::new(),
            model: String::new(),
            measures: vec!["pulse".into()],
            aliases: Vec::new(),
        };
        let parser = Parser::new(fields, Zone::new(TimeZone::UTC, 1), 1 << 20);
        let found = parser.identity_places(record.as_bytes(), "ward/7")?;
        let cut = found.places.iter().map(|place| &record[place.clone()]).collect();
        Some((found.patient, cut))
    }

    #[test]
    fn name_and_date_of_birth_are_found_and_nothing_else() {
        let record = r#"{"patient_id":"p-1","name":"Ada Lovelace","pulse":70,"dob":"1815-12-10"}"#;
        assert_eq!(places(record), Some(("p-1".into(), vec!["Ada Lovelace", "1815-12-10"])));
        assert_eq!(places(r#"{"patient_id":"p-1","pulse":70}"#), None);
        assert_eq!(places(r#"{"name":"Ada"}"#), None, "nobody to whom it belongs");
        assert_eq!(places(r#"{"patient_id":"p-1","name":"","dob":null}"#), None);
    }

    #[test]
    fn a_value_that_does_not_count_is_found_too() {
        let record = r#"{"name":"Ada","patient_id":"p-1","name":"Grace"}"#;
        assert_eq!(places(record), Some(("p-1".into(), vec!["Ada", "Grace"])));
    }

    #[test]
    fn where_a_value_cannot_be_cut_out_the_whole_record_is_one() {
        for record in [
            r#"{"patient_id":"p-1","name":"Ad\u0061"}"#,
            r#"{"patient_id":"p-1","dob":18151210}"#,
            r#"{"patient_id":"p-1","name":{"given":"Ada"}}"#,
            r#"{"patient_id":"p-1","name":["Ada"]}"#,
        ] {
            assert_eq!(places(record), Some(("p-1".into(), vec![record])));
        }
    }

    #[test]
    fn what_is_no_record_has_no_places() {
        for record in [
            "",
            "nonsense",
            "[1]",
            r#"{"patient_id":"p-1","name":"Ada""#,
            "\u{feff}{}",
        ] {
            assert_eq!(places(record), None);
        }
    }
}
