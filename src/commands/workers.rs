//! Runs a dataflow on the workers of this process, from the first record to the last commit.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use timely::WorkerConfig;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Exchange, Inspect, Probe};
use timely::worker::Worker;

use super::Failure;
use super::devices::joins;
use super::preparation::{Input as From, Owned, Preparation, Task};
use super::receiving::Receiving;
use crate::cluster::{Interrupted, Topology, halt, halt_with, run};
use crate::commit::Manifest;
use crate::dataflows::{Equipment, KeptByOne, Shared, Sources, build, parser};
use crate::devices::Collection;
use crate::judge::Trial;
use crate::observe::{Board, Stages, Usage, show_progress};
use crate::operators::{Committer, DeviceKey, DeviceUpdate, HandOver, Mark, UnknownDevices};
use crate::source::{Chunk, Cut, Feed, FeedHandle, Inputs, Reader, SourceError, Time, start};

/// Epochs between the source and the tables' writers at most: enough to keep every worker busy, few enough to stay small. Of a live
/// run's, which are a few records each, more: while the windows of a full minute are scored none of them is over, and none should wait.
const IN_FLIGHT: usize = 16;
const SMALL_ONES_IN_FLIGHT: usize = 256;
/// So many records of a worker are few.
const FEW_IN_FLIGHT: usize = 16_384;
/// How long a worker without work sleeps at most before it looks again, also for signals.
const IDLE: Duration = Duration::from_millis(10);
/// How often the board is told of progress.
const TELL: Duration = Duration::from_millis(50);
/// The list of devices that the collection does not know, in the state folder.
pub(super) const UNKNOWN_DEVICES: &str = "unknown_devices.csv";

type Input<D> = InputHandle<Time, CapacityContainerBuilder<Vec<D>>>;

/// What ends a run at once, and what is told then.
type Halts<'a> = (&'a Interrupted, &'static str);

/// A finished run, as worker 0 knows it.
pub(super) struct Finished {
    pub(super) records: u64,
    /// Process 0's.
    pub(super) manifest: Option<Manifest>,
    pub(super) usage: Usage,
    pub(super) stages: BTreeMap<String, f64>,
    /// Process 0's, where it was asked for.
    pub(super) trial: Option<Trial>,
}

/// What the workers are to do.
pub(super) enum Work {
    /// Files to their end; an interruption ends the process at once.
    Replay(Inputs),
    /// The same, and what was made of every reading is remembered.
    Backtest(Inputs),
    /// The sessions until an interruption, and then all that has come; the board shows how it goes.
    Live(Receiving, Arc<Board>),
    /// What a live run has received, as it was cut.
    Recording,
}

