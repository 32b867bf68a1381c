//! Lateness of readings taken one by one: the watermark's rule without a dataflow, to judge a sample by.

use std::collections::HashMap;

use super::watermark::{EventClock, ITSELF, WatermarkRules, clock_id, counted};
use crate::record::Reading;

/// Which readings come too late for every window; told of readings in source order.
pub struct Lateness {
    rules: WatermarkRules,
    per_device: bool,
    /// By the device's id for a clock; everybody's is under 0.
    clocks: HashMap<u64, EventClock>,
}

impl Lateness {
    /// With everybody's watermark, or with one for each device.
    pub fn new(rules: WatermarkRules, per_device: bool) -> Lateness {
        Lateness {
            rules,
            per_device,
            clocks: HashMap::new(),
        }
    }

    /// Takes the next reading.
    pub fn is_late(&mut self, reading: &Reading) -> bool {
        let (clock, device) = match self.per_device {
            true => (clock_id(reading), ITSELF),
            false => (0, clock_id(reading)),
        };
        let fresh = || EventClock::new(self.rules.max_jump);
        let high = self
            .clocks
            .entry(clock)
            .or_insert_with(fresh)
            .observe(device, counted(reading));
        high.is_some_and(|high| self.rules.index(reading.timestamp) < self.rules.reached(high).1)
    }
}
