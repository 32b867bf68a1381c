//! What stateful operators need to hand over their state at the end of each commit, and to take it up at a start.

use std::sync::Arc;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::progress::frontier::MutableAntichain;

use crate::cluster::halt;
use crate::snapshot::{Checkpoints, Collected, Entry, SnapshotError};
use crate::source::{Time, commit_of, end_of_commit};

/// Who an entry of the state belongs to. The numbers are on disk: they never change, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StateOf {
    Deduplicate = 1,
    Watermark = 2,
    WatermarkPerDevice = 3,
    Score = 4,
    Tumbling = 5,
    ScoreWindows = 6,
    ListUnknown = 7,
    Alert = 8,
    DeduplicateClocks = 9,
}

/// Entries that are handed over at once ahead of a commit's end: half a millisecond's work, for which records may wait. Several times as
/// many as an epoch changes at the rates at which waiting matters, so that what the whole commit has changed is gone before its end.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 256 };

/// Ahead of a commit's end a tree goes instead of so many other entries. It is the work of eight; but most trees change several times a
/// second, and what changes again goes again.
pub(super) const TREE: usize = 32;

/// Keeps a commit from looking complete further on before this operator has handed over what has changed with it.
///
/// It holds the capability for the commit's last time on the operator's first output. Rows of the commit pass freely, but the
/// frontier further on cannot leave the commit, and so the commit is not made. Frontiers may jump over epochs and over the
/// ends of commits: whoever takes epochs that have waited calls [`before`](Barrier::before) each of them, and
/// [`passed`](Barrier::passed) behind the last. Without checkpoints it holds nothing and does nothing.
pub(super) struct Barrier(Option<Held>);

struct Held {
    capability: Capability<Time>,
    commit: u32,
    collected: Arc<Collected>,
}

impl Barrier {
    /// `capability` is the operator's own for its first output.
    pub(super) fn new(checkpoints: Option<&Checkpoints>, capability: Capability<Time>) -> Barrier {
        Barrier(checkpoints.map(|checkpoints| Held {
            capability: capability.delayed(&end_of_commit(checkpoints.first_commit)),
            commit: checkpoints.first_commit,
            collected: Arc::clone(&checkpoints.collected),
        }))
    }

    /// Before an epoch is taken: if it is of a later commit, what has changed up to now belongs to the commit before.
    pub(super) fn before(&mut self, time: Time, snapshot: impl FnOnce() -> Vec<Entry>) {
        if let Some(held) = &mut self.0
            && commit_of(time) > held.commit
        {
            held.collected.put(held.commit, snapshot());
            held.commit = commit_of(time);
            held.capability.downgrade(&end_of_commit(held.commit));
        }
    }

    /// When all complete epochs are taken, after [`passed`](Barrier::passed): if the commit ends soon, some of what has changed goes
    /// ahead, at most about as many entries as `some` is told. Else a worker that has much to hand over would hold all records up
    /// that come behind the end.
    pub(super) fn ahead(&self, some: impl FnOnce(usize) -> Vec<Entry>) {
        if let Some(held) = self.0.as_ref().filter(|held| held.collected.is_ending()) {
            held.collected.put(held.commit, some(AT_ONCE));
        }
    }

    /// When all complete epochs are taken: `earliest` is the earliest one that may still come, `None` behind the last of all.
    pub(super) fn passed(&mut self, earliest: Option<Time>, snapshot: impl FnOnce() -> Vec<Entry>) {
        match (earliest, &self.0) {
            (Some(time), _) => self.before(time, snapshot),
            (None, Some(held)) => {
                held.collected.put(held.commit, snapshot());
                self.0 = None; // lets the capability go
            }
            (None, None) => {}
        }
    }

    /// Whether points of this epoch may be taken, although more of it may come: a key's come in order, all of them from its owner,
    /// and another key's are nothing to it. But where state is handed over, as of a commit's end, no points of an earlier commit may
    /// be behind.
    pub(super) fn may_take(&self, time: Time, frontier: &MutableAntichain<Time>) -> bool {
        let before = commit_of(time).checked_sub(1).map(end_of_commit);
        self.0.is_none() || before.is_none_or(|before| !frontier.less_equal(&before))
    }
}

/// The earliest time that may still come on any of an operator's inputs.
pub(super) fn earliest<const N: usize>(frontiers: [&MutableAntichain<Time>; N]) -> Option<Time> {
    frontiers
        .into_iter()
        .filter_map(|frontier| frontier.frontier().first().copied())
        .min()
}

