//! When results become visible: all files of a commit at once, in the order of the commits, never half.
//!
//! In: what the sinks have staged. Out: files where readers look, and the manifest in the state folder that says how
//! far the output has come and what it belongs to.

mod manifest;
mod output;
mod tally;

pub use manifest::{Belongings, Manifest};
pub use output::{OutputError, OutputFolder, staging};
pub use tally::{Staged, Tally};
