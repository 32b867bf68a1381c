//! Identities under lock. In: a patient's id with the name and date of birth that a record carried.
//! Out: sealed identities that may travel between workers, and an embedded database of them that only
//! the key-encryption key opens.
//!
//! Envelope encryption: every patient has a random data key, which seals that patient's identities
//! (AES-256-GCM) and is itself kept wrapped by a key derived from the key-encryption key. Deleting a
//! patient's data keys therefore makes the identities unreadable for good. Raw payloads in quarantine
//! are sealed by a [`PayloadSealer`], whose key is kept wrapped in the same database.
//!
//! A record's way: [`Intake`] (one per worker) seals what is new where it was received, its
//! [`Sighting`]s travel to the worker that owns the [`Vault`], and [`VaultReader`] opens one patient.

mod audit;
mod database;
mod digest;
mod error;
mod identity;
mod intake;
mod key_text;
mod keyring;
mod keys;
mod payload;
mod reader;
mod recent;
mod segment;
mod store;
mod wrap;

#[cfg(test)]
mod tests;

pub use error::VaultError;
pub use identity::{IdentityTag, SealedIdentity, Sealer};
pub use intake::{Intake, SightedIdentity, Sighting};
pub use keys::{KeyEncryptionKey, KeyNotice, LoadedKey};
pub use payload::PayloadSealer;
pub use reader::{IdentityVersion, PatientRecord, VaultReader};
pub use segment::{DataKeyId, IdentityCipher, IdentityOpener, SegmentKey, SegmentKeys};
pub use store::Vault;
