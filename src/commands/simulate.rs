//! `wardflow simulate`: a ward that does not exist, to a file or to an MQTT broker.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::{Failure, tell};
use crate::cluster::Interrupted;
use crate::observe::{Progress, show_progress, wall_clock};
use crate::settings::Micros;
use crate::simulate::{Broker, Plan, Profile, Record, Simulation, publish};
use destination::{Destination, RecordFile, create, refuse_existing};
use labels::Labels;

mod destination;
mod labels;

/// A file holds so many records if nobody says how many.
const RECORDS_OF_A_FILE: u64 = 10_000;
/// A schedule missed by more than this many seconds was not kept.
const TOLERABLE: f64 = 1.0;
/// As for an interrupted replay.
const INTERRUPTED_STATUS: u8 = 130;

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    /// The same rate all the time
    Steady,
    /// 4 h at the rate, 20 h at a fifth of it, and again
    Day,
}

#[derive(Args)]
pub(super) struct Simulate {
    /// A file (.jsonl, .jsonl.gz, .jsonl.zst), - for standard output, or a broker: mqtt://[USER:PASSWORD@]HOST[:PORT]
    #[arg(long, value_name = "DESTINATION", value_parser = Destination::parse)]
    to: Destination,
    /// A scenario of the paper: 50, 100, 1,000 or 5,000 records/s of 1 KB from 10,000 devices; or blood pressure with 1 % anomalies
    #[arg(long, value_name = "NAME", default_value = "small", value_parser = PossibleValuesParser::new(Plan::PRESETS))]
    preset: String,
    /// How many records [default: 10000 for a file; without end to a broker or standard output]
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// How long, in the time of the records: 90s, 10m, 24h
    #[arg(long = "for", value_name = "TIME")]
    lasting: Option<Micros>,
    /// Records a second, at the peak where the rate changes
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// How the rate goes over the day
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<ProfileName>,
    /// As fast as it goes [default for files]
    #[arg(long, conflicts_with = "paced")]
    unpaced: bool,
    /// Each record at the moment it is due [default for a broker]
    #[arg(long)]
    paced: bool,
    /// Another seed makes other records
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many devices
    #[arg(long, value_name = "N")]
    devices: Option<u32>,
    /// How many patients
    #[arg(long, value_name = "N")]
    patients: Option<u32>,
    /// About the length of a record; its text fills it up
    #[arg(long, value_name = "BYTES")]
    record_bytes: Option<usize>,
    /// Event time of the first record [default: 2017-10-15T03:55:51.778Z, as in the paper; to a broker: now]
    #[arg(long, value_name = "WHEN", value_parser = time)]
    start: Option<i64>,
    /// Share of records that come up to 29 s late, 0 to 1
    #[arg(long, value_name = "SHARE")]
    disorder: Option<f64>,
    /// Share of further copies of a record
    #[arg(long, value_name = "SHARE")]
    duplicates: Option<f64>,
    /// Share of lines that are no usable record
    #[arg(long, value_name = "SHARE")]
    bad: Option<f64>,
    /// Lets some of the bad lines be so long (give more than 1048576); brokers may close the connection on them
    #[arg(long, value_name = "BYTES")]
    over_long: Option<usize>,
    /// Share of records that belong to faults of patients or sensors
    #[arg(long, value_name = "SHARE")]
    anomalies: Option<f64>,
    /// How long after the start the first fault may begin: 30s
    #[arg(long, value_name = "TIME")]
    anomalies_after: Option<Micros>,
    /// Write which readings belong to a fault: a CSV of timestamp, device_id, fault, measures
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Write the device collection: a CSV of device_id, manufacturer, model, ward
    #[arg(long, value_name = "FILE")]
    devices_file: Option<PathBuf>,
    /// The topic, for a broker
    #[arg(long, value_name = "TOPIC", default_value = Broker::TOPIC)]
    topic: String,
    /// For a broker: 1 has every record acknowledged, 0 none
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Write over files that exist
    #[arg(long)]
    force: bool,
}

fn in_seconds(Micros(micros): Micros) -> f64 {
    micros as f64 / 1e6
}

/// Microseconds since 1970; a time without a zone is UTC.
fn time(text: &str) -> Result<i64, String> {
    let zoned = text.parse::<jiff::Timestamp>();
    let utc = || text.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC);
    zoned
        .or_else(|_| utc().map(|zoned| zoned.timestamp()))
        .map(|timestamp| timestamp.as_microsecond())
        .map_err(|_| "give a time as 2017-10-15T03:55:51.778Z".to_owned())
}

