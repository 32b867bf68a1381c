//! Recognising patients and identities seen before without keeping them in clear. In: an identity.
//! Out: its 128-bit digest under a random secret of this process, which never leaves the process and
//! decides no result.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::error::VaultError;
use super::wrap::random;

/// The length of XXH3's own default secret.
const SECRET_BYTES: usize = 192;

/// A keyed digest. Two different inputs share one with a probability of about 2⁻¹²⁸.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest(u128);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Digests are evenly spread already and cannot be steered from outside, so maps take their bits.
pub(super) type ByDigest = BuildHasherDefault<TakeBits>;

#[derive(Default)]
pub(super) struct TakeBits(u64);

impl Hasher for TakeBits {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The secret of this process: one part for each field, so that their digests may be combined.
pub(super) struct DigestSecret {
    patient: [u8; SECRET_BYTES],
    name: [u8; SECRET_BYTES],
    dob: [u8; SECRET_BYTES],
}

impl DigestSecret {
    pub(super) fn random() -> Result<Self, VaultError> {
        Ok(Self {
            patient: random()?,
            name: random()?,
            dob: random()?,
        })
    }

    pub(super) fn patient(&self, patient: &str) -> Digest {
        Digest(xxh3_128_with_secret(patient.as_bytes(), &self.patient))
    }

    /// The digest of a patient together with an identity; an absent field adds nothing.
    pub(super) fn identity(&self, patient: &str, name: Option<&str>, dob: Option<&str>) -> Digest {
        let field = |text: Option<&str>, secret| match text {
            Some(text) => xxh3_128_with_secret(text.as_bytes(), secret),
            None => 0,
        };
        Digest(self.patient(patient).0 ^ field(name, &self.name) ^ field(dob, &self.dob))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_field_and_its_absence_count() {
        let secret = DigestSecret::random().expect("random bytes");
        let fields = [None, Some(""), Some("a"), Some("b"), Some("ab")];
        let mut met = HashSet::with_hasher(ByDigest::default());
        for patient in ["", "a", "b", "ab"] {
            for name in fields {
                for dob in fields {
                    assert!(met.insert(secret.identity(patient, name, dob)));
                }
            }
        }
        assert_eq!(met.len(), 100);
    }
}
