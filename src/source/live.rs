//! A live source: what has arrived and is durable, cut into epochs as it comes.
//!
//! An epoch is what has come within some milliseconds. A commit ends by records, bytes or time, whichever is first. Where the
//! cuts fall changes no row: order is the order of arrival, and event time comes from the records. An epoch is in the epoch log,
//! durably, before it is given away; a start after a crash first gives those of the log that were not committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::feed::{Epochs, SourceError};
use super::files::Epoch;
use super::mqtt::Subscription;
use super::recorded::{Recorded, Records};
use super::tail::{Arrived, Ingest, Next, Tail};
use super::{commit_of, time_of};
use crate::disk::Disk;
use crate::journal::{self, EpochLog, JournalError, Silence, Start};
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
    /// Commits that earlier runs have made, and the position behind them.
    pub first_commit: u32,
    pub first_position: u64,
}

/// What a live run keeps on disk, as its start has found it.
pub struct Durable<D: Disk> {
    pub ingest: Ingest<D>,
    pub epochs: EpochLog<D>,
    /// Epochs that were not committed.
    pub uncommitted: Vec<journal::Epoch>,
    pub records: Records<D>,
    /// What this run works with.
    pub start: Start,
}

/// Cuts what a subscription brings until `stop` says so.
pub struct Live<D: Disk, S> {
    subscription: Arc<Subscription>,
    stopping: Arc<AtomicBool>,
    tail: Arc<Tail>,
    log: EpochLog<D>,
    /// What this run works with, until it is in the log.
    start: Option<Start>,
    /// The uncommitted epochs, then the journal for what is no more at hand.
    recorded: Recorded<D>,
    is_recovering: bool,
    /// Came with others and belongs to a later epoch.
    ahead: Vec<Arrived>,
    cut: LiveCut,
    stop: S,
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

impl<D: Disk, S: Fn() -> bool + Send + 'static> Live<D, S> {
    /// `fail` is called when the journal cannot go on, `tell` when the user should know something.
    pub fn new(
        subscription: Subscription,
        durable: Durable<D>,
        cut: LiveCut,
        stop: S,
        fail: impl FnOnce(JournalError) + Send + 'static,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Live<D, S> {
        let now = Instant::now();
        let (subscription, stopping) = (Arc::new(subscription), Arc::new(AtomicBool::new(false)));
        let Durable {
            ingest,
            epochs,
            uncommitted,
            records,
            start,
        } = durable;
        let (commit, epoch) = match uncommitted.last() {
            Some(last) => (commit_of(last.time), last.time as u32 + 1), // the lower half
            None => (cut.first_commit, 0),
        };
        let tail = ingest.start(Arc::clone(&subscription), Arc::clone(&stopping), fail, tell);
        Live {
            subscription,
            stopping,
            tail,
            log: epochs,
            start: Some(start),
            is_recovering: !uncommitted.is_empty(),
            recorded: Recorded::new(
                uncommitted,
                records,
                cut.first_position,
                (cut.workers, 0..cut.workers),
                cut.max_record_bytes,
            ),
            ahead: Vec::new(),
            commit,
            cut,
            stop,
            epoch,
            commit_records: 0,
            commit_bytes: 0,
            commit_began: None,
            last_arrival: now,
            last_tick: now,
            finished: false,
        }
    }

