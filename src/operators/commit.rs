//! `commit`: makes a commit once everything that belongs to it is durable.
//!
//! All workers report what they have staged to worker 0. When no more reports can come for a commit, its manifest is put in
//! place and then its files become visible. Commits are made in order.
//!
//! What has changed in the dataflow's state each process writes itself, and reports the file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::hand_over::{HandOver, hand_over_state};
use crate::cluster::halt;
use crate::commit::{CommitError, Keeping, Maker, Manifest, OutputFolder, Staged, Tally};
use crate::snapshot::Collected;
use crate::source::{commit_of, end_of_commit};

/// Worker 0's part of committing.
pub struct Committer {
    maker: Maker,
    /// Where the operators leave what has changed in their state; of a live run.
    collected: Option<Arc<Collected>>,
}

impl Committer {
    /// For a replay over an output as it was taken up.
    pub fn replaying(folder: OutputFolder, found: Manifest) -> Committer {
        let made_before = found.commits;
        let manifest = Manifest::new(found.belongs_to);
        Committer {
            maker: Maker::start(folder, manifest, made_before, None, |error| halt(error)),
            collected: None,
        }
    }

    /// For a live run, which goes on where the run before it stopped.
    pub fn continuing(folder: OutputFolder, found: Manifest, keeping: Keeping, collected: Arc<Collected>) -> Committer {
        Committer {
            maker: Maker::start(folder, found, 0, Some(keeping), |error| halt(error)),
            collected: Some(collected),
        }
    }

    /// How far the output has come: commits made, and what is in them.
    pub fn progress(&self) -> (u32, Tally) {
        self.maker.progress()
    }

    /// Waits for all commits; the input is `complete` unless another run will go on.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn finish(self, complete: bool) -> Result<Manifest, CommitError> {
        self.maker.finish(complete)
    }

    fn commit(&self, number: u32, staged: Staged) {
        let changes = self
            .collected
            .as_ref()
            .map_or_else(Vec::new, |collected| collected.take_through(number));
        self.maker.make(number, staged, changes);
    }
}

/// What this worker has to do with committing.
#[derive(Default)]
pub struct Committing {
    /// There on worker 0 only, until the run is over.
    pub committer: Option<Rc<RefCell<Option<Committer>>>>,
    /// There on the first worker of every process but the first.
    pub hand_over: Option<HandOver>,
}

/// Commits what is staged.
pub fn commit(staged: Rows<'_, Staged>, committing: Committing) {
    let Committing { committer, hand_over } = committing;
    let staged = hand_over_state(staged, hand_over);
    let to_committer = Exchange::new(|_: &Staged| 0);
    let mut reports: BTreeMap<u32, Staged> = BTreeMap::new();
    staged.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(to_committer, "Commit", |_, _| {
        move |(input, frontier), _output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least() else { return };
                let report = reports.entry(commit_of(*time)).or_default();
                for staged in batches.flat_map(|batch| batch.drain(..)) {
                    report.files.extend(staged.files);
                    report.tally.add(&staged.tally);
                    report.runs.extend(staged.runs);
                }
            });
            while let Some(first) = reports.first_entry() {
                if frontier.less_equal(&end_of_commit(*first.key())) {
                    break;
                }
                let (number, staged) = first.remove_entry();
                if let Some(shared) = &committer
                    && let Some(committer) = shared.borrow().as_ref()
                {
                    committer.commit(number, staged);
                }
            }
        }
    });
}
