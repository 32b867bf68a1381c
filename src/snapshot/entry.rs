//! What an operator remembers under one key.

/// A change of an operator's state: the key's value from a commit on, or `None` where it has been forgotten.
///
/// No `Debug`: values hold readings.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub operator: u8,
    pub key: Box<[u8]>,
    pub value: Option<Box<[u8]>>,
}

impl Entry {
    pub fn put(operator: u8, key: Vec<u8>, value: Vec<u8>) -> Entry {
        Entry {
            operator,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// A tombstone.
    pub fn forget(operator: u8, key: Vec<u8>) -> Entry {
        Entry {
            operator,
            key: key.into(),
            value: None,
        }
    }

    /// What entries are sorted by.
    pub(super) fn place(&self) -> (u8, &[u8]) {
        (self.operator, &self.key)
    }
}
