//! What a run has done and what it has cost.
//!
//! In: counts of the commits, the process's own accounts, timely's log of its operators. Out: the summary, as JSON and in words;
//! of a live run, the view on a terminal.

mod board;
mod screen;
mod stages;
mod summary;
mod usage;

pub use board::{Board, View};
pub use screen::{Screen, clock, explained, grouped, span};
pub use stages::Stages;
pub use summary::Summary;
pub use usage::Usage;
