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
    let account = checkpoints.is_some();
    let mut state = State {
        sources: HashMap::new(),
        trees: Trees::new(parameters, deal, account),
        thresholds: HashMap::new(),
    };
    let mut seen: HashMap<Key, u64> = HashMap::new();
    restore(checkpoints, StateOf::Score, |key, value| {
        let value = whole(NAME, VERSION, value)?; // before its key, which another version may have named in other words
        let (key, part): (Key, Part) = decode(NAME, None, key)?;
        let route = route_key(&key);
        let (is_owner, mut trees) = (deal.owns(route), deal.trees(route));
        let Parameters { measures, shingle, .. } = *parameters;
        let failed = |e| SnapshotError::of(NAME, e);
        let new = |_: &Key| OfKey::new(parameters, account);
        match part {
            Part::Memory => {
                let (count, memory) = value.split_first_chunk().ok_or(DAMAGED)?;
                let count = u64::from_le_bytes(*count);
                if is_owner {
                    let of_key = state.sources.entry(key.clone()).or_insert_with_key(new);
                    of_key.seen = count;
                    of_key.memory = KeyMemory::read_state(parameters, memory).map_err(failed)?;
                }
                if trees.next().is_some() && count > 0 {
                    seen.insert(key, count);
                }
            }
            Part::Device(device) if is_owner => {
                let memory = DeviceMemory::read_state(measures, shingle, value).map_err(failed)?;
                let of_key = state.sources.entry(key).or_insert_with_key(new);
                let device = DeviceId::new(device);
                of_key.devices.insert(device, OfDevice { memory, changed: false });
            }
            Part::Threshold if is_owner => {
                let threshold = Threshold::read_state(rule, value).map_err(|e| SnapshotError::of(NAME, e))?;
                let changed = false;
                state.thresholds.insert(key, judge::OfKey { threshold, changed });
            }
            Part::Tree(index) if trees.any(|own| own == usize::from(index)) => {
                let stand = state.trees.stand(&key);
                let part = &mut state.trees.stands[stand].part;
                part.read_tree(usize::from(index), value).map_err(failed)?;
                seen.entry(key).or_default();
            }
            _ => {}
        }
        Ok(())
    });
    check(&mut state.trees, seen).unwrap_or_else(|e| halt(e));
    state
}

const DAMAGED: SnapshotError = SnapshotError::Value {
    of: NAME,
    flaw: Flaw::Damaged,
};

/// Every key's points must have been counted, and have met all its trees.
fn check(trees: &mut Trees, seen: HashMap<Key, u64>) -> Result<(), SnapshotError> {
    for (key, seen) in seen {
        let stand = trees.stand(&key);
        if seen == 0 {
            return Err(DAMAGED);
        }
        let part = &trees.stands[stand].part;
        part.check(seen).map_err(|e| SnapshotError::of(NAME, e))?;
    }
    Ok(())
}
