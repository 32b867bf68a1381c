//! The vault as the run that writes it has it. In: sightings from all workers. Out: an embedded database
//! with, for every patient, when it was seen and every identity it had, sealed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::database;
use super::error::VaultError;
use super::identity::{IdentityTag, SealedIdentity};
use super::intake::{SightedIdentity, Sighting};
use super::keys::KeyEncryptionKey;
use super::wrap::{KeyWrapper, Purpose, WrappedKey};

/// The vault, open for writing; at most one at a time in all processes of a machine.
pub struct Vault {
    path: PathBuf,
    connection: Connection,
    wrapper: KeyWrapper,
    payload_key: Vec<u8>,
    /// Held for as long as the file is open. Not SQLite's own lock: look-ups write audit rows.
    _lock: File,
}

impl Vault {
    /// Opens the vault at `path`, making it if it is not there. Refused while another has it open for
    /// writing, and under another key-encryption key than the one it was made with.
    pub fn open_writer(path: &Path, key: &KeyEncryptionKey) -> Result<Self, VaultError> {
        database::create_file(path)?;
        let lock = lock(path)?;
        let wrapper = KeyWrapper::new(key);
        let fresh = wrapper.generate(Purpose::Payloads)?;
        let failed = |e| VaultError::database(path, e);
        let mut connection = database::connect(path).map_err(failed)?;
        database::establish(&mut connection, key, (&fresh.id.0, &fresh.to_bytes())).map_err(failed)?;
        database::check(&connection, path, key)?;
        let payload_key = connection
            .query_row("SELECT wrapped FROM payload_keys ORDER BY key_id LIMIT 1", [], |row| {
                row.get(0)
            })
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            wrapper,
            payload_key,
            _lock: lock,
        })
    }

    /// The key for [`PayloadSealer::from_wrapped`](super::PayloadSealer::from_wrapped): durable, and of
    /// use only to a process that has the key-encryption key.
    pub fn wrapped_payload_key(&self) -> &[u8] {
        &self.payload_key
    }

    /// Records sightings, all or none, durably when this returns. Repeating some or taking them in
    /// another order leaves the same patients, versions and times.
    pub fn apply(&mut self, sightings: &[Sighting]) -> Result<(), VaultError> {
        if sightings.is_empty() {
            return Ok(());
        }
        let failed = |e| VaultError::database(&self.path, e);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for sighting in sightings {
            widen_patient(&transaction, sighting).map_err(failed)?;
            match &sighting.identity {
                SightedIdentity::Absent => {}
                SightedIdentity::Known(tag) => {
                    widen_identity(&transaction, sighting, tag).map_err(failed)?;
                }
                SightedIdentity::New(sealed) => {
                    widen_identity(&transaction, sighting, &sealed.tag).map_err(failed)?;
                    if awaits_identity(&transaction, sighting, &sealed.tag).map_err(failed)? {
                        // What this vault's key does not open must not get in. The identity itself
                        // stays sealed: it may be in clear only where it was received.
                        let purpose = Purpose::Identities(&sighting.patient);
                        self.wrapper.unwrap(&sealed.key, purpose)?;
                        store_identity(&transaction, &sighting.patient, sealed).map_err(failed)?;
                    }
                }
            }
        }
        transaction.commit().map_err(failed)
    }

    /// A second connection, through which a keyring finds the keys of patients met in earlier runs.
    pub(super) fn stored_keys(&self) -> Result<StoredKeys, VaultError> {
        StoredKeys::open(&self.path)
    }
}

/// Takes the lock file beside the database, without waiting.
fn lock(path: &Path) -> Result<File, VaultError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|e| VaultError::file("create the lock file", &lock_path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(VaultError::InUse { path: path.to_owned() }),
        Err(e) => Err(VaultError::file("lock", &lock_path, e.into())),
    }
}

/// The condition spares writing a row that a sighting does not change, as in a repeated replay.
fn widen_patient(transaction: &Transaction<'_>, sighting: &Sighting) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO patients(patient, first_seen, last_seen) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET first_seen = min(first_seen, ?2), last_seen = max(last_seen, ?3)
             WHERE ?2 < first_seen OR ?3 > last_seen",
        )?
        .execute(params![
            sighting.patient.as_str(),
            sighting.first_seen,
            sighting.last_seen
        ])?;
    Ok(())
}

fn widen_identity(transaction: &Transaction<'_>, sighting: &Sighting, tag: &IdentityTag) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO identities(patient, tag, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET first_seen = min(first_seen, ?3), last_seen = max(last_seen, ?4)
             WHERE ?3 < first_seen OR ?4 > last_seen",
        )?
        .execute(params![
            sighting.patient.as_str(),
            tag.0,
            sighting.first_seen,
            sighting.last_seen
        ])?;
    Ok(())
}

fn awaits_identity(transaction: &Transaction<'_>, sighting: &Sighting, tag: &IdentityTag) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("SELECT sealed IS NULL FROM identities WHERE patient = ?1 AND tag = ?2")?
        .query_row(params![sighting.patient.as_str(), tag.0], |row| row.get(0))
}

/// The key is stored only with an identity under it, so the vault holds none without use.
fn store_identity(transaction: &Transaction<'_>, patient: &str, identity: &SealedIdentity) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO data_keys(patient, key_id, wrapped) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![patient, identity.key.id.0, identity.key.to_bytes()])?;
    transaction
        .prepare_cached("UPDATE identities SET key_id = ?3, sealed = ?4 WHERE patient = ?1 AND tag = ?2")?
        .execute(params![patient, identity.tag.0, identity.key.id.0, identity.sealed])?;
    Ok(())
}

/// The wrapped data keys in the vault.
pub(super) struct StoredKeys {
    path: PathBuf,
    /// Those that nobody uses: there are as many connections as have been used at once.
    idle: Mutex<Vec<Connection>>,
}

impl StoredKeys {
    /// Of the vault at `path`.
    pub(super) fn open(path: &Path) -> Result<StoredKeys, VaultError> {
        let keys = StoredKeys {
            path: path.to_owned(),
            idle: Mutex::default(),
        };
        keys.idle().push(keys.connect()?);
        Ok(keys)
    }

    fn connect(&self) -> Result<Connection, VaultError> {
        database::connect_reading(&self.path).map_err(|e| VaultError::database(&self.path, e))
    }

    /// Held only to take a connection or to put it back; a panic elsewhere leaves nothing half done.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The patient's data key; the one with the lowest id, should two processes have made one each.
    pub(super) fn first_of(&self, patient: &str) -> Result<Option<WrappedKey>, VaultError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let wrapped: Option<Vec<u8>> = connection
            .prepare_cached("SELECT wrapped FROM data_keys WHERE patient = ?1 ORDER BY key_id LIMIT 1")
            .and_then(|mut query| query.query_row([patient], |row| row.get(0)).optional())
            .map_err(|e| VaultError::database(&self.path, e))?;
        self.idle().push(connection);
        wrapped
            .map(|bytes| {
                WrappedKey::from_bytes(&bytes).ok_or(VaultError::Sealed {
                    what: "a patient's wrapped data key",
                })
            })
            .transpose()
    }
}
