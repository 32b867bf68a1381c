//! Why a record cannot be used. Reasons and details never quote the record: it may hold PHI.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::EventTime;

/// The reason codes of the quarantine table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    TooLarge,
    NotUtf8,
    NotJson,
    NotObject,
    TooDeep,
    NoTimestamp,
    UnreadableTimestamp,
    NoDevice,
    UnreadablePatient,
    UnreadableMeasure,
    NotCsv,
}

impl Reason {
    /// The code as it stands in the quarantine table and in the summary.
    pub fn code(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::NotUtf8 => "not_utf8",
            Reason::NotJson => "not_json",
            Reason::NotObject => "not_object",
            Reason::TooDeep => "too_deep",
            Reason::NoTimestamp => "no_timestamp",
            Reason::UnreadableTimestamp => "unreadable_timestamp",
            Reason::NoDevice => "no_device",
            Reason::UnreadablePatient => "unreadable_patient",
            Reason::UnreadableMeasure => "unreadable_measure",
            Reason::NotCsv => "not_csv",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A record refused: why, in words without any of its values, and its event time where that was readable.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    pub reason: Reason,
    pub detail: String,
    pub timestamp: Option<EventTime>,
}

impl Rejection {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Rejection {
            reason,
            detail: detail.into(),
            timestamp: None,
        }
    }
}

/// What is wrong with a row of a CSV file that does not fit its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFault {
    FieldCount { found: u32, wanted: u32 },
    Quotes,
}

impl From<RowFault> for Rejection {
    fn from(fault: RowFault) -> Self {
        let detail = match fault {
            RowFault::FieldCount { found, wanted } => format!("{found} values where the header has {wanted}"),
            RowFault::Quotes => "quotation marks that do not enclose whole values".into(),
        };
        Rejection::new(Reason::NotCsv, detail)
    }
}

/// A record that cannot be used: why, where it stood, and its payload under lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    pub position: u64,
    /// The input file's name and the line in it.
    pub source: String,
    pub line: u64,
    pub reason: Reason,
    pub detail: String,
    /// Event time, where it was readable.
    pub timestamp: Option<EventTime>,
    pub sealed: Vec<u8>,
}
