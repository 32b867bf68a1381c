//! `deduplicate`: drops further copies of a record.
//!
//! A copy has the device, the event time and the payload of a record before it. A record is remembered until its
//! device's event time has moved on by the horizon. A device's clock moves on by what two of its records
//! in a row agree on, so that one reading from the future does not make it forget everything.

use std::collections::{HashMap, VecDeque};

use compact_str::CompactString;
use smallvec::SmallVec;
use timely::dataflow::channels::pact::Exchange;

use super::barrier::{Barrier, Share, StateOf, earliest, restore};
use super::fork::fork_holding;
use super::stash::Stash;
use super::{Rows, route_device};
use crate::record::{DeviceId, EventTime, Reading};
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode};

/// The readings that are no copies, in source order within each epoch and worker; and how many copies there were.
///
/// `horizon` in microseconds; `None` keeps every record.
pub fn deduplicate<'scope>(
    readings: Rows<'scope, Reading>,
    horizon: Option<i64>,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Reading>, Rows<'scope, u64>) {
    let by_device = Exchange::new(|reading: &Reading| route_device(&reading.device));
    let checkpoints = checkpoints.filter(|_| horizon.is_some()); // nothing is remembered otherwise
    let share = Share::of(&readings.scope());
    let mut copies_of = horizon.map(|horizon| match checkpoints {
        None => Copies::new(horizon),
        Some(_) => Copies::restored(horizon, checkpoints, share),
    });
    let mut stash = Stash::<Reading, 2>::default();
    fork_holding(readings, by_device, "Deduplicate", |capability| {
        let mut barrier = Barrier::new(checkpoints, capability);
        move |input, frontier, unique, copies| {
            stash.fill(input);
            while let Some(([unique_at, copies_at], mut readings)) = stash.complete(frontier) {
                barrier.before(*unique_at.time(), || changes(&mut copies_of));
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
            barrier.passed(earliest([frontier]), || changes(&mut copies_of));
        }
    })
}

fn changes(copies: &mut Option<Copies>) -> Vec<Entry> {
    copies.as_mut().map_or_else(Vec::new, Copies::changes)
}

/// The records within the horizon, of every device; told of readings in source order.
pub struct Copies {
    devices: HashMap<DeviceId, Remembered, foldhash::fast::RandomState>,
    horizon: i64,
    /// Event time of a bucket, in which records are kept on disk; `None` where nothing is.
    bucket: Option<i64>,
    /// Whose records are not on disk as they are here.
    changed: Vec<DeviceId>,
}

/// Of the form of this operator's values on disk.
const VERSION: u8 = 1;
const NAME: &str = "deduplicate";
/// Buckets of a horizon: with more there are more keys, with fewer more is written anew at each commit.
const BUCKETS: i64 = 64;

/// A device, and a bucket of its records by number; `None` is what else is known of it: ([`Copies::bucket`], clock, previous).
type Place = (CompactString, Option<i64>);
type Head = (i64, Option<EventTime>, Option<EventTime>);

impl Copies {
    /// `horizon` in microseconds.
    pub fn new(horizon: i64) -> Copies {
        Copies {
            devices: HashMap::default(),
            horizon,
            bucket: None,
            changed: Vec::new(),
        }
    }

    /// As an earlier run has left it, as far as it is this worker's; keeps account of what changes.
    fn restored(horizon: i64, checkpoints: Option<&Checkpoints>, share: Share) -> Copies {
        let mut copies = Copies::new(horizon);
        copies.bucket = Some((horizon / BUCKETS).max(1));
        restore(checkpoints, StateOf::Deduplicate, |key, value| {
            copies.take_up(key, value, |device| share.has(route_device(device)))
        });
        for device in copies.devices.values_mut() {
            device.records.make_contiguous().sort_unstable();
            device.forget(horizon);
            device.on_disk.sort_unstable();
        }
        copies
    }

    fn take_up(&mut self, key: &[u8], value: &[u8], is_mine: impl Fn(&DeviceId) -> bool) -> Result<(), SnapshotError> {
        let (device, bucket): Place = decode(NAME, None, key)?;
        let device = DeviceId::new(device);
        if !is_mine(&device) {
            return Ok(());
        }
        let remembered = self.devices.entry(device).or_default();
        match bucket {
            None => {
                let (bucket, clock, previous): Head = decode(NAME, Some(VERSION), value)?;
                if self.bucket != Some(bucket) {
                    let flaw = Flaw::Settings("deduplicate.horizon");
                    return Err(SnapshotError::Value { of: NAME, flaw });
                }
                (remembered.clock, remembered.previous) = (clock, previous);
            }
            Some(number) => {
                let records: Vec<(EventTime, u64)> = decode(NAME, Some(VERSION), value)?;
                remembered.records.extend(records);
                remembered.on_disk.push(number);
            }
        }
        Ok(())
    }

    /// Whether it is no copy of a reading before it.
    pub fn is_new(&mut self, reading: &Reading) -> bool {
        let device = match self.devices.get_mut(&reading.device) {
            Some(device) => device,
            None => self.devices.entry(reading.device.clone()).or_default(),
        };
        let is_new = device.is_new(reading.timestamp, reading.fingerprint, self.horizon);
        if is_new && let Some(bucket) = self.bucket {
            if device.changed.is_empty() {
                self.changed.push(reading.device.clone());
            }
            let number = reading.timestamp.div_euclid(bucket);
            if device.changed.last() != Some(&number) {
                device.changed.push(number);
            }
        }
        is_new
    }

