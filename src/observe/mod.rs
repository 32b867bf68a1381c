//! What a run has done and what it has cost.
//!
//! In: counts of the commits, the process's own accounts, timely's log of its operators. Out: the summary, as JSON and in words;
//! while it runs, how far it has come; of a live run, the view on a terminal.

mod board;
mod clock;
mod figures;
mod progress;
mod screen;
mod stages;
mod summary;
mod usage;

pub use board::{Board, View};
pub use clock::wall_clock;
pub use figures::{grouped, of_day, span};
pub use progress::{Progress, Shown, clear_progress, show_progress};
pub use screen::{Screen, explained};
pub use stages::Stages;
pub use summary::Summary;
pub use usage::Usage;
