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

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Failure, print, tell};
use crate::cluster::{Interrupted, before_the_end};
use crate::observe::wall_clock;
use crate::settings::Micros;
use crate::simulate::{Broker, Plan, Simulation, publish};
use engine::Engine;
use latency::{Latency, fsync_of};
use relay::Relay;
use watchers::{Alerts, Since, Tables};

mod cost;
mod engine;
mod latency;
mod relay;
mod text;
mod watchers;

/// How long a record may take to become visible once the load has ended, at most.
const DRAIN: Duration = Duration::from_secs(60);
/// Records before the measured ones, without a pace: every forest gives scores behind them.
const WARM_UP: usize = 8_000;
/// How long before now they are.
const EARLIER: i64 = 30_000_000;
/// Records of the run without a pace.
const UNPACED: u64 = 200_000;
const SCENARIOS: [&str; 5] = ["small", "small-tables", "medium", "large", "unpaced"];

#[derive(Args)]
pub(super) struct Bench {
    /// Only these: small (50 records/s), small-tables (100), medium (1,000), large (5,000), unpaced [default: all]
    #[arg(value_name = "SCENARIO", value_parser = SCENARIOS)]
    scenarios: Vec<String>,
    /// How long each scenario lasts
    #[arg(long = "for", value_name = "TIME", default_value = "20s")]
    time: Micros,
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
            true => SCENARIOS.map(str::to_owned).into(),
            false => self.scenarios.clone(),
        };
        let mut scenarios = Vec::new();
        for name in names {
            if interrupted.is_set() {
                break;
            }
            tell(format_args!("{name} …"));
            scenarios.push(self.measure(&name, &url, &folder.0, &interrupted)?);
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

    /// One scenario: a fresh engine, its load, its end.
    fn measure(&self, name: &str, url: &str, folder: &Path, interrupted: &Interrupted) -> Result<Figures, Failure> {
        let paced = Plan::preset(name);
        let plan = Plan {
            anomalies: 0.01,
            ..paced
                .clone()
                .unwrap_or_else(|| Plan::preset("large").unwrap_or_default())
        };
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
        let devices = folder.join("devices.csv");
        let written = File::create(&devices).and_then(|file| {
            let mut file = BufWriter::new(file);
            plan.write_devices(&mut file)?;
            file.flush()
        });
        written.map_err(|e| unwritable(&devices, &e))?;

        let ward = Broker::parse(url)?;
        let relay = Relay::start(&ward.host, ward.port)
            .map_err(|e| Failure::new(format!("the relay before the engine: {e}")))?;
        let alerts_below = format!("wardflow/bench/{}/alerts", std::process::id());
        let since = Since::new(AtomicI64::new(i64::MAX));
        let alerts = Alerts::watch(url, &alerts_below, &since)?;
        let engine = Engine::start(&folder, url, relay.port, self.workers, &alerts_below, &self.set)?;
        let tables = Tables::watch(&folder.join("out"), &since);
        warm_up(&plan, &ward, &relay, interrupted)?;
        engine.settle();

        relay.begin();
        let start = wall_clock();
        since.store(start / 1000 * 1000, Ordering::Relaxed); // records have milliseconds
        let offset = Arc::new(AtomicI64::new(0));
        let began = Instant::now();
        let before = engine.usage();
        let plan = Plan { start, ..plan };
        let records = match paced {
            Some(_) => (plan.rate * Duration::from(self.time).as_secs_f64()).ceil().max(1.0) as u64,
            None => UNPACED,
        };
        let unpaced = paced.is_none();
        let ward_records = Simulation::new(plan.clone())
            .map_err(|e| Failure::new(e.to_string()))?
            .take(usize::try_from(records).unwrap_or(usize::MAX))
            .map(|mut record| {
                if unpaced {
                    record.due = 0.0;
                }
                record
            });
        let to = Arc::clone(&offset);
        let counts = publish(
            ward_records,
            &ward,
            || interrupted.is_set(),
            move |counts| {
                // When the first record was due, seen from the plan's own start.
                let due = wall_clock() - (counts.seconds * 1e6) as i64;
                to.store(due - start, Ordering::Relaxed);
            },
        )?;
        let backlog_at_end = relay.backlog();
        let after = engine.usage();
        let seconds = counts.seconds.max(1e-9);
        let until = Instant::now() + DRAIN;
        while relay.acknowledged() < counts.published && Instant::now() < until && !interrupted.is_set() {
            thread::sleep(Duration::from_millis(10));
        }
        let (settled, used_by_then) = engine.settle();
        thread::sleep(Duration::from_secs(2)); // the last second's commit
        let written_bytes = engine.written();
        let summary = engine.end()?;
        let offset = offset.load(Ordering::Relaxed);
        // Without a pace nothing is due at any time.
        let of = |times: Vec<i64>| (!unpaced).then(|| Latency::of(times, offset)).flatten();
        let (acknowledged, backlog_most) = relay.end();
        let (alerted, committed) = (alerts.end(), tables.end());
        let (lasted, after) = match unpaced {
            true => ((settled - began).as_secs_f64(), used_by_then),
            false => (seconds, after),
        };
        let used = match (before, after) {
            (Some(before), Some(after)) => after - before,
            _ => summary.cpu_seconds,
        };
        let cpu_share = used / lasted;
        Ok(Figures {
            scenario: name.to_owned(),
            rate: (!unpaced).then_some(plan.rate),
            achieved_rate: counts.published as f64 / lasted,
            seconds: lasted,
            records: counts.published,
            publisher_behind: counts.behind,
            acknowledged: of(acknowledged),
            alerted: of(alerted),
            committed: of(committed),
            cpu_share,
            cpu_microseconds_per_record: used * 1e6 / counts.published.max(1) as f64,
            peak_rss_bytes: summary.peak_rss_bytes,
            written_bytes: written_bytes.unwrap_or(summary.output_bytes),
            output_bytes: summary.output_bytes,
            backlog_most,
            backlog_at_end,
            anomalies: summary.anomalies,
            alerts: summary.alerts,
            cost: cost::monthly(name, cpu_share),
        })
    }
}

/// Fills the forests, and waits until the engine has acknowledged all of it.
fn warm_up(plan: &Plan, ward: &Broker, relay: &Relay, interrupted: &Interrupted) -> Result<(), Failure> {
    let plan = Plan {
        start: wall_clock() - EARLIER,
        rate: 5_000.0,
        anomalies: 0.0,
        ..plan.clone()
    };
    let records = Simulation::new(plan)
        .map_err(|e| Failure::new(e.to_string()))?
        .take(WARM_UP);
    let at_once = records.map(|mut record| {
        record.due = 0.0;
        record
    });
    let published = publish(at_once, ward, || interrupted.is_set(), |_| ())?.published;
    let until = Instant::now() + DRAIN;
    while relay.acknowledged() < published && Instant::now() < until && !interrupted.is_set() {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
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
