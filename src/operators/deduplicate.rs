//! `deduplicate`: drops further copies of a record.
//!
//! A copy has the device, the event time and the payload of a record before it; [`copies`] says how long a record is remembered.

mod copies;
mod shard_clock;
mod state;

pub use self::copies::Copies;
use super::barrier::{Barrier, Share, earliest};
use super::fork::fork_holding;
use super::stash::Stash;
use super::to_owner::to_owner;
use super::{Rows, route_device};
use crate::record::Reading;
use crate::snapshot::{Checkpoints, Entry};

/// The readings that are no copies, in source order within each epoch and worker; and how many copies there were.
///
/// `horizon` in microseconds; `None` keeps every record.
pub fn deduplicate<'scope>(
    readings: Rows<'scope, Reading>,
    horizon: Option<i64>,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Reading>, Rows<'scope, u64>) {
    let by_device = to_owner(|reading: &Reading| route_device(&reading.device));
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
            while let Some(([unique_at, copies_at], readings)) = stash.complete(frontier) {
                barrier.before(*unique_at.time(), || changes(&mut copies_of, usize::MAX));
                let mut readings = readings.in_order(|a, b| a.position.cmp(&b.position));
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
            barrier.passed(earliest([frontier]), || changes(&mut copies_of, usize::MAX));
            barrier.ahead(|at_most| changes(&mut copies_of, at_most));
        }
    })
}

