//! A live source: what has arrived and is durable, cut into epochs as it comes.
//!
//! An epoch is what has come since the one before it, some milliseconds ago. A commit ends by records, bytes or time, whichever is first. Where the
//! cuts fall changes no row: order is what the epoch log says, and event time comes from the records. An epoch is in the epoch log,
//! durably, before it is given away; a start after a crash first gives those of the log that were not committed.
//!
//! Process 0 cuts, for all sessions and processes: each process tells it how far the journals of its sessions have come, and is told every epoch that
//! is in the log. Then each feeds its own records of that epoch to its own workers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use super::deal::Dealer;
use super::devices::{LiveDevices, told};
use super::feed::{Epochs, SourceError};
use super::files::Epoch;
use super::mqtt::Subscription;
use super::recorded::Records;
use super::strand::{Feeder, Strand};
use super::tail::Ingest;
use super::{commit_of, time_of};
use crate::devices::NewVersion;
use crate::disk::{Disk, Fence};
use crate::journal::{self, EpochLog, JournalError, Silence, Start};
use crate::observe::wall_clock;

/// An epoch closes after so many bytes at the latest.
const EPOCH_BYTES: u64 = 16 << 20;
/// How often a silent source is told of.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// How often the user's wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Where a live source is cut.
#[derive(Clone, Debug)]
pub struct LiveCut {
    pub epoch_records: u64,
    /// An epoch is not cut sooner than nearly this after the one before it: what several sessions bring meanwhile shares one. What comes
    /// after a pause does not wait.
    pub gather: Duration,
    pub commit_records: u64,
    pub commit_bytes: u64,
    pub commit_interval: Duration,
    pub idle_after: Duration,
    pub max_record_bytes: usize,
    /// Workers of this process.
    pub workers: usize,
    /// Commits that earlier runs have made, and the position behind them in each journal.
    pub first_commit: u32,
    pub first: Vec<u64>,
    /// The position behind the last epoch of the log, in each journal.
    pub sealed: Vec<u64>,
}

/// A session that this process owns, as its start has found it.
pub struct Owned<D: Disk> {
    pub ingest: Ingest<D>,
    pub records: Records<D>,
}

/// The epoch log, which process 0 writes.
pub struct Log<D: Disk> {
    pub epochs: EpochLog<D>,
    /// Epochs that were not committed.
    pub uncommitted: Vec<journal::Epoch>,
    /// What this run works with.
    pub start: Start,
    pub fence: Fence<D>,
    /// Where commits end.
    pub ends: CommitEnds,
    pub devices: LiveDevices<D>,
}

/// Where the commits end in each journal: the one who cuts tells it to the one who commits.
#[derive(Clone, Default)]
pub struct CommitEnds(Arc<Mutex<BTreeMap<u32, Vec<u64>>>>);

impl CommitEnds {
    /// With the last commit that earlier runs have made.
    pub fn behind(commits: u32, ends: Vec<u64>) -> CommitEnds {
        let made = commits.checked_sub(1).map(|last| (last, ends));
        CommitEnds(Arc::new(Mutex::new(made.into_iter().collect())))
    }

    /// An epoch of a commit ends there.
    pub(crate) fn reached(&self, commit: u32, ends: &[u64]) {
        let mut of_commits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        of_commits.insert(commit, ends.to_vec());
    }

    /// The position behind commit number `commit` in each journal. Forgets the commits before it.
    pub fn of(&self, commit: u32) -> Vec<u64> {
        let mut of_commits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A commit that was never made has its records in the next one that is.
        let Some((last, ends)) = of_commits.range(..=commit).next_back() else {
            return Vec::new();
        };
        let (last, ends) = (*last, ends.clone());
        of_commits.retain(|commit, _| *commit >= last);
        ends
    }
}

/// This process's sessions while they run.
pub(super) struct Receiving {
    subscriptions: Vec<Arc<Subscription>>,
    stopping: Arc<AtomicBool>,
}

