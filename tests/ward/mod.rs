//! A ward of monitors as JSON lines: the paper's records, and everything that goes wrong with them.
//!
//! In: a [`Ward`], the settings of what is made. Out: records to any writer, the same bytes for the same settings, and the
//! [`Truth`] of what was made, so that a replay of it can be checked to the last record. Also the device collection.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

use splitmix::SplitMix64;

mod splitmix;

/// Copies are made of the last so many good records.
const REMEMBERED: usize = 32;
const FILLER: usize = 8 * 1024;
const MANUFACTURERS: [&str; 10] = [
    "Aesculon", "Borealis", "Cardea", "Drava", "Elara", "Fenwick", "Galen", "Hygieia", "Iatros", "Junod",
];
const MODELS: [&str; 3] = ["M1", "M2 Pro", "M3"];
const WARDS: [&str; 4] = ["ICU", "CCU", "Surgery", "Neonatal"];

/// What is made. Shares are of all records, 0 to 1.
#[derive(Clone, Debug)]
pub struct Ward {
    pub seed: u64,
    /// Lines, bad ones and copies included.
    pub records: u64,
    pub devices: u64,
    pub patients: u64,
    /// About the length of a record; the text of the record fills it up. At least about 250.
    pub bytes: usize,
    /// Records per second of event time; at least 1, so that copies stay within the default horizon.
    pub per_second: f64,
    /// Event time of the first record, microseconds UTC.
    pub start: i64,
    /// Share of records that come up to 30 s too late.
    pub disorder: f64,
    /// Share of records that come too late: half of them by minutes, half by hours.
    pub late: f64,
    /// Share of exact copies of a record shortly before.
    pub duplicates: f64,
    /// Share of lines that are no usable record, of all kinds alike.
    pub bad: f64,
    /// Length of the over-long lines among the bad ones; none: there are none.
    pub over_long: Option<usize>,
    /// Share of records from devices that the device collection does not know.
    pub unknown: f64,
    /// Chance of a measure, a patient or an identity to be null or absent.
    pub nulls: f64,
    /// Share of records far from the ordinary.
    pub anomalies: f64,
}

impl Ward {
    /// The paper's: 10,000 devices and patients, records of 1 KB, everything in order.
    pub fn of_the_paper(seed: u64, records: u64) -> Ward {
        Ward {
            seed,
            records,
            devices: 10_000,
            patients: 10_000,
            bytes: 1024,
            per_second: 1000.0,
            start: 1_508_039_751_778_000, // 2017-10-15T03:55:51.778, as in the paper's sample
            disorder: 0.0,
            late: 0.0,
            duplicates: 0.0,
            bad: 0.0,
            over_long: None,
            unknown: 0.0,
            nulls: 0.0,
            anomalies: 0.0,
        }
    }

    /// A small ward on a bad day: short records, and some of everything that goes wrong.
    pub fn on_a_bad_day(seed: u64, records: u64) -> Ward {
        Ward {
            devices: 40,
            patients: 30,
            bytes: 260,
            per_second: 5.0,
            disorder: 0.2,
            late: 0.01,
            duplicates: 0.03,
            bad: 0.03,
            over_long: None,
            unknown: 0.05,
            nulls: 0.03,
            anomalies: 0.01,
            ..Ward::of_the_paper(seed, records)
        }
    }

    /// Writes the records.
    ///
    /// # Errors
    /// What `out` cannot take.
    pub fn write(&self, out: &mut impl Write) -> io::Result<Truth> {
        let mut making = Making::new(self);
        for number in 0..self.records {
            making.line(number);
            out.write_all(&making.line)?;
            out.write_all(b"\n")?;
        }
        making.truth.records = self.records;
        Ok(making.truth)
    }

