//! Which anomalies are one incident.
//!
//! Anomalies of a device that follow each other in event time within the cool-down are one incident, and its first one in source order is
//! the one that is told of. A few incidents of a device are remembered, so that late anomalies, and those of a clock that jumps to and fro,
//! find theirs. A shard remembers so many devices and no more: of those it forgets the one whose last anomaly is the longest ago
//! in the source. Shards are fixed, so nothing of it depends on the workers.

use std::collections::HashMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::record::EventTime;

/// Incidents of a device that are remembered.
const OF_DEVICE: usize = 4;
/// Devices that a shard remembers.
const DEVICES: usize = 256;

/// From the first anomaly of an incident to the last one, by event time.
type Span = (EventTime, EventTime);

/// What is remembered of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfDevice {
    /// The one that grew last stands last.
    spans: SmallVec<[Span; OF_DEVICE]>,
    /// Position of the last anomaly.
    position: u64,
}

/// The incidents of one shard's devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Incidents {
    devices: HashMap<CompactString, OfDevice>,
}

impl Incidents {
    /// Takes an anomaly, the next one in source order; whether it begins an incident, and the device that is forgotten for it.
    /// `cool_down` is in microseconds.
    pub fn take(
        &mut self,
        device: &CompactString,
        time: EventTime,
        position: u64,
        cool_down: i64,
    ) -> (bool, Option<CompactString>) {
        let forgotten = match self.devices.contains_key(device) || self.devices.len() < DEVICES {
            true => None,
            false => self.forget_oldest(),
        };
        let of_device = self.devices.entry(device.clone()).or_insert_with(|| OfDevice {
            spans: SmallVec::new(),
            position,
        });
        of_device.position = position;
        (of_device.take(time, cool_down), forgotten)
    }

    fn forget_oldest(&mut self) -> Option<CompactString> {
        let oldest = self.devices.iter().min_by_key(|(_, of_device)| of_device.position);
        let device = oldest.map(|(device, _)| device.clone())?;
        self.devices.remove(&device);
        Some(device)
    }

    pub fn get(&self, device: &str) -> Option<&OfDevice> {
        self.devices.get(device)
    }

    /// Puts back what [`get`](Self::get) gave.
    pub fn put_back(&mut self, device: CompactString, of_device: OfDevice) {
        self.devices.insert(device, of_device);
    }
}

impl OfDevice {
    /// Whether an anomaly at this time begins an incident.
    fn take(&mut self, time: EventTime, cool_down: i64) -> bool {
        let (mut first, mut last) = (time, time);
        let before = self.spans.len();
        // It may join incidents that were apart.
        self.spans.retain(|(from, to)| {
            let within = time >= from.saturating_sub(cool_down) && time <= to.saturating_add(cool_down);
            if within {
                (first, last) = (first.min(*from), last.max(*to));
            }
            !within
        });
        let is_new = self.spans.len() == before;
        if self.spans.len() == OF_DEVICE {
            self.spans.remove(0);
        }
        self.spans.push((first, last));
        is_new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(times: &[i64], cool_down: i64) -> Vec<i64> {
        let mut incidents = Incidents::default();
        let device = CompactString::from("monitor");
        (0..)
            .zip(times)
            .filter(|(position, time)| incidents.take(&device, **time, *position, cool_down).0)
            .map(|(_, time)| *time)
            .collect()
    }

    #[test]
    fn an_incident_is_told_of_once_however_long_it_lasts() {
        assert_eq!(told(&[0, 5, 10, 15, 20, 26, 27], 5), [0, 26]);
        assert_eq!(told(&[0, 0, 1], 0), [0, 1]);
        assert_eq!(
            told(&[100, 103, 96, 80, 84, 108], 5),
            [100, 80],
            "late ones count by event time"
        );
        assert_eq!(told(&[0, 10, 5, 12], 5), [0, 10], "joined by the one between them");
    }

    #[test]
    fn a_clock_that_jumps_to_and_fro_tells_each_incident_once() {
        let times: Vec<i64> = (0..100).map(|n| if n % 2 == 0 { n } else { 1_000_000 + n }).collect();
        assert_eq!(told(&times, 10), [0, 1_000_001]);
    }

    #[test]
    fn the_device_that_was_silent_longest_is_forgotten() {
        let mut incidents = Incidents::default();
        let name = |n: usize| CompactString::from(format!("{n}"));
        for n in 0..DEVICES {
            assert_eq!(incidents.take(&name(n), 0, n as u64, 5), (true, None));
        }
        let next = DEVICES as u64;
        assert_eq!(incidents.take(&name(0), 1, next, 5), (false, None));
        assert_eq!(incidents.take(&name(DEVICES), 1, next + 1, 5), (true, Some(name(1))));
        assert_eq!(incidents.take(&name(0), 2, next + 2, 5), (false, None));
        assert_eq!(incidents.take(&name(1), 2, next + 3, 5), (true, Some(name(2))));
    }

    proptest! {
        /// Where times only rise, incidents are those of a backtest.
        #[test]
        fn in_the_order_of_time_it_counts_as_a_backtest_does(
            mut times in proptest::collection::vec(0i64..300, 0..60), cool_down in 0i64..9,
        ) {
            times.sort_unstable();
            let chunks: Vec<i64> = times.chunk_by(|a, b| b - a <= cool_down).map(|incident| incident[0]).collect();
            prop_assert_eq!(told(&times, cool_down), chunks);
        }
    }
}