impl Receiving {
    /// Starts the journals of the sessions; and what feeds their records to the workers.
    pub(super) fn start<D: Disk>(
        sessions: Vec<(Subscription, Owned<D>)>,
        arrivals: &Arc<Arrivals>,
        cut: &LiveCut,
        fail: &(impl Fn(JournalError) + Clone + Send + 'static),
        tell: &(impl Fn(&str) + Clone + Send + 'static),
    ) -> (Receiving, Feeder<D>) {
        let stopping = Arc::new(AtomicBool::new(false));
        let (mut subscriptions, mut strands) = (Vec::new(), Vec::new());
        for (subscription, Owned { ingest, records }) in sessions {
            let session = ingest.session;
            let position = |of: &[u64]| of.get(session).copied().unwrap_or_default();
            let behind = ingest.journal.next();
            // What was received and is in no epoch yet. How many bytes it is has been forgotten: a part of what it may be at most.
            let bytes = (behind - position(&cut.sealed)).saturating_mul(cut.max_record_bytes as u64 / 16);
            let subscription = Arc::new(subscription);
            subscriptions.push(Arc::clone(&subscription));
            let stopping = Arc::clone(&stopping);
            arrivals.push(session, behind, bytes);
            let tail = ingest.start(subscription, Arc::clone(arrivals), stopping, fail.clone(), tell.clone());
            strands.push(Strand::new(session, tail, records, position(&cut.first)));
        }
        let dealer = Dealer::new(cut.workers, 0..cut.workers, cut.max_record_bytes);
        let feeder = Feeder::new(strands, dealer, cut.first.clone());
        (
            Receiving {
                subscriptions,
                stopping,
            },
            feeder,
        )
    }

    /// What is on its way still comes, then the end. Once.
    pub(super) fn stop(&self) {
        if !self.stopping.swap(true, Ordering::SeqCst) {
            self.subscriptions.iter().for_each(|subscription| subscription.stop());
        }
    }
}

/// Tells the other processes, if there are any.
pub(super) trait Announce: Send + 'static {
    /// An epoch, which is in the log.
    fn epoch(&self, epoch: &journal::Epoch);

    /// Nothing more is to be received.
    fn stop(&self);

    /// No epoch comes behind those told.
    fn end(&self);
}

/// Cuts what the sessions of all processes bring until `stop` says so.
pub(super) struct Live<D: Disk, S, A> {
    receiving: Receiving,
    arrivals: Arc<Arrivals>,
    log: EpochLog<D>,
    fence: Fence<D>,
    /// What this run works with, until it is in the log.
    start: Option<Start>,
    uncommitted: VecDeque<journal::Epoch>,
    is_recovering: bool,
    feeder: Feeder<D>,
    ends: CommitEnds,
    devices: LiveDevices<D>,
    others: A,
    cut: LiveCut,
    stop: S,
    /// Behind the last epoch, in each journal.
    behind: Vec<u64>,
    commit: u32,
    epoch: u32,
    commit_records: u64,
    commit_bytes: u64,
    /// When the first of this commit's records or silences came, which may have closed windows.
    commit_began: Option<Instant>,
    /// The commit before this one is over, and no epoch has said so yet.
    is_over: bool,
    last_arrival: Instant,
    last_tick: Instant,
    stopping: bool,
    finished: bool,
    tell: Box<dyn Fn(&str) + Send>,
}

/// Why an epoch is closed.
enum Close {
    /// It holds messages.
    Records,
    /// It holds none: the commit that it would belong to shall not wait for the next record.
    Interval,
    /// It holds none: the commit before it is over, and shall not wait for the next record to say so.
    Over,
    /// It holds none: the source is silent.
    Idle,
    /// It holds none: there is a new version of the device collection.
    Devices,
    End,
}

impl<D: Disk, S: Fn() -> bool + Send + 'static, A: Announce> Live<D, S, A> {
    /// `others` are told what happens here, the user through `tell`; `arrivals` are theirs and ours.
    pub(super) fn new(
        (receiving, feeder): (Receiving, Feeder<D>),
        arrivals: Arc<Arrivals>,
        log: Log<D>,
        cut: LiveCut,
        others: A,
        stop: S,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Live<D, S, A> {
        let now = Instant::now();
        let Log {
            epochs,
            uncommitted,
            start,
            fence,
            ends,
            devices,
        } = log;
        let (commit, epoch) = match uncommitted.last() {
            Some(last) => (commit_of(last.time), last.time as u32 + 1), // the lower half
            None => (cut.first_commit, 0),
        };
        Live {
            receiving,
            arrivals,
            log: epochs,
            fence,
            start: Some(start),
            is_recovering: !uncommitted.is_empty(),
            uncommitted: uncommitted.into(),
            feeder,
            ends,
            devices,
            others,
            behind: cut.first.clone(),
            commit,
            cut,
            stop,
            epoch,
            commit_records: 0,
            commit_bytes: 0,
            commit_began: None,
            is_over: false,
            last_arrival: now,
            last_tick: now,
            stopping: false,
            finished: false,
            tell: Box::new(tell),
        }
    }

    /// Waits until there is a reason to close the epoch.
    fn wait(&mut self) -> Close {
        loop {
            let waiting = self.arrivals.look();
            if !self.stopping && ((self.stop)() || waiting.stop_wanted) {
                self.stopping = true;
                self.receiving.stop();
                self.others.stop();
            }
            let now = Instant::now();
            if waiting.records > 0 {
                let until = self.last_arrival + self.cut.gather * 3 / 4; // groups of one session are further apart
                let is_full = waiting.records >= self.cut.epoch_records || waiting.bytes >= EPOCH_BYTES;
                if is_full || waiting.ended || now >= until {
                    return Close::Records;
                }
                self.arrivals.wait(&waiting, until);
                continue;
            }
            if waiting.ended {
                return Close::End;
            }
            if self.devices.offer.is_waiting() {
                return Close::Devices;
            }
            if self.is_over {
                return Close::Over;
            }
            if self.interval_is_over() {
                return Close::Interval;
            }
            if self.last_arrival.elapsed() >= self.cut.idle_after && self.last_tick.elapsed() >= IDLE_TICK {
                return Close::Idle;
            }
            self.arrivals.wait(&waiting, now + LOOK);
        }
    }

    fn next_commit(&mut self) {
        (self.commit, self.epoch) = (self.commit + 1, 0);
        (self.commit_records, self.commit_bytes) = (0, 0);
        self.commit_began = None;
        self.is_over = true;
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

    /// Gives an epoch that is in the log to everybody, with what it brings of the device collection if that is `offered`.
    fn give(&mut self, epoch: &journal::Epoch, offered: Option<NewVersion>) -> Result<Epoch, SourceError> {
        self.others.epoch(epoch);
        self.ends.reached(commit_of(epoch.time), &epoch.ends);
        let records = epoch.ends.iter().sum::<u64>() - self.behind.iter().sum::<u64>();
        // What a commit already holds counts towards its size; the earlier ones are over.
        if commit_of(epoch.time) == self.commit {
            self.commit_records += records;
            self.commit_began.get_or_insert_with(Instant::now);
        }
        self.behind.clone_from(&epoch.ends);
        let changes = self.devices.enter(epoch, offered)?;
        let mut fed = self.feeder.feed(epoch)?;
        if let (Some(changes), Some(first)) = (changes, fed.chunks.first_mut()) {
            if !self.is_recovering {
                (self.tell)(&told(&changes, epoch.time));
            }
            first.devices = changes.devices;
        }
        Ok(fed)
    }

    fn cut(&mut self) -> Result<Epoch, SourceError> {
        let close = self.wait();
        if let Close::Interval = close {
            self.next_commit();
        }
        let mut silence = None;
        let (mut ends, mut bytes) = (self.behind.clone(), 0);
        match close {
            Close::Records => {
                (ends, bytes) = self.arrivals.take(self.cut.epoch_records, EPOCH_BYTES);
                self.last_arrival = Instant::now();
            }
            Close::Interval | Close::Over | Close::Devices => {}
            Close::Idle => {
                self.last_tick = Instant::now();
                silence = Some(Silence {
                    position: self.behind.iter().sum(),
                    at: wall_clock(),
                });
            }
            Close::End => self.finished = true,
        }
        let time = time_of(self.commit, self.epoch);
        self.fence.check().map_err(JournalError::from)?;
        if let Some(start) = self.start.take() {
            self.log.begin(&start, time)?;
        }
        let (devices, offered) = self.devices.cut();
        let epoch = journal::Epoch {
            time,
            ends,
            silence,
            devices,
        };
        self.log.append(&epoch)?;
        self.epoch += 1;
        self.is_over = false;
        let fed = self.give(&epoch, offered)?;
        self.commit_bytes += bytes;
        if let Close::Interval | Close::Over = close {
            self.commit_began = None; // nothing is in it yet
        }
        if self.commit_is_full() {
            self.next_commit();
        }
        if self.finished {
            self.others.end();
        }
        Ok(fed)
    }
}

impl<D: Disk, S: Fn() -> bool + Send + 'static, A: Announce> Epochs for Live<D, S, A> {
    fn next_epoch(&mut self) -> Result<Option<Epoch>, SourceError> {
        if self.is_recovering {
            match self.uncommitted.pop_front() {
                Some(epoch) => return Ok(Some(self.give(&epoch, None)?)),
                None => {
                    self.is_recovering = false;
                    if self.commit_is_full() {
                        self.next_commit();
                    }
                }
            }
        }
        match self.finished {
            true => Ok(None),
            false => Ok(Some(self.cut()?)),
        }
    }

    fn records(&self) -> u64 {
        self.feeder.records()
    }
}
