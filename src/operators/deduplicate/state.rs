//! What `deduplicate` remembers, on disk. In and out: a value for each device, one for each bucket of its records, and one for each shard's clock.

use std::collections::VecDeque;

use compact_str::CompactString;

use super::Copies;
use super::copies::{Bucket, Record};
use crate::operators::barrier::{Share, StateOf, restore};
use crate::operators::route_device;
use crate::operators::shard::{route_shard, shard_of_device};
use crate::record::{DeviceId, EventTime};
use crate::snapshot::{Checkpoints, Entry, Flaw, SnapshotError, decode, encode, whole};

/// Of the form of the values. In 1, buckets went by event time also in live runs.
const VERSION: u8 = 2;
const NAME: &str = "deduplicate";

/// Of the form of a clock.
const CLOCK: u8 = 1;

/// Bytes of a record in a bucket: event time, payload hash.
const RECORD: usize = 16;

/// A device, and a bucket of its records by number; `None` is what else is known of it.
type Place = (CompactString, Option<i64>);
/// Length of a bucket, whether by receive time, clock, previous.
type Head = (i64, bool, Option<EventTime>, Option<EventTime>);

impl Copies {
    /// As an earlier run has left it, as far as it is this worker's; keeps account of what changes.
    pub(super) fn restored(horizon: i64, checkpoints: Option<&Checkpoints>, share: Share) -> Copies {
        let mut copies = Copies::new(horizon);
        copies.changed = Some(Vec::new());
        restore(checkpoints, StateOf::Deduplicate, |key, value| {
            copies.take_up(key, value, |device| share.has(route_device(device)))
        });
        restore(checkpoints, StateOf::DeduplicateClocks, |key, value| {
            let (shard, shows): (u64, _) = (decode(NAME, None, key)?, decode(NAME, Some(CLOCK), value)?);
            if share.has(route_shard(shard)) {
                copies.clocks.entry(shard).or_default().shows = Some(shows);
            }
            Ok(())
        });
        for (id, device) in &mut copies.devices {
            device.forget(copies.bucket, horizon);
            if let Some(newest) = device.buckets.back().filter(|_| device.by_receipt) {
                let clock = copies.clocks.entry(shard_of_device(id)).or_default();
                // Where the state is of a version that kept no clocks.
                clock.shows = clock.shows.max(device.clock.map(|shows| (shows, shows)));
                clock.watch(id.clone(), newest.number);
            }
        }
        copies
    }

    pub(super) fn take_up(
        &mut self,
        key: &[u8],
        value: &[u8],
        is_mine: impl Fn(&DeviceId) -> bool,
    ) -> Result<(), SnapshotError> {
        let (device, number): Place = decode(NAME, None, key)?;
        let device = DeviceId::new(device);
        if !is_mine(&device) {
            return Ok(());
        }
        let remembered = self.devices.entry(device).or_default();
        match number {
            None => {
                let (bucket, by_receipt, clock, previous): Head = decode(NAME, Some(VERSION), value)?;
                if self.bucket != bucket {
                    let flaw = Flaw::Settings("deduplicate.horizon");
                    return Err(SnapshotError::Value { of: NAME, flaw });
                }
                remembered.by_receipt = by_receipt;
                (remembered.clock, remembered.previous) = (clock, previous);
            }
            Some(number) => remembered.put_back(number, records_of(value)?),
        }
        Ok(())
    }

