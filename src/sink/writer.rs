//! Writes one table's rows of one commit and one output shard: a file for each date.
//!
//! Files grow in a staging folder, under names that no glob for Parquet finds, until a commit moves them. A date with few
//! rows holds no open file, so that input with thousands of dates costs memory for its rows alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, mem};

use arrow_schema::{DataType, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use super::Table;
use crate::record::date_of;
use crate::settings;

/// Rows of a date that are held before its file is opened.
const HELD_ROWS: usize = 8 * 1024;
/// With more files than this, one call that flushes the file system is cheaper than a call for each file.
const SINGLE_SYNCS: usize = 16;

/// Where a table's rows of one commit and shard go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The staging folder of this commit.
    pub staging: PathBuf,
    pub commit: u32,
    pub shard: u32,
    pub compression: settings::Compression,
}

/// A complete, durable file in the staging folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StagedFile {
    /// Where readers will find it, below the output folder: `table/date=…/….parquet`.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// A file that cannot be written, and what to do.
#[derive(Debug)]
pub enum SinkError {
    Io { path: PathBuf, error: io::Error },
    Parquet { path: PathBuf, error: ParquetError },
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkError::Io { path, error } => {
                let advice = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "the disk is full; free some space and start again"
                    }
                    io::ErrorKind::PermissionDenied => "no permission to write; check the folder's owner and mode",
                    _ => "cannot be written; nothing of this commit is visible, start again once it can",
                };
                write!(f, "{}: {advice} ({error})", path.display())
            }
            SinkError::Parquet { path, error } => {
                write!(
                    f,
                    "{}: cannot be written as Parquet; nothing of this commit is visible ({error})",
                    path.display()
                )
            }
        }
    }
}

impl error::Error for SinkError {}

impl SinkError {
    /// Where and why a file operation failed.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> SinkError {
        |error| SinkError::Io {
            path: path.to_owned(),
            error,
        }
    }

    fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> SinkError {
        |error| match error {
            // The writer wraps the file system's errors; what matters to the user is the one inside.
            ParquetError::External(inner) if inner.is::<io::Error>() => match inner.downcast::<io::Error>() {
                Ok(error) => SinkError::Io {
                    path: path.to_owned(),
                    error: *error,
                },
                Err(inner) => SinkError::Parquet {
                    path: path.to_owned(),
                    error: ParquetError::External(inner),
                },
            },
            error => SinkError::Parquet {
                path: path.to_owned(),
                error,
            },
        }
    }
}

/// The files of one table, commit and shard while they grow.
pub struct CommitWriter<T: Table> {
    table: Arc<T>,
    target: Target,
    dates: BTreeMap<Option<i64>, OfDate<T::Row>>,
}

struct OfDate<R> {
    held: Vec<R>,
    file: Option<ArrowWriter<File>>,
    rows: u64,
}

impl<T: Table> CommitWriter<T> {
    pub fn new(table: Arc<T>, target: Target) -> CommitWriter<T> {
        CommitWriter {
            table,
            target,
            dates: BTreeMap::new(),
        }
    }

    /// Takes rows, which must come in the order of the table.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&mut self, rows: Vec<T::Row>) -> Result<(), SinkError> {
        let day = |row: &T::Row| self.table.day(row);
        let Some(first) = rows.first().map(day) else {
            return Ok(());
        };
        if rows.iter().all(|row| day(row) == first) {
            return self.hold(first, rows); // most epochs fall on one date
        }
        let mut by_day: BTreeMap<Option<i64>, Vec<T::Row>> = BTreeMap::new();
        for row in rows {
            by_day.entry(self.table.day(&row)).or_default().push(row);
        }
        by_day.into_iter().try_for_each(|(day, rows)| self.hold(day, rows))
    }

    fn hold(&mut self, day: Option<i64>, mut rows: Vec<T::Row>) -> Result<(), SinkError> {
        let date = self.dates.entry(day).or_insert_with(|| OfDate {
            held: Vec::new(),
            file: None,
            rows: 0,
        });
        match date.held.is_empty() {
            true => date.held = rows,
            false => date.held.append(&mut rows),
        }
        if date.held.len() >= HELD_ROWS {
            date.flush(&*self.table, &self.target, day)?;
        }
        Ok(())
    }

    /// Completes the files and makes them durable.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(self) -> Result<Vec<StagedFile>, SinkError> {
        let mut staged = Vec::with_capacity(self.dates.len());
        let single = self.dates.len() <= SINGLE_SYNCS;
        for (day, mut date) in self.dates {
            date.flush(&*self.table, &self.target, day)?;
            let path = self.target.path::<T>(day);
            if let Some(mut writer) = date.file {
                // Not `into_inner`, whose error no longer tells a full disk from a mistake.
                writer.finish().map_err(SinkError::parquet(&path))?;
                let file = writer.inner_mut();
                let bytes = file.metadata().map_err(SinkError::io(&path))?.len();
                if single {
                    file.sync_all().map_err(SinkError::io(&path))?;
                    sync_folder(path.parent().unwrap_or(&path))?;
                }
                staged.push(StagedFile {
                    path: self.target.published::<T>(day),
                    rows: date.rows,
                    bytes,
                });
            }
        }
        if !single {
            sync_file_system(&self.target.staging)?;
        }
        Ok(staged)
    }
}