fn changes(copies: &mut Option<Copies>, at_most: usize) -> Vec<Entry> {
    copies.as_mut().map_or_else(Vec::new, |copies| copies.changes(at_most))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Life, Plan, replay, replay_lives};
    use super::super::shard::shard_of_device;
    use super::*;
    use crate::record::{DeviceId, EventTime};

    const HORIZON: i64 = 10;

    /// Of one device: event time, payload.
    fn of_a_file(timestamp: i64, fingerprint: u64) -> Reading {
        reading(0, 0, timestamp, EventTime::MAX, fingerprint)
    }

    /// Of one device: receive time, event time.
    fn of_a_broker(received: i64, timestamp: i64) -> Reading {
        reading(0, 0, timestamp, received, 7)
    }

    fn reading(position: u64, device: u8, timestamp: i64, received: i64, fingerprint: u64) -> Reading {
        Reading {
            position,
            timestamp,
            received,
            device: device_of(device),
            patient: None,
            measures: Default::default(),
            fingerprint,
            facts: None,
            late: false,
        }
    }

    const DEVICES: u8 = 4;

    /// The last of them, and no others, share a shard.
    fn device_of(number: u8) -> DeviceId {
        let of = |number: u64| DeviceId::new(format!("monitor-{number}"));
        let first = of(u64::from(DEVICES - 2));
        match number {
            number if number < DEVICES - 1 => of(number.into()),
            _ => (1000..)
                .map(of)
                .find(|device| shard_of_device(device) == shard_of_device(&first))
                .expect("shards are finite"),
        }
    }

    #[test]
    fn a_copy_within_the_horizon_is_dropped_and_a_different_payload_is_not() {
        let mut copies = Copies::new(HORIZON);
        assert!(copies.is_new(&of_a_file(5, 1)));
        assert!(!copies.is_new(&of_a_file(5, 1)));
        assert!(copies.is_new(&of_a_file(5, 2)));
        assert!(copies.is_new(&of_a_file(6, 1)));
        assert!(!copies.is_new(&of_a_file(5, 2)));
    }

    #[test]
    fn records_behind_the_horizon_are_forgotten() {
        for received in [|_| EventTime::MAX, |time| time] {
            let mut copies = Copies::new(HORIZON);
            for time in 0..1000 {
                assert!(copies.is_new(&reading(0, 0, time, received(time), 7)));
            }
            let buckets = copies.devices.values().flat_map(|device| &device.buckets);
            assert!(buckets.map(|bucket| bucket.records.len()).sum::<usize>() <= HORIZON as usize + 2);
            assert!(
                copies.is_new(&reading(0, 0, 0, received(1000), 7)),
                "too old to be recognised"
            );
        }
    }

    #[test]
    fn one_reading_from_the_future_does_not_make_a_device_forget() {
        let mut copies = Copies::new(HORIZON);
        assert!(copies.is_new(&of_a_file(100, 1)));
        assert!(copies.is_new(&of_a_file(1_000_000, 2)));
        assert!(copies.is_new(&of_a_file(101, 3)));
        assert!(!copies.is_new(&of_a_file(100, 1)));
        assert!(!copies.is_new(&of_a_file(1_000_000, 2)));
    }

    #[test]
    fn what_a_broker_sends_again_after_an_outage_longer_than_the_horizon_is_recognised() {
        let mut copies = Copies::new(HORIZON);
        let unacknowledged = [1, 2, 3];
        for time in unacknowledged {
            assert!(copies.is_new(&of_a_broker(time, time)));
        }
        let back = 1000 * HORIZON;
        for time in unacknowledged {
            assert!(!copies.is_new(&of_a_broker(back, time)));
        }
        assert!(copies.is_new(&of_a_broker(back, 4)), "and this was not received before");
    }

    #[test]
    fn a_wrong_clock_of_a_device_does_not_make_a_live_run_forget() {
        let mut copies = Copies::new(HORIZON);
        for time in [5, 1_000_000, 2_000_000, 6] {
            assert!(copies.is_new(&of_a_broker(1, time)));
            assert!(!copies.is_new(&of_a_broker(2, time)));
            assert!(!copies.is_new(&of_a_broker(2, 5)));
        }
    }

    #[test]
    fn an_outage_of_one_session_does_not_make_the_others_devices_forget() {
        let mut copies = Copies::new(640); // buckets of 10
        let of = |device, received, timestamp| reading(0, device, timestamp, received, 7);
        for device in 0..DEVICES {
            assert!(copies.is_new(&of(device, 0, 0)));
        }
        let back = 1_000_000;
        assert!(
            copies.is_new(&of(0, back, 1)),
            "the first session is back with something new"
        );
        for device in 0..DEVICES {
            assert!(
                !copies.is_new(&of(device, back + 1, 0)),
                "and the second with what was not acknowledged"
            );
        }
    }

    #[test]
    fn devices_that_come_and_go_leave_nothing_behind() {
        let mut copies = Copies::new(64);
        copies.changed = Some(Vec::new());
        let mut on_disk = std::collections::HashSet::new();
        for time in 0..2_000 {
            for bed in 0..300 {
                let monitor = DeviceId::new(format!("bed-{bed}-{}", (time + bed) / 100));
                let reading = of_a_broker(time, time);
                assert!(copies.is_new(&Reading {
                    device: monitor,
                    ..reading
                }));
            }
            if time % 50 == 0 {
                for Entry { operator, key, value } in copies.changes(usize::MAX) {
                    match value {
                        Some(_) => _ = on_disk.insert((operator, key)),
                        None => _ = on_disk.remove(&(operator, key)),
                    }
                }
            }
        }
        // The 300 that are there, and at most the last ones of each shard.
        let (devices, entries) = (copies.devices.len(), on_disk.len());
        assert!(devices < 300 + 1_200, "{devices} of 6,000 devices are remembered");
        assert!(
            entries <= 1_024 + 67 * devices,
            "{entries} entries on disk for {devices} devices"
        );
    }

    /// Positions of what is no copy, by the words of [`copies`]: every record is kept in a list and looked at again.
    fn reference(readings: &[Reading], horizon: i64) -> Vec<u64> {
        let bucket = Copies::new(horizon).bucket;
        let shard = |reading: &Reading| shard_of_device(&reading.device);
        // Each with what its shard's clock showed, and whether it is still remembered.
        let mut kept: Vec<(&Reading, i64, bool)> = Vec::new();
        for reading in readings {
            let same = |known: &Reading| {
                (&known.device, known.timestamp, known.fingerprint)
                    == (&reading.device, reading.timestamp, reading.fingerprint)
            };
            if kept.iter().any(|(known, _, remembered)| *remembered && same(known)) {
                continue;
            }
            // From the first on, each step by no more than a bucket and never back.
            let of_shard = kept.iter().filter(|(of, ..)| shard(of) == shard(reading));
            let (mut shows, mut last) = (None, i64::MIN);
            for received in of_shard.map(|(of, ..)| of.received).chain([reading.received]) {
                shows = Some(shows.map_or(received, |shows: i64| {
                    shows + (received.saturating_sub(last)).clamp(0, bucket)
                }));
                last = last.max(received);
            }
            let shows = shows.unwrap_or_default();
            kept.push((reading, shows, true));
            let of_device = |known: &Reading| known.device == reading.device;
            let times = kept
                .iter()
                .filter(|(of, ..)| of_device(of))
                .map(|(of, ..)| of.timestamp);
            let times: Vec<i64> = times.collect();
            let agreed = times.windows(2).map(|pair| pair[0].min(pair[1])).max();
            if reading.received == EventTime::MAX {
                for (known, _, remembered) in kept.iter_mut().filter(|(of, ..)| of_device(of)) {
                    *remembered &= agreed.is_none_or(|clock| known.timestamp >= clock - horizon);
                }
                continue;
            }
            let is_recent = |at: i64| at.div_euclid(bucket) >= (shows - horizon).div_euclid(bucket);
            let newest = |device: &DeviceId| {
                kept.iter()
                    .filter(|(of, ..)| of.device == *device)
                    .map(|(_, at, _)| *at)
                    .max()
            };
            let silent: Vec<DeviceId> = kept
                .iter()
                .filter(|(of, ..)| shard(of) == shard(reading) && newest(&of.device).is_some_and(|at| !is_recent(at)))
                .map(|(of, ..)| of.device.clone())
                .collect();
            for (known, at, remembered) in &mut kept {
                *remembered &= !silent.contains(&known.device) && (!of_device(known) || is_recent(*at));
            }
        }
        kept.iter().map(|(reading, ..)| reading.position).collect()
    }

    fn wanted(readings: &[Reading], horizon: Option<i64>) -> Vec<u64> {
        match horizon {
            Some(horizon) => reference(readings, horizon),
            None => readings.iter().map(|reading| reading.position).collect(),
        }
    }

    /// Of a file, or as a live source receives them.
    fn readings() -> impl Strategy<Value = Vec<Reading>> {
        let pause = prop_oneof![8 => 0i64..25, 1 => -300i64..1000];
        let record = (0..DEVICES, 0i64..60, 0u64..3, pause);
        (any::<bool>(), proptest::collection::vec(record, 0..150)).prop_map(|(is_live, records)| {
            let mut now = 0;
            let number = |(at, (device, time, payload, pause))| {
                now += pause; // a clock that is set back included
                let received = if is_live { now } else { EventTime::MAX };
                reading(at, device, time, received, payload)
            };
            (0..).zip(records).map(number).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_a_copy_depends_on_neither_epochs_nor_workers(
            readings in readings(),
            horizon in proptest::option::weighted(0.9, 0i64..400),
            plan in Plan::any(),
        ) {
            let (want, all) = (wanted(&readings, horizon), readings.len() as u64);
            let seen = replay(plan, readings, move |readings, _, seen| {
                let (unique, copies) = deduplicate(readings, horizon, None);
                let (position, count) = (seen.clone(), seen);
                unique.inspect(move |reading| position.borrow_mut().push(Ok(reading.position)));
                copies.inspect(move |copies| count.borrow_mut().push(Err(*copies)));
            });
            let mut unique: Vec<u64> = seen.iter().filter_map(|s| s.ok()).collect();
            unique.sort_unstable();
            prop_assert_eq!(unique.len() as u64 + seen.iter().filter_map(|s| s.err()).sum::<u64>(), all);
            prop_assert_eq!(unique, want);
        }

        #[test]
        fn a_run_that_goes_on_from_a_commit_knows_the_same_copies(
            readings in readings(),
            horizon in proptest::option::weighted(0.9, 0i64..400),
            lives in Life::any(),
        ) {
            let want = wanted(&readings, horizon);
            let committed = |position: &u64, rows: usize| *position < rows as u64;
            let mut seen = replay_lives(lives, readings, committed, move |readings, _, checkpoints, seen| {
                let (unique, _) = deduplicate(readings, horizon, Some(checkpoints));
                unique.inspect(move |reading| seen.borrow_mut().push(reading.position));
            });
            seen.sort_unstable();
            prop_assert_eq!(seen, want);
        }
    }
}
