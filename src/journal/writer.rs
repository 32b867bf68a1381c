//! The journal's own end: appends what comes, makes it durable, forgets what nobody needs any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstd::bulk::Compressor;

use super::entry::Entry;
use super::segment::{Survey, compressor, damaged, first_of, frame, header, name_of, survey};
use super::{JournalError, failed};
use crate::disk::{Disk, DiskFile, crash_point};
use crate::record::EventTime;
use crate::vault::{SegmentKey, SegmentKeys};

/// How a journal is cut and when it stops growing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A segment is ended behind so many bytes.
    pub segment_bytes: u64,
}

/// The file that was cut off, and by how many bytes.
pub type TornTail = (String, u64);

/// A journal, open for appending.
pub struct Journal<D: Disk> {
    disk: D,
    folder: PathBuf,
    keys: Arc<SegmentKeys>,
    compressor: Compressor<'static>,
    limits: Limits,
    /// Ended segments, in order.
    ended: Vec<Ended>,
    open: Option<Open<D>>,
    /// Of the next record.
    next: u64,
}

struct Ended {
    first: u64,
    bytes: u64,
    /// When it was written last.
    at: EventTime,
}

struct Open<D: Disk> {
    first: u64,
    path: PathBuf,
    file: D::File,
    key: SegmentKey,
    bytes: u64,
    /// Whether the folder says so durably that it is there.
    named: bool,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in `folder`, cutting off a torn tail; what was cut off is told: segment and bytes.
    /// Records before `needed` may be gone; all from there to `sealed` must be whole, since something durable refers to them.
    ///
    /// # Errors
    /// A folder that cannot be used, damage, or records that are missing.
    pub fn open(
        disk: D,
        folder: &Path,
        keys: Arc<SegmentKeys>,
        limits: Limits,
        needed: u64,
        sealed: u64,
    ) -> Result<(Journal<D>, Option<TornTail>), JournalError> {
        disk.create_folder(folder).map_err(failed(folder))?;
        let mut cut = None;
        let mut ended = Vec::new();
        let mut next = None;
        let names = disk.names(folder).map_err(failed(folder))?;
        let mut segments = names.iter().filter_map(|name| Some((first_of(name)?, name))).peekable();
        while let Some((first, name)) = segments.next() {
            let path = folder.join(name);
            if next.is_some_and(|next| next != first) {
                return Err(JournalError::Missing {
                    folder: folder.to_owned(),
                    position: next.unwrap_or(needed),
                });
            }
            if let Some((behind, _)) = segments.peek().filter(|(behind, _)| *behind <= needed) {
                // Nothing of it is asked for now: it is looked at when it is read.
                ended.push(Ended {
                    first,
                    bytes: disk.length(&path).map_err(failed(&path))?,
                    at: disk.written(&path).map_err(failed(&path))?,
                });
                next = Some(*behind);
                continue;
            }
            let bytes = disk.read(&path).map_err(failed(&path))?;
            let Survey {
                frames,
                whole,
                rest,
                frames_behind,
            } = survey(&path, first, &bytes)?;
            let end = frames.last().map_or(first, |frame| frame.end());
            if let Some(why) = rest {
                let is_last = segments.peek().is_none();
                if !is_last || frames_behind || end < sealed {
                    return Err(damaged(&path, whole, why));
                }
                cut = Some((path.display().to_string(), bytes.len() as u64 - whole));
                match frames.is_empty() {
                    true => {
                        disk.remove(&path).map_err(failed(&path))?;
                        disk.sync_folder(folder).map_err(failed(folder))?;
                    }
                    false => disk.cut(&path, whole).map_err(failed(&path))?,
                }
            }
            if end > first {
                ended.push(Ended {
                    first,
                    bytes: whole,
                    at: disk.written(&path).map_err(failed(&path))?,
                });
            } else if rest.is_none() {
                // A header and nothing behind it: a crash came right after.
                disk.remove(&path).map_err(failed(&path))?;
                disk.sync_folder(folder).map_err(failed(folder))?;
            }
            next = Some(end);
        }
        let begins = ended.first().map(|ended| ended.first);
        let next = next.unwrap_or(needed);
        if begins.is_some_and(|begins| begins > needed) || next < sealed.max(needed) {
            return Err(JournalError::Missing {
                folder: folder.to_owned(),
                position: if next < sealed.max(needed) { next } else { needed },
            });
        }
        let journal = Journal {
            disk,
            folder: folder.to_owned(),
            keys,
            compressor: compressor()?,
            limits,
            ended,
            open: None,
            next,
        };
        Ok((journal, cut))
    }

