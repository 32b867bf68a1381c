//! The way from the broker to the dataflow: through the journal.
//!
//! In: messages of a subscription. Out: the same, durable, to the one who cuts epochs. A thread of its own appends what has come to the
//! journal, as much at once as came while the disk was busy, and acknowledges it to the broker when it is durable, in order. What the
//! dataflow does not take soon enough is dropped from memory and read back from the journal later, so that a dataflow
//! that lags never holds the broker back; a journal that has used up its budget does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::RecvTimeoutError;

use super::mqtt::{Message, Subscription};
use crate::disk::{Disk, crash_point};
use crate::journal::{Journal, JournalError, Separator};
use crate::observe::wall_clock;
use crate::record::EventTime;

/// What waits for the dataflow in memory at most, in bytes.
const AT_HAND: usize = 64 << 20;
/// Appended to the journal at once at most, in records and bytes.
const GROUP: (usize, usize) = (16_384, 8 << 20);
/// A group is not begun sooner than this after the one before it. What comes after a pause does not wait; what comes
/// steadily shares an fsync, the broker's next look and a wake-up of each thread with its neighbours.
const GROUP_INTERVAL: Duration = Duration::from_millis(3);
/// Into about so many parts the journal is kept: it is forgotten part by part.
const ANCHORS: u64 = 8;
/// How often a journal that is full looks whether it may forget something.
const LOOK: Duration = Duration::from_millis(100);

/// A message as the dataflow gets it.
pub(super) struct Arrived {
    pub(super) received: EventTime,
    pub(super) topic: Arc<str>,
    /// Of one that is far too long, its beginning.
    pub(super) payload: Bytes,
    /// Whole length of the payload.
    pub(super) length: u64,
}

/// What has come and is durable, shared by the journal's thread and the one who cuts epochs.
pub(super) struct Tail {
    state: Mutex<State>,
    arrival: Condvar,
}

struct State {
    /// The position behind the last durable record.
    end: u64,
    /// In order; each with the position of its first record. What is missing in between is in the journal.
    groups: VecDeque<(u64, Vec<Arrived>)>,
    bytes: usize,
    /// Nothing will come any more.
    ended: bool,
}

/// What there is behind a position.
pub(super) enum Next {
    /// These records.
    AtHand(Vec<Arrived>),
    /// Records in the journal, up to this position at least.
    InJournal(u64),
    /// Nothing within the time given.
    Nothing,
    End,
}

