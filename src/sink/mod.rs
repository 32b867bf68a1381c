//! The tables: what their columns are, and how rows become Parquet files.
//!
//! In: rows of one table, in order. Out: files in a staging folder, complete and durable, that a commit then
//! moves to where readers look. Knows nothing of timely.

mod anomalies;
mod columns;
mod quarantine;
mod readings;
mod table;
mod table_writer;
#[cfg(test)]
mod tests;
mod windows;
mod writer;

pub use anomalies::Anomalies;
pub use quarantine::Quarantine;
pub use readings::Readings;
pub use table::{Table, TableColumns};
pub use table_writer::{ByShard, Files, TableWriter};
pub use windows::Windows;
pub use writer::{CommitWriter, SinkError, StagedFile, Target, sync_file_system, sync_folder};
