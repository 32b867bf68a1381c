//! One scenario, from a fresh engine to its end. In: rate, time and broker. Out: what those who watched have seen, and what the engine used.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::engine::Engine;
use super::latency::Latency;
use super::relay::Relay;
use super::watchers::{Alerts, Since, Tables};
use super::{Figures, cost, unwritable};
use crate::cluster::Interrupted;
use crate::observe::wall_clock;
use crate::simulate::{Broker, Counts, Plan, Record, Simulation, publish};

/// How long the engine may take, once the load has ended, to acknowledge all of it.
const DRAIN: Duration = Duration::from_secs(60);
/// How long the last commit may take to be made and seen.
const LAST_COMMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// The rate of the records before the measured ones, by their event times.
const WARM_UP_RATE: f64 = 5_000.0;
/// How long before now those end.
const EARLIER: i64 = 10_000_000;
/// Records of the run without a pace.
const UNPACED: u64 = 200_000;
/// Share of records that belong to faults, so that there are alerts.
const FAULTS: f64 = 0.01;

/// What load is measured.
pub(super) struct Scenario {
    name: String,
    plan: Plan,
    records: u64,
    /// Records that come before them, so that every forest gives scores.
    warm_up: u64,
    /// Whether each record has its time; else all come at once.
    paced: bool,
}

impl Scenario {
    /// One of [`NAMES`](super::NAMES), for so long, behind so many records.
    pub(super) fn of(name: &str, time: Duration, warm_up: u64) -> Scenario {
        let paced = Plan::preset(name);
        let plan = Plan {
            anomalies: FAULTS,
            ..paced.clone().or_else(|| Plan::preset("large")).unwrap_or_default()
        };
        Scenario {
            name: name.to_owned(),
            records: match paced {
                Some(_) => (plan.rate * time.as_secs_f64()).ceil().max(1.0) as u64,
                None => UNPACED,
            },
            warm_up,
            paced: paced.is_some(),
            plan,
        }
    }

    /// Its records from `start` on.
    fn records(&self, start: i64) -> Result<impl Iterator<Item = Record> + use<>, Failure> {
        let plan = Plan {
            start,
            ..self.plan.clone()
        };
        records(plan, self.records, self.paced)
    }

    /// Those that come before it.
    fn warm_up(&self) -> Result<impl Iterator<Item = Record> + use<>, Failure> {
        let plan = Plan {
            start: wall_clock() - EARLIER - (self.warm_up as f64 / WARM_UP_RATE * 1e6) as i64,
            rate: WARM_UP_RATE,
            anomalies: 0.0,
            ..self.plan.clone()
        };
        records(plan, self.warm_up, false)
    }

    fn write_devices(&self, path: &Path) -> Result<(), Failure> {
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            self.plan.write_devices(&mut file)?;
            file.flush()
        };
        write().map_err(|e| unwritable(path, &e))
    }
}

fn records(plan: Plan, count: u64, paced: bool) -> Result<impl Iterator<Item = Record> + use<>, Failure> {
    let ward = Simulation::new(plan).map_err(|e| Failure::new(e.to_string()))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(ward.take(count).map(move |mut record| {
        if !paced {
            record.due = 0.0;
        }
        record
    }))
}

/// What is set up for a scenario.
pub(super) struct Stage<'a> {
    scenario: Scenario,
    ward: Broker,
    relay: Relay,
    engine: Engine,
    alerts: Alerts,
    tables: Tables,
    since: Since,
    interrupted: &'a Interrupted,
}

/// What a load was.
pub(super) struct Load {
    counts: Counts,
    /// From the start of the plan to the moment at which the first record was due, microseconds.
    offset: i64,
    seconds: f64,
    /// CPU time of the engine, where the system tells.
    used: Option<f64>,
    backlog_at_end: u64,
}

