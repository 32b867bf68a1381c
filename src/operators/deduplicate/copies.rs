//! Which records are copies of one before them. In: readings, in source order. Out: whether each is new.
//!
//! In files a record is remembered until its device's event time has moved on by the horizon; that clock moves on by what
//! two records in a row agree on, so that one reading from the future does not make it forget everything.
//!
//! What a live source received is remembered until something *new* comes of the same device more than the horizon later, and a
//! device altogether until its shard has moved on by the horizon without it: by receive time, in steps of a bucket, and by a
//! [clock](super::shard_clock) that stands still during an outage. What was not acknowledged a broker sends again when the connection is
//! back, so that is recognised after an outage of any length, however short the horizon; and no device's clock has a say in it.
//! (Of several sessions one may be away alone, while the others move the clock: there the horizon is the limit.)

use std::collections::{HashMap, VecDeque};

use super::shard_clock::ShardClock;
use crate::operators::shard::shard_of_device;
use crate::record::{DeviceId, EventTime, Reading};

/// Buckets of a horizon: with more there are more keys on disk, with fewer more is written anew at each commit.
const BUCKETS: i64 = 64;

/// Event time, payload hash.
pub(super) type Record = (EventTime, u64);

/// The records within the horizon, of every device; told of readings in source order.
pub struct Copies {
    pub(super) devices: HashMap<DeviceId, Remembered, foldhash::fast::RandomState>,
    /// By shard, of what live sources have received.
    pub(super) clocks: HashMap<u64, ShardClock, foldhash::fast::RandomState>,
    pub(super) horizon: i64,
    /// Length of a bucket, in which records are kept on disk.
    pub(super) bucket: i64,
    /// Whose records are not on disk as they are here; `None` where nothing is kept on disk.
    pub(super) changed: Option<Vec<DeviceId>>,
    /// Devices that are forgotten here and not yet on disk, each with its buckets there.
    pub(super) gone: Vec<(DeviceId, Vec<i64>)>,
}

impl Copies {
    /// `horizon` in microseconds. Nothing of it is kept on disk.
    pub fn new(horizon: i64) -> Copies {
        Copies {
            devices: HashMap::default(),
            clocks: HashMap::default(),
            horizon,
            bucket: (horizon / BUCKETS).max(1),
            changed: None,
            gone: Vec::new(),
        }
    }

    /// Whether it is no copy of a reading before it.
    pub fn is_new(&mut self, reading: &Reading) -> bool {
        let device = match self.devices.get_mut(&reading.device) {
            Some(device) => device,
            None => self.devices.entry(reading.device.clone()).or_default(),
        };
        let record = (reading.timestamp, reading.fingerprint);
        let is_new = match reading.received {
            EventTime::MAX => device.is_new(record, self.bucket, self.horizon),
            received => {
                let shard = shard_of_device(&reading.device);
                let clock = self.clocks.entry(shard).or_default();
                let (now, was_unknown) = (clock.at(received, self.bucket), device.buckets.is_empty());
                let is_new = device.is_new_among_received(record, now, self.bucket, self.horizon);
                if is_new {
                    clock.advance(received, self.bucket);
                    if was_unknown {
                        clock.watch(reading.device.clone(), now.div_euclid(self.bucket));
                    }
                }
                is_new
            }
        };
        if !is_new {
            return false;
        }
        if let Some(changed) = &mut self.changed
            && !std::mem::replace(&mut device.has_changed, true)
        {
            changed.push(reading.device.clone());
        }
        if device.by_receipt {
            self.forget_who_is_gone(shard_of_device(&reading.device));
        }
        true
    }

    /// Forgets devices that their shard has left behind.
    fn forget_who_is_gone(&mut self, shard: u64) {
        let Some(clock) = self.clocks.get_mut(&shard) else {
            return;
        };
        let Some((shows, _)) = clock.shows else { return };
        let oldest = shows.saturating_sub(self.horizon).div_euclid(self.bucket);
        let devices = &mut self.devices;
        let newest = |device: &DeviceId| devices.get(device)?.buckets.back().map(|bucket| bucket.number);
        for device in clock.left_behind(oldest, newest) {
            if let Some(gone) = devices.remove(&device)
                && self.changed.is_some()
            {
                self.gone.push((device, gone.on_disk));
            }
        }
    }
}

