//! Looking into a record as it stands, apart from what the dataflow reads of it.

use serde_json::{Map, Value};

use crate::record::{Zone, measure_of};

/// Fields that the dataflow file does not name are followed up to so many.
const MOST: usize = 4096;

/// The value at a column or dotted path; null and absent are the same.
pub(super) fn value_at<'v>(record: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let flat = record.get(path);
    let nested = || {
        let (first, rest) = path.split_once('.')?;
        rest.split('.')
            .try_fold(record.get(first)?, |value, key| value.get(key))
    };
    flat.or_else(nested).filter(|value| !value.is_null())
}

/// Calls `found` with the path and value of everything in a record that is neither null nor an object with keys.
pub(super) fn leaves(record: &Map<String, Value>, found: &mut impl FnMut(&str, &Value)) {
    fn below(path: &mut String, object: &Map<String, Value>, found: &mut impl FnMut(&str, &Value)) {
        for (key, value) in object {
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            match value {
                Value::Object(inner) if !inner.is_empty() => below(path, inner, found),
                Value::Null => {}
                leaf => found(path, leaf),
            }
            path.truncate(length);
        }
    }
    below(&mut String::new(), record, found);
}

/// What the values of one unnamed field have been.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) present: u64,
    /// Numbers, also quoted.
    pub(super) numbers: u64,
    pub(super) texts: u64,
    /// Texts that are readable as a time and not just a number.
    pub(super) times: u64,
    /// Numbers so large that they are rather times since 1970.
    pub(super) large: u64,
}

impl Seen {
    fn take(&mut self, value: &Value, zone: &Zone) {
        self.present += 1;
        match (value, measure_of(value)) {
            (Value::Number(_) | Value::String(_), Some(number)) => {
                self.numbers += 1;
                self.large += u64::from(number.abs() >= 1e8);
            }
            (Value::String(text), _) => {
                self.texts += 1;
                self.times += u64::from(text.contains(['-', ':']) && zone.time_of(value).is_some());
            }
            _ => {}
        }
    }

    /// One word for what it mostly holds.
    pub(super) fn kind(&self) -> &'static str {
        match () {
            () if 2 * self.times > self.present => "times",
            () if 2 * self.numbers > self.present => "numbers",
            () if 2 * self.texts > self.present => "text",
            () => "other",
        }
    }
}

/// The fields that the dataflow file does not name.
#[derive(Default)]
pub(super) struct Unnamed {
    by_path: std::collections::HashMap<String, Seen>,
}

impl Unnamed {
    pub(super) fn take(&mut self, path: &str, value: &Value, zone: &Zone) {
        if let Some(seen) = self.by_path.get_mut(path) {
            return seen.take(value, zone);
        }
        if self.by_path.len() < MOST {
            let mut seen = Seen {
                path: path.to_owned(),
                ..Seen::default()
            };
            seen.take(value, zone);
            self.by_path.insert(path.to_owned(), seen);
        }
    }

    /// Those that can be named in `objects` records, the most frequent first, and how many more there are. A field of few records may
    /// be no field but data that stands where names should.
    pub(super) fn nameable(&self, objects: u64) -> (Vec<&Seen>, u64) {
        let enough = (objects / 100).max(if objects < 20 { 1 } else { 2 });
        let (mut named, rest): (Vec<&Seen>, Vec<&Seen>) = self
            .by_path
            .values()
            .partition(|seen| seen.present >= enough && super::names::is_plain(&seen.path));
        named.sort_by(|a, b| b.present.cmp(&a.present).then_with(|| a.path.cmp(&b.path)));
        (named, rest.len() as u64)
    }
}
