//! A search for texts that must not be there: in whatever a run has written or said, in every form in which they could hide.
//!
//! In: the texts ("canaries"), then bytes, files or whole folders. Out: where which of them was found. Looked into are names and bytes of
//! files, what is packed in them at any offset, decoded columns of Parquet, and the values of SQLite databases; files may be torn.

pub mod forms;
mod packed;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use memchr::memmem::Finder;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::tables::{Cell, cells, files};

/// Frames within frames are opened so deep.
const DEPTH: u32 = 4;
/// What several canaries have in common is searched for in their stead if it is long enough not to occur by chance.
const SHORTEST_STEM: usize = 6;

/// A canary that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    pub canary: String,
    pub form: &'static str,
    pub place: String,
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} holds the canary {} ({})", self.place, self.canary, self.form)
    }
}

/// What a search has looked at; one that saw nothing proves nothing.
#[derive(Debug, Default)]
pub struct Seen {
    pub files: usize,
    pub bytes: usize,
    /// Packed frames, at any depth.
    pub frames: usize,
    /// Values in databases.
    pub values: usize,
    /// Text and binary cells in Parquet files.
    pub cells: usize,
    pub finds: BTreeSet<Find>,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.values += other.values;
        self.cells += other.cells;
        self.finds.extend(other.finds);
    }
}

type Forms = Vec<(&'static str, Finder<'static>)>;

pub struct Search {
    /// Of what all canaries begin with, or of each of them.
    stems: Forms,
    canaries: Vec<(String, Forms)>,
}

impl Search {
    /// For texts of ASCII.
    pub fn of<T: AsRef<str>>(canaries: impl IntoIterator<Item = T>) -> Search {
        let finders = |text: &str| -> Forms {
            let forms = forms::of(text).into_iter();
            forms
                .map(|(form, bytes)| (form, Finder::new(&bytes).into_owned()))
                .collect()
        };
        let texts: Vec<String> = canaries.into_iter().map(|text| text.as_ref().to_owned()).collect();
        let stem = common_start(&texts);
        let stems = match stem.len() >= SHORTEST_STEM {
            true => finders(stem),
            false => texts.iter().flat_map(|text| finders(text)).collect(),
        };
        Search {
            stems,
            canaries: texts.iter().map(|text| (text.clone(), finders(text))).collect(),
        }
    }

    /// The canaries in `bytes` as they are, and their forms.
    fn look(&self, bytes: &[u8]) -> Vec<(String, &'static str)> {
        let stems: Vec<_> = self
            .stems
            .iter()
            .filter(|(_, finder)| finder.find(bytes).is_some())
            .collect();
        if stems.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (canary, finders) in &self.canaries {
            let forms = finders.iter().filter(|(_, finder)| finder.find(bytes).is_some());
            found.extend(forms.map(|(form, _)| (canary.clone(), *form)));
        }
        if found.is_empty() {
            found.extend(stems.iter().map(|(form, _)| ("(its beginning)".to_owned(), *form)));
        }
        found
    }

    /// Bytes, and whatever is escaped or packed in them.
    pub fn in_bytes(&self, bytes: &[u8], place: &str) -> Seen {
        let mut seen = Seen::default();
        self.dig(bytes, place, DEPTH, &mut seen);
        seen
    }

    fn dig(&self, bytes: &[u8], place: &str, depth: u32, seen: &mut Seen) {
        seen.bytes += bytes.len();
        for (canary, form) in self.look(bytes) {
            let place = place.to_owned();
            seen.finds.insert(Find { canary, form, place });
        }
        if depth == 0 {
            return;
        }
        if let Some(plain) = forms::unescaped(bytes) {
            // Only texts can be meant: what is packed needs no second look.
            for (canary, _) in self.look(&plain) {
                let (form, place) = ("escaped", place.to_owned());
                seen.finds.insert(Find { canary, form, place });
            }
            if let Some(again) = forms::unescaped(&plain) {
                for (canary, _) in self.look(&again) {
                    let (form, place) = ("escaped twice", place.to_owned());
                    seen.finds.insert(Find { canary, form, place });
                }
            }
        }
        for content in packed::contents(bytes) {
            seen.frames += 1;
            self.dig(&content, &format!("{place}, unpacked,"), depth - 1, seen);
        }
    }