/// Runs to the end of the input.
pub(super) fn run_workers(
    task: &Task,
    topology: &Topology,
    preparation: Preparation,
    work: Work,
    interrupted: &Interrupted,
) -> Result<Finished, Failure> {
    let Preparation {
        mesh,
        lines: _,
        sealer,
        payloads,
        fence,
        mut owned,
        continuation,
    } = preparation;
    let settings = Arc::new(task.settings.clone());
    let (workers, first) = (topology.workers(), topology.process() * topology.workers());
    let judged = matches!(work, Work::Backtest(_));
    // The epochs of a live run may bring changes of the device collection.
    let devices_change = matches!(work, Work::Live(..) | Work::Recording);
    if !matches!(work, Work::Live(..)) {
        take_small_pages();
    }
    let fail = |error: SourceError| halt(error);
    let all = (workers * topology.processes(), first..first + workers);
    let (mut checkpoints, mut keeping, mut hand_over) = (None, None, None);
    let (mut outbox, mut alerting) = (None, false);
    let (feeds, board, shown) = match work {
        Work::Recording => {
            let From::Recording(recording) = &task.input else {
                return Err(Failure::new("a recording is replayed from a journal"));
            };
            checkpoints = recording.checkpoints(workers)?;
            let devices = owned.as_mut().and_then(|owned| owned.succession.take());
            (start(recording.epochs(task, all, devices)?, workers, fail), None, None)
        }
        Work::Replay(inputs) | Work::Backtest(inputs) => {
            let cut = Cut {
                epoch_records: settings.replay.epoch_records,
                commit_records: settings.output.commit_rows,
                commit_bytes: settings.output.commit_bytes,
                max_record_bytes: settings.record.max_record_bytes,
                workers: all.0,
                mine: all.1,
            };
            let reader = Reader::new(&inputs, cut, parser(&settings.record), task.speed);
            let shown = (topology.process() == 0).then(|| show_progress(reader.progress(), inputs.bytes()));
            (start(reader, workers, fail), None, shown)
        }
        Work::Live(receiving, board) => {
            let continuation = continuation.ok_or_else(|| Failure::new("a live run has journals"))?;
            checkpoints = Some(continuation.checkpoints.clone());
            (outbox, alerting) = (continuation.outbox.clone(), continuation.alerting);
            hand_over = (topology.process() > 0).then(|| continuation.snapshots.clone());
            let (feeds, kept) = receiving.start(task, topology, continuation, &fence, interrupted)?;
            keeping = kept;
            (feeds, Some(board), None)
        }
    };
    // Each worker takes its own out of here when it starts.
    let feeds = Mutex::new(feeds.into_iter().map(Some).collect::<Vec<_>>());
    let owned = Mutex::new(owned.map(|owned| (owned, keeping, outbox)));
    let hand_over = Mutex::new(
        hand_over
            .zip(checkpoints.as_ref())
            .map(|(snapshots, state)| HandOver::start(state, snapshots, fence.clone())),
    );
    let shared = Shared {
        settings,
        sealer,
        payloads,
        output: task.output.clone(),
        state: task.state.clone(),
        incarnation: fence.incarnation(),
        board: board.clone(),
        joined: joins(task),
        judged,
        checkpoints: checkpoints.clone(),
        alerting,
    };
    let (state, interrupted) = (task.state.clone(), interrupted.clone());
    let when_interrupted = match task.passing {
        false => "interrupted; what is committed stays, the same command goes on from there",
        true => "interrupted; nothing is kept",
    };

    // Live, a worker waits for the disk and for devices: far longer than it is worth looking out for what comes.
    let config = match &board {
        None => WorkerConfig::default(),
        Some(_) => WorkerConfig::default().idle_spin(Duration::ZERO),
    };
    let results = run(topology, mesh, config, move |worker| {
        let lost = "a worker that panicked has ended the process";
        let feed = feeds.lock().expect(lost)[worker.index() - first]
            .take()
            .expect("each worker starts once");
        let owned = if worker.index() == 0 {
            owned.lock().expect(lost).take()
        } else {
            None
        };
        let trial = Rc::new(RefCell::new(Trial::default()));
        let (kept, devices, committer) = match owned {
            None => (None, None, None),
            Some((owned, keeping, outbox)) => {
                let Owned {
                    folder,
                    found,
                    vault,
                    devices,
                    succession: _,
                } = owned;
                let committer = match (keeping, &checkpoints) {
                    (Some(keeping), Some(state)) => {
                        Committer::continuing(folder, found, keeping, Arc::clone(&state.collected))
                    }
                    _ => Committer::replaying(folder, found),
                };
                let committer = Rc::new(RefCell::new(Some(committer)));
                let unknown_devices = UnknownDevices::new(state.join(UNKNOWN_DEVICES));
                (
                    Some(KeptByOne {
                        vault,
                        committer: Rc::clone(&committer),
                        outbox,
                        unknown_devices,
                        trial: Rc::clone(&trial),
                    }),
                    devices,
                    Some(committer),
                )
            }
        };
        // A live run has more calls of operators than records: account of each would be a thirtieth of its work.
        let watched = match &board {
            None => Stages::watch(worker),
            Some(_) => Stages::default(),
        };
        let hand_over = match worker.index() == first {
            true => hand_over.lock().expect(lost).take(),
            false => None,
        };
        let equipment = Equipment::new(shared.clone(), kept).handing_over(hand_over);
        let mut told = Instant::now();
        let show = || {
            if told.elapsed() < TELL {
                return;
            }
            told = Instant::now();
            if let (Some(board), Some(committer)) = (&board, &committer)
                && let Some(committer) = committer.borrow().as_ref()
            {
                let (commits, tally) = committer.progress();
                board.progress(feed.records(), commits, &tally);
            }
        };
        // A live run ends when its source does, a replay at once.
        let halts = board.is_none().then_some((&interrupted, when_interrupted));
        let devices = (worker.index() == 0).then(|| (devices.unwrap_or_default(), devices_change));
        run_worker(worker, &feed, equipment, devices, halts, show);
        let (usage, stages) = gather(worker, worker.index() == first, &watched);
        let manifest = committer.and_then(|committer| {
            let committer = committer.borrow_mut().take()?;
            Some(committer.finish(board.is_none()).unwrap_or_else(|e| halt(e)))
        });
        (feed.records(), manifest, usage, stages, trial.take())
    })?;
    drop(shown);
    let (records, manifest, usage, stages, trial) = results.into_iter().next().expect("every process has a worker");
    Ok(Finished {
        records,
        manifest,
        usage,
        stages,
        trial: judged.then(|| {
            let mut trial = trial;
            trial.complete();
            trial
        }),
    })
}

