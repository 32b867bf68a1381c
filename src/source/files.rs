//! Reads the input's lines and cuts them into commits, epochs and chunks.
//!
//! Where a cut falls depends on the lines alone: not on the number of workers, nor on the clock. A reader
//! keeps only the chunks of its own process's workers, but counts every line.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::order::{Sequence, Timed};
use super::pace::Pace;
use super::records::{ReadError, Reading};
use super::{Chunk, InputFile, Inputs, Line, Speed, Time, time_of};
use crate::observe::Progress;
use crate::record::Parser;

/// An epoch ends after this many bytes at the latest, so that long records do not fill the memory.
const EPOCH_BYTES: u64 = 16 << 20;
/// Read at once, of all open files together and of each.
const BUFFERS: usize = 32 << 20;
const BUFFER: Range<usize> = 8 << 10..256 << 10;

/// Where the input is cut. Commits follow `commit_records` and `commit_bytes`, whichever is first full.
#[derive(Clone, Debug)]
pub struct Cut {
    pub epoch_records: u64,
    pub commit_records: u64,
    pub commit_bytes: u64,
    /// Bytes of a record that are kept at most; the rest of a longer one is counted, not stored.
    pub max_record_bytes: usize,
    /// Workers of the whole cluster.
    pub workers: usize,
    /// The workers of this process among them.
    pub mine: Range<usize>,
}

/// One epoch: its time, and the chunks of this process's workers, in the order of `Cut::mine`.
pub struct Epoch {
    pub time: Time,
    pub chunks: Vec<Chunk>,
    /// When it is due, from the first one on; `None`: as soon as there is room for it.
    pub due: Option<Duration>,
}

/// What came of asking for a record.
enum Taken {
    /// It was taken; its length.
    Record(u64),
    /// It belongs to a later epoch.
    NotYet,
    End,
}

enum Order {
    /// File after file, each record straight to where it belongs.
    Files(Sequence),
    /// Each record looked at first: merged, or paced, or both.
    Times(Timed),
}

/// Reads epoch after epoch.
pub struct Reader {
    cut: Cut,
    files: Arc<[InputFile]>,
    order: Order,
    pace: Option<Pace>,
    progress: Arc<Progress>,
    position: u64,
    commit: u32,
    epoch: u32,
    commit_records: u64,
    commit_bytes: u64,
    finished: bool,
    /// Bytes of the largest chunk so far: what the next one is made ready for.
    largest: usize,
    /// Buffers of chunks that are done with: it takes longer to get megabytes of fresh memory than to fill them.
    spent: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl Reader {
    /// A reader at the start of the input; `speed` paces it, `None` is as fast as it goes.
    pub fn new(inputs: &Inputs, cut: Cut, parser: Parser, speed: Option<Speed>) -> Reader {
        let files: Arc<[InputFile]> = inputs.files().into();
        let progress = Arc::new(Progress::default());
        let open = if inputs.is_merged() { files.len() } else { 1 };
        let with = Arc::new(Reading {
            parser,
            progress: Arc::clone(&progress),
            limit: cut.max_record_bytes,
            buffer: (BUFFERS / open.max(1)).clamp(BUFFER.start, BUFFER.end),
        });
        let order = match inputs.is_merged() || speed.is_some() {
            true => Order::Times(Timed::new(inputs, &files, &with)),
            false => Order::Files(Sequence::new(&files, 0..files.len(), &with)),
        };
        let spent = bounded(2 * cut.mine.len().max(1));
        Reader {
            cut,
            files,
            order,
            pace: speed.map(Pace::new),
            progress,
            position: 0,
            commit: 0,
            epoch: 0,
            commit_records: 0,
            commit_bytes: 0,
            finished: false,
            largest: 0,
            spent,
        }
    }

    /// How far the reading has come, while it goes on.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Records read so far, those of other processes' workers included.
    pub fn records(&self) -> u64 {
        self.position
    }

    /// The next epoch, or `None` behind the last one. The last one ends the input for every worker and may be empty.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn next_epoch(&mut self) -> Result<Option<Epoch>, ReadError> {
        if self.finished {
            return Ok(None);
        }
        let time = time_of(self.commit, self.epoch);
        let share = self.cut.epoch_records.div_ceil(self.cut.workers as u64);
        let mut chunks: Vec<Chunk> = Vec::with_capacity(self.cut.mine.len());
        for worker in self.cut.mine.clone() {
            // Positions are known beforehand: every worker's chunk but the last read is full.
            chunks.push(self.chunk(self.position + worker as u64 * share));
        }
        let (mut records, mut bytes) = (0, 0);
        while records < self.cut.epoch_records && bytes < EPOCH_BYTES && !self.commit_is_full() {
            let worker = (records / share) as usize;
            let mine = self.cut.mine.contains(&worker).then(|| worker - self.cut.mine.start);
            let length = match self.next_record(mine.map(|i| &mut chunks[i]), records > 0)? {
                Taken::Record(length) => length,
                Taken::NotYet => break,
                Taken::End => {
                    self.finished = true;
                    break;
                }
            };
            records += 1;
            bytes += length;
            self.position += 1;
            self.commit_records += 1;
            self.commit_bytes += length;
        }
        self.epoch += 1;
        let largest = chunks.iter().map(|chunk| chunk.bytes.len()).max();
        self.largest = self.largest.max(largest.unwrap_or_default());
        if self.finished {
            chunks.iter_mut().for_each(|chunk| chunk.ends_input = true);
        } else if self.commit_is_full() {
            (self.commit, self.epoch) = (self.commit + 1, 0);
            (self.commit_records, self.commit_bytes) = (0, 0);
        }
        self.progress.come_to(self.position);
        let due = self.pace.map(|pace| pace.due());
        Ok(Some(Epoch { time, chunks, due }))
    }

