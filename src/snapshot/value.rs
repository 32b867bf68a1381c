//! Keys and values as bytes: postcard, a value behind the version of its form. Floats keep every bit, also those of NaN.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SnapshotError;

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Newer {
        version: u8,
        known: u8,
    },
    /// A form that is no longer read.
    Older {
        version: u8,
        known: u8,
    },
    Damaged,
    /// It was made with another value of this setting.
    Settings(&'static str),
}

/// A key's bytes: `version` is `None`. A value's: its version, then itself.
pub fn encode<T: Serialize>(version: Option<u8>, value: &T) -> Vec<u8> {
    let bytes = version.into_iter().collect();
    postcard::to_extend(value, bytes).expect("plain data of known lengths, written into memory")
}

/// What [`encode`] made; `of` is who asks, for the message.
///
/// # Errors
/// Bytes of another version, or that are not what [`encode`] makes of a `T`.
pub fn decode<T: DeserializeOwned>(of: &'static str, version: Option<u8>, bytes: &[u8]) -> Result<T, SnapshotError> {
    let bytes = match version {
        None => bytes,
        Some(known) => whole(of, known, bytes)?,
    };
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(SnapshotError::Value {
            of,
            flaw: Flaw::Damaged,
        }),
    }
}

/// What stands behind the version of a value.
///
/// # Errors
/// Another version than `known`.
pub fn whole<'a>(of: &'static str, known: u8, bytes: &'a [u8]) -> Result<&'a [u8], SnapshotError> {
    let flaw = match bytes.split_first() {
        Some((version, value)) if *version == known => return Ok(value),
        Some((version, _)) if *version > known => Flaw::Newer {
            version: *version,
            known,
        },
        Some((version, _)) if *version > 0 => Flaw::Older {
            version: *version,
            known,
        },
        _ => Flaw::Damaged,
    };
    Err(SnapshotError::Value { of, flaw })
}