/// Which keys are this worker's: as timely deals rows out.
#[derive(Clone, Copy)]
pub(super) struct Share {
    worker: u64,
    workers: u64,
}

impl Share {
    pub(super) fn of(scope: &Scope<'_, Time>) -> Share {
        Share {
            worker: scope.index() as u64,
            workers: scope.peers() as u64,
        }
    }

    /// Whether rows with this route come here.
    pub(super) fn has(self, route: u64) -> bool {
        route % self.workers == self.worker
    }
}

/// Takes up the state of an operator: `each` is given every key and value. A state that cannot be read ends the program.
pub(super) fn restore(
    checkpoints: Option<&Checkpoints>,
    of: StateOf,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), SnapshotError>,
) {
    let Some(Checkpoints { restored, .. }) = checkpoints else {
        return;
    };
    // Others draw on these, too, and they are small: they are left where they are.
    let entries = match of {
        StateOf::Watermark | StateOf::WatermarkPerDevice | StateOf::ListUnknown => restored.look(of as u8),
        _ => restored.take(of as u8),
    };
    for (key, value) in entries.iter() {
        each(key, value).unwrap_or_else(|e| halt(e));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::channels::pact::{Exchange, Pipeline};
    use timely::dataflow::operators::Operator;

    use super::super::Rows;
    use super::super::replay::{Plan, replay};
    use super::super::stash::Stash;
    use super::*;

    /// Counts the rows of this worker, and hands the count over at the end of each commit.
    fn count<'scope>(rows: Rows<'scope, u64>, checkpoints: &Checkpoints, number: u8) -> Rows<'scope, u64> {
        let worker = rows.scope().index() as u8;
        let checkpoints = checkpoints.clone();
        let mut stash = Stash::<u64>::default();
        let by_row = Exchange::new(move |row: &u64| row / u64::from(number));
        rows.unary_frontier::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(by_row, "Count", |capability, _| {
            let mut barrier = Barrier::new(Some(&checkpoints), capability);
            let mut counted = 0u64;
            move |(input, frontier), output| {
                let snapshot = |counted: u64| vec![Entry::put(number, vec![worker], counted.to_le_bytes().into())];
                stash.fill(input);
                while let Some(([capability], rows)) = stash.complete(frontier) {
                    let mut rows = rows.into_rows();
                    barrier.before(*capability.time(), || snapshot(counted));
                    counted += rows.len() as u64;
                    output.session(&capability).give_container(&mut rows);
                }
                barrier.passed(earliest([frontier]), || snapshot(counted));
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whenever a commit looks complete to one worker behind two stateful operators, all workers have handed over the state
        /// of both, exactly as of its end.
        #[test]
        fn a_commit_is_complete_only_when_all_have_handed_over_their_state_as_of_its_end(
            plan in Plan::any(), rows in 0u64..200,
        ) {
            let ends = plan.ends_of_commits(rows as usize);
            let collected = Arc::new(Collected::default());
            let checkpoints = Checkpoints { first_commit: 0, collected: Arc::clone(&collected), restored: Arc::default() };
            let seen = replay(plan, (0..rows).collect(), move |rows, _, seen| {
                let (checkpoints, collected) = (checkpoints.clone(), Arc::clone(&collected));
                let rows = count(count(rows, &checkpoints, 1), &checkpoints, 2);
                let is_first = rows.scope().index() == 0;
                let mut reported = 0;
                let mut state: BTreeMap<(u8, Box<[u8]>), u64> = BTreeMap::new();
                rows.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Check", |_, _| {
                    move |(input, frontier), _output| {
                        input.for_each(|_, _| {});
                        let complete = earliest([frontier]).map_or(u32::MAX, commit_of);
                        if is_first && reported < complete {
                            for Entry { operator, key, value } in collected.take_through(complete - 1) {
                                let count = value.and_then(|value| value[..].try_into().ok()).map_or(0, u64::from_le_bytes);
                                state.insert((operator, key), count);
                            }
                            let of = |number| state.iter().filter(|((of, _), _)| *of == number).map(|(_, n)| *n).sum::<u64>();
                            seen.borrow_mut().push((complete - 1, of(1), of(2)));
                            reported = complete;
                        }
                    }
                });
            });
            prop_assert!(!seen.is_empty());
            for (commit, first, second) in seen {
                let want = ends.range(..=commit).next_back().map_or(0, |(_, rows)| *rows as u64);
                prop_assert_eq!((first, second), (want, want), "commit {}", commit);
            }
        }
    }
}
