//! The vault's embedded database (SQLite): its tables, how it is opened, and the proof that the right
//! key-encryption key is at hand. In: a path and the key. Out: a connection to a checked vault.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::error::VaultError;
use super::key_text::SecretKey;
use super::keys::KeyEncryptionKey;
use super::wrap::{FORMAT_VERSION, derive};

/// How long to wait for the other side: a run's commit, or the audit row of a look-up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left of the write-ahead log after a large commit.
const JOURNAL_BYTES: i64 = 64 << 20;

/// Nothing here is in clear but patient ids, times and the audit. An identity whose sighting came before
/// the identity itself has neither key nor sealed text yet. Versions are not stored: they are the order
/// of `first_seen`, so that they do not depend on the order in which sightings arrive.
const SCHEMA: &str = "
    CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE patients(patient TEXT PRIMARY KEY, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE TABLE data_keys(patient TEXT NOT NULL, key_id BLOB NOT NULL, wrapped BLOB NOT NULL,
        PRIMARY KEY(patient, key_id)) STRICT, WITHOUT ROWID;
    CREATE TABLE identities(patient TEXT NOT NULL, tag BLOB NOT NULL, key_id BLOB, sealed BLOB,
        first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, PRIMARY KEY(patient, tag)) STRICT, WITHOUT ROWID;
    CREATE TABLE payload_keys(key_id BLOB PRIMARY KEY, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE audit(at INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, patient TEXT NOT NULL) STRICT;
";

/// Makes the file, with its folder, for its owner alone, unless it is there. SQLite gives its journal
/// the same permissions.
pub(super) fn create_file(path: &Path) -> Result<(), VaultError> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| VaultError::file("create the folder", folder, e))?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(VaultError::file("create the vault", path, e)),
        _ => Ok(()),
    }
}

/// A connection that may write, to a file that exists.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Deleted keys must be gone from the file, and a commit is durable when it returns.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", JOURNAL_BYTES, |_| Ok(()))?;
    Ok(connection)
}

/// A connection that only reads, beside one that writes.
pub(super) fn connect_reading(path: &Path) -> rusqlite::Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Makes an empty database a vault under `key`, with `payload_key` (id, wrapped) in it; one transaction.
/// Leaves any other as it is.
pub(super) fn establish(
    connection: &mut Connection,
    key: &KeyEncryptionKey,
    payload_key: (&[u8], &[u8]),
) -> rusqlite::Result<()> {
    if holds_table(connection, "%")? {
        return Ok(());
    }
    // Write-ahead log: look-ups go on beside a run, and its commits beside them. Kept in the file.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    let put = "INSERT INTO meta(name, value) VALUES (?1, ?2)";
    transaction.execute(put, params!["format", [FORMAT_VERSION]])?;
    transaction.execute(put, params!["key check", key_check(key).as_slice()])?;
    transaction.execute(
        "INSERT INTO payload_keys(key_id, wrapped) VALUES (?1, ?2)",
        params![payload_key.0, payload_key.1],
    )?;
    transaction.commit()
}

/// Whether there is a table whose name is like `pattern`.
fn holds_table(connection: &Connection, pattern: &str) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name LIKE ?1",
        [pattern],
        |row| row.get(0),
    )
}

/// Tells the key-encryption key apart from others without telling anything else about it.
fn key_check(key: &KeyEncryptionKey) -> SecretKey {
    derive(key, "wardflow vault: check the key-encryption key")
}

/// Refuses what is no vault, a vault of another version, and one under another key.
pub(super) fn check(connection: &Connection, path: &Path, key: &KeyEncryptionKey) -> Result<(), VaultError> {
    let not_a_vault = |problem: String| VaultError::NotAVault {
        path: path.to_owned(),
        problem,
    };
    let is_vault = holds_table(connection, "meta").map_err(|e| VaultError::database(path, e))?;
    if !is_vault {
        return Err(not_a_vault("it has no tables of a vault".into()));
    }
    let meta = |name: &str| {
        connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                row.get::<_, Vec<u8>>(0)
            })
            .optional()
            .map_err(|e| VaultError::database(path, e))
    };
    match meta("format")?.as_deref() {
        Some(&[FORMAT_VERSION]) => {}
        Some(&[other]) => return Err(not_a_vault(format!("its format is version {other}"))),
        _ => return Err(not_a_vault("it names no format".into())),
    }
    if meta("key check")?.as_deref() == Some(key_check(key).as_slice()) {
        Ok(())
    } else {
        Err(VaultError::WrongKey { path: path.to_owned() })
    }
}
