//! `score_windows`: how strange a window is among all windows of its grouping.
//!
//! One forest per grouping over the windows' means. It sees revision 0 of each window, in the order in which windows become
//! complete and, of those that do so together, by start and key. Its trees are dealt out to all workers, as those of readings are
//! ([`score`](super::score)): the windows of all devices become complete with the same reading, and one worker's work would hold all up.
//!
//! ```text
//!  by grouping              by tree                  by grouping
//!  windows ─ WindowPoints ─┬─ points ─ ScoreWindows ─ shares ─ FinishWindows ─ windows
//!                          └──────────── epoch ────────────────────┘
//! ```

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::Operator;

use super::Rows;
use super::batches::Batches;
use super::deal::{Deal, Share, Shares, sums};
use super::stash::Stash;
use super::wire::Plain;
use crate::forest::{Parameters, Whole};
use crate::record::WindowRow;
use crate::snapshot::Checkpoints;

mod points;
mod state;
mod trees;

use points::Epoch;

/// What a grouping's owner does with a window besides, in trees: by the seconds of the operators in a replay with one worker.
const OWNERS_WORK: usize = 2;

/// Sets `window_score` of the windows' first revisions. `names` are the groupings' names; `parameters.shingle` must be 1.
pub fn score_windows<'scope>(
    windows: Rows<'scope, WindowRow>,
    names: Vec<String>,
    parameters: Parameters,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, WindowRow> {
    let deal = Deal::new(&windows.scope(), parameters.trees, OWNERS_WORK);
    let names = Rc::from(names);
    let state::State { groupings, trees } = state::restored(checkpoints, &names, &parameters, deal);
    let (points, epochs) = points::points(windows, names, &parameters, deal, groupings, checkpoints);
    let shares = trees::score(points, trees, checkpoints);
    finish(epochs, shares, Whole::new(&parameters))
}

/// In: an epoch's windows, and the shares of their scores. Out: the windows with their scores. An epoch knows how many answers it is owed, and goes on when so many have come.
fn finish<'scope>(epochs: Rows<'scope, Epoch>, shares: Shares<'scope>, whole: Whole) -> Rows<'scope, WindowRow> {
    let by_owner = ExchangeCore::<CapacityContainerBuilder<Plain<Share>>, _>::new(|share: &Share| u64::from(share.to));
    let (mut epochs_held, mut shares_held) = (Stash::<Epoch>::default(), Stash::<Share>::default());
    epochs.binary::<_, CapacityContainerBuilder<Vec<WindowRow>>, _, _, _, _>(
        shares,
        Pipeline,
        by_owner,
        "FinishWindows",
        |_, _| {
            move |epochs, shares, output| {
                epochs_held.fill(epochs);
                shares_held.fill(shares);
                while let Some(([capability], epochs)) = epochs_held.due(|time, epochs| {
                    shares_held.count(time) == epochs.iter().map(|epoch| epoch.shares).sum::<usize>()
                }) {
                    let shares = shares_held.take(*capability.time());
                    for epoch in epochs {
                        output
                            .session(&capability)
                            .give_container(&mut epoch.finish(&shares, whole));
                    }
                }
            }
        },
    )
}

impl Epoch {
    fn finish(self, shares: &Batches<Share>, whole: Whole) -> Vec<WindowRow> {
        let sums = sums(shares.iter(), self.with_point.len());
        let mut windows = self.windows;
        for (at, sum) in self.with_point.into_iter().zip(sums) {
            windows[at].window_score = whole.score(sum);
        }
        windows
    }
}

/// Which worker owns a grouping.
fn route(grouping: usize) -> u64 {
    grouping as u64
}

