//! The data keys of the patients met in this process. In: a patient. Out: the one data key that this
//! process seals the patient's identities with: the vault's where it has one, a new one otherwise.

use std::sync::{Mutex, PoisonError};

use super::digest::Digest;
use super::error::VaultError;
use super::key_text::SecretKey;
use super::recent::Recent;
use super::store::StoredKeys;
use super::wrap::{KeyWrapper, Purpose, WrappedKey};

/// Keys that are remembered at most. One that is forgotten is found in the vault again; where the vault does not have it yet, the
/// patient gets another one: each sealed identity carries its key.
const REMEMBERED: usize = if cfg!(test) { 100 } else { 1 << 16 };

pub(super) struct Keyring {
    wrapper: KeyWrapper,
    /// Keys stay wrapped.
    met: Mutex<Recent<WrappedKey>>,
    /// Where the vault is at hand.
    stored: Option<StoredKeys>,
}

impl Keyring {
    pub(super) fn new(wrapper: KeyWrapper) -> Self {
        Self::start(wrapper, None)
    }

    /// Looks a patient up in the vault when met first, so starting costs nothing and memory is taken
    /// only by patients of this run.
    pub(super) fn with_stored(wrapper: KeyWrapper, stored: StoredKeys) -> Self {
        Self::start(wrapper, Some(stored))
    }

    fn start(wrapper: KeyWrapper, stored: Option<StoredKeys>) -> Self {
        Self {
            wrapper,
            met: Mutex::new(Recent::new(REMEMBERED)),
            stored,
        }
    }

    /// The patient's data key, wrapped and in clear. `digest` is the patient's.
    pub(super) fn data_key(&self, digest: Digest, patient: &str) -> Result<(WrappedKey, SecretKey), VaultError> {
        let wrapped = self.wrapped(digest, patient)?;
        let clear = self.wrapper.unwrap(&wrapped, Purpose::Identities(patient))?;
        Ok((wrapped, clear))
    }

    fn wrapped(&self, digest: Digest, patient: &str) -> Result<WrappedKey, VaultError> {
        // At the start of a run all workers meet patients all the time: nobody looks into the vault, and no key is made, while others
        // wait for it. A panic elsewhere leaves nothing half done in what is met.
        let met = || self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wrapped) = met().meet(digest) {
            return Ok(*wrapped);
        }
        let stored = match &self.stored {
            Some(stored) => stored.first_of(patient)?,
            None => None,
        };
        let wrapped = match stored {
            Some(wrapped) => wrapped,
            None => self.wrapper.generate(Purpose::Identities(patient))?,
        };
        let mut met = met();
        if let Some(sooner) = met.meet(digest) {
            return Ok(*sooner); // of two workers that meet a patient at once, both take the key of one
        }
        met.insert(digest, wrapped);
        Ok(wrapped)
    }
}
