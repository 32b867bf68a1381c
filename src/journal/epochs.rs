//! The epoch log: how the journals were cut into epochs, durable before an epoch enters the dataflow.
//!
//! One record for each epoch: its time, the position behind its last record in every journal, a silence, if it tells of one, and the version
//! of the device collection, if it is the first epoch with it. Before the first epoch of a run, and at the beginning of each file, stands a record of the run: program, settings, and
//! the version of the device collection that the next epoch has. A replay that follows the log repeats a live run as it was.
//!
//! ```text
//! file:   "wardflow epochs\n" | form u32 | checksum u64
//! record: length u32 | checksum u64 | JSON
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::segment::damaged;
use super::{JournalError, failed};
use crate::disk::{Disk, DiskFile, crash_point};
use crate::record::EventTime;

/// The dataflow's timestamp of an epoch.
type Time = u64;

const MAGIC: &[u8; 16] = b"wardflow epochs\n";
/// In the first, no epoch has a version of the device collection.
const FORM: u32 = 2;
const OLDEST: u32 = 1;
const HEADER: usize = 16 + 4 + 8;
const RECORD_HEADER: usize = 4 + 8;
const EXTENSION: &str = "epochs";
/// A file is ended behind so many bytes.
const FILE_BYTES: u64 = 8 << 20;

/// An epoch as it was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The dataflow's timestamp: the commit in the upper half, the epoch in it in the lower.
    pub time: Time,
    /// The position behind its last record, of every journal.
    pub ends: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silence: Option<Silence>,
    /// The version of the device collection that it meets, `None`: there is none. In the log it stands only where it changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub devices: Option<Arc<str>>,
}

/// That the source had been silent before the record at `position`: event time is taken to have come to `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub position: u64,
    pub at: EventTime,
}

/// What a run worked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub program: String,
    /// Fingerprint of the settings that decide rows.
    pub settings: String,
    /// The version of the device collection that its first epoch meets.
    pub devices: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    Start(Start),
    Epoch(Epoch),
}

/// An epoch log, open for appending.
pub struct EpochLog<D: Disk> {
    disk: D,
    folder: PathBuf,
    open: Option<(PathBuf, D::File, u64)>,
    last: Option<Time>,
    /// What the last run worked with; of the device collection, what the next epoch meets if it does not say.
    start: Option<Start>,
}

fn name_of(time: Time) -> String {
    format!("{time:020}.{EXTENSION}")
}

fn time_of_name(name: &str) -> Option<Time> {
    let (number, extension) = name.split_once('.')?;
    (number.len() == 20 && extension == EXTENSION).then_some(())?;
    number.parse().ok()
}

impl<D: Disk> EpochLog<D> {
    /// Opens the log in `folder`, cutting off a torn tail, and reads the epochs from `from` on.
    ///
    /// # Errors
    /// A folder that cannot be used, or damage.
    pub fn open(disk: D, folder: &Path, from: Time) -> Result<(EpochLog<D>, Vec<Epoch>), JournalError> {
        disk.create_folder(folder).map_err(failed(folder))?;
        let read = read(&disk, folder, from)?;
        if let Some((path, whole)) = read.torn {
            match whole <= HEADER as u64 {
                true => {
                    disk.remove(&path).map_err(failed(&path))?;
                    disk.sync_folder(folder).map_err(failed(folder))?;
                }
                false => disk.cut(&path, whole).map_err(failed(&path))?,
            }
        }
        let log = EpochLog {
            disk,
            folder: folder.to_owned(),
            open: None,
            last: read.last,
            start: read.start,
        };
        Ok((log, read.epochs))
    }

    /// All epochs from `from` on, of a log that nobody writes; and what the run before the first of them worked with.
    ///
    /// # Errors
    /// A folder that cannot be read, or damage.
    pub fn read(disk: &D, folder: &Path, from: Time) -> Result<Vec<Epoch>, JournalError> {
        Ok(read(disk, folder, from)?.epochs)
    }

    /// The version of the device collection that the last epoch of a log met.
    ///
    /// # Errors
    /// A folder that cannot be read, or damage.
    pub fn last_devices(disk: &D, folder: &Path) -> Result<Option<Arc<str>>, JournalError> {
        let mut from = Time::MAX;
        loop {
            let read = read(disk, folder, from)?;
            match (read.last, read.begins) {
                (None, Some(begins)) if begins > 0 => from = begins - 1, // no epoch came behind its beginning
                (None, _) => return Ok(None),
                (Some(_), _) => return Ok(read.devices),
            }
        }
    }

