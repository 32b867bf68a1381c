//! `enrich`: joins each reading with what the device collection says of its device.

use std::sync::Arc;

use differential_dataflow::operators::arrange::{Arranged, upsert};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};

use super::lookup::{DeviceTrace, lookup};
use super::{DeviceKey, Rows};
use crate::record::{Device, DeviceId, Known, Reading};
use crate::source::Time;

/// A change of the device collection: a device's facts, or `None` for its removal, from an epoch on.
pub type DeviceUpdate = (DeviceKey, Option<Known>, Time);

/// Arranges the device collection; updates take effect at their epoch.
pub fn arrange_devices<'scope>(updates: Rows<'scope, DeviceUpdate>) -> Arranged<'scope, DeviceTrace> {
    type Builder = ValBuilder<DeviceKey, Known, Time, isize>;
    type Spine = ValSpine<DeviceKey, Known, Time, isize>;
    upsert::arrange_from_upsert::<Builder, Spine, DeviceKey, Known>(updates, "Devices")
}

/// Readings with their device's facts: as the collection is in their epoch, and as it says of their event time. A device that it does not
/// know then keeps what its record carried. They must be where their device is, as [`deduplicate`](super::deduplicate()) leaves them.
pub fn enrich<'scope>(
    readings: Rows<'scope, Reading>,
    devices: Arranged<'scope, DeviceTrace>,
) -> Rows<'scope, Reading> {
    let device: fn(&Reading) -> &DeviceId = |reading| &reading.device;
    lookup(
        readings,
        devices,
        device,
        |reading| reading.position,
        |reading, known| {
            if let Some(known) = known.and_then(|known| known.at(reading.timestamp)) {
                reading.facts = Some(match &reading.facts {
                    Some(carried) => Arc::new(complete(carried, known)),
                    None => Arc::clone(known),
                });
            }
        },
    )
}

