//! The way of a session's records from the broker to the dataflow: through the session's journal.
//!
//! In: messages of a subscription. Out: the same, durable, to the one who feeds epochs, and word of them to the one who cuts epochs. A thread of its own appends what has come to the
//! journal, as much at once as came while the disk was busy, and acknowledges it to the broker when it is durable, in order. What the
//! dataflow does not take soon enough is dropped from memory and read back from the journal later, so that a dataflow
//! that lags never holds the broker back; a journal that has used up its budget does.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::RecvTimeoutError;

use super::arrivals::Arrivals;
use super::mqtt::{Message, Subscription};
use super::release::Release;
use crate::disk::{Disk, Fence, crash_point};
use crate::journal::{Journal, JournalError, Separator};
use crate::observe::wall_clock;
use crate::record::EventTime;
use crate::threads;

/// What waits for the dataflow in memory at most, in bytes.
const AT_HAND: usize = 64 << 20;
/// Appended to the journal at once at most, in records and bytes.
const GROUP: (usize, usize) = (16_384, 8 << 20);
/// Where nothing more has come for so long it does not wait either: a broker may be waiting for acknowledgements.
const QUIET: Duration = Duration::from_millis(4);
/// Nor, with so many, after a shorter silence: a broker that sends no more of them at once is waiting indeed.
const WINDOW: usize = 64;
const SILENCE: Duration = Duration::from_millis(2);
/// How long before the next group what has come by then begins to be read, where it comes steadily: time enough for a broker that
/// waited for TCP's acknowledgement to send the rest.
const READING: Duration = Duration::from_millis(2);
/// What came so late before its group comes steadily: a broker that waits for acknowledgements has sent all it may before.
const STEADY: Duration = Duration::from_micros(1_250);
/// Larger groups take the reader's whole time: it reads while they are made durable.
const CALM: usize = 128;
/// How soon it is looked whether more has come; later and later while more keeps coming.
const MOMENT: Duration = Duration::from_millis(1);
/// Into about so many parts what is kept of the journal falls: it is forgotten part by part.
pub const ANCHORS: u64 = 8;
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

/// What has come and is durable of one session, shared by the journal's thread and the one who feeds epochs.
pub(super) struct Tail {
    state: Mutex<State>,
}

struct State {
    /// The position behind the last durable record.
    end: u64,
    /// In order; each with the position of its first record. What is missing in between is in the journal.
    groups: VecDeque<(u64, Vec<Arrived>)>,
    bytes: usize,
}

/// What there is behind a position.
pub(super) enum Next {
    /// These records.
    AtHand(Vec<Arrived>),
    /// Records in the journal, up to this position at least.
    InJournal(u64),
    Nothing,
}

