//! Reads a journal from any position on, also while it is being written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::Entry;
use super::segment::{FrameOpener, FramePlace, damaged, first_of, survey};
use super::{JournalError, failed};
use crate::disk::Disk;
use crate::vault::SegmentKeys;

/// Reads frame by frame.
pub struct JournalReader<D: Disk> {
    disk: D,
    folder: PathBuf,
    keys: Arc<SegmentKeys>,
    segment: Option<Segment>,
    /// Of the next record.
    next: u64,
}

struct Segment {
    path: PathBuf,
    opener: FrameOpener,
    frames: std::vec::IntoIter<FramePlace>,
}

impl<D: Disk> JournalReader<D> {
    /// From the record at `position` on.
    pub fn new(disk: D, folder: &Path, keys: Arc<SegmentKeys>, position: u64) -> JournalReader<D> {
        JournalReader {
            disk,
            folder: folder.to_owned(),
            keys,
            segment: None,
            next: position,
        }
    }

    /// The position of the next record.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes on from another position.
    pub fn go_to(&mut self, position: u64) {
        self.next = position;
        self.segment = None;
    }

    /// That the next record should be there.
    pub fn missing(&self) -> JournalError {
        JournalError::Missing {
            folder: self.folder.clone(),
            position: self.next,
        }
    }

    /// The next records, those of one frame; `None` where the journal ends now.
    ///
    /// # Errors
    /// Damage, or records that are missing.
    pub fn read(&mut self) -> Result<Option<Vec<Entry>>, JournalError> {
        loop {
            let Some(segment) = &mut self.segment else {
                match self.find()? {
                    None => return Ok(None),
                    found => self.segment = found,
                }
                continue;
            };
            let Some(place) = segment.frames.next() else {
                self.segment = None;
                continue;
            };
            let mut entries = segment.opener.read(&self.disk, &segment.path, &place)?;
            let before = self.next.saturating_sub(place.first) as usize;
            self.next = place.end();
            if before > 0 {
                entries.drain(..before);
            }
            return Ok(Some(entries));
        }
    }

    /// The segment that holds the next record, and its frames from there on.
    fn find(&self) -> Result<Option<Segment>, JournalError> {
        let names = self.disk.names(&self.folder).map_err(failed(&self.folder))?;
        let segments: Vec<(u64, &String)> = names.iter().filter_map(|name| Some((first_of(name)?, name))).collect();
        let behind = segments.partition_point(|(first, _)| *first <= self.next);
        if behind == 0 {
            return if segments.is_empty() {
                Ok(None)
            } else {
                Err(self.missing())
            };
        }
        let (first, name) = segments[behind - 1];
        let path = self.folder.join(name);
        let bytes = self.disk.read(&path).map_err(failed(&path))?;
        let survey = survey(&path, first, &bytes)?;
        let frames: Vec<FramePlace> = survey
            .frames
            .into_iter()
            .filter(|place| place.end() > self.next)
            .collect();
        if frames.is_empty() {
            return match survey.rest {
                // The last segment may be growing, or torn.
                Some(why) if behind < segments.len() || survey.frames_behind => Err(damaged(&path, survey.whole, why)),
                _ if behind < segments.len() => Err(self.missing()),
                _ => Ok(None),
            };
        }
        Ok(Some(Segment {
            opener: FrameOpener::new(&self.disk, &path, &self.keys)?,
            path,
            frames: frames.into_iter(),
        }))
    }

    /// The position of the first record that a journal in `folder` keeps; `None` where it has no segment.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn begins(disk: &D, folder: &Path) -> Result<Option<u64>, JournalError> {
        let names = disk.names(folder).map_err(failed(folder))?;
        Ok(names.iter().filter_map(|name| first_of(name)).min())
    }
}
