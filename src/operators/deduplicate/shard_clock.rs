//! How far a shard of devices has moved on in a live run, and whom it has left behind. In: when something new was received of any
//! of its devices. Out: a clock for all of them, and the devices that have been silent for too long to be remembered.
//!
//! The clock stands still while nothing comes: a pause counts for a bucket at most. So nothing is forgotten during an outage, and
//! what the broker sends again after it is recognised, whichever of several sessions comes back first.

use std::collections::BTreeMap;

use crate::record::{DeviceId, EventTime};

#[derive(Default)]
pub(super) struct ShardClock {
    /// What it shows, and when something new was received last. It begins with that time.
    pub(super) shows: Option<(EventTime, EventTime)>,
    /// Each device once, under a bucket no newer than its newest.
    due: BTreeMap<i64, Vec<DeviceId>>,
    /// Whether it has moved since it was last put on disk.
    pub(super) has_changed: bool,
}

impl ShardClock {
    /// What it shows if something new is received now; a machine's clock that was set back holds it.
    pub(super) fn at(&self, received: EventTime, bucket: i64) -> EventTime {
        match self.shows {
            None => received,
            Some((shows, last)) => shows.saturating_add(received.saturating_sub(last).clamp(0, bucket)),
        }
    }

    /// Something new has been received.
    pub(super) fn advance(&mut self, received: EventTime, bucket: i64) {
        let last = self.shows.map_or(received, |(_, last)| last.max(received));
        self.shows = Some((self.at(received, bucket), last));
        self.has_changed = true;
    }

    /// A device that is new to the shard, by its newest bucket.
    pub(super) fn watch(&mut self, device: DeviceId, newest: i64) {
        self.due.entry(newest).or_default().push(device);
    }

    /// Takes the devices out that have nothing in buckets from `oldest` on; `newest` knows a device's newest.
    pub(super) fn left_behind(&mut self, oldest: i64, newest: impl Fn(&DeviceId) -> Option<i64>) -> Vec<DeviceId> {
        let mut gone = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| *first.key() < oldest) {
            for device in first.remove() {
                match newest(&device) {
                    Some(newest) if newest >= oldest => self.watch(device, newest),
                    _ => gone.push(device),
                }
            }
        }
        gone
    }
}
