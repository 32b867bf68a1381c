//! What a journal is sealed with. In: a segment's frames and the identities cut out of its records. Out: the same under lock: a
//! frame under a key of its segment, an identity under the patient's own data key, so that deleting that key makes it unreadable
//! in all segments at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes_gcm::aead::{Aead, AeadInOut, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::database;
use super::digest::Digest;
use super::error::VaultError;
use super::identity::Sealer;
use super::key_text::SecretKey;
use super::keys::KeyEncryptionKey;
use super::recent::Recent;
use super::wrap::{FORMAT_VERSION, KeyWrapper, Purpose, WrappedKey, random};

const NONCE_BYTES: usize = 12;
/// Nonces that are drawn at once.
const NONCES: usize = if cfg!(test) { 3 } else { 256 };
const AUTHENTICATOR_BYTES: usize = 16;
/// Patients whose opened keys are kept at hand at most, half of them for sure: as keys of 32 bytes, which are quickly made ready for
/// use; ready ones take twenty times the room.
const AT_HAND: usize = if cfg!(test) { 10 } else { 1 << 16 };
/// Patients whose keys are known to be in the vault at most; those of others are put there again, which changes nothing.
const KEPT: usize = if cfg!(test) { 25 } else { 1 << 16 };
const UNREADABLE: VaultError = VaultError::Sealed {
    what: "an identity in the journal",
};

/// Makes and opens the keys of segments.
pub struct SegmentKeys(KeyWrapper);

/// A segment's key in clear.
pub struct SegmentKey(Aes256Gcm);

impl SegmentKeys {
    pub fn new(key: &KeyEncryptionKey) -> SegmentKeys {
        SegmentKeys(KeyWrapper::new(key))
    }

    /// A new key, and the form of it that may be stored.
    ///
    /// # Errors
    /// A system without random bytes.
    pub fn generate(&self) -> Result<(SegmentKey, Vec<u8>), VaultError> {
        let wrapped = self.0.generate(Purpose::Segment)?;
        Ok((self.open(&wrapped.to_bytes())?, wrapped.to_bytes().to_vec()))
    }

    /// # Errors
    /// One that was changed, or that is under another key-encryption key.
    pub fn open(&self, wrapped: &[u8]) -> Result<SegmentKey, VaultError> {
        let wrapped = WrappedKey::from_bytes(wrapped).ok_or(VaultError::Sealed {
            what: "the wrapped key of a journal's segment",
        })?;
        let clear = self.0.unwrap(&wrapped, Purpose::Segment)?;
        Ok(SegmentKey(Aes256Gcm::new((&*clear).into())))
    }
}

impl SegmentKey {
    /// Seals `bytes` in place, bound to `about`. A `number` must not come twice under one key.
    ///
    /// # Errors
    /// More bytes than can be sealed at once (64 GiB).
    pub fn seal(&self, number: u64, about: &[u8], bytes: &mut Vec<u8>) -> Result<(), VaultError> {
        self.0
            .encrypt_in_place(&nonce(number), about, bytes)
            .map_err(|_| VaultError::TooLong {
                what: "a journal's frame",
            })
    }

    /// Opens in place what [`seal`](SegmentKey::seal) has sealed.
    ///
    /// # Errors
    /// Anything that was changed, or that belongs elsewhere.
    pub fn open(&self, number: u64, about: &[u8], bytes: &mut Vec<u8>) -> Result<(), VaultError> {
        self.0
            .decrypt_in_place(&nonce(number), about, bytes)
            .map_err(|_| VaultError::Sealed {
                what: "a journal's frame",
            })
    }
}

fn nonce(number: u64) -> aes_gcm::Nonce<aes_gcm::aes::cipher::typenum::U12> {
    let mut nonce = [0; NONCE_BYTES];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce.into()
}

/// Names the data key that an identity is under.
pub type DataKeyId = [u8; 16];

fn associated_data(id: &DataKeyId, patient: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(2 + id.len() + patient.len());
    data.extend_from_slice(&[FORMAT_VERSION, b'j']);
    data.extend_from_slice(id);
    data.extend_from_slice(patient.as_bytes());
    data
}

/// Seals identities for the journal. Keys of patients met for the first time wait until [`keep`](Self::keep): what is sealed under
/// them may be made durable only behind that.
pub struct IdentityCipher {
    sealer: Arc<Sealer>,
    connection: Connection,
    path: PathBuf,
    at_hand: Recent<(DataKeyId, SecretKey)>,
    kept: Recent<()>,
    fresh: Vec<(String, WrappedKey, Digest)>,
    nonces: Nonces,
}