    fn chunk(&self, first_position: u64) -> Chunk {
        let (give, take) = &self.spent;
        let buffer = take.try_recv().unwrap_or_else(|_| Vec::with_capacity(self.largest));
        let mut chunk = Chunk::new(first_position, &self.files, buffer);
        chunk.spent = Some(give.clone());
        chunk
    }

    fn commit_is_full(&self) -> bool {
        self.commit_records >= self.cut.commit_records || self.commit_bytes >= self.cut.commit_bytes
    }

    /// Takes the next record, into `chunk` if it is wanted. With `due` only if it is due together with the records before it.
    fn next_record(&mut self, chunk: Option<&mut Chunk>, due: bool) -> Result<Taken, ReadError> {
        match &mut self.order {
            Order::Files(sequence) => {
                let Some(chunk) = chunk else {
                    return Ok(sequence
                        .next(None)?
                        .map_or(Taken::End, |(_, found)| Taken::Record(found.length)));
                };
                let start = chunk.bytes.len();
                let Some((file, found)) = sequence.next(Some(&mut chunk.bytes))? else {
                    return Ok(Taken::End);
                };
                chunk.lines.push(Line::new(start..chunk.bytes.len(), file, found));
                Ok(Taken::Record(found.length))
            }
            Order::Times(timed) => {
                let Some(next) = timed.peek()? else {
                    return Ok(Taken::End);
                };
                if let Some(pace) = &mut self.pace {
                    let after = pace.after(next.time);
                    if due && after.tick() != pace.tick() {
                        return Ok(Taken::NotYet);
                    }
                    *pace = after;
                }
                if let Some(chunk) = chunk {
                    let start = chunk.bytes.len();
                    chunk.bytes.extend_from_slice(next.bytes);
                    chunk
                        .lines
                        .push(Line::new(start..chunk.bytes.len(), next.file, next.found));
                }
                let length = next.found.length;
                timed.pass();
                Ok(Taken::Record(length))
            }
        }
    }
}

#[cfg(test)]
mod tests;
