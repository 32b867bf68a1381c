//! The summary of a run: what became of every record, and what it cost.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Usage;
use crate::commit::Tally;

/// As `--summary` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub dataflow: String,
    pub records_in: u64,
    pub not_selected: u64,
    pub readings_out: u64,
    /// Reason → count.
    pub quarantined: BTreeMap<&'static str, u64>,
    pub duplicates: u64,
    pub late: u64,
    pub unknown_devices: u64,
    pub windows: u64,
    pub revisions: u64,
    pub anomalies: u64,
    pub commits: u32,
    pub seconds: f64,
    /// Of all processes.
    pub cpu_seconds: f64,
    pub records_per_second: f64,
    /// Of all processes.
    pub peak_rss_bytes: u64,
    pub output_bytes: u64,
    /// Seconds of the workers by operator.
    pub stages: BTreeMap<String, f64>,
}

impl Summary {
    /// `records_in` as the reader counted them, `tally` as the commits did.
    pub fn new(
        dataflow: &str,
        records_in: u64,
        commits: u32,
        tally: &Tally,
        seconds: f64,
        usage: Usage,
        stages: BTreeMap<String, f64>,
    ) -> Summary {
        Summary {
            dataflow: dataflow.to_owned(),
            records_in,
            not_selected: tally.not_selected,
            readings_out: tally.readings,
            quarantined: tally
                .quarantined
                .iter()
                .map(|(reason, count)| (reason.code(), *count))
                .collect(),
            duplicates: tally.duplicates,
            late: tally.late,
            unknown_devices: tally.unknown_devices,
            windows: tally.windows,
            revisions: tally.revisions,
            anomalies: tally.anomalies,
            commits,
            seconds,
            cpu_seconds: usage.cpu_seconds,
            records_per_second: records_in as f64 / seconds.max(1e-9),
            peak_rss_bytes: usage.peak_rss_bytes,
            output_bytes: tally.output_bytes,
            stages,
        }
    }

    /// What the user should look into, and how.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let quarantined: u64 = self.quarantined.values().sum();
        if self.records_in == 0 {
            warnings.push("there was no record in the input".to_owned());
        } else if quarantined * 2 > self.records_in {
            warnings.push(format!(
                "most records ({quarantined} of {}) went to quarantine: `wardflow check {} --input …` tells which fields do not fit",
                self.records_in, self.dataflow
            ));
        }
        if self.late * 20 > self.readings_out {
            warnings.push(format!(
                "{:.0} % of the readings came too late for every window: if the devices follow one another or their clocks cannot be compared, \
                 set windows.watermark = \"device\" (with device_id in every grouping); if several files overlap in time, give --merge",
                100.0 * self.late as f64 / self.readings_out as f64
            ));
        }
        warnings
    }
}

/// In words, for a person.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records in {:.1} s ({:.0} records/s, {:.1} CPU-seconds)",
            self.records_in, self.seconds, self.records_per_second, self.cpu_seconds
        )?;
        write!(f, "  {} readings", self.readings_out)?;
        for (what, count) in [
            ("late", self.late),
            ("of unknown devices", self.unknown_devices),
            ("anomalies", self.anomalies),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let quarantined: u64 = self.quarantined.values().sum();
        for (what, count) in [
            ("duplicates dropped", self.duplicates),
            ("not selected", self.not_selected),
            ("quarantined", quarantined),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        if quarantined > 0 {
            let reasons: Vec<String> = self
                .quarantined
                .iter()
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            write!(f, " ({})", reasons.join(", "))?;
        }
        if self.windows > 0 {
            write!(f, "\n  {} windows, {} revisions of them", self.windows, self.revisions)?;
        }
        Ok(())
    }
}
