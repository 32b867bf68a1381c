//! `wardflow check`: what a dataflow file would do, every mistake in it, and how well it fits a sample of records.

mod text;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::devices::wanted;
use super::{Failure, load_settings, print, refuse_topics};
use crate::coverage::{Coverage, Plan, Sample};
use crate::dataflows::parser;
use crate::devices::Collection;
use crate::observe::wall_clock;
use crate::settings::{Dataflow, Mistakes, Origin, Settings};
use crate::source::{Cut, Inputs, Reader};

/// Records read at once.
const STRETCH: u64 = 1024;

#[derive(Args)]
pub(super) struct Check {
    /// The dataflow file, or the bare name of a built-in one: sensor_collection, ingest_transform_load, realtime_analytics
    dataflow: String,
    /// Records to try it on, as for replay: files, folders, globs, or - for standard input
    #[arg(short, long, value_name = "SAMPLE", num_args = 1..)]
    input: Vec<String>,
    /// How many records of the input to look at
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    records: u64,
    /// The device collection: CSV, JSON lines or Parquet with device_id, manufacturer, model
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
    /// Override a setting of the dataflow file, as forest.shingle=4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let settings = match load_settings(&self.dataflow, self.set.clone(), None, self.devices.as_deref()) {
            Ok(settings) => settings,
            Err(mistakes) if self.json => {
                print(&with_line_end(&mistakes_as_json(&mistakes)))?;
                return Ok(1);
            }
            Err(mistakes) => return Err(mistakes.into()),
        };
        let devices = match settings.devices.path.as_str() {
            path if settings.dataflow != Dataflow::SensorCollection && !path.is_empty() => {
                Some(Collection::load(Path::new(path), &wanted(&settings))?)
            }
            _ => None,
        };
        let plan = Plan::of(&settings);
        let coverage = match self.input.is_empty() {
            true => None,
            false => Some(self.sample(&settings, devices)?),
        };
        let report = match self.json {
            true => with_line_end(&json!({ "plan": plan, "mistakes": [], "sample": coverage })),
            false => text::report(&plan, coverage.as_ref()),
        };
        print(&report)?;
        Ok(0)
    }

    /// Reads the start of the input as a replay would.
    fn sample(&self, settings: &Settings, devices: Option<Collection>) -> Result<Coverage, Failure> {
        refuse_topics(&settings.record)?;
        let inputs = Inputs::find(&self.input)?;
        let cut = Cut {
            epoch_records: STRETCH.min(self.records),
            commit_records: u64::MAX,
            commit_bytes: u64::MAX,
            max_record_bytes: settings.record.max_record_bytes,
            workers: 1,
            mine: 0..1,
        };
        let mut reader = Reader::new(&inputs, cut, parser(&settings.record), None);
        let mut sample = Sample::new(settings, devices, wall_clock());
        let mut left = self.records;
        while let Some(epoch) = reader.next_epoch()? {
            for record in epoch.chunks.iter().flat_map(|chunk| chunk.records()) {
                if left == 0 {
                    return Ok(sample.finish(true));
                }
                left -= 1;
                sample.take(&record);
            }
        }
        Ok(sample.finish(false))
    }
}

fn mistakes_as_json(mistakes: &Mistakes) -> serde_json::Value {
    let mistakes = mistakes.iter().map(|mistake| {
        let line = match mistake.origin {
            Origin::File { line, .. } if line > 0 => Some(line),
            _ => None,
        };
        json!({ "at": mistake.origin.to_string(), "line": line, "key": mistake.key, "reason": mistake.reason })
    });
    json!({ "mistakes": mistakes.collect::<Vec<_>>() })
}

fn with_line_end(json: &serde_json::Value) -> String {
    format!("{json:#}\n")
}
