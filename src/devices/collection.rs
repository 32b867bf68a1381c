//! Loading a collection, whatever its file's form.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, io};

use compact_str::CompactString;
use xxhash_rust::xxh3::Xxh3;

use super::{csv_file, json_file, parquet_file};
use crate::record::{Device, DeviceId};

/// The columns every collection has.
const REQUIRED: [&str; 3] = ["device_id", "manufacturer", "model"];

/// Facts by device.
#[derive(Debug)]
pub struct Collection {
    devices: HashMap<CompactString, Arc<Device>>,
    fingerprint: String,
}

/// A collection that cannot be used: where, why, what to do.
#[derive(Debug)]
pub struct DevicesError {
    path: PathBuf,
    why: String,
}

impl fmt::Display for DevicesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device collection {}: {}", self.path.display(), self.why)
    }
}

impl error::Error for DevicesError {}

/// Takes rows of a file one by one: the values of the wanted columns, and the number of the row.
pub(super) struct Rows<'a> {
    /// The names of the wanted columns, `device_id` first.
    pub(super) wanted: Vec<&'a str>,
    devices: HashMap<CompactString, (Arc<Device>, u64)>,
}

impl Rows<'_> {
    /// Where each wanted column stands among `present`.
    pub(super) fn places(&self, present: &[&str]) -> Result<Vec<usize>, String> {
        let place = |wanted: &&str| {
            present
                .iter()
                .position(|name| name == wanted)
                .ok_or_else(|| format!("it has no column {wanted}; it has {}", present.join(", ")))
        };
        self.wanted.iter().map(place).collect()
    }

    /// Takes one row; `number` tells it to the user.
    pub(super) fn take(&mut self, mut values: Vec<Option<CompactString>>, number: u64) -> Result<(), String> {
        let mut value = |i: usize| values.get_mut(i).and_then(Option::take).filter(|text| !text.is_empty());
        let id = value(0).ok_or_else(|| format!("row {number}: no device_id"))?;
        let (manufacturer, model) = (value(1), value(2));
        let columns = (REQUIRED.len()..self.wanted.len()).map(value).collect();
        let device = Arc::new(Device {
            manufacturer,
            model,
            columns,
        });
        match self.devices.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert((device, number));
            }
            Entry::Occupied(known) if known.get().0 == device => {}
            Entry::Occupied(known) => {
                return Err(format!(
                    "rows {} and {number} say different things of device {}; keep one",
                    known.get().1,
                    known.key()
                ));
            }
        }
        Ok(())
    }
}

impl Collection {
    /// Loads the collection at `path`; its form follows from its extension. `further` are the columns to carry along.
    ///
    /// # Errors
    /// A file that is missing, unreadable or of another form, a column that is missing, a row without a device, two rows
    /// that contradict each other.
    pub fn load(path: &Path, further: &[String]) -> Result<Collection, DevicesError> {
        let refuse = |why: String| DevicesError {
            path: path.to_owned(),
            why,
        };
        let bytes = fs::read(path).map_err(|e| {
            refuse(match e.kind() {
                io::ErrorKind::NotFound => "no such file; check [devices] path or --devices".into(),
                io::ErrorKind::PermissionDenied => "no permission to read it; check its owner and mode".into(),
                io::ErrorKind::IsADirectory => "cannot be read: a folder; give the file in it".into(),
                _ => format!("cannot be read: {e}"),
            })
        })?;
        let wanted = REQUIRED.into_iter().chain(further.iter().map(String::as_str)).collect();
        let mut rows = Rows {
            wanted,
            devices: HashMap::new(),
        };
        let mut hash = Xxh3::new();
        hash.update(&bytes);
        match path.extension().and_then(|e| e.to_str()) {
            Some("csv") => csv_file::read(&bytes, &mut rows),
            Some("jsonl" | "ndjson" | "json") => json_file::read(&bytes, &mut rows),
            Some("parquet") => parquet_file::read(bytes, &mut rows),
            _ => Err("its name must end in .csv, .jsonl or .parquet".into()),
        }
        .map_err(refuse)?;
        let devices = rows.devices.into_iter().map(|(id, (device, _))| (id, device)).collect();
        Ok(Collection {
            devices,
            fingerprint: format!("{:032x}", hash.digest128()),
        })
    }