/// What the record says of its device wins over the collection, column by column.
fn complete(carried: &Device, known: &Device) -> Device {
    Device {
        manufacturer: carried.manufacturer.clone().or_else(|| known.manufacturer.clone()),
        model: carried.model.clone().or_else(|| known.model.clone()),
        columns: known.columns.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use compact_str::CompactString;
    use proptest::prelude::*;
    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::{Exchange, Inspect, Probe};

    use super::super::route_device;
    use super::*;
    use crate::devices::{Changes, Collection, Wanted};
    use crate::record::{Period, Zone};

    fn reading(position: u64) -> Reading {
        Reading {
            position,
            timestamp: 0,
            received: i64::MAX,
            device: DeviceId::new("monitor"),
            patient: None,
            measures: Default::default(),
            fingerprint: 0,
            facts: None,
            late: false,
        }
    }

    fn made_by(manufacturer: &str) -> Option<Known> {
        Some(Known::Always(Arc::new(Device {
            manufacturer: Some(manufacturer.into()),
            ..Device::default()
        })))
    }

    /// However late the updates come, a reading meets the device as of its own epoch, and waits for it.
    #[test]
    fn a_reading_meets_its_device_as_of_its_own_epoch() {
        let seen = timely::execute_directly(|worker| {
            let mut readings = InputHandle::<Time, CapacityContainerBuilder<Vec<Reading>>>::new();
            let mut devices = InputHandle::<Time, CapacityContainerBuilder<Vec<_>>>::new();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let probe = worker.dataflow::<Time, _, _>(|scope| {
                let table = arrange_devices(devices.to_stream(scope));
                let into = Rc::clone(&seen);
                enrich(readings.to_stream(scope), table)
                    .inspect(move |reading: &Reading| {
                        let manufacturer = reading.facts.as_ref().and_then(|facts| facts.manufacturer.clone());
                        into.borrow_mut().push((reading.position, manufacturer));
                    })
                    .probe()
                    .0
            });
            for epoch in 0..6 {
                readings.send(reading(epoch));
                readings.advance_to(epoch + 1);
            }
            for _ in 0..50 {
                worker.step();
            }
            assert!(seen.borrow().is_empty(), "readings wait for the collection");
            for (epoch, update) in [(1, made_by("a")), (3, made_by("b")), (5, None)] {
                devices.advance_to(epoch);
                devices.send((DeviceKey(DeviceId::new("monitor")), update, epoch));
            }
            devices.close();
            readings.close();
            while !probe.done() {
                worker.step();
            }
            seen.take()
        });
        let by = |name: &str| Some(CompactString::new(name));
        assert_eq!(
            seen,
            [
                (0, None),
                (1, by("a")),
                (2, by("a")),
                (3, by("b")),
                (4, by("b")),
                (5, None)
            ]
        );
    }

    #[test]
    fn a_reading_meets_its_device_as_of_its_event_time() {
        let device = |manufacturer: &str| match made_by(manufacturer) {
            Some(Known::Always(device)) => device,
            _ => unreachable!("made_by knows no periods"),
        };
        let period = |from, until, manufacturer| Period {
            from,
            until,
            device: device(manufacturer),
        };
        let known = Known::Periods(Box::new([period(0, 2, "a"), period(3, 5, "b")]));
        let seen = timely::execute_directly(|worker| {
            let mut readings = InputHandle::<Time, CapacityContainerBuilder<Vec<Reading>>>::new();
            let mut devices = InputHandle::<Time, CapacityContainerBuilder<Vec<_>>>::new();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let into = Rc::clone(&seen);
            worker.dataflow::<Time, _, _>(|scope| {
                let table = arrange_devices(devices.to_stream(scope));
                enrich(readings.to_stream(scope), table).inspect(move |reading: &Reading| {
                    let facts = reading.facts.as_ref();
                    let manufacturer = facts.and_then(|facts| facts.manufacturer.as_deref().map(str::to_owned));
                    into.borrow_mut().push(manufacturer);
                });
            });
            devices.send((DeviceKey(DeviceId::new("monitor")), Some(known), 0));
            for timestamp in -1..6 {
                let position = (timestamp + 1) as u64;
                readings.send(Reading {
                    timestamp,
                    ..reading(position)
                });
            }
            devices.close();
            readings.close();
            while worker.has_dataflows() {
                worker.step();
            }
            seen.take()
        });
        let seen: Vec<&str> = seen.iter().map(|maker| maker.as_deref().unwrap_or("-")).collect();
        assert_eq!(seen, ["-", "a", "a", "-", "b", "b", "-"]);
    }

    /// What a version says of each of a few devices: who has made it.
    type Version = Vec<Option<u8>>;

    fn collection(version: &Version) -> Collection {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("devices.csv");
        let row = |(device, maker): (usize, &Option<u8>)| Some(format!("d{device},maker{},m\n", (*maker)?));
        let rows: String = version.iter().enumerate().filter_map(row).collect();
        std::fs::write(&path, format!("device_id,manufacturer,model\n{rows}")).expect("a file");
        let (further, zone) = (Vec::new(), Zone::new(jiff::tz::TimeZone::UTC, 1000));
        Collection::load(&path, &Wanted { further, zone }).expect("a collection")
    }

    /// What worker 0 is given of the versions: at the first epoch all, then what differs.
    fn updates(versions: &[Version]) -> Vec<Vec<(DeviceKey, Option<Known>)>> {
        let mut before = Collection::default();
        let mut changes = Vec::new();
        for version in versions {
            let between = Changes::between(before, collection(version));
            let updates = between.devices.into_iter();
            changes.push(updates.map(|(id, known)| (DeviceKey(id), known)).collect());
            before = collection(version);
        }
        changes
    }

    /// Readings, each in the epoch and of the device given, while versions change as given with their epochs; who has made the devices.
    fn enriched(
        workers: usize,
        readings: &[(Time, usize)],
        versions: &[(Time, Version)],
    ) -> Vec<(u64, Option<String>)> {
        let (times, versions): (Vec<Time>, Vec<Version>) = versions.iter().cloned().unzip();
        let changes: Vec<_> = times.into_iter().zip(updates(&versions)).collect();
        let readings = readings.to_vec();
        let seen = timely::execute(timely::Config::process(workers), move |worker| {
            let mut rows = InputHandle::<Time, CapacityContainerBuilder<Vec<Reading>>>::new();
            let mut devices = InputHandle::<Time, CapacityContainerBuilder<Vec<DeviceUpdate>>>::new();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let into = Rc::clone(&seen);
            worker.dataflow::<Time, _, _>(|scope| {
                let table = arrange_devices(devices.to_stream(scope));
                let rows = rows
                    .to_stream(scope)
                    .exchange(|reading: &Reading| route_device(&reading.device));
                enrich(rows, table).inspect(move |reading: &Reading| {
                    let facts = reading.facts.as_ref();
                    let maker = facts.and_then(|facts| facts.manufacturer.as_deref().map(str::to_owned));
                    into.borrow_mut().push((reading.position, maker));
                });
            });
            let mut devices = Some(devices).filter(|_| worker.index() == 0);
            let last = readings
                .iter()
                .map(|(epoch, _)| *epoch)
                .chain(changes.iter().map(|(epoch, _)| *epoch))
                .max();
            for epoch in 0..=last.unwrap_or(0) {
                if let Some(devices) = &mut devices {
                    for (_, updates) in changes.iter().filter(|(from, _)| *from == epoch) {
                        updates
                            .iter()
                            .cloned()
                            .for_each(|(key, known)| devices.send((key, known, epoch)));
                    }
                    devices.advance_to(epoch + 1);
                }
                for (position, (_, device)) in (0..).zip(&readings).filter(|(_, (of, _))| *of == epoch) {
                    if position as usize % workers == worker.index() {
                        let device = DeviceId::new(format!("d{device}"));
                        rows.send(Reading {
                            device,
                            ..reading(position)
                        });
                    }
                }
                rows.advance_to(epoch + 1);
                if (epoch as usize + worker.index()).is_multiple_of(2) {
                    worker.step();
                }
            }
            rows.close();
            drop(devices);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
            seen.take()
        });
        let seen = seen.expect("threads of this process").join().into_iter();
        let mut seen: Vec<_> = seen.flat_map(|seen| seen.expect("a worker")).collect();
        seen.sort();
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Versions come in force between readings. Where else epochs are cut, and how many workers there are, shows in no row.
        #[test]
        fn readings_meet_the_version_in_force_wherever_epochs_are_cut_and_whoever_reads_them(
            versions in proptest::collection::vec(proptest::collection::vec(proptest::option::of(0u8..3), 6), 1..6),
            readings in proptest::collection::vec((0usize..8, 0usize..6), 0..120),
            cuts in proptest::collection::vec(any::<bool>(), 120),
            workers in 1usize..4,
        ) {
            // A reading's first number is the version it falls to, in order.
            let mut readings = readings;
            readings.iter_mut().for_each(|(version, _)| *version %= versions.len());
            readings.sort_by_key(|(version, _)| *version);
            let want: Vec<(u64, Option<String>)> = (0..).zip(&readings).map(|(position, (version, device))| {
                let maker = versions[*version].get(*device).copied().flatten();
                (position, maker.map(|maker| format!("maker{maker}")))
            }).collect();
            let (mut epoch, mut before) = (0, 0);
            let mut placed = Vec::new();
            let mut in_force = vec![(0, versions[0].clone())];
            for ((version, device), cut) in readings.iter().zip(&cuts) {
                while before < *version {
                    before += 1;
                    epoch += 1;
                    in_force.push((epoch, versions[before].clone()));
                }
                epoch += Time::from(*cut);
                placed.push((epoch, *device));
            }
            prop_assert_eq!(enriched(workers, &placed, &in_force), want);
        }
    }
}
