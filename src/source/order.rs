//! The order in which records are taken: file after file, or by event time over all files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::records::{Found, ReadError, Reading, Records};
use super::{InputFile, Inputs};
use crate::record::EventTime;

/// Files that are open beside those of the input: tables, the vault, connections.
const SPARE: u64 = 256;

/// The records of files one after the other.
pub(super) struct Sequence {
    files: Arc<[InputFile]>,
    next: usize,
    end: usize,
    open: Option<(Records, u32)>,
    with: Arc<Reading>,
}

impl Sequence {
    pub(super) fn new(files: &Arc<[InputFile]>, range: std::ops::Range<usize>, with: &Arc<Reading>) -> Sequence {
        Sequence {
            files: Arc::clone(files),
            next: range.start,
            end: range.end,
            open: None,
            with: Arc::clone(with),
        }
    }

    /// The next record and the index of its file; its bytes go to `kept`, up to the limit.
    #[inline(always)]
    pub(super) fn next(&mut self, mut kept: Option<&mut Vec<u8>>) -> Result<Option<(u32, Found)>, ReadError> {
        loop {
            if self.open.is_none() {
                if self.next == self.end {
                    return Ok(None);
                }
                let file = &self.files[self.next];
                let records = Records::open(file, &self.with).map_err(|e| ReadError::new(file, e))?;
                // There are far fewer files than 4 Gi.
                self.open = Some((records, self.next as u32));
                self.next += 1;
            }
            let Some((records, file)) = self.open.as_mut() else {
                continue;
            };
            let file = *file;
            let found = records
                .next(kept.as_deref_mut(), self.with.limit)
                .map_err(|e| ReadError::new(&self.files[file as usize], e))?;
            match found {
                Some(found) => return Ok(Some((file, found))),
                None => self.open = None,
            }
        }
    }
}

/// A sequence, its next record read ahead.
struct Head {
    sequence: Sequence,
    bytes: Vec<u8>,
    found: Option<(u32, Found)>,
    /// The record's own time, where it is readable.
    own: Option<EventTime>,
    /// The time by which it is taken: its own, else that of the record before it.
    time: EventTime,
}

/// Records whose event time is looked at before they are taken; those of several sequences by that time.
pub(super) struct Timed {
    heads: Vec<Head>,
    /// (time, index) of the heads that have a record; `None` before the first look.
    order: Option<BinaryHeap<Reverse<(EventTime, usize)>>>,
    /// Whether the first of them has been taken: the record behind it is read when it is looked for, and no sooner.
    passed: bool,
    with: Arc<Reading>,
}

/// The record that is next.
pub(super) struct Next<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) file: u32,
    pub(super) found: Found,
    pub(super) time: Option<EventTime>,
}

impl Timed {
    /// With a sequence for each file where the input is merged, else with one.
    pub(super) fn new(inputs: &Inputs, files: &Arc<[InputFile]>, with: &Arc<Reading>) -> Timed {
        let ranges: Vec<_> = match inputs.is_merged() {
            true => (0..files.len()).map(|i| i..i + 1).collect(),
            false => std::iter::once(0..files.len()).collect(),
        };
        allow_open_files(ranges.len());
        let heads = ranges.into_iter().map(|range| Head {
            sequence: Sequence::new(files, range, with),
            bytes: Vec::new(),
            found: None,
            own: None,
            time: EventTime::MIN,
        });
        Timed {
            heads: heads.collect(),
            order: None,
            passed: false,
            with: Arc::clone(with),
        }
    }

    /// Looks at the next record.
    pub(super) fn peek(&mut self) -> Result<Option<Next<'_>>, ReadError> {
        if self.order.is_none() {
            let mut order = BinaryHeap::new();
            for (i, head) in self.heads.iter_mut().enumerate() {
                head.advance(&self.with)?;
                order.extend(head.found.map(|_| Reverse((head.time, i))));
            }
            self.order = Some(order);
        }
        if std::mem::take(&mut self.passed) {
            self.advance()?;
        }
        let first = self.order.as_ref().and_then(|order| order.peek());
        let head = first.map(|Reverse((_, i))| &self.heads[*i]);
        Ok(head.and_then(|head| {
            let (file, found) = head.found?;
            Some(Next {
                bytes: &head.bytes,
                file,
                found,
                time: head.own,
            })
        }))
    }

    /// The next record has been taken.
    pub(super) fn pass(&mut self) {
        self.passed = true;
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        let Some(mut first) = self.order.as_mut().and_then(BinaryHeap::peek_mut) else {
            return Ok(());
        };
        let head = &mut self.heads[first.0.1];
        head.advance(&self.with)?;
        match head.found {
            Some(_) => first.0.0 = head.time,
            None => drop(PeekMut::pop(first)),
        }
        Ok(())
    }
}

/// Many systems let a program open 1,024 files and more if it asks.
fn allow_open_files(count: usize) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = count as u64 + SPARE;
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        // Where it is refused, opening the files will tell.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

impl Head {
    fn advance(&mut self, with: &Reading) -> Result<(), ReadError> {
        self.bytes.clear();
        self.found = self.sequence.next(Some(&mut self.bytes))?;
        self.own = self.found.and_then(|(_, found)| match found.fault {
            None => with.parser.event_time(&self.bytes, found.length),
            Some(_) => None,
        });
        self.time = self.own.unwrap_or(self.time);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
