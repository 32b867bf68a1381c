//! The labels of a simulation as CSV: timestamp, device_id, fault, measures.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::destination::create;
use crate::record::format_event_time;
use crate::simulate::Label;

pub(super) struct Labels {
    path: PathBuf,
    out: csv::Writer<File>,
    written: u64,
}

impl Labels {
    pub(super) fn create(path: &Path) -> Result<Labels, Failure> {
        let mut labels = Labels {
            path: path.to_owned(),
            out: csv::Writer::from_writer(create(path)?),
            written: 0,
        };
        let header = labels.out.write_record(["timestamp", "device_id", "fault", "measures"]);
        header.map_err(|e| labels.failed(&e))?;
        Ok(labels)
    }

    pub(super) fn write(&mut self, label: &Label) -> Result<(), Failure> {
        self.written += 1;
        let written = self.out.write_record([
            &format!("{}Z", format_event_time(label.timestamp)),
            &label.device_id,
            label.fault.name(),
            &label.measures.join(";"),
        ]);
        written.map_err(|e| self.failed(&e))
    }

    /// What to tell the user.
    pub(super) fn finish(mut self) -> Result<String, Failure> {
        self.out.flush().map_err(|e| self.failed(&e.into()))?;
        let path = self.path.display();
        Ok(format!("  {} readings of faults, labelled in {path}", self.written))
    }

    fn failed(&self, error: &csv::Error) -> Failure {
        Failure::new(format!(
            "{}: labels cannot be written ({error}); check the space on the disk",
            self.path.display()
        ))
    }
}
