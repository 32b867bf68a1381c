//! `commit`: makes a commit once everything that belongs to it is durable.
//!
//! All workers report what they have staged to worker 0. When no more reports can come for a commit, its manifest is put in
//! place and then its files become visible. Commits are made in order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use crate::cluster::halt;
use crate::commit::{Manifest, OutputFolder, Staged};
use crate::sink::SinkError;
use crate::source::{commit_of, end_of_commit};

/// Worker 0's part of committing.
pub struct Committer {
    folder: OutputFolder,
    /// How far the output has come.
    pub manifest: Manifest,
    /// Commits that an earlier run of the same replay has made: they are made again without being taken back first.
    made_before: u32,
}

impl Committer {
    /// For a run over an output as it was taken up.
    pub fn new(folder: OutputFolder, found: Manifest) -> Committer {
        let made_before = found.commits;
        Committer {
            folder,
            manifest: Manifest::new(found.belongs_to),
            made_before,
        }
    }

    /// For a run that goes on where the run before it stopped.
    pub fn continuing(folder: OutputFolder, found: Manifest) -> Committer {
        Committer {
            folder,
            manifest: found,
            made_before: 0,
        }
    }

    /// Ends a run that another one will continue.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn pause(&self) -> Result<(), SinkError> {
        self.folder.complete(&self.manifest)
    }

    /// Marks the input as taken to its end, behind the last commit.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn complete(&mut self) -> Result<(), SinkError> {
        self.manifest.complete = true;
        self.folder.complete(&self.manifest)
    }

    fn commit(&mut self, number: u32, staged: Staged) {
        let mut files = staged.files;
        files.sort();
        self.manifest.commits = number + 1;
        self.manifest.last = files;
        self.manifest.tally.add(&staged.tally);
        let made = match number < self.made_before {
            true => self.folder.republish(&self.manifest),
            false => self.folder.commit(&self.manifest),
        };
        made.unwrap_or_else(|e| halt(e));
    }
}

/// Commits what is staged. `committer` is there on worker 0 only.
pub fn commit(staged: Rows<'_, Staged>, committer: Option<Rc<RefCell<Committer>>>) {
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
                }
            });
            while let Some(first) = reports.first_entry() {
                if frontier.less_equal(&end_of_commit(*first.key())) {
                    break;
                }
                let (number, staged) = first.remove_entry();
                if let Some(committer) = &committer {
                    committer.borrow_mut().commit(number, staged);
                }
            }
        }
    });
}
