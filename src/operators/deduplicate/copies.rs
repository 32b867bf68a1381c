//! Which records are copies of one before them. In: readings, in source order. Out: whether each is new.
//!
//! In files a record is remembered until its device's event time has moved on by the horizon; that clock moves on by what
//! two records in a row agree on, so that one reading from the future does not make it forget everything.
//!
//! What a live source received is remembered until the same device sent something *new* more than the horizon later, by
//! receive time and in steps of a bucket. After an outage of any length a broker sends what was not acknowledged before
//! anything new, so that is recognised, however short the horizon; and no device's clock has a say in it. (Where several sessions share
//! a device's records, one may bring something new before another has brought the old again: there the horizon is the limit.)

use std::collections::{HashMap, VecDeque};

use crate::record::{DeviceId, EventTime, Reading};

/// Buckets of a horizon: with more there are more keys on disk, with fewer more is written anew at each commit.
const BUCKETS: i64 = 64;

/// Event time, payload hash.
pub(super) type Record = (EventTime, u64);

/// The records within the horizon, of every device; told of readings in source order.
pub struct Copies {
    pub(super) devices: HashMap<DeviceId, Remembered, foldhash::fast::RandomState>,
    pub(super) horizon: i64,
    /// Length of a bucket, in which records are kept on disk.
    pub(super) bucket: i64,
    /// Whose records are not on disk as they are here; `None` where nothing is kept on disk.
    pub(super) changed: Option<Vec<DeviceId>>,
}

impl Copies {
    /// `horizon` in microseconds. Nothing of it is kept on disk.
    pub fn new(horizon: i64) -> Copies {
        Copies {
            devices: HashMap::default(),
            horizon,
            bucket: (horizon / BUCKETS).max(1),
            changed: None,
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
            received => device.is_new_among_received(record, received, self.bucket, self.horizon),
        };
        if is_new
            && let Some(changed) = &mut self.changed
            && !std::mem::replace(&mut device.has_changed, true)
        {
            changed.push(reading.device.clone());
        }
        is_new
    }
}

/// The records of one device within the horizon.
#[derive(Default)]
pub(super) struct Remembered {
    /// In order of their numbers.
    pub(super) buckets: VecDeque<Bucket>,
    /// No record that is remembered is higher: most records are, and need no search.
    highest: Option<Record>,
    /// By receive time: the highest of all. By event time: the highest that two records in a row have reached.
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

    fn is_new_among_received(&mut self, record: Record, received: EventTime, bucket: i64, horizon: i64) -> bool {
        let may_be_known = self.highest.is_some_and(|highest| record <= highest);
        if may_be_known && self.buckets.iter().any(|bucket| bucket.has(record)) {
            return false;
        }
        // Where the machine's clock was set back, time stands still.
        let now = self.clock.map_or(received, |clock| clock.max(received));
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
