//! How far a destination has confirmed alerts. In: places, in order. Out: the last whole one, also after a crash.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::log::Grown;
use super::{Destination, OutboxError, Place};
use crate::disk::{Disk, DiskFile};

const RECEIPT: usize = 8 + 8 + 8;
const ENDING: &str = ".receipts";
/// A file is replaced by a new one behind so many bytes.
const FILE_BYTES: usize = if cfg!(test) { 5 * RECEIPT } else { 64 << 10 };

pub(super) struct Receipts<D: Disk> {
    pub(super) destination: Destination,
    /// Alerts that it has not confirmed.
    pub(super) waiting: u64,
    upto: Place,
    file: D::File,
    path: PathBuf,
    number: u64,
    bytes: usize,
    synced: usize,
}

impl<D: Disk> Receipts<D> {
    /// Of a destination that has none yet: up to `last`, durably.
    pub(super) fn open(
        disk: &D,
        folder: &Path,
        destination: Destination,
        last: Place,
    ) -> Result<Receipts<D>, OutboxError> {
        let (mut upto, mut number) = (None, 0);
        for (path, of) in files(disk, folder, destination)? {
            let bytes = disk.read(&path).map_err(OutboxError::io(&path))?;
            upto = upto.max(bytes.chunks(RECEIPT).map_while(place_of).last());
            number = number.max(of);
        }
        let upto = upto.unwrap_or(last);
        let (path, file) = create(disk, folder, destination, number + 1, upto)?;
        Ok(Receipts {
            destination,
            waiting: 0,
            upto,
            file,
            path,
            number: number + 1,
            bytes: RECEIPT,
            synced: RECEIPT,
        })
    }

    /// A destination that there is no more.
    pub(super) fn forget(disk: &D, folder: &Path, destination: Destination) -> Result<(), OutboxError> {
        for (path, _) in files(disk, folder, destination)? {
            disk.remove(&path).map_err(OutboxError::io(&path))?;
        }
        Ok(())
    }

    pub(super) fn upto(&self) -> Place {
        self.upto
    }

    pub(super) fn confirm(&mut self, disk: &D, folder: &Path, upto: Place, count: u64) -> Result<(), OutboxError> {
        self.upto = self.upto.max(upto);
        self.waiting = self.waiting.saturating_sub(count);
        if self.bytes >= FILE_BYTES {
            (self.path, self.file) = create(disk, folder, self.destination, self.number + 1, self.upto)?;
            (self.number, self.bytes, self.synced) = (self.number + 1, RECEIPT, RECEIPT);
            return Ok(());
        }
        let failed = OutboxError::io(&self.path);
        self.file.append(&receipt(self.upto)).map_err(failed)?;
        self.bytes += RECEIPT;
        Ok(())
    }

    /// What is not durable.
    pub(super) fn grown(&self) -> Result<Option<Grown<D::File>>, OutboxError> {
        let grown = || {
            Ok(Grown {
                file: self.file.again().map_err(OutboxError::io(&self.path))?,
                path: self.path.clone(),
                bytes: self.bytes as u64,
                is_new: false,
            })
        };
        (self.synced < self.bytes).then(grown).transpose()
    }

    /// So many bytes of a file are durable now.
    pub(super) fn has_synced(&mut self, path: &Path, bytes: u64) {
        if self.path == path {
            self.synced = self.synced.max(bytes as usize);
        }
    }
}

/// A file with its first receipt, durable, in the place of all others.
fn create<D: Disk>(
    disk: &D,
    folder: &Path,
    destination: Destination,
    number: u64,
    upto: Place,
) -> Result<(PathBuf, D::File), OutboxError> {
    let path = folder.join(format!("{}-{number:010}{ENDING}", destination.name()));
    let failed = OutboxError::io(&path);
    let before = files(disk, folder, destination)?;
    let mut file = disk.create(&path).map_err(&failed)?;
    file.append(&receipt(upto)).map_err(&failed)?;
    file.sync().map_err(&failed)?;
    disk.sync_folder(folder).map_err(&failed)?;
    for (old, _) in before {
        disk.remove(&old).map_err(&failed)?;
    }
    Ok((path, file))
}

/// The files of a destination, with their numbers.
fn files<D: Disk>(disk: &D, folder: &Path, destination: Destination) -> Result<Vec<(PathBuf, u64)>, OutboxError> {
    let names = disk.names(folder).map_err(OutboxError::io(folder))?;
    let ours = names.iter().filter_map(|name| {
        let (of, number) = name.strip_suffix(ENDING)?.split_once('-')?;
        (of == destination.name()).then_some(())?;
        Some((folder.join(name), number.parse().ok()?))
    });
    Ok(ours.collect())
}

fn receipt(upto: Place) -> [u8; RECEIPT] {
    let mut bytes = [0; RECEIPT];
    bytes[..8].copy_from_slice(&upto.time.to_le_bytes());
    bytes[8..16].copy_from_slice(&upto.next.to_le_bytes());
    let sum = xxh3_64(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Of a whole receipt.
fn place_of(bytes: &[u8]) -> Option<Place> {
    let (content, sum) = bytes.split_at_checked(16)?;
    (sum == xxh3_64(content).to_le_bytes()).then_some(())?;
    let (time, next) = content.split_at(8);
    Some(Place {
        time: u64::from_le_bytes(time.try_into().ok()?),
        next: u64::from_le_bytes(next.try_into().ok()?),
    })
}
