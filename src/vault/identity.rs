//! A sealed identity: name and date of birth of one patient, encrypted under the patient's data key.
//! In: the identity in clear. Out: what may be stored and sent, and a tag to recognise it by.

use std::path::Path;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::digest::{Digest, DigestSecret};
use super::error::VaultError;
use super::key_text::SecretKey;
use super::keyring::Keyring;
use super::keys::KeyEncryptionKey;
use super::store::{StoredKeys, Vault};
use super::wrap::{FORMAT_VERSION, HmacSha256, KeyId, KeyWrapper, Purpose, WrappedKey, derive, hmac, random};

const NONCE_BYTES: usize = 12;
/// Identities are padded to a multiple of this, so that their length tells little.
const PADDED_TO: usize = 32;
const UNREADABLE: VaultError = VaultError::Sealed {
    what: "a sealed identity",
};

/// Recognises an identity of a patient without opening it: the same patient, name and date of birth give
/// the same tag under the same key-encryption key. HMAC-SHA-256 cut to half its length (RFC 2104, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdentityTag(pub(super) [u8; 16]);

/// A patient's name and date of birth in clear, wiped when dropped; at least one of them is there.
#[derive(ZeroizeOnDrop)]
pub(super) struct ClearIdentity {
    pub(super) name: Option<String>,
    pub(super) dob: Option<String>,
}

/// An identity under the patient's data key, with that key wrapped. Nothing in it is in clear.
#[derive(Clone, Serialize, Deserialize)]
pub struct SealedIdentity {
    pub(super) tag: IdentityTag,
    pub(super) key: WrappedKey,
    /// The nonce, then ciphertext and authenticator of AES-256-GCM.
    pub(super) sealed: Vec<u8>,
}

impl SealedIdentity {
    /// Opens it as an identity of `patient`; an error if it was changed or is another patient's.
    pub(super) fn open(&self, wrapper: &KeyWrapper, patient: &str) -> Result<ClearIdentity, VaultError> {
        let data_key = wrapper.unwrap(&self.key, Purpose::Identities(patient))?;
        let (nonce, ciphertext) = self.sealed.split_first_chunk::<NONCE_BYTES>().ok_or(UNREADABLE)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated_data(&self.key.id, &self.tag, patient),
        };
        let clear = Aes256Gcm::new((&*data_key).into())
            .decrypt(nonce.into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| UNREADABLE)?;
        decode(&clear).ok_or(UNREADABLE)
    }
}

fn associated_data(id: &KeyId, tag: &IdentityTag, patient: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(1 + 16 + 16 + patient.len());
    data.push(FORMAT_VERSION);
    data.extend_from_slice(&id.0);
    data.extend_from_slice(&tag.0);
    data.extend_from_slice(patient.as_bytes());
    data
}

/// For each field its presence (one byte) and, if present, its length (8 bytes, little-endian) and text;
/// then zeros up to the padded length.
fn encode(name: Option<&str>, dob: Option<&str>) -> Zeroizing<Vec<u8>> {
    let text = name.map_or(0, str::len) + dob.map_or(0, str::len);
    // Room for everything at once: a growing vector would leave unwiped copies behind.
    let length = (2 * 9 + text).next_multiple_of(PADDED_TO);
    let mut clear = Zeroizing::new(Vec::with_capacity(length));
    for field in [name, dob] {
        clear.push(u8::from(field.is_some()));
        if let Some(text) = field {
            clear.extend_from_slice(&(text.len() as u64).to_le_bytes());
            clear.extend_from_slice(text.as_bytes());
        }
    }
    clear.resize(length, 0);
    clear
}

fn decode(clear: &[u8]) -> Option<ClearIdentity> {
    let (name, rest) = decode_field(clear)?;
    let (dob, padding) = decode_field(rest)?;
    let identity = ClearIdentity { name, dob };
    padding.iter().all(|&byte| byte == 0).then_some(identity)
}

