//! Loading a collection, whatever its file's form.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt};

use compact_str::CompactString;
use smallvec::SmallVec;

use super::content::Content;
use crate::record::{Device, DeviceId, EventTime, Known, Period, Zone};

/// The columns every collection has.
const REQUIRED: [&str; 3] = ["device_id", "manufacturer", "model"];
/// The event times between which a row holds; either may be missing or empty, which is without end.
const VALIDITY: [&str; 2] = ["valid_from", "valid_to"];

/// What is wanted of a collection's file.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The columns to carry along.
    pub further: Vec<String>,
    /// That of times of validity that carry none.
    pub zone: Zone,
}

/// Facts by device.
#[derive(Debug, Default)]
pub struct Collection {
    pub(super) devices: HashMap<CompactString, Known>,
}

/// A collection that cannot be used: where, why, what to do.
#[derive(Debug)]
pub struct DevicesError {
    path: PathBuf,
    why: String,
}

impl DevicesError {
    pub(super) fn new(path: &Path, why: impl Into<String>) -> DevicesError {
        DevicesError {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for DevicesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device collection {}: {}", self.path.display(), self.why)
    }
}

impl error::Error for DevicesError {}

/// Takes rows of a file one by one: the values of the wanted columns, and the number of the row.
pub(super) struct Rows<'a> {
    /// The names of the wanted columns: `device_id` first, those that may be missing last.
    pub(super) wanted: Vec<&'a str>,
    zone: &'a Zone,
    devices: HashMap<CompactString, SmallVec<[(Period, u64); 1]>>,
    /// A million devices are of a few makes: each make is there once.
    makes: HashSet<Arc<Device>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(wanted: &'a Wanted) -> Rows<'a> {
        let further = wanted.further.iter().map(String::as_str);
        Rows {
            wanted: REQUIRED.into_iter().chain(further).chain(VALIDITY).collect(),
            zone: &wanted.zone,
            devices: HashMap::new(),
            makes: HashSet::new(),
        }
    }

    /// Where each wanted column stands among `present`; `None` for one that may be missing and is.
    pub(super) fn places(&self, present: &[&str]) -> Result<Vec<Option<usize>>, String> {
        let behind = self.wanted.len() - VALIDITY.len();
        let place = |(n, wanted): (usize, &&str)| match present.iter().position(|name| name == wanted) {
            None if n < behind => Err(format!("it has no column {wanted}; it has {}", present.join(", "))),
            place => Ok(place),
        };
        self.wanted.iter().enumerate().map(place).collect()
    }

    /// Takes one row; `number` tells it to the user.
    pub(super) fn take(&mut self, mut values: Vec<Option<CompactString>>, number: u64) -> Result<(), String> {
        let mut value = |i: usize| values.get_mut(i).and_then(Option::take).filter(|text| !text.is_empty());
        let id = value(0).ok_or_else(|| format!("row {number}: no device_id"))?;
        let (manufacturer, model) = (value(1), value(2));
        let behind = self.wanted.len() - VALIDITY.len();
        let columns = (REQUIRED.len()..behind).map(&mut value).collect();
        let mut time = |n: usize, missing: EventTime| match value(behind + n) {
            None => Ok(missing),
            Some(text) => self
                .zone
                .of_text(text.trim())
                .ok_or_else(|| format!("row {number}: {} is no time; write 2026-01-31T12:00:00Z", VALIDITY[n])),
        };
        let (from, until) = (time(0, EventTime::MIN)?, time(1, EventTime::MAX)?);
        if from >= until {
            return Err(format!("row {number}: valid_to is not after valid_from"));
        }
        let device = Device {
            manufacturer,
            model,
            columns,
        };
        let device = match self.makes.get(&device) {
            Some(make) => Arc::clone(make),
            None => {
                let make = Arc::new(device);
                self.makes.insert(Arc::clone(&make));
                make
            }
        };
        let period = Period { from, until, device };
        let known = self.devices.entry(id).or_default();
        if !known.iter().any(|(before, _)| *before == period) {
            known.push((period, number));
        }
        Ok(())
    }

    /// What the rows say of each device.
    pub(super) fn devices(self) -> Result<HashMap<CompactString, Known>, String> {
        let known = |(id, mut periods): (CompactString, SmallVec<[(Period, u64); 1]>)| {
            periods.sort_unstable();
            for pair in periods.windows(2) {
                if pair[1].0.from < pair[0].0.until {
                    let (first, second) = (pair[0].1.min(pair[1].1), pair[0].1.max(pair[1].1));
                    return Err(format!(
                        "rows {first} and {second} say different things of device {id}; keep one, or part them by valid_from and valid_to"
                    ));
                }
            }
            let known = match periods.as_slice() {
                [(period, _)] if period.from == EventTime::MIN && period.until == EventTime::MAX => {
                    Known::Always(Arc::clone(&period.device))
                }
                _ => Known::Periods(periods.into_iter().map(|(period, _)| period).collect()),
            };
            Ok((id, known))
        };
        self.devices.into_iter().map(known).collect()
    }
}

impl Collection {
    /// Loads the collection at `path`; its form follows from its extension.
    ///
    /// # Errors
    /// A file that is missing, unreadable or of another form, a column that is missing, a row without a device or with an impossible
    /// validity, two rows that contradict each other.
    pub fn load(path: &Path, wanted: &Wanted) -> Result<Collection, DevicesError> {
        Content::read(path)?.collection(wanted)
    }

