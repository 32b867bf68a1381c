//! What `score_windows` remembers over a restart: for each grouping the number of its points and its means, and for each tree of its
//! forest what it holds. A grouping is known by its name.

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::super::barrier::{StateOf, restore};
use super::super::deal::Deal;
use super::points::OfGrouping;
use super::route;
use super::trees::Trees;
use crate::cluster::halt;
use crate::forest::{KeyMemory, Parameters};
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode, whole};

/// Of how the parts are laid out; what a tree writes has a version of its own.
const VERSION: u8 = 2;
const NAME: &str = "the windows' forests";

#[derive(Serialize, Deserialize)]
enum Part {
    /// The number of points, and the means.
    Memory,
    Tree(u16),
}

/// What a worker begins with.
pub(super) struct State {
    pub(super) groupings: Vec<OfGrouping>,
    pub(super) trees: Trees,
}

/// A part of a grouping's state, written by `write`.
fn put(name: &str, part: Part, write: impl FnOnce(&mut Vec<u8>)) -> Entry {
    let mut value = vec![VERSION];
    write(&mut value);
    Entry::put(StateOf::ScoreWindows as u8, encode(None, &(name, part)), value)
}

/// What has changed since it was asked for the last time.
pub(super) fn changed_memories(groupings: &mut [OfGrouping], names: &[String]) -> Vec<Entry> {
    let changed = groupings.iter_mut().zip(names).filter(|(of, _)| of.changed);
    let entries = changed.map(|(of, name)| {
        of.changed = false;
        put(name, Part::Memory, |out| {
            out.extend(of.seen.to_le_bytes());
            of.memory.write_state(out);
        })
    });
    entries.collect()
}

/// The trees that have taken points since they were asked for the last time: all of them, or so many.
pub(super) fn changed_trees(trees: &mut Trees, at_most: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let Trees { names, parts, .. } = trees;
    for (grouping, part) in parts {
        let name = &names[*grouping];
        part.write_changed(at_most.saturating_sub(entries.len()), |index, state| {
            entries.push(put(name, Part::Tree(index as u16), |out| out.extend(state)));
        });
    }
    entries
}

/// What an earlier run has left, as far as it is this worker's.
pub(super) fn restored(
    checkpoints: Option<&Checkpoints>,
    names: &Rc<[String]>,
    parameters: &Parameters,
    deal: Deal,
) -> State {
    let mut restoring = Restoring::new(names, parameters, deal);
    restore(checkpoints, StateOf::ScoreWindows, |key, value| {
        restoring.take_up(key, value)
    });
    restoring.whole().unwrap_or_else(|e| halt(e))
}

/// A state that is being put together.
struct Restoring<'a> {
    names: &'a [String],
    parameters: &'a Parameters,
    deal: Deal,
    state: State,
    /// How many points each grouping has had.
    seen: HashMap<usize, u64>,
}