fn decode_field(clear: &[u8]) -> Option<(Option<String>, &[u8])> {
    let (presence, rest) = clear.split_first()?;
    if *presence == 0 {
        return Some((None, rest));
    }
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((Some(str::from_utf8(text).ok()?.to_owned()), rest))
}

/// Seals identities. One per process, shared by its workers.
pub struct Sealer {
    keyring: Keyring,
    tagging: HmacSha256,
    pub(super) digests: DigestSecret,
}

impl Sealer {
    /// For a process that does not own the vault: patients get data keys of this process.
    pub fn new(key: &KeyEncryptionKey) -> Result<Self, VaultError> {
        Self::with_keyring(key, Keyring::new(KeyWrapper::new(key)))
    }

    /// For the process that owns the vault: patients in the vault keep their data keys.
    pub fn with_vault(key: &KeyEncryptionKey, vault: &Vault) -> Result<Self, VaultError> {
        let keyring = Keyring::with_stored(KeyWrapper::new(key), vault.stored_keys()?);
        Self::with_keyring(key, keyring)
    }

    /// For another process of a run that goes on for long: patients in the vault at `path` keep their data keys.
    pub fn beside(key: &KeyEncryptionKey, path: &Path) -> Result<Self, VaultError> {
        let keyring = Keyring::with_stored(KeyWrapper::new(key), StoredKeys::open(path)?);
        Self::with_keyring(key, keyring)
    }

    fn with_keyring(key: &KeyEncryptionKey, keyring: Keyring) -> Result<Self, VaultError> {
        Ok(Self {
            keyring,
            tagging: hmac(&derive(key, "wardflow vault: tag identities")),
            digests: DigestSecret::random()?,
        })
    }

    pub(super) fn seal(
        &self,
        patient: &str,
        name: Option<&str>,
        dob: Option<&str>,
    ) -> Result<SealedIdentity, VaultError> {
        let digest = self.digests.patient(patient);
        let (key, data_key) = self.keyring.data_key(digest, patient)?;
        let clear = encode(name, dob);
        let tag = self.tag(patient, &clear);
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload {
            msg: &clear,
            aad: &associated_data(&key.id, &tag, patient),
        };
        let ciphertext = Aes256Gcm::new((&*data_key).into())
            .encrypt((&nonce).into(), payload)
            .map_err(|_| VaultError::TooLong { what: "an identity" })?;
        let sealed = [nonce.as_slice(), &ciphertext].concat();
        Ok(SealedIdentity { tag, key, sealed })
    }

    pub(super) fn digest_of(&self, patient: &str) -> Digest {
        self.digests.patient(patient)
    }

    /// The patient's data key, wrapped and in clear.
    pub(super) fn data_key(&self, patient: &str) -> Result<(WrappedKey, SecretKey), VaultError> {
        self.keyring.data_key(self.digest_of(patient), patient)
    }

