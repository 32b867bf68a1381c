//! Epochs as a live run has cut them, from its journals.
//!
//! In: the epoch log's epochs and the journals' records. Out: the same epochs with the same records, times of arrival and silences.
//!
//! The order of all records follows from the epoch log alone: epoch by epoch, and within an epoch the records of session 0, then those of
//! session 1 and so on. A record's position is its number in this order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::deal::{Dealer, Part};
use super::tail::Arrived;
use super::{Epoch, Epochs, SourceError};
use crate::devices::Succession;
use crate::disk::Disk;
use crate::journal::{self, JournalError, JournalReader, Restorer};

/// Records of a journal, one after the other.
pub struct Records<D: Disk> {
    reader: JournalReader<D>,
    restorer: Restorer,
    /// Read and not taken yet.
    ahead: VecDeque<Arrived>,
}

impl<D: Disk> Records<D> {
    pub fn new(reader: JournalReader<D>, restorer: Restorer) -> Records<D> {
        Records {
            reader,
            restorer,
            ahead: VecDeque::new(),
        }
    }

    /// The position of the next record, in its journal.
    fn position(&self) -> u64 {
        self.reader.position() - self.ahead.len() as u64
    }

    /// Goes to a later position.
    pub(super) fn skip_to(&mut self, position: u64) {
        let (here, read) = (self.position(), self.reader.position());
        match position < read {
            true => drop(self.ahead.drain(..(position - here) as usize)),
            false => {
                self.ahead.clear();
                self.reader.go_to(position);
            }
        }
    }

    /// At most `most` records; none where the journal ends now.
    pub(super) fn take(&mut self, most: u64) -> Result<Vec<Arrived>, JournalError> {
        if self.ahead.is_empty()
            && let Some(entries) = self.reader.read()?
        {
            for mut entry in entries {
                let (received, length) = (entry.received, entry.length);
                let topic = Arc::from(std::mem::take(&mut entry.topic));
                let payload = self.restorer.payload(entry)?.into();
                self.ahead.push_back(Arrived {
                    received,
                    topic,
                    payload,
                    length,
                });
            }
        }
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(self.ahead.len());
        Ok(self.ahead.drain(..count).collect())
    }

    /// That the next record should be there.
    pub(super) fn missing(&self) -> JournalError {
        self.reader.missing()
    }

    /// All up to `position`.
    fn take_to(&mut self, position: u64) -> Result<Vec<Arrived>, JournalError> {
        let mut taken = Vec::new();
        while self.position() < position {
            let mut more = self.take(position - self.position())?;
            if more.is_empty() {
                return Err(self.missing());
            }
            taken.append(&mut more);
        }
        Ok(taken)
    }
}

/// Where an epoch's records are, session by session: from which position of the journal to which, and their first position in the order of all.
pub(super) fn stretches(before: &[u64], ends: &[u64]) -> Vec<(Range<u64>, u64)> {
    let mut position = before.iter().sum();
    let of_session = |(session, end): (usize, &u64)| {
        let begin = before.get(session).copied().unwrap_or(0).min(*end);
        let first = position;
        position += end - begin;
        (begin..*end, first)
    };
    ends.iter().enumerate().map(of_session).collect()
}

/// Goes through recorded epochs.
pub struct Recorded<D: Disk> {
    epochs: VecDeque<journal::Epoch>,
    /// Of each session.
    records: Vec<Records<D>>,
    dealer: Dealer,
    first: Vec<u64>,
    /// Behind the last epoch, in every journal.
    ends: Vec<u64>,
    /// Where the device collection is to change as it did.
    devices: Option<Succession<D>>,
}

impl<D: Disk> Recorded<D> {
    /// The epochs, whose records begin at `first` in each journal; dealt out to `workers`, of whom this process has `mine`. `devices` is there
    /// where worker 0 is, if the device collection is to change as it did.
    pub fn new(
        epochs: Vec<journal::Epoch>,
        records: Vec<Records<D>>,
        first: Vec<u64>,
        (workers, mine): (usize, Range<usize>),
        max_record_bytes: usize,
        devices: Option<Succession<D>>,
    ) -> Recorded<D> {
        Recorded {
            devices,
            epochs: epochs.into(),
            records,
            dealer: Dealer::new(workers, mine, max_record_bytes),
            ends: first.clone(),
            first,
        }
    }

    fn next(&mut self) -> Result<Option<Epoch>, SourceError> {
        let Some(journal::Epoch {
            time,
            ends,
            silence,
            devices,
        }) = self.epochs.pop_front()
        else {
            return Ok(None);
        };
        let mut parts = Vec::with_capacity(ends.len());
        for ((stretch, position), records) in stretches(&self.ends, &ends).into_iter().zip(&mut self.records) {
            let records = records.take_to(stretch.end)?;
            parts.push(Part { position, records });
        }
        let (mut chunks, _) = self.dealer.deal(self.ends.iter().sum(), parts);
        self.ends = ends;
        if let Some(first) = chunks.first_mut() {
            first.idle = silence.map(|silence| silence.at);
            if let Some(succession) = &mut self.devices {
                first.devices = succession.go_to(devices.as_ref())?.unwrap_or_default().devices;
            }
        }
        Ok(Some(Epoch {
            time,
            chunks,
            due: None,
        }))
    }
}

impl<D: Disk> Epochs for Recorded<D> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        self.next()
    }

    fn records(&self) -> u64 {
        self.ends.iter().sum::<u64>() - self.first.iter().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_number_the_sessions_of_an_epoch_through() {
        assert_eq!(stretches(&[4, 6], &[7, 8]), [(4..7, 10), (6..8, 13)]);
        assert_eq!(
            stretches(&[7, 8], &[7, 9, 2]),
            [(7..7, 15), (8..9, 15), (0..2, 16)],
            "a session more"
        );
    }
}
