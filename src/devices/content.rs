//! A collection's file as it is: what a version of the collection is recognised by and kept as. In: a file, or what was kept of one.
//! Out: its fingerprint, its bytes, and the collection that they hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::collection::{Collection, DevicesError, Rows, Wanted};
use super::{csv_file, json_file, parquet_file};

/// The bytes of a collection's file.
#[derive(Clone)]
pub struct Content {
    path: PathBuf,
    form: Form,
    bytes: Bytes,
    fingerprint: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Csv,
    JsonLines,
    Parquet,
}

impl Form {
    /// Of a file's extension.
    pub(super) fn of(extension: &str) -> Option<Form> {
        match extension {
            "csv" => Some(Form::Csv),
            "jsonl" | "ndjson" | "json" => Some(Form::JsonLines),
            "parquet" => Some(Form::Parquet),
            _ => None,
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Form::Csv => "csv",
            Form::JsonLines => "jsonl",
            Form::Parquet => "parquet",
        }
    }
}

impl Content {
    /// Reads the file at `path`; its form follows from its extension.
    ///
    /// # Errors
    /// A file that is missing or unreadable, or of an unknown form.
    pub fn read(path: &Path) -> Result<Content, DevicesError> {
        let refuse = |why: String| DevicesError::new(path, why);
        let bytes = fs::read(path).map_err(|e| {
            refuse(match e.kind() {
                io::ErrorKind::NotFound => "no such file; check [devices] path or --devices".into(),
                io::ErrorKind::PermissionDenied => "no permission to read it; check its owner and mode".into(),
                io::ErrorKind::IsADirectory => "cannot be read: a folder; give the file in it".into(),
                _ => format!("cannot be read: {e}"),
            })
        })?;
        let form = path.extension().and_then(|e| e.to_str()).and_then(Form::of);
        let form = form.ok_or_else(|| refuse("its name must end in .csv, .jsonl or .parquet".into()))?;
        Ok(Content::new(path, form, bytes))
    }

    /// CSV that no file holds.
    #[cfg(test)]
    pub fn of_text(text: &str) -> Content {
        Content::new(Path::new("devices.csv"), Form::Csv, text.into())
    }

    pub(super) fn new(path: &Path, form: Form, bytes: Vec<u8>) -> Content {
        Content {
            path: path.to_owned(),
            form,
            fingerprint: format!("{:032x}", xxh3_128(&bytes)).into(),
            bytes: bytes.into(),
        }
    }

    /// What the version is recognised by.
    pub fn fingerprint(&self) -> &Arc<str> {
        &self.fingerprint
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether its last line is ended, as far as it is of lines: one that is not may be half of a line.
    pub(super) fn is_ended(&self) -> bool {
        self.form == Form::Parquet || self.bytes.last().is_none_or(|last| *last == b'\n')
    }

    /// What it says.
    ///
    /// # Errors
    /// Content that is no collection: see [`Collection::load`].
    pub fn collection(&self, wanted: &Wanted) -> Result<Collection, DevicesError> {
        let mut rows = Rows::new(wanted);
        match self.form {
            Form::Csv => csv_file::read(&self.bytes, &mut rows),
            Form::JsonLines => json_file::read(&self.bytes, &mut rows),
            Form::Parquet => parquet_file::read(self.bytes.clone(), &mut rows),
        }
        .and_then(|()| rows.devices())
        .map(|devices| Collection { devices })
        .map_err(|why| DevicesError::new(&self.path, why))
    }
}
