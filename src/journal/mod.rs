//! The journal: everything that a live source has received, durable before it is acknowledged.
//!
//! In: messages in the order of their arrival. Out: the same, as often as asked for: to the dataflow, to a start after a crash, to a
//! replay years later. It is the record of what came and, with the [epoch log](EpochLog), of how it was cut into epochs: what
//! makes a live run repeatable.
//!
//! Each session at the broker has a journal, and one epoch log binds them all: the order of their records is what it says.
//!
//! A journal is a folder of **segments**, each named by the position of its first record. A segment is a header with its own key,
//! wrapped by the key-encryption key, and **frames**: one for each group of records that became durable together, compressed, sealed
//! under the segment's key (AES-256-GCM, the frame's first position as nonce) and checksummed. Names and dates of birth are cut out of
//! the records and sealed under the patient's own data key, whose deletion makes them unreadable in every segment.
//!
//! Invariants: positions have no gaps. A segment is never appended to by another run than the one that began it. Bytes behind
//! the last whole frame of the last segment were never acknowledged (a torn tail) and are cut off at the next start; anything
//! else that cannot be read is damage, which is told with the segment's name and refused.

mod entry;
mod epochs;
mod identity;
mod reader;
mod segment;
#[cfg(test)]
mod simulation;
mod writer;

use std::path::{Path, PathBuf};
use std::{error, fmt, io};

pub use entry::{Entry, SealedIdentity};
pub use epochs::{Epoch, EpochLog, Silence, Start};
pub use identity::{Restorer, Separator};
pub use reader::JournalReader;
pub use writer::{Journal, Limits, TornTail};

use crate::disk::Disk;
use crate::disk::FenceError;
use crate::vault::VaultError;

/// Where a state folder keeps its journal.
pub fn folder_of(state: &Path) -> PathBuf {
    state.join("journal")
}

/// Where the records of a session are, which is a journal of its own.
pub fn records_of(journal: &Path, session: usize) -> PathBuf {
    journal.join(session.to_string())
}

/// How many sessions have a journal here: their numbers have no gaps.
pub fn sessions_of(disk: &impl Disk, journal: &Path) -> usize {
    (0..)
        .take_while(|session| disk.has(&records_of(journal, *session)))
        .count()
}

/// Where the epoch log is.
pub fn epochs_of(journal: &Path) -> PathBuf {
    journal.join("epochs")
}

/// Why a journal cannot be used, and what to do.
#[derive(Debug)]
pub enum JournalError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// Bytes that were whole once.
    Damaged {
        path: PathBuf,
        /// From which byte on.
        at: u64,
        what: &'static str,
    },
    /// Made by a program with another form of it.
    Unknown {
        path: PathBuf,
        form: u32,
    },
    /// Records that are needed are not there.
    Missing {
        folder: PathBuf,
        position: u64,
    },
    Vault(VaultError),
    /// Another run has the state folder.
    Fenced(FenceError),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Io { path, error } if error.kind() == io::ErrorKind::StorageFull => {
                write!(
                    f,
                    "{}: the disk is full; free some space and start again",
                    path.display()
                )
            }
            JournalError::Io { path, error } => {
                write!(
                    f,
                    "{}: the journal cannot be used ({error}); check the disk and the folder's owner",
                    path.display()
                )
            }
            JournalError::Damaged { path, at, what } => write!(
                f,
                "{}: damaged from byte {at} on ({what}); the disk may be failing: restore this file from a copy",
                path.display()
            ),
            JournalError::Unknown { path, form } => write!(
                f,
                "{}: the file has form {form}, which this program does not know; use the program that wrote it",
                path.display()
            ),
            JournalError::Missing { folder, position } => write!(
                f,
                "{}: the records from number {position} on are missing; restore the folder from a copy",
                folder.display()
            ),
            JournalError::Vault(error) => error.fmt(f),
            JournalError::Fenced(error) => error.fmt(f),
        }
    }
}

impl error::Error for JournalError {}

impl From<VaultError> for JournalError {
    fn from(error: VaultError) -> Self {
        JournalError::Vault(error)
    }
}

impl From<FenceError> for JournalError {
    fn from(error: FenceError) -> Self {
        JournalError::Fenced(error)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    |error| JournalError::Io {
        path: path.to_owned(),
        error,
    }
}
