//! When a reading is an anomaly.
//!
//! In: the scores of one key in source order, and the measures of its readings. Out: the threshold that applies to each, fixed or learned
//! from the scores before it ([`Threshold`]), and whether a measure is out of its range ([`Ranges`]). Knows nothing of timely.

mod history;
mod ranges;
mod threshold;

pub use ranges::Ranges;
pub use threshold::{Rule, StateError, Threshold};

/// What decides whether a reading is an anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub rule: Rule,
    pub ranges: Ranges,
}
