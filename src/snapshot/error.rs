//! What can be wrong with a state on disk. Every message says what to do; none quotes what the state holds.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Flaw;
use super::run::FORMAT;

/// Why a state cannot be written or read.
#[derive(Debug)]
pub enum SnapshotError {
    Io {
        path: PathBuf,
        source: io::Error,
    },
    /// The manifest lists a file that is not there.
    Missing {
        path: PathBuf,
    },
    /// Not what was written.
    Damaged {
        path: PathBuf,
    },
    /// What is kept of idle keys cannot be written or read.
    Idle {
        path: PathBuf,
        source: rusqlite::Error,
    },
    /// Written by a later version, in this format.
    Newer {
        path: PathBuf,
        format: u8,
    },
    /// Whole, but what an operator kept in it cannot be used.
    Value {
        of: &'static str,
        flaw: Flaw,
    },
    /// The same, in the words of what reads it, with advice.
    Part {
        of: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SnapshotError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => SnapshotError::Missing { path: path.to_owned() },
            _ => SnapshotError::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// What is wrong with a part of an operator's state, as the part's own reader tells.
    pub fn of(of: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> SnapshotError {
        SnapshotError::Part {
            of,
            source: Box::new(source),
        }
    }

    pub(super) fn idle(path: &Path, source: rusqlite::Error) -> SnapshotError {
        SnapshotError::Idle {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path) -> SnapshotError {
        SnapshotError::Damaged { path: path.to_owned() }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const OR: &str = "restore the state folder from a copy, or start with an empty one and another output folder";
        match self {
            SnapshotError::Io { path, source } => write!(
                f,
                "{}: {source}; check that the disk has room and that the folder is yours",
                path.display()
            ),
            SnapshotError::Idle { path, source } => write!(
                f,
                "{}: {source}; check that the disk has room and that the folder is yours",
                path.display()
            ),
            SnapshotError::Missing { path } => write!(f, "{}: this part of the state is gone; {OR}", path.display()),
            SnapshotError::Damaged { path } => write!(f, "{}: this part of the state is damaged; {OR}", path.display()),
            SnapshotError::Newer { path, format } => write!(
                f,
                "{}: the state has format {format}, this program reads {FORMAT}; use the version that wrote it, or a later one",
                path.display()
            ),
            SnapshotError::Part { of, source } => write!(f, "the state of {of}: {source}"),
            SnapshotError::Value { of, flaw } => match flaw {
                Flaw::Newer { version, known } => write!(
                    f,
                    "the state of {of} has version {version}, this program reads {known}; use the version that wrote it, or a later one"
                ),
                Flaw::Older { version, known } => write!(
                    f,
                    "the state of {of} has version {version}, this program reads {known}; replay its journal into a new output folder, or use the version that wrote it"
                ),
                Flaw::Damaged => write!(f, "the state of {of} cannot be read; {OR}"),
                Flaw::Settings(setting) => write!(
                    f,
                    "the state of {of} was made with another {setting}; set it back, or start with an empty state folder and another output folder"
                ),
            },
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SnapshotError::Io { source, .. } => Some(source),
            SnapshotError::Idle { source, .. } => Some(source),
            SnapshotError::Part { source, .. } => Some(&**source),
            _ => None,
        }
    }
}
