//! Epochs as a live run has cut them, from its journal.
//!
//! In: the epoch log's epochs and the journal's records. Out: the same epochs with the same records, times of arrival and silences.
//! A start after a crash goes through those that were not committed; a replay of a journal through all of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::tail::Arrived;
use super::{Chunk, Epoch, Epochs, InputFile, Line, SourceError};
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

    /// The position of the next record.
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

    /// Exactly so many.
    fn take_all(&mut self, count: u64) -> Result<Vec<Arrived>, JournalError> {
        let mut taken = Vec::new();
        while (taken.len() as u64) < count {
            let mut more = self.take(count - taken.len() as u64)?;
            if more.is_empty() {
                return Err(self.reader.missing());
            }
            taken.append(&mut more);
        }
        Ok(taken)
    }
}

/// Makes chunks of arrivals, in order, one for each worker.
pub(super) struct Dealer {
    /// Workers of the whole cluster, and those of this process among them.
    pub(super) workers: usize,
    pub(super) mine: Range<usize>,
    /// Bytes of a record that are kept at most.
    pub(super) max_record_bytes: usize,
    /// Of the next record.
    pub(super) position: u64,
    topics: Arc<[InputFile]>,
}

impl Dealer {
    pub(super) fn new(workers: usize, mine: Range<usize>, max_record_bytes: usize, position: u64) -> Dealer {
        Dealer {
            workers,
            mine,
            max_record_bytes,
            position,
            topics: Arc::from([]),
        }
    }

    /// The chunks of this process's workers, and the bytes of all records.
    pub(super) fn deal(&mut self, batch: Vec<Arrived>) -> (Vec<Chunk>, u64) {
        let share = batch.len().div_ceil(self.workers).max(1);
        let mut batch = batch.into_iter();
        let mut bytes = 0;
        let mut chunks = Vec::with_capacity(self.workers);
        for _ in 0..self.workers {
            let mut chunk = Chunk::new(self.position, &self.topics, 0);
            for arrived in batch.by_ref().take(share) {
                let length = arrived.length;
                let kept = arrived.payload.len().min(self.max_record_bytes);
                let start = chunk.bytes.len() as u32; // an epoch stays far below 4 GiB
                chunk.bytes.extend_from_slice(&arrived.payload[..kept]);
                chunk.lines.push(Line {
                    start,
                    end: chunk.bytes.len() as u32,
                    file: self.topic(&arrived.topic),
                    number: self.position + 1,
                    length,
                    received: arrived.received,
                    fault: None,
                });
                self.position += 1;
                bytes += length;
            }
            chunks.push(chunk);
        }
        // Topics may have been met while the chunks were made.
        chunks
            .iter_mut()
            .for_each(|chunk| chunk.files = Arc::clone(&self.topics));
        chunks.truncate(self.mine.end);
        chunks.drain(..self.mine.start);
        (chunks, bytes)
    }

    /// The place of a topic among those met so far.
    fn topic(&mut self, topic: &str) -> u32 {
        let known = self.topics.iter().position(|known| known.name == topic);
        let place = known.unwrap_or_else(|| {
            let more = self.topics.iter().cloned().chain([InputFile::topic(topic)]);
            self.topics = more.collect();
            self.topics.len() - 1
        });
        place as u32 // far fewer than 2^32
    }
}

/// Goes through recorded epochs.
pub struct Recorded<D: Disk> {
    epochs: VecDeque<journal::Epoch>,
    pub(super) records: Records<D>,
    pub(super) dealer: Dealer,
    first_position: u64,
}

impl<D: Disk> Recorded<D> {
    /// The epochs, whose records begin at `position`; dealt out to `workers`, of whom this process has `mine`.
    pub fn new(
        epochs: Vec<journal::Epoch>,
        records: Records<D>,
        position: u64,
        (workers, mine): (usize, Range<usize>),
        max_record_bytes: usize,
    ) -> Recorded<D> {
        Recorded {
            epochs: epochs.into(),
            records,
            dealer: Dealer::new(workers, mine, max_record_bytes, position),
            first_position: position,
        }
    }

    /// The next epoch, and the bytes of its records.
    pub(super) fn next(&mut self) -> Result<Option<(Epoch, u64)>, JournalError> {
        let Some(journal::Epoch { time, ends, silence }) = self.epochs.pop_front() else {
            return Ok(None);
        };
        let end = ends.first().copied().unwrap_or(self.dealer.position);
        let batch = self.records.take_all(end.saturating_sub(self.dealer.position))?;
        let (mut chunks, bytes) = self.dealer.deal(batch);
        chunks[0].idle = silence.map(|silence| silence.at);
        let epoch = Epoch {
            time,
            chunks,
            due: None,
        };
        Ok(Some((epoch, bytes)))
    }
}

impl<D: Disk> Epochs for Recorded<D> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        Ok(self.next()?.map(|(epoch, _)| epoch))
    }

    fn records(&self) -> u64 {
        self.dealer.position - self.first_position
    }
}
