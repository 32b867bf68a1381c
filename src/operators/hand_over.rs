//! `hand_over_state`: what a process's operators have changed in their state goes to disk before the commit that it belongs to is made.
//!
//! Process 0 needs none of this: the one who commits writes its changes with the manifest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Capability, Operator};

use super::Rows;
use super::barrier::earliest;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::disk::{Fence, LocalDisk};
use crate::snapshot::{Checkpoints, Collected, Entry, Run, Snapshots};
use crate::source::{Time, commit_of, end_of_commit};
use crate::threads;

/// How often to look whether a run of the state is written.
const LOOK: Duration = Duration::from_millis(5);

/// Where a process's changes of state go.
pub struct HandOver {
    collected: Arc<Collected>,
    first_commit: u32,
    jobs: Sender<(u32, Vec<Entry>)>,
    written: Receiver<Option<Run>>,
    /// Commits whose changes are being written, in order.
    pending: VecDeque<u32>,
}

impl HandOver {
    /// The writing has a thread of its own: the worker goes on meanwhile.
    pub fn start(checkpoints: &Checkpoints, snapshots: Snapshots<LocalDisk>, fence: Fence) -> HandOver {
        let (jobs, waiting) = unbounded::<(u32, Vec<Entry>)>();
        let (done, written) = unbounded();
        threads::start_behind("state", move || {
            for (commit, entries) in waiting {
                fence.check().unwrap_or_else(|e| halt(e));
                let run = snapshots.write(commit, entries).unwrap_or_else(|e| halt(e));
                if done.send(run).is_err() {
                    return; // the worker has gone: the process is ending
                }
            }
        });
        HandOver {
            collected: Arc::clone(&checkpoints.collected),
            first_commit: checkpoints.first_commit,
            jobs,
            written,
            pending: VecDeque::new(),
        }
    }

    /// Has everything written that belongs to complete commits: those before number `until`, all without one.
    fn write(&mut self, until: Option<u32>) {
        for (commit, entries) in self.collected.take_before(until) {
            self.pending.push_back(commit);
            // The thread ends before us only where it has failed, and then the process does.
            let _ = self.jobs.send((commit, entries));
        }
    }

    /// The next commit whose changes are durable, and the run that holds them.
    fn done(&mut self) -> Option<(u32, Option<Run>)> {
        let run = self.written.try_recv().ok()?;
        Some((self.pending.pop_front()?, run))
    }
}

/// What is staged, unchanged; and behind it, with each commit, the run of this process's changes.
pub(super) fn hand_over_state<'scope>(
    staged: Rows<'scope, Staged>,
    mut hand_over: Option<HandOver>,
) -> Rows<'scope, Staged> {
    let scope = staged.scope();
    staged.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(
        Pipeline,
        "HandOver",
        move |capability, info| {
            let activator = scope.activator_for(info.address);
            // Keeps every commit open until its run is reported.
            let mut held: Option<Capability<Time>> = hand_over
                .as_ref()
                .map(|hand_over| capability.delayed(&end_of_commit(hand_over.first_commit)));
            drop(capability);
            move |(input, frontier), output| {
                input.for_each_stamp(|stamp, batches| {
                    let mut session = output.session(&stamp);
                    batches.for_each(|batch| session.give_iterator(batch.drain(..)));
                });
                let (Some(hand_over), Some(capability)) = (&mut hand_over, &mut held) else {
                    return;
                };
                let until = earliest([frontier]).map(commit_of);
                hand_over.write(until);
                while let Some((commit, run)) = hand_over.done() {
                    let report = capability.delayed(&end_of_commit(commit));
                    output.session(&report).give(Staged {
                        runs: run.into_iter().collect(),
                        ..Staged::default()
                    });
                }
                match (hand_over.pending.front().copied(), until) {
                    (Some(_), _) => activator.activate_after(LOOK),
                    (None, Some(until)) if commit_of(*capability.time()) < until => {
                        capability.downgrade(&end_of_commit(until));
                    }
                    (None, Some(_)) => {}
                    (None, None) => held = None,
                }
            }
        },
    )
}
