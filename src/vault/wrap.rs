//! Wrapped keys: random keys kept encrypted under the key-encryption key. In: the key-encryption key
//! and what a key is for. Out: that key in clear for a moment, and in a form that may be stored.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::VaultError;
use super::key_text::SecretKey;
use super::keys::KeyEncryptionKey;

/// Version of everything sealed here; part of the associated data, so no version passes for another.
pub(super) const FORMAT_VERSION: u8 = 1;

pub(super) type HmacSha256 = Hmac<Sha256>;

/// Random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| VaultError::Randomness { cause })?;
    Ok(bytes)
}

pub(super) fn hmac(key: &[u8; 32]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104, section 2)")
}

/// The subkey of the key-encryption key for one use: HKDF-Expand of RFC 5869, section 2.3, with SHA-256
/// and one block of output. The extract step is left out (section 3.3): the key is uniformly random.
pub(super) fn derive(key: &KeyEncryptionKey, label: &str) -> SecretKey {
    let mut mac = hmac(&key.0);
    mac.update(label.as_bytes());
    mac.update(&[1]);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// What a wrapped key is for; bound to it as associated data.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Seals the identities of this patient.
    Identities(&'a str),
    /// Seals raw payloads in quarantine.
    Payloads,
    /// Seals a segment of the journal.
    Segment,
}

impl Purpose<'_> {
    fn associated_data(self, id: &KeyId) -> Vec<u8> {
        let (kind, patient) = match self {
            Self::Identities(patient) => (b'i', patient),
            Self::Payloads => (b'p', ""),
            Self::Segment => (b's', ""),
        };
        let mut data = Vec::with_capacity(2 + id.0.len() + patient.len());
        data.extend_from_slice(&[FORMAT_VERSION, kind]);
        data.extend_from_slice(&id.0);
        data.extend_from_slice(patient.as_bytes());
        data
    }
}

/// Names a wrapped key. Random.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct KeyId(pub(super) [u8; 16]);

/// A 256-bit key sealed by AES-256-GCM.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct WrappedKey {
    pub(super) id: KeyId,
    nonce: [u8; 12],
    ciphertext: [u8; 32],
    authenticator: [u8; 16],
}

impl WrappedKey {
    pub(super) const BYTES: usize = 16 + 12 + 32 + 16;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..28].copy_from_slice(&self.nonce);
        bytes[28..60].copy_from_slice(&self.ciphertext);
        bytes[60..].copy_from_slice(&self.authenticator);
        bytes
    }

    /// `None` if there are too few or too many bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, rest) = rest.split_first_chunk()?;
        Some(Self {
            id: KeyId(*id),
            nonce: *nonce,
            ciphertext: *ciphertext,
            authenticator: rest.try_into().ok()?,
        })
    }
}

/// Wraps and unwraps keys under the key-encryption key.
pub(super) struct KeyWrapper(Aes256Gcm);

impl KeyWrapper {
    pub(super) fn new(key: &KeyEncryptionKey) -> Self {
        let wrap_key = derive(key, "wardflow vault: wrap keys");
        Self(Aes256Gcm::new((&*wrap_key).into()))
    }

    /// A new random key, wrapped.
    pub(super) fn generate(&self, purpose: Purpose<'_>) -> Result<WrappedKey, VaultError> {
        let mut key = Zeroizing::new(random::<32>()?);
        let id = KeyId(random()?);
        let nonce = random()?;
        let tag = self
            .0
            .encrypt_inout_detached(
                (&nonce).into(),
                &purpose.associated_data(&id),
                key.as_mut_slice().into(),
            )
            .map_err(|_| VaultError::TooLong { what: "a key" })?;
        Ok(WrappedKey {
            id,
            nonce,
            ciphertext: *key,
            authenticator: tag.into(),
        })
    }

    /// The key in clear; an error if it was changed, is for something else or under another key.
    pub(super) fn unwrap(&self, wrapped: &WrappedKey, purpose: Purpose<'_>) -> Result<SecretKey, VaultError> {
        let mut key = Zeroizing::new(wrapped.ciphertext);
        self.0
            .decrypt_inout_detached(
                (&wrapped.nonce).into(),
                &purpose.associated_data(&wrapped.id),
                key.as_mut_slice().into(),
                (&wrapped.authenticator).into(),
            )
            .map_err(|_| VaultError::Sealed {
                what: match purpose {
                    Purpose::Identities(_) => "a patient's wrapped data key",
                    Purpose::Payloads => "the wrapped key of the quarantined payloads",
                    Purpose::Segment => "the wrapped key of a journal's segment",
                },
            })?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey(Zeroizing::new([byte; 32]))
    }

    #[test]
    fn derivation_is_hkdf_expand() {
        // RFC 5869, appendix A.3: the first 32 bytes of OKM are T(1), here with an empty info.
        let prk: [u8; 32] = [
            0x19, 0xef, 0x24, 0xa3, 0x2c, 0x71, 0x7b, 0x16, 0x7f, 0x33, 0xa9, 0x1d, 0x6f, 0x64, 0x8b, 0xdf, 0x96, 0x59,
            0x67, 0x76, 0xaf, 0xdb, 0x63, 0x77, 0xac, 0x43, 0x4c, 0x1c, 0x29, 0x3c, 0xcb, 0x04,
        ];
        let okm = derive(&KeyEncryptionKey(Zeroizing::new(prk)), "");
        assert_eq!(okm[..8], [0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f]);
    }

    #[test]
    fn labels_and_keys_give_distinct_subkeys() {
        assert_ne!(derive(&kek(1), "a"), derive(&kek(1), "b"));
        assert_ne!(derive(&kek(1), "a"), derive(&kek(2), "a"));
    }

    #[test]
    fn any_changed_byte_or_other_purpose_is_detected() {
        let wrapper = KeyWrapper::new(&kek(7));
        let purpose = Purpose::Identities("p-1");
        let wrapped = wrapper.generate(purpose).expect("wraps");
        let bytes = wrapped.to_bytes();
        let read = WrappedKey::from_bytes(&bytes).expect("whole");
        assert!(wrapper.unwrap(&read, purpose).is_ok());
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 0x10;
            let changed = WrappedKey::from_bytes(&changed).expect("as long");
            assert!(wrapper.unwrap(&changed, purpose).is_err(), "byte {at}");
        }
        for other in [Purpose::Identities("p-2"), Purpose::Payloads] {
            assert!(wrapper.unwrap(&wrapped, other).is_err());
        }
        assert!(KeyWrapper::new(&kek(8)).unwrap(&wrapped, purpose).is_err());
        assert!(WrappedKey::from_bytes(&bytes[1..]).is_none());
        assert!(WrappedKey::from_bytes(&[0; WrappedKey::BYTES + 1]).is_none());
    }
}