    /// Devices in no order that matters: each goes to the collection by its key.
    pub fn into_devices(self) -> impl Iterator<Item = (DeviceId, Arc<Device>)> {
        self.devices.into_iter().map(|(id, device)| (DeviceId::new(id), device))
    }

    /// What the collection is recognised by.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(name: &str, content: &[u8], further: &[&str]) -> Result<Vec<(String, Device)>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        fs::File::create(&path)
            .and_then(|mut f| f.write_all(content))
            .expect("written");
        let further: Vec<String> = further.iter().map(|c| (*c).to_owned()).collect();
        let collection = Collection::load(&path, &further).map_err(|e| e.why)?;
        let mut devices: Vec<_> = collection
            .into_devices()
            .map(|(id, d)| (id.to_string(), (*d).clone()))
            .collect();
        devices.sort();
        Ok(devices)
    }

    fn device(manufacturer: &str, model: Option<&str>, ward: Option<&str>) -> Device {
        Device {
            manufacturer: Some(manufacturer.into()),
            model: model.map(Into::into),
            columns: Box::new([ward.map(Into::into)]),
        }
    }

    fn parquet() -> Vec<u8> {
        use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
        let text = |values: [Option<&str>; 2]| Arc::new(StringArray::from_iter(values)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([
            ("ward", Arc::new(Int64Array::from(vec![Some(7), None])) as ArrayRef),
            ("model", text([Some("m1"), None])),
            ("manufacturer", text([Some("Acme"), Some("Bolt")])),
            ("device_id", text([Some("a"), Some("b")])),
        ])
        .expect("columns of one length");
        let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        writer.into_inner().expect("closed")
    }

    #[test]
    fn all_three_forms_give_the_same_collection() {
        let want = vec![
            ("a".to_owned(), device("Acme", Some("m1"), Some("7"))),
            ("b".to_owned(), device("Bolt", None, None)),
        ];
        let csv = "ward,device_id,manufacturer,model,x\n7,a,Acme,m1,1\n,b,Bolt,,2\n";
        assert_eq!(load("d.csv", csv.as_bytes(), &["ward"]).expect("csv"), want);
        let json = "{\"device_id\":\"a\",\"manufacturer\":\"Acme\",\"model\":\"m1\",\"ward\":7}\n\n{\"ward\":null,\"device_id\":\"b\",\"manufacturer\":\"Bolt\",\"model\":null}\n";
        assert_eq!(load("d.jsonl", json.as_bytes(), &["ward"]).expect("json"), want);
        assert_eq!(load("d.parquet", &parquet(), &["ward"]).expect("parquet"), want);
    }

    #[test]
    fn a_collection_that_cannot_be_used_says_where_and_why() {
        let refused = |name: &str, content: &str| load(name, content.as_bytes(), &[]).expect_err("refused");
        assert!(refused("d.csv", "device_id,model\na,b\n").contains("no column manufacturer"));
        assert!(refused("d.csv", "device_id,manufacturer,model\n,b,c\n").contains("row 2: no device_id"));
        assert!(refused("d.csv", "device_id,manufacturer,model\na,b,c\na,b,d\n").contains("rows 2 and 3"));
        assert!(refused("d.csv", "device_id,manufacturer,model\na,b\n").contains("line 2"));
        assert!(refused("d.jsonl", "{\"device_id\":\"a\"\n").contains("row 1"));
        assert!(refused("d.jsonl", "[1]\n").contains("row 1"));
        assert!(refused("d.parquet", "PAR1 not").contains("Parquet"));
        assert!(refused("d.xlsx", "").contains(".csv"));
    }

    #[test]
    fn the_same_row_twice_is_one_device() {
        let csv = "device_id,manufacturer,model\na,b,c\na,b,c\n";
        assert_eq!(load("d.csv", csv.as_bytes(), &[]).expect("csv").len(), 1);
    }
}
