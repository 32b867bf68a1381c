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
    let mut copies_of = horizon.map(Copies::new);
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
                if let Some(copies_of) = &mut copies_of {
                    readings.retain(|reading| copies_of.is_new(reading));
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

/// The records within the horizon, of every device; told of readings in source order.
pub struct Copies {
    devices: HashMap<DeviceId, Remembered, foldhash::fast::RandomState>,
    horizon: i64,
}

impl Copies {
    /// `horizon` in microseconds.
    pub fn new(horizon: i64) -> Copies {
        Copies {
            devices: HashMap::default(),
            horizon,
        }
    }

    /// Whether it is no copy of a reading before it.
    pub fn is_new(&mut self, reading: &Reading) -> bool {
        let device = match self.devices.get_mut(&reading.device) {
            Some(device) => device,
            None => self.devices.entry(reading.device.clone()).or_default(),
        };
        device.is_new(reading.timestamp, reading.fingerprint, self.horizon)
    }
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
    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Plan, replay};
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

    /// Positions of what is no copy, by the module's words: every record is kept in a list and looked at again.
    fn reference(readings: &[Reading], horizon: i64) -> Vec<u64> {
        let mut kept: Vec<(&Reading, bool)> = Vec::new(); // and whether it is still remembered
        for reading in readings {
            let same = |known: &Reading| {
                (&known.device, known.timestamp, known.fingerprint)
                    == (&reading.device, reading.timestamp, reading.fingerprint)
            };
            if kept.iter().any(|(known, remembered)| *remembered && same(known)) {
                continue;
            }
            kept.push((reading, true));
            let times: Vec<i64> = kept
                .iter()
                .filter(|(of, _)| of.device == reading.device)
                .map(|(of, _)| of.timestamp)
                .collect();
            if let Some(clock) = times.windows(2).map(|pair| pair[0].min(pair[1])).max() {
                for (known, remembered) in kept.iter_mut().filter(|(of, _)| of.device == reading.device) {
                    *remembered &= known.timestamp >= clock - horizon;
                }
            }
        }
        kept.iter().map(|(reading, _)| reading.position).collect()
    }

    fn reading(position: u64, device: u8, timestamp: i64, fingerprint: u64) -> Reading {
        Reading {
            position,
            timestamp,
            received: i64::MAX,
            device: DeviceId::new(format!("monitor-{device}")),
            patient: None,
            measures: Default::default(),
            fingerprint,
            facts: None,
            late: false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_a_copy_depends_on_neither_epochs_nor_workers(
            records in proptest::collection::vec((0u8..3, 0i64..60, 0u64..3), 0..150),
            horizon in proptest::option::weighted(0.9, 0i64..40),
            plan in Plan::any(),
        ) {
            let readings: Vec<Reading> =
                (0..).zip(&records).map(|(at, (device, time, payload))| reading(at, *device, *time, *payload)).collect();
            let want = match horizon {
                Some(horizon) => reference(&readings, horizon),
                None => (0..readings.len() as u64).collect(),
            };
            let seen = replay(plan, readings, move |readings, _, seen| {
                let (unique, copies) = deduplicate(readings, horizon);
                let (position, count) = (seen.clone(), seen);
                unique.inspect(move |reading| position.borrow_mut().push(Ok(reading.position)));
                copies.inspect(move |copies| count.borrow_mut().push(Err(*copies)));
            });
            let mut unique: Vec<u64> = seen.iter().filter_map(|s| s.ok()).collect();
            unique.sort_unstable();
            prop_assert_eq!(unique.len() as u64 + seen.iter().filter_map(|s| s.err()).sum::<u64>(), records.len() as u64);
            prop_assert_eq!(unique, want);
        }
    }
}
