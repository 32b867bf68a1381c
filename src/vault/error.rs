//! What can go wrong around the vault, each as one line for the user: what failed and what to do.
//! No message holds key material, a name, a date of birth or a payload.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error of the vault or its keys.
#[derive(Debug)]
pub enum VaultError {
    /// The key-encryption key cannot be had from `place`.
    Key {
        place: String,
        problem: String,
        advice: &'static str,
    },
    /// A file or folder of the vault or of a key cannot be used.
    File {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    /// Another process writes to this vault.
    InUse { path: PathBuf },
    /// The vault was made under another key-encryption key.
    WrongKey { path: PathBuf },
    /// There is no vault at this path.
    Missing { path: PathBuf },
    /// The file is not a vault of a version known here.
    NotAVault { path: PathBuf, problem: String },
    /// The embedded database refused an operation.
    Database { path: PathBuf, cause: rusqlite::Error },
    /// Something sealed did not open: it was changed, belongs elsewhere, or is under another key.
    Sealed { what: &'static str },
    /// Something is beyond the length that its cipher can seal (64 GiB).
    TooLong { what: &'static str },
    /// The operating system gave no random bytes.
    Randomness { cause: getrandom::Error },
}

impl VaultError {
    pub(super) fn file(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    pub(super) fn database(path: &Path, cause: rusqlite::Error) -> Self {
        if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
            return Self::NotAVault {
                path: path.to_owned(),
                problem: "it is not a database".into(),
            };
        }
        Self::Database {
            path: path.to_owned(),
            cause,
        }
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { place, problem, advice } => {
                write!(f, "no key-encryption key from {place}: {problem}; {advice}")
            }
            Self::File { action, path, cause } => write!(
                f,
                "cannot {action} {}: {cause}; check the path, its permissions and the free space",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "the vault {} is being written by another run; stop that run or give this one another --state",
                path.display()
            ),
            Self::WrongKey { path } => write!(
                f,
                "the vault {} is locked by another key-encryption key; name in [keys] kek the one it was made with",
                path.display()
            ),
            Self::Missing { path } => write!(
                f,
                "there is no vault at {}; check --state, or run a dataflow first",
                path.display()
            ),
            Self::NotAVault { path, problem } => write!(
                f,
                "{} is not a vault this version can use: {problem}; check --state",
                path.display()
            ),
            Self::Database { path, cause } => {
                write!(f, "the vault {}: {cause}; {}", path.display(), database_advice(cause))
            }
            Self::Sealed { what } => write!(
                f,
                "{what} does not open: it was changed, its key was deleted, or it is under another key-encryption key; \
                 check that every process has the same [keys] kek, or restore a backup"
            ),
            Self::TooLong { what } => {
                write!(f, "{what} is too long to be sealed; lower record.max_record_bytes")
            }
            Self::Randomness { cause } => {
                write!(f, "the operating system gave no random bytes ({cause}); try again")
            }
        }
    }
}

/// What the user can do about an error of the embedded database.
fn database_advice(cause: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: free some space and start again",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds it: try again in a moment",
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged: restore a backup",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check the permissions of the file and its folder"
        }
        _ => "check the disk and its free space",
    }
}

impl std::error::Error for VaultError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { cause, .. } => Some(cause),
            Self::Database { cause, .. } => Some(cause),
            Self::Randomness { cause } => Some(cause),
            _ => None,
        }
    }
}
