//! Runs a dataflow on the workers of this process, from the first record to the last commit.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::WorkerConfig;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Exchange, Inspect, Probe};
use timely::worker::Worker;

use super::Failure;
use super::preparation::{Owned, Preparation, Task};
use crate::cluster::{Interrupted, Topology, halt, halt_with, run};
use crate::commit::Manifest;
use crate::dataflows::{Equipment, KeptByOne, Shared, Sources, build};
use crate::devices::Collection;
use crate::observe::{Stages, Usage};
use crate::operators::{Committer, DeviceKey, DeviceUpdate, EndOfInput, UnknownDevices};
use crate::source::{Chunk, Cut, Feed, FeedHandle, ReadError, Reader, Time, start};

/// Epochs between the source and the tables' writers at most: enough to keep every worker busy, few enough to stay small.
const IN_FLIGHT: usize = 8;
/// How long a worker without work sleeps at most before it looks again, also for signals.
const IDLE: Duration = Duration::from_millis(10);
/// The list of devices that the collection does not know, in the state folder.
pub(super) const UNKNOWN_DEVICES: &str = "unknown_devices.csv";

type Input<D> = InputHandle<Time, CapacityContainerBuilder<Vec<D>>>;

/// A finished run, as worker 0 knows it.
pub(super) struct Finished {
    pub(super) records: u64,
    /// Process 0's.
    pub(super) manifest: Option<Manifest>,
    pub(super) usage: Usage,
    pub(super) stages: BTreeMap<String, f64>,
}

/// Runs to the end of the input.
pub(super) fn run_workers(
    task: &Task,
    topology: &Topology,
    preparation: Preparation,
    interrupted: &Interrupted,
) -> Result<Finished, Failure> {
    let Preparation {
        mesh,
        sealer,
        payloads,
        owned,
    } = preparation;
    let settings = Arc::new(task.settings.clone());
    let (workers, first) = (topology.workers(), topology.process() * topology.workers());
    let cut = Cut {
        epoch_records: settings.replay.epoch_records,
        commit_records: settings.output.commit_rows,
        commit_bytes: settings.output.commit_bytes,
        max_record_bytes: settings.record.max_record_bytes,
        workers: workers * topology.processes(),
        mine: first..first + workers,
    };
    let feeds = start(Reader::new(&task.inputs, cut), workers, |ReadError { file, error }| {
        halt(format!("{file}: cannot be read any further ({error})"))
    });
    // Each worker takes its own out of here when it starts.
    let feeds = Mutex::new(feeds.into_iter().map(Some).collect::<Vec<_>>());
    let owned = Mutex::new(owned);
    let shared = Shared {
        settings,
        sealer,
        payloads,
        output: task.output.clone(),
    };
    let (state, interrupted) = (task.state.clone(), interrupted.clone());

    let results = run(topology, mesh, WorkerConfig::default(), move |worker| {
        let lost = "a worker that panicked has ended the process";
        let feed = feeds.lock().expect(lost)[worker.index() - first]
            .take()
            .expect("each worker starts once");
        let owned = if worker.index() == 0 {
            owned.lock().expect(lost).take()
        } else {
            None
        };
        let (kept, devices, committer) = match owned {
            None => (None, None, None),
            Some(Owned {
                folder,
                found,
                vault,
                devices,
            }) => {
                let committer = Rc::new(RefCell::new(Committer::new(folder, found)));
                let unknown_devices = UnknownDevices::new(state.join(UNKNOWN_DEVICES));
                (
                    Some(KeptByOne {
                        vault,
                        committer: Rc::clone(&committer),
                        unknown_devices,
                    }),
                    devices,
                    Some(committer),
                )
            }
        };
        let watched = Stages::watch(worker);
        run_worker(
            worker,
            &feed,
            Equipment::new(shared.clone(), kept),
            devices,
            &interrupted,
        );
        let (usage, stages) = gather(worker, worker.index() == first, &watched);
        let manifest = committer.map(|committer| {
            let mut committer = committer.borrow_mut();
            committer.complete().unwrap_or_else(|e| halt(e));
            committer.manifest.clone()
        });
        (feed.records(), manifest, usage, stages)
    })?;
    let (records, manifest, usage, stages) = results.into_iter().next().expect("every process has a worker");
    Ok(Finished {
        records,
        manifest,
        usage,
        stages,
    })
}

/// Feeds the dataflow until everything is committed.
fn run_worker(
    worker: &mut Worker,
    feed: &FeedHandle,
    equipment: Equipment,
    devices: Option<Collection>,
    interrupted: &Interrupted,
) {
    let (mut records, mut ends, mut updates): (Input<Chunk>, Input<EndOfInput>, Input<DeviceUpdate>) =
        (InputHandle::new(), InputHandle::new(), InputHandle::new());
    let flow = worker.dataflow::<Time, _, _>(|scope| {
        let sources = Sources {
            records: records.to_stream(scope),
            devices: updates.to_stream(scope),
            ends: ends.to_stream(scope),
        };
        build(sources, equipment)
    });
    for (device, facts) in devices.into_iter().flat_map(Collection::into_devices) {
        updates.send((DeviceKey(device), Some(facts), 0));
    }
    updates.close(); // nothing of it changes during a replay

    feed.wake_this_thread();
    let mut in_flight: VecDeque<Time> = VecDeque::new();
    loop {
        check(interrupted);
        while in_flight.front().is_some_and(|time| !flow.less_equal(time)) {
            in_flight.pop_front();
        }
        if in_flight.len() >= IN_FLIGHT {
            worker.step_or_park(Some(IDLE));
            continue;
        }
        match feed.next() {
            Feed::Wait => {
                worker.step_or_park(Some(IDLE));
            }
            Feed::End => break,
            Feed::Epoch(time, chunk) => {
                records.advance_to(time);
                ends.advance_to(time);
                if chunk.ends_input && worker.index() == 0 {
                    ends.send(EndOfInput);
                }
                records.send(chunk);
                records.advance_to(time + 1);
                ends.advance_to(time + 1);
                in_flight.push_back(time);
                worker.step();
            }
        }
    }
    records.close();
    ends.close();
    while worker.has_dataflows() {
        check(interrupted);
        worker.step_or_park(Some(IDLE));
    }
}

/// An interrupted replay keeps its last commit. Nothing else is lost by ending at once, and nothing can hang.
fn check(interrupted: &Interrupted) {
    if interrupted.is_set() {
        halt_with(
            130,
            "interrupted; what is committed stays, the same command goes on from there",
        );
    }
}

/// Brings what all processes have used, and their workers' accounts, to worker 0.
fn gather(worker: &mut Worker, reports_process: bool, stages: &Stages) -> (Usage, BTreeMap<String, f64>) {
    let gathered = Rc::new(RefCell::new((Usage::default(), BTreeMap::<String, f64>::new())));
    let mut input: Input<(Option<Usage>, BTreeMap<String, f64>)> = InputHandle::new();
    let into = Rc::clone(&gathered);
    let probe = worker.dataflow::<Time, _, _>(|scope| {
        let (probe, _) = input
            .to_stream(scope)
            .exchange(|_| 0)
            .inspect(move |(usage, stages)| {
                let mut gathered = into.borrow_mut();
                gathered.0.add(usage.unwrap_or_default());
                for (stage, seconds) in stages {
                    *gathered.1.entry(stage.clone()).or_default() += seconds;
                }
            })
            .probe();
        probe
    });
    input.send((reports_process.then(Usage::now), stages.seconds()));
    input.close();
    while !probe.done() {
        worker.step_or_park(Some(IDLE));
    }
    gathered.take()
}
