//! One line of JSON to one reading.
//!
//! In: the bytes of a record, its position, the stem of its file or its topic. Out: a [`Parsed`] reading or a
//! [`Rejection`]. Strings are borrowed from the line; what no field asks for is skipped unread. Where only the event time is
//! wanted, only that is read.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::fields::{DeviceFrom, Fields, Node, Slot, topic_level};
use super::identity_places::{self, IdentityPlaces};
use super::scalar::Scalar;
use super::{Device, DeviceId, EventTime, Identity, Parsed, Reading, Reason, Rejection, Zone};

/// Deeper than any device nests its readings, shallower than any stack.
const DEEPEST: usize = 64;

/// Reads the records of one source.
pub struct Parser {
    fields: Fields,
    tree: Node,
    /// The event time alone.
    clock: Node,
    /// Patient, name and date of birth.
    identity: Node,
    /// Fields that come from the topic, and its levels, from 1.
    of_topic: Vec<(Slot, usize)>,
    zone: Zone,
    max_record_bytes: usize,
}

type Slots<'a> = SmallVec<[Scalar<'a>; 16]>;

impl Parser {
    /// Records longer than `max_record_bytes` are refused.
    pub fn new(fields: Fields, zone: Zone, max_record_bytes: usize) -> Parser {
        let (tree, clock, identity) = (fields.tree(), fields.clock(), fields.identity());
        Parser {
            of_topic: fields.of_topic(),
            fields,
            tree,
            clock,
            identity,
            zone,
            max_record_bytes,
        }
    }

    /// Reads one record of a file, by its stem, or of a topic; `length` is its whole length where `line` was cut short for being too long.
    ///
    /// # Errors
    /// A [`Rejection`] when the record cannot be used; it quotes nothing of the record.
    pub fn parse(&self, line: &[u8], length: u64, position: u64, source: &str) -> Result<Parsed, Rejection> {
        let mut slots: Slots = smallvec::smallvec![Scalar::Null; Slot::Measure(self.fields.measures.len()).index()];
        let text = self.read(line, length, &self.tree, &mut slots)?;
        for (slot, level) in &self.of_topic {
            let found = source.split('/').nth(level - 1).filter(|found| !found.is_empty());
            slots[slot.index()] = found.map_or(Scalar::Null, |found| Scalar::Text(found.to_owned().into()));
        }
        self.reading(&slots, text, position, source)
    }

    /// The event time that [`parse`](Parser::parse) finds, of a record that it can use or not; `None` where it is not readable.
    /// Values of other fields are not looked at, so it may have one where `parse` finds no JSON.
    pub fn event_time(&self, line: &[u8], length: u64) -> Option<EventTime> {
        let mut slots: Slots = smallvec::smallvec![Scalar::Null; Slot::Timestamp.index() + 1];
        self.read(line, length, &self.clock, &mut slots).ok()?;
        self.zone.read(&slots[Slot::Timestamp.index()])
    }

    /// Where the identity stands in a record that came with `topic`; `None` where it has none, or cannot be used.
    pub fn identity_places(&self, line: &[u8], topic: &str) -> Option<IdentityPlaces> {
        if line.len() > self.max_record_bytes || nested_beyond(line, DEEPEST) {
            return None;
        }
        let text = simdutf8::basic::from_utf8(line).ok()?;
        let of_patient = self.of_topic.iter().find(|(slot, _)| *slot == Slot::Patient);
        let patient = of_patient.and_then(|(_, level)| topic.split('/').nth(level - 1));
        identity_places::find(text, &self.identity, patient)
    }

    /// Whether some field is read from this key of a record, or from inside its value.
    pub fn asks_for(&self, key: &str) -> bool {
        self.tree.find(key, &mut 0).is_some()
    }