    /// What the last run worked with.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// The time of the last epoch.
    pub fn last(&self) -> Option<Time> {
        self.last
    }

    /// Says what this run works with; durable with the first epoch behind it.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn begin(&mut self, start: &Start, next: Time) -> Result<(), JournalError> {
        self.start = Some(start.clone());
        self.write(&Record::Start(start.clone()), next)
    }

    /// Appends an epoch and makes it durable.
    ///
    /// # Errors
    /// A disk that refuses: then the log must not be used any more.
    pub fn append(&mut self, epoch: &Epoch) -> Result<(), JournalError> {
        let ends = self.open.as_ref().is_some_and(|(.., bytes)| *bytes >= FILE_BYTES);
        if ends {
            self.open = None;
            if let Some(start) = self.start.clone() {
                self.write(&Record::Start(start), epoch.time)?;
            }
        }
        let mut record = epoch.clone();
        if let Some(start) = &mut self.start {
            match start.devices == epoch.devices {
                true => record.devices = None,
                false => start.devices.clone_from(&epoch.devices),
            }
        }
        self.write(&Record::Epoch(record), epoch.time)?;
        crash_point("epoch.appended");
        if let Some((path, file, _)) = &mut self.open {
            file.sync().map_err(failed(path))?;
        }
        crash_point("epoch.synced");
        self.last = Some(epoch.time);
        Ok(())
    }

    fn write(&mut self, record: &Record, next: Time) -> Result<(), JournalError> {
        let (path, mut file, mut bytes) = match self.open.take() {
            Some(open) => open,
            None => self.create(next)?,
        };
        let json = serde_json::to_vec(record).expect("a record has only text keys and numbers");
        let mut record = Vec::with_capacity(RECORD_HEADER + json.len());
        record.extend_from_slice(&(json.len() as u32).to_le_bytes());
        record.extend_from_slice(&xxh3_64(&json).to_le_bytes());
        record.extend_from_slice(&json);
        file.append(&record).map_err(failed(&path))?;
        bytes += record.len() as u64;
        self.open = Some((path, file, bytes));
        Ok(())
    }

    fn create(&self, next: Time) -> Result<(PathBuf, D::File, u64), JournalError> {
        let path = self.folder.join(name_of(next));
        let mut file = self.disk.create(&path).map_err(failed(&path))?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&FORM.to_le_bytes());
        header.extend_from_slice(&xxh3_64(&header).to_le_bytes());
        file.append(&header).map_err(failed(&path))?;
        // Before anything in it can matter.
        file.sync().map_err(failed(&path))?;
        self.disk.sync_folder(&self.folder).map_err(failed(&self.folder))?;
        Ok((path, file, HEADER as u64))
    }

    /// Removes the files all of whose epochs are before `time`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn remove_before(disk: &D, folder: &Path, time: Time) -> Result<(), JournalError> {
        let names = disk.names(folder).map_err(failed(folder))?;
        let files: Vec<(Time, &String)> = names
            .iter()
            .filter_map(|name| Some((time_of_name(name)?, name)))
            .collect();
        let mut removed = false;
        for pair in files.windows(2) {
            if pair[1].0 <= time {
                let path = folder.join(pair[0].1);
                disk.remove(&path).map_err(failed(&path))?;
                removed = true;
            }
        }
        match removed {
            true => disk.sync_folder(folder).map_err(failed(folder)),
            false => Ok(()),
        }
    }
}

struct Read {
    epochs: Vec<Epoch>,
    last: Option<Time>,
    /// What the last epoch met.
    devices: Option<Arc<str>>,
    /// The name of the first file that was read.
    begins: Option<Time>,
    start: Option<Start>,
    /// The last file, and how much of it is whole, if not all.
    torn: Option<(PathBuf, u64)>,
}

