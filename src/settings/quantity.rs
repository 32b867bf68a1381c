//! Durations and sizes as they are written in a dataflow file.

use std::fmt;

use serde::Serialize;

/// A duration in microseconds; one that comes from the settings is never negative and at most 100 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Micros(pub i64);

impl Micros {
    pub const SECOND: Micros = Micros(1_000_000);
    pub const MINUTE: Micros = Micros(60 * Micros::SECOND.0);
    pub const HOUR: Micros = Micros(60 * Micros::MINUTE.0);
    pub const DAY: Micros = Micros(24 * Micros::HOUR.0);
    /// Sums of a few of these and a timestamp stay far inside an i64.
    const LONGEST: i64 = 36_500 * Micros::DAY.0;
}

/// As a setting is written: a whole number of the largest unit that fits.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (Micros::DAY.0, "d"),
            (Micros::HOUR.0, "h"),
            (Micros::MINUTE.0, "m"),
            (Micros::SECOND.0, "s"),
            (1_000, "ms"),
        ];
        match units.into_iter().find(|(unit, _)| self.0 != 0 && self.0 % unit == 0) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl std::str::FromStr for Micros {
    type Err = String;

    fn from_str(text: &str) -> Result<Micros, String> {
        duration(text).map_err(|why| format!("it {why}: give a whole number and one of us, ms, s, m, h, d, as 30s"))
    }
}

impl From<Micros> for std::time::Duration {
    /// Negative ones, of which there are none among the settings, as zero.
    fn from(Micros(micros): Micros) -> Self {
        std::time::Duration::from_micros(micros.max(0) as u64)
    }
}

/// Reads `30s`, `500ms`, `1h`: a whole number and one of us, ms, s, m, h, d.
pub(super) fn duration(text: &str) -> Result<Micros, &'static str> {
    let (number, unit) = number_and_unit(text).ok_or("is not a duration")?;
    let unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => Micros::SECOND.0,
        "m" => Micros::MINUTE.0,
        "h" => Micros::HOUR.0,
        "d" => Micros::DAY.0,
        "" => return Err("has no unit"),
        _ => return Err("has an unknown unit"),
    };
    i64::try_from(number)
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|micros| *micros <= Micros::LONGEST)
        .map(Micros)
        .ok_or("is more than 36500d")
}

/// Reads `100MB`, `64KiB`, `1024B`: a whole number and one of B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = number_and_unit(text).ok_or("is not a size")?;
    let unit: u64 = match unit {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => return Err("has no unit"),
        _ => return Err("has an unknown unit"),
    };
    number.checked_mul(unit).ok_or("is too large")
}

/// A number and what follows it, blanks between them or not; none without a number of 64 bits.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}
