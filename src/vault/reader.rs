//! Looking a patient up, also beside a run that writes. In: a patient's id. Out: every version of the
//! patient's identity in clear, for the user's eyes only, and an audit row that says so.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::audit;
use super::database;
use super::error::VaultError;
use super::identity::{IdentityTag, SealedIdentity};
use super::keys::KeyEncryptionKey;
use super::wrap::{KeyWrapper, WrappedKey};

/// The vault, open for looking up.
pub struct VaultReader {
    path: PathBuf,
    connection: Connection,
    wrapper: KeyWrapper,
}

/// All the vault knows of a patient. Times are event times in microseconds since 1970 UTC, inclusive.
pub struct PatientRecord {
    pub patient: String,
    pub first_seen: i64,
    pub last_seen: i64,
    /// In the order in which they were first seen.
    pub versions: Vec<IdentityVersion>,
    /// Whether the look-up is in the vault's audit; not so if this user may only read the vault.
    pub audited: bool,
}

/// One identity that a patient had. PHI: it has no `Debug` and is wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct IdentityVersion {
    /// 1, 2, 3 … in the order of `first_seen`.
    pub version: u32,
    pub name: Option<String>,
    pub dob: Option<String>,
    /// False, with neither name nor date of birth, if the data key was deleted or the sealed identity has
    /// not arrived yet.
    pub readable: bool,
    pub first_seen: i64,
    pub last_seen: i64,
}

impl PatientRecord {
    /// The version that was seen last; of two seen last at once, the later version.
    pub fn current(&self) -> Option<&IdentityVersion> {
        self.versions
            .iter()
            .max_by_key(|version| (version.last_seen, version.version))
    }
}

impl VaultReader {
    /// Opens the vault at `path`, which must exist and be under `key`.
    pub fn open(path: &Path, key: &KeyEncryptionKey) -> Result<Self, VaultError> {
        if !path.exists() {
            return Err(VaultError::Missing { path: path.to_owned() });
        }
        let connection = database::connect(path).map_err(|e| VaultError::database(path, e))?;
        database::check(&connection, path, key)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            wrapper: KeyWrapper::new(key),
        })
    }

    /// How many patients the vault knows.
    pub fn patient_count(&self) -> Result<u64, VaultError> {
        self.connection
            .query_row("SELECT count(*) FROM patients", [], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(|e| VaultError::database(&self.path, e))
    }

    /// Everything about one patient, or `None` if the vault does not know it. The look-up is in the audit
    /// before anything is opened.
    pub fn show(&mut self, patient: &str) -> Result<Option<PatientRecord>, VaultError> {
        let failed = |e| VaultError::database(&self.path, e);
        let audited = audit::record(&self.connection, "show", patient).map_err(failed)?;
        // One transaction: a run may commit between the two queries.
        let transaction = self.connection.transaction().map_err(failed)?;
        let seen = transaction
            .query_row(
                "SELECT first_seen, last_seen FROM patients WHERE patient = ?1",
                [patient],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(failed)?;
        let Some((first_seen, last_seen)) = seen else {
            return Ok(None);
        };
        let stored = stored_versions(&transaction, patient).map_err(failed)?;
        let versions = stored
            .into_iter()
            .zip(1..)
            .map(|(stored, version)| stored.open(&self.wrapper, patient, version))
            .collect::<Result<_, _>>()?;
        Ok(Some(PatientRecord {
            patient: patient.to_owned(),
            first_seen,
            last_seen,
            versions,
            audited,
        }))
    }
}

/// A row of the identities with its key, each as far as it is there.
struct StoredVersion {
    tag: [u8; 16],
    sealed: Option<Vec<u8>>,
    wrapped: Option<Vec<u8>>,
    first_seen: i64,
    last_seen: i64,
}

fn stored_versions(transaction: &Transaction<'_>, patient: &str) -> rusqlite::Result<Vec<StoredVersion>> {
    transaction
        .prepare(
            "SELECT tag, sealed, wrapped, first_seen, last_seen
             FROM identities LEFT JOIN data_keys USING (patient, key_id)
             WHERE patient = ?1 ORDER BY first_seen, tag",
        )?
        .query_map([patient], StoredVersion::read)?
        .collect()
}

impl StoredVersion {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            tag: row.get(0)?,
            sealed: row.get(1)?,
            wrapped: row.get(2)?,
            first_seen: row.get(3)?,
            last_seen: row.get(4)?,
        })
    }

    fn open(self, wrapper: &KeyWrapper, patient: &str, version: u32) -> Result<IdentityVersion, VaultError> {
        let mut opened = IdentityVersion {
            version,
            name: None,
            dob: None,
            readable: false,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        };
        if let (Some(sealed), Some(wrapped)) = (self.sealed, self.wrapped) {
            let identity = SealedIdentity {
                tag: IdentityTag(self.tag),
                key: WrappedKey::from_bytes(&wrapped).ok_or(VaultError::Sealed {
                    what: "a patient's wrapped data key",
                })?,
                sealed,
            };
            let mut clear = identity.open(wrapper, patient)?;
            opened.name = clear.name.take();
            opened.dob = clear.dob.take();
            opened.readable = true;
        }
        Ok(opened)
    }
}