fn read<D: Disk>(disk: &D, folder: &Path, from: Time) -> Result<Read, JournalError> {
    let names = disk.names(folder).map_err(failed(folder))?;
    let files: Vec<(Time, &String)> = names
        .iter()
        .filter_map(|name| Some((time_of_name(name)?, name)))
        .collect();
    // Files behind which another one begins before `from` hold nothing that is asked for.
    let skipped = files.iter().skip(1).take_while(|(time, _)| *time <= from).count();
    let mut found = Read {
        epochs: Vec::new(),
        last: None,
        devices: None,
        begins: files.get(skipped).map(|(begins, _)| *begins),
        start: None,
        torn: None,
    };
    // What the next epoch meets, unless it says otherwise.
    let mut next = None;
    for (n, (_, name)) in files.iter().enumerate().skip(skipped) {
        let path = folder.join(name);
        let bytes = disk.read(&path).map_err(failed(&path))?;
        let whole = read_file(&path, &bytes, found.last, |record| match record {
            Record::Start(start) => {
                next.clone_from(&start.devices);
                found.start = Some(start);
            }
            Record::Epoch(mut epoch) => {
                found.last = Some(epoch.time);
                match &epoch.devices {
                    Some(_) => next.clone_from(&epoch.devices),
                    None => epoch.devices.clone_from(&next),
                }
                found.devices.clone_from(&next);
                if epoch.time >= from {
                    found.epochs.push(epoch);
                }
            }
        })?;
        if (whole as usize) < bytes.len() || whole == 0 {
            if n + 1 < files.len() {
                return Err(damaged(&path, whole, "a record is not as it was written"));
            }
            found.torn = Some((path, whole));
        }
    }
    if let Some(start) = &mut found.start {
        start.devices = next;
    }
    Ok(found)
}

/// Tells the records of a file whose epochs are later than `last`; how many bytes of it are whole.
fn read_file(
    path: &Path,
    bytes: &[u8],
    mut last: Option<Time>,
    mut tell: impl FnMut(Record),
) -> Result<u64, JournalError> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(0);
    };
    let (content, sum) = header.split_at(HEADER - 8);
    if xxh3_64(content).to_le_bytes() != *sum || content[..16] != *MAGIC {
        // Zeros, where a power cut came before the header was on disk; with a record behind it, it was there once.
        return match (0..bytes.len()).any(|at| record_at(&bytes[at..]).is_some()) {
            true => Err(damaged(path, 0, "the header is not as it was written")),
            false => Ok(0),
        };
    }
    let form = u32::from_le_bytes([content[16], content[17], content[18], content[19]]);
    if !(OLDEST..=FORM).contains(&form) {
        return Err(JournalError::Unknown {
            path: path.to_owned(),
            form,
        });
    }
    let mut at = HEADER;
    // An epoch that is not later than the one before it was not written behind it: it is what the disk held there before.
    let follows = |record: &Record, last: Option<Time>| match record {
        Record::Start(_) => true,
        Record::Epoch(epoch) => last.is_none_or(|last| epoch.time > last),
    };
    while let Some((record, length)) = record_at(&bytes[at..]).filter(|(record, _)| follows(record, last)) {
        if let Record::Epoch(epoch) = &record {
            last = Some(epoch.time);
        }
        tell(record);
        at += length;
    }
    // A later epoch further on: what is in between was whole once.
    let later = |behind: usize| {
        record_at(&bytes[behind..])
            .is_some_and(|(record, _)| matches!(record, Record::Epoch(_)) && follows(&record, last))
    };
    if at < bytes.len() && (at + 1..bytes.len()).any(later) {
        return Err(damaged(path, at as u64, "a record is not as it was written"));
    }
    Ok(at as u64)
}

