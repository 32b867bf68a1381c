//! Sealed payloads: the raw bytes of records that could not be used. In: the payload and its position in
//! its source. Out: the same sealed bytes for every run that shares a vault, whatever the worker.

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::VaultError;
use super::keys::KeyEncryptionKey;
use super::wrap::{FORMAT_VERSION, KeyWrapper, Purpose, WrappedKey};

/// Seals payloads with AES-256-GCM-SIV (RFC 8452), which stays safe where a nonce repeats. Shared by the
/// workers of a process.
pub struct PayloadSealer(Aes256GcmSiv);

impl PayloadSealer {
    /// From the vault's wrapped key (`Vault::wrapped_payload_key`), in any process that has the
    /// key-encryption key.
    pub fn from_wrapped(key: &KeyEncryptionKey, wrapped: &[u8]) -> Result<Self, VaultError> {
        let wrapped = WrappedKey::from_bytes(wrapped).ok_or(VaultError::Sealed {
            what: "the wrapped key of the quarantined payloads",
        })?;
        let payload_key = KeyWrapper::new(key).unwrap(&wrapped, Purpose::Payloads)?;
        Ok(Self(Aes256GcmSiv::new((&*payload_key).into())))
    }

    /// The format's version (one byte), then ciphertext and authenticator (16 bytes). `position` and
    /// `source` are not in it, but it opens with no others.
    pub fn seal(&self, source: &str, position: u64, payload: &[u8]) -> Result<Vec<u8>, VaultError> {
        let bound = Payload {
            msg: payload,
            aad: &associated_data(source, position),
        };
        let ciphertext = self
            .0
            .encrypt((&nonce(source, position)).into(), bound)
            .map_err(|_| VaultError::TooLong { what: "a payload" })?;
        let mut sealed = Vec::with_capacity(1 + ciphertext.len());
        sealed.push(FORMAT_VERSION);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// The payload, wiped when dropped; an error if it was changed or is not of this position of this
    /// source.
    pub fn open(&self, source: &str, position: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let unreadable = VaultError::Sealed {
            what: "a sealed payload",
        };
        let Some((&FORMAT_VERSION, ciphertext)) = sealed.split_first() else {
            return Err(unreadable);
        };
        let bound = Payload {
            msg: ciphertext,
            aad: &associated_data(source, position),
        };
        self.0
            .decrypt((&nonce(source, position)).into(), bound)
            .map(Zeroizing::new)
            .map_err(|_| unreadable)
    }
}

/// Part of a hash of the source, then the position: the first records of many files share no nonce.
fn nonce(source: &str, position: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&Sha256::digest(source.as_bytes())[..4]);
    nonce[4..].copy_from_slice(&position.to_be_bytes());
    nonce
}

fn associated_data(source: &str, position: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(9 + source.len());
    data.push(FORMAT_VERSION);
    data.extend_from_slice(&position.to_be_bytes());
    data.extend_from_slice(source.as_bytes());
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kek() -> KeyEncryptionKey {
        KeyEncryptionKey(Zeroizing::new([3; 32]))
    }

    fn sealer() -> (PayloadSealer, Vec<u8>) {
        let wrapped = KeyWrapper::new(&kek())
            .generate(Purpose::Payloads)
            .expect("random bytes");
        let bytes = wrapped.to_bytes().to_vec();
        (PayloadSealer::from_wrapped(&kek(), &bytes).expect("unwraps"), bytes)
    }

    proptest! {
        #[test]
        fn a_payload_opens_only_where_it_was_sealed(source: String, position: u64, payload: Vec<u8>) {
            let (here, wrapped) = sealer();
            let there = PayloadSealer::from_wrapped(&kek(), &wrapped).expect("unwraps");
            let sealed = here.seal(&source, position, &payload).expect("seals");
            prop_assert_eq!(&there.seal(&source, position, &payload).expect("seals"), &sealed);
            prop_assert_eq!(&*there.open(&source, position, &sealed).expect("opens"), &payload);
            prop_assert!(there.open(&source, position ^ 1, &sealed).is_err());
            let longer = source + "x";
            prop_assert!(there.open(&longer, position, &sealed).is_err());
        }

        #[test]
        fn any_changed_byte_is_detected(at: prop::sample::Index, by in 1_u8..) {
            let (sealer, _) = sealer();
            let mut sealed = sealer.seal("messages.jsonl", 4096, b"{\"name\":").expect("seals");
            let at = at.index(sealed.len());
            sealed[at] ^= by;
            prop_assert!(sealer.open("messages.jsonl", 4096, &sealed).is_err());
            prop_assert!(sealer.open("messages.jsonl", 4096, &sealed[..at]).is_err());
        }
    }

    #[test]
    fn equal_payloads_at_different_places_look_different() {
        let (sealer, _) = sealer();
        let seal = |source, position| sealer.seal(source, position, b"same").expect("seals");
        assert_ne!(seal("a", 1)[1..5], seal("a", 2)[1..5]);
        assert_ne!(seal("a", 1)[1..5], seal("b", 1)[1..5]);
    }

    #[test]
    fn a_wrapped_key_of_another_use_or_key_is_refused() {
        let (_, wrapped) = sealer();
        let other = KeyEncryptionKey(Zeroizing::new([4; 32]));
        assert!(PayloadSealer::from_wrapped(&other, &wrapped).is_err());
        assert!(PayloadSealer::from_wrapped(&kek(), &wrapped[1..]).is_err());
        let identities = KeyWrapper::new(&kek())
            .generate(Purpose::Identities(""))
            .expect("random bytes");
        assert!(PayloadSealer::from_wrapped(&kek(), &identities.to_bytes()).is_err());
    }
}