    /// What is not on disk as it is here, from now on taken to be: all of it, or of so many devices, those that have changed last
    /// and will not so soon again.
    pub(super) fn changes(&mut self, at_most: usize) -> Vec<Entry> {
        let Some(changed) = &mut self.changed else {
            return Vec::new();
        };
        let rest = changed.len().saturating_sub(at_most);
        let mut entries = Vec::with_capacity(2 * (changed.len() - rest));
        let place = |id: &DeviceId, number: Option<i64>| encode(None, &(id.text(), number));
        for (id, numbers) in self.gone.drain(..) {
            let numbers = numbers.into_iter().map(Some).chain([None]);
            entries.extend(numbers.map(|number| Entry::forget(StateOf::Deduplicate as u8, place(&id, number))));
        }
        let clocks = self.clocks.iter_mut().filter(|_| rest == 0); // few, and they change with every record
        for (shard, clock) in clocks.filter(|(_, clock)| clock.has_changed) {
            clock.has_changed = false;
            let (key, value) = (
                encode(None, shard),
                encode(Some(CLOCK), &clock.shows.unwrap_or_default()),
            );
            entries.push(Entry::put(StateOf::DeduplicateClocks as u8, key, value));
        }
        for id in changed.drain(rest..) {
            let Some(device) = self.devices.get_mut(&id) else {
                continue;
            };
            device.has_changed = false;
            let key = |number| place(&id, number);
            let mut put = |key, value| entries.push(Entry::put(StateOf::Deduplicate as u8, key, value));
            let head: Head = (self.bucket, device.by_receipt, device.clock, device.previous);
            put(key(None), encode(Some(VERSION), &head));
            for bucket in device.buckets.iter_mut().filter(|bucket| bucket.has_changed) {
                bucket.has_changed = false;
                put(key(Some(bucket.number)), value_of(bucket));
                if let Err(at) = device.on_disk.binary_search(&bucket.number) {
                    device.on_disk.insert(at, bucket.number);
                }
            }
            // Only whole buckets are forgotten on disk; what else is too old is left out when it is read.
            let oldest = device.buckets.front().map_or(i64::MAX, |bucket| bucket.number);
            let forgotten = device.on_disk.partition_point(|number| *number < oldest);
            let numbers = device.on_disk.drain(..forgotten);
            entries.extend(numbers.map(|number| Entry::forget(StateOf::Deduplicate as u8, key(Some(number)))));
        }
        entries
    }
}

fn value_of(bucket: &Bucket) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + RECORD * bucket.records.len());
    value.push(VERSION);
    for (time, fingerprint) in &bucket.records {
        value.extend(time.to_le_bytes());
        value.extend(fingerprint.to_le_bytes());
    }
    value
}

/// What [`value_of`] was given.
fn records_of(value: &[u8]) -> Result<VecDeque<Record>, SnapshotError> {
    let (records, rest) = whole(NAME, VERSION, value)?.as_chunks::<RECORD>();
    let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    let records: VecDeque<Record> = records
        .iter()
        .map(|record| (number(&record[..8]) as i64, number(&record[8..])))
        .collect();
    // They are searched by their order.
    match rest.is_empty() && records.iter().is_sorted() {
        true => Ok(records),
        false => Err(SnapshotError::Value {
            of: NAME,
            flaw: Flaw::Damaged,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_horizon_or_version_is_refused() {
        let mut copies = Copies::new(10);
        assert_eq!(copies.bucket, 1);
        let key = encode(None, &("monitor", None::<i64>));
        let value = encode(Some(VERSION), &(2i64, true, Some(5i64), None::<i64>));
        let mut told = |value: &[u8]| copies.take_up(&key, value, |_| true).expect_err("refused").to_string();
        let horizon = told(&value);
        assert!(horizon.contains("deduplicate.horizon"), "{horizon}");
        for version in [VERSION - 1, VERSION + 1] {
            let told = told(&[version, 0]);
            assert!(told.contains(&format!("version {version}")), "{told}");
        }
    }

    #[test]
    fn a_bucket_that_is_cut_or_out_of_order_is_refused() {
        let mut copies = Copies::new(10);
        let bucket = encode(None, &("monitor", Some(3i64)));
        let of = |times: &[i64]| {
            let records = times.iter().map(|time| (*time, 7)).collect();
            let (number, has_changed) = (3, true);
            value_of(&Bucket {
                number,
                records,
                has_changed,
            })
        };
        assert!(copies.take_up(&bucket, &of(&[1, 2]), |_| true).is_ok());
        assert!(copies.take_up(&bucket, &of(&[2, 1]), |_| true).is_err());
        assert!(copies.take_up(&bucket, &[VERSION, 1, 2, 3], |_| true).is_err());
    }
}
