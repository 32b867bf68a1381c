//! What `score` remembers over a restart: for each key the number of its points, its means and its threshold if that is learned, for
//! each of the key's devices its last readings, and for each tree of the key's forest what it holds.
//!
//! A tree takes in a point in some hundreds, so most of a forest stays as it was written from commit to commit.

use std::collections::HashMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::super::barrier::{StateOf, restore};
use super::super::route_key;
use super::deal::Deal;
use super::judge::{self, Thresholds};
use super::points::{OfDevice, OfKey, Sources};
use super::trees::Trees;
use crate::cluster::halt;
use crate::detection::{Rule, Threshold};
use crate::forest::{DeviceMemory, KeyMemory, Parameters};
use crate::record::{DeviceId, Key};
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode, whole};

/// Of how the parts are laid out; what a tree and the threshold write has a version of its own.
pub(in crate::operators) const VERSION: u8 = 2;
const NAME: &str = "the forests";

#[derive(Serialize, Deserialize)]
enum Part {
    /// The number of points, and the means.
    Memory,
    Device(CompactString),
    Threshold,
    Tree(u16),
}

/// What a worker begins with.
pub(super) struct State {
    pub(super) sources: Sources,
    pub(super) trees: Trees,
    pub(super) thresholds: Thresholds,
}

/// A part of a key's state, written by `write`.
fn put(key: &Key, part: Part, write: impl FnOnce(&mut Vec<u8>)) -> Entry {
    let mut value = vec![VERSION];
    write(&mut value);
    Entry::put(StateOf::Score as u8, encode(None, &(key, part)), value)
}

/// What has changed since it was asked for the last time.
pub(super) fn changed_sources(sources: &mut Sources) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, of_key) in sources {
        let Some(changed) = of_key.changed.as_mut().filter(|changed| !changed.is_empty()) else {
            continue;
        };
        entries.push(put(key, Part::Memory, |out| {
            out.extend(of_key.seen.to_le_bytes());
            of_key.memory.write_state(out);
        }));
        for id in changed.drain(..) {
            if let Some(device) = of_key.devices.get_mut(&id) {
                device.changed = false;
                let part = Part::Device(id.text().clone());
                entries.push(put(key, part, |out| device.memory.write_state(out)));
            }
        }
    }
    entries
}

/// The trees that have taken points since they were asked for the last time.
pub(super) fn changed_trees(trees: &mut Trees) -> Vec<Entry> {
    let mut entries = Vec::new();
    for place in trees.changed.iter_mut().flat_map(|changed| changed.drain(..)) {
        let stand = &mut trees.stands[place];
        stand.settle(&mut trees.spare);
        stand.changed = false;
        stand.part.write_changed(|index, state| {
            entries.push(put(&stand.key, Part::Tree(index as u16), |out| out.extend(state)));
        });
    }
    entries
}

/// The thresholds that have changed since they were asked for the last time.
pub(super) fn changed_thresholds(thresholds: &mut Thresholds) -> Vec<Entry> {
    let changed = thresholds.iter_mut().filter(|(_, of_key)| of_key.changed);
    let entries = changed.map(|(key, of_key)| {
        of_key.changed = false;
        put(key, Part::Threshold, |out| of_key.threshold.write_state(out))
    });
    entries.collect()
}

/// What an earlier run has left, as far as it is this worker's.
pub(super) fn restored(checkpoints: Option<&Checkpoints>, parameters: &Parameters, rule: Rule, deal: Deal) -> State {
    let mut restoring = Restoring::new(parameters, rule, deal, checkpoints.is_some());
    restore(checkpoints, StateOf::Score, |key, value| restoring.take_up(key, value));
    restoring.whole().unwrap_or_else(|e| halt(e))
}

/// A state that is being put together.
struct Restoring<'a> {
    parameters: &'a Parameters,
    rule: Rule,
    deal: Deal,
    account: bool,
    state: State,
    /// How many points each key has had of which this worker has trees.
    seen: HashMap<Key, u64>,
}

