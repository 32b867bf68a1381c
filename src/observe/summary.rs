//! The summary of a run: what became of every record, and what it cost.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Usage;
use crate::commit::Tally;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Alerts {
    pub alerts: u64,
    pub alerts_waiting: u64,
}

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
    /// Incidents that became alerts, and alerts that some destination has not got yet; of live runs only.
    #[serde(flatten)]
    pub alerts: Option<Alerts>,
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
            alerts: None,
            commits,
            seconds,
            cpu_seconds: usage.cpu_seconds,
            records_per_second: records_in as f64 / seconds.max(1e-9),
            peak_rss_bytes: usage.peak_rss_bytes,
            output_bytes: tally.output_bytes,
            stages,
        }
    }

    /// With the count of alerts, and of those that wait.
    pub fn with_alerts(mut self, counts: Option<(u64, u64)>) -> Summary {
        self.alerts = counts.map(|(alerts, alerts_waiting)| Alerts { alerts, alerts_waiting });
        self
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
        if let Some(Alerts { alerts, alerts_waiting }) = self.alerts
            && alerts + alerts_waiting > 0
        {
            write!(f, "\n  {alerts} alerts")?;
            if alerts_waiting > 0 {
                write!(
                    f,
                    "; {alerts_waiting} wait in the state folder and are sent by the next run"
                )?;
            }
        }
        if self.windows > 0 {
            write!(f, "\n  {} windows, {} revisions of them", self.windows, self.revisions)?;
        }
        Ok(())
    }
}
