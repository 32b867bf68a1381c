//! Who watches what comes out. In: alerts at the broker, and files of readings. Out: how late each was.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arrow_array::TimestampMicrosecondArray;
use arrow_array::cast::AsArray;
use crossbeam_channel::{Receiver, unbounded};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::Failure;
use crate::observe::wall_clock;
use crate::record::{EventTime, Zone};
use crate::settings::{Micros, Source};
use crate::source::{Connectivity, Subscription, subscribe};
use crate::threads;

/// How often it is looked for new files.
const LOOK: Duration = Duration::from_millis(10);
/// An alert is small.
const LARGEST: usize = 1 << 16;

/// The event time from which on readings are measured; those before it warm the engine up.
pub(super) type Since = Arc<AtomicI64>;

/// Takes the age of each alert when it comes.
pub(super) struct Alerts {
    subscription: Subscription,
    ages: Receiver<i64>,
}

impl Alerts {
    /// Of readings from `since` on.
    pub(super) fn watch(broker: &str, topic: &str, since: &Since) -> Result<Alerts, Failure> {
        let source = Source {
            url: broker.to_owned(),
            topics: vec![format!("{topic}/#")],
            client_id: format!("wardflow-bench-watcher-{}", std::process::id()),
            session_expiry: Micros(0),
            ..Source::default()
        };
        let subscription = subscribe(&source, 0, LARGEST, Vec::new(), |_: Connectivity| ())?;
        let (messages, acknowledger) = (subscription.messages().clone(), subscription.acknowledger());
        let (sender, ages) = unbounded();
        let since = Arc::clone(since);
        thread::spawn(move || {
            let zone = Zone::new(jiff::tz::TimeZone::UTC, 1_000);
            for message in messages {
                acknowledger.acknowledge(message.number);
                let alert: Option<serde_json::Value> = serde_json::from_slice(&message.payload).ok();
                let time = alert
                    .as_ref()
                    .and_then(|alert| zone.of_text(alert["timestamp"].as_str()?));
                if let Some(time) = time.filter(|time| *time >= since.load(Ordering::Relaxed))
                    && sender.send(message.received - time).is_err()
                {
                    return;
                }
            }
        });
        Ok(Alerts { subscription, ages })
    }

    /// All ages in microseconds.
    pub(super) fn end(self) -> Vec<i64> {
        self.subscription.leave();
        self.ages.try_iter().collect()
    }
}

/// Takes the age of each row of `readings` when its file is seen.
pub(super) struct Tables {
    rows: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Vec<i64>>,
}

impl Tables {
    /// Of readings from `since` on.
    pub(super) fn watch(output: &Path, since: &Since) -> Tables {
        let (rows, done) = (Arc::<AtomicU64>::default(), Arc::new(AtomicBool::new(false)));
        let (until, since, readings) = (Arc::clone(&done), Arc::clone(since), output.join("readings"));
        let count = Arc::clone(&rows);
        let thread = threads::start_behind("tables", move || {
            let (mut seen, mut ages) = (HashSet::new(), Vec::new());
            loop {
                let last = until.load(Ordering::Acquire);
                for file in files(&readings) {
                    if seen.insert(file.clone()) {
                        let now = wall_clock();
                        let since = since.load(Ordering::Relaxed);
                        let counts = |time: &EventTime| *time >= since;
                        let times = times(&file);
                        count.fetch_add(times.len() as u64, Ordering::Release);
                        ages.extend(times.into_iter().filter(counts).map(|time| now - time));
                    }
                }
                if last {
                    return ages;
                }
                thread::sleep(LOOK);
            }
        });
        Tables { rows, done, thread }
    }

    /// How many have been seen, those before `since` among them.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// All ages in microseconds.
    pub(super) fn end(self) -> Vec<i64> {
        self.done.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default() // one that panicked has ended the process
    }
}

fn files(table: &Path) -> Vec<PathBuf> {
    let of = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    of(table).flat_map(|date| of(&date).collect::<Vec<_>>()).collect()
}

/// Event times of a file of readings; a file that a reader sees is complete.
fn times(path: &Path) -> Vec<i64> {
    let read = || -> Option<Vec<i64>> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
        let columns = ProjectionMask::columns(builder.parquet_schema(), ["timestamp"]);
        let mut times = Vec::new();
        for batch in builder.with_projection(columns).build().ok()? {
            let batch = batch.ok()?;
            let column: &TimestampMicrosecondArray = batch.column(0).as_primitive_opt()?;
            times.extend(column.iter().flatten());
        }
        Some(times)
    };
    read().unwrap_or_default()
}
