//! What `score` remembers over a restart: for each key the number of its points, its means and its threshold if that is learned, for
//! each of the key's devices its last readings, and for each tree of the key's forest what it holds.
//!
//! A tree takes in a point in some hundreds, so most of a forest stays as it was written from commit to commit.

use std::collections::HashMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::super::barrier::{StateOf, restore};
use super::super::deal::Deal;
use super::super::route_key;
use super::judge::{self, Thresholds};
use super::points::{OfKey, Sources};
use super::room::Room;
use super::trees::{Stand, Trees};
use crate::cluster::halt;
use crate::detection::{Rule, Threshold};
use crate::forest::{DeviceMemory, KeyMemory, Parameters};
use crate::record::{DeviceId, Key};
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode, whole};

/// Of how the parts are laid out; what a tree and the threshold write has a version of its own.
pub(in crate::operators) const VERSION: u8 = 2;
pub(super) const NAME: &str = "the forests";

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

/// What has changed since it was asked for the last time: all of it, or of so many devices, those that have changed last.
pub(super) fn changed_sources(sources: &mut Sources, mut at_most: usize) -> Vec<Entry> {
    let mut entries = std::mem::take(&mut sources.put_away); // before what changed later of the same devices
    while at_most > 0
        && let Some(key) = sources.changed.last()
    {
        let Some(of_key) = sources.keys.get_mut(key) else { break }; // never: a key that has changed is there
        entries.push(put(key, Part::Memory, |out| {
            out.extend(of_key.seen.to_le_bytes());
            of_key.memory.write_state(out);
        }));
        let changed = of_key.changed.get_or_insert_default();
        let rest = changed.len().saturating_sub(at_most);
        at_most -= changed.len() - rest;
        for id in changed.drain(rest..) {
            if let Some(device) = of_key.devices.get_mut(&id) {
                device.changed = false;
                entries.push(self::device(key, &id, &device.memory));
            }
        }
        if changed.is_empty() {
            sources.changed.pop();
        }
    }
    entries
}

/// What a device is known by.
pub(super) fn device(key: &Key, device: &DeviceId, memory: &DeviceMemory) -> Entry {
    put(key, Part::Device(device.text().clone()), |out| memory.write_state(out))
}

/// Where that is put away.
pub(super) fn place_of_device(key: &Key, device: &DeviceId) -> Vec<u8> {
    encode(None, &(key, device.text()))
}

/// The trees that have taken points since they were asked for the last time: all of them, or so many.
pub(super) fn changed_trees(trees: &mut Trees, at_most: usize) -> Vec<Entry> {
    let mut entries = std::mem::take(&mut trees.put_away); // before what changed later of the same trees
    let mut places = trees.changed.take();
    while let Some(place) = places.as_mut().and_then(Vec::pop) {
        let stand = &mut trees.stands[place];
        stand.settle(&mut trees.spare);
        if !changed_trees_of(stand, at_most.saturating_sub(entries.len()), &mut entries) {
            places.as_mut().into_iter().for_each(|places| places.push(place));
            break;
        }
    }
    trees.changed = places;
    entries
}

/// The same, of one key, and whether these were all of its own; all its points must have been taken in.
pub(super) fn changed_trees_of(stand: &mut Stand, at_most: usize, entries: &mut Vec<Entry>) -> bool {
    let all = stand.part.write_changed(at_most, |index, state| {
        entries.push(put(&stand.key, Part::Tree(index as u16), |out| out.extend(state)));
    });
    stand.changed = !all;
    all
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
pub(super) fn restored(
    checkpoints: Option<&Checkpoints>,
    parameters: &Parameters,
    rule: Rule,
    deal: Deal,
    room: &Room,
) -> State {
    let mut restoring = Restoring::new(parameters, rule, deal, room, checkpoints.is_some());
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
    fn new<'a>(parameters: &'a Parameters, rule: Rule, deal: Deal, room: &Room, account: bool) -> Restoring<'a> {
        let state = State {
            sources: Sources::new(deal, room),
            trees: Trees::new(parameters, deal, room, account),
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
        let (is_owner, trees) = (self.deal.owns(route), self.deal.trees(route));
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
                if !trees.is_empty() && count > 0 {
                    self.seen.insert(key, count);
                }
            }
            Part::Device(device) if is_owner => {
                let memory = DeviceMemory::read_state(measures, shingle, value).map_err(failed)?;
                let new = || OfKey::new(self.parameters, self.account);
                self.state.sources.restore(&key, DeviceId::new(device), memory, new);
            }
            Part::Threshold if is_owner => {
                let threshold = Threshold::read_state(self.rule, value).map_err(|e| SnapshotError::of(NAME, e))?;
                let changed = false;
                self.state.thresholds.insert(key, judge::OfKey { threshold, changed });
            }
            Part::Tree(index) if trees.contains(&usize::from(index)) => {
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
        self.state.sources.keys.entry(key).or_insert_with(new)
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

    fn room() -> Room {
        Room {
            keys: 10,
            devices: 10,
            folder: std::env::temp_dir(),
        }
    }

    /// What the only worker has of a key with two trees and forty points.
    fn entries() -> Vec<Entry> {
        let parameters = parameters();
        let mut trees = Trees::new(&parameters, Deal::of_one(2), &room(), true);
        let key = Some("maker".into());
        let mut entries = Vec::new();
        trees.part(&key).score(0, vec![1.0; 40], None, &mut Vec::new());
        trees.part(&key).settle(None, &mut Spare::default());
        trees.part(&key).write_changed(usize::MAX, |index, state| {
            entries.push(put(&key, Part::Tree(index as u16), |out| out.extend(state)));
        });
        let mut source = OfKey::new(&parameters, true);
        source.seen = 40;
        source.changed = Some(vec![DeviceId::new("monitor")]);
        let mut sources = Sources::new(Deal::of_one(2), &room());
        sources.keys.insert(key.clone(), source);
        sources.changed.push(key);
        entries.extend(changed_sources(&mut sources, usize::MAX));
        entries
    }

    fn taken_up(entries: &[Entry]) -> Result<u64, String> {
        let parameters = parameters();
        let mut restoring = Restoring::new(&parameters, Rule::Fixed(2.0), Deal::of_one(2), &room(), true);
        for Entry { key, value, .. } in entries {
            let value = value.as_ref().expect("nothing is forgotten");
            restoring.take_up(key, value).map_err(|e| e.to_string())?;
        }
        let state = restoring.whole().map_err(|e| e.to_string())?;
        Ok(state.sources.keys.values().map(|source| source.seen).sum())
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
