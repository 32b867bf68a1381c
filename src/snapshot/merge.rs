//! Several runs as one, entry by entry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::run::Reader;
use super::{Entry, SnapshotError};
use crate::disk::Disk;

/// The next entry of a run: by its key, of equal keys the one of the newest run first.
struct Head {
    entry: Entry,
    run: usize,
}

impl Head {
    fn order(&self) -> (u8, &[u8], Reverse<usize>) {
        let (operator, key) = self.entry.place();
        (operator, key, Reverse(self.run))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// Gives the newest entry of each key of several runs, in order, tombstones included.
pub(super) struct Merge<D: Disk> {
    readers: Vec<Reader<D>>,
    heads: BinaryHeap<Reverse<Head>>,
    last: Option<(u8, Box<[u8]>)>,
}

impl<D: Disk> Merge<D> {
    /// `readers` from the oldest run to the newest.
    pub(super) fn new(readers: Vec<Reader<D>>) -> Result<Merge<D>, SnapshotError> {
        let mut merge = Merge {
            heads: BinaryHeap::with_capacity(readers.len()),
            readers,
            last: None,
        };
        for run in 0..merge.readers.len() {
            merge.advance(run)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, run: usize) -> Result<(), SnapshotError> {
        if let Some(entry) = self.readers[run].next()? {
            self.heads.push(Reverse(Head { entry, run }));
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>, SnapshotError> {
        while let Some(Reverse(Head { entry, run })) = self.heads.pop() {
            self.advance(run)?;
            let is_older = |(operator, key): &(u8, Box<[u8]>)| (*operator, &key[..]) == entry.place();
            if self.last.as_ref().is_some_and(is_older) {
                continue;
            }
            self.last = Some((entry.operator, entry.key.clone()));
            return Ok(Some(entry));
        }
        Ok(None)
    }
}