/// Feeds the dataflow until everything is committed. `devices` is the collection that the first epoch meets, and whether it may change; worker 0 has it.
fn run_worker(
    worker: &mut Worker,
    feed: &FeedHandle,
    equipment: Equipment,
    devices: Option<(Collection, bool)>,
    halts: Option<Halts<'_>>,
    mut show: impl FnMut(),
) {
    let (mut records, mut marks, mut updates): (Input<Chunk>, Input<Mark>, Input<DeviceUpdate>) =
        (InputHandle::new(), InputHandle::new(), InputHandle::new());
    let flow = worker.dataflow::<Time, _, _>(|scope| {
        let sources = Sources {
            records: records.to_stream(scope),
            devices: updates.to_stream(scope),
            marks: marks.to_stream(scope),
        };
        build(sources, equipment)
    });
    let change = devices.as_ref().is_some_and(|(_, change)| *change);
    for (device, facts) in devices.into_iter().flat_map(|(first, _)| first.into_devices()) {
        updates.send((DeviceKey(device), Some(facts), 0));
    }
    let mut updates = Some(updates).filter(|_| change); // else closed: nothing of it changes

    feed.wake_this_thread();
    let mut in_flight = InFlight::default();
    loop {
        check(halts);
        show();
        in_flight.forget(|time| !flow.less_equal(&time));
        if in_flight.is_full() {
            worker.step_or_park(Some(IDLE));
            continue;
        }
        match feed.next() {
            Feed::Wait => {
                worker.step_or_park(Some(IDLE));
            }
            Feed::End => break,
            Feed::Epoch(time, mut chunk) => {
                if let Some(updates) = &mut updates {
                    updates.advance_to(time);
                    for (device, facts) in std::mem::take(&mut chunk.devices) {
                        updates.send((DeviceKey(device), facts, time));
                    }
                    updates.advance_to(time + 1);
                }
                records.advance_to(time);
                marks.advance_to(time);
                if chunk.ends_input && worker.index() == 0 {
                    marks.send(Mark::End);
                }
                if let (Some(at), 0) = (chunk.idle, worker.index()) {
                    let position = chunk.first_position();
                    marks.send(Mark::Idle { position, at });
                }
                in_flight.add(time, chunk.len());
                records.send(chunk);
                records.advance_to(time + 1);
                marks.advance_to(time + 1);
                worker.step();
            }
        }
    }
    records.close();
    marks.close();
    drop(updates);
    while worker.has_dataflows() {
        check(halts);
        show();
        worker.step_or_park(Some(IDLE));
    }
}

/// Epochs that are not over, the oldest first, and how many records of this worker each has.
#[derive(Default)]
struct InFlight {
    epochs: VecDeque<(Time, usize)>,
    records: usize,
}

impl InFlight {
    fn add(&mut self, time: Time, records: usize) {
        self.epochs.push_back((time, records));
        self.records += records;
    }

    /// Those that are over.
    fn forget(&mut self, is_over: impl Fn(Time) -> bool) {
        while let Some((_, records)) = self.epochs.pop_front_if(|(time, _)| is_over(*time)) {
            self.records -= records;
        }
    }

    /// Whether the next epoch has to wait.
    fn is_full(&self) -> bool {
        let most = if self.records < FEW_IN_FLIGHT {
            SMALL_ONES_IN_FLIGHT
        } else {
            IN_FLIGHT
        };
        self.epochs.len() >= most
    }
}

/// Has fresh memory come in small pages. A replay is short and takes much of it: the huge ones that mimalloc asks for are cleared as a
/// whole, which with two workers was up to a twentieth of its time, and 50 MB. A live run takes its memory once; there they are worth
/// half a hundredth of a core, since its forests are found sooner in them.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true); // where it cannot be had it is slower, no more
}

/// An interrupted replay keeps its last commit. Nothing else is lost by ending at once, and nothing can hang.
fn check(halts: Option<Halts<'_>>) {
    if let Some((_, told)) = halts.filter(|(interrupted, _)| interrupted.is_set()) {
        halt_with(130, told);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How many epochs of so many records are taken before the next has to wait.
    fn taken(records: usize) -> usize {
        let mut in_flight = InFlight::default();
        while !in_flight.is_full() {
            in_flight.add(in_flight.epochs.len() as Time, records);
        }
        in_flight.epochs.len()
    }

    #[test]
    fn epochs_of_few_records_wait_for_no_others_and_those_of_many_stay_few() {
        assert_eq!(taken(70), FEW_IN_FLIGHT.div_ceil(70));
        assert_eq!(taken(0), SMALL_ONES_IN_FLIGHT);
        assert_eq!((taken(8192), taken(1_000_000)), (IN_FLIGHT, IN_FLIGHT));
    }

    #[test]
    fn epochs_that_are_over_make_room() {
        let mut in_flight = InFlight::default();
        (0..IN_FLIGHT as Time).for_each(|time| in_flight.add(time, 8192));
        in_flight.forget(|_| false);
        assert!(in_flight.is_full());
        in_flight.forget(|time| time < 1);
        assert!(!in_flight.is_full());
        in_flight.forget(|_| true);
        assert_eq!((in_flight.epochs.len(), in_flight.records), (0, 0));
    }
}
