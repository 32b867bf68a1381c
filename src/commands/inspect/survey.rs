//! Looks at an output and its state folder as they are at one moment.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::super::Failure;
use crate::commit::{Manifest, RUN_SIGN, TABLES, is_in_use, manifest_path, staging, staging_root};
use crate::record::EventTime;
use crate::sink::StagedFile;

/// A run commits while its output is being looked at: so often it is looked at again.
const ATTEMPTS: u32 = 5;

/// A visible Parquet file.
pub(super) struct Visible {
    /// Below the output.
    pub(super) path: String,
    /// Table and date, where the path has that form.
    pub(super) place: Option<(&'static str, String)>,
    /// Commit and shard, where the name has that form.
    pub(super) part: Option<(u32, u32)>,
    pub(super) bytes: u64,
    /// None: it is no complete Parquet file.
    pub(super) footer: Option<Footer>,
}

/// What the end of a Parquet file says.
pub(super) struct Footer {
    pub(super) rows: u64,
    pub(super) span: Option<(EventTime, EventTime)>,
}

/// What there is.
pub(super) struct Survey {
    pub(super) output: PathBuf,
    pub(super) state: PathBuf,
    pub(super) state_exists: bool,
    /// Whether others than its owner may look into the state folder.
    pub(super) state_is_open: bool,
    /// With the time of its file.
    pub(super) manifest: Option<(Manifest, SystemTime)>,
    /// None: the system does not tell.
    pub(super) in_use: Option<bool>,
    /// Whether a commit was made meanwhile, each time it was looked at.
    pub(super) moved: bool,
    pub(super) files: Vec<Visible>,
    /// Files and bytes that wait to be committed.
    pub(super) waiting: (u64, u64),
    /// Files of the last commit that still wait to become visible.
    pub(super) unpublished: u64,
    /// Unknown devices listed in the state folder.
    pub(super) unknown_devices: Option<u64>,
}

impl Survey {
    pub(super) fn take(output: &Path, state: &Path) -> Result<Survey, Failure> {
        let refuse = |why: String| Failure::new(format!("{}: {why}", output.display()));
        match fs::metadata(output) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(refuse(
                    "no such folder; give the output folder of a run, as given to -o".into(),
                ));
            }
            Err(e) => return Err(refuse(unreadable(&e))),
            Ok(found) if !found.is_dir() => {
                return Err(refuse("a file; give the output folder of a run, as given to -o".into()));
            }
            Ok(_) => {}
        }
        // Before anything is searched: it may be the root of a file system.
        if manifest(state)?.is_none() && !TABLES.iter().any(|table| output.join(table).is_dir()) {
            return Err(refuse(format!(
                "no output of a run: it holds no table, and {} says nothing of it; give the folder that was given to -o",
                state.display()
            )));
        }
        let mut survey = Survey::look(output, state)?;
        for _ in 1..ATTEMPTS {
            if !survey.moved {
                break;
            }
            survey = Survey::look(output, state)?;
        }
        Ok(survey)
    }

    fn look(output: &Path, state: &Path) -> Result<Survey, Failure> {
        let in_use = is_in_use(state);
        let manifest = manifest(state)?;
        let mut files = Vec::new();
        let failed = |(path, e): (PathBuf, io::Error)| Failure::new(format!("{}: {}", path.display(), unreadable(&e)));
        for table in TABLES.iter().filter(|table| output.join(table).is_dir()) {
            walk(&output.join(table), table, &mut files).map_err(failed)?;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let unpublished = manifest.iter().flat_map(|(manifest, _)| {
            let staging = staging(output, manifest.incarnation, manifest.commits.saturating_sub(1));
            let waits = move |file: &&StagedFile| staging.join(StagedFile::staged(&file.path)).exists();
            manifest.last.iter().filter(waits)
        });
        let unpublished = unpublished.count() as u64;
        let after = self::manifest(state)?;
        let commits =
            |manifest: &Option<(Manifest, SystemTime)>| manifest.as_ref().map(|(m, _)| (m.commits, m.complete));
        Ok(Survey {
            output: output.to_owned(),
            state: state.to_owned(),
            state_exists: state.is_dir(),
            state_is_open: fs::metadata(state).is_ok_and(|m| m.mode() & 0o077 != 0),
            moved: commits(&manifest) != commits(&after),
            in_use,
            waiting: waiting(&staging_root(output)),
            unpublished,
            unknown_devices: unknown_devices(state),
            manifest,
            files,
        })
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to read it; check its owner and mode".into(),
        _ => format!("cannot be read: {error}"),
    }
}