/// The records of one device within the horizon.
#[derive(Default)]
pub(super) struct Remembered {
    /// In order of their numbers.
    pub(super) buckets: VecDeque<Bucket>,
    /// No record that is remembered is higher: most records are, and need no search.
    highest: Option<Record>,
    /// By receive time: what the shard's clock showed at the newest. By event time: the highest that two records in a row have reached.
    pub(super) clock: Option<EventTime>,
    /// Of the record before, by event time only.
    pub(super) previous: Option<EventTime>,
    pub(super) by_receipt: bool,
    /// Whether there is something that is not on disk.
    pub(super) has_changed: bool,
    /// Numbers of the buckets that are on disk, in order.
    pub(super) on_disk: Vec<i64>,
}

/// The records of a stretch of time: of event time in files, of receive time in a live run.
pub(super) struct Bucket {
    /// Its start, in buckets since 1970.
    pub(super) number: i64,
    /// In order.
    pub(super) records: VecDeque<Record>,
    pub(super) has_changed: bool,
}

impl Remembered {
    fn is_new(&mut self, record: Record, bucket: i64, horizon: i64) -> bool {
        let (time, _) = record;
        if !self.bucket(time.div_euclid(bucket)).insert(record) {
            return false;
        }
        if let Some(previous) = self.previous.replace(time) {
            self.clock = self.clock.max(Some(previous.min(time)));
        }
        self.forget(bucket, horizon);
        true
    }

    /// `now` is by the shard's clock, which never goes back.
    fn is_new_among_received(&mut self, record: Record, now: EventTime, bucket: i64, horizon: i64) -> bool {
        let may_be_known = self.highest.is_some_and(|highest| record <= highest);
        if may_be_known && self.buckets.iter().any(|bucket| bucket.has(record)) {
            return false;
        }
        (self.clock, self.by_receipt) = (Some(now), true);
        self.bucket(now.div_euclid(bucket)).insert(record);
        self.highest = self.highest.max(Some(record));
        self.forget(bucket, horizon);
        true
    }

    /// The bucket of this number, a new one if there is none.
    fn bucket(&mut self, number: i64) -> &mut Bucket {
        let at = match self.buckets.back() {
            Some(last) if last.number == number => self.buckets.len() - 1,
            Some(last) if last.number > number => self.buckets.partition_point(|bucket| bucket.number < number),
            _ => self.buckets.len(),
        };
        if self.buckets.get(at).is_none_or(|bucket| bucket.number != number) {
            let bucket = Bucket {
                number,
                records: VecDeque::new(),
                has_changed: false,
            };
            self.buckets.insert(at, bucket);
        }
        &mut self.buckets[at]
    }

    /// Forgets what is behind the horizon: whole buckets, and by event time to the record.
    pub(super) fn forget(&mut self, bucket: i64, horizon: i64) {
        let Some(clock) = self.clock else { return };
        let oldest = clock.saturating_sub(horizon);
        let number = oldest.div_euclid(bucket);
        while self.buckets.front().is_some_and(|bucket| bucket.number < number) {
            self.buckets.pop_front();
        }
        if self.by_receipt {
            return;
        }
        if let Some(first) = self.buckets.front_mut().filter(|first| first.number == number) {
            while first.records.front().is_some_and(|(time, _)| *time < oldest) {
                first.records.pop_front();
            }
            if first.records.is_empty() {
                self.buckets.pop_front();
            }
        }
    }

    /// Puts in a bucket that was on disk, its records in order.
    pub(super) fn put_back(&mut self, number: i64, records: VecDeque<Record>) {
        self.highest = self.highest.max(records.back().copied());
        self.bucket(number).records = records;
        if let Err(at) = self.on_disk.binary_search(&number) {
            self.on_disk.insert(at, number);
        }
    }
}

impl Bucket {
    /// Whether it was not there.
    fn insert(&mut self, record: Record) -> bool {
        if self.records.back().is_none_or(|last| *last < record) {
            self.records.push_back(record);
        } else {
            match self.records.binary_search(&record) {
                Ok(_) => return false,
                Err(at) => self.records.insert(at, record),
            }
        }
        self.has_changed = true;
        true
    }

    fn has(&self, record: Record) -> bool {
        self.records.back().is_some_and(|last| record <= *last) && self.records.binary_search(&record).is_ok()
    }
}