impl Tail {
    pub(super) fn new(end: u64) -> Arc<Tail> {
        Arc::new(Tail {
            state: Mutex::new(State {
                end,
                groups: VecDeque::new(),
                bytes: 0,
            }),
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
    }

    /// What there is from `position` on.
    pub(super) fn next(&self, position: u64) -> Next {
        let mut state = self.state();
        while state.groups.front().is_some_and(|(first, _)| *first < position) {
            let dropped = state.groups.pop_front(); // it has been read from the journal
            state.bytes -= dropped.map_or(0, |(_, group)| weight(&group));
        }
        match state.groups.front() {
            Some((first, _)) if *first > position => Next::InJournal(*first),
            None if position < state.end => Next::InJournal(state.end),
            _ => match state.groups.pop_front() {
                Some((_, group)) => {
                    state.bytes -= weight(&group);
                    Next::AtHand(group)
                }
                None => Next::Nothing,
            },
        }
    }
}

fn weight(group: &[Arrived]) -> usize {
    group.iter().map(|arrived| arrived.payload.len() + 64).sum()
}

/// What the journal's thread works with.
pub struct Ingest<D: Disk> {
    /// The session's number.
    pub session: usize,
    pub fence: Fence<D>,
    /// Keeps the journal to this process.
    pub lock: File,
    pub journal: Journal<D>,
    pub separator: Separator,
    pub release: Release,
    /// Bytes that the journal may take on disk.
    pub budget: u64,
    /// Bytes of committed records that it keeps.
    pub retained: u64,
    /// And for how long.
    pub retained_for: Duration,
    /// A group is not begun sooner than this after the one before it, while more keeps coming. What comes after a pause does not wait;
    /// what comes steadily shares an fsync, an epoch and a wake-up of each thread with its neighbours.
    pub gather: Duration,
}

impl<D: Disk> Ingest<D> {
    /// Starts the thread. `fail` is called when the journal cannot go on, `tell` when the user should know something.
    pub(super) fn start(
        mut self,
        subscription: Arc<Subscription>,
        arrivals: Arc<Arrivals>,
        stopping: Arc<AtomicBool>,
        fail: impl FnOnce(JournalError) + Send + 'static,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Arc<Tail> {
        let tail = Tail::new(self.journal.next());
        let (ours, session) = (Arc::clone(&tail), self.session);
        threads::start("journal", move || {
            match self.run(&subscription, &tail, &arrivals, &stopping, tell) {
                Ok(()) => arrivals.end(session),
                Err(error) => fail(error),
            }
        });
        ours
    }

    fn run(
        &mut self,
        subscription: &Subscription,
        tail: &Tail,
        arrivals: &Arrivals,
        stopping: &AtomicBool,
        tell: impl Fn(&str),
    ) -> Result<(), JournalError> {
        let acknowledger = subscription.acknowledger();
        let mut told = false;
        let mut may_begin = Instant::now();
        // Records came up to the end of the last group: the next one need not be watched to see whether they still do.
        let mut flows = false;
        // Until shortly before this group nothing was read.
        let mut rested = false;
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
            if flows {
                // Before the first of the group is looked for: it would only wake this thread up to sleep on.
                thread::sleep(may_begin.saturating_duration_since(Instant::now()));
            }
            let first = match subscription.messages().recv_timeout(LOOK) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    subscription.leave();
                    return Ok(());
                }
            };
            let fell_silent = !flows && fell_silent(subscription, may_begin);
            let group = gather(first, subscription);
            may_begin = Instant::now() + self.gather;
            let quiet = if rested { STEADY } else { QUIET };
            let came_lately = |message: &Message| wall_clock() - message.received < quiet.as_micros() as i64;
            flows = !fell_silent && group.last().is_some_and(came_lately);
            let last = group.last().map(|message| message.number);
            rested = flows && group.len() <= CALM && self.gather > 2 * READING;
            if let Some(last) = last.filter(|_| rested) {
                subscription.rest_until(may_begin - READING, last);
            }
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
            self.fence.check()?;
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
            let arrived: Vec<Arrived> = arrived.collect();
            let bytes = arrived.iter().map(|arrived| arrived.length).sum();
            tail.push(position, arrived);
            arrivals.push(self.session, self.journal.next(), bytes);
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

/// Waits until `until`, or not so long if nothing more comes; whether that was why.
fn fell_silent(subscription: &Subscription, until: Instant) -> bool {
    let (mut waiting, mut quiet) = (subscription.messages().len(), Duration::ZERO);
    let mut look = MOMENT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || waiting >= GROUP.0 {
            return false;
        }
        let pause = left.min(look);
        thread::sleep(pause);
        let before = std::mem::replace(&mut waiting, subscription.messages().len());
        (quiet, look) = match waiting == before {
            true => (quiet + pause, MOMENT),
            false => (Duration::ZERO, (2 * look).min(QUIET)),
        };
        if quiet >= QUIET || quiet >= SILENCE && waiting >= WINDOW {
            return true;
        }
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
        assert!(matches!(tail.next(10), Next::Nothing));
        assert!(matches!(tail.next(8), Next::InJournal(10)));
        tail.push(10, group(2));
        tail.push(12, group(3)); // beyond the limit from here on
        tail.push(15, group(1));
        assert!(matches!(tail.next(10), Next::AtHand(group) if group.len() == 2));
        assert!(matches!(tail.next(12), Next::AtHand(group) if group.len() == 3));
        assert!(matches!(tail.next(15), Next::InJournal(16)));
        tail.push(16, group(1));
        assert!(matches!(tail.next(15), Next::InJournal(16)));
        assert!(matches!(tail.next(16), Next::AtHand(_)));
        assert!(matches!(tail.next(17), Next::Nothing));
    }
}