impl<R> OfDate<R> {
    fn flush<T: Table<Row = R>>(&mut self, table: &T, target: &Target, day: Option<i64>) -> Result<(), SinkError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let path = target.path::<T>(day);
        let rows = mem::take(&mut self.held);
        let batch = table.encode(&rows).map_err(|e| SinkError::Parquet {
            path: path.clone(),
            error: e.into(),
        })?;
        let mut writer = match self.file.take() {
            Some(writer) => writer,
            None => {
                let folder = path.parent().unwrap_or(&path);
                fs::create_dir_all(folder).map_err(SinkError::io(folder))?;
                let file = File::create(&path).map_err(SinkError::io(&path))?;
                ArrowWriter::try_new(file, table.schema(), Some(target.properties(&table.schema())))
                    .map_err(SinkError::parquet(&path))?
            }
        };
        writer.write(&batch).map_err(SinkError::parquet(&path))?;
        self.rows += rows.len() as u64;
        self.file = Some(writer);
        Ok(())
    }
}

impl Target {
    /// `table/date=…/part-<commit>-<shard>` of a file.
    fn stem<T: Table>(&self, day: Option<i64>) -> String {
        let date = day.map_or_else(|| "__HIVE_DEFAULT_PARTITION__".into(), date_of);
        format!("{}/date={date}/part-{:08}-{:02}", T::NAME, self.commit, self.shard)
    }

    fn path<T: Table>(&self, day: Option<i64>) -> PathBuf {
        self.staging.join(StagedFile::staged(&self.published::<T>(day)))
    }

    fn published<T: Table>(&self, day: Option<i64>) -> String {
        format!("{}.parquet", self.stem::<T>(day))
    }

    fn properties(&self, schema: &Schema) -> WriterProperties {
        let compression = match self.compression {
            settings::Compression::Zstd => Compression::ZSTD(ZstdLevel::default()),
            settings::Compression::Snappy => Compression::SNAPPY,
            settings::Compression::Gzip => Compression::GZIP(Default::default()),
            settings::Compression::None => Compression::UNCOMPRESSED,
        };
        let mut properties = WriterProperties::builder().set_compression(compression);
        // Times hardly repeat, but follow each other closely: differences are smaller than a dictionary, and faster.
        let times = schema
            .fields()
            .iter()
            .filter(|field| matches!(field.data_type(), DataType::Timestamp(..)));
        for column in times.map(|field| ColumnPath::from(field.name().as_str())) {
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        properties.build()
    }
}

impl StagedFile {
    /// Commit and shard of a file that this program has named so; `None` for any other name.
    pub fn commit_and_shard(name: &str) -> Option<(u32, u32)> {
        let (commit, shard) = name.strip_prefix("part-")?.strip_suffix(".parquet")?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if commit.len() < 8 || shard.len() < 2 || !digits(commit) || !digits(shard) {
            return None;
        }
        Some((commit.parse().ok()?, shard.parse().ok()?))
    }

    /// Where a file waits, below its commit's staging folder, until it is published at `path`.
    pub fn staged(path: &str) -> String {
        path.strip_suffix(".parquet").unwrap_or(path).to_owned()
    }
}

/// Makes a folder's entries durable.
///
/// # Errors
/// A folder that cannot be opened or flushed.
pub fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(SinkError::io(folder))
}

/// Makes everything on a folder's file system durable.
///
/// # Errors
/// A folder that cannot be opened or flushed.
pub fn sync_file_system(folder: &Path) -> Result<(), SinkError> {
    let open = File::open(folder).map_err(SinkError::io(folder))?;
    rustix::fs::syncfs(&open).map_err(|e| SinkError::Io {
        path: folder.to_owned(),
        error: e.into(),
    })
}
