//! `score_windows`: how strange a window is among all windows of its grouping.
//!
//! One forest per grouping over the windows' means. It sees revision 0 of each window, in the order in which windows become
//! complete and, of those that do so together, by start and key.

use std::collections::HashMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::barrier::{Barrier, Share, StateOf, earliest, restore};
use super::stash::Stash;
use crate::forest::{DeviceMemory, Forest, KeyMemory, Parameters};
use crate::record::WindowRow;
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode, whole};

/// A grouping's forest, and the means that stand in for missing ones.
struct OfGrouping {
    forest: Forest,
    memory: KeyMemory,
    /// Since the last commit.
    changed: bool,
}

/// Of how the parts are laid out; what the forest writes has a version of its own.
const VERSION: u8 = 1;
const NAME: &str = "the windows' forests";

/// Sets `window_score` of the windows' first revisions. `names` are the groupings' names; `parameters.shingle` must be 1.
pub fn score_windows<'scope>(
    windows: Rows<'scope, WindowRow>,
    names: Vec<String>,
    parameters: Parameters,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, WindowRow> {
    let by_grouping = Exchange::new(|window: &WindowRow| window.grouping as u64);
    let scope = windows.scope();
    let mut groupings = restored(checkpoints, &names, &parameters, Share::of(&scope));
    let mut stash = Stash::<WindowRow>::default();
    let at_once = if checkpoints.is_some() {
        AT_ONCE
    } else {
        AT_ONCE_IN_A_REPLAY
    };
    windows.unary_frontier::<Windows, _, _, _>(by_grouping, "ScoreWindows", |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut barrier = Barrier::new(checkpoints, capability);
        // An epoch's windows, and how many of them are scored.
        let mut at_hand: Option<(_, Vec<WindowRow>, usize)> = None;
        move |(input, frontier), output| {
            stash.fill(input);
            let begin = || {
                let ([capability], mut windows) = stash.complete(frontier)?;
                barrier.before(*capability.time(), || changes(&mut groupings, &names));
                let order = |w: &WindowRow| (w.grouping, w.completed_at, w.start);
                windows.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key)));
                Some((capability, windows, 0))
            };
            let Some((capability, mut windows, scored)) = at_hand.take().or_else(begin) else {
                return barrier.passed(earliest([frontier]), || changes(&mut groupings, &names));
            };
            let next = windows.len().min(scored + at_once);
            for same in windows[scored..next].chunk_by_mut(|a, b| a.grouping == b.grouping) {
                let grouping = groupings
                    .entry(same[0].grouping)
                    .or_insert_with_key(|grouping| OfGrouping {
                        forest: Forest::new(&parameters, &seed(&names[*grouping])),
                        memory: KeyMemory::new(&parameters),
                        changed: false,
                    });
                grouping.score(same, &parameters);
            }
            match next == windows.len() {
                true => output.session(&capability).give_container(&mut windows),
                false => at_hand = Some((capability, windows, next)),
            }
            activator.activate();
        }
    })
}

/// Windows that are scored before the worker's other steps have their turn, a millisecond's work: the windows of all devices become
/// complete at once, and readings that come meanwhile wait for no more than that at each of their own steps.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 32 };

/// The same in a replay, where nobody waits.
const AT_ONCE_IN_A_REPLAY: usize = 8 * AT_ONCE;

type Windows = CapacityContainerBuilder<Vec<WindowRow>>;
type Groupings = HashMap<usize, OfGrouping>;

/// What decides the random numbers of a grouping's forest.
fn seed(name: &str) -> Vec<u8> {
    format!("windows by {name}").into_bytes()
}

/// What has changed since it was asked for the last time.
fn changes(groupings: &mut Groupings, names: &[String]) -> Vec<Entry> {
    let changed = groupings.iter_mut().filter(|(_, of)| of.changed);
    let entries = changed.flat_map(|(grouping, of)| {
        of.changed = false;
        let (mut forest, mut memory) = (vec![VERSION], vec![VERSION]);
        of.forest.write_state(&mut forest);
        of.memory.write_state(&mut memory);
        [(false, forest), (true, memory)].map(|(is_memory, value)| {
            let key = encode(None, &(&names[*grouping], is_memory));
            Entry::put(StateOf::ScoreWindows as u8, key, value)
        })
    });
    entries.collect()
}

/// What an earlier run has left, as far as it is this worker's. A grouping is known by its name.
fn restored(checkpoints: Option<&Checkpoints>, names: &[String], parameters: &Parameters, share: Share) -> Groupings {
    let mut groupings = Groupings::new();
    restore(checkpoints, StateOf::ScoreWindows, |key, value| {
        let (name, is_memory): (String, bool) = decode(NAME, None, key)?;
        let Some(grouping) = names.iter().position(|known| *known == name) else {
            let flaw = Flaw::Settings("windows.groupings");
            return Err(SnapshotError::Value { of: NAME, flaw });
        };
        if !share.has(grouping as u64) {
            return Ok(());
        }
        let value = whole(NAME, VERSION, value)?;
        let failed = |e| SnapshotError::of(NAME, e);
        let of = groupings.entry(grouping).or_insert_with(|| OfGrouping {
            forest: Forest::new(parameters, &seed(&name)),
            memory: KeyMemory::new(parameters),
            changed: false,
        });
        match is_memory {
            true => of.memory = KeyMemory::read_state(parameters, value).map_err(failed)?,
            false => of.forest = Forest::read_state(parameters, &seed(&name), value).map_err(failed)?,
        }
        Ok(())
    });
    groupings
}

impl OfGrouping {
    fn score(&mut self, windows: &mut [WindowRow], parameters: &Parameters) {
        let (mut points, mut with_point) = (Vec::new(), Vec::new());
        for (place, window) in windows.iter().enumerate().filter(|(_, window)| window.revision == 0) {
            let means: Vec<f64> = window.measures.iter().map(|m| m.mean().unwrap_or(f64::NAN)).collect();
            if means.iter().all(|mean| mean.is_nan()) {
                continue;
            }
            // A window has no window before it: a missing mean is the grouping's, not the key's last one.
            if let Some(point) = DeviceMemory::new(parameters.measures, 1).point(&means, &mut self.memory) {
                points.extend_from_slice(point);
                with_point.push(place);
            }
        }
        self.changed |= !with_point.is_empty();
        let mut scored = Vec::with_capacity(with_point.len());
        self.forest.score_batch(&points, f64::INFINITY, &mut scored);
        for (place, scored) in with_point.into_iter().zip(scored) {
            windows[place].window_score = scored.score;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Life, Plan, replay, replay_lives};
    use super::*;
    use crate::forest::{Normalise, Scoring};
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
