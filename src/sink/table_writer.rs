//! All files of a table that a worker has open. In: an epoch's rows after the other, by commit and output shard. Out: each commit's
//! files, once it has ended.
//!
//! In a live run a thread of its own writes them: encoding a batch and making a file durable takes milliseconds, for which the records
//! behind would have to wait. In a replay nobody waits, and a worker does all of its own work.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{CommitWriter, SinkError, StagedFile, Table, Target};
use crate::settings::Compression;
use crate::threads;

/// Bundles of epochs that wait for the thread at most; whoever brings more waits.
const WAITING: usize = 64;
/// The thread is given epochs by so many rows: to wake it for each of a live run's small ones would cost more than the writing.
const BUNDLE_ROWS: usize = if cfg!(test) { 16 } else { 1024 };

/// An epoch's rows of one table, by output shard, each shard's in the order of the table.
pub type ByShard<R> = BTreeMap<u32, Vec<R>>;

/// What is the same for all files of a table.
pub struct Files<T: Table> {
    pub table: Arc<T>,
    /// The staging folder of a commit.
    pub staging: Box<dyn Fn(u32) -> PathBuf + Send>,
    pub compression: Compression,
}

/// Writes a table's rows here or on a thread.
pub enum TableWriter<T: Table> {
    Here {
        growing: Growing<T>,
        finished: VecDeque<Vec<StagedFile>>,
    },
    Thread {
        /// Not given to the thread yet, and how many rows there are in it.
        bundle: Vec<Work<T::Row>>,
        rows: usize,
        work: Sender<Vec<Work<T::Row>>>,
        finished: Receiver<Vec<StagedFile>>,
    },
}

/// What is to be done with an epoch's rows, or behind a commit's last.
pub enum Work<R> {
    Write(u32, ByShard<R>),
    Finish(u32),
}

/// The files that are not complete.
pub struct Growing<T: Table> {
    files: Files<T>,
    writers: BTreeMap<(u32, u32), CommitWriter<T>>,
}

impl<T: Table> TableWriter<T> {
    pub fn here(files: Files<T>) -> TableWriter<T> {
        TableWriter::Here {
            growing: Growing::new(files),
            finished: VecDeque::new(),
        }
    }

    /// `wake` is called when a commit's files are finished, `fail` when something cannot be written: then it is over.
    pub fn on_thread(
        files: Files<T>,
        wake: impl Fn() + Send + 'static,
        fail: impl FnOnce(SinkError) + Send + 'static,
    ) -> TableWriter<T> {
        let (work, waiting) = bounded::<Vec<Work<T::Row>>>(WAITING);
        let (done, finished) = unbounded();
        threads::start_behind(T::NAME, move || {
            let mut growing = Growing::new(files);
            for work in waiting.into_iter().flatten() {
                let result = match work {
                    Work::Write(commit, rows) => growing.write(commit, rows),
                    Work::Finish(commit) => growing.finish(commit).map(|files| {
                        let _ = done.send(files); // nobody waits for it any more where the dataflow is gone
                        wake();
                    }),
                };
                if let Err(error) = result {
                    return fail(error);
                }
            }
        });
        TableWriter::Thread {
            bundle: Vec::new(),
            rows: 0,
            work,
            finished,
        }
    }

    /// Takes an epoch's rows of a commit.
    ///
    /// # Errors
    /// A file that cannot be written here.
    pub fn write(&mut self, commit: u32, rows: ByShard<T::Row>) -> Result<(), SinkError> {
        match self {
            TableWriter::Here { growing, .. } => growing.write(commit, rows),
            TableWriter::Thread {
                bundle,
                rows: bundled,
                work,
                ..
            } => {
                *bundled += rows.values().map(Vec::len).sum::<usize>();
                bundle.push(Work::Write(commit, rows));
                if *bundled >= BUNDLE_ROWS {
                    *bundled = 0;
                    let _ = work.send(std::mem::take(bundle)); // a thread that failed ends the program
                }
                Ok(())
            }
        }
    }

    /// Has a commit's files completed.
    ///
    /// # Errors
    /// A file that cannot be written here.
    pub fn finish(&mut self, commit: u32) -> Result<(), SinkError> {
        match self {
            TableWriter::Here { growing, finished } => finished.push_back(growing.finish(commit)?),
            TableWriter::Thread { bundle, rows, work, .. } => {
                *rows = 0;
                bundle.push(Work::Finish(commit));
                let _ = work.send(std::mem::take(bundle)); // as above
            }
        }
        Ok(())
    }

    /// The files of the next commit of those that were to be finished, in that order; `None` as long as they are not.
    pub fn finished(&mut self) -> Option<Vec<StagedFile>> {
        match self {
            TableWriter::Here { finished, .. } => finished.pop_front(),
            TableWriter::Thread { finished, .. } => finished.try_recv().ok(),
        }
    }
}

impl<T: Table> Growing<T> {
    fn new(files: Files<T>) -> Growing<T> {
        Growing {
            files,
            writers: BTreeMap::new(),
        }
    }

    fn write(&mut self, commit: u32, rows: ByShard<T::Row>) -> Result<(), SinkError> {
        let Files {
            table,
            staging,
            compression,
        } = &self.files;
        for (shard, rows) in rows {
            let target = || Target {
                staging: staging(commit),
                commit,
                shard,
                compression: *compression,
            };
            let writer = self
                .writers
                .entry((commit, shard))
                .or_insert_with(|| CommitWriter::new(Arc::clone(table), target()));
            writer.write(rows)?;
        }
        Ok(())
    }

    fn finish(&mut self, commit: u32) -> Result<Vec<StagedFile>, SinkError> {
        let later = match commit.checked_add(1) {
            Some(next) => self.writers.split_off(&(next, 0)),
            None => BTreeMap::new(),
        };
        let mut files = Vec::new();
        for writer in std::mem::replace(&mut self.writers, later).into_values() {
            files.extend(writer.finish()?);
        }
        Ok(files)
    }
}
