//! The runs of a state folder: written at commits, merged when they pile up, loaded at a start.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::merge::Merge;
use super::run::{Reader, Writer};
use super::{Entry, Restored, Run, SnapshotError};
use crate::disk::Disk;

/// So many runs of about one size are worth merging.
const FAN_IN: usize = 4;
/// What our files' names end with.
const ENDING: &str = ".state";

/// A folder of runs. It knows nothing of which of them count: that is for the manifest to say, which lists them from the
/// oldest to the newest. A file is never changed once it is written.
#[derive(Clone)]
pub struct Snapshots<D> {
    disk: D,
    folder: PathBuf,
    /// Tells the runs of one writer from those of any other: no two ever write to the same file.
    writer: String,
}

impl<D: Disk> Snapshots<D> {
    pub fn new(disk: D, folder: PathBuf) -> Snapshots<D> {
        Snapshots {
            disk,
            folder,
            writer: String::new(),
        }
    }

    /// The same for a process of a run.
    pub fn of_process(self, process: usize, incarnation: u64) -> Snapshots<D> {
        Snapshots {
            writer: format!(".{process}.{incarnation}"),
            ..self
        }
    }

    /// Writes what has changed with a commit, durably; of a key the last entry counts. `None` if nothing has.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self, commit: u32, mut entries: Vec<Entry>) -> Result<Option<Run>, SnapshotError> {
        entries.sort_by(|a, b| a.place().cmp(&b.place())); // stable: of equal keys the last one is the newest
        let newest = entries.chunk_by(|a, b| a.place() == b.place()).filter_map(<[_]>::last);
        self.make(&format!("{commit:010}{}{ENDING}", self.writer), newest.map(Ok))
    }

    /// Writes what several runs that follow each other say as one run, durably, at most once with a commit; `None` if nothing is left. Tombstones are
    /// dropped where nothing is older: if `runs` begin with the oldest of all, `from_oldest`.
    ///
    /// # Errors
    /// A run that is not what was written, a folder that cannot be written.
    pub fn merge(&self, commit: u32, runs: &[Run], from_oldest: bool) -> Result<Option<Run>, SnapshotError> {
        if let [alone] = runs {
            return Ok(Some(alone.clone())); // a run is never written over itself
        }
        let mut merge = self.open(runs)?;
        let entries = std::iter::from_fn(|| merge.next().transpose());
        let kept = entries.filter(|entry| !from_oldest || entry.as_ref().map_or(true, |entry| entry.value.is_some()));
        self.make(
            &format!("{}-{commit:010}{}{ENDING}", first_commit(runs), self.writer),
            kept,
        )
    }

    /// Which runs to merge, if any. In all it keeps no more than a few runs and about log4 of their sizes' ratio more, at less
    /// than twice the bytes of the state, and rewrites a byte about log4 times.
    pub fn due(runs: &[Run]) -> Option<Range<usize>> {
        let (mut newer, mut start) = (0, runs.len());
        // As far back as a run is no larger than all newer ones together: it is worth rewriting with them.
        for (place, run) in runs.iter().enumerate().rev() {
            if place + 1 < runs.len() && run.bytes <= newer {
                start = place;
            }
            newer += run.bytes;
        }
        let worth_it = start == 0 || runs.len().saturating_sub(start) >= FAN_IN;
        (runs.len() >= 2 && start < runs.len() && worth_it).then_some(start..runs.len())
    }

    /// The state that the runs make up, for the workers of this process, each of which will take its part.
    ///
    /// # Errors
    /// A run that is not what was written.
    pub fn load(&self, runs: &[Run], workers: usize) -> Result<Restored, SnapshotError> {
        let mut merge = self.open(runs)?;
        let mut failed = None;
        let entries = std::iter::from_fn(|| match merge.next() {
            Ok(entry) => entry,
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let restored = Restored::new(entries, workers);
        failed.map_or(Ok(restored), Err)
    }

    /// Removes all runs but these: what a crash has left behind, and what has been merged, once a manifest no longer lists it.
    ///
    /// # Errors
    /// A folder that cannot be read or written.
    pub fn remove_all_but(&self, runs: &[Run]) -> Result<(), SnapshotError> {
        let failed = SnapshotError::io(&self.folder);
        for name in self.disk.names(&self.folder).map_err(&failed)? {
            if name.ends_with(ENDING) && !runs.iter().any(|run| run.name == name) {
                self.disk.remove(&self.folder.join(name)).map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// Removes these.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn remove<'a>(&self, runs: impl Iterator<Item = &'a Run>) -> Result<(), SnapshotError> {
        for run in runs {
            self.disk
                .remove(&self.folder.join(&run.name))
                .map_err(SnapshotError::io(&self.folder))?;
        }
        Ok(())
    }

    fn open(&self, runs: &[Run]) -> Result<Merge<D>, SnapshotError> {
        let readers = runs.iter().map(|run| Reader::open(&self.disk, &self.folder, run));
        Merge::new(readers.collect::<Result<_, _>>()?)
    }

    /// A new run of entries that are in order.
    fn make<E: std::borrow::Borrow<Entry>>(
        &self,
        name: &str,
        entries: impl Iterator<Item = Result<E, SnapshotError>>,
    ) -> Result<Option<Run>, SnapshotError> {
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return Ok(None);
        }
        let path = self.folder.join(name);
        let failed = SnapshotError::io(&path);
        self.disk.create_folder(&self.folder).map_err(&failed)?;
        let mut writer = Writer::create(&self.disk, &path).map_err(&failed)?;
        for entry in entries {
            writer.entry(entry?.borrow()).map_err(&failed)?;
        }
        let (bytes, entries, checksum) = writer.finish().map_err(&failed)?;
        self.disk.sync_folder(&self.folder).map_err(&failed)?;
        Ok(Some(Run {
            name: name.to_owned(),
            bytes,
            entries,
            checksum,
        }))
    }
}

/// The oldest commit of which there is anything in them, as their names say.
fn first_commit(runs: &[Run]) -> &str {
    let digits = |name: &str| name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    runs.first().map_or("", |run| &run.name[..digits(&run.name)])
}

/// Where a state folder keeps them.
pub fn folder_of(state: &Path) -> PathBuf {
    state.join("snapshots")
}