    /// What is not on disk as it is here, from now on taken to be.
    fn changes(&mut self) -> Vec<Entry> {
        let Some(bucket) = self.bucket else { return Vec::new() };
        let mut entries = Vec::with_capacity(2 * self.changed.len());
        for id in self.changed.drain(..) {
            let Some(device) = self.devices.get_mut(&id) else {
                continue;
            };
            let key = |number: Option<i64>| encode(None, &(id.text(), number));
            let mut put = |key, value| entries.push(Entry::put(StateOf::Deduplicate as u8, key, value));
            let head: Head = (bucket, device.clock, device.previous);
            put(key(None), encode(Some(VERSION), &head));
            let mut kept = device.on_disk.clone();
            let mut changed = std::mem::take(&mut device.changed);
            changed.sort_unstable();
            changed.dedup();
            for number in changed {
                let records = device.bucket(number, bucket);
                if records.is_empty() {
                    continue; // forgotten at once
                }
                put(key(Some(number)), encode(Some(VERSION), &records));
                if let Err(at) = kept.binary_search(&number) {
                    kept.insert(at, number);
                }
            }
            // Only whole buckets are forgotten on disk; what else is too old is left out when it is read.
            let oldest = device
                .records
                .front()
                .map_or(i64::MAX, |(time, _)| time.div_euclid(bucket));
            let forgotten = kept.partition_point(|number| *number < oldest);
            entries.extend(
                kept.drain(..forgotten)
                    .map(|number| Entry::forget(StateOf::Deduplicate as u8, key(Some(number)))),
            );
            device.on_disk = kept;
        }
        entries
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
    /// Numbers of the buckets that records have come to since the last commit, some of them more than once.
    changed: SmallVec<[i64; 2]>,
    /// Numbers of the buckets that are on disk, in order.
    on_disk: Vec<i64>,
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
        self.forget(horizon);
        true
    }

    fn forget(&mut self, horizon: i64) {
        let forgotten = self.clock.map_or(EventTime::MIN, |clock| clock.saturating_sub(horizon));
        while self.records.front().is_some_and(|(time, _)| *time < forgotten) {
            self.records.pop_front();
        }
    }

    fn bucket(&self, number: i64, size: i64) -> Vec<(EventTime, u64)> {
        let from = self.records.partition_point(|(time, _)| time.div_euclid(size) < number);
        let records = self.records.range(from..);
        records
            .take_while(|(time, _)| time.div_euclid(size) == number)
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Life, Plan, replay, replay_lives};
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
                let (unique, copies) = deduplicate(readings, horizon, None);
                let (position, count) = (seen.clone(), seen);
                unique.inspect(move |reading| position.borrow_mut().push(Ok(reading.position)));
                copies.inspect(move |copies| count.borrow_mut().push(Err(*copies)));
            });
            let mut unique: Vec<u64> = seen.iter().filter_map(|s| s.ok()).collect();
            unique.sort_unstable();
            prop_assert_eq!(unique.len() as u64 + seen.iter().filter_map(|s| s.err()).sum::<u64>(), records.len() as u64);
            prop_assert_eq!(unique, want);
        }

        #[test]
        fn a_run_that_goes_on_from_a_commit_knows_the_same_copies(
            records in proptest::collection::vec((0u8..3, 0i64..60, 0u64..3), 0..150),
            horizon in proptest::option::weighted(0.9, 0i64..100),
            lives in Life::any(),
        ) {
            let readings: Vec<Reading> =
                (0..).zip(&records).map(|(at, (device, time, payload))| reading(at, *device, *time, *payload)).collect();
            let want = match horizon {
                Some(horizon) => reference(&readings, horizon),
                None => (0..readings.len() as u64).collect(),
            };
            let committed = |position: &u64, rows: usize| *position < rows as u64;
            let mut seen = replay_lives(lives, readings, committed, move |readings, _, checkpoints, seen| {
                let (unique, _) = deduplicate(readings, horizon, Some(checkpoints));
                unique.inspect(move |reading| seen.borrow_mut().push(reading.position));
            });
            seen.sort_unstable();
            prop_assert_eq!(seen, want);
        }
    }

    #[test]
    fn a_state_of_another_horizon_or_a_later_version_is_refused() {
        let mut copies = Copies::new(HORIZON);
        copies.bucket = Some(1);
        let (key, value) = (
            encode(None, &("monitor", None::<i64>)),
            encode(Some(VERSION), &(2i64, Some(5i64), Some(5i64))),
        );
        let told = copies
            .take_up(&key, &value, |_| true)
            .expect_err("another horizon")
            .to_string();
        assert!(told.contains("deduplicate.horizon"), "{told}");
        let told = copies
            .take_up(&key, &[VERSION + 1, 0], |_| true)
            .expect_err("a later version")
            .to_string();
        assert!(told.contains("version 2"), "{told}");
        assert!(copies.take_up(&key, &[VERSION, 2, 7], |_| true).is_err());
    }
}
