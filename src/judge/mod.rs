//! How well scores tell what is labelled from what is not.
//!
//! In: the [`Outcome`] of every reading of a run, and the truth as [`Labels`]. Out: a [`Verdict`]: areas under the curves, what comes of
//! each threshold, and the threshold that keeps to a [`Budget`] of false alarms. Knows nothing of timely.
//!
//! Three things are counted. A *reading* is flagged at a threshold when its score reaches it. An *alarm* is an incident: flagged readings
//! of one device that follow each other within the cool-down; it is false if none of them is labelled. An *event* is a labelled stretch
//! of one device; it is detected if one of its readings is flagged.

mod areas;
mod budget;
mod label_file;
mod labels;
mod sweep;
#[cfg(test)]
mod tests;
mod trial;
mod verdict;

pub use budget::Budget;
pub use label_file::LabelError;
pub use labels::{Event, Labels, Marked, is_ordinary};
pub use trial::{Outcome, Trial};
pub use verdict::{Delay, Operating, Rules, Unscored, Verdict, judge};
