//! A live source: messages of a subscription, cut into epochs as they come.
//!
//! An epoch is what has come within some milliseconds. A commit ends by records, bytes or time, whichever is first. Where the
//! cuts fall changes no row: order is the order of arrival, and event time comes from the records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::feed::Epochs;
use super::files::Epoch;
use super::mqtt::{Message, Subscription};
use super::{Chunk, InputFile, Line, ReadError, time_of};
use crate::observe::wall_clock;

/// An epoch closes so long after its first message at the latest.
const EPOCH_TIME: Duration = Duration::from_millis(20);
/// An epoch closes after so many bytes at the latest.
const EPOCH_BYTES: usize = 16 << 20;
/// How often a silent source is told of.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// How often the user's wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Where a live source is cut.
#[derive(Clone, Debug)]
pub struct LiveCut {
    pub epoch_records: u64,
    pub commit_records: u64,
    pub commit_bytes: u64,
    pub commit_interval: Duration,
    pub idle_after: Duration,
    pub max_record_bytes: usize,
    /// Workers of this process.
    pub workers: usize,
    /// Commits and records that earlier runs have made.
    pub first_commit: u32,
    pub first_position: u64,
}

/// Cuts what a subscription brings until `stop` says so.
pub struct Live<S> {
    subscription: Subscription,
    cut: LiveCut,
    stop: S,
    topics: Arc<[InputFile]>,
    position: u64,
    commit: u32,
    epoch: u32,
    commit_records: u64,
    commit_bytes: u64,
    /// When the first of this commit's records or silences came, which may have closed windows.
    commit_began: Option<Instant>,
    last_arrival: Instant,
    last_tick: Instant,
    finished: bool,
}

/// Why an epoch is closed.
enum Close {
    /// It holds messages.
    Records,
    /// It holds none: the commit before it shall not wait for the next one.
    Interval,
    /// It holds none: the source is silent.
    Idle,
    End,
}

impl<S: Fn() -> bool + Send + 'static> Live<S> {
    pub fn new(subscription: Subscription, cut: LiveCut, stop: S) -> Live<S> {
        let now = Instant::now();
        Live {
            position: cut.first_position,
            commit: cut.first_commit,
            subscription,
            cut,
            stop,
            topics: Arc::from([]),
            epoch: 0,
            commit_records: 0,
            commit_bytes: 0,
            commit_began: None,
            last_arrival: now,
            last_tick: now,
            finished: false,
        }
    }

    /// Waits for messages until there is a reason to close the epoch.
    fn gather(&mut self, batch: &mut Vec<Message>) -> Close {
        let mut first: Option<Instant> = None;
        let mut bytes = 0;
        loop {
            if (self.stop)() {
                self.subscription.stop(); // what is on its way still comes, then the end
            }
            let wait = match first {
                Some(first) => EPOCH_TIME.saturating_sub(first.elapsed()),
                None => LOOK,
            };
            match self.subscription.messages().recv_timeout(wait) {
                Ok(message) => {
                    // What a crash then loses is what was not yet committed.
                    self.subscription.acknowledger().acknowledge(message.number);
                    first.get_or_insert_with(Instant::now);
                    bytes += message.payload.len();
                    batch.push(message);
                    if batch.len() as u64 >= self.cut.epoch_records || bytes >= EPOCH_BYTES {
                        return Close::Records;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Close::End,
                Err(RecvTimeoutError::Timeout) if first.is_some() => return Close::Records,
                Err(RecvTimeoutError::Timeout) => {
                    if self.interval_is_over() {
                        return Close::Interval;
                    }
                    if self.last_arrival.elapsed() >= self.cut.idle_after && self.last_tick.elapsed() >= IDLE_TICK {
                        return Close::Idle;
                    }
                }
            }
        }
    }

    /// The messages as one chunk for each worker, in order.
    fn chunks(&mut self, batch: Vec<Message>) -> Vec<Chunk> {
        let share = batch.len().div_ceil(self.cut.workers).max(1);
        let mut batch = batch.into_iter().peekable();
        let mut chunks = Vec::with_capacity(self.cut.workers);
        for _ in 0..self.cut.workers {
            let mut chunk = Chunk::new(self.position, &self.topics, 0);
            for message in batch.by_ref().take(share) {
                let length = message.length;
                let kept = message.payload.len().min(self.cut.max_record_bytes);
                let start = chunk.bytes.len() as u32; // an epoch stays far below 4 GiB
                chunk.bytes.extend_from_slice(&message.payload[..kept]);
                chunk.lines.push(Line {
                    start,
                    end: chunk.bytes.len() as u32,
                    file: self.topic(&message.topic),
                    number: self.position + 1,
                    length,
                    received: message.received,
                    fault: None,
                });
                self.position += 1;
                self.commit_records += 1;
                self.commit_bytes += length;
            }
            chunks.push(chunk);
        }
        // Topics may have been met while the chunks were made.
        chunks
            .iter_mut()
            .for_each(|chunk| chunk.files = Arc::clone(&self.topics));
        chunks
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

    fn next_commit(&mut self) {
        (self.commit, self.epoch) = (self.commit + 1, 0);
        (self.commit_records, self.commit_bytes) = (0, 0);
        self.commit_began = None;
    }

    fn interval_is_over(&self) -> bool {
        self.commit_began
            .is_some_and(|began| began.elapsed() >= self.cut.commit_interval)
    }

    fn commit_is_full(&self) -> bool {
        self.commit_records >= self.cut.commit_records
            || self.commit_bytes >= self.cut.commit_bytes
            || self.interval_is_over()
    }
}

impl<S: Fn() -> bool + Send + 'static> Epochs for Live<S> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, ReadError> {
        if self.finished {
            return Ok(None);
        }
        let mut batch = Vec::new();
        let close = self.gather(&mut batch);
        match close {
            Close::Interval => self.next_commit(),
            _ => drop(self.commit_began.get_or_insert_with(Instant::now)),
        }
        let received_some = !batch.is_empty();
        let mut chunks = self.chunks(batch);
        match close {
            Close::Records | Close::Interval => {}
            Close::Idle => {
                self.last_tick = Instant::now();
                chunks[0].idle = Some(wall_clock());
            }
            Close::End => {
                self.finished = true;
                self.subscription.leave();
            }
        }
        if received_some {
            self.last_arrival = Instant::now();
        }
        let time = time_of(self.commit, self.epoch);
        self.epoch += 1;
        if self.commit_is_full() {
            self.next_commit();
        }
        Ok(Some(Epoch {
            time,
            chunks,
            due: None,
        }))
    }

    fn records(&self) -> u64 {
        self.position - self.cut.first_position
    }
}
