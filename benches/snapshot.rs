//! What a commit costs the workers and what a start costs: the state of a large hospital, one operator at a time on one worker.
//!
//! `cargo bench --bench snapshot` (a few GB of memory, minutes); `-- 0.1` for a tenth of the devices and records. Printed for each
//! operator: a first commit, which hands over everything, and an ordinary one of ten seconds at 5,000 records a second. The pause is
//! how long the worker needs from the end of the commit's last epoch until the commit is complete behind the operator; writing and
//! merging happen elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{InputHandle, ProbeHandle};
use wardflow::detection::{Detection, Ranges, Rule};
use wardflow::disk::LocalDisk;
use wardflow::forest::{Normalise, Parameters, Scoring};
use wardflow::operators::{Grouping, Room, Rows, Step, Tumbling, WatermarkRules, deduplicate, score, tumbling};
use wardflow::record::{Device, DeviceId, Reading, Scored};
use wardflow::snapshot::{Checkpoints, Collected, Restored, Run, Snapshots, folder_of};
use wardflow::source::{Time, end_of_commit, time_of};

const SECOND: i64 = 1_000_000;
/// Records a second, of all devices together.
const RATE: i64 = 5_000;
const DEVICES: i64 = 10_000;
const MAKERS: i64 = 10;
const EPOCH: i64 = 8192;

/// The ward, or a part of it.
struct Ward {
    devices: Vec<(DeviceId, Arc<Device>)>,
    rate: i64,
}

impl Ward {
    fn new(part: f64) -> Ward {
        let of = |whole: i64| ((whole as f64 * part) as i64).max(MAKERS);
        let device = |n| {
            let facts = Device {
                manufacturer: Some(format!("maker-{}", n % MAKERS).into()),
                ..Device::default()
            };
            (DeviceId::new(format!("monitor-{n:06}")), Arc::new(facts))
        };
        Ward {
            devices: (0..of(DEVICES)).map(device).collect(),
            rate: of(RATE),
        }
    }

