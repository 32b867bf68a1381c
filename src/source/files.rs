//! Reads the input's lines and cuts them into commits, epochs and chunks.
//!
//! Where a cut falls depends on the lines alone: not on the number of workers, nor on the clock. A reader
//! keeps only the chunks of its own process's workers, but counts every line.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use super::{Chunk, InputFile, Inputs, Line, Time, time_of};
use crate::record::EventTime;

/// An epoch ends after this many bytes at the latest, so that long records do not fill the memory.
const EPOCH_BYTES: u64 = 16 << 20;
const BUFFER: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
}

/// An open file, its index, and the number of its last line.
type Open = (BufReader<Box<dyn Read + Send>>, u32, u64);

/// Reads epoch after epoch.
pub struct Reader {
    cut: Cut,
    files: Arc<[InputFile]>,
    open: Option<Open>,
    next_file: u32,
    position: u64,
    commit: u32,
    epoch: u32,
    commit_records: u64,
    commit_bytes: u64,
    finished: bool,
    /// Bytes of the largest chunk so far: what the next one is made ready for.
    largest: usize,
}

/// A failed read, with the file it happened in.
#[derive(Debug)]
pub struct ReadError {
    pub file: String,
    pub error: io::Error,
}

struct Measured {
    length: u64,
    blank: bool,
}

impl Reader {
    /// A reader at the start of the input.
    pub fn new(inputs: &Inputs, cut: Cut) -> Reader {
        Reader {
            cut,
            files: inputs.files().into(),
            open: None,
            next_file: 0,
            position: 0,
            commit: 0,
            epoch: 0,
            commit_records: 0,
            commit_bytes: 0,
            finished: false,
            largest: 0,
        }
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
            chunks.push(Chunk::new(
                self.position + worker as u64 * share,
                &self.files,
                self.largest,
            ));
        }
        let (mut records, mut bytes) = (0, 0);
        while records < self.cut.epoch_records && bytes < EPOCH_BYTES && !self.commit_is_full() {
            let worker = (records / share) as usize;
            let mine = self.cut.mine.contains(&worker).then(|| worker - self.cut.mine.start);
            let Some(length) = self.next_record(mine.map(|i| &mut chunks[i]))? else {
                self.finished = true;
                break;
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
        Ok(Some(Epoch { time, chunks }))
    }

    fn commit_is_full(&self) -> bool {
        self.commit_records >= self.cut.commit_records || self.commit_bytes >= self.cut.commit_bytes
    }

    /// Reads the next record that is not blank, into `chunk` if it is wanted; its length, or `None` at the end.
    fn next_record(&mut self, mut chunk: Option<&mut Chunk>) -> Result<Option<u64>, ReadError> {
        loop {
            if self.open.is_none() {
                let Some(file) = self.files.get(self.next_file as usize) else {
                    return Ok(None);
                };
                let failed = |error| ReadError {
                    file: file.shown(),
                    error,
                };
                let bytes = file.open().and_then(without_mark).map_err(failed)?;
                self.open = Some((BufReader::with_capacity(BUFFER, bytes), self.next_file, 0));
                self.next_file += 1;
            }
            let Some((reader, file, number)) = self.open.as_mut() else {
                continue;
            };
            let start = chunk.as_ref().map_or(0, |c| c.bytes.len());
            let kept = chunk.as_mut().map(|c| &mut c.bytes);
            let read = read_line(reader, kept, self.cut.max_record_bytes).map_err(|error| ReadError {
                file: self.files[*file as usize].shown(),
                error,
            })?;
            let Some(line) = read else {
                self.open = None;
                continue;
            };
            *number += 1;
            if line.blank {
                if let Some(chunk) = chunk.as_mut() {
                    chunk.bytes.truncate(start);
                }
                continue;
            }
            if let Some(chunk) = chunk {
                // An epoch's bytes and one record's stay far below 4 GiB, so 32-bit offsets hold.
                let (start, end) = (start as u32, chunk.bytes.len() as u32);
                chunk.lines.push(Line {
                    start,
                    end,
                    file: *file,
                    number: *number,
                    length: line.length,
                    received: EventTime::MAX,
                });
            }
            return Ok(Some(line.length));
        }
    }
}

/// The bytes behind a byte order mark, if there is one; a pipe may give it piece by piece.
fn without_mark(mut bytes: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(BYTE_ORDER_MARK.len());
    bytes
        .by_ref()
        .take(BYTE_ORDER_MARK.len() as u64)
        .read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        return Ok(Box::new(bytes));
    }
    Ok(Box::new(io::Cursor::new(start).chain(bytes)))
}

/// Reads up to the next line feed or the end of the file; keeps at most `limit` bytes of the line.
fn read_line(reader: &mut impl BufRead, mut kept: Option<&mut Vec<u8>>, limit: usize) -> io::Result<Option<Measured>> {
    let mut measured = Measured { length: 0, blank: true };
    let mut started = false;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if buffer.is_empty() {
            return Ok(started.then_some(measured));
        }
        started = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        if let Some(kept) = kept.as_mut() {
            let room = (limit as u64).saturating_sub(measured.length) as usize;
            kept.extend_from_slice(&part[..part.len().min(room)]);
        }
        measured.length += part.len() as u64;
        measured.blank &= part.trim_ascii().is_empty();
        let taken = part.len() + usize::from(end.is_some());
        reader.consume(taken);
        if end.is_some() {
            return Ok(Some(measured));
        }
    }
}

#[cfg(test)]
mod tests;
