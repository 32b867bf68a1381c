//! A stretch of raw records: what one worker takes of one epoch.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::InputFile;
use super::records::Found;
use crate::devices::DeviceChange;
use crate::record::{EventTime, Parsed, Parser, Rejection, RowFault};

/// One record within a chunk's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Which of the chunk's files it came from.
    pub(super) file: u32,
    /// Its number in that file, from 1.
    pub(super) number: u64,
    /// Its whole length in bytes; more than is kept here when it was over the limit.
    pub(super) length: u64,
    /// When a live source received it; [`EventTime::MAX`] in files.
    pub(super) received: EventTime,
    /// A CSV row that does not fit its header; its bytes are the row as it stood.
    pub(super) fault: Option<RowFault>,
}

impl Line {
    /// An epoch's bytes and one record's stay far below 4 GiB, so 32-bit offsets hold.
    pub(super) fn new(bytes: Range<usize>, file: u32, found: Found) -> Line {
        Line {
            start: bytes.start as u32,
            end: bytes.end as u32,
            file,
            number: found.number,
            length: found.length,
            received: EventTime::MAX,
            fault: found.fault,
        }
    }
}

/// Raw records in source order. Holds PHI, so it can neither be serialized nor be exchanged, and is not shown.
#[derive(Clone)]
pub struct Chunk {
    /// Position of the first record.
    pub(super) first_position: u64,
    pub(super) bytes: Vec<u8>,
    /// Who fills the bytes' buffer again, once the chunk is done with.
    pub(super) spent: Option<Sender<Vec<u8>>>,
    pub(super) lines: Vec<Line>,
    pub(super) files: Arc<[InputFile]>,
    /// Where the records do not follow each other: the record's place among the lines, and its position.
    pub(super) jumps: Vec<(usize, u64)>,
    /// Whether the input ends behind this chunk.
    pub ends_input: bool,
    /// What a live source that has been silent takes event time to have come to, before its next record.
    pub idle: Option<EventTime>,
    /// What changes in the device collection with this epoch; on worker 0.
    pub devices: Vec<DeviceChange>,
}

/// One raw record.
pub struct Record<'a> {
    pub position: u64,
    pub bytes: &'a [u8],
    pub length: u64,
    pub file: &'a InputFile,
    pub line: u64,
    pub received: EventTime,
    /// A CSV row that does not fit its header: no record can be read from it.
    pub fault: Option<RowFault>,
}

impl Record<'_> {
    /// What it says.
    ///
    /// # Errors
    /// A [`Rejection`] when it cannot be used.
    pub fn read(&self, parser: &Parser) -> Result<Parsed, Rejection> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let mut parsed = parser.parse(self.bytes, self.length, self.position, &self.file.stem)?;
        parsed.reading.received = self.received;
        Ok(parsed)
    }
}

impl Chunk {
    /// Without records yet; their bytes go to `buffer`, which is empty.
    pub(super) fn new(first_position: u64, files: &Arc<[InputFile]>, buffer: Vec<u8>) -> Chunk {
        let files = Arc::clone(files);
        Chunk {
            first_position,
            bytes: buffer,
            spent: None,
            lines: Vec::new(),
            files,
            jumps: Vec::new(),
            ends_input: false,
            idle: None,
            devices: Vec::new(),
        }
    }

    /// The position that the first record has at the earliest; of the next one where there is none.
    pub fn first_position(&self) -> u64 {
        self.first_position
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The next record that is added has this position, which is not before the one it would have had.
    pub(super) fn go_on_at(&mut self, position: u64) {
        let (place, last) = self.jumps.last().copied().unwrap_or((0, self.first_position));
        if last + (self.lines.len() - place) as u64 != position {
            self.jumps.push((self.lines.len(), position));
        }
    }

    /// Its records in source order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut jumps = self.jumps.iter().peekable();
        let mut next = self.first_position;
        self.lines.iter().enumerate().map(move |(place, line)| {
            let jump = jumps.next_if(|(at, _)| *at == place);
            let position = jump.map_or(next, |(_, position)| *position);
            next = position + 1;
            Record {
                position,
                bytes: &self.bytes[line.start as usize..line.end as usize],
                length: line.length,
                file: &self.files[line.file as usize],
                line: line.number,
                received: line.received,
                fault: line.fault,
            }
        })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(spent) = &self.spent {
            let mut buffer = std::mem::take(&mut self.bytes);
            buffer.clear();
            drop(spent.try_send(buffer)); // or it is let go of, if enough of them wait or nobody reads any more
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Chunk({} records from position {})",
            self.lines.len(),
            self.first_position
        )
    }
}
