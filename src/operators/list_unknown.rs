//! `list_unknown`: which devices send readings that the device collection does not know, and how many.
//!
//! A changing collection, and kept as one: differential counts the readings of each unknown device, and worker 0 writes
//! the list beside the state at every commit, for those who maintain the collection.

use std::collections::{BTreeMap, BTreeSet};
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
use super::barrier::{Barrier, StateOf, earliest, restore};
use super::tap::tap;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::record::Reading;
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

/// The readings unchanged. What else comes out is progress: the list of a commit is written before the commit is made.
pub fn list_unknown<'scope>(
    readings: Rows<'scope, Reading>,
    mut list: Option<UnknownDevices>,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Reading>, Rows<'scope, Staged>) {
    let (readings, unknown) =
        tap::<_, _, _, CapacityContainerBuilder<Vec<CompactString>>, _>(readings, "Unknown", |reading: &Reading| {
            reading.facts.is_none().then(|| reading.device.text().clone())
        });
    let counts = changes(unknown).as_collection().count_total().inner;
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

    use super::super::replay::{Life, replay_lives};
    use super::*;
    use crate::record::{Device, DeviceId};

    fn reading(position: u64, device: u8, is_known: bool) -> Reading {
        Reading {
            position,
            timestamp: 0,
            received: i64::MAX,
            device: DeviceId::new(format!("d{device}")),
            patient: None,
            measures: Default::default(),
            fingerprint: 0,
            facts: is_known.then(|| Arc::new(Device::default())),
            late: false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_list_counts_all_readings_however_often_the_run_was_broken_off(
            records in proptest::collection::vec((0u8..5, any::<bool>()), 0..100), lives in Life::any(),
        ) {
            let mut want = BTreeMap::<String, u64>::new();
            for (device, _) in records.iter().filter(|(_, is_known)| !is_known) {
                *want.entry(format!("d{device}")).or_default() += 1;
            }
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("unknown.csv");
            let rows = (0..).zip(&records).map(|(at, (device, is_known))| reading(at, *device, *is_known)).collect();
            let to = path.clone();
            let seen = replay_lives(lives, rows, |_: &(), _| true, move |readings, _, checkpoints, _| {
                let list = (readings.scope().index() == 0).then(|| UnknownDevices::new(to.clone()));
                list_unknown(readings, list, Some(checkpoints));
            });
            prop_assert!(seen.is_empty());
            let listed = fs::read_to_string(&path).unwrap_or_else(|_| "device_id,readings\n".into());
            let listed: BTreeMap<String, u64> = listed
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(','))
                .map(|(device, readings)| (device.to_owned(), readings.parse().expect("a number")))
                .collect();
            prop_assert_eq!(listed, want);
        }
    }
}
