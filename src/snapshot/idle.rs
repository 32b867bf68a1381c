//! What an operator remembers of idle keys, on disk until their next row. In: values by key. Out: the same bytes, once.
//!
//! It bounds memory, and no more: what survives a crash is in the runs, so nothing here is synced, and the file loses its name as
//! soon as it is open, so that whatever becomes of the process nothing of it is left behind.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::SnapshotError;

/// Of one operator on one worker; no file is made before the first key leaves.
pub struct Idle {
    path: PathBuf,
    open: Option<Connection>,
}

impl Idle {
    /// In `folder`, the state's; `name` tells it from the others of this folder, also those of other processes.
    pub fn new(folder: &Path, name: &str) -> Idle {
        Idle {
            path: folder.join(format!("idle-{}-{name}", std::process::id())),
            open: None,
        }
    }

    /// Keeps a value; one that is already there under the key is replaced.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let connection = match &mut self.open {
            Some(connection) => connection,
            None => self.open.insert(open(&self.path)?),
        };
        connection
            .prepare_cached("INSERT OR REPLACE INTO idle (key, value) VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute([key, value]))
            .map(|_| ())
            .map_err(|e| SnapshotError::idle(&self.path, e))
    }

    /// Gives a value back and forgets it; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn take(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, SnapshotError> {
        let Some(connection) = &self.open else {
            return Ok(None);
        };
        connection
            .prepare_cached("DELETE FROM idle WHERE key = ?1 RETURNING value")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(|e| SnapshotError::idle(&self.path, e))
    }
}

fn open(path: &Path) -> Result<Connection, SnapshotError> {
    let failed = SnapshotError::io(path);
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {} // nothing, or what a process of this number has left
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(&failed)?;
    let connection = Connection::open(path)
        .and_then(|connection| {
            connection.execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
                 CREATE TABLE idle (key BLOB PRIMARY KEY, value BLOB NOT NULL);",
            )?;
            Ok(connection)
        })
        .map_err(|e| SnapshotError::idle(path, e))?;
    fs::remove_file(path).map_err(failed)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A key, and a value to put or nothing to take.
    fn step() -> impl Strategy<Value = (u8, Option<Vec<u8>>)> {
        let value = prop_oneof![4 => 0usize..40, 1 => 4_000usize..30_000];
        let value = (value, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
        (0u8..20, proptest::option::of(value))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn it_is_a_map_on_disk_that_leaves_nothing_there(steps in proptest::collection::vec(step(), 0..120)) {
            let folder = tempfile::tempdir().expect("a folder");
            let mut idle = Idle::new(folder.path(), "score-0");
            let mut wanted = HashMap::new();
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        idle.put(&[key], &value).expect("put");
                        wanted.insert(key, value);
                    }
                    None => prop_assert_eq!(idle.take(&[key]).expect("taken"), wanted.remove(&key)),
                }
            }
            prop_assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        }
    }

    #[test]
    fn a_folder_that_is_gone_is_told_with_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut idle = Idle::new(&folder.path().join("gone"), "score-0");
        assert!(idle.take(b"key").expect("nothing to read").is_none());
        let told = idle.put(b"key", b"value").expect_err("no folder").to_string();
        assert!(told.contains("gone/idle-"), "{told}");
    }
}
