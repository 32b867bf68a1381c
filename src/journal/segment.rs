//! A segment's bytes: a header, then frames.
//!
//! ```text
//! header: "wardflow journal" | form u32 | first position u64 | length of the wrapped key u16, the key | checksum u64
//! frame:  first position u64 | records u32 | length u32 | checksum u64 | sealed(zstd(entries))
//! ```
//!
//! Numbers are little-endian; checksums are XXH3 of all that stands before them in the header and, in a frame, of its other fields
//! and the sealed bytes.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;
use zstd::bulk::Compressor;

use super::entry::{Entry, decode, encode};
use super::{JournalError, failed};
use crate::disk::Disk;
use crate::vault::{SegmentKey, SegmentKeys};

const MAGIC: &[u8; 16] = b"wardflow journal";
const FORM: u32 = 1;
const HEADER_FIXED: usize = 16 + 4 + 8 + 2;
const FRAME_HEADER: usize = 8 + 4 + 4 + 8;
/// Fast, and a third to a fifth of what the records take.
const LEVEL: i32 = 1;
/// Far more than a group of records ever takes.
const LARGEST_FRAME: usize = 1 << 30;
const EXTENSION: &str = "segment";

/// The file of the segment that begins at `first`.
pub(super) fn name_of(first: u64) -> String {
    format!("{first:020}.{EXTENSION}")
}

/// The first position of a segment, by its name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let (number, extension) = name.split_once('.')?;
    (number.len() == 20 && extension == EXTENSION).then_some(())?;
    number.parse().ok()
}

fn checksum(parts: &[&[u8]]) -> u64 {
    let mut hash = Xxh3Default::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.digest()
}

/// The header of a new segment, and its key.
pub(super) fn header(first: u64, keys: &SegmentKeys) -> Result<(Vec<u8>, SegmentKey), JournalError> {
    let (key, wrapped) = keys.generate()?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&FORM.to_le_bytes());
    header.extend_from_slice(&first.to_le_bytes());
    header.extend_from_slice(&(wrapped.len() as u16).to_le_bytes()); // 76 bytes
    header.extend_from_slice(&wrapped);
    let sum = checksum(&[&header]);
    header.extend_from_slice(&sum.to_le_bytes());
    Ok((header, key))
}

/// What frames are compressed with: made once, since making it costs more than a small frame.
pub(super) fn compressor() -> Result<Compressor<'static>, JournalError> {
    Compressor::new(LEVEL).map_err(failed(Path::new("journal")))
}

/// A frame of the entries from position `first` on.
pub(super) fn frame(
    first: u64,
    entries: &[Entry],
    key: &SegmentKey,
    compressor: &mut Compressor<'_>,
) -> Result<Vec<u8>, JournalError> {
    let mut body = compressor
        .compress(&encode(entries))
        .map_err(failed(Path::new("journal")))?;
    let about = about(first, entries.len() as u32);
    key.seal(first, &about, &mut body)?;
    let length = (body.len() as u32).to_le_bytes();
    let sum = checksum(&[&about, &length, &body]);
    let mut frame = Vec::with_capacity(FRAME_HEADER + body.len());
    frame.extend_from_slice(&about);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn about(first: u64, records: u32) -> [u8; 12] {
    let mut about = [0; 12];
    about[..8].copy_from_slice(&first.to_le_bytes());
    about[8..].copy_from_slice(&records.to_le_bytes());
    about
}

/// A frame's place in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FramePlace {
    pub(super) first: u64,
    pub(super) records: u32,
    /// In bytes from the segment's beginning.
    pub(super) at: u64,
    pub(super) length: u32,
}

impl FramePlace {
    /// The position behind its last record.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.records)
    }
}

/// What a segment's bytes hold.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) frames: Vec<FramePlace>,
    /// Behind the last whole frame, or 0 where not even the header is whole.
    pub(super) whole: u64,
    /// Why the bytes behind it are no frame; `None`: there are none.
    pub(super) rest: Option<&'static str>,
    /// Whether a whole frame stands somewhere behind them: no torn tail then.
    pub(super) frames_behind: bool,
}