impl Tail {
    pub(super) fn new(end: u64) -> Arc<Tail> {
        Arc::new(Tail {
            state: Mutex::new(State {
                end,
                groups: VecDeque::new(),
                bytes: 0,
                ended: false,
            }),
            arrival: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, first: u64, group: Vec<Arrived>) {
        let mut state = self.state();
        state.end = first + group.len() as u64;
        if state.bytes < AT_HAND {
            state.bytes += weight(&group);
            state.groups.push_back((first, group));
        }
        self.arrival.notify_one();
    }

    fn end(&self) {
        self.state().ended = true;
        self.arrival.notify_one();
    }

    /// What there is from `position` on; waits for it at most until `until`.
    pub(super) fn next(&self, position: u64, until: Instant) -> Next {
        let mut state = self.state();
        loop {
            while state.groups.front().is_some_and(|(first, _)| *first < position) {
                let dropped = state.groups.pop_front(); // it has been read from the journal
                state.bytes -= dropped.map_or(0, |(_, group)| weight(&group));
            }
            match state.groups.front() {
                Some((first, _)) if *first == position => {
                    let Some((_, group)) = state.groups.pop_front() else {
                        continue;
                    };
                    state.bytes -= weight(&group);
                    return Next::AtHand(group);
                }
                Some((first, _)) => return Next::InJournal(*first),
                None if position < state.end => return Next::InJournal(state.end),
                None if state.ended => return Next::End,
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            state = match self.arrival.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

fn weight(group: &[Arrived]) -> usize {
    group.iter().map(|arrived| arrived.payload.len() + 64).sum()
}

/// What the journal's thread and the one who commits tell each other.
#[derive(Clone, Default)]
pub struct Release(Arc<Mutex<Agreement>>);

#[derive(Default)]
struct Agreement {
    /// Nothing before this position is needed to go on after a crash.
    committed: u64,
    /// Positions of the anchors there are and of those that are being made, in order.
    anchors: Vec<u64>,
    /// Whether the next commit shall be one.
    anchor_wanted: bool,
    /// The journal has been forgotten up to about here.
    kept_from: u64,
}

/// What the journal wishes of a commit.
pub struct Wish {
    /// That the state behind it is kept.
    pub anchor: bool,
    /// No earlier anchor than at this position is needed any more.
    pub kept_from: u64,
}

impl Release {
    fn agreement(&self) -> MutexGuard<'_, Agreement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an earlier run has committed, and the anchors that it has left.
    pub fn begin(&self, committed: u64, anchors: Vec<u64>) {
        let mut agreement = self.agreement();
        agreement.committed = committed;
        agreement.anchors = anchors;
    }

    /// A commit up to `position` is being made.
    pub fn committing(&self, position: u64) -> Wish {
        let mut agreement = self.agreement();
        let anchor = std::mem::take(&mut agreement.anchor_wanted);
        if anchor {
            agreement.anchors.push(position);
        }
        Wish {
            anchor,
            kept_from: agreement.kept_from,
        }
    }

    /// The commit up to `position` has been made.
    pub fn committed(&self, position: u64) {
        self.agreement().committed = position;
    }

    fn has_uncommitted(&self, next: u64) -> bool {
        self.agreement().committed < next
    }

    fn want_anchor(&self) {
        self.agreement().anchor_wanted = true;
    }

    /// The last position up to `position` that the journal may be forgotten to: a replay of the rest must find a state to begin with.
    fn forgettable(&self, position: u64) -> Option<u64> {
        let agreement = self.agreement();
        let most = position.min(agreement.committed);
        agreement.anchors.iter().copied().filter(|anchor| *anchor <= most).max()
    }

    /// The journal now begins with a later record.
    fn forgotten(&self, begins: u64) {
        let mut agreement = self.agreement();
        agreement.kept_from = begins;
        agreement.anchors.retain(|anchor| *anchor >= begins);
    }
}

/// What the journal's thread works with.
pub struct Ingest<D: Disk> {
    pub journal: Journal<D>,
    pub separator: Separator,
    pub release: Release,
    /// Bytes that the journal may take on disk.
    pub budget: u64,
    /// Bytes of committed records that it keeps.
    pub retained: u64,
    /// And for how long.
    pub retained_for: Duration,
}

impl<D: Disk> Ingest<D> {
    /// Starts the thread. `fail` is called when the journal cannot go on, `tell` when the user should know something.
    pub(super) fn start(
        mut self,
        subscription: Arc<Subscription>,
        stopping: Arc<AtomicBool>,
        fail: impl FnOnce(JournalError) + Send + 'static,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Arc<Tail> {
        let tail = Tail::new(self.journal.next());
        let ours = Arc::clone(&tail);
        thread::spawn(move || match self.run(&subscription, &tail, &stopping, tell) {
            Ok(()) => tail.end(),
            Err(error) => fail(error),
        });
        ours
    }

    fn run(
        &mut self,
        subscription: &Subscription,
        tail: &Tail,
        stopping: &AtomicBool,
        tell: impl Fn(&str),
    ) -> Result<(), JournalError> {
        let acknowledger = subscription.acknowledger();
        let mut told = false;
        let mut may_begin = Instant::now();
        let mut since_anchor = self.journal.bytes();
        loop {
            while self.is_full()? && !stopping.load(Ordering::SeqCst) {
                if !std::mem::replace(&mut told, true) {
                    tell(
                        "the journal has used up its budget (journal.budget) and waits for a commit; the broker is held back until then",
                    );
                }
                thread::sleep(LOOK);
            }
            told &= self.is_full()?;
            let first = match subscription.messages().recv_timeout(LOOK) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    subscription.leave();
                    return Ok(());
                }
            };
            thread::sleep(may_begin.saturating_duration_since(Instant::now()));
            let group = gather(first, subscription);
            may_begin = Instant::now() + GROUP_INTERVAL;
            let last = group.last().map(|message| message.number);
            let mut entries = Vec::with_capacity(group.len());
            for message in &group {
                entries.push(self.separator.separate(
                    message.received,
                    &message.topic,
                    &message.payload,
                    message.length,
                )?);
            }
            self.separator.keep_keys()?;
            let before = self.journal.bytes();
            let position = self.journal.append(&entries)?;
            if let Some(last) = last {
                acknowledger.acknowledge(last);
            }
            crash_point("journal.acknowledged");
            let arrived = group.into_iter().map(|message| Arrived {
                received: message.received,
                topic: message.topic,
                payload: message.payload,
                length: message.length,
            });
            tail.push(position, arrived.collect());
            since_anchor += self.journal.bytes().saturating_sub(before);
            if since_anchor >= self.retained.min(self.budget) / ANCHORS {
                since_anchor = 0;
                self.release.want_anchor();
            }
        }
    }

    /// Forgets what is neither needed nor to be kept; whether the rest has used up the budget.
    fn is_full(&mut self) -> Result<bool, JournalError> {
        let until = wall_clock().saturating_sub(i64::try_from(self.retained_for.as_micros()).unwrap_or(i64::MAX));
        let surplus = self.journal.surplus(self.retained.min(self.budget), until);
        if let Some(position) = self.release.forgettable(surplus)
            && self.journal.remove_before(position)? > 0
        {
            self.release.forgotten(self.journal.begins());
        }
        // Where everything is committed already there is nothing to wait for.
        Ok(self.journal.bytes() > self.budget && self.release.has_uncommitted(self.journal.next()))
    }
}

/// The message and what has come besides.
fn gather(first: Message, subscription: &Subscription) -> Vec<Message> {
    let (most, most_bytes) = GROUP;
    let mut bytes = first.payload.len();
    let mut group = vec![first];
    while group.len() < most && bytes < most_bytes {
        let Ok(message) = subscription.messages().try_recv() else {
            break;
        };
        bytes += message.payload.len();
        group.push(message);
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(records: usize) -> Vec<Arrived> {
        let arrived = || Arrived {
            received: 0,
            topic: "t".into(),
            payload: vec![0; AT_HAND / 4].into(),
            length: 1,
        };
        (0..records).map(|_| arrived()).collect()
    }

    #[test]
    fn what_is_too_much_for_memory_is_found_in_the_journal_and_the_rest_behind_it() {
        let tail = Tail::new(10);
        let now = Instant::now();
        assert!(matches!(tail.next(10, now), Next::Nothing));
        tail.push(10, group(2));
        tail.push(12, group(3)); // beyond the limit from here on
        tail.push(15, group(1));
        assert!(matches!(tail.next(10, now), Next::AtHand(group) if group.len() == 2));
        assert!(matches!(tail.next(12, now), Next::AtHand(group) if group.len() == 3));
        assert!(matches!(tail.next(15, now), Next::InJournal(16)));
        tail.push(16, group(1));
        assert!(matches!(tail.next(15, now), Next::InJournal(16)));
        assert!(matches!(tail.next(16, now), Next::AtHand(_)));
        tail.end();
        assert!(matches!(tail.next(17, now), Next::End));
    }
}
