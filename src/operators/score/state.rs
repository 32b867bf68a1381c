//! What `score` remembers over a restart: for each key its forest, its means and its threshold if that is learned, and for each of the key's devices its last readings.

use std::collections::HashMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::super::barrier::{Share, StateOf, restore};
use super::super::grouping::key_bytes;
use super::super::route_key;
use super::{Forests, OfDevice, OfKey};
use crate::detection::{Rule, Threshold};
use crate::forest::{DeviceMemory, Forest, KeyMemory, Parameters};
use crate::record::{DeviceId, Key};
use crate::snapshot::{Checkpoints, Entry, SnapshotError, decode, encode, whole};

/// Of how the parts are laid out; what the forest and the threshold write has a version of its own.
pub(in crate::operators) const VERSION: u8 = 1;
const NAME: &str = "the forests";

#[derive(Serialize, Deserialize)]
enum Part {
    Forest,
    Memory,
    Device(CompactString),
    Threshold,
}

/// A part of a key's state, written by `write`.
fn put(key: &Key, part: Part, write: impl FnOnce(&mut Vec<u8>)) -> Entry {
    let mut value = vec![VERSION];
    write(&mut value);
    Entry::put(StateOf::Score as u8, encode(None, &(key, part)), value)
}

/// What has changed since it was asked for the last time.
pub(super) fn changes(forests: &mut Forests) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, of_key) in forests {
        let Some(changed) = of_key.changed.as_mut().filter(|changed| !changed.is_empty()) else {
            continue;
        };
        entries.push(put(key, Part::Forest, |out| of_key.forest.write_state(out)));
        entries.push(put(key, Part::Memory, |out| of_key.memory.write_state(out)));
        if of_key.threshold.is_learned() {
            entries.push(put(key, Part::Threshold, |out| of_key.threshold.write_state(out)));
        }
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

/// The forests that an earlier run has left, as far as they are this worker's.
pub(super) fn restored(
    checkpoints: Option<&Checkpoints>,
    parameters: &Parameters,
    rule: Rule,
    share: Share,
) -> Forests {
    let mut forests: Forests = HashMap::new();
    restore(checkpoints, StateOf::Score, |key, value| {
        let (key, part): (Key, Part) = decode(NAME, None, key)?;
        if !share.has(route_key(&key)) {
            return Ok(());
        }
        let value = whole(NAME, VERSION, value)?;
        let seed = key_bytes(&key);
        let of_key = forests
            .entry(key)
            .or_insert_with_key(|key| OfKey::new(key, parameters, rule, true));
        let Parameters { measures, shingle, .. } = *parameters;
        let failed = |e| SnapshotError::of(NAME, e);
        match part {
            Part::Forest => of_key.forest = Forest::read_state(parameters, &seed, value).map_err(failed)?,
            Part::Memory => of_key.memory = KeyMemory::read_state(parameters, value).map_err(failed)?,
            Part::Threshold => {
                of_key.threshold = Threshold::read_state(rule, value).map_err(|e| SnapshotError::of(NAME, e))?;
            }
            Part::Device(device) => {
                let memory = DeviceMemory::read_state(measures, shingle, value).map_err(failed)?;
                of_key
                    .devices
                    .insert(DeviceId::new(device), OfDevice { memory, changed: false });
            }
        }
        Ok(())
    });
    forests
}