    /// The field that a record cannot do without and that is in none of these keys, with its setting; `None`: all are there.
    pub fn misses<'s>(&'s self, keys: &[&str]) -> Option<(&'static str, &'s str)> {
        let device = match &self.fields.device {
            DeviceFrom::Field(name) if topic_level(name).is_none() => {
                Some(("record.device", name.as_str(), Slot::Device))
            }
            _ => None,
        };
        let needed = [("record.timestamp", self.fields.timestamp.as_str(), Slot::Timestamp)];
        let holds = |slot: Slot| {
            keys.iter()
                .any(|key| self.tree.find(key, &mut 0).is_some_and(|node| node.leads_to(slot)))
        };
        let missing = needed.into_iter().chain(device).find(|(.., slot)| !holds(*slot))?;
        Some((missing.0, missing.1))
    }

    /// Reads what `tree` asks for into the slots; the record's text.
    fn read<'a>(&self, line: &'a [u8], length: u64, tree: &Node, slots: &mut Slots<'a>) -> Result<&'a str, Rejection> {
        if length > self.max_record_bytes as u64 {
            let detail = format!(
                "{length} bytes, the limit (record.max_record_bytes) is {}",
                self.max_record_bytes
            );
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
        let text = simdutf8::compat::from_utf8(line)
            .map_err(|e| Rejection::new(Reason::NotUtf8, format!("no UTF-8 from byte {} on", e.valid_up_to())))?;
        if nested_beyond(line, DEEPEST) {
            return Err(Rejection::new(
                Reason::TooDeep,
                format!("nested more than {DEEPEST} levels deep"),
            ));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let object = Object { node: tree, slots };
        let read = (&mut json)
            .deserialize_any(Top(object))
            .and_then(|is_object| json.end().map(|()| is_object));
        match read {
            Ok(true) => Ok(text),
            Ok(false) => Err(Rejection::new(Reason::NotObject, "JSON, but not an object")),
            // Only the column is told: the parser's own message quotes the input.
            Err(e) => Err(Rejection::new(
                Reason::NotJson,
                format!("not JSON at column {}", e.column()),
            )),
        }
    }

    fn reading(&self, slots: &[Scalar<'_>], text: &str, position: u64, source: &str) -> Result<Parsed, Rejection> {
        let field = |slot: Slot| &slots[slot.index()];
        let timestamp = match field(Slot::Timestamp) {
            Scalar::Null => {
                return Err(Rejection::new(
                    Reason::NoTimestamp,
                    format!("no {}", self.fields.timestamp),
                ));
            }
            value => self.zone.read(value).ok_or_else(|| {
                Rejection::new(
                    Reason::UnreadableTimestamp,
                    format!("{} is no time", self.fields.timestamp),
                )
            })?,
        };
        let refuse = |reason, detail: String| Rejection {
            timestamp: Some(timestamp),
            ..Rejection::new(reason, detail)
        };
        let device = match (&self.fields.device, field(Slot::Device)) {
            (DeviceFrom::File, _) => DeviceId::new(source.rsplit('/').next().unwrap_or(source)),
            (_, Scalar::Text(id)) if !id.is_empty() => DeviceId::new(id.as_ref()),
            (DeviceFrom::Field(name), Scalar::Null) => return Err(refuse(Reason::NoDevice, format!("no {name}"))),
            (DeviceFrom::Field(name), _) => {
                return Err(refuse(Reason::NoDevice, format!("{name} is not a non-empty text")));
            }
        };
        let patient = match field(Slot::Patient) {
            Scalar::Null => None,
            Scalar::Text(id) => Some(CompactString::new(id)).filter(|id| !id.is_empty()),
            _ => {
                return Err(refuse(
                    Reason::UnreadablePatient,
                    format!("{} is not a text", self.fields.patient),
                ));
            }
        };
        let measures = self.fields.measures.iter().enumerate().map(|(i, name)| {
            field(Slot::Measure(i))
                .as_measure()
                .map_err(|what| refuse(Reason::UnreadableMeasure, format!("{name}: {what}")))
        });
        let reading = Reading {
            position,
            timestamp,
            received: i64::MAX, // a live source sets it
            device,
            patient,
            measures: measures.collect::<Result<_, _>>()?,
            fingerprint: xxh3_64(text.trim_ascii().as_bytes()),
            facts: self.facts(slots),
            late: false,
        };
        let identity = Identity {
            name: text_of(field(Slot::Name)),
            dob: text_of(field(Slot::Dob)),
        };
        Ok(Parsed { reading, identity })
    }

    /// Manufacturer and model, where the dataflow says that the record carries them.
    fn facts(&self, slots: &[Scalar<'_>]) -> Option<Arc<Device>> {
        if self.fields.manufacturer.is_empty() && self.fields.model.is_empty() {
            return None;
        }
        let manufacturer = text_of(&slots[Slot::Manufacturer.index()]);
        let model = text_of(&slots[Slot::Model.index()]);
        Some(Arc::new(Device {
            manufacturer,
            model,
            columns: Box::default(),
        }))
    }
}

fn text_of(value: &Scalar<'_>) -> Option<CompactString> {
    match value {
        Scalar::Text(text) if !text.is_empty() => Some(CompactString::new(text)),
        Scalar::Integer(n) => Some(compact_str::ToCompactString::to_compact_string(n)),
        _ => None,
    }
}

/// Whether brackets nest deeper than `deepest`. Few records hold that many brackets at all.
fn nested_beyond(line: &[u8], deepest: usize) -> bool {
    if memchr::memchr2_iter(b'[', b'{', line).nth(deepest).is_none() {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > deepest {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads an object's wanted values into the slots; a key given twice keeps its last value.
struct Object<'n, 's, 'a> {
    node: &'n Node,
    slots: &'s mut Slots<'a>,
}

impl<'a> Object<'_, '_, 'a> {
    fn read<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let mut next = 0;
        while let Some(found) = map.next_key_seed(Key {
            node: self.node,
            next: &mut next,
        })? {
            match found {
                Some(node) => map.next_value_seed(Value {
                    node,
                    slots: &mut *self.slots,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The outermost value: `true` for an object, `false` for any other JSON.
struct Top<'n, 's, 'a>(Object<'n, 's, 'a>);

impl<'a> Visitor<'a> for Top<'_, '_, 'a> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<bool, M::Error> {
        self.0.read(map).map(|()| true)
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<bool, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
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

/// The value of a wanted key.
struct Value<'n, 's, 'a> {
    node: &'n Node,
    slots: &'s mut Slots<'a>,
}

impl<'a> Value<'_, '_, 'a> {
    fn set(self, value: Scalar<'a>) {
        if let Some(slot) = self.node.slot {
            self.slots[slot.index()] = value;
        }
    }
}

impl<'a> DeserializeSeed<'a> for Value<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.set(Scalar::Truth);
        Ok(())
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        self.set(Scalar::Integer(n));
        Ok(())
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        self.set(i64::try_from(n).map_or(Scalar::Float(n as f64), Scalar::Integer));
        Ok(())
    }
    fn visit_f64<E: Error>(self, f: f64) -> Result<(), E> {
        self.set(Scalar::Float(f));
        Ok(())
    }
    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.set(Scalar::Text(text.into()));
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.set(Scalar::Text(text.to_owned().into()));
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.set(Scalar::Null);
        Ok(())
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.set(Scalar::Nested);
        Ok(())
    }
    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        if self.node.has_children() {
            return Object {
                node: self.node,
                slots: self.slots,
            }
            .read(map);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.set(Scalar::Nested);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