/// Random nonces, which are no secrets: asking the system for each would take as long as the sealing.
struct Nonces {
    drawn: [u8; NONCE_BYTES * NONCES],
    used: usize,
}

impl Nonces {
    fn next(&mut self) -> Result<[u8; NONCE_BYTES], VaultError> {
        if self.used == NONCES {
            self.drawn = random()?;
            self.used = 0;
        }
        let (nonces, _) = self.drawn.as_chunks();
        self.used += 1;
        Ok(nonces[self.used - 1])
    }
}

impl Default for Nonces {
    fn default() -> Nonces {
        Nonces {
            drawn: [0; NONCE_BYTES * NONCES],
            used: NONCES,
        }
    }
}

impl IdentityCipher {
    /// Beside the vault's writer, to the same file.
    ///
    /// # Errors
    /// A vault that cannot be opened.
    pub fn beside(sealer: Arc<Sealer>, path: &Path) -> Result<IdentityCipher, VaultError> {
        let connection = database::connect(path).map_err(|e| VaultError::database(path, e))?;
        Ok(IdentityCipher {
            sealer,
            connection,
            path: path.to_owned(),
            at_hand: Recent::new(AT_HAND),
            kept: Recent::new(KEPT),
            fresh: Vec::new(),
            nonces: Nonces::default(),
        })
    }

    /// `clear` under the patient's data key: the key's id, then nonce, ciphertext and authenticator.
    ///
    /// # Errors
    /// A vault that cannot be read, or a system without random bytes.
    pub fn seal(&mut self, patient: &str, clear: &[u8]) -> Result<(DataKeyId, Vec<u8>), VaultError> {
        let digest = self.sealer.digest_of(patient);
        let (id, key) = match self.at_hand.meet(digest).cloned() {
            Some(known) => known,
            None => {
                let (wrapped, key) = self.sealer.data_key(patient)?;
                let opened = (wrapped.id.0, key);
                self.at_hand.insert(digest, opened.clone());
                if self.kept.meet(digest).is_none() && !self.fresh.iter().any(|(.., of)| *of == digest) {
                    self.fresh.push((patient.to_owned(), wrapped, digest));
                }
                opened
            }
        };
        let nonce = self.nonces.next()?;
        let mut sealed = Vec::with_capacity(NONCE_BYTES + clear.len() + AUTHENTICATOR_BYTES);
        sealed.extend_from_slice(&nonce);
        let payload = Payload {
            msg: clear,
            aad: &associated_data(&id, patient),
        };
        let ciphertext = Aes256Gcm::new((&*key).into())
            .encrypt((&nonce).into(), payload)
            .map_err(|_| VaultError::TooLong { what: "an identity" })?;
        sealed.extend_from_slice(&ciphertext);
        Ok((id, sealed))
    }

    /// Makes the keys that were used since the last time durable in the vault.
    ///
    /// # Errors
    /// A vault that cannot be written.
    pub fn keep(&mut self) -> Result<(), VaultError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let failed = |e| VaultError::database(&self.path, e);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for (patient, key, _) in &self.fresh {
            transaction
                .prepare_cached(
                    "INSERT INTO data_keys(patient, key_id, wrapped) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )
                .and_then(|mut insert| insert.execute(params![patient, key.id.0, key.to_bytes()]))
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        for (.., digest) in self.fresh.drain(..) {
            self.kept.insert(digest, ());
        }
        Ok(())
    }
}

/// Opens identities of a journal.
pub struct IdentityOpener {
    wrapper: KeyWrapper,
    connection: Connection,
    path: PathBuf,
    /// By its name; `None`: the vault has it no more.
    at_hand: HashMap<DataKeyId, Option<SecretKey>>,
}

impl IdentityOpener {
    /// # Errors
    /// A vault that cannot be read, or that is under another key-encryption key.
    pub fn open(path: &Path, key: &KeyEncryptionKey) -> Result<IdentityOpener, VaultError> {
        let connection = database::connect_reading(path).map_err(|e| VaultError::database(path, e))?;
        database::check(&connection, path, key)?;
        Ok(IdentityOpener {
            wrapper: KeyWrapper::new(key),
            connection,
            path: path.to_owned(),
            at_hand: HashMap::new(),
        })
    }

