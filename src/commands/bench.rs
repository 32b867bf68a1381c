//! `wardflow bench`: the paper's scenarios, measured from outside.
//!
//! In: which scenarios, for how long, against which broker. Out: for each what the engine did, how late it was and what it cost, as a
//! table and as JSON.
//!
//! The engine is a process of its own, `wardflow run`, so that its CPU time and memory are its own. The ward publishes open-loop: each
//! record when it is due, whether or not the engine keeps up, and every latency counts from the moment at which the record was due.
//!
//! ```text
//!  ward ── broker ── relay ── engine ── readings/*.parquet
//!            │         └ acknowledged         └ committed
//!            └── wardflow/alerts/# ── alerted
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Failure, print, tell};
use crate::cluster::{Interrupted, before_the_end};
use crate::settings::Micros;
use crate::simulate::Broker;
use latency::{Latency, fsync_of};
use scenario::{Scenario, Stage};

mod cost;
mod engine;
mod latency;
mod relay;
mod scenario;
mod text;
mod watchers;

const NAMES: [&str; 5] = ["small", "small-tables", "medium", "large", "unpaced"];

#[derive(Args)]
pub(super) struct Bench {
    /// Only these: small (50 records/s), small-tables (100), medium (1,000), large (5,000), unpaced [default: all]
    #[arg(value_name = "SCENARIO", value_parser = NAMES)]
    scenarios: Vec<String>,
    /// How long each scenario lasts
    #[arg(long = "for", value_name = "TIME", default_value = "30s")]
    time: Micros,
    /// Records before the measured ones, as fast as they go: a forest of few points is busier than after months
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    warm_up: u64,
    /// Worker threads of the engine
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// The broker, as mqtt://HOST:PORT [default: one inside this program]
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// Where to work, on the disk that is to be measured; what is written there is removed
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Override a setting of the engine, as forest.trees=50
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write the figures as JSON to a file, or to standard output (-) in place of the table
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

/// What a scenario came to. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    scenario: String,
    /// Records a second: asked for (none without a pace), and published; without a pace, worked on.
    rate: Option<f64>,
    achieved_rate: f64,
    seconds: f64,
    records: u64,
    /// The most by which the ward itself was late.
    publisher_behind: f64,
    acknowledged: Option<Latency>,
    alerted: Option<Latency>,
    committed: Option<Latency>,
    /// Of one core, by the engine alone, while the load lasted.
    cpu_share: f64,
    cpu_microseconds_per_record: f64,
    peak_rss_bytes: u64,
    /// By the engine to disk; where the system does not tell, of its files.
    written_bytes: u64,
    output_bytes: u64,
    /// Records that the broker had sent and the engine had not acknowledged: at most, and when the load ended.
    backlog_most: u64,
    backlog_at_end: u64,
    anomalies: u64,
    alerts: u64,
    cost: Option<cost::Monthly>,
}

/// As `--summary` writes it.
#[derive(Serialize)]
struct Report {
    program: &'static str,
    workers: usize,
    broker: String,
    /// The disk's own time for a write of 20 KB and fdatasync.
    fsync: Latency,
    scenarios: Vec<Figures>,
}

impl Bench {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let interrupted = Interrupted::install()?;
        let url = match &self.source {
            Some(url) => url.clone(),
            None => embedded()?,
        };
        let folder = WorkFolder::create(&self.folder)?;
        let fsync = fsync_of(&folder.0).map_err(|e| unwritable(&folder.0, &e))?;
        let names: Vec<String> = match self.scenarios.is_empty() {
            true => NAMES.map(str::to_owned).into(),
            false => self.scenarios.clone(),
        };
        let mut scenarios = Vec::new();
        for name in names {
            if interrupted.is_set() {
                break;
            }
            tell(format_args!("{name} …"));
            let stage = Stage::set(
                Scenario::of(&name, self.time.into(), self.warm_up),
                &url,
                &folder.0,
                (self.workers, &self.set),
                &interrupted,
            )?;
            let load = stage.load()?;
            scenarios.push(stage.end(&load)?);
        }
        let report = Report {
            program: concat!("wardflow ", env!("CARGO_PKG_VERSION")),
            workers: self.workers,
            broker: match self.source {
                Some(_) => Broker::parse(&url)?.address(),
                None => "embedded".to_owned(),
            },
            fsync,
            scenarios,
        };
        self.show(&report)?;
        Ok(if interrupted.is_set() { 130 } else { 0 })
    }

    fn show(&self, report: &Report) -> Result<(), Failure> {
        let to = self.summary.as_deref();
        if to != Some(Path::new("-")) {
            print(&text::table(report))?;
        }
        let Some(path) = to else { return Ok(()) };
        let mut json = serde_json::to_string_pretty(report)?;
        json.push('\n');
        match path == Path::new("-") {
            true => print(&json),
            false => fs::write(path, json).map_err(|e| unwritable(path, &e)),
        }
    }
}

#[cfg(feature = "broker")]
fn embedded() -> Result<String, Failure> {
    let listening = crate::broker::start().map_err(|e| {
        Failure::new(format!(
            "the embedded broker cannot start ({e}); is loopback networking allowed here? Or name a broker with --source"
        ))
    })?;
    Ok(format!("mqtt://{listening}"))
}

#[cfg(not(feature = "broker"))]
fn embedded() -> Result<String, Failure> {
    Err(Failure::new(
        "this program is built without a broker; name one with --source mqtt://HOST:PORT",
    ))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "{}: cannot be written ({error}); name another folder with --folder",
        path.display()
    ))
}

/// A folder for the time of the bench.
struct WorkFolder(PathBuf);

impl WorkFolder {
    fn create(within: &Path) -> Result<WorkFolder, Failure> {
        let path = within.join(format!("wardflow-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| unwritable(&path, &e))?;
        // The engine runs in it.
        let path = path.canonicalize().map_err(|e| unwritable(&path, &e))?;
        let remove = path.clone();
        before_the_end(move || _ = fs::remove_dir_all(&remove));
        Ok(WorkFolder(path))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // what is left there is named after us
    }
}
