//! Deals records out. In: an epoch's arrivals of each session. Out: a chunk for each worker, in the order of positions.

use std::ops::Range;
use std::sync::Arc;

use super::tail::Arrived;
use super::{Chunk, InputFile, Line};

/// Records that follow each other, of one session in one epoch.
pub(super) struct Part {
    /// Of the first of them.
    pub(super) position: u64,
    pub(super) records: Vec<Arrived>,
}

pub(super) struct Dealer {
    /// Workers among whom it deals, and those of this process among them.
    workers: usize,
    mine: Range<usize>,
    /// Bytes of a record that are kept at most.
    max_record_bytes: usize,
    topics: Arc<[InputFile]>,
}

impl Dealer {
    pub(super) fn new(workers: usize, mine: Range<usize>, max_record_bytes: usize) -> Dealer {
        Dealer {
            workers,
            mine,
            max_record_bytes,
            topics: Arc::from([]),
        }
    }

    /// The chunks of this process's workers, of an epoch that begins at `position`; and the bytes of all records.
    pub(super) fn deal(&mut self, position: u64, parts: Vec<Part>) -> (Vec<Chunk>, u64) {
        let records: usize = parts.iter().map(|part| part.records.len()).sum();
        let share = records.div_ceil(self.workers).max(1);
        let payloads = parts
            .iter()
            .flat_map(|part| &part.records)
            .map(|arrived| arrived.payload.len());
        let whole: usize = payloads.sum();
        let room = whole / self.workers + whole / 16; // a little more than most get: a buffer that has to grow is copied
        let mut records = parts
            .into_iter()
            .flat_map(|part| (part.position..).zip(part.records))
            .peekable();
        let mut bytes = 0;
        let mut chunks = Vec::with_capacity(self.workers);
        for _ in 0..self.workers {
            let first = records.peek().map_or(position, |(position, _)| *position);
            // The first one also tells where the epoch begins.
            let first = if chunks.is_empty() { position } else { first };
            let mut chunk = Chunk::new(first, &self.topics, Vec::with_capacity(room));
            for (position, arrived) in records.by_ref().take(share) {
                chunk.go_on_at(position);
                let length = arrived.length;
                let kept = arrived.payload.len().min(self.max_record_bytes);
                let start = chunk.bytes.len() as u32; // an epoch stays far below 4 GiB
                chunk.bytes.extend_from_slice(&arrived.payload[..kept]);
                chunk.lines.push(Line {
                    start,
                    end: chunk.bytes.len() as u32,
                    file: self.topic(&arrived.topic),
                    number: position + 1,
                    length,
                    received: arrived.received,
                    fault: None,
                });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(position: u64, records: usize) -> Part {
        let arrived = || Arrived {
            received: 3,
            topic: "t".into(),
            payload: b"{}".as_slice().into(),
            length: 2,
        };
        Part {
            position,
            records: (0..records).map(|_| arrived()).collect(),
        }
    }

    #[test]
    fn every_record_keeps_its_position_whoever_gets_it() {
        for workers in 1..6 {
            let mut dealer = Dealer::new(workers, 0..workers, 100);
            let (chunks, bytes) = dealer.deal(7, vec![part(10, 3), part(20, 0), part(21, 4)]);
            assert_eq!((chunks.len(), bytes), (workers, 14));
            assert_eq!(chunks[0].first_position(), 7);
            let positions: Vec<u64> = chunks
                .iter()
                .flat_map(Chunk::records)
                .map(|record| record.position)
                .collect();
            assert_eq!(positions, [10, 11, 12, 21, 22, 23, 24], "{workers} workers");
        }
        let (chunks, _) = Dealer::new(5, 3..5, 100).deal(0, vec![part(0, 5)]);
        let positions: Vec<u64> = chunks
            .iter()
            .flat_map(Chunk::records)
            .map(|record| record.position)
            .collect();
        assert_eq!(positions, [3, 4]);
    }
}
