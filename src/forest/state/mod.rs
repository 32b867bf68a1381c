//! What a forest's trees and the memories beside them have learned, as bytes that outlive the process. In: a tree, a key's memory or a
//! device's; out: bytes, and from those the same again: what a restored one says next is equal to the last bit.
//!
//! The bytes hold what was learned and not how it lies in memory: whole numbers as LEB128, floats as their little-endian bits,
//! framed as `kind (1 byte), format (1), content, xxh3-64 of all before (8)`. Content is checked on reading down to
//! each tree, so no bytes whatsoever lead to a panic, now or at a later point.

mod memory;
mod part;
mod tree;

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Written by this version; raised when the content changes. All formats so far are read.
const FORMAT: u8 = 2;

const CHECKSUM: usize = 8;

/// Why bytes are not the state asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Written by a later version, in this format.
    Newer(u8),
    /// Not what was once written, or nothing of ours.
    Damaged,
    /// Whole, but of another key, or of a forest with other parameters.
    Other,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Newer(format) => write!(
                f,
                "the forest's state has format {format}, and this version knows up to {FORMAT}; use the version that wrote it, or a later one"
            ),
            StateError::Damaged => {
                f.write_str("the forest's state is damaged; restore the state folder from a copy, or start with an empty one")
            }
            StateError::Other => {
                f.write_str("the forest's state was learned with other parameters or for another key; use the settings it was written with, or start with an empty state folder")
            }
        }
    }
}

impl std::error::Error for StateError {}

/// What the bytes are of.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Tree = b'T',
    Key = b'K',
    Device = b'D',
}

/// Appends the frame around what `content` appends.
fn write_framed(kind: Kind, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([kind as u8, FORMAT]);
    content(out);
    let checksum = xxh3_64(&out[start..]);
    out.extend(checksum.to_le_bytes());
}

pub(super) fn write_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_floats(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// Reads what the functions above wrote; whatever does not fit is [`StateError::Damaged`].
struct Reader<'a> {
    format: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The content, once kind, format and checksum are right.
    fn framed(kind: Kind, bytes: &'a [u8]) -> Result<Reader<'a>, StateError> {
        let (framed, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(StateError::Damaged)?;
        if xxh3_64(framed) != u64::from_le_bytes(*checksum) {
            return Err(StateError::Damaged);
        }
        match framed {
            [found, format, content @ ..] if *found == kind as u8 => match *format {
                format @ 1..=FORMAT => Ok(Reader { format, rest: content }),
                newer if newer > FORMAT => Err(StateError::Newer(newer)),
                _ => Err(StateError::Damaged),
            },
            _ => Err(StateError::Damaged),
        }
    }

    /// The format of what is read.
    fn format(&self) -> u8 {
        self.format
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(StateError::Damaged)?;
        self.rest = rest;
        Ok(*array)
    }

    fn number(&mut self) -> Result<u64, StateError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(StateError::Damaged)
    }

    /// How often something has happened: far from what a counter can hold, so that it can go on counting.
    fn count(&mut self) -> Result<u64, StateError> {
        self.number().and_then(|count| {
            if count < 1 << 62 {
                Ok(count)
            } else {
                Err(StateError::Damaged)
            }
        })
    }

    /// A number up to `most`.
    fn small(&mut self, most: usize) -> Result<usize, StateError> {
        let value = self.number()?;
        if value <= most as u64 {
            Ok(value as usize)
        } else {
            Err(StateError::Damaged)
        }
    }

    /// A number that must be `own`, as a parameter's must.
    fn same(&mut self, own: u64) -> Result<(), StateError> {
        if self.number()? == own {
            Ok(())
        } else {
            Err(StateError::Other)
        }
    }

    fn double(&mut self) -> Result<f64, StateError> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(StateError::Damaged)
        }
    }

    /// Any float but an infinite one.
    fn float(&mut self) -> Result<f32, StateError> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_infinite() {
            Err(StateError::Damaged)
        } else {
            Ok(value)
        }
    }

    fn finite(&mut self) -> Result<f32, StateError> {
        let value = self.float()?;
        if value.is_nan() {
            Err(StateError::Damaged)
        } else {
            Ok(value)
        }
    }

    fn end(self) -> Result<(), StateError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(StateError::Damaged)
        }
    }
}
