//! When results become visible: all files of a commit at once, in the order of the commits, never half.
//!
//! In: what the sinks have staged. Out: files where readers look, and the manifest in the state folder that says how
//! far the output has come and what it belongs to.

mod error;
mod lock;
mod maker;
mod manifest;
mod output;
mod tally;

pub use error::OutputError;
pub use lock::is_in_use;
pub use maker::{CommitError, Commits, Job, JournalLink, Keeping, Maker, Wish};
pub use manifest::{Anchor, Belongings, Manifest, path_of as manifest_path};
pub use output::{OutputFolder, RUN_SIGN, TABLES, staging, staging_root};
pub use tally::{Staged, Tally};
