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
/// know then keeps what its record carried.
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
    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::{Inspect, Probe};

    use super::*;
    use crate::record::Period;

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
}
