//! `--speed`: event time at a multiple of the wall clock.
//!
//! In: the records' event times in the order they are taken. Out: where an epoch must end so that it can be released in time, and
//! when that is. The cuts follow from the times alone, so every process makes the same ones.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::record::EventTime;

/// An epoch covers so much of the wall clock.
const TICK: f64 = 100_000.0;
/// A time further ahead than this counts only once the next one confirms it: one wrong clock stops nothing.
const MAX_JUMP: i64 = 86_400_000_000;

/// How many seconds of event time pass in one of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        let number = text.strip_suffix('x').unwrap_or(text);
        match number.parse::<f64>() {
            Ok(factor) if factor.is_finite() && (1e-6..=1e9).contains(&factor) => Ok(Speed(factor)),
            _ => Err("wants a multiple of real time such as 60x, 1x or 0.5x, or max".into()),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

/// How far event time has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    speed: Speed,
    /// First and highest time so far.
    reached: Option<(EventTime, EventTime)>,
    /// A time too far ahead, not confirmed yet.
    suspect: Option<EventTime>,
}

impl Pace {
    pub(super) fn new(speed: Speed) -> Pace {
        Pace {
            speed,
            reached: None,
            suspect: None,
        }
    }

    /// Once a record with this time has been taken as well.
    pub(super) fn after(mut self, time: Option<EventTime>) -> Pace {
        let Some(time) = time else { return self };
        let Some((first, high)) = self.reached else {
            self.reached = Some((time, time));
            return self;
        };
        let near = |other: EventTime| time.abs_diff(other) <= MAX_JUMP as u64;
        if time <= high || near(high) || self.suspect.is_some_and(near) {
            self.reached = Some((first, high.max(time)));
            self.suspect = None;
        } else {
            self.suspect = Some(time);
        }
        self
    }

    /// When the last record taken is due, from the first one on.
    pub(super) fn due(&self) -> Duration {
        Duration::try_from_secs_f64(self.passed() / self.speed.0 / 1e6).unwrap_or(Duration::MAX)
    }

    /// The number of the tick that the last record taken belongs to.
    pub(super) fn tick(&self) -> u64 {
        (self.passed() / (TICK * self.speed.0)) as u64
    }

    /// Microseconds of event time since the first record.
    fn passed(&self) -> f64 {
        self.reached.map_or(0.0, |(first, high)| high.abs_diff(first) as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(speed: &str, times: &[Option<EventTime>]) -> Pace {
        let pace = Pace::new(speed.parse().expect("a speed"));
        times.iter().fold(pace, |pace, time| pace.after(*time))
    }

    #[test]
    fn speeds_are_read_with_and_without_x() {
        for (text, factor) in [("60x", 60.0), ("60", 60.0), ("0.5x", 0.5), ("1e3", 1000.0)] {
            assert_eq!(text.parse(), Ok(Speed(factor)));
        }
        for text in ["", "x", "0", "-1", "inf", "nan", "1e10", "fast", "60xx"] {
            assert!(text.parse::<Speed>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_record_is_due_when_its_event_time_has_passed_at_the_speed() {
        let pace = after("60x", &[None, Some(5_000_000), Some(65_000_000), Some(1_000_000), None]);
        assert_eq!(pace.due(), Duration::from_secs(1));
        assert_eq!(pace.tick(), 10);
        assert_eq!(after("60x", &[None]).due(), Duration::ZERO);
    }

    #[test]
    fn one_wrong_clock_is_not_waited_for_and_a_confirmed_gap_is() {
        let year = 365 * MAX_JUMP;
        let alone = after("1x", &[Some(0), Some(year), Some(1_000_000)]);
        assert_eq!(alone.due(), Duration::from_secs(1));
        let confirmed = after("1x", &[Some(0), Some(year), Some(year + 1_000_000)]);
        assert_eq!(confirmed.due(), Duration::from_secs(365 * 86_400 + 1));
    }

    proptest! {
        #[test]
        fn neither_time_nor_tick_ever_goes_back(times in proptest::collection::vec(any::<Option<i64>>(), 0..50)) {
            let mut pace = Pace::new(Speed(7.0));
            for time in times {
                let next = pace.after(time);
                prop_assert!(next.due() >= pace.due() && next.tick() >= pace.tick());
                pace = next;
            }
        }
    }
}
