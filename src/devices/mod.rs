//! The device collection: what is known of each device, from a file that may change while a run goes on.
//!
//! In: a CSV, JSON-lines or Parquet file with `device_id`, `manufacturer`, `model` and further columns on request. Out: a
//! [`Collection`] of facts by device; with columns `valid_from` and `valid_to`, by event time too. A live run [watches](Watch) the file and
//! keeps each [version](Versions) it has joined with, for as long as its [`History`] may be asked for. Knows nothing of timely.

mod changes;
mod collection;
mod content;
mod csv_file;
mod history;
mod json_file;
mod parquet_file;
#[cfg(test)]
mod tests;
mod versions;
mod watch;

pub use changes::{Changes, DeviceChange};
pub use collection::{Collection, DevicesError, Wanted};
pub use content::Content;
pub use history::{History, InForce};
pub use versions::{Succession, Versions, folder_of};
pub use watch::{Caution, Look, NewVersion, Refusal, Watch};
