//! The shapes a record takes on its way: parsed (with identity), then a reading without it.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Device, DeviceId, EventTime};

/// The measures of one reading in the order of the setting `record.measures`; NaN stands for missing.
///
/// NaN cannot come from the input (measures must be finite), so it is free to mean "missing".
pub type Measures = SmallVec<[f64; 6]>;

/// One device reading without any identity: what may travel between workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Place in the source: the record's number, from 0. The only order that results depend on.
    pub position: u64,
    /// Event time.
    pub timestamp: EventTime,
    /// When a live source received it; [`EventTime::MAX`] where nobody knows.
    pub received: EventTime,
    pub device: DeviceId,
    pub patient: Option<CompactString>,
    pub measures: Measures,
    /// Hash of the raw payload: with device and event time it recognises a further copy of the record.
    pub fingerprint: u64,
    /// Facts about the device: from the record where the dataflow says so, else from the device collection.
    pub facts: Option<Arc<Device>>,
    /// Whether it came too late for every window.
    pub late: bool,
}

/// Who the patient is. Deliberately neither `Serialize` nor `Debug`: it cannot be exchanged between
/// workers, written or logged, only be sealed by the vault's intake.
#[derive(Clone, Default)]
pub struct Identity {
    pub name: Option<CompactString>,
    pub dob: Option<CompactString>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(sealed from view)")
    }
}

/// A reading as parsed, with the identity that the record carried.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub reading: Reading,
    pub identity: Identity,
}

/// A reading and what its forest says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    pub reading: Reading,
    /// `None` while the forest learns, while a shingle fills, and where every measure is missing.
    pub score: Option<f64>,
    /// Present exactly for anomalies: for each measure what it adds to the score by being (high, low); empty for one without a score,
    /// whose measures are out of their ranges.
    pub attribution: Option<Box<[(f64, f64)]>>,
    /// Of anomalies: the threshold that applied.
    pub threshold: Option<f64>,
}

/// An anomalous reading and the threshold that applied to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    pub scored: Scored,
    pub threshold: f64,
}