    /// Every file below `folder` but those whose path in it begins with one of `except`.
    pub fn below(&self, folder: &Path, except: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for (name, bytes) in files(folder) {
            if except.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            seen.files += 1;
            seen.add(self.in_bytes(name.as_bytes(), &format!("the name {name}")));
            seen.add(self.in_bytes(&bytes, &name));
            if bytes.starts_with(b"SQLite format 3\0") {
                self.in_database(&folder.join(&name), &name, &mut seen);
            }
            if bytes.starts_with(b"PAR1") {
                self.in_table(&folder.join(&name), &name, &mut seen);
            }
        }
        seen
    }

    /// The decoded columns of a Parquet file; of one that is not complete its bytes have to do.
    fn in_table(&self, path: &Path, name: &str, seen: &mut Seen) {
        let mut bytes = Vec::new();
        for (column, cell) in cells(path).unwrap_or_default() {
            let value = match &cell {
                Cell::Text(text) => text.as_bytes(),
                Cell::Bytes(value) => value,
                _ => continue,
            };
            seen.cells += 1;
            bytes.extend_from_slice(column.as_bytes());
            bytes.push(b'\n');
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.dig(&bytes, &format!("{name}, decoded,"), DEPTH, seen);
    }

    /// The values of a database, with what its write-ahead log holds. It is looked at as a copy, so that nothing of a crash is tidied up.
    fn in_database(&self, path: &Path, name: &str, seen: &mut Seen) {
        let copy = tempfile::tempdir().expect("a temporary folder");
        let here = copy.path().join("copy.sqlite");
        for ending in ["", "-wal", "-journal"] {
            let of = |path: &Path| format!("{}{ending}", path.display());
            let _ = fs::copy(of(path), of(&here)); // there need not be all of them
        }
        let values = values(&here).unwrap_or_else(|e| panic!("{name}: {e}"));
        seen.values += values.len();
        for (table, value) in values {
            self.dig(&value, &format!("the table {table} of {name}"), DEPTH, seen);
        }
    }

    /// # Panics
    /// If a canary is in it.
    pub fn assert_absent(&self, bytes: &[u8], place: &str) {
        assert_none(&self.in_bytes(bytes, place));
    }

    /// # Panics
    /// If a canary is below the folder, or if there is nothing to look at.
    pub fn assert_absent_below(&self, folder: &Path, except: &[&str]) -> Seen {
        let seen = self.below(folder, except);
        assert!(seen.files > 0, "{}: there are no files to search", folder.display());
        assert_none(&seen);
        seen
    }
}

fn assert_none(seen: &Seen) {
    let finds: Vec<String> = seen.finds.iter().map(Find::to_string).collect();
    assert!(finds.is_empty(), "{}", finds.join("\n"));
}

fn common_start(texts: &[String]) -> &str {
    let Some(first) = texts.first() else { return "" };
    let shared = |text: &String| first.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    &first[..texts.iter().map(shared).min().unwrap_or(0)]
}

/// Every text and blob of every table of a database, with the table's name.
fn values(path: &Path) -> Result<Vec<(String, Vec<u8>)>, rusqlite::Error> {
    let database = Connection::open(path)?;
    let mut tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut values = Vec::new();
    for table in names {
        let mut all = database.prepare(&format!("SELECT * FROM \"{table}\""))?;
        let columns = all.column_count();
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)? {
                    values.push((table.clone(), bytes.to_vec()));
                }
            }
        }
    }
    Ok(values)
}
