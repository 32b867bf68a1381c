//! A device: its id, and what is known of it.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::EventTime;

/// A device's id with its hash, taken once: routes, maps and joins all ask for it.
///
/// Ordered by the hash first, so that most comparisons need not look at the text; the hash is ours and never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceId {
    hash: u64,
    id: CompactString,
}

impl DeviceId {
    pub fn new(id: impl Into<CompactString>) -> DeviceId {
        let id = id.into();
        DeviceId {
            hash: xxh3_64(id.as_bytes()),
            id,
        }
    }

    /// XXH3 of the id's bytes.
    pub fn stable_hash(&self) -> u64 {
        self.hash
    }

    pub fn text(&self) -> &CompactString {
        &self.id
    }
}

impl Deref for DeviceId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.id
    }
}

impl Hash for DeviceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    pub manufacturer: Option<CompactString>,
    pub model: Option<CompactString>,
    /// The further columns that the setting `devices.columns` asks for, in its order.
    pub columns: Box<[Option<CompactString>]>,
}

/// What the device collection says of one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Known {
    /// The same at all times.
    Always(Arc<Device>),
    /// By event time: periods in order that do not overlap.
    Periods(Box<[Period]>),
}

/// What holds in a stretch of event time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    /// The first moment.
    pub from: EventTime,
    /// The first moment behind it.
    pub until: EventTime,
    pub device: Arc<Device>,
}

impl Known {
    /// What holds at an event time.
    pub fn at(&self, time: EventTime) -> Option<&Arc<Device>> {
        match self {
            Known::Always(device) => Some(device),
            Known::Periods(periods) => {
                let behind = periods.partition_point(|period| period.from <= time);
                let period = periods.get(behind.checked_sub(1)?)?;
                (time < period.until).then_some(&period.device)
            }
        }
    }
}
