//! What was counted on the way to a commit: added up, so that the order of adding does not matter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Reason;
use crate::sink::StagedFile;
use crate::snapshot::Run;

/// Where the records of a commit went, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub not_selected: u64,
    pub duplicates: u64,
    pub readings: u64,
    /// Readings in no window.
    pub late: u64,
    /// Readings whose device the device collection does not know.
    pub unknown_devices: u64,
    pub anomalies: u64,
    /// Incidents that someone was told of; of live runs only.
    #[serde(default)]
    pub alerts: u64,
    /// Windows written for the first time.
    pub windows: u64,
    /// Windows written again because of late readings.
    pub revisions: u64,
    pub quarantined: BTreeMap<Reason, u64>,
    /// Bytes of the files.
    pub output_bytes: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.not_selected += other.not_selected;
        self.duplicates += other.duplicates;
        self.readings += other.readings;
        self.late += other.late;
        self.unknown_devices += other.unknown_devices;
        self.anomalies += other.anomalies;
        self.alerts += other.alerts;
        self.windows += other.windows;
        self.revisions += other.revisions;
        self.output_bytes += other.output_bytes;
        for (reason, count) in &other.quarantined {
            *self.quarantined.entry(*reason).or_default() += count;
        }
    }

    /// What has been added to `earlier`, which this has grown from.
    pub fn since(&self, earlier: &Tally) -> Tally {
        let quarantined = self.quarantined.iter().map(|(reason, count)| {
            let before = earlier.quarantined.get(reason).copied().unwrap_or_default();
            (*reason, count - before)
        });
        Tally {
            not_selected: self.not_selected - earlier.not_selected,
            duplicates: self.duplicates - earlier.duplicates,
            readings: self.readings - earlier.readings,
            late: self.late - earlier.late,
            unknown_devices: self.unknown_devices - earlier.unknown_devices,
            anomalies: self.anomalies - earlier.anomalies,
            alerts: self.alerts - earlier.alerts,
            windows: self.windows - earlier.windows,
            revisions: self.revisions - earlier.revisions,
            quarantined: quarantined.filter(|(_, count)| *count > 0).collect(),
            output_bytes: self.output_bytes - earlier.output_bytes,
        }
    }

    /// Records that are accounted for: not selected, dropped as copies, refused, or read.
    pub fn records(&self) -> u64 {
        self.not_selected + self.duplicates + self.readings + self.quarantined.values().sum::<u64>()
    }
}

/// What one worker has ready for a commit: files that are durable but not yet visible, counts, and durable changes of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    pub files: Vec<StagedFile>,
    pub tally: Tally,
    /// Of the processes but the first, whose own changes the one who commits writes.
    pub runs: Vec<Run>,
}