fn manifest(state: &Path) -> Result<Option<(Manifest, SystemTime)>, Failure> {
    let path = manifest_path(state);
    let refuse = |e: io::Error| match e.kind() {
        // A state folder that is a file has no manifest.
        io::ErrorKind::NotADirectory => Failure::new(format!("{}: not a folder; look at --state", state.display())),
        io::ErrorKind::PermissionDenied => Failure::new(format!(
            "{}: no permission to read it; the state folder is its owner's alone",
            path.display()
        )),
        _ => Failure::new(format!("{}: cannot be used ({e})", path.display())),
    };
    let Some(manifest) = Manifest::read(state).map_err(refuse)? else {
        return Ok(None);
    };
    let written = fs::metadata(&path).and_then(|m| m.modified()).map_err(refuse)?;
    Ok(Some((manifest, written)))
}

/// Everything ending in `.parquet`; folders that begin with a dot are not looked into: readers skip them.
fn walk(folder: &Path, below: &str, files: &mut Vec<Visible>) -> Result<(), (PathBuf, io::Error)> {
    let at = |e| (folder.to_owned(), e);
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}/{name}");
        let is_folder = entry.file_type().map_err(at)?.is_dir();
        if is_folder && !name.starts_with('.') {
            walk(&entry.path(), &path, files)?;
        } else if !is_folder && name.ends_with(".parquet") {
            let file = entry.path();
            match fs::metadata(&file) {
                Ok(metadata) => files.push(Visible {
                    place: place(&path),
                    part: StagedFile::commit_and_shard(&name),
                    bytes: metadata.len(),
                    footer: footer(&file, &path),
                    path,
                }),
                // Gone since the folder was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err((file, e)),
            }
        }
    }
    Ok(())
}

/// The table and the date of `table/date=…/….parquet`.
fn place(path: &str) -> Option<(&'static str, String)> {
    let mut parts = path.split('/');
    let (table, date) = (parts.next()?, parts.next()?.strip_prefix("date=")?);
    let table = TABLES.into_iter().find(|name| *name == table)?;
    (parts.count() == 1).then(|| (table, date.to_owned()))
}

fn footer(file: &Path, path: &str) -> Option<Footer> {
    let reader = SerializedFileReader::new(File::open(file).ok()?).ok()?;
    let metadata = reader.metadata();
    let columns = match path.split('/').next() {
        Some("windows") => ["window_start", "window_end"],
        _ => ["timestamp", "timestamp"],
    };
    let first = columns.map(|column| span(metadata, column));
    Some(Footer {
        rows: u64::try_from(metadata.file_metadata().num_rows()).ok()?,
        span: match first {
            [Some((first, _)), Some((_, last))] => Some((first, last)),
            _ => None,
        },
    })
}

/// The least and the greatest value of a column, by the statistics of its row groups.
fn span(metadata: &ParquetMetaData, column: &str) -> Option<(EventTime, EventTime)> {
    let mut span: Option<(EventTime, EventTime)> = None;
    for group in metadata.row_groups() {
        for chunk in group.columns().iter().filter(|c| c.column_path().string() == column) {
            if let Some(Statistics::Int64(values)) = chunk.statistics()
                && let (Some(min), Some(max)) = (values.min_opt(), values.max_opt())
            {
                let (first, last) = span.unwrap_or((*min, *max));
                span = Some((first.min(*min), last.max(*max)));
            }
        }
    }
    span
}

/// Files and bytes below a folder, as far as they can be seen: a run may be removing them.
fn waiting(folder: &Path) -> (u64, u64) {
    let mut found = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (files, bytes) = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => waiting(&entry.path()),
            // Not the sign of a run of several processes.
            Ok(metadata) if entry.file_name() != RUN_SIGN => (1, metadata.len()),
            Ok(_) => (0, 0),
            Err(_) => (0, 0),
        };
        found = (found.0 + files, found.1 + bytes);
    }
    found
}

/// Rows of the list of unknown devices.
fn unknown_devices(state: &Path) -> Option<u64> {
    let mut list = csv::Reader::from_path(state.join(super::super::workers::UNKNOWN_DEVICES)).ok()?;
    Some(list.records().filter(Result::is_ok).count() as u64)
}