fn record_at(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let json = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (xxh3_64(json).to_le_bytes() == *sum).then_some(())?;
    let record = serde_json::from_slice(json).ok()?;
    Some((record, RECORD_HEADER + json.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;

    const FOLDER: &str = "/epochs";

    fn epoch(time: Time) -> Epoch {
        Epoch {
            time,
            ends: vec![time * 10],
            silence: None,
            devices: None,
        }
    }

    fn with(time: Time, devices: &str) -> Epoch {
        Epoch {
            devices: Some(devices.into()),
            ..epoch(time)
        }
    }

    fn start() -> Start {
        Start {
            program: "wardflow".into(),
            settings: "{}".into(),
            devices: None,
        }
    }

    /// A log of three epochs, from number 5 on.
    fn log() -> MemoryDisk {
        let disk = MemoryDisk::default();
        let (mut log, none) = EpochLog::open(disk.clone(), Path::new(FOLDER), 0).expect("a fresh log");
        assert!(none.is_empty());
        log.begin(&start(), 5).expect("begun");
        (5..8).for_each(|time| log.append(&epoch(time)).expect("appended"));
        disk
    }

    fn read_back(disk: &MemoryDisk) -> Result<Vec<Time>, JournalError> {
        let epochs = EpochLog::read(disk, Path::new(FOLDER), 0)?;
        Ok(epochs.into_iter().map(|epoch| epoch.time).collect())
    }

    #[test]
    fn epochs_come_back_from_where_they_are_asked_for_and_with_what_the_run_worked_with() {
        let disk = log();
        assert_eq!(read_back(&disk).expect("whole"), [5, 6, 7]);
        let (log, later) = EpochLog::open(disk, Path::new(FOLDER), 6).expect("whole");
        assert_eq!(later, [epoch(6), epoch(7)]);
        assert_eq!(log.start(), Some(&start()));
    }

    #[test]
    fn every_epoch_has_the_version_of_the_devices_that_it_met_wherever_reading_begins() {
        let disk = MemoryDisk::default();
        let folder = Path::new(FOLDER);
        let begin = |log: &mut EpochLog<MemoryDisk>, next: Time, devices: Option<&str>| {
            let devices = devices.map(Arc::from);
            log.begin(&Start { devices, ..start() }, next).expect("begun");
        };
        let mut want = Vec::new();
        let runs: [(Option<&str>, &[Option<&str>]); 5] = [
            (None, &[None, Some("a"), Some("a"), Some("b")]),
            (Some("b"), &[]),
            (Some("c"), &[Some("c"), Some("a"), Some("a")]),
            (None, &[None]),
            (Some("d"), &[Some("d"), Some("d"), Some("e")]),
        ];
        for (first, epochs) in runs {
            let (mut log, _) = EpochLog::open(disk.clone(), folder, 0).expect("whole");
            begin(&mut log, want.len() as Time, first);
            for devices in epochs {
                let time = want.len() as Time;
                want.push(devices.map_or(epoch(time), |devices| with(time, devices)));
                log.append(&want[time as usize]).expect("appended");
                if time % 3 == 1 {
                    log.open.as_mut().expect("open").2 = FILE_BYTES; // the next one begins a file
                }
            }
            let met = want.last().and_then(|epoch| epoch.devices.clone());
            assert_eq!(EpochLog::last_devices(&disk, folder).expect("whole"), met);
        }
        assert!(
            disk.names(folder).expect("a folder").len() > 5,
            "files were ended in between"
        );
        for from in 0..want.len() {
            let read = EpochLog::read(&disk, folder, from as Time).expect("whole");
            assert_eq!(read, want[from..], "from {from}");
        }
    }

    #[test]
    fn a_torn_record_is_cut_and_a_file_that_never_got_its_header_is_none() {
        let disk = log();
        let path = Path::new(FOLDER).join(name_of(5));
        disk.cut(&path, disk.length(&path).expect("there") - 3).expect("cut");
        let mut torn = disk.create(&Path::new(FOLDER).join(name_of(9))).expect("a file");
        torn.append(&[0; 300]).expect("zeros");
        assert!(read_back(&disk).is_err(), "torn, and another file behind it");
        disk.remove(&Path::new(FOLDER).join(name_of(9))).expect("removed");
        assert_eq!(read_back(&disk).expect("cut"), [5, 6]);
        let disk = log();
        let mut torn = disk.create(&Path::new(FOLDER).join(name_of(9))).expect("a file");
        torn.append(&[0; 300]).expect("zeros");
        assert_eq!(read_back(&disk).expect("nothing in it"), [5, 6, 7]);
    }

    #[test]
    fn an_old_record_behind_a_torn_tail_is_no_epoch() {
        let disk = log();
        let path = Path::new(FOLDER).join(name_of(5));
        let bytes = disk.read(&path).expect("there");
        let mut again = disk.create(&path).expect("a file");
        let (_, length) = record_at(&bytes[HEADER..]).expect("the start");
        again.append(&bytes).expect("the log");
        again
            .append(&bytes[HEADER + length..])
            .expect("its first epochs, as the disk held them before");
        assert_eq!(read_back(&disk).expect("a torn tail"), [5, 6, 7]);
    }

    #[test]
    fn a_flipped_bit_before_the_last_record_is_damage() {
        let disk = log();
        let path = Path::new(FOLDER).join(name_of(5));
        disk.flip(&path, 8 * (HEADER + RECORD_HEADER + 4));
        assert!(matches!(read_back(&disk), Err(JournalError::Damaged { .. })));
    }
}