impl Simulate {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let plan = self.plan();
        let simulation = Simulation::new(plan.clone())?;
        let files = [self.to.file(), self.labels.as_deref(), self.devices_file.as_deref()];
        refuse_existing(&files, self.force)?;
        let interrupted = Interrupted::install()?;
        let mut labels = self.labels.as_deref().map(Labels::create).transpose()?;
        if let Some(path) = &self.devices_file {
            let mut file = io::BufWriter::new(create(path)?);
            plan.write_devices(&mut file)
                .and_then(|()| io::Write::flush(&mut file))
                .map_err(|e| cannot_write(path, &e))?;
        }
        let progress = Arc::new(Progress::default());
        let shown = show_progress(Arc::clone(&progress), self.limit());
        let before = Cell::new(0);
        let on_progress = |records: u64| {
            progress.read(records - before.replace(records)); // the total is one of records
            progress.come_to(records);
        };
        let mut labelling = Ok(());
        let records = self.bounded(simulation).map_while(|record| {
            if let (Some(labels), Some(label)) = (&mut labels, &record.label) {
                labelling = labels.write(label);
            }
            labelling.is_ok().then_some(record)
        });
        let done = match &self.to {
            Destination::Broker(broker) => self.to_broker(broker, records, &interrupted, on_progress),
            place => self.to_file(place, records, &interrupted, on_progress),
        };
        drop(shown);
        labelling?;
        tell(done?);
        if let Some(labels) = labels {
            tell(labels.finish()?);
        }
        // Without end there is no other way to end it.
        let bounded = self.limit().is_some() || self.lasting.is_some();
        Ok(if bounded && interrupted.is_set() {
            INTERRUPTED_STATUS
        } else {
            0
        })
    }

    fn plan(&self) -> Plan {
        let preset = Plan::preset(&self.preset).expect("clap lets only the names of presets pass");
        let live = matches!(self.to, Destination::Broker(_));
        Plan {
            seed: self.seed.unwrap_or(preset.seed),
            devices: self.devices.unwrap_or(preset.devices),
            patients: self.patients.unwrap_or(preset.patients),
            rate: self.rate.unwrap_or(preset.rate),
            profile: self.profile.map_or(preset.profile, |profile| match profile {
                ProfileName::Steady => Profile::Steady,
                ProfileName::Day => Profile::Day,
            }),
            start: self
                .start
                .unwrap_or_else(|| if live { wall_clock() } else { preset.start }),
            record_bytes: self.record_bytes.unwrap_or(preset.record_bytes),
            disorder: self.disorder.unwrap_or(preset.disorder),
            duplicates: self.duplicates.unwrap_or(preset.duplicates),
            bad: self.bad.unwrap_or(preset.bad),
            over_long: self.over_long.or(preset.over_long),
            anomalies: self.anomalies.unwrap_or(preset.anomalies),
            anomalies_from: self.anomalies_after.map_or(preset.anomalies_from, in_seconds),
            ..preset
        }
    }

    /// How many records at most; none: it goes on without end, or `--for` says when it ends.
    fn limit(&self) -> Option<u64> {
        let of_a_file = self.to.file().is_some() && self.lasting.is_none();
        self.records.or(of_a_file.then_some(RECORDS_OF_A_FILE))
    }

    fn bounded(&self, simulation: Simulation) -> impl Iterator<Item = Record> {
        let records = self.limit().unwrap_or(u64::MAX);
        let seconds = self.lasting.map_or(f64::INFINITY, in_seconds);
        simulation
            .take(usize::try_from(records).unwrap_or(usize::MAX))
            .take_while(move |record| record.due < seconds)
    }

    fn to_broker(
        &self,
        broker: &Broker,
        records: impl Iterator<Item = Record>,
        interrupted: &Interrupted,
        on_progress: impl Fn(u64),
    ) -> Result<String, Failure> {
        let broker = Broker {
            topic: self.topic.clone(),
            qos: self.qos,
            ..broker.clone()
        };
        let unpaced = self.unpaced;
        let records = records.map(|record| Record {
            due: if unpaced { 0.0 } else { record.due },
            ..record
        });
        let counts = publish(
            records,
            &broker,
            || interrupted.is_set(),
            |counts| on_progress(counts.published),
        )?;
        if !unpaced && counts.behind > TOLERABLE {
            tell(format_args!(
                "wardflow: warning: the schedule was not kept, {:.1} s at worst: lower --rate, or give this machine or the broker more room",
                counts.behind
            ));
        }
        if counts.refused > 0 {
            tell(format_args!(
                "wardflow: warning: the broker refused {} records: check its access rules and limits for the topic {}",
                counts.refused, broker.topic
            ));
        }
        let acknowledged = match self.qos {
            0 => "acknowledgements were not asked for (QoS 0)".to_owned(),
            _ => format!("{} acknowledged", counts.acknowledged),
        };
        let behind = match unpaced {
            true => String::new(),
            false => format!(", at most {:.3} s behind schedule", counts.behind),
        };
        Ok(format!(
            "simulate: {} records published in {:.1} s ({:.0} records/s); {acknowledged}{behind}",
            counts.published,
            counts.seconds,
            counts.published as f64 / counts.seconds.max(1e-9)
        ))
    }

    fn to_file(
        &self,
        place: &Destination,
        records: impl Iterator<Item = Record>,
        interrupted: &Interrupted,
        on_progress: impl Fn(u64),
    ) -> Result<String, Failure> {
        let mut file = RecordFile::open(place)?;
        file.write(records, self.paced, || interrupted.is_set(), on_progress)?;
        file.finish()
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!(
        "{}: cannot be written ({error}); check the folder, its permissions and the space on the disk",
        path.display()
    ))
}
