//! The rows of a CSV file as JSON objects: keyed by the header's names, values as texts, an empty cell as null.
//!
//! A row that does not fit the header is a record of its own, as it stood. So is the first line of a row in quotation marks that
//! spans lines and does not come out whole: the lines behind it are read anew, so that one stray mark costs one line.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Terminator};

use super::json_text::{put_key, put_text};
use super::lines::{Measured, read_line};
use super::records::{Found, Missing, refused};
use crate::record::{Parser, RowFault};

/// What may stand between values; the first wins where the header has as many of several.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A physical line: what is kept of it, without its end, and its whole length.
struct Line {
    bytes: Vec<u8>,
    length: u64,
}

/// The rows behind the header.
pub(super) struct CsvRows<R> {
    reader: R,
    /// Lines that were read ahead.
    ahead: VecDeque<Line>,
    /// The number of the last line taken.
    number: u64,
    /// Bytes of a row that are kept at most.
    limit: usize,
    delimiter: u8,
    /// What stands before each value.
    keys: Vec<Vec<u8>>,
    core: csv_core::Reader,
    values: Values,
    row: Vec<u8>,
    /// What the header lacks, so that no record can be read.
    pub(super) missing: Option<Missing>,
}

/// Unquoted values, one behind the other.
#[derive(Default)]
struct Values {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    written: usize,
    count: usize,
}

impl<R: BufRead> CsvRows<R> {
    /// Reads the header. An empty file has no rows.
    ///
    /// # Errors
    /// A header that cannot be read.
    pub(super) fn open(reader: R, parser: &Parser, limit: usize) -> io::Result<CsvRows<R>> {
        let mut rows = CsvRows {
            reader,
            ahead: VecDeque::new(),
            number: 0,
            limit,
            delimiter: b',',
            keys: Vec::new(),
            core: csv_core::Reader::new(),
            values: Values::default(),
            row: Vec::new(),
            missing: None,
        };
        let Some(header) = rows.line()? else { return Ok(rows) };
        if header.length > limit as u64 || std::str::from_utf8(&header.bytes).is_err() {
            return Err(refused(
                "its first line is no header in UTF-8; a CSV file starts with the names of its columns",
            ));
        }
        rows.delimiter = delimiter_of(&header.bytes);
        let mut builder = csv_core::ReaderBuilder::new();
        rows.core = builder
            .delimiter(rows.delimiter)
            .terminator(Terminator::Any(b'\n'))
            .build();
        if !rows.values.take(&mut rows.core, &header.bytes) {
            return Err(refused("its header has a quotation mark that is not closed"));
        }
        let names: Vec<String> = rows
            .values
            .iter()
            .map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned())
            .collect();
        let present: Vec<&str> = names.iter().map(String::as_str).collect();
        rows.missing = parser
            .misses(&present)
            .map(|(setting, name)| Missing::new(setting, name));
        rows.keys = names
            .iter()
            .enumerate()
            .map(|(i, name)| put_key(i == 0, name))
            .collect();
        Ok(rows)
    }

    /// The next row that is not blank: what was found of it, and its bytes, to be cut to the limit.
    pub(super) fn next(&mut self) -> io::Result<Option<(Found, &[u8])>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let number = self.number;
        if line.length > self.limit as u64 {
            // Too large for a record however it is read.
            self.row = line.bytes;
            return Ok(Some(self.found(number, line.length, None)));
        }
        let fault = match memchr::memchr(b'"', &line.bytes) {
            None => self.put(&line.bytes),
            Some(_) => self.put_quoted(&line)?,
        };
        if fault.is_some() {
            self.row = line.bytes;
        }
        Ok(Some(self.found(number, self.row.len() as u64, fault)))
    }

    fn found(&self, number: u64, length: u64, fault: Option<RowFault>) -> (Found, &[u8]) {
        let found = Found { number, length, fault };
        (found, &self.row)
    }

    /// The next line that is not blank.
    fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some(line) = self.any_line()? else { return Ok(None) };
            self.number += 1;
            if !line.bytes.trim_ascii().is_empty() || line.length > self.limit as u64 {
                return Ok(Some(line));
            }
        }
    }

    fn any_line(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        let mut bytes = Vec::new();
        let Some(Measured { length, .. }) = read_line(&mut self.reader, Some(&mut bytes), self.limit)? else {
            return Ok(None);
        };
        Ok(Some(Line { bytes, length }))
    }

    /// Puts a row without quotation marks as JSON.
    fn put(&mut self, line: &[u8]) -> Option<RowFault> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (keys, row, delimiter) = (&self.keys, &mut self.row, self.delimiter);
        row.clear();
        let mut found = 0;
        for value in line.split(|byte| *byte == delimiter) {
            put_value(row, keys.get(found), value);
            found += 1;
        }
        whole(row, found, keys.len())
    }

    /// Puts a row with quotation marks as JSON, taking the further lines that it spans.
    fn put_quoted(&mut self, line: &Line) -> io::Result<Option<RowFault>> {
        let mut further: Vec<Line> = Vec::new();
        let (wanted, mut length) = (self.keys.len(), line.bytes.len());
        self.values.clear(&mut self.core);
        let mut closed = self.values.take(&mut self.core, &line.bytes);
        while !closed && length <= self.limit {
            let Some(next) = self.any_line()? else { break };
            length += 1 + next.length as usize;
            closed = self.values.take(&mut self.core, &next.bytes);
            further.push(next);
        }
        closed &= length <= self.limit;
        if closed && (self.values.count == wanted || further.is_empty()) {
            self.number += further.len() as u64;
            self.row.clear();
            for (i, value) in self.values.iter().enumerate() {
                put_value(&mut self.row, self.keys.get(i), value);
            }
            return Ok(whole(&mut self.row, self.values.count, wanted));
        }
        for line in further.into_iter().rev() {
            self.ahead.push_front(line);
        }
        Ok(Some(RowFault::OpenQuote))
    }
}