impl Restoring<'_> {
    fn new(parameters: &Parameters, rule: Rule, deal: Deal, account: bool) -> Restoring<'_> {
        let state = State {
            sources: HashMap::new(),
            trees: Trees::new(parameters, deal, account),
            thresholds: HashMap::new(),
        };
        Restoring {
            parameters,
            rule,
            deal,
            account,
            state,
            seen: HashMap::new(),
        }
    }

    fn take_up(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let value = whole(NAME, VERSION, value)?; // before its key, which another version may have named in other words
        let (key, part): (Key, Part) = decode(NAME, None, key)?;
        let route = route_key(&key);
        let (is_owner, mut trees) = (self.deal.owns(route), self.deal.trees(route));
        let Parameters { measures, shingle, .. } = *self.parameters;
        let failed = |e| SnapshotError::of(NAME, e);
        match part {
            Part::Memory => {
                let (count, memory) = value.split_first_chunk().ok_or(DAMAGED)?;
                let count = u64::from_le_bytes(*count);
                if is_owner {
                    let memory = KeyMemory::read_state(self.parameters, memory).map_err(failed)?;
                    let source = self.source(key.clone());
                    (source.seen, source.memory) = (count, memory);
                }
                if trees.next().is_some() && count > 0 {
                    self.seen.insert(key, count);
                }
            }
            Part::Device(device) if is_owner => {
                let memory = DeviceMemory::read_state(measures, shingle, value).map_err(failed)?;
                let of_device = OfDevice { memory, changed: false };
                self.source(key).devices.insert(DeviceId::new(device), of_device);
            }
            Part::Threshold if is_owner => {
                let threshold = Threshold::read_state(self.rule, value).map_err(|e| SnapshotError::of(NAME, e))?;
                let changed = false;
                self.state.thresholds.insert(key, judge::OfKey { threshold, changed });
            }
            Part::Tree(index) if trees.any(|own| own == usize::from(index)) => {
                let part = self.state.trees.part(&key);
                part.read_tree(usize::from(index), value).map_err(failed)?;
                self.seen.entry(key).or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn source(&mut self, key: Key) -> &mut OfKey {
        let new = || OfKey::new(self.parameters, self.account);
        self.state.sources.entry(key).or_insert_with(new)
    }

    /// The state, once all of it is taken up: every key's points must have been counted, and have met all its trees.
    fn whole(mut self) -> Result<State, SnapshotError> {
        for (key, seen) in self.seen {
            let part = self.state.trees.part(&key);
            part.check(seen).map_err(|e| SnapshotError::of(NAME, e))?;
            if seen == 0 {
                return Err(DAMAGED);
            }
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
    use super::*;
    use crate::forest::{Normalise, Scoring, Spare};

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

    /// What the only worker has of a key with two trees and forty points.
    fn entries() -> Vec<Entry> {
        let parameters = parameters();
        let mut trees = Trees::new(&parameters, Deal::of_one(2), true);
        let key = Some("maker".into());
        let mut entries = Vec::new();
        trees.part(&key).score(0, vec![1.0; 40], None, &mut Vec::new());
        trees.part(&key).settle(None, &mut Spare::default());
        trees.part(&key).write_changed(|index, state| {
            entries.push(put(&key, Part::Tree(index as u16), |out| out.extend(state)));
        });
        let mut source = OfKey::new(&parameters, true);
        source.seen = 40;
        source.changed = Some(vec![DeviceId::new("monitor")]);
        entries.extend(changed_sources(&mut HashMap::from([(key, source)])));
        entries
    }

    fn taken_up(entries: &[Entry]) -> Result<u64, String> {
        let parameters = parameters();
        let mut restoring = Restoring::new(&parameters, Rule::Fixed(2.0), Deal::of_one(2), true);
        for Entry { key, value, .. } in entries {
            let value = value.as_ref().expect("nothing is forgotten");
            restoring.take_up(key, value).map_err(|e| e.to_string())?;
        }
        let state = restoring.whole().map_err(|e| e.to_string())?;
        Ok(state.sources.values().map(|source| source.seen).sum())
    }

    #[test]
    fn a_state_of_another_version_is_refused_and_named() {
        assert_eq!(taken_up(&entries()), Ok(40));
        for version in [VERSION - 1, VERSION + 1] {
            let mut entries = entries();
            for entry in &mut entries {
                entry.value.as_mut().expect("nothing is forgotten")[0] = version;
                entry.key = vec![7; 3].into(); // whatever it called its parts
            }
            let told = taken_up(&entries).expect_err("another version");
            assert!(told.contains(&format!("version {version}")), "{told}");
        }
    }

    #[test]
    fn a_state_that_lacks_a_part_is_refused() {
        for missing in 0..3 {
            let mut entries = entries();
            assert_eq!(entries.len(), 3, "two trees, and the key's memory");
            entries.remove(missing);
            assert!(taken_up(&entries).is_err(), "{missing}");
        }
    }
}