    /// How many devices it knows.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Devices in no order that matters: each goes to the collection by its key.
    pub fn into_devices(self) -> impl Iterator<Item = (DeviceId, Known)> {
        self.devices.into_iter().map(|(id, known)| (DeviceId::new(id), known))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn utc() -> Zone {
        Zone::new(jiff::tz::TimeZone::UTC, 1000)
    }

    /// What holds now.
    fn load(name: &str, content: &[u8], further: &[&str]) -> Result<Vec<(String, Device)>, String> {
        let now = |(id, known): (String, Known)| Some((id, Device::clone(known.at(0)?)));
        Ok(known(name, content, further)?.into_iter().filter_map(now).collect())
    }

    fn known(name: &str, content: &[u8], further: &[&str]) -> Result<Vec<(String, Known)>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        fs::File::create(&path)
            .and_then(|mut f| f.write_all(content))
            .expect("written");
        let further: Vec<String> = further.iter().map(|c| (*c).to_owned()).collect();
        let zone = utc();
        let collection = Collection::load(&path, &Wanted { further, zone }).map_err(|e| e.why)?;
        let mut devices: Vec<_> = collection
            .into_devices()
            .map(|(id, known)| (id.to_string(), known))
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

    /// Manufacturers at the times given.
    fn over_time(content: &str, times: &[&str]) -> Vec<Option<String>> {
        let known = known("d.csv", content.as_bytes(), &[]).expect("csv");
        let (_, device) = &known[0];
        let at = |time: &&str| device.at(utc().of_text(time).expect("a time"));
        let maker = |device: &Arc<Device>| device.manufacturer.as_deref().unwrap_or("-").to_owned();
        times.iter().map(|time| at(time).map(maker)).collect()
    }

    #[test]
    fn a_row_holds_from_valid_from_until_valid_to() {
        let csv = "device_id,manufacturer,model,valid_to,valid_from
            a,New,m,,2026-03-01
            a,Old,m,2026-01-01T12:00:00+02:00,
            a,Middle,m,2026-02-01,2026-01-01T10:00:00Z";
        let some = |maker: &str| Some(maker.to_owned());
        assert_eq!(
            over_time(
                csv,
                &[
                    "1999-01-01",
                    "2026-01-01T09:59:59.999999",
                    "2026-01-01T10:00",
                    "2026-02-01",
                    "2026-03-01",
                    "2999-01-01"
                ]
            ),
            [some("Old"), some("Old"), some("Middle"), None, some("New"), some("New")]
        );
    }

    #[test]
    fn validity_that_overlaps_or_makes_no_sense_is_refused_with_its_row() {
        let refused = |rows: &str| {
            let csv = format!("device_id,manufacturer,model,valid_from,valid_to\n{rows}\n");
            load("d.csv", csv.as_bytes(), &[]).expect_err("refused")
        };
        assert!(refused("a,b,c,2026-01-01,\nx,b,c,,\na,d,c,,2026-01-02").contains("rows 2 and 4"));
        assert!(refused("a,b,c,2026-01-02,2026-01-02").contains("row 2: valid_to is not after"));
        assert!(refused("a,b,c,soon,").contains("row 2: valid_from is no time"));
    }

    #[test]
    fn validity_of_parquet_may_be_timestamps() {
        use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
        let text = |value: &str| Arc::new(StringArray::from(vec![value, value])) as ArrayRef;
        let day = 86_400_000_000;
        let from = TimestampMicrosecondArray::from(vec![None, Some(day)]).with_timezone("UTC");
        let to = TimestampMicrosecondArray::from(vec![Some(day / 2), None]);
        let batch = RecordBatch::try_from_iter([
            ("device_id", text("a")),
            ("manufacturer", text("Acme")),
            ("model", text("m")),
            ("valid_from", Arc::new(from)),
            ("valid_to", Arc::new(to)),
        ])
        .expect("columns of one length");
        let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        let known = known("d.parquet", &writer.into_inner().expect("closed"), &[]).expect("parquet");
        let holds = |time| known[0].1.at(time).is_some();
        assert_eq!(
            [0, day / 2 - 1, day / 2, day - 1, day].map(holds),
            [true, true, false, false, true]
        );
    }
}
