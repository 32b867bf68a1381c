//! Why an output cannot be used. In: what went wrong. Out: one line for the user, with advice.

use std::io;
use std::path::{Path, PathBuf};
use std::{error, fmt};

use crate::disk::FenceError;
use crate::sink::SinkError;

/// Why an output cannot be used, and what to do.
#[derive(Debug)]
pub enum OutputError {
    InUse(PathBuf),
    Foreign { output: PathBuf, why: String },
    Unreadable { path: PathBuf, error: io::Error },
    Files(SinkError),
    Fence(FenceError),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputError::InUse(state) => {
                write!(
                    f,
                    "{}: another run uses this state folder; wait for it or stop it",
                    state.display()
                )
            }
            OutputError::Foreign { output, why } => {
                write!(
                    f,
                    "{}: the output belongs to another run: {why}; choose another folder with -o, or remove it and its state",
                    output.display()
                )
            }
            OutputError::Unreadable { path, error } => {
                let advice = match error.kind() {
                    io::ErrorKind::PermissionDenied => "no permission; check the folder's owner and mode",
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                        "a file is there where a folder is wanted; choose another with -o or --state"
                    }
                    io::ErrorKind::ReadOnlyFilesystem => {
                        "the file system is read-only; choose another folder with -o or --state"
                    }
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "the disk is full; free some space and start again"
                    }
                    _ => {
                        return write!(
                            f,
                            "{}: cannot be used ({error}); choose another folder with -o or --state",
                            path.display()
                        );
                    }
                };
                write!(f, "{}: {advice}", path.display())
            }
            OutputError::Files(error) => error.fmt(f),
            OutputError::Fence(error) => error.fmt(f),
        }
    }
}

impl error::Error for OutputError {}

impl From<FenceError> for OutputError {
    fn from(error: FenceError) -> Self {
        OutputError::Fence(error)
    }
}

impl From<SinkError> for OutputError {
    fn from(error: SinkError) -> Self {
        OutputError::Files(error)
    }
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    |error| OutputError::Unreadable {
        path: path.to_owned(),
        error,
    }
}