/// What decides the random numbers of a grouping's forest.
fn seed(name: &str) -> Vec<u8> {
    format!("windows by {name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Life, Plan, replay, replay_lives};
    use super::*;
    use crate::forest::{DeviceMemory, Forest, KeyMemory, Normalise, Scoring};
    use crate::record::{Key, Statistics};

    const NAMES: [&str; 2] = ["manufacturer", "device_id"];

    fn parameters() -> Parameters {
        Parameters {
            trees: 8,
            sample_size: 10,
            time_decay: 100,
            shingle: 1,
            measures: 2,
            scoring: Scoring::Kinesis,
            seed: 42,
            normalise: Normalise::Standardise,
        }
    }

    fn statistics(mean: f64) -> Statistics {
        let mut statistics = Statistics::default();
        statistics.add(mean); // nothing, where it is NaN
        statistics
    }

    /// (grouping, completed at, start, key), revision: what a window is told by.
    type Name = ((usize, u64, i64, Key), u32);

    fn name(row: &WindowRow) -> Name {
        (
            (row.grouping, row.completed_at, row.start, row.key.clone()),
            row.revision,
        )
    }

    /// All windows of a grouping in order, each given to the forest alone.
    fn reference(rows: &[WindowRow]) -> Vec<(Name, Option<u64>)> {
        let mut rows = rows.to_vec();
        rows.sort_by_key(name);
        let groupings = NAMES.iter().enumerate().flat_map(|(grouping, by)| {
            let mut forest = Forest::new(&parameters(), format!("windows by {by}").as_bytes());
            let mut memory = KeyMemory::new(&parameters());
            let mut verdicts = Vec::new();
            for row in rows.iter().filter(|row| row.grouping == grouping) {
                let means: Vec<f64> = row.measures.iter().map(|m| m.mean().unwrap_or(f64::NAN)).collect();
                let mut scored = Vec::new();
                if row.revision == 0 && !means.iter().all(|mean| mean.is_nan()) {
                    let mut alone = DeviceMemory::new(2, 1);
                    let point = alone.point(&means, &mut memory).expect("a shingle of one");
                    forest.score_batch(point, f64::INFINITY, &mut scored);
                }
                verdicts.push((name(row), scored.pop().and_then(|s| s.score).map(f64::to_bits)));
            }
            verdicts
        });
        groupings.collect()
    }

    fn row() -> impl Strategy<Value = WindowRow> {
        let mean = || prop_oneof![6 => -5.0..5.0f64, 1 => Just(f64::NAN), 1 => Just(300.0)];
        (
            0usize..2,
            0i64..20,
            proptest::option::of("[a-c]"),
            [mean(), mean()],
            0u32..3,
        )
            .prop_map(|(grouping, start, key, means, revision)| WindowRow {
                start,
                end: start + 1,
                grouping,
                key: key.map(Into::into),
                records: 1,
                anomalies: 0,
                measures: means.map(statistics).into(),
                score_max: None,
                score_mean: None,
                window_score: None,
                revision: revision.saturating_sub(1),
                completed_at: 0,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn windows_meet_their_groupings_forest_in_the_order_of_completion_start_and_key(
            rows in proptest::collection::vec(row(), 0..150), at_once in 1usize..6, plan in Plan::any(),
        ) {
            // Readings complete windows, several at once but each window once; an epoch holds all that a reading completes.
            let mut rows: Vec<WindowRow> =
                rows.into_iter().enumerate().map(|(i, row)| WindowRow { completed_at: (i / at_once) as u64, ..row }).collect();
            let mut known = std::collections::BTreeSet::new();
            rows.retain(|row| known.insert(name(row)));
            let want = reference(&rows);
            let together: Vec<usize> = rows.chunk_by(|a, b| a.completed_at == b.completed_at).map(<[_]>::len).collect();
            let plan = Plan { epochs: whole(&together, &plan.epochs), ..plan };
            let mut got = replay(plan, rows, |rows, _, seen| {
                score_windows(rows, NAMES.map(String::from).into(), parameters(), None)
                    .inspect(move |row: &WindowRow| seen.borrow_mut().push((name(row), row.window_score.map(f64::to_bits))));
            });
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_run_that_goes_on_from_a_commit_gives_the_same_bits(
            rows in proptest::collection::vec(row(), 0..150), lives in Life::any(),
        ) {
            // Each row is completed by a reading of its own, so that epochs break nothing apart.
            let rows: Vec<WindowRow> =
                (0..).zip(rows).map(|(at, row)| WindowRow { completed_at: at, ..row }).collect();
            let want = reference(&rows);
            let is_committed = |(name, _): &(Name, Option<u64>), rows: usize| name.0.1 < rows as u64;
            let mut got = replay_lives(lives, rows, is_committed, |rows, _, checkpoints, seen| {
                score_windows(rows, NAMES.map(String::from).into(), parameters(), Some(checkpoints))
                    .inspect(move |row: &WindowRow| seen.borrow_mut().push((name(row), row.window_score.map(f64::to_bits))));
            });
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }

    /// Epochs of about the sizes asked for that break no group apart.
    fn whole(groups: &[usize], asked: &[usize]) -> Vec<usize> {
        let (mut epochs, mut asked) = (vec![0], asked.iter().cycle());
        let mut most = *asked.next().expect("a size");
        for group in groups {
            if epochs.last().is_some_and(|rows| rows + group > most) {
                epochs.push(0);
                most = *asked.next().expect("a cycle has no end");
            }
            *epochs.last_mut().expect("never empty") += group;
        }
        epochs
    }
}