    /// The encoded identity has its lengths in it, so only the patient's needs to be told apart.
    fn tag(&self, patient: &str, encoded: &[u8]) -> IdentityTag {
        let mut mac = self.tagging.clone();
        mac.update(&[FORMAT_VERSION]);
        mac.update(&(patient.len() as u64).to_le_bytes());
        mac.update(patient.as_bytes());
        mac.update(encoded);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut tag = IdentityTag([0; 16]);
        tag.0.copy_from_slice(&full[..16]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kek(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey(Zeroizing::new([byte; 32]))
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(any::<String>())
    }

    proptest! {
        #[test]
        fn a_sealed_identity_opens_to_what_was_sealed(patient: String, name in text(), dob in text()) {
            let sealer = Sealer::new(&kek(1)).expect("random bytes");
            let sealed = sealer.seal(&patient, name.as_deref(), dob.as_deref()).expect("seals");
            let opened = sealed.open(&KeyWrapper::new(&kek(1)), &patient).expect("opens");
            prop_assert_eq!(&opened.name, &name);
            prop_assert_eq!(&opened.dob, &dob);
        }

        #[test]
        fn any_changed_byte_is_detected(at: prop::sample::Index, by in 1_u8..) {
            let sealer = Sealer::new(&kek(1)).expect("random bytes");
            let mut sealed = sealer.seal("p", Some("Ada"), Some("1815-12-10")).expect("seals");
            let mut key = sealed.key.to_bytes();
            match at.index(16 + key.len() + sealed.sealed.len()) {
                i @ ..16 => sealed.tag.0[i] ^= by,
                i if i < 16 + key.len() => {
                    key[i - 16] ^= by;
                    sealed.key = WrappedKey::from_bytes(&key).expect("as long");
                }
                i => sealed.sealed[i - 16 - key.len()] ^= by,
            }
            prop_assert!(sealed.open(&KeyWrapper::new(&kek(1)), "p").is_err());
        }
    }

    #[test]
    fn an_identity_opens_neither_as_another_patient_nor_under_another_key() {
        let sealer = Sealer::new(&kek(1)).expect("random bytes");
        let sealed = sealer.seal("A", Some("Ada"), None).expect("seals");
        assert!(sealed.open(&KeyWrapper::new(&kek(1)), "A").is_ok());
        assert!(sealed.open(&KeyWrapper::new(&kek(1)), "B").is_err());
        assert!(sealed.open(&KeyWrapper::new(&kek(2)), "A").is_err());
        // Neither does it under B's own key: the patient is bound twice.
        let mut moved = sealer.seal("B", Some("Ada"), None).expect("seals");
        moved.sealed = sealed.sealed;
        assert!(moved.open(&KeyWrapper::new(&kek(1)), "B").is_err());
    }

    #[test]
    fn tags_tell_identities_apart_across_processes() {
        let here = Sealer::new(&kek(1)).expect("random bytes");
        let there = Sealer::new(&kek(1)).expect("random bytes");
        let tag = |sealer: &Sealer, patient, name, dob| sealer.seal(patient, name, dob).expect("seals").tag.0;
        let ada = tag(&here, "p", Some("Ada"), Some("1815"));
        assert_eq!(ada, tag(&there, "p", Some("Ada"), Some("1815")));
        for (patient, name, dob) in [
            ("q", Some("Ada"), Some("1815")),
            ("p", Some("Ada1"), Some("815")),
            ("p", Some("Ada"), None),
            ("p", None, Some("1815")),
            ("p", Some("Ada\0"), Some("1815")),
        ] {
            assert_ne!(ada, tag(&there, patient, name, dob));
        }
        let elsewhere = Sealer::new(&kek(2)).expect("random bytes");
        assert_ne!(ada, tag(&elsewhere, "p", Some("Ada"), Some("1815")));
    }

    #[test]
    fn one_process_uses_one_data_key_per_patient() {
        let sealer = Sealer::new(&kek(1)).expect("random bytes");
        let keys: Vec<[u8; 16]> = std::thread::scope(|scope| {
            let seal = |name| sealer.seal("p", Some(name), None).expect("seals").key.id.0;
            let threads = ["a", "b", "c", "d"].map(|name| scope.spawn(move || seal(name)));
            threads.map(|t| t.join().expect("no panic")).to_vec()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_ne!(sealer.seal("q", None, Some("d")).expect("seals").key.id.0, keys[0]);
    }

    #[test]
    fn lengths_of_names_are_hidden_in_steps() {
        let sealer = Sealer::new(&kek(1)).expect("random bytes");
        let length = |name| sealer.seal("p", Some(name), None).expect("seals").sealed.len();
        assert_eq!(length("Bo"), length("Bartholomew"));
    }

    #[test]
    fn malformed_encodings_are_refused() {
        let good = encode(Some("Ada"), None);
        assert!(decode(&good).is_some());
        for bad in [&[][..], &[1, 255, 255, 255, 255, 255, 255, 255, 255], &good[..8]] {
            assert!(decode(bad).is_none());
        }
        let mut trailing = good.to_vec();
        trailing.push(1);
        assert!(decode(&trailing).is_none());
    }
}
