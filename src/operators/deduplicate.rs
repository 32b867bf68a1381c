//! `deduplicate`: drops further copies of a record.
//!
//! A copy has the device, the event time and the payload of a record before it. A record is remembered until its
//! device's event time has moved on by the horizon. A device's clock moves on by what two of its records
//! in a row agree on, so that one reading from the future does not make it forget everything.

use std::collections::{HashMap, VecDeque};

use timely::dataflow::channels::pact::Exchange;

use super::fork::fork;
use super::stash::Stash;
use super::{Rows, route_device};
use crate::record::{DeviceId, EventTime, Reading};

/// The readings that are no copies, in source order within each epoch and worker; and how many copies there were.
///
/// `horizon` in microseconds; `None` keeps every record.
pub fn deduplicate<'scope>(
    readings: Rows<'scope, Reading>,
    horizon: Option<i64>,
) -> (Rows<'scope, Reading>, Rows<'scope, u64>) {
    let by_device = Exchange::new(|reading: &Reading| route_device(&reading.device));
    let mut devices: HashMap<DeviceId, Remembered, foldhash::fast::RandomState> = HashMap::default();
    let mut stash = Stash::<Reading, 2>::default();
    fork(
        readings,
        by_device,
        "Deduplicate",
        move |input, frontier, unique, copies| {
            stash.fill(input);
            while let Some(([unique_at, copies_at], mut readings)) = stash.complete(frontier) {
                readings.sort_by_key(|reading| reading.position);
                let before = readings.len();
                if let Some(horizon) = horizon {
                    readings.retain(|reading| {
                        let device = match devices.get_mut(&reading.device) {
                            Some(device) => device,
                            None => devices.entry(reading.device.clone()).or_default(),
                        };
                        device.is_new(reading.timestamp, reading.fingerprint, horizon)
                    });
                }
                let dropped = (before - readings.len()) as u64;
                unique.session(&unique_at).give_container(&mut readings);
                if dropped > 0 {
                    copies.session(&copies_at).give(dropped);
                }
            }
        },
    )
}

/// The records of one device within the horizon.
#[derive(Default)]
struct Remembered {
    /// (event time, payload hash) in order.
    records: VecDeque<(EventTime, u64)>,
    /// The highest event time that two records in a row have reached.
    clock: Option<EventTime>,
    previous: Option<EventTime>,
}

impl Remembered {
    fn is_new(&mut self, time: EventTime, fingerprint: u64, horizon: i64) -> bool {
        let record = (time, fingerprint);
        // Most records are newer than all before them: those need no search.
        if self.records.back().is_none_or(|last| *last < record) {
            self.records.push_back(record);
        } else {
            match self.records.binary_search(&record) {
                Ok(_) => return false,
                Err(at) => self.records.insert(at, record),
            }
        }
        if let Some(previous) = self.previous.replace(time) {
            self.clock = self.clock.max(Some(previous.min(time)));
        }
        let forgotten = self.clock.map_or(EventTime::MIN, |clock| clock.saturating_sub(horizon));
        while self.records.front().is_some_and(|(time, _)| *time < forgotten) {
            self.records.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: i64 = 10;

    #[test]
    fn a_copy_within_the_horizon_is_dropped_and_a_different_payload_is_not() {
        let mut device = Remembered::default();
        assert!(device.is_new(5, 1, HORIZON));
        assert!(!device.is_new(5, 1, HORIZON));
        assert!(device.is_new(5, 2, HORIZON));
        assert!(device.is_new(6, 1, HORIZON));
        assert!(!device.is_new(5, 2, HORIZON));
    }

    #[test]
    fn records_behind_the_horizon_are_forgotten() {
        let mut device = Remembered::default();
        for time in 0..1000 {
            assert!(device.is_new(time, 7, HORIZON));
        }
        assert!(device.records.len() <= HORIZON as usize + 2);
        assert!(device.is_new(0, 7, HORIZON), "too old to be recognised");
    }

    #[test]
    fn one_reading_from_the_future_does_not_make_a_device_forget() {
        let mut device = Remembered::default();
        assert!(device.is_new(100, 1, HORIZON));
        assert!(device.is_new(1_000_000, 2, HORIZON));
        assert!(device.is_new(101, 3, HORIZON));
        assert!(!device.is_new(100, 1, HORIZON));
        assert!(!device.is_new(1_000_000, 2, HORIZON));
    }
}