    /// What was sealed; `None` if the patient's key has been deleted.
    ///
    /// # Errors
    /// A vault that cannot be read, or anything that was changed.
    pub fn unseal(&mut self, patient: &str, id: &DataKeyId, sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        if self.at_hand.len() >= AT_HAND {
            self.at_hand.clear();
        }
        if !self.at_hand.contains_key(id) {
            let wrapped: Option<Vec<u8>> = self
                .connection
                .prepare_cached("SELECT wrapped FROM data_keys WHERE patient = ?1 AND key_id = ?2")
                .and_then(|mut query| query.query_row(params![patient, id], |row| row.get(0)).optional())
                .map_err(|e| VaultError::database(&self.path, e))?;
            let key = match wrapped {
                None => None,
                Some(wrapped) => {
                    let wrapped = WrappedKey::from_bytes(&wrapped).ok_or(UNREADABLE)?;
                    Some(self.wrapper.unwrap(&wrapped, Purpose::Identities(patient))?)
                }
            };
            self.at_hand.insert(*id, key);
        }
        let Some(key) = &self.at_hand[id] else {
            return Ok(None);
        };
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(UNREADABLE)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated_data(id, patient),
        };
        let opened = Aes256Gcm::new((&**key).into()).decrypt(nonce.into(), payload);
        opened.map(Some).map_err(|_| UNREADABLE)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::vault::Vault;

    fn kek(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey(Zeroizing::new([byte; 32]))
    }

    /// Beside a fresh vault, and where that is.
    fn cipher_in(folder: &Path) -> (PathBuf, IdentityCipher) {
        let path = folder.join("vault.sqlite");
        let vault = Vault::open_writer(&path, &kek(1)).expect("a fresh vault");
        let sealer = Arc::new(Sealer::with_vault(&kek(1), &vault).expect("a sealer"));
        let cipher = IdentityCipher::beside(sealer, &path).expect("opened");
        (path, cipher)
    }

    #[test]
    fn a_frame_opens_only_under_its_number_place_and_key() {
        let keys = SegmentKeys::new(&kek(1));
        let (key, wrapped) = keys.generate().expect("random bytes");
        let mut sealed = b"readings".to_vec();
        key.seal(7, b"about", &mut sealed).expect("sealed");
        let open = |key: &SegmentKey, number, about: &[u8]| {
            let mut bytes = sealed.clone();
            key.open(number, about, &mut bytes).map(|()| bytes)
        };
        let again = keys.open(&wrapped).expect("the same key");
        assert_eq!(open(&again, 7, b"about").expect("opened"), b"readings");
        assert!(open(&again, 8, b"about").is_err());
        assert!(open(&again, 7, b"elsewhere").is_err());
        assert!(open(&keys.generate().expect("random bytes").0, 7, b"about").is_err());
        assert!(SegmentKeys::new(&kek(2)).open(&wrapped).is_err());
    }

    #[test]
    fn patients_that_come_and_go_take_no_memory_and_keep_their_keys() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, mut cipher) = cipher_in(folder.path());
        let mut opener = IdentityOpener::open(&path, &kek(1)).expect("opened");
        let patients: Vec<String> = (0..5 * KEPT).map(|number| format!("p-{number}")).collect();
        let mut ids = HashMap::new();
        for patient in patients.iter().chain(&patients) {
            let (id, sealed) = cipher.seal(patient, patient.as_bytes()).expect("sealed");
            cipher.keep().expect("kept");
            assert!(cipher.at_hand.len() <= AT_HAND && cipher.kept.len() <= KEPT && cipher.fresh.is_empty());
            assert_eq!(*ids.entry(patient).or_insert(id), id, "one key for a patient");
            let opened = opener.unseal(patient, &id, &sealed).expect("readable");
            assert_eq!(opened.as_deref(), Some(patient.as_bytes()));
            assert!(opener.at_hand.len() <= AT_HAND);
        }
    }

    #[test]
    fn an_identity_opens_until_its_key_is_deleted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, mut cipher) = cipher_in(folder.path());
        let (id, sealed) = cipher.seal("p-1", b"Ada").expect("sealed");
        assert_eq!(
            cipher.seal("p-1", b"Ada").expect("sealed").0,
            id,
            "one key for a patient"
        );
        cipher.keep().expect("kept");

        let open = || IdentityOpener::open(&path, &kek(1)).expect("opened");
        assert_eq!(
            open().unseal("p-1", &id, &sealed).expect("readable").as_deref(),
            Some(&b"Ada"[..])
        );
        assert!(open().unseal("p-1", &id, &sealed[1..]).is_err());
        let connection = database::connect(&path).expect("connected");
        connection.execute("DELETE FROM data_keys", []).expect("deleted");
        assert_eq!(open().unseal("p-1", &id, &sealed).expect("no error"), None, "forgotten");
    }
}
