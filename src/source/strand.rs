//! The records of this process's sessions, epoch by epoch.
//!
//! In: an epoch, as it is in the log: where it ends in every journal. Out: chunks of its records, as far as this process has received them, for this
//! process's workers. The other processes feed theirs.

use std::sync::Arc;

use super::Epoch;
use super::deal::{Dealer, Part};
use super::recorded::{Records, stretches};
use super::tail::{Arrived, Next, Tail};
use crate::disk::Disk;
use crate::journal::{self, JournalError};

/// One session's records, from memory where they are still there, else from its journal.
pub(super) struct Strand<D: Disk> {
    session: usize,
    tail: Arc<Tail>,
    records: Records<D>,
    /// Came with others and belongs to a later epoch.
    ahead: Vec<Arrived>,
    position: u64,
}

impl<D: Disk> Strand<D> {
    /// From `position` of the journal on.
    pub(super) fn new(session: usize, tail: Arc<Tail>, records: Records<D>, position: u64) -> Strand<D> {
        Strand {
            session,
            tail,
            records,
            ahead: Vec::new(),
            position,
        }
    }

    /// All up to `end`, which is durable.
    fn take_to(&mut self, end: u64) -> Result<Vec<Arrived>, JournalError> {
        let mut taken = Vec::new();
        while self.position < end {
            let wanted = end - self.position;
            if self.ahead.is_empty() {
                self.ahead = match self.tail.next(self.position) {
                    Next::AtHand(group) => group,
                    Next::InJournal(until) => {
                        self.records.skip_to(self.position);
                        self.records.take(wanted.min(until - self.position))?
                    }
                    Next::Nothing => Vec::new(),
                };
            }
            if self.ahead.is_empty() {
                return Err(self.records.missing());
            }
            let count = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.ahead.len());
            self.position += count as u64;
            match taken.is_empty() && count == self.ahead.len() {
                true => std::mem::swap(&mut taken, &mut self.ahead),
                false => taken.extend(self.ahead.drain(..count)),
            }
        }
        Ok(taken)
    }
}

/// Feeds this process's workers.
pub(super) struct Feeder<D: Disk> {
    /// In the order of their numbers.
    strands: Vec<Strand<D>>,
    dealer: Dealer,
    first: u64,
    /// Behind the last epoch, in every journal.
    ends: Vec<u64>,
}

impl<D: Disk> Feeder<D> {
    pub(super) fn new(strands: Vec<Strand<D>>, dealer: Dealer, ends: Vec<u64>) -> Feeder<D> {
        Feeder {
            strands,
            dealer,
            first: ends.iter().sum(),
            ends,
        }
    }

    /// An epoch's records for this process's workers.
    pub(super) fn feed(&mut self, epoch: &journal::Epoch) -> Result<Epoch, JournalError> {
        let stretches = stretches(&self.ends, &epoch.ends);
        let mut parts = Vec::with_capacity(self.strands.len());
        for strand in &mut self.strands {
            if let Some((stretch, position)) = stretches.get(strand.session) {
                let records = strand.take_to(stretch.end)?;
                parts.push(Part {
                    position: *position,
                    records,
                });
            }
        }
        let (mut chunks, _) = self.dealer.deal(self.ends.iter().sum(), parts);
        self.ends.clone_from(&epoch.ends);
        if let Some(first) = chunks.first_mut() {
            first.idle = epoch.silence.map(|silence| silence.at);
        }
        Ok(Epoch {
            time: epoch.time,
            chunks,
            due: None,
        })
    }

    /// Records so far, of all sessions.
    pub(super) fn records(&self) -> u64 {
        self.ends.iter().sum::<u64>() - self.first
    }
}