    /// The position that the next record will have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The position of the first record that is kept.
    pub fn begins(&self) -> u64 {
        let first = self.ended.first().map(|ended| ended.first);
        first.or(self.open.as_ref().map(|open| open.first)).unwrap_or(self.next)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.ended.iter().map(|ended| ended.bytes).sum::<u64>() + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// Appends records and makes them durable; the position of the first of them.
    ///
    /// # Errors
    /// A disk that refuses: then the journal must not be used any more.
    pub fn append(&mut self, entries: &[Entry]) -> Result<u64, JournalError> {
        let first = self.next;
        if entries.is_empty() {
            return Ok(first);
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.bytes >= self.limits.segment_bytes)
        {
            self.rotate()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let frame = frame(first, entries, &open.key, &mut self.compressor)?;
        open.file.append(&frame).map_err(failed(&open.path))?;
        crash_point("journal.appended");
        open.file.sync().map_err(failed(&open.path))?;
        if !open.named {
            self.disk.sync_folder(&self.folder).map_err(failed(&self.folder))?;
            open.named = true;
        }
        crash_point("journal.synced");
        open.bytes += frame.len() as u64;
        self.open = Some(open);
        self.next += entries.len() as u64;
        Ok(first)
    }

    /// Ends the segment: what comes next goes to a new one.
    ///
    /// # Errors
    /// A file that cannot be looked at.
    pub fn rotate(&mut self) -> Result<(), JournalError> {
        if let Some(open) = self.open.take() {
            let at = self.disk.written(&open.path).map_err(failed(&open.path))?;
            self.ended.push(Ended {
                first: open.first,
                bytes: open.bytes,
                at,
            });
            crash_point("journal.rotated");
        }
        Ok(())
    }

    fn begin(&self) -> Result<Open<D>, JournalError> {
        let path = self.folder.join(name_of(self.next));
        let (header, key) = header(self.next, &self.keys)?;
        let mut file = self.disk.create(&path).map_err(failed(&path))?;
        file.append(&header).map_err(failed(&path))?;
        Ok(Open {
            first: self.next,
            path,
            file,
            key,
            bytes: header.len() as u64,
            named: false,
        })
    }

    /// Removes the ended segments whose records are all before `position`; how many.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn remove_before(&mut self, position: u64) -> Result<usize, JournalError> {
        let mut removed = 0;
        while let Some(ended) = self.ended.first() {
            if self.end_of(0) > position {
                break;
            }
            let path = self.folder.join(name_of(ended.first));
            self.disk.remove(&path).map_err(failed(&path))?;
            self.ended.remove(0);
            removed += 1;
        }
        if removed > 0 {
            self.disk.sync_folder(&self.folder).map_err(failed(&self.folder))?;
            crash_point("commit.retired");
        }
        Ok(removed)
    }

    /// Up to which position it would have to be forgotten to take no more than `most` bytes and to hold nothing that was ended before `until`.
    pub fn surplus(&self, most: u64, until: EventTime) -> u64 {
        let mut bytes = self.bytes();
        let mut position = self.begins();
        for (place, ended) in self.ended.iter().enumerate() {
            if bytes <= most && ended.at >= until {
                break;
            }
            bytes -= ended.bytes;
            position = self.end_of(place);
        }
        position
    }

    /// The position behind an ended segment.
    fn end_of(&self, place: usize) -> u64 {
        let behind = self.ended.get(place + 1).map(|ended| ended.first);
        behind
            .or(self.open.as_ref().map(|open| open.first))
            .unwrap_or(self.next)
    }
}
