//! What has become durable in the journals and is in no epoch yet, whichever process has it.
//!
//! In: from each journal, that it has grown. Out: to the one who cuts epochs, how much waits; and where an epoch ends in every journal. The records themselves stay with the
//! process that received them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Neighbouring groups are remembered as one up to this size, in records and bytes.
const GROUP: (u64, u64) = (1_024, 1 << 20);

/// Shared by those who receive and the one who cuts.
pub(super) struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    sessions: Vec<Waiting>,
    /// Somebody wants the run to end.
    stop_wanted: bool,
    /// Counts changes.
    changes: u64,
}

/// Of one session.
struct Waiting {
    /// Groups of records that became durable together, or almost so.
    groups: VecDeque<Group>,
    /// Behind the last record that is in an epoch.
    cut: u64,
    /// Behind the last durable one.
    end: u64,
    ended: bool,
    /// Whether that has been told on.
    told: bool,
}

struct Group {
    end: u64,
    bytes: u64,
}

/// How much waits, of all sessions.
pub(super) struct Look {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Nothing more will come, of any session.
    pub(super) ended: bool,
    pub(super) stop_wanted: bool,
    changes: u64,
}

impl Arrivals {
    /// Of sessions whose records before these positions are in epochs.
    pub(super) fn behind(cut: &[u64]) -> Arrivals {
        let sessions = cut.iter().map(|cut| Waiting {
            groups: VecDeque::new(),
            cut: *cut,
            end: *cut,
            ended: false,
            told: false,
        });
        Arrivals {
            state: Mutex::new(State {
                sessions: sessions.collect(),
                stop_wanted: false,
                changes: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.changes += 1;
        self.changed.notify_all();
    }

    /// A session's journal is durable up to `end`, by records of so many bytes.
    pub(super) fn push(&self, session: usize, end: u64, bytes: u64) {
        self.change(|state| {
            if let Some(waiting) = state.sessions.get_mut(session) {
                waiting.push(end, bytes);
            }
        });
    }

    /// Nothing more will come of a session.
    pub(super) fn end(&self, session: usize) {
        self.change(|state| {
            if let Some(waiting) = state.sessions.get_mut(session) {
                waiting.ended = true;
            }
        });
    }

    /// The run shall end.
    pub(super) fn want_stop(&self) {
        self.change(|state| state.stop_wanted = true);
    }

    pub(super) fn look(&self) -> Look {
        let state = self.state();
        let all = || state.sessions.iter();
        Look {
            records: all().map(|waiting| waiting.end - waiting.cut).sum(),
            bytes: all().flat_map(|waiting| &waiting.groups).map(|group| group.bytes).sum(),
            ended: all().all(|waiting| waiting.ended),
            stop_wanted: state.stop_wanted,
            changes: state.changes,
        }
    }

    /// Waits until something has changed since `seen`, at most until `until`.
    pub(super) fn wait(&self, seen: &Look, until: Instant) {
        let mut state = self.state();
        while state.changes == seen.changes {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Takes an epoch of at most about so many records and bytes, each session getting its share where not all fit: the position behind it
    /// in each journal, and its bytes.
    pub(super) fn take(&self, records: u64, bytes: u64) -> (Vec<u64>, u64) {
        let mut state = self.state();
        let sessions = state.sessions.len() as u64;
        let waiting: u64 = state.sessions.iter().map(|waiting| waiting.end - waiting.cut).sum();
        let share = match waiting <= records {
            true => records,
            false => records.div_ceil(sessions),
        };
        let mut taken = 0;
        let ends = state.sessions.iter_mut().map(|waiting| {
            taken += waiting.take(share, bytes.div_ceil(sessions));
            waiting.cut
        });
        (ends.collect(), taken)
    }

    /// The sessions' changes since the last time, for a process that cuts nothing itself: session, position, bytes, whether it has ended.
    pub(super) fn drain(&self) -> Vec<(usize, u64, u64, bool)> {
        let mut state = self.state();
        let changed = state.sessions.iter_mut().enumerate();
        changed
            .filter(|(_, waiting)| waiting.end > waiting.cut || waiting.ended && !waiting.told)
            .map(|(session, waiting)| {
                let bytes = waiting.groups.drain(..).map(|group| group.bytes).sum();
                waiting.cut = waiting.end;
                waiting.told = waiting.ended;
                (session, waiting.end, bytes, waiting.ended)
            })
            .collect()
    }
}

impl Waiting {
    fn push(&mut self, end: u64, bytes: u64) {
        if end <= self.end {
            return;
        }
        let before = self.groups.iter().rev().nth(1).map_or(self.cut, |group| group.end);
        match self.groups.back_mut() {
            Some(last) if end - before <= GROUP.0 && last.bytes + bytes <= GROUP.1 => {
                last.end = end;
                last.bytes += bytes;
            }
            _ => self.groups.push_back(Group { end, bytes }),
        }
        self.end = end;
    }

    /// At most so many records; of bytes at most one group more. How many bytes it were.
    fn take(&mut self, records: u64, bytes: u64) -> u64 {
        let until = self.cut.saturating_add(records);
        let mut taken = 0;
        while let Some(group) = self.groups.front_mut().filter(|_| self.cut < until && taken < bytes) {
            let length = group.end - self.cut;
            let part = length.min(until - self.cut);
            // Of a part of a group its part of the bytes.
            let of_part = (u128::from(group.bytes) * u128::from(part) / u128::from(length)) as u64;
            taken += of_part;
            self.cut += part;
            group.bytes -= of_part;
            if part == length {
                self.groups.pop_front();
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However it grows and is cut, epochs follow each other in every journal without a gap and take all there is, each within its bounds.
        #[test]
        fn epochs_take_everything_once_and_in_order(
            steps in proptest::collection::vec((0usize..3, 0u64..40, 0u64..4_000, any::<bool>()), 1..80), most in 1u64..60,
        ) {
            let arrivals = Arrivals::behind(&[5, 0, 7]);
            let (mut ends, mut bytes) = ([5u64, 0, 7], 0);
            let (mut cut, mut taken) = (vec![5u64, 0, 7], 0);
            let mut epoch = |cut: &mut Vec<u64>| {
                let (next, of_epoch) = arrivals.take(most, u64::MAX);
                assert!(cut.iter().zip(&next).all(|(before, now)| before <= now));
                let records: u64 = next.iter().sum::<u64>() - cut.iter().sum::<u64>();
                assert!(records <= most + 3, "each share is rounded up");
                *cut = next;
                taken += of_epoch;
                records
            };
            for (session, records, size, cuts) in steps {
                ends[session] += records;
                if records > 0 {
                    bytes += size;
                }
                arrivals.push(session, ends[session], size);
                if cuts {
                    epoch(&mut cut);
                }
            }
            while epoch(&mut cut) > 0 {}
            prop_assert_eq!(cut, ends);
            prop_assert_eq!(taken, bytes);
            prop_assert_eq!(arrivals.look().records, 0);
        }
    }

    #[test]
    fn a_session_that_is_flooded_does_not_starve_the_others() {
        let arrivals = Arrivals::behind(&[0, 0]);
        arrivals.push(0, 1_000_000, 1);
        arrivals.push(1, 10, 1);
        let (ends, _) = arrivals.take(100, u64::MAX);
        assert_eq!(ends, [50, 10]);
    }

    #[test]
    fn a_run_has_ended_when_every_session_has() {
        let arrivals = Arrivals::behind(&[0, 0]);
        arrivals.end(1);
        assert!(!arrivals.look().ended);
        arrivals.end(0);
        assert!(arrivals.look().ended);
    }
}
