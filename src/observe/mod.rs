//! What a run has done and what it has cost.
//!
//! In: counts of the commits, the process's own accounts, timely's log of its operators. Out: the summary, as JSON and in words.

mod stages;
mod summary;
mod usage;

pub use stages::Stages;
pub use summary::Summary;
pub use usage::Usage;