impl Restoring<'_> {
    fn new<'a>(names: &'a Rc<[String]>, parameters: &'a Parameters, deal: Deal) -> Restoring<'a> {
        Restoring {
            names,
            parameters,
            deal,
            state: State {
                groupings: names.iter().map(|_| OfGrouping::new(parameters)).collect(),
                trees: Trees::new(parameters, deal, Rc::clone(names)),
            },
            seen: HashMap::new(),
        }
    }

    fn take_up(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let value = whole(NAME, VERSION, value)?; // before its key, which another version may have named in other words
        let (name, part): (String, Part) = decode(NAME, None, key)?;
        let Some(grouping) = self.names.iter().position(|known| *known == name) else {
            let flaw = Flaw::Settings("windows.groupings");
            return Err(SnapshotError::Value { of: NAME, flaw });
        };
        let failed = |e| SnapshotError::of(NAME, e);
        match part {
            Part::Memory => {
                let (seen, memory) = value.split_first_chunk().ok_or(DAMAGED)?;
                let seen = u64::from_le_bytes(*seen);
                self.seen.insert(grouping, seen);
                if self.deal.owns(route(grouping)) {
                    let memory = KeyMemory::read_state(self.parameters, memory).map_err(failed)?;
                    let of = &mut self.state.groupings[grouping];
                    (of.seen, of.memory) = (seen, memory);
                }
            }
            Part::Tree(index) => {
                let index = usize::from(index);
                if self.deal.trees(route(grouping)).contains(&index) {
                    self.state
                        .trees
                        .part(grouping)
                        .read_tree(index, value)
                        .map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// The state, once all of it is taken up: every grouping's points must have been counted, and have met all its trees.
    fn whole(mut self) -> Result<State, SnapshotError> {
        let trees = &mut self.state.trees;
        if trees.parts.keys().any(|grouping| !self.seen.contains_key(grouping)) {
            return Err(DAMAGED);
        }
        for (grouping, seen) in self.seen {
            let part = trees.part(grouping);
            part.check(seen).map_err(|e| SnapshotError::of(NAME, e))?;
        }
        Ok(self.state)
    }
}

const DAMAGED: SnapshotError = SnapshotError::Value {
    of: NAME,
    flaw: Flaw::Damaged,
};

#[cfg(test)]
mod tests {
    use super::super::super::deal::Points;
    use super::*;
    use crate::forest::{DeviceMemory, Normalise, Scoring};

    fn parameters() -> Parameters {
        Parameters {
            trees: 2,
            sample_size: 10,
            time_decay: 40,
            shingle: 1,
            measures: 1,
            scoring: Scoring::Kinesis,
            seed: 42,
            normalise: Normalise::None,
        }
    }

    /// What the only worker has of a grouping with two trees and forty points.
    fn entries(names: &Rc<[String]>) -> Vec<Entry> {
        let (parameters, deal) = (parameters(), Deal::of_one(2));
        let mut grouping = OfGrouping::new(&parameters);
        for _ in 0..40 {
            DeviceMemory::new(1, 1).point(&[1.0], &mut grouping.memory);
        }
        (grouping.seen, grouping.changed) = (40, true);
        let mut trees = Trees::new(&parameters, deal, Rc::clone(names));
        let points = Points {
            to: 0,
            from: 0,
            place: 0,
            key: Some(names[0].as_str().into()),
            first: 0,
            values: vec![1.0; 40],
        };
        trees.score(points, &mut Vec::new());
        let mut entries = changed_memories(std::slice::from_mut(&mut grouping), names);
        entries.extend(changed_trees(&mut trees, usize::MAX));
        assert!(
            changed_trees(&mut trees, usize::MAX).is_empty(),
            "nothing has changed since"
        );
        entries
    }

    fn taken_up(names: &Rc<[String]>, entries: &[Entry]) -> Result<u64, String> {
        let parameters = parameters();
        let mut restoring = Restoring::new(names, &parameters, Deal::of_one(2));
        for Entry { key, value, .. } in entries {
            let value = value.as_ref().expect("nothing is forgotten");
            restoring.take_up(key, value).map_err(|e| e.to_string())?;
        }
        let state = restoring.whole().map_err(|e| e.to_string())?;
        Ok(state.groupings.iter().map(|grouping| grouping.seen).sum())
    }

    fn names() -> Rc<[String]> {
        Rc::new(["manufacturer".to_owned()])
    }

    #[test]
    fn a_state_of_another_version_is_refused_and_named() {
        assert_eq!(taken_up(&names(), &entries(&names())), Ok(40));
        for version in [VERSION - 1, VERSION + 1] {
            let mut entries = entries(&names());
            for entry in &mut entries {
                entry.value.as_mut().expect("nothing is forgotten")[0] = version;
                entry.key = vec![7; 3].into(); // whatever it called its parts
            }
            let told = taken_up(&names(), &entries).expect_err("another version");
            assert!(told.contains(&format!("version {version}")), "{told}");
        }
    }

    #[test]
    fn a_state_that_lacks_a_part_is_refused() {
        for missing in 0..3 {
            let mut entries = entries(&names());
            assert_eq!(entries.len(), 3, "two trees, and the grouping's memory");
            entries.remove(missing);
            assert!(taken_up(&names(), &entries).is_err(), "{missing}");
        }
    }

    #[test]
    fn a_grouping_that_the_settings_no_longer_have_is_named_as_their_change() {
        let others: Rc<[String]> = Rc::new(["device_id".to_owned()]);
        let told = taken_up(&others, &entries(&names())).expect_err("another grouping");
        assert!(told.contains("windows.groupings"), "{told}");
    }
}