/// Reads the structure of a whole segment, from which the first record should be number `first`; no key is needed.
///
/// # Errors
/// A header of another form.
pub(super) fn survey(path: &Path, first: u64, bytes: &[u8]) -> Result<Survey, JournalError> {
    let nothing = |rest| Survey {
        frames: Vec::new(),
        whole: 0,
        rest: Some(rest),
        frames_behind: false,
    };
    let Some(header) = header_length(bytes) else {
        return Ok(nothing("the header is cut short"));
    };
    if bytes[..16] == *MAGIC {
        let form = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        if form != FORM && sum_holds(&bytes[..header]) {
            return Err(JournalError::Unknown {
                path: path.to_owned(),
                form,
            });
        }
    }
    if bytes[..16] != *MAGIC || !sum_holds(&bytes[..header]) || number(&bytes[20..]) != Some(first) {
        let mut survey = nothing("the header is not as it was written");
        survey.frames_behind = find_frame(bytes, first).is_some();
        return Ok(survey);
    }
    let mut survey = Survey {
        frames: Vec::new(),
        whole: header as u64,
        rest: None,
        frames_behind: false,
    };
    let mut next = first;
    while (survey.whole as usize) < bytes.len() {
        let at = survey.whole as usize;
        match frame_at(&bytes[at..], survey.whole) {
            Some(place) if place.first == next => {
                next = place.end();
                survey.whole += (FRAME_HEADER + place.length as usize) as u64;
                survey.frames.push(place);
            }
            _ => {
                survey.rest = Some("a frame is not as it was written");
                survey.frames_behind = find_frame(&bytes[at..], next).is_some();
                break;
            }
        }
    }
    Ok(survey)
}

fn header_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(HEADER_FIXED - 2..HEADER_FIXED)?;
    let length = HEADER_FIXED + usize::from(u16::from_le_bytes([length[0], length[1]])) + 8;
    (bytes.len() >= length).then_some(length)
}

fn sum_holds(header: &[u8]) -> bool {
    let (content, sum) = header.split_at(header.len() - 8);
    number(sum) == Some(checksum(&[content]))
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The frame at the beginning of `bytes`, if a whole one is there.
fn frame_at(bytes: &[u8], at: u64) -> Option<FramePlace> {
    let header: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (records, length) = (word(8), word(12));
    let body = bytes.get(FRAME_HEADER..)?.get(..length as usize)?;
    let sum = number(&header[16..])?;
    (length as usize <= LARGEST_FRAME && checksum(&[&header[..12], &header[12..16], body]) == sum).then_some(())?;
    Some(FramePlace {
        first: number(&header[..8])?,
        records,
        at,
        length,
    })
}

/// A whole frame with a later position than `after`, anywhere in `bytes`. Only asked for where something is damaged.
fn find_frame(bytes: &[u8], after: u64) -> Option<FramePlace> {
    (1..bytes.len()).find_map(|at| {
        let first = number(&bytes[at..])?;
        // Positions are dense: most places are told apart by this alone.
        (first > after && first - after < 1 << 40).then_some(())?;
        frame_at(&bytes[at..], at as u64)
    })
}

/// Opens frames of one segment.
pub(super) struct FrameOpener {
    key: SegmentKey,
}

impl FrameOpener {
    /// # Errors
    /// A segment that cannot be read, or that is under another key-encryption key.
    pub(super) fn new(disk: &impl Disk, path: &Path, keys: &SegmentKeys) -> Result<FrameOpener, JournalError> {
        let header = disk.read_at(path, 0, 1 << 12).map_err(failed(path))?;
        let wrapped = header_length(&header).map(|length| &header[HEADER_FIXED..length - 8]);
        let wrapped = wrapped.ok_or_else(|| damaged(path, 0, "the header is cut short"))?;
        Ok(FrameOpener {
            key: keys.open(wrapped)?,
        })
    }

    /// The records of a frame.
    ///
    /// # Errors
    /// A frame that cannot be read, or that was changed.
    pub(super) fn read(&self, disk: &impl Disk, path: &Path, place: &FramePlace) -> Result<Vec<Entry>, JournalError> {
        let broken = |what| damaged(path, place.at, what);
        let length = FRAME_HEADER + place.length as usize;
        let mut bytes = disk.read_at(path, place.at, length).map_err(failed(path))?;
        if frame_at(&bytes, place.at) != Some(*place) {
            return Err(broken("a frame is not as it was written"));
        }
        let mut body = bytes.split_off(FRAME_HEADER);
        self.key
            .open(place.first, &about(place.first, place.records), &mut body)?;
        let entries = zstd::stream::decode_all(body.as_slice())
            .ok()
            .and_then(|content| decode(&content))
            .ok_or_else(|| broken("a frame holds no records"))?;
        if entries.len() != place.records as usize {
            return Err(broken("a frame holds another number of records than it says"));
        }
        Ok(entries)
    }
}

pub(super) fn damaged(path: &Path, at: u64, what: &'static str) -> JournalError {
    JournalError::Damaged {
        path: path.to_owned(),
        at,
        what,
    }
}