fn put_value(row: &mut Vec<u8>, key: Option<&Vec<u8>>, value: &[u8]) {
    let Some(key) = key else { return };
    row.extend_from_slice(key);
    match value.trim_ascii() {
        [] => row.extend_from_slice(b"null"),
        value => put_text(row, value),
    }
}

fn whole(row: &mut Vec<u8>, found: usize, wanted: usize) -> Option<RowFault> {
    if found == wanted {
        row.push(b'}');
        return None;
    }
    // Neither is more than the bytes of a row, which are far fewer than 4 Gi.
    let (found, wanted) = (found as u32, wanted as u32);
    Some(RowFault::FieldCount { found, wanted })
}

impl Values {
    fn clear(&mut self, core: &mut csv_core::Reader) {
        core.reset();
        (self.written, self.count) = (0, 0);
    }

    /// Takes a line of a row; false: a quotation mark is still open at its end, and the row goes on with the next.
    fn take(&mut self, core: &mut csv_core::Reader, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut taken = 0;
        loop {
            let ended = taken == line.len();
            let input = if ended { b"\n" } else { &line[taken..] };
            let (bytes, ends) = (&mut self.bytes[self.written..], &mut self.ends[self.count..]);
            let (result, read, put, ends) = core.read_record(input, bytes, ends);
            (self.written, self.count) = (self.written + put, self.count + ends);
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return true,
                ReadRecordResult::InputEmpty if ended => return false,
                ReadRecordResult::InputEmpty => taken += read,
                ReadRecordResult::OutputFull => {
                    taken += read;
                    self.bytes.resize(self.bytes.len() * 2 + 64, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    taken += read;
                    self.ends.resize(self.ends.len() * 2 + 16, 0);
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .take(self.count)
            .map(|(start, end)| &self.bytes[*start..*end])
    }
}

/// The delimiter that the header has most of.
fn delimiter_of(header: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [0usize; DELIMITERS.len()];
    for byte in header {
        match DELIMITERS.iter().position(|delimiter| delimiter == byte) {
            Some(i) if !quoted => counts[i] += 1,
            _ if *byte == b'"' => quoted = !quoted,
            _ => {}
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let first = counts.iter().position(|count| *count == most).unwrap_or_default();
    DELIMITERS[first]
}

#[cfg(test)]
mod tests;
