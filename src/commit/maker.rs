//! Makes commits, on a thread of its own: the workers go on meanwhile.
//!
//! In: what belongs to a commit, once all of it is staged: files, counts and, in a live run, what has changed in the dataflow's
//! state. Out: the state's run, then the manifest, durable, then the files where readers look; then what nobody needs
//! any more is let go. Commits are made in order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{Manifest, OutputFolder, Staged, Tally};
use crate::alerts::{Outbox, OutboxError};
use crate::devices::InForce;
use crate::disk::{Disk, FenceError, LocalDisk, crash_point};
use crate::sink::SinkError;
use crate::snapshot::{Entry, Run, SnapshotError, Snapshots};
use crate::threads;

/// What a live run keeps of its state and journal.
pub struct Keeping<D: Disk = LocalDisk> {
    pub snapshots: Snapshots<D>,
    pub journal: Box<dyn JournalLink>,
    /// Alerts that wait to be delivered, where there are any: a commit's alerts do not come again behind it.
    pub outbox: Option<Arc<Outbox<D>>>,
}

/// What the journals have to do with commits.
pub trait JournalLink: Send {
    /// A commit of this number is being made.
    fn committing(&mut self, number: u32) -> Wish;

    /// It has been made.
    fn committed(&mut self, manifest: &Manifest);
}

/// What the journals say to a commit.
#[derive(Default)]
pub struct Wish {
    /// The position behind it in each journal.
    pub ends: Vec<u64>,
    /// Whether its state is to be an anchor.
    pub anchor: bool,
    /// The position in each journal before which no anchor is of use any more.
    pub kept_from: Vec<u64>,
    /// The versions of the device collection that the epochs up to it have met, as far back as the journals are kept.
    pub devices: Vec<InForce>,
}

/// What a commit is made of.
pub struct Job {
    pub number: u32,
    pub staged: Staged,
    /// Of the dataflow's state.
    pub changes: Vec<Entry>,
}

/// The thread that makes commits.
pub struct Maker {
    /// Until no more will come.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<OutputFolder>>,
    manifest: Arc<Mutex<Manifest>>,
}

/// Why a commit cannot be made.
#[derive(Debug)]
pub enum CommitError {
    Files(SinkError),
    State(SnapshotError),
    Alerts(OutboxError),
    /// Another run has the state folder.
    Fenced(FenceError),
}

impl std::fmt::Display for CommitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommitError::Files(error) => error.fmt(f),
            CommitError::State(error) => error.fmt(f),
            CommitError::Alerts(error) => error.fmt(f),
            CommitError::Fenced(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<SinkError> for CommitError {
    fn from(error: SinkError) -> Self {
        CommitError::Files(error)
    }
}

impl From<OutboxError> for CommitError {
    fn from(error: OutboxError) -> Self {
        CommitError::Alerts(error)
    }
}

impl From<FenceError> for CommitError {
    fn from(error: FenceError) -> Self {
        CommitError::Fenced(error)
    }
}

impl From<SnapshotError> for CommitError {
    fn from(error: SnapshotError) -> Self {
        CommitError::State(error)
    }
}

fn locked(manifest: &Mutex<Manifest>) -> MutexGuard<'_, Manifest> {
    manifest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Maker {
    /// Over `folder`, from `manifest` on. Commits before number `made_before` have been made by an earlier run of the same replay: they
    /// are made again without being taken back first. `fail` is called when a commit cannot be made, and must not return.
    pub fn start(
        folder: OutputFolder,
        manifest: Manifest,
        made_before: u32,
        keeping: Option<Keeping>,
        fail: impl Fn(CommitError) + Send + 'static,
    ) -> Maker {
        let (jobs, waiting) = unbounded();
        let shared = Arc::new(Mutex::new(manifest));
        let work = Commits {
            folder,
            manifest: Arc::clone(&shared),
            made_before,
            keeping,
        };
        let thread = threads::start_behind("commit", move || work.run(&waiting, fail));
        Maker {
            jobs: Some(jobs),
            thread: Some(thread),
            manifest: shared,
        }
    }

    /// Has a commit made; what is in it is staged.
    pub fn make(&self, number: u32, staged: Staged, changes: Vec<Entry>) {
        // The thread only ends before us when it has failed, and then the process does.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job {
                number,
                staged,
                changes,
            });
        }
    }

    /// How far the output has come: commits made, and what is in them.
    pub fn progress(&self) -> (u32, Tally) {
        let manifest = locked(&self.manifest);
        (manifest.commits, manifest.tally.clone())
    }

    /// Waits for all commits, and marks the input as taken to its end where it is `complete`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn finish(mut self, complete: bool) -> Result<Manifest, CommitError> {
        let folder = self.wait();
        let mut manifest = locked(&self.manifest).clone();
        manifest.complete |= complete;
        if let Some(folder) = folder {
            folder.complete(&manifest)?;
        }
        Ok(manifest)
    }

    /// Until all commits are made; the folder, unless the thread has panicked, which ends the process.
    fn wait(&mut self) -> Option<OutputFolder> {
        drop(self.jobs.take());
        self.thread.take()?.join().ok()
    }
}

