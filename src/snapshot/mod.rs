//! What the operators of a dataflow remember, at the end of a commit, so that a later run goes on as if it had never stopped.
//!
//! In: at each commit the [`Entry`]s that have changed since the one before, gathered from all workers by [`Collected`].
//! Out: [`Run`]s, sorted files of entries in the state folder; those that the manifest lists are the state, and of several entries
//! of a key the newest counts. Small runs are merged into large ones. [`Restored`] is the state as a run of the program starts
//! with it: who owns a key is decided by its hash, so that the number of workers may be another one each time.
//!
//! [`Idle`] holds what a running operator has no room for in memory.
//!
//! Nothing here knows what the entries mean: operators encode and decode them with [`encode`] and [`decode`].

mod collected;
mod entry;
mod error;
mod idle;
mod merge;
mod restored;
mod run;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub use collected::{Checkpoints, Collected};
pub use entry::Entry;
pub use error::SnapshotError;
pub use idle::Idle;
pub use restored::{KeyValue, Restored};
pub use run::Run;
pub use store::{Snapshots, folder_of};
pub use value::{Flaw, decode, encode, whole};
