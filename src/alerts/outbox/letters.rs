//! What a destination has still to get. In: the log, and the place that it has confirmed. Out: the alerts behind it, a few at a time.

use std::sync::Arc;

use super::log::{BEGINNING, length_of_first, records};
use super::{Outbox, OutboxError, Place};
use crate::disk::{Disk, LocalDisk};

/// Bytes that are read at once.
const READ: usize = if cfg!(test) { 100 } else { 256 << 10 };

/// An alert on its way to a destination.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    pub place: Place,
    /// The last level of its topic.
    pub level: String,
    pub json: String,
}

/// Reads the alerts behind a place, in their order, while more are put in.
pub struct Letters<D: Disk = LocalDisk> {
    outbox: Arc<Outbox<D>>,
    behind: Place,
    /// The segment that is being read, by its first alert, and how far it has been.
    segment: Place,
    offset: u64,
}

impl<D: Disk> Letters<D> {
    pub(super) fn new(outbox: Arc<Outbox<D>>, behind: Place) -> Letters<D> {
        Letters {
            outbox,
            behind,
            segment: Place::default(),
            offset: BEGINNING,
        }
    }

    /// The next ones, not very many; none when all have been read.
    ///
    /// # Errors
    /// A disk that refuses, or damage.
    pub fn next(&mut self) -> Result<Vec<Letter>, OutboxError> {
        loop {
            let found = self.outbox.state().log.segment(self.segment, self.behind).cloned();
            let Some(segment) = found else { return Ok(Vec::new()) };
            if segment.first != self.segment {
                (self.segment, self.offset) = (segment.first, BEGINNING);
            }
            let left = usize::try_from(segment.bytes - self.offset).unwrap_or(usize::MAX);
            let failed = OutboxError::io(&segment.path);
            let read = |length| self.outbox.disk.read_at(&segment.path, self.offset, length);
            let mut bytes = read(left.min(READ)).map_err(&failed)?;
            if let Some(length) = length_of_first(&bytes).filter(|length| *length > bytes.len()) {
                bytes = read(length.min(left)).map_err(&failed)?;
            }
            let mut letters = Vec::new();
            let behind = self.behind;
            let taken = records(&bytes, |place, level, json| {
                if place > behind {
                    letters.push(Letter { place, level, json });
                }
            });
            if taken == 0 {
                return Err(OutboxError::Damaged { path: segment.path });
            }
            self.offset += taken as u64;
            if let Some(last) = letters.last() {
                self.behind = last.place;
                return Ok(letters);
            }
        }
    }
}
