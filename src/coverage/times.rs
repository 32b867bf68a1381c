//! Whether event times can be: read in another unit than they are written in, they fall far from today.

use crate::record::{EventTime, date_of, day_of};
use crate::settings::TimestampUnit;

const DAY: i64 = 86_400_000_000;
/// 1990-01-01: before it, no device sent records.
pub(super) const EARLIEST: EventTime = 631_152_000_000_000;
const UNITS: [TimestampUnit; 4] = [
    TimestampUnit::Seconds,
    TimestampUnit::Milliseconds,
    TimestampUnit::Microseconds,
    TimestampUnit::Nanoseconds,
];

/// The event times of a sample.
#[derive(Default)]
pub(super) struct Times {
    pub(super) count: u64,
    span: Option<(EventTime, EventTime)>,
    pub(super) too_early: u64,
    pub(super) too_late: u64,
    /// Timestamps that are numbers, as they stand.
    numbers: Vec<f64>,
}

impl Times {
    /// Takes a time that was readable; `now` is today's.
    pub(super) fn take(&mut self, time: EventTime, now: EventTime) {
        self.count += 1;
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
        self.too_early += u64::from(time < EARLIEST);
        self.too_late += u64::from(time > now.saturating_add(DAY));
    }

    /// Takes a timestamp that is a number, readable or not.
    pub(super) fn take_number(&mut self, number: f64) {
        self.numbers.push(number);
    }

    /// The first and the last date.
    pub(super) fn dates(&self) -> Option<(String, String)> {
        self.span
            .map(|(first, last)| (date_of(day_of(first)), date_of(day_of(last))))
    }

    /// The unit in which the numbers make sense, where they make none in the unit of the settings.
    pub(super) fn better_unit(&self, unit: TimestampUnit, now: EventTime) -> Option<TimestampUnit> {
        let fits = |unit: TimestampUnit| {
            let can_be = |number: &&f64| {
                let micros = **number * (1e6 / unit.per_second() as f64);
                micros >= EARLIEST as f64 && micros <= now.saturating_add(DAY) as f64
            };
            2 * self.numbers.iter().filter(can_be).count() > self.numbers.len()
        };
        match fits(unit) {
            true => None,
            false => UNITS.into_iter().find(|other| fits(*other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = 1_800_000_000_000_000;

    fn better(number: f64, unit: TimestampUnit) -> Option<TimestampUnit> {
        let mut times = Times::default();
        (0..3).for_each(|i| times.take_number(number + f64::from(i)));
        times.better_unit(unit, NOW)
    }

    #[test]
    fn a_number_is_seen_to_be_of_another_unit() {
        let (s, ms, us, ns) = (UNITS[0], UNITS[1], UNITS[2], UNITS[3]);
        for (number, right) in [(1.508e9, s), (1.508e12, ms), (1.508e15, us), (1.508e18, ns)] {
            for unit in UNITS {
                let wanted = (unit != right).then_some(right);
                assert_eq!(better(number, unit), wanted, "{number} read as {unit:?}");
            }
        }
        assert_eq!(better(5.0, ms), None, "no unit makes sense of it");
        assert_eq!(Times::default().better_unit(ms, NOW), None);
    }
}