impl Stage<'_> {
    /// A fresh engine in a fresh folder, behind the broker at `url`, its forests filled.
    pub(super) fn set<'a>(
        scenario: Scenario,
        url: &str,
        within: &Path,
        (workers, settings): (usize, &[String]),
        interrupted: &'a Interrupted,
    ) -> Result<Stage<'a>, Failure> {
        let folder = within.join(&scenario.name);
        fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
        scenario.write_devices(&folder.join("devices.csv"))?;
        let ward = Broker::parse(url)?;
        let relay = Relay::start(&ward.host, ward.port)
            .map_err(|e| Failure::new(format!("nothing can listen between broker and engine ({e})")))?;
        let topic = format!("wardflow/bench/{}/alerts", std::process::id());
        let since = Since::new(AtomicI64::new(i64::MAX));
        let stage = Stage {
            alerts: Alerts::watch(url, &topic, &since)?,
            engine: Engine::start(&folder, url, relay.port, workers, &topic, settings)?,
            tables: Tables::watch(&folder.join("out"), &since),
            scenario,
            ward,
            relay,
            since,
            interrupted,
        };
        let records = stage.scenario.warm_up()?;
        let counts = publish(records, &stage.ward, || interrupted.is_set(), |_| ())?;
        stage.drain(counts.published);
        stage.await_commit(counts.published); // or the first measured records would wait for its end
        stage.engine.settle();
        Ok(stage)
    }

    /// Waits until the engine has acknowledged so many records.
    fn drain(&self, records: u64) {
        let until = Instant::now() + DRAIN;
        while self.relay.acknowledged() < records && Instant::now() < until && !self.interrupted.is_set() {
            thread::sleep(LOOK);
        }
    }

    /// Waits until so many rows are in the tables.
    fn await_commit(&self, rows: u64) {
        let until = Instant::now() + LAST_COMMIT;
        while self.tables.rows() < rows && Instant::now() < until && !self.interrupted.is_set() {
            thread::sleep(LOOK);
        }
    }

    /// Publishes the scenario's records, and waits until the engine has nothing left to do.
    pub(super) fn load(&self) -> Result<Load, Failure> {
        let (began, used_before) = (Instant::now(), self.engine.used());
        let start = wall_clock();
        self.relay.begin();
        self.since.store(start / 1000 * 1000, Ordering::Relaxed); // records have milliseconds
        let offset = Arc::new(AtomicI64::new(i64::MAX));
        let (to, stop) = (Arc::clone(&offset), self.interrupted.clone());
        let counts = publish(
            self.scenario.records(start)?,
            &self.ward,
            || stop.is_set(),
            |counts| {
                let first_due = wall_clock() - (counts.seconds * 1e6) as i64;
                to.fetch_min(first_due - start, Ordering::Relaxed);
            },
        )?;
        let (backlog_at_end, used_by_then) = (self.relay.backlog(), self.engine.used());
        self.drain(counts.published);
        let (settled, used_in_all) = self.engine.settle();
        self.await_commit(self.scenario.warm_up + counts.published);
        let (seconds, used_after) = match self.scenario.paced {
            true => (counts.seconds, used_by_then),
            false => ((settled - began).as_secs_f64(), used_in_all),
        };
        Ok(Load {
            counts,
            offset: offset.load(Ordering::Relaxed),
            seconds: seconds.max(1e-3),
            used: used_after.zip(used_before).map(|(after, before)| after - before),
            backlog_at_end,
        })
    }

    /// Ends the engine, and counts.
    pub(super) fn end(self, load: &Load) -> Result<Figures, Failure> {
        let written = self.engine.written();
        let summary = self.engine.end()?;
        let Scenario { name, plan, paced, .. } = self.scenario;
        // Without a pace nothing is due at any time.
        let of = |times: Vec<i64>| Latency::of(times, load.offset).filter(|_| paced);
        let (acknowledged, backlog_most) = self.relay.end();
        let published = load.counts.published;
        let used = load.used.unwrap_or(summary.cpu_seconds);
        let cpu_share = used / load.seconds;
        Ok(Figures {
            cost: cost::monthly(&name, cpu_share),
            scenario: name,
            rate: paced.then_some(plan.rate),
            achieved_rate: published as f64 / load.seconds,
            seconds: load.seconds,
            records: published,
            publisher_behind: load.counts.behind,
            acknowledged: of(acknowledged),
            alerted: of(self.alerts.end()),
            committed: of(self.tables.end()),
            cpu_share,
            cpu_microseconds_per_record: used * 1e6 / published.max(1) as f64,
            peak_rss_bytes: summary.peak_rss_bytes,
            written_bytes: written.unwrap_or(summary.output_bytes),
            output_bytes: summary.output_bytes,
            backlog_most,
            backlog_at_end: load.backlog_at_end,
            anomalies: summary.anomalies,
            alerts: summary.alerts,
        })
    }
}
