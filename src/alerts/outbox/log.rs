//! The log of alerts, in segments. In: an epoch's alerts, passed over where they are in it already. Out: places, and the records behind one.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{OutboxError, Place};
use crate::alerts::Alert;
use crate::disk::{Disk, DiskFile};

const MAGIC: &[u8; 16] = b"wardflow alerts\n";
const FORM: u32 = 1;
const HEADER: u64 = 16 + 4;
const RECORD_HEADER: usize = 4 + 8;
const EXTENSION: &str = "alerts";
/// A segment is ended behind so many bytes.
const SEGMENT_BYTES: u64 = if cfg!(test) { 300 } else { 4 << 20 };

/// A file of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: Place,
    last: Place,
    /// Length, all of it whole.
    pub(super) bytes: u64,
}

pub(super) struct Log<D: Disk> {
    segments: Vec<Segment>,
    /// The last segment's, while it grows.
    open: Option<D::File>,
    last: Place,
    /// Bytes of it that are durable, its name included; 0 while that is not.
    synced: u64,
}

/// A file of the outbox that has grown: whoever syncs it keeps nobody from appending meanwhile.
pub(super) struct Grown<F> {
    pub(super) file: F,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Whether its name is not durable either.
    pub(super) is_new: bool,
}

impl<D: Disk> Log<D> {
    /// Finds the segments, and cuts off what was being written when the machine died. What is whole is durable from now on: what a killed
    /// process had put in is not put in again.
    pub(super) fn open(disk: &D, folder: &Path) -> Result<Log<D>, OutboxError> {
        let mut segments: Vec<Segment> = Vec::new();
        let names = disk.names(folder).map_err(OutboxError::io(folder))?;
        let ours: Vec<&String> = names.iter().filter(|name| first_of(name).is_some()).collect();
        for (n, name) in ours.iter().enumerate() {
            let path = folder.join(name);
            let bytes = disk.read(&path).map_err(OutboxError::io(&path))?;
            let (mut first, mut last, whole) = (None, Place::default(), whole(&bytes));
            each(&bytes[..whole], |place, _, _| {
                first.get_or_insert(place);
                last = place;
            });
            if whole < bytes.len() && n + 1 < ours.len() {
                return Err(OutboxError::Damaged { path });
            }
            match first {
                Some(first) => {
                    if n + 1 == ours.len() {
                        disk.cut(&path, whole as u64).map_err(OutboxError::io(&path))?;
                    }
                    segments.push(Segment {
                        path,
                        first,
                        last,
                        bytes: whole as u64,
                    });
                }
                // Nothing in it had come to last.
                None => {
                    disk.remove(&path).map_err(OutboxError::io(&path))?;
                }
            }
        }
        disk.sync_folder(folder).map_err(OutboxError::io(folder))?;
        Ok(Log {
            last: segments.last().map(|segment| segment.last).unwrap_or_default(),
            segments,
            open: None,
            synced: 0,
        })
    }

    /// The last alert that was ever put in, as far as is known.
    pub(super) fn last(&self) -> Place {
        self.last
    }

    /// An empty log begins behind `place`.
    pub(super) fn begin_behind(&mut self, place: Place) {
        if self.segments.is_empty() {
            self.last = self.last.max(place);
        }
    }

    /// Tells the places of all alerts in it.
    pub(super) fn each(&self, disk: &D, mut tell: impl FnMut(Place)) -> Result<(), OutboxError> {
        for Segment { path, .. } in &self.segments {
            let bytes = disk.read(path).map_err(OutboxError::io(path))?;
            each(&bytes, |place, _, _| tell(place));
        }
        Ok(())
    }

