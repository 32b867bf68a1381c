//! The records of one file, whatever its form: JSON lines as they stand, rows of CSV and Parquet as JSON objects.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use super::InputFile;
use super::csv_rows::CsvRows;
use super::format::{Form, Packing};
use super::lines::{read_line, without_mark};
use super::parquet_rows::ParquetRows;
use crate::observe::Progress;
use crate::record::{Parser, RowFault};

type Buffered = BufReader<Box<dyn Read + Send>>;

/// What is known of a record beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Its number in the file: a line, or a row of Parquet, from 1.
    pub(super) number: u64,
    /// Its whole length in bytes.
    pub(super) length: u64,
    pub(super) fault: Option<RowFault>,
}

/// A column that every record needs and that a file does not have.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    setting: &'static str,
    name: String,
}

impl Missing {
    pub(super) fn new(setting: &'static str, name: &str) -> Missing {
        let name = name.to_owned();
        Missing { setting, name }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Missing { setting, name } = self;
        write!(
            f,
            "it has no column {name}; name the right one with --set {setting}=COLUMN"
        )
    }
}

/// An open file.
pub(super) enum Records {
    Lines { reader: Buffered, number: u64 },
    Csv(Box<CsvRows<Buffered>>),
    Parquet(Box<ParquetRows>),
}

/// What all files of an input are read with.
pub(super) struct Reading {
    pub(super) parser: Parser,
    pub(super) progress: Arc<Progress>,
    /// Bytes of a record that are kept at most.
    pub(super) limit: usize,
    /// Bytes that are read at once.
    pub(super) buffer: usize,
}

/// A file that cannot be read, and why.
#[derive(Debug)]
pub struct ReadError {
    pub file: String,
    pub error: io::Error,
    packed: bool,
}

impl ReadError {
    pub(super) fn new(file: &InputFile, error: io::Error) -> ReadError {
        ReadError {
            file: file.shown(),
            error,
            packed: file.packing != Packing::Plain,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReadError { file, error, packed } = self;
        match error.kind() {
            io::ErrorKind::Unsupported => write!(f, "{file}: {error}"),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                write!(f, "{file}: cannot be read any further ({error})")
            }
            _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                write!(
                    f,
                    "{file}: too many files are open for one --merge; raise the limit (ulimit -n), or merge fewer at a time"
                )
            }
            _ if *packed || error.kind() == io::ErrorKind::InvalidData => {
                write!(f, "{file}: damaged or cut short ({error}); get the file anew")
            }
            _ => write!(f, "{file}: cannot be read any further ({error})"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A file that is whole and still not to be used; the message says what to do.
pub(super) fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.into())
}

impl Records {
    /// At the first record of a file.
    pub(super) fn open(file: &InputFile, with: &Reading) -> io::Result<Records> {
        if file.form == Form::Parquet {
            let rows = ParquetRows::open(file.open_file()?, &with.parser, &with.progress)?;
            return Ok(Records::Parquet(Box::new(rows)));
        }
        let bytes = without_mark(file.open(&with.progress)?)?;
        let reader = BufReader::with_capacity(with.buffer, bytes);
        match file.form {
            Form::Csv => Ok(Records::Csv(Box::new(CsvRows::open(reader, &with.parser, with.limit)?))),
            _ => Ok(Records::Lines { reader, number: 0 }),
        }
    }

    /// What the file lacks, so that no record can be read from it.
    pub(super) fn missing(&self) -> Option<&Missing> {
        match self {
            Records::Lines { .. } => None,
            Records::Csv(rows) => rows.missing.as_ref(),
            Records::Parquet(rows) => rows.missing.as_ref(),
        }
    }

    /// The next record that is not blank; its bytes go to `kept`, up to the limit.
    #[inline(always)]
    pub(super) fn next(&mut self, kept: Option<&mut Vec<u8>>, limit: usize) -> io::Result<Option<Found>> {
        let found = match self {
            Records::Lines { reader, number } => return next_line(reader, number, kept, limit),
            Records::Csv(rows) => rows.next()?,
            Records::Parquet(rows) => rows.next()?,
        };
        Ok(found.map(|(found, bytes)| {
            if let Some(kept) = kept {
                kept.extend_from_slice(&bytes[..bytes.len().min(limit)]);
            }
            found
        }))
    }
}

#[inline(always)]
fn next_line(
    reader: &mut impl BufRead,
    number: &mut u64,
    mut kept: Option<&mut Vec<u8>>,
    limit: usize,
) -> io::Result<Option<Found>> {
    let start = kept.as_ref().map_or(0, |kept| kept.len());
    loop {
        let Some(line) = read_line(reader, kept.as_deref_mut(), limit)? else {
            return Ok(None);
        };
        *number += 1;
        if !line.blank {
            return Ok(Some(Found {
                number: *number,
                length: line.length,
                fault: None,
            }));
        }
        if let Some(kept) = kept.as_deref_mut() {
            kept.truncate(start);
        }
    }
}
