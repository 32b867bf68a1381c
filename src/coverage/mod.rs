//! What a dataflow file would do with records, and how well it fits a sample of them.
//!
//! In: settings, and raw records as a replay reads them. Out: a [`Plan`] of what becomes of each field, and a [`Coverage`] with
//! counts, shares and [`Warning`]s. Neither holds a value of any field but figures of the measures, ids of devices, and dates.

mod advice;
mod field;
mod names;
mod plan;
mod sample;
#[cfg(test)]
mod tests;
mod times;

pub use advice::{Warning, percent};
pub use plan::{Plan, PlannedField, Step};
pub use sample::{Coverage, Late, Mapped, Outcomes, Range, Sample, Unknown, Unmapped};