    /// Appends those of an epoch's alerts that are not in it yet; their places.
    pub(super) fn put(
        &mut self,
        disk: &D,
        folder: &Path,
        time: u64,
        alerts: &[Alert],
    ) -> Result<Vec<Place>, OutboxError> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for Alert { position, level, json } in alerts {
            let place = Place::behind(time, *position);
            if place <= self.last {
                continue;
            }
            self.last = place;
            places.push(place);
            let record =
                postcard::to_allocvec(&(time, position, level, json)).expect("plain data, written into memory");
            bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&xxh3_64(&record).to_le_bytes());
            bytes.extend_from_slice(&record);
        }
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(places);
        };
        if self.open.is_none() || self.segments.last().is_some_and(|last| last.bytes >= SEGMENT_BYTES) {
            self.begin(disk, folder, *first)?;
        }
        if let (Some(file), Some(segment)) = (&mut self.open, self.segments.last_mut()) {
            file.append(&bytes).map_err(OutboxError::io(&segment.path))?;
            segment.bytes += bytes.len() as u64;
            segment.last = *last;
        }
        Ok(places)
    }

    /// Begins a segment; those before it are durable then.
    fn begin(&mut self, disk: &D, folder: &Path, first: Place) -> Result<(), OutboxError> {
        self.sync(disk, folder)?;
        let path = folder.join(name_of(first));
        let failed = OutboxError::io(&path);
        let mut file = disk.create(&path).map_err(&failed)?;
        file.append(&header()).map_err(&failed)?;
        self.open = Some(file);
        self.segments.push(Segment {
            path,
            first,
            last: first,
            bytes: HEADER,
        });
        self.synced = 0;
        Ok(())
    }

    fn sync(&mut self, disk: &D, folder: &Path) -> Result<(), OutboxError> {
        let Some(mut grown) = self.grown()? else {
            return Ok(());
        };
        grown.file.sync().map_err(OutboxError::io(&grown.path))?;
        if grown.is_new {
            disk.sync_folder(folder).map_err(OutboxError::io(folder))?;
        }
        self.has_synced(&grown.path, grown.bytes);
        Ok(())
    }

    /// What is not durable.
    pub(super) fn grown(&self) -> Result<Option<Grown<D::File>>, OutboxError> {
        let (Some(file), Some(Segment { path, bytes, .. })) = (&self.open, self.segments.last()) else {
            return Ok(None);
        };
        let grown = || {
            Ok(Grown {
                file: file.again().map_err(OutboxError::io(path))?,
                path: path.clone(),
                bytes: *bytes,
                is_new: self.synced == 0,
            })
        };
        (self.synced < *bytes).then(grown).transpose()
    }

    /// So many bytes of a file, and its name, are durable now.
    pub(super) fn has_synced(&mut self, path: &Path, bytes: u64) {
        if self.segments.last().is_some_and(|last| last.path == path) {
            self.synced = self.synced.max(bytes);
        }
    }

    /// Removes segments of which nothing lies behind `upto`, but for the one that grows.
    pub(super) fn let_go(&mut self, disk: &D, upto: Place) -> Result<(), OutboxError> {
        let grows = usize::from(self.open.is_some());
        while self.segments.len() > grows && self.segments[0].last <= upto {
            let path = &self.segments[0].path;
            disk.remove(path).map_err(OutboxError::io(path))?;
            self.segments.remove(0);
        }
        Ok(())
    }

    /// The first segment that has something behind `behind`, and begins at `from` or later.
    pub(super) fn segment(&self, from: Place, behind: Place) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|segment| segment.first >= from && segment.last > behind)
    }
}

fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&FORM.to_le_bytes());
    header
}

/// Where the first record of a segment stands.
pub(super) const BEGINNING: u64 = HEADER;

fn name_of(first: Place) -> String {
    format!("{:020}-{:020}.{EXTENSION}", first.time, first.next)
}

fn first_of(name: &str) -> Option<Place> {
    let (places, extension) = name.split_once('.')?;
    let (time, next) = places.split_once('-')?;
    (extension == EXTENSION).then_some(())?;
    Some(Place {
        time: time.parse().ok()?,
        next: next.parse().ok()?,
    })
}

/// How many bytes of a segment are whole.
fn whole(bytes: &[u8]) -> usize {
    if !bytes.starts_with(&header()) {
        return 0;
    }
    HEADER as usize + records(&bytes[HEADER as usize..], |_, _, _| {})
}

/// Tells the alerts of a segment.
fn each(bytes: &[u8], tell: impl FnMut(Place, String, String)) {
    if let Some(bytes) = bytes.get(HEADER as usize..) {
        records(bytes, tell);
    }
}

/// Tells what whole records there are; the bytes that they take.
pub(super) fn records(bytes: &[u8], mut tell: impl FnMut(Place, String, String)) -> usize {
    let mut at = 0;
    while let Some((record, length)) = record(&bytes[at..]) {
        // What is whole by its checksum was written by `put`.
        let Ok((time, position, level, json)) = postcard::from_bytes(record) else {
            break;
        };
        tell(Place::behind(time, position), level, json);
        at += length;
    }
    at
}

fn record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let record = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (xxh3_64(record).to_le_bytes() == *sum).then_some((record, RECORD_HEADER + record.len()))
}

/// The bytes of the first record, also where not all of them are there.
pub(super) fn length_of_first(bytes: &[u8]) -> Option<usize> {
    let (length, _) = bytes.split_first_chunk::<4>()?;
    Some(RECORD_HEADER + u32::from_le_bytes(*length) as usize)
}