    /// Waits for messages until there is a reason to close the epoch.
    fn gather(&mut self, batch: &mut Vec<Arrived>) -> Result<Close, JournalError> {
        let most = usize::try_from(self.cut.epoch_records).unwrap_or(usize::MAX);
        let mut first: Option<Instant> = None;
        let mut bytes = 0;
        loop {
            if (self.stop)() && !self.stopping.swap(true, Ordering::SeqCst) {
                self.subscription.stop(); // what is on its way still comes, then the end
            }
            if !self.ahead.is_empty() {
                first.get_or_insert_with(Instant::now);
                let room = most - batch.len();
                let fits = self.ahead.iter().take(room).scan(bytes, |sum, arrived| {
                    let before = *sum;
                    *sum += arrived.payload.len();
                    (before < EPOCH_BYTES).then_some(*sum)
                });
                let (mut count, mut sum) = (0, bytes);
                fits.for_each(|with| (count, sum) = (count + 1, with));
                bytes = sum;
                batch.extend(self.ahead.drain(..count));
                if batch.len() >= most || bytes >= EPOCH_BYTES {
                    return Ok(Close::Records);
                }
            }
            let now = Instant::now();
            let until = first.map_or(now + LOOK, |first| first + EPOCH_TIME);
            let position = self.recorded.dealer.position + batch.len() as u64;
            match self.tail.next(position, until) {
                Next::AtHand(group) => self.ahead = group,
                Next::InJournal(end) => {
                    self.recorded.records.skip_to(position);
                    let room = (most - batch.len()) as u64;
                    self.ahead = self.recorded.records.take(room.min(end - position))?;
                }
                Next::End if first.is_some() => return Ok(Close::Records),
                Next::End => return Ok(Close::End),
                Next::Nothing if first.is_some() => return Ok(Close::Records),
                Next::Nothing => {
                    if self.interval_is_over() {
                        return Ok(Close::Interval);
                    }
                    if self.last_arrival.elapsed() >= self.cut.idle_after && self.last_tick.elapsed() >= IDLE_TICK {
                        return Ok(Close::Idle);
                    }
                }
            }
        }
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

    fn count(&mut self, epoch: &Epoch, bytes: u64) {
        self.commit_records += epoch.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        self.commit_bytes += bytes;
        self.commit_began.get_or_insert_with(Instant::now);
    }

    /// The next epoch of those that were not committed.
    fn recover(&mut self) -> Result<Option<Epoch>, JournalError> {
        let Some((epoch, bytes)) = self.recorded.next()? else {
            self.is_recovering = false;
            if self.commit_is_full() {
                self.next_commit();
            }
            return Ok(None);
        };
        // What a commit already holds counts towards its size; the earlier ones are over.
        if commit_of(epoch.time) == self.commit {
            self.count(&epoch, bytes);
        }
        Ok(Some(epoch))
    }

    fn cut(&mut self) -> Result<Epoch, JournalError> {
        let mut batch = Vec::new();
        let close = self.gather(&mut batch)?;
        if let Close::Interval = close {
            self.next_commit();
        }
        let received_some = !batch.is_empty();
        let position = self.recorded.dealer.position;
        let (mut chunks, bytes) = self.recorded.dealer.deal(batch);
        let mut silence = None;
        match close {
            Close::Records | Close::Interval => {}
            Close::Idle => {
                let at = wall_clock();
                self.last_tick = Instant::now();
                chunks[0].idle = Some(at);
                silence = Some(Silence { position, at });
            }
            Close::End => self.finished = true,
        }
        if received_some {
            self.last_arrival = Instant::now();
        }
        let time = time_of(self.commit, self.epoch);
        if let Some(start) = self.start.take() {
            self.log.begin(&start, time)?;
        }
        self.log.append(&journal::Epoch {
            time,
            ends: vec![self.recorded.dealer.position],
            silence,
        })?;
        self.epoch += 1;
        let epoch = Epoch {
            time,
            chunks,
            due: None,
        };
        let is_interval = matches!(close, Close::Interval);
        self.count(&epoch, bytes);
        if is_interval {
            self.commit_began = None; // nothing is in it yet
        }
        if self.commit_is_full() {
            self.next_commit();
        }
        Ok(epoch)
    }
}

impl<D: Disk, S: Fn() -> bool + Send + 'static> Epochs for Live<D, S> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        if self.is_recovering
            && let Some(epoch) = self.recover()?
        {
            return Ok(Some(epoch));
        }
        match self.finished {
            true => Ok(None),
            false => Ok(Some(self.cut()?)),
        }
    }

    fn records(&self) -> u64 {
        self.recorded.dealer.position - self.cut.first_position
    }
}
