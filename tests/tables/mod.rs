//! What lies in an output folder: its files, and the rows in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub const TABLES: [&str; 4] = ["readings", "anomalies", "windows", "quarantine"];
/// Differs between runs with different vaults.
pub const SEALED: &str = "sealed_payload";

/// A value of a table; floats by their bits, so that equal means equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Null,
    Truth(bool),
    Integer(i64),
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A table's columns and rows, in the order of files and rows.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// Of every file of a table. The last column is the folder's date.
    pub fn of(output: &Path, table: &str) -> Rows {
        let mut all = Rows::default();
        for name in files(output)
            .keys()
            .filter(|name| name.starts_with(&format!("{table}/")))
        {
            let date = name.split('/').nth(1).and_then(|part| part.strip_prefix("date="));
            let date = date.unwrap_or_else(|| panic!("{name} is not laid out as table/date=…/file"));
            for batch in read(&output.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")) {
                all.take(&batch, date);
            }
        }
        all
    }

    fn take(&mut self, batch: &RecordBatch, date: &str) {
        let schema = batch.schema();
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .chain(["date".to_owned()])
            .collect();
        if self.columns.is_empty() {
            self.columns = columns;
        } else {
            assert_eq!(self.columns, columns, "the files of a table have the same columns");
        }
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| cell(column, row));
            self.rows.push(cells.chain([Cell::Text(date.to_owned())]).collect());
        }
    }

    pub fn without(mut self, column: &str) -> Rows {
        if let Some(at) = self.columns.iter().position(|c| c == column) {
            self.columns.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
        self
    }

    pub fn sorted(mut self) -> Rows {
        self.rows.sort();
        self
    }

    /// The values of a column.
    pub fn column(&self, name: &str) -> Vec<&Cell> {
        let at = self.columns.iter().position(|c| c == name);
        let at = at.unwrap_or_else(|| panic!("no column {name} among {:?}", self.columns));
        self.rows.iter().map(|row| &row[at]).collect()
    }
}

fn cell(column: &dyn Array, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Int64 => Cell::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(..) => Cell::Integer(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Boolean => Cell::Truth(column.as_boolean().value(row)),
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Cell::Bytes(column.as_binary::<i32>().value(row).to_owned()),
        other => panic!("a column of type {other}"),
    }
}

/// A whole Parquet file; an error if it is not complete.
pub fn read(path: &Path) -> Result<Vec<RecordBatch>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    let batches: Result<Vec<_>, _> = reader.map_err(|e| e.to_string())?.collect();
    batches.map_err(|e| e.to_string())
}

/// Every value of a Parquet file with its column's name; an error if the file is not complete.
pub fn cells(path: &Path) -> Result<Vec<(String, Cell)>, String> {
    let mut cells = Vec::new();
    for batch in read(path)? {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            cells.extend((0..batch.num_rows()).map(|row| (field.name().clone(), cell(column, row))));
        }
    }
    Ok(cells)
}

/// Every file below a folder, hidden ones too: its path within the folder and its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if !path.is_file() {
            continue; // a named pipe, or gone
        } else if let Ok(bytes) = fs::read(&path) {
            // A file may go between the two looks: a run that works beside us moves its files.
            let name = path.strip_prefix(root).expect("it lies below the root");
            found.insert(name.to_string_lossy().into_owned(), bytes);
        }
    }
}

/// Two output folders hold the same files with the same bytes.
pub fn assert_same_bytes(a: &Path, b: &Path, what: &str) {
    assert_same(&files(a), &files(b), what);
}

/// As [`assert_same_bytes`], but of the quarantine the names of the files and the rows without the sealed payload, as for runs with
/// different vaults.
pub fn assert_same_output(a: &Path, b: &Path, what: &str) {
    let unsealed = |folder: &Path| -> BTreeMap<String, Vec<u8>> {
        let hide = |(name, bytes): (String, Vec<u8>)| match name.starts_with("quarantine/") {
            true => (name, Vec::new()),
            false => (name, bytes),
        };
        files(folder).into_iter().map(hide).collect()
    };
    assert_same(&unsealed(a), &unsealed(b), what);
    let rows = |folder: &Path| Rows::of(folder, "quarantine").without(SEALED);
    assert_same_rows_in_order(&rows(a), &rows(b), &format!("{what}: quarantine"));
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, what: &str) {
    let (names_a, names_b): (Vec<_>, Vec<_>) = (a.keys().collect(), b.keys().collect());
    assert_eq!(names_a, names_b, "{what}: the files have different names");
    assert!(!a.is_empty(), "{what}: there are no files");
    for (name, bytes) in a {
        let other = &b[name];
        if bytes != other {
            let at = bytes.iter().zip(other).position(|(x, y)| x != y);
            let at = at.unwrap_or_else(|| bytes.len().min(other.len()));
            let (one, two) = (bytes.len(), other.len());
            panic!("{what}: {name} differs from byte {at} on ({one} and {two} bytes)");
        }
    }
}

/// The same rows of every table, wherever they lie; `except` columns aside.
pub fn assert_same_rows(a: &Path, b: &Path, except: &[&str], what: &str) {
    for table in TABLES {
        let rows = |folder: &Path| {
            let rows = Rows::of(folder, table);
            except.iter().fold(rows, |rows, column| rows.without(column)).sorted()
        };
        assert_same_rows_in_order(&rows(a), &rows(b), &format!("{what}: {table}"));
    }
}

fn assert_same_rows_in_order(a: &Rows, b: &Rows, what: &str) {
    assert_eq!(a.columns, b.columns, "{what}: the columns differ");
    let different = a.rows.iter().zip(&b.rows).position(|(x, y)| x != y);
    if let Some(at) = different {
        panic!(
            "{what}: row {at} differs, of {:?}\n{:?}\n{:?}",
            a.columns, a.rows[at], b.rows[at]
        );
    }
    assert_eq!(a.rows.len(), b.rows.len(), "{what}: the number of rows differs");
}
