//! Event times: ISO-8601 with or without a zone, or an epoch number, to microseconds UTC and back.

use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use super::scalar::Scalar;

/// Microseconds since 1970-01-01T00:00:00Z.
pub type EventTime = i64;

const MICROS_PER_DAY: i64 = 86_400_000_000;
static PARSER: DateTimeParser = DateTimeParser::new();

/// How times that carry no zone, or no unit, are to be read.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: TimeZone,
    /// Units of a numeric time in one second: 1, 1e3, 1e6 or 1e9.
    units_per_second: i64,
}

impl Zone {
    /// `zone` stands in where a time names none; `units_per_second` is 1, 1_000, 1_000_000 or 1_000_000_000.
    pub fn new(zone: TimeZone, units_per_second: i64) -> Zone {
        Zone { zone, units_per_second }
    }

    /// Event time of a JSON value; `None` where it is no time, or outside the years -9999 to 9999.
    pub(super) fn read(&self, value: &Scalar<'_>) -> Option<EventTime> {
        match value {
            Scalar::Integer(n) => self.of_integer(*n),
            Scalar::Float(f) => self.of_float(*f),
            Scalar::Text(text) => self.of_text(text.trim()),
            _ => None,
        }
    }

    /// Event time of a JSON value; `None` where a record with it would be refused.
    pub fn time_of(&self, value: &serde_json::Value) -> Option<EventTime> {
        self.read(&Scalar::from(value))
    }

    /// Event time of a time as text, by the rules for records; `None` where it is none.
    pub fn of_text(&self, text: &str) -> Option<EventTime> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return self.of_integer(text.parse().ok()?);
        }
        match PARSER.parse_pieces(text) {
            Ok(pieces) => {
                let at = DateTime::from_parts(pieces.date(), pieces.time().unwrap_or(civil::Time::midnight()));
                let zone = match (pieces.to_numeric_offset(), pieces.time_zone_annotation()) {
                    (Some(offset), _) => TimeZone::fixed(offset),
                    (None, Some(annotation)) => annotation.to_time_zone().ok()?,
                    (None, None) => self.zone.clone(),
                };
                // Cut to the microsecond before it, as numbers are: jiff would cut towards 1970.
                i64::try_from(zone.to_timestamp(at).ok()?.as_nanosecond().div_euclid(1_000)).ok()
            }
            Err(_) => self.of_float(
                text.parse()
                    .ok()
                    .filter(|_| text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)))?,
            ),
        }
    }

    fn of_integer(&self, n: i64) -> Option<EventTime> {
        let micros = match self.units_per_second {
            per if per <= 1_000_000 => n.checked_mul(1_000_000 / per)?,
            per => n.div_euclid(per / 1_000_000),
        };
        in_range(micros)
    }

    fn of_float(&self, f: f64) -> Option<EventTime> {
        // Rounded, not cut: 1508039751.778 s is stored a hair below its last millisecond.
        let micros = (f * (1_000_000.0 / self.units_per_second as f64)).round();
        if micros.abs() < 1e18 {
            in_range(micros as i64)
        } else {
            None
        }
    }
}

fn in_range(micros: i64) -> Option<EventTime> {
    Timestamp::from_microsecond(micros).ok().map(|_| micros)
}

/// `2017-10-15T03:55:51.778000`: always six digits, UTC, as the paper's samples write it.
pub fn format_event_time(micros: EventTime) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(t) => format!("{:.6}", TimeZone::UTC.to_datetime(t)),
        Err(_) => format!("{micros} µs"),
    }
}

/// The day of an event time, in days since 1970-01-01 UTC.
pub fn day_of(time: EventTime) -> i64 {
    time.div_euclid(MICROS_PER_DAY)
}

/// A day as `YYYY-MM-DD`.
pub fn date_of(day: i64) -> String {
    match Timestamp::from_microsecond(day.saturating_mul(MICROS_PER_DAY)) {
        Ok(t) => TimeZone::UTC.to_datetime(t).date().to_string(),
        Err(_) => format!("day {day}"), // no event time that `Zone::read` accepts falls on such a day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(zone: &str, units: i64, value: Scalar<'_>) -> Option<String> {
        let zone = Zone::new(TimeZone::get(zone).expect("a zone of the bundled database"), units);
        zone.read(&value).map(format_event_time)
    }

    #[test]
    fn the_papers_three_forms_are_the_same_instant() {
        let want = Some("2017-10-15T03:55:51.778000".to_owned());
        assert_eq!(read("UTC", 1_000, Scalar::Integer(1_508_039_751_778)), want);
        assert_eq!(read("UTC", 1_000, Scalar::Text("1508039751778".into())), want);
        assert_eq!(read("UTC", 1_000, Scalar::Text("2017-10-15T03:55:51.778".into())), want);
        assert_eq!(read("UTC", 1, Scalar::Float(1_508_039_751.778)), want);
        assert_eq!(
            read("UTC", 1_000, Scalar::Text("2017-10-15 05:55:51.778+02:00".into())),
            want
        );
    }

    #[test]
    fn a_time_without_zone_takes_the_settings_zone() {
        let text = || Scalar::Text("2020-03-31T18:59:41".into());
        assert_eq!(
            read("Europe/Lisbon", 1_000, text()).as_deref(),
            Some("2020-03-31T17:59:41.000000")
        );
        assert_eq!(
            read("UTC", 1_000, text()).as_deref(),
            Some("2020-03-31T18:59:41.000000")
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            " ",
            "soon",
            "inf",
            "nan",
            "2017-13-01",
            "2017-10-15T25:00:00",
            "--5",
            "1e300",
            "99999999999999999999",
        ] {
            assert_eq!(read("UTC", 1_000, Scalar::Text(text.into())), None, "{text:?}");
        }
        assert_eq!(read("UTC", 1, Scalar::Integer(i64::MAX)), None);
        assert_eq!(read("UTC", 1_000, Scalar::Float(f64::MAX)), None);
        assert_eq!(read("UTC", 1_000, Scalar::Truth), None);
    }

    #[test]
    fn dates_before_1970_fall_on_their_own_day() {
        assert_eq!(date_of(day_of(-1)), "1969-12-31");
        assert_eq!(date_of(day_of(0)), "1970-01-01");
        assert_eq!(date_of(day_of(4_252_000_000_000_000)), "2104-09-27");
    }
}
