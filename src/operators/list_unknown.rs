//! `list_unknown`: which devices send readings that the device collection does not know, and how many.
//!
//! A changing collection, and kept as one: differential counts the readings of each unknown device, and worker 0 writes
//! the list beside the state at every commit, for those who maintain the collection. Devices that make up a new id with every
//! start cannot make it grow for ever: of each shard the first so many are listed, and all others together in a row without id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::PathBuf;

use compact_str::CompactString;
use differential_dataflow::AsCollection;
use differential_dataflow::operators::CountTotal;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

use super::Rows;
use super::barrier::{Barrier, Share, StateOf, earliest, restore};
use super::shard::{route_device, shard_of_device};
use super::stash::Stash;
use super::tap::tap;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::record::{DeviceId, Reading};
use crate::sink::SinkError;
use crate::snapshot::{Checkpoints, Entry, decode, encode};
use crate::source::{Time, commit_of, end_of_commit};

/// Where the list goes; there on worker 0 only.
pub struct UnknownDevices {
    path: PathBuf,
    readings: BTreeMap<CompactString, isize>,
    /// As earlier runs have left them: this one counts from 0.
    before: BTreeMap<CompactString, isize>,
    changed: BTreeSet<CompactString>,
}

/// Devices of a shard that are listed by their ids: about thirty thousand in all.
const MOST: usize = if cfg!(test) { 1 } else { 32 };

const VERSION: u8 = 1;
const NAME: &str = "the unknown devices";

impl UnknownDevices {
    /// The list is written to `path`, as CSV.
    pub fn new(path: PathBuf) -> UnknownDevices {
        UnknownDevices {
            path,
            readings: BTreeMap::new(),
            before: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes up the counts of earlier runs.
    fn go_on(&mut self, checkpoints: Option<&Checkpoints>) {
        restore(checkpoints, StateOf::ListUnknown, |key, value| {
            let (device, readings) = (decode(NAME, None, key)?, decode(NAME, Some(VERSION), value)?);
            self.before.insert(device, readings);
            Ok(())
        });
        self.readings = self.before.clone();
    }

    /// Takes the counts of a commit.
    fn update(&mut self, mut changes: Vec<Change>) {
        changes.sort_by_key(|(_, time, change)| (*time, *change)); // a count goes before the next one comes
        for ((device, readings), _, change) in changes {
            if change > 0 {
                let before = self.before.get(&device).copied().unwrap_or_default();
                self.changed.insert(device.clone());
                self.readings.insert(device, before + readings);
            }
        }
    }

    fn changes(&mut self) -> Vec<Entry> {
        let put = |device: &CompactString, readings: &isize| {
            let (key, value) = (encode(None, device), encode(Some(VERSION), readings));
            Entry::put(StateOf::ListUnknown as u8, key, value)
        };
        std::mem::take(&mut self.changed)
            .iter()
            .filter_map(|device| Some(put(device, self.readings.get(device)?)))
            .collect()
    }

    fn write(&self) -> Result<(), SinkError> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let failed = |e: csv::Error| SinkError::io(&self.path)(io::Error::other(e));
        csv.write_record(["device_id", "readings"]).map_err(failed)?;
        for (device, readings) in &self.readings {
            csv.write_record([device.as_str(), &readings.to_string()])
                .map_err(failed)?;
        }
        let bytes = csv
            .into_inner()
            .map_err(|e| SinkError::io(&self.path)(e.into_error()))?;
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, bytes)
            .and_then(|()| fs::rename(&fresh, &self.path))
            .map_err(SinkError::io(&self.path))
    }
}

/// A device's count comes or goes.
type Change = ((CompactString, isize), Time, isize);

/// The readings, which must be where their device is, unchanged. What else comes out is progress: the list of a commit is written before the commit is made.
pub fn list_unknown<'scope>(
    readings: Rows<'scope, Reading>,
    mut list: Option<UnknownDevices>,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Reading>, Rows<'scope, Staged>) {
    let (readings, unknown) =
        tap::<_, _, _, CapacityContainerBuilder<Vec<DeviceId>>, _>(readings, "Unknown", |reading: &Reading| {
            reading.facts.is_none().then(|| reading.device.clone())
        });
    let counts = changes(listed(unknown, checkpoints))
        .as_collection()
        .count_total()
        .inner;
    let to_one = Exchange::new(|_: &Change| 0);
    let mut held = BTreeMap::new();
    let checkpoints = checkpoints.filter(|_| list.is_some());
    if let Some(list) = &mut list {
        list.go_on(checkpoints);
    }
    let staged = counts.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(
        to_one,
        "ListUnknown",
        |capability, _| {
            let mut barrier = Barrier::new(checkpoints, capability);
            let snapshot =
                |list: &mut Option<UnknownDevices>| list.as_mut().map_or_else(Vec::new, UnknownDevices::changes);
            move |(input, frontier), _output| {
                input.for_each_stamp(|stamp, batches| {
                    // Changes of several epochs come together, under the stamp of the first.
                    for change in batches.flat_map(|batch| batch.drain(..)) {
                        let time = change.1;
                        let (_, changes) = held
                            .entry(commit_of(time))
                            .or_insert_with(|| (stamp.delayed(&time, 0), Vec::new()));
                        changes.push(change);
                    }
                });
                while let Some(first) = held.first_entry() {
                    if frontier.less_equal(&end_of_commit(*first.key())) {
                        break;
                    }
                    barrier.before(end_of_commit(*first.key()), || snapshot(&mut list));
                    let (_capability, changes) = first.remove();
                    if let Some(list) = list.as_mut() {
                        list.update(changes);
                        list.write().unwrap_or_else(|e| halt(e));
                    }
                }
                barrier.passed(earliest([frontier]), || snapshot(&mut list));
            }
        },
    );
    (readings, staged)
}

