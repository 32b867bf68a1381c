//! Keeps a run that has lost its state folder from writing to it.
//!
//! Every run that takes up a state folder gets the next **incarnation**, a number in a file of it. The lock of the folder keeps a second run away; where
//! the lock is lost without the run's knowledge, as with a machine that was suspended or a network that was cut, the number has moved on
//! when it wakes up. So it is looked at before everything that would go into the common record: a manifest, an epoch, a journal's records.

use std::io;
use std::path::{Path, PathBuf};
use std::{error, fmt};

use super::{Disk, DiskFile, LocalDisk};

const NAME: &str = "incarnation";

/// A run's claim on a state folder.
#[derive(Clone)]
pub struct Fence<D: Disk = LocalDisk> {
    disk: D,
    path: PathBuf,
    incarnation: u64,
}

/// Another run has taken up the state folder, or it cannot be told.
#[derive(Debug)]
pub enum FenceError {
    TakenOver { state: PathBuf, by: u64, from: u64 },
    Io { path: PathBuf, error: io::Error },
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FenceError::TakenOver { state, by, from } => write!(
                f,
                "{}: another run (number {by}) has taken over this state folder from this one (number {from}), which was held up and has written nothing since; nothing is lost, leave the other one running",
                state.display()
            ),
            FenceError::Io { path, error } if error.kind() == io::ErrorKind::StorageFull => {
                write!(
                    f,
                    "{}: the disk is full; free some space and start again",
                    path.display()
                )
            }
            FenceError::Io { path, error } => {
                write!(
                    f,
                    "{}: cannot be used ({error}); check the disk and the folder's owner",
                    path.display()
                )
            }
        }
    }
}

impl error::Error for FenceError {}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FenceError {
    |error| FenceError::Io {
        path: path.to_owned(),
        error,
    }
}

fn read(disk: &impl Disk, path: &Path) -> Result<u64, FenceError> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(failed(path)(e)),
    };
    let number = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| failed(path)(io::Error::other("it holds no number")))
}

impl<D: Disk> Fence<D> {
    /// The next incarnation; the caller has the folder's lock.
    ///
    /// # Errors
    /// A folder that cannot be read or written.
    pub fn raise(disk: &D, state: &Path) -> Result<Fence<D>, FenceError> {
        let path = state.join(NAME);
        let incarnation = read(disk, &path)? + 1;
        let fresh = path.with_extension("new");
        let write = || {
            let mut file = disk.create(&fresh)?;
            file.append(format!("{incarnation}\n").as_bytes())?;
            file.sync()?;
            drop(file);
            disk.rename(&fresh, &path)?;
            disk.sync_folder(state)
        };
        write().map_err(failed(&path))?;
        Ok(Fence {
            disk: disk.clone(),
            path,
            incarnation,
        })
    }

    /// That of a run which process 0 has begun.
    pub fn of(disk: D, state: &Path, incarnation: u64) -> Fence<D> {
        Fence {
            disk,
            path: state.join(NAME),
            incarnation,
        }
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// That the state folder is still this run's.
    ///
    /// # Errors
    /// It is another's, or it cannot be told.
    pub fn check(&self) -> Result<(), FenceError> {
        match read(&self.disk, &self.path)? {
            found if found == self.incarnation => Ok(()),
            found => Err(FenceError::TakenOver {
                state: self.path.parent().unwrap_or(Path::new(".")).to_owned(),
                by: found,
                from: self.incarnation,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_to_take_up_a_state_folder_may_write() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let first = Fence::raise(&LocalDisk, state.path()).expect("the first");
        first.check().expect("nobody else is there");
        let second = Fence::raise(&LocalDisk, state.path()).expect("the second");
        second.check().expect("it is its own");
        let told = first.check().expect_err("it has been taken over").to_string();
        assert!(told.contains("number 2") && told.lines().count() == 1, "{told}");
        Fence::of(LocalDisk, state.path(), second.incarnation())
            .check()
            .expect("another process of the same run");
    }
}
