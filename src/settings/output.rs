//! `[output]`: where the tables go, and how they are cut into files.

use serde::Serialize;

use super::Micros;
use super::reader::Section;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Output {
    /// The folder of the tables.
    pub path: String,
    /// Shards that write each table, 1 to 64.
    pub shards: u32,
    pub compression: Compression,
    /// Rows after which there is a commit, at least 1.
    pub commit_rows: u64,
    /// Bytes after which there is a commit, at least 1.
    pub commit_bytes: u64,
    /// Time after which a live run commits, more than zero.
    pub commit_interval: Micros,
}

impl Default for Output {
    fn default() -> Self {
        Output {
            path: "out".into(),
            shards: 1,
            compression: Compression::Zstd,
            commit_rows: 1_000_000,
            commit_bytes: 100_000_000,
            commit_interval: Micros(300 * Micros::SECOND.0),
        }
    }
}

/// Compression of the pages of a Parquet file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    Zstd,
    Snappy,
    Gzip,
    None,
}

impl Output {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Output {
        let default = Output::default();
        let most = i64::MAX as u64;
        let compressions = [
            ("zstd", Compression::Zstd),
            ("snappy", Compression::Snappy),
            ("gzip", Compression::Gzip),
            ("none", Compression::None),
        ];
        Output {
            path: section.filled_text("path", default.path),
            shards: section.integer("shards", 1..=64, default.shards),
            compression: section.choice("compression", &compressions, default.compression),
            commit_rows: section.integer("commit_rows", 1..=most, default.commit_rows),
            commit_bytes: section.size("commit_bytes", 1..=most, default.commit_bytes),
            commit_interval: section.duration("commit_interval", Micros(1), default.commit_interval),
        }
    }
}