/// A commit that is under way is made.
impl Drop for Maker {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Makes commits, one after the other.
pub struct Commits<D: Disk = LocalDisk> {
    folder: OutputFolder<D>,
    manifest: Arc<Mutex<Manifest>>,
    made_before: u32,
    keeping: Option<Keeping<D>>,
}

impl<D: Disk> Commits<D> {
    /// For a live run, from `manifest` on.
    #[cfg(test)]
    pub fn continuing(folder: OutputFolder<D>, manifest: Manifest, keeping: Keeping<D>) -> Commits<D> {
        Commits {
            folder,
            manifest: Arc::new(Mutex::new(manifest)),
            made_before: 0,
            keeping: Some(keeping),
        }
    }

    /// The run's number among those that have taken up the folders.
    #[cfg(test)]
    pub fn incarnation(&self) -> u64 {
        self.folder.incarnation()
    }

    fn run(mut self, jobs: &Receiver<Job>, fail: impl Fn(CommitError)) -> OutputFolder<D> {
        for job in jobs {
            if let Err(error) = self.make(job) {
                fail(error);
                break;
            }
        }
        self.folder
    }

    /// # Errors
    /// A folder that cannot be written, or a state that cannot be read.
    pub fn make(&mut self, job: Job) -> Result<(), CommitError> {
        let Job {
            number,
            staged,
            changes,
        } = job;
        crash_point("commit.staged");
        let mut manifest = locked(&self.manifest).clone();
        let mut files = staged.files;
        files.sort();
        manifest.commits = number + 1;
        manifest.last = files;
        manifest.incarnation = self.folder.incarnation();
        manifest.tally.add(&staged.tally);
        self.folder.check()?;
        let mut there = manifest.kept_runs();
        if let Some(keeping) = &mut self.keeping {
            there.extend(keeping.add(&mut manifest, number, changes, staged.runs)?);
            self.folder.check()?; // that took a while
        }
        match number < self.made_before {
            true => self.folder.republish(&manifest)?,
            false => self.folder.commit(&manifest)?,
        }
        crash_point("commit.published");
        *locked(&self.manifest) = manifest.clone();
        if let Some(keeping) = &mut self.keeping {
            keeping.let_go(&there, &manifest)?;
        }
        Ok(())
    }
}

impl<D: Disk> Keeping<D> {
    /// Adds a commit's changes of state to the manifest, those that the other processes have written among them, and merges what has piled up;
    /// which runs are new.
    fn add(
        &mut self,
        manifest: &mut Manifest,
        number: u32,
        changes: Vec<Entry>,
        mut others: Vec<Run>,
    ) -> Result<Vec<Run>, CommitError> {
        if let Some(outbox) = &self.outbox {
            outbox.sync()?;
        }
        let mut new: Vec<Run> = self.snapshots.write(number, changes)?.into_iter().collect();
        // What each process has changed with one commit is of keys that no other has: only the commits' order matters.
        others.sort_by(|a, b| a.name.cmp(&b.name));
        new.append(&mut others);
        manifest.runs.extend_from_slice(&new);
        crash_point("commit.snapshot");
        if let Some(due) = Snapshots::<D>::due(&manifest.runs) {
            let merged = self
                .snapshots
                .merge(number, &manifest.runs[due.clone()], due.start == 0)?;
            manifest.runs.splice(due, merged);
        }
        let Wish {
            ends,
            anchor,
            kept_from,
            devices,
        } = self.journal.committing(number);
        manifest.set_ends(ends);
        manifest.devices = devices;
        let reaches_back = |ends: Vec<u64>| ends.iter().zip(&kept_from).all(|(end, kept_from)| end >= kept_from);
        manifest.anchors.retain(|anchor| reaches_back(anchor.ends()));
        if anchor {
            manifest.anchor();
        }
        Ok(new)
    }

    /// Removes the runs that neither the state nor an anchor is made of any more. What else is in the folder may be of the next commit.
    fn let_go(&mut self, there: &[Run], manifest: &Manifest) -> Result<(), CommitError> {
        self.journal.committed(manifest);
        if let Some(outbox) = &self.outbox {
            outbox.let_go()?;
        }
        let kept = manifest.kept_runs();
        let gone = there.iter().filter(|run| !kept.contains(run));
        Ok(self.snapshots.remove(gone)?)
    }
}
