//! The device collection: what is known of each device, from a file.
//!
//! In: a CSV, JSON-lines or Parquet file with `device_id`, `manufacturer`, `model` and further columns on request. Out: a
//! [`Collection`] of facts by device; with columns `valid_from` and `valid_to`, by event time too. Knows nothing of timely.

mod collection;
mod csv_file;
mod json_file;
mod parquet_file;

pub use collection::{Collection, DevicesError};