    /// The `n`-th of all readings.
    fn reading(&self, n: i64) -> Reading {
        let (device, facts) = &self.devices[n as usize % self.devices.len()];
        let noise = |salt: i64| (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(salt) >> 40) as f64 / 1e6;
        Reading {
            position: n as u64,
            timestamp: n * SECOND / self.rate,
            received: i64::MAX,
            device: device.clone(),
            patient: None,
            measures: [
                36.0 + noise(1),
                80.0 + noise(2),
                97.0 + noise(3),
                120.0 + noise(4),
                80.0 + noise(5),
            ]
            .as_slice()
            .into(),
            fingerprint: (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            facts: Some(Arc::clone(facts)),
            late: false,
        }
    }
}

/// Feeds readings of two commits to an operator and tells what became of its state.
fn measure(
    name: &str,
    ward: Ward,
    seconds: i64,
    build: impl Fn(Rows<'_, Reading>, &Checkpoints) -> ProbeHandle<Time> + Send + Sync + 'static,
) {
    let collected = Arc::new(Collected::default());
    let checkpoints = Checkpoints {
        first_commit: 0,
        collected: Arc::clone(&collected),
        restored: Arc::new(Restored::default()),
    };
    let (first, rate) = (seconds * ward.rate, ward.rate);
    let pauses = timely::execute_directly(move |worker| {
        let mut input = InputHandle::<Time, CapacityContainerBuilder<Vec<Reading>>>::new();
        let probe = worker.dataflow::<Time, _, _>(|scope| build(input.to_stream(scope), &checkpoints));
        let mut pauses = [Duration::ZERO; 2];
        for (commit, of) in (0u32..).zip([0..first, first..first + 10 * rate]) {
            let mut epoch = 0;
            for n in of {
                input.send(ward.reading(n));
                if n % EPOCH == EPOCH - 1 {
                    epoch += 1;
                    let last = time_of(commit, epoch - 1);
                    input.advance_to(time_of(commit, epoch));
                    worker.step_while(|| probe.less_equal(&last));
                }
            }
            // All rows are taken before the clock starts: what remains is the end of the commit.
            input.advance_to(end_of_commit(commit));
            worker.step_while(|| probe.less_than(&end_of_commit(commit)));
            let began = Instant::now();
            input.advance_to(time_of(commit + 1, 0));
            worker.step_while(|| probe.less_equal(&end_of_commit(commit)));
            pauses[commit as usize] = began.elapsed();
        }
        pauses
    });
    let folder = std::env::temp_dir().join(format!("wardflow-bench-{}", std::process::id()));
    let snapshots = Snapshots::new(LocalDisk, folder_of(&folder));
    let runs: Vec<Run> = (0u32..)
        .zip(pauses)
        .filter_map(|(commit, pause)| {
            let entries = collected.take_through(commit);
            let began = Instant::now();
            let run = snapshots.write(commit, entries).expect("room for the state")?;
            println!(
                "{name:12} {}  pause {:8.1} ms   {:8} entries {:7.1} MB written in {:7.1} ms",
                if commit == 0 { "all   " } else { "commit" },
                milliseconds(pause),
                run.entries,
                run.bytes as f64 / 1e6,
                milliseconds(began.elapsed())
            );
            Some(run)
        })
        .collect();
    let began = Instant::now();
    let merged = snapshots.merge(u32::MAX, &runs, true).expect("what was just written");
    let merging = began.elapsed();
    let began = Instant::now();
    let restored = snapshots.load(merged.as_slice(), 1).expect("what was just written");
    println!(
        "{name:12} start   merged in {:.1} ms, read in {:.1} ms",
        milliseconds(merging),
        milliseconds(began.elapsed())
    );
    drop(restored);
    std::fs::remove_dir_all(&folder).unwrap_or_else(|e| eprintln!("{}: {e}", PathBuf::from(&folder).display()));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn by(names: &[&str]) -> Grouping {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Grouping::new(&names, &[]).expect("known columns")
}

fn main() {
    let part = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(1.0);
    let ward = || Ward::new(part);
    let hour = 3_600 * SECOND;
    let build = move |readings: Rows<'_, Reading>, checkpoints: &Checkpoints| {
        deduplicate(readings, Some(hour), Some(checkpoints)).0.probe().0
    };
    measure("deduplicate", ward(), 3_600, build);

    let parameters = Parameters {
        trees: 100,
        sample_size: 256,
        time_decay: 100_000,
        shingle: 1,
        measures: 5,
        scoring: Scoring::Kinesis,
        seed: 42,
        normalise: Normalise::None,
    };
    let detection = Detection {
        rule: Rule::Fixed(2.0),
        ranges: Ranges::default(),
    };
    let room = Room {
        keys: 10_000,
        devices: 100_000,
        folder: std::env::temp_dir(), // where nothing is put away
    };
    let build = move |readings: Rows<'_, Reading>, checkpoints: &Checkpoints| {
        score(
            readings,
            by(&["manufacturer"]),
            parameters.clone(),
            detection.clone(),
            &room,
            Some(checkpoints),
        )
        .probe()
        .0
    };
    measure("score", ward(), 20, build);

    let build = |readings: Rows<'_, Reading>, checkpoints: &Checkpoints| {
        let windows = Tumbling {
            groupings: vec![by(&["device_id"]), by(&["manufacturer", "device_id"])],
            measures: 5,
            rules: WatermarkRules {
                size: 60 * SECOND,
                out_of_orderness: 30 * SECOND,
                allowed_lateness: 3_600 * SECOND,
                max_jump: 24 * 3_600 * SECOND,
            },
            per_device: false,
        };
        let steps = steps(readings.clone(), windows.rules);
        let scored = readings.map(|reading| Scored {
            reading,
            score: Some(1.0),
            attribution: None,
            threshold: None,
        });
        let (_, rows) = tumbling(scored, steps, windows, Some(checkpoints));
        rows.probe().0
    };
    measure("windows", ward(), 600, build);
}

/// A step a minute.
fn steps<'scope>(readings: Rows<'scope, Reading>, rules: WatermarkRules) -> Rows<'scope, Step> {
    let mut complete = i64::MIN;
    readings.flat_map(move |reading| {
        let reached = rules.index(reading.timestamp - rules.out_of_orderness);
        let is_new = reached > complete;
        complete = complete.max(reached);
        is_new.then(|| Step {
            position: reading.position,
            device: None,
            complete: reached,
            out_of_reach: reached - 60,
        })
    })
}
