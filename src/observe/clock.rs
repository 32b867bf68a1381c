//! The wall clock, for what happens now: what is received, shown, simulated.
//!
//! Nothing of it may reach a result unless it is written down as input first.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::record::EventTime;

/// Microseconds since 1970 UTC.
pub fn wall_clock() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
