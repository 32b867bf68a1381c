//! A file system in memory that crashes: for tests.
//!
//! Every operation is a step. A disk told to crash at a step fails there and from then on; [`MemoryDisk::after_crash`] is what a
//! new start finds: of each file what was synced and, of what was appended since, a random part of the beginning, the last bytes of
//! which may be garbage; of files created, renamed and removed since their folder was synced, a random number of the first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// A file system in memory. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Which file has which name now.
    now: BTreeMap<PathBuf, usize>,
    /// Which file certainly has which name after a crash, before what is pending.
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
    files: Vec<Content>,
    folders: BTreeSet<PathBuf>,
    steps: u64,
    crash_at: Option<u64>,
    lies: bool,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Clone)]
enum Change {
    Name(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn touches(&self, folder: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(folder);
        match self {
            Change::Name(path, _) | Change::Remove(path) => within(path),
            Change::Rename(from, to) => within(from) || within(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Name(path, file) => drop(names.insert(path.clone(), *file)),
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Remove(path) => drop(names.remove(path)),
        }
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {}", path.display()))
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        if self.crash_at.is_some_and(|at| self.steps >= at) {
            return Err(io::Error::other("crashed"));
        }
        self.steps += 1;
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.now.get(path).copied().ok_or_else(|| missing(path))
    }
}

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk that says it has synced and has not: what is built on it must be found wanting.
    pub fn lying() -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.state().lies = true;
        disk
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// From the step of this number on, everything fails.
    pub fn crash_at(&self, step: u64) {
        self.state().crash_at = Some(step);
    }

    /// Whether the crash has come.
    pub fn has_crashed(&self) -> bool {
        let state = self.state();
        state.crash_at.is_some_and(|at| state.steps >= at)
    }

    /// What the next start finds. `draw(n)` is a random number below `n`; the same draws give the same disk.
    pub fn after_crash(&self, mut draw: impl FnMut(usize) -> usize) -> MemoryDisk {
        let state = self.state();
        let mut names = state.durable.clone();
        let lasted = draw(state.pending.len() + 1);
        state.pending[..lasted]
            .iter()
            .for_each(|change| change.apply(&mut names));
        let mut files = state.files.clone();
        for file in names.values() {
            let content = &mut files[*file];
            let more = content.bytes.len() - content.synced;
            let kept = draw(more + 1);
            content.bytes.truncate(content.synced + kept);
            if kept > 0 && draw(3) == 0 {
                let garbage = draw(kept.min(64)) + 1;
                let end = content.bytes.len();
                content.bytes[end - garbage..].fill(draw(256) as u8);
            }
            content.synced = content.bytes.len();
        }
        MemoryDisk(Arc::new(Mutex::new(State {
            now: names.clone(),
            durable: names,
            pending: Vec::new(),
            files,
            folders: state.folders.clone(),
            steps: 0,
            crash_at: None,
            lies: state.lies,
        })))
    }

    /// Turns a bit of a file around: what a bad disk does.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.state();
        let file = state.file(path).expect("the test names a file that is there");
        state.files[file].bytes[bit / 8] ^= 1 << (bit % 8);
    }

    /// All files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().now.keys().cloned().collect()
    }
}

/// An open file of a [`MemoryDisk`].
#[derive(Clone)]
pub struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.state();
        state.step()?;
        if !path.parent().is_none_or(|folder| state.folders.contains(folder)) {
            return Err(missing(path));
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.change(Change::Name(path.to_owned(), file));
        Ok(MemoryFile {
            disk: self.clone(),
            file,
        })
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        let bytes = &state.files[state.file(path)?].bytes;
        let from = bytes.len().min(offset as usize);
        let to = bytes.len().min(from.saturating_add(length));
        Ok(bytes[from..to].to_vec())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[state.file(path)?].bytes.len() as u64)
    }

    fn written(&self, path: &Path) -> io::Result<i64> {
        self.state().file(path).map(|_| 0)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let within = state.now.keys().filter(|path| path.parent() == Some(folder));
        Ok(within
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        // Folders are made once and for all: their own loss is left out.
        let above = folder.ancestors().map(Path::to_owned);
        state.folders.extend(above);
        Ok(())
    }

    fn create_shared_folder(&self, folder: &Path) -> io::Result<()> {
        self.create_folder(folder)
    }

    fn has(&self, path: &Path) -> bool {
        let state = self.state();
        state.now.contains_key(path) || state.folders.contains(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let within: Vec<PathBuf> = state
            .now
            .keys()
            .filter(|path| path.starts_with(folder))
            .cloned()
            .collect();
        within.into_iter().for_each(|path| state.change(Change::Remove(path)));
        state.folders.retain(|path| !path.starts_with(folder));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.file(from)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.now.contains_key(path) {
            state.change(Change::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn cut(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let file = state.file(path)?;
        let content = &mut state.files[file];
        content.bytes.truncate(length as usize);
        content.synced = content.bytes.len();
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.lies {
            return Ok(());
        }
        let (done, pending) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition(|change| change.touches(folder));
        state.pending = pending;
        let done: Vec<Change> = done;
        done.iter().for_each(|change| change.apply(&mut state.durable));
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn again(&self) -> io::Result<MemoryFile> {
        Ok(self.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        state.files[self.file].bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        if !state.lies {
            let content = &mut state.files[self.file];
            content.synced = content.bytes.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.create_folder(Path::new("/a")).expect("a folder");
        disk
    }

    #[test]
    fn what_was_synced_lasts_and_what_was_not_may_go() {
        let disk = disk();
        let path = Path::new("/a/file");
        let mut file = disk.create(path).expect("a file");
        file.append(b"one").expect("appended");
        file.sync().expect("synced");
        assert!(disk.after_crash(|_| 0).read(path).is_err(), "its name was not synced");
        disk.sync_folder(Path::new("/a")).expect("synced");
        file.append(b"two").expect("appended");
        assert_eq!(disk.after_crash(|_| 0).read(path).expect("there"), b"one");
        assert_eq!(disk.after_crash(|n| n - 1).read(path).expect("there"), b"onetwo");
    }

    #[test]
    fn a_rename_is_a_whole_one_or_none() {
        let disk = disk();
        let (path, folder) = (Path::new("/a/file.json"), Path::new("/a"));
        disk.replace(path, b"old").expect("written");
        let mut fresh = disk.create(&path.with_extension("new")).expect("a file");
        fresh.append(b"new").expect("appended");
        fresh.sync().expect("synced");
        disk.rename(&path.with_extension("new"), path).expect("renamed");
        assert_eq!(disk.after_crash(|_| 0).read(path).expect("there"), b"old");
        disk.sync_folder(folder).expect("synced");
        assert_eq!(disk.after_crash(|_| 0).read(path).expect("there"), b"new");
    }

    #[test]
    fn nothing_works_after_the_crash() {
        let disk = disk();
        disk.crash_at(disk.steps() + 1);
        let mut file = disk.create(Path::new("/a/file")).expect("the last step");
        assert!(file.append(b"x").is_err());
        assert!(disk.has_crashed());
    }
}
