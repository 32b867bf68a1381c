//! The rows of a CSV file as JSON objects: keyed by the header's names, values as texts, an empty cell as null.
//!
//! A row that does not fit the header is a record of its own, as it stood. So is the first line of a row in quotation marks that
//! spans lines and does not come out whole: the lines behind it are read anew, so that one stray mark costs one line.

use std::collections::VecDeque;
use std::io::{self, BufRead};

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
    /// Whether the last one goes on: its quotation mark is not closed yet.
    open: bool,
}

/// What has come of a row so far.
#[derive(PartialEq)]
enum Row {
    Whole,
    /// It goes on with the next line.
    Open,
    /// Something stands behind a closing quotation mark.
    Broken,
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
        if rows.values.take(&header.bytes, rows.delimiter) != Row::Whole {
            return Err(refused(
                "its header has quotation marks that do not enclose whole names",
            ));
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
            let blank = |byte: &u8| byte.is_ascii_whitespace() && *byte != self.delimiter;
            if !line.bytes.iter().all(blank) || line.length > self.limit as u64 {
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
        self.values.clear();
        let mut row = self.values.take(&line.bytes, self.delimiter);
        while row == Row::Open && length <= self.limit {
            let Some(next) = self.any_line()? else { break };
            length += 1 + next.length as usize;
            row = self.values.take(&next.bytes, self.delimiter);
            further.push(next);
        }
        let found = self.values.ends.len();
        if row == Row::Whole && length <= self.limit && (found == wanted || further.is_empty()) {
            self.number += further.len() as u64;
            self.row.clear();
            for (i, value) in self.values.iter().enumerate() {
                put_value(&mut self.row, self.keys.get(i), value);
            }
            return Ok(whole(&mut self.row, found, wanted));
        }
        for line in further.into_iter().rev() {
            self.ahead.push_front(line);
        }
        Ok(Some(RowFault::Quotes))
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
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.open = false;
    }

    /// Takes a line of a row, behind those before it if the row was open.
    fn take(&mut self, line: &[u8], delimiter: u8) -> Row {
        let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
        loop {
            if !self.open && rest.first() == Some(&b'"') {
                self.open = true;
                rest = &rest[1..];
            }
            if !self.open {
                let end = memchr::memchr(delimiter, rest).unwrap_or(rest.len());
                self.bytes.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
            } else if let Some(end) = memchr::memchr(b'"', rest) {
                self.bytes.extend_from_slice(&rest[..end]);
                rest = &rest[end + 1..];
                if rest.first() == Some(&b'"') {
                    self.bytes.push(b'"');
                    rest = &rest[1..];
                    continue;
                }
                self.open = false;
            } else {
                self.bytes.extend_from_slice(rest);
                self.bytes.push(b'\n');
                return Row::Open;
            }
            match rest.split_first() {
                None => {
                    self.ends.push(self.bytes.len());
                    return Row::Whole;
                }
                Some((byte, behind)) if *byte == delimiter => {
                    self.ends.push(self.bytes.len());
                    rest = behind;
                }
                Some(_) => return Row::Broken,
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end])
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
