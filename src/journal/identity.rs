//! Parts records from identities before they are written, and puts them together again when they are read.

use std::path::Path;
use std::sync::Arc;

use super::JournalError;
use super::entry::{Entry, SealedIdentity};
use crate::record::{EventTime, Parser};
use crate::vault::{IdentityCipher, IdentityOpener, KeyEncryptionKey, Sealer};

/// Makes entries of messages.
pub struct Separator {
    parser: Parser,
    cipher: IdentityCipher,
}

impl Separator {
    /// With the vault at `vault`, of which `sealer` knows the keys.
    ///
    /// # Errors
    /// A vault that cannot be opened.
    pub fn new(parser: Parser, sealer: Arc<Sealer>, vault: &Path) -> Result<Separator, JournalError> {
        Ok(Separator {
            parser,
            cipher: IdentityCipher::beside(sealer, vault)?,
        })
    }

    /// The message without its identity, which is sealed beside it; `length` is its whole length, should it be cut short.
    ///
    /// # Errors
    /// A vault that cannot be read.
    pub fn separate(
        &mut self,
        received: EventTime,
        topic: &str,
        payload: &[u8],
        length: u64,
    ) -> Result<Entry, JournalError> {
        let mut entry = Entry {
            received,
            topic: topic.to_owned(),
            payload: Vec::with_capacity(payload.len()),
            length,
            identity: None,
        };
        let Some(found) = self.parser.identity_places(payload, topic) else {
            entry.payload.extend_from_slice(payload);
            return Ok(entry);
        };
        let (mut cut, mut pieces, mut end) = (Vec::new(), Vec::with_capacity(found.places.len()), 0);
        for place in found.places {
            entry.payload.extend_from_slice(&payload[end..place.start]);
            pieces.push((entry.payload.len() as u32, place.len() as u32)); // records stay far below 4 GiB
            end = place.end;
            cut.extend_from_slice(&payload[place]);
        }
        entry.payload.extend_from_slice(&payload[end..]);
        let (key, sealed) = self.cipher.seal(&found.patient, &cut)?;
        zeroize::Zeroize::zeroize(&mut cut);
        entry.identity = Some(SealedIdentity {
            patient: found.patient,
            key,
            pieces,
            sealed,
        });
        Ok(entry)
    }

    /// Makes the patients' keys that were used durable: before what is sealed under them.
    ///
    /// # Errors
    /// A vault that cannot be written.
    pub fn keep_keys(&mut self) -> Result<(), JournalError> {
        Ok(self.cipher.keep()?)
    }
}

/// Makes messages of entries again.
pub struct Restorer(Option<IdentityOpener>);

impl Restorer {
    /// With the keys of the vault at `vault`.
    ///
    /// # Errors
    /// A vault that cannot be read.
    pub fn new(vault: &Path, key: &KeyEncryptionKey) -> Result<Restorer, JournalError> {
        Ok(Restorer(Some(IdentityOpener::open(vault, key)?)))
    }

    /// The payload as it came; without its identity where the patient's key has been deleted.
    ///
    /// # Errors
    /// A vault that cannot be read, or an identity that was changed.
    pub fn payload(&mut self, entry: Entry) -> Result<Vec<u8>, JournalError> {
        let (Some(identity), Some(opener)) = (entry.identity, &mut self.0) else {
            return Ok(entry.payload);
        };
        let Some(clear) = opener.unseal(&identity.patient, &identity.key, &identity.sealed)? else {
            return Ok(entry.payload);
        };
        let mut payload = Vec::with_capacity(entry.payload.len() + clear.len());
        let (mut from, mut rest) = (0, clear.as_slice());
        for (at, length) in identity.pieces {
            let piece = rest.split_at_checked(length as usize);
            let (Some(before), Some((piece, behind))) = (entry.payload.get(from..at as usize), piece) else {
                return Err(JournalError::Vault(crate::vault::VaultError::Sealed {
                    what: "an identity in the journal",
                }));
            };
            payload.extend_from_slice(before);
            payload.extend_from_slice(piece);
            (from, rest) = (at as usize, behind);
        }
        payload.extend_from_slice(&entry.payload[from..]);
        Ok(payload)
    }
}