    /// Writes the device collection as CSV: device_id, manufacturer, model, ward.
    ///
    /// # Errors
    /// What `out` cannot take.
    pub fn write_devices(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "device_id,manufacturer,model,ward")?;
        for device in 0..self.devices {
            let manufacturer = MANUFACTURERS[(device % 10) as usize];
            let model = MODELS[(device / 10 % 3) as usize];
            let ward = WARDS[(device % 4) as usize];
            writeln!(out, "{},{manufacturer},{model},{ward}", device_id(device))?;
        }
        Ok(())
    }
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// All lines.
    pub records: u64,
    /// Good records without their copies.
    pub readings: u64,
    pub duplicates: u64,
    /// Readings of devices that the collection does not know, without copies.
    pub unknown_devices: u64,
    /// Bad lines by the reason they must be refused for.
    pub quarantined: BTreeMap<&'static str, u64>,
    /// (readings, copies) by patient, those without a patient under the empty text.
    pub of_patient: BTreeMap<String, (u64, u64)>,
}

/// The device's id in the records and in the collection.
pub fn device_id(device: u64) -> String {
    format!("LSD-{device:06}")
}

pub fn patient_id(patient: u64) -> String {
    format!("P-{patient:06}")
}

/// The patient's name as the records have it.
pub fn name_of(patient: u64) -> String {
    const GIVEN: [&str; 6] = ["Ana María", "Joseph", "Siân", "Łukasz", "Noor", "Wei"];
    const FAMILY: [&str; 5] = ["O'Brien", "Quintero", "Abendroth", "Nakamura", "\"Z\""];
    format!(
        "{} {}-{patient}",
        GIVEN[(patient % 6) as usize],
        FAMILY[(patient % 5) as usize]
    )
}

pub fn dob_of(patient: u64) -> String {
    format!(
        "19{:02}-{:02}-{:02}",
        20 + patient % 80,
        1 + patient % 12,
        1 + patient % 28
    )
}

/// A good record before, for copies.
struct Made {
    line: Vec<u8>,
    patient: String,
}

struct Making<'a> {
    ward: &'a Ward,
    random: SplitMix64,
    filler: Vec<u8>,
    line: Vec<u8>,
    before: VecDeque<Made>,
    truth: Truth,
}

/// What a line is to be.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Truncated,
    Array,
    NoTimestamp,
    NullTimestamp,
    UnreadableTimestamp,
    NoDevice,
    EmptyDevice,
    WordMeasure,
    NestedMeasure,
    HugeMeasure,
    NumberAsPatient,
    BrokenUtf8,
    TooDeep,
    OverLong,
}

impl Fault {
    const ALL: [Fault; 14] = [
        Fault::Truncated,
        Fault::Array,
        Fault::NoTimestamp,
        Fault::NullTimestamp,
        Fault::UnreadableTimestamp,
        Fault::NoDevice,
        Fault::EmptyDevice,
        Fault::WordMeasure,
        Fault::NestedMeasure,
        Fault::HugeMeasure,
        Fault::NumberAsPatient,
        Fault::BrokenUtf8,
        Fault::TooDeep,
        Fault::OverLong,
    ];

    fn reason(self) -> &'static str {
        match self {
            Fault::None => "",
            Fault::Truncated => "not_json",
            Fault::Array => "not_object",
            Fault::NoTimestamp | Fault::NullTimestamp => "no_timestamp",
            Fault::UnreadableTimestamp => "unreadable_timestamp",
            Fault::NoDevice | Fault::EmptyDevice => "no_device",
            Fault::WordMeasure | Fault::NestedMeasure | Fault::HugeMeasure => "unreadable_measure",
            Fault::NumberAsPatient => "unreadable_patient",
            Fault::BrokenUtf8 => "not_utf8",
            Fault::TooDeep => "too_deep",
            Fault::OverLong => "too_large",
        }
    }
}

