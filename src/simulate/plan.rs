//! What is simulated: the settings, the paper's scenarios, and when each record is due.

use std::fmt;
use std::io::{self, Write};

use super::people;

/// The measures of a record, in its order.
pub const MEASURES: [&str; 5] = ["temperature", "pulse", "oxygen_percent", "systolic", "diastolic"];

const HOUR: f64 = 3600.0;
/// More devices or patients than this are a slip of the finger, and would fill the memory.
const MOST: u32 = 10_000_000;
const LONGEST_RECORD: usize = 64 << 20;

/// How the rate goes over the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Steady,
    /// The paper's: 4 h at the peak rate, 20 h at a fifth of it, and again.
    Day,
}

impl Profile {
    const QUIET: f64 = 0.2;
    const PEAK_SECONDS: f64 = 4.0 * HOUR;
    const DAY_SECONDS: f64 = 24.0 * HOUR;
}

/// What the records are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The five measures, from a small model of the body.
    #[default]
    Vitals,
    /// Blood pressure alone, as in the example of the SQL function's documentation: ordinary 90 to 120 over 60 to 80; half of the
    /// anomalies low, 50 to 80 over 30 to 50, half of them high, 130 to 200 over 90 to 150.
    BloodPressure,
}

/// What is simulated. Shares are of all records, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
    pub devices: u32,
    pub patients: u32,
    /// Records a second at the peak.
    pub rate: f64,
    pub profile: Profile,
    /// Event time of the first record, microseconds since 1970 UTC; cut to the millisecond, which is what all forms of a timestamp hold.
    pub start: i64,
    /// About the length of a record in bytes: the field `text` fills it up.
    pub record_bytes: usize,
    /// Share of records whose event time lies up to [`Plan::MOST_DISORDER`] before the moment at which they are due.
    pub disorder: f64,
    /// Share of exact copies of a record shortly before.
    pub duplicates: f64,
    /// Share of lines that are no usable record, of all kinds alike.
    pub bad: f64,
    /// Length of the over-long lines among the bad ones; none: there are none (brokers close the connection on them).
    pub over_long: Option<usize>,
    /// Share of records that belong to labelled faults.
    pub anomalies: f64,
    /// Seconds from the start until the first fault.
    pub anomalies_from: f64,
}

impl Default for Plan {
    /// The paper's small scenario.
    fn default() -> Plan {
        Plan {
            seed: 42,
            kind: Kind::Vitals,
            devices: 10_000,
            patients: 10_000,
            rate: 50.0,
            profile: Profile::Steady,
            start: Plan::PAPER_START,
            record_bytes: 1024,
            disorder: 0.0,
            duplicates: 0.0,
            bad: 0.0,
            over_long: None,
            anomalies: 0.0,
            anomalies_from: 0.0,
        }
    }
}

impl Plan {
    /// 2017-10-15T03:55:51.778Z, as in the paper's sample.
    pub const PAPER_START: i64 = 1_508_039_751_778_000;
    /// Seconds by which a record can be out of order: within what the dataflow waits for by default (30 s).
    pub const MOST_DISORDER: f64 = 29.0;
    /// The names that [`Plan::preset`] knows.
    pub const PRESETS: [&str; 5] = ["small", "small-tables", "medium", "large", "blood-pressure"];

    /// A scenario of the paper: `small` (50 records a second, its text), `small-tables` (100, its tables), `medium` (1,000), `large`
    /// (5,000), each with 10,000 devices and patients and records of 1 KB; `blood-pressure`, the example of the SQL function's
    /// documentation with its 1 % of anomalies.
    pub fn preset(name: &str) -> Option<Plan> {
        let at = |rate| Plan {
            rate,
            ..Plan::default()
        };
        match name {
            "small" => Some(at(50.0)),
            "small-tables" => Some(at(100.0)),
            "medium" => Some(at(1000.0)),
            "large" => Some(at(5000.0)),
            "blood-pressure" => Some(Plan {
                kind: Kind::BloodPressure,
                devices: 1,
                patients: 1,
                record_bytes: 0,
                anomalies: 0.01,
                ..at(100.0)
            }),
            _ => None,
        }
    }

    /// Writes the device collection as CSV: device_id, manufacturer, model, ward.
    ///
    /// # Errors
    /// What `out` cannot take.
    pub fn write_devices(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "device_id,manufacturer,model,ward")?;
        for device in 0..self.devices {
            let [manufacturer, model, ward] = people::make_of(device);
            writeln!(out, "{},{manufacturer},{model},{ward}", people::device_id(device))?;
        }
        Ok(())
    }

    /// Seconds after the start at which record `number` is due.
    pub fn due(&self, number: u64) -> f64 {
        let Profile::Day = self.profile else {
            return number as f64 / self.rate;
        };
        let at_peak = self.rate * Profile::PEAK_SECONDS;
        let quiet = self.rate * Profile::QUIET;
        let a_day = at_peak + quiet * (Profile::DAY_SECONDS - Profile::PEAK_SECONDS);
        let day = libm::floor(number as f64 / a_day);
        let of_day = number as f64 - day * a_day;
        let seconds = if of_day < at_peak {
            of_day / self.rate
        } else {
            Profile::PEAK_SECONDS + (of_day - at_peak) / quiet
        };
        day * Profile::DAY_SECONDS + seconds
    }

    pub(super) fn check(&self) -> Result<(), PlanError> {
        let problem = |text: String| Err(PlanError(text));
        for (name, count) in [("devices", self.devices), ("patients", self.patients)] {
            if count == 0 || count > MOST {
                return problem(format!("{count} {name}: give 1 to {MOST}"));
            }
        }
        if !(self.rate.is_finite() && self.rate >= 1e-3 && self.rate <= 1e9) {
            return problem(format!(
                "a rate of {} records a second: give a number from 0.001 to 1000000000",
                self.rate
            ));
        }
        let shares = [
            ("disorder", self.disorder),
            ("duplicates", self.duplicates),
            ("bad", self.bad),
            ("anomalies", self.anomalies),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return problem(format!("a share of {share} {name}: give a number from 0 to 1, as 0.01"));
            }
        }
        if self.duplicates + self.bad + self.anomalies > 1.0 {
            return problem("the shares of duplicates, bad and anomalies are more than 1 together: lower one".into());
        }
        if !(self.anomalies_from.is_finite() && self.anomalies_from >= 0.0) {
            return problem(format!(
                "anomalies from {} s on: give seconds after the start",
                self.anomalies_from
            ));
        }
        if self.record_bytes.max(self.over_long.unwrap_or(0)) > LONGEST_RECORD {
            return problem(format!("records longer than {LONGEST_RECORD} bytes: give less"));
        }
        // 1970 to 2999: dates of four digits with room for an endless run.
        if !(0..32_503_680_000_000_000).contains(&self.start) {
            return problem("a start before 1970 or after 2999: give a time in between".into());
        }
        Ok(())
    }
}

/// A plan that cannot be: what is wrong and what to give instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}