/// The devices' ids; no id in place of those that are one too many. Which these are does not depend on the workers: in each epoch the
/// first by id come first.
fn listed<'scope>(devices: Rows<'scope, DeviceId>, checkpoints: Option<&Checkpoints>) -> Rows<'scope, CompactString> {
    let share = Share::of(&devices.scope());
    let mut ids = HashMap::<u64, BTreeSet<CompactString>>::new();
    restore(checkpoints, StateOf::ListUnknown, |key, _| {
        let id = DeviceId::new(decode::<CompactString>(NAME, None, key)?);
        if share.has(route_device(&id)) && !id.text().is_empty() {
            ids.entry(shard_of_device(&id)).or_default().insert(id.text().clone());
        }
        Ok(())
    });
    let mut stash = Stash::<DeviceId>::default();
    devices.unary_frontier::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Listed", |_, _| {
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], devices)) = stash.complete(frontier) {
                let devices = devices.in_order(|a, b| a.text().cmp(b.text()));
                let listed = devices.iter().map(|device| {
                    let of_shard = ids.entry(shard_of_device(device)).or_default();
                    if of_shard.len() < MOST {
                        of_shard.insert(device.text().clone());
                    }
                    of_shard.get(device.text()).cloned().unwrap_or_default()
                });
                output.session(&capability).give_iterator(listed);
            }
        }
    })
}

/// Rows as changes of a collection, each at its own epoch.
fn changes(devices: Rows<'_, CompactString>) -> Rows<'_, (CompactString, Time, isize)> {
    devices.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Changes", |_, _| {
        |input, output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                let devices = batches.flat_map(|batch| batch.drain(..));
                output
                    .session(&stamp)
                    .give_iterator(devices.map(|device| (device, time, 1)));
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use timely::dataflow::operators::Exchange;

    use super::super::replay::{Life, replay_lives};
    use super::*;
    use crate::record::{Device, DeviceId};

    fn reading(position: u64, device: &str, is_known: bool) -> Reading {
        Reading {
            position,
            timestamp: 0,
            received: i64::MAX,
            device: DeviceId::new(device),
            patient: None,
            measures: Default::default(),
            fingerprint: 0,
            facts: is_known.then(|| Arc::new(Device::default())),
            late: false,
        }
    }

    /// Six devices: the first three are of one shard, each other one is alone in its own.
    fn devices() -> [String; 6] {
        let names = || (0..).map(|n| format!("d{n}"));
        let shard = |name: &String| shard_of_device(&DeviceId::new(name.as_str()));
        let one = shard(&"d0".to_owned());
        let mut found: Vec<String> = names().filter(|name| shard(name) == one).take(3).collect();
        let mut taken = BTreeSet::from([one]);
        found.extend(names().filter(|name| taken.insert(shard(name))).take(3));
        found.try_into().expect("six")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_list_counts_all_readings_however_often_the_run_was_broken_off(
            records in proptest::collection::vec((0usize..6, any::<bool>()), 0..100), lives in Life::any(),
        ) {
            let devices = devices();
            let mut want = BTreeMap::<&str, u64>::new();
            for (device, _) in records.iter().filter(|(_, is_known)| !is_known) {
                *want.entry(&devices[*device]).or_default() += 1;
            }
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("unknown.csv");
            let rows = (0..)
                .zip(&records)
                .map(|(at, (device, is_known))| reading(at, &devices[*device], *is_known))
                .collect();
            let to = path.clone();
            let seen = replay_lives(lives, rows, |_: &(), _| true, move |readings, _, checkpoints, _| {
                let list = (readings.scope().index() == 0).then(|| UnknownDevices::new(to.clone()));
                let readings = readings.exchange(|reading: &Reading| route_device(&reading.device));
                list_unknown(readings, list, Some(checkpoints));
            });
            prop_assert!(seen.is_empty());
            let listed = fs::read_to_string(&path).unwrap_or_else(|_| "device_id,readings\n".into());
            let mut listed: BTreeMap<&str, u64> = listed
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(','))
                .map(|(device, readings)| (device, readings.parse().expect("a number")))
                .collect();
            let without_id = listed.remove("").unwrap_or_default();
            prop_assert_eq!(without_id + listed.values().sum::<u64>(), want.values().sum::<u64>());
            prop_assert!(listed.iter().all(|(device, readings)| want.get(device) == Some(readings)));
            let (crowd, alone) = devices.split_at(3);
            let of_crowd = |devices: &BTreeMap<&str, u64>| crowd.iter().filter(|id| devices.contains_key(id.as_str())).count();
            prop_assert_eq!(of_crowd(&listed), of_crowd(&want).min(MOST));
            prop_assert!(alone.iter().all(|id| listed.get(id.as_str()) == want.get(id.as_str())));
        }
    }
}