impl<'a> Making<'a> {
    fn new(ward: &'a Ward) -> Making<'a> {
        let mut random = SplitMix64(ward.seed);
        let filler = (0..FILLER + ward.bytes)
            .map(|_| b"abcdefghij klmnop qrstuvwxyz 0123456789"[random.below(39) as usize])
            .collect();
        let (line, before) = (Vec::new(), VecDeque::new());
        let truth = Truth::default();
        Making {
            ward,
            random,
            filler,
            line,
            before,
            truth,
        }
    }

    /// Makes the next line.
    fn line(&mut self, number: u64) {
        let ward = self.ward;
        self.line.clear();
        if !self.before.is_empty() && self.random.chance(ward.duplicates) {
            let made = &self.before[self.random.below(self.before.len() as u64) as usize];
            self.line.extend_from_slice(&made.line);
            self.truth.duplicates += 1;
            self.truth.of_patient.entry(made.patient.clone()).or_default().1 += 1;
        } else if self.random.chance(ward.bad) {
            let kinds = Fault::ALL.len() as u64 - u64::from(ward.over_long.is_none());
            let fault = Fault::ALL[self.random.below(kinds) as usize];
            self.record(number, fault);
            *self.truth.quarantined.entry(fault.reason()).or_default() += 1;
        } else {
            let (patient, unknown, late) = self.record(number, Fault::None);
            self.truth.readings += 1;
            self.truth.unknown_devices += u64::from(unknown);
            self.truth.of_patient.entry(patient.clone()).or_default().0 += 1;
            if !late && ward.duplicates > 0.0 {
                // Of what comes hours late a copy could be behind the horizon.
                let mut made = match self.before.len() < REMEMBERED {
                    true => Made {
                        line: Vec::new(),
                        patient: String::new(),
                    },
                    false => self.before.pop_front().expect("it is full"),
                };
                made.line.clone_from(&self.line);
                made.patient = patient;
                self.before.push_back(made);
            }
        }
    }

    /// One record with a fault or none: its patient, whether its device is unknown, whether it comes too late.
    fn record(&mut self, number: u64, fault: Fault) -> (String, bool, bool) {
        let ward = self.ward;
        let line_start = self.line.len();
        if fault == Fault::Array {
            self.line.push(b'[');
        }
        self.line.push(b'{');
        let late = self.timestamp(number, fault);
        let unknown = self.device(fault);
        let patient = self.patient(fault);
        self.measures(fault);
        match fault {
            Fault::TooDeep => {
                self.line.extend_from_slice(b"\"extra\":");
                self.line.extend(std::iter::repeat_n(b'[', 80));
                self.line.extend(std::iter::repeat_n(b']', 80));
                self.line.push(b',');
            }
            Fault::BrokenUtf8 => self.line.extend_from_slice(b"\"extra\":\"\xff\xfe\","),
            _ => {}
        }
        self.line.extend_from_slice(b"\"text\":\"");
        let length = match fault {
            Fault::OverLong => ward.over_long.unwrap_or_default(),
            _ => ward.bytes,
        };
        let mut missing = length.saturating_sub(self.line.len() - line_start + 2);
        while missing > 0 {
            let part = missing.min(ward.bytes);
            let from = self.random.below(FILLER as u64) as usize;
            self.line.extend_from_slice(&self.filler[from..from + part]);
            missing -= part;
        }
        match fault {
            Fault::Truncated => {}
            Fault::Array => self.line.extend_from_slice(b"\"}]"),
            _ => self.line.extend_from_slice(b"\"}"),
        }
        (patient, unknown, late)
    }

    /// In one of its three forms; whether it comes too late.
    fn timestamp(&mut self, number: u64, fault: Fault) -> bool {
        let ward = self.ward;
        let mut at = ward.start + (number as f64 * 1e6 / ward.per_second) as i64;
        if self.random.chance(ward.disorder) {
            at -= self.random.below(30_000_000) as i64;
        }
        let late = self.random.chance(ward.late);
        if late {
            let (from, to) = if self.random.chance(0.5) { (2, 50) } else { (65, 400) };
            at -= 60_000_000 * from + self.random.below(60_000_000 * (to - from) as u64) as i64;
        }
        let (line, millis) = (&mut self.line, at.div_euclid(1000));
        match (fault, self.random.below(3)) {
            (Fault::NoTimestamp, _) => Ok(()),
            (Fault::NullTimestamp, _) => write!(line, "\"timestamp\":null,"),
            (Fault::UnreadableTimestamp, _) => write!(line, "\"timestamp\":\"yesterday at noon\","),
            (_, 0) => write!(line, "\"timestamp\":{millis},"),
            (_, 1) => write!(line, "\"timestamp\":\"{millis}\","),
            _ => {
                line.extend_from_slice(b"\"timestamp\":\"");
                iso(line, at);
                line.extend_from_slice(b"\",");
                Ok(())
            }
        }
        .expect("memory takes all");
        late
    }

    fn device(&mut self, fault: Fault) -> bool {
        let unknown = self.random.chance(self.ward.unknown);
        let device = self.random.below(self.ward.devices);
        match fault {
            Fault::NoDevice => Ok(()),
            Fault::EmptyDevice => write!(self.line, "\"device_id\":\"\","),
            _ if unknown => write!(self.line, "\"device_id\":\"NEW-{:03}\",", device % 17),
            _ => write!(self.line, "\"device_id\":\"LSD-{device:06}\","),
        }
        .expect("memory takes all");
        unknown
    }

    fn patient(&mut self, fault: Fault) -> String {
        let patient = self.random.below(self.ward.patients);
        if fault == Fault::NumberAsPatient {
            write!(self.line, "\"patient_id\":{patient},").expect("memory takes all");
            return String::new();
        }
        if self.random.chance(self.ward.nulls) {
            return String::new();
        }
        let id = patient_id(patient);
        write!(self.line, "\"patient_id\":\"{id}\",").expect("memory takes all");
        if !self.random.chance(self.ward.nulls) {
            let (name, dob) = (name_of(patient).replace('"', "\\\""), dob_of(patient));
            write!(self.line, "\"name\":\"{name}\",\"dob\":\"{dob}\",").expect("memory takes all");
        }
        id
    }

    fn measures(&mut self, fault: Fault) {
        let strange = self.random.chance(self.ward.anomalies);
        let none = self.random.chance(self.ward.nulls / 4.0);
        let ranges: [(&str, u64, u64); 5] = match strange {
            false => [
                ("temperature", 974, 20),
                ("pulse", 600, 400),
                ("oxygen_percent", 950, 50),
                ("systolic", 900, 300),
                ("diastolic", 600, 200),
            ],
            true => [
                ("temperature", 1020, 60),
                ("pulse", 1500, 500),
                ("oxygen_percent", 700, 100),
                ("systolic", 500, 300),
                ("diastolic", 300, 200),
            ],
        };
        let faulty = self.random.below(5) as usize;
        for (i, (name, least, width)) in ranges.into_iter().enumerate() {
            let tenths = least + self.random.below(width);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let line = &mut self.line;
            let wrong = match fault {
                _ if i != faulty => None,
                Fault::WordMeasure => Some("\"n/a\""),
                Fault::NestedMeasure => Some("{\"value\":1}"),
                Fault::HugeMeasure => Some("1e39"),
                _ => None,
            };
            let missing = none || self.random.chance(self.ward.nulls);
            match (wrong, self.random.below(64)) {
                (Some(text), _) => write!(line, "\"{name}\":{text},"),
                _ if missing && tenth % 2 == 0 => write!(line, "\"{name}\":null,"),
                _ if missing => Ok(()),
                (_, 0) => write!(line, "\"{name}\":\"{whole}.{tenth}\","),
                (_, 1) => write!(line, "\"{name}\":{whole},"),
                _ => write!(line, "\"{name}\":{whole}.{tenth},"),
            }
            .expect("memory takes all");
        }
    }
}

/// Appends microseconds UTC as `2017-10-15T03:55:51.778000`. Days to a date as in the proleptic Gregorian calendar, years counted
/// from March so that the leap day comes last.
fn iso(line: &mut Vec<u8>, micros: i64) {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let from_march_of_year_0 = days + 719_468;
    let era = from_march_of_year_0.div_euclid(146_097);
    let day_of_era = from_march_of_year_0.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}"
    )
    .expect("memory takes all");
}
