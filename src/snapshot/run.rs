//! A run: a file of entries in the order of operator and key, each key once.
//!
//! ```text
//! file   = "WFSTATE" format:u8 block* end
//! block  = packed:u32 length:u32 checksum:u64 zstd     of at least one entry, about BLOCK bytes before packing
//! end    = 0:u32 blocks:u32 entries:u64 checksum:u64   the checksum is of all that stands before it
//! entry  = operator:u8 key value                       key:   length, bytes
//!                                                      value: 0 for a tombstone, or length + 1, bytes
//! ```
//! Numbers are little-endian, lengths within entries LEB128, checksums XXH3-64; a block's covers its two lengths as well.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Entry, SnapshotError};
use crate::disk::{Disk, DiskFile};

const MAGIC: &[u8; 7] = b"WFSTATE";
/// Raised when the form changes; a later one is refused.
pub(super) const FORMAT: u8 = 1;
/// Bytes of entries before packing that make a block; one that is larger alone is a block of its own.
const BLOCK: usize = 256 << 10;
/// A commit waits for this: speed before size. Most of the state is hashes and floats: this takes three quarters of the time of level 1
/// for a tenth more bytes.
const LEVEL: i32 = -3;
const HEAD: usize = 8;
const BLOCK_HEAD: usize = 16;
const END: usize = 24;

/// A run as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The file's, in the folder of snapshots.
    pub name: String,
    pub bytes: u64,
    pub entries: u64,
    /// XXH3-64 of the whole file.
    pub checksum: u64,
}

/// Appends entries, in order, to a new file.
pub(super) struct Writer<D: Disk> {
    file: D::File,
    block: Vec<u8>,
    hash: Xxh3,
    bytes: u64,
    blocks: u32,
    entries: u64,
}

impl<D: Disk> Writer<D> {
    pub(super) fn create(disk: &D, path: &Path) -> std::io::Result<Writer<D>> {
        let mut writer = Writer {
            file: disk.create(path)?,
            block: Vec::with_capacity(BLOCK + BLOCK / 4),
            hash: Xxh3::new(),
            bytes: 0,
            blocks: 0,
            entries: 0,
        };
        let mut head = MAGIC.to_vec();
        head.push(FORMAT);
        writer.append(&head)?;
        Ok(writer)
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> std::io::Result<()> {
        self.block.push(entry.operator);
        number(entry.key.len() as u64, &mut self.block);
        self.block.extend_from_slice(&entry.key);
        match &entry.value {
            None => self.block.push(0),
            Some(value) => {
                number(value.len() as u64 + 1, &mut self.block);
                self.block.extend_from_slice(value);
            }
        }
        self.entries += 1;
        if self.block.len() >= BLOCK {
            self.end_block()?;
        }
        Ok(())
    }

    /// Ends the file, durably but for its name; its size, its entries and its checksum.
    pub(super) fn finish(mut self) -> std::io::Result<(u64, u64, u64)> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let mut end = [0; END];
        end[4..8].copy_from_slice(&self.blocks.to_le_bytes());
        end[8..16].copy_from_slice(&self.entries.to_le_bytes());
        self.hash.update(&end[..16]);
        let checksum = self.hash.digest();
        end[16..].copy_from_slice(&checksum.to_le_bytes());
        self.file.append(&end)?;
        self.file.sync()?;
        self.hash.update(&end[16..]);
        Ok((self.bytes + END as u64, self.entries, self.hash.digest()))
    }

    fn end_block(&mut self) -> std::io::Result<()> {
        let packed = zstd::bulk::compress(&self.block, LEVEL)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(std::io::Error::other);
        let mut block = Vec::with_capacity(BLOCK_HEAD + packed.len());
        block.extend(length(&packed)?.to_le_bytes());
        block.extend(length(&self.block)?.to_le_bytes());
        let checksum = checksum_of(&block, &packed);
        block.extend(checksum.to_le_bytes());
        block.extend(packed);
        self.block.clear();
        self.blocks += 1;
        self.append(&block)
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.append(bytes)
    }
}

fn checksum_of(lengths: &[u8], packed: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(lengths);
    hash.update(packed);
    hash.digest()
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a run block by block, in bounded memory. What it has given is of intact blocks of a file that looks whole; only when
/// it has come to the end is it known that the file is the very one that was written.
pub(super) struct Reader<D> {
    disk: D,
    path: PathBuf,
    run: Run,
    at: u64,
    hash: Xxh3,
    block: Vec<u8>,
    place: usize,
    blocks: u32,
    entries: u64,
    last: Option<(u8, Box<[u8]>)>,
    ended: bool,
}

impl<D: Disk> Reader<D> {
    pub(super) fn open(disk: &D, folder: &Path, run: &Run) -> Result<Reader<D>, SnapshotError> {
        let path = folder.join(&run.name);
        let mut reader = Reader {
            disk: disk.clone(),
            path,
            run: run.clone(),
            at: 0,
            hash: Xxh3::new(),
            block: Vec::new(),
            place: 0,
            blocks: 0,
            entries: 0,
            last: None,
            ended: false,
        };
        let length = disk.length(&reader.path).map_err(SnapshotError::io(&reader.path))?;
        let head = disk
            .read_at(&reader.path, 0, HEAD)
            .map_err(SnapshotError::io(&reader.path))?;
        match head.split_last() {
            // A later format is told as such only where nothing else is wrong with the head.
            Some((format, magic)) if magic == MAGIC && *format > FORMAT && length == run.bytes => {
                return Err(match whole_checksum(disk, &reader.path, length)? == run.checksum {
                    true => SnapshotError::Newer {
                        path: reader.path,
                        format: *format,
                    },
                    false => SnapshotError::damaged(&reader.path),
                });
            }
            Some((format, magic)) if magic == MAGIC && *format == FORMAT && length == run.bytes => {}
            _ => return Err(SnapshotError::damaged(&reader.path)),
        }
        reader.hash.update(&head);
        reader.at = HEAD as u64;
        Ok(reader)
    }

    /// The next entry; `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, SnapshotError> {
        while self.place == self.block.len() {
            if self.ended || !self.next_block()? {
                self.ended = true;
                return Ok(None);
            }
        }
        let entry = self.parse().ok_or_else(|| self.damaged())?;
        if self
            .last
            .as_ref()
            .is_some_and(|(operator, key)| (*operator, &key[..]) >= entry.place())
        {
            return Err(self.damaged());
        }
        self.last = Some((entry.operator, entry.key.clone()));
        self.entries += 1;
        Ok(Some(entry))
    }

    fn damaged(&self) -> SnapshotError {
        SnapshotError::damaged(&self.path)
    }

    /// Whether there is one more block.
    fn next_block(&mut self) -> Result<bool, SnapshotError> {
        let lengths = self.read(8)?;
        let (packed, length) = (u32_at(&lengths, 0), u32_at(&lengths, 4));
        if packed == 0 {
            return self.end(length).map(|()| false);
        }
        let rest = self.read(8 + packed as usize)?;
        let (checksum, packed) = rest.split_at(8);
        if checksum != checksum_of(&lengths, packed).to_le_bytes() {
            return Err(self.damaged());
        }
        let block = zstd::bulk::decompress(packed, length as usize).map_err(|_| self.damaged())?;
        if block.len() != length as usize {
            return Err(self.damaged());
        }
        (self.block, self.place) = (block, 0);
        self.blocks += 1;
        Ok(true)
    }

    fn end(&mut self, blocks: u32) -> Result<(), SnapshotError> {
        let entries = self.read(8)?;
        let before = self.hash.digest();
        let checksum = self.read(8)?;
        let is_whole = blocks == self.blocks
            && entries == self.entries.to_le_bytes()
            && checksum == before.to_le_bytes()
            && self.at == self.run.bytes
            && self.entries == self.run.entries
            && self.hash.digest() == self.run.checksum;
        if is_whole { Ok(()) } else { Err(self.damaged()) }
    }

    /// Exactly so many bytes.
    fn read(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        if self.at + length as u64 > self.run.bytes {
            return Err(self.damaged()); // before there is room made for what a damaged length asks for
        }
        let bytes = self
            .disk
            .read_at(&self.path, self.at, length)
            .map_err(SnapshotError::io(&self.path))?;
        if bytes.len() != length {
            return Err(self.damaged());
        }
        self.hash.update(&bytes);
        self.at += length as u64;
        Ok(bytes)
    }

    fn parse(&mut self) -> Option<Entry> {
        let mut rest = &self.block[self.place..];
        let (operator, after) = rest.split_first()?;
        rest = after;
        let length = read_number(&mut rest)?;
        let key = take(&mut rest, length)?;
        let value = match read_number(&mut rest)?.checked_sub(1) {
            None => None,
            Some(length) => Some(take(&mut rest, length)?),
        };
        let entry = Entry {
            operator: *operator,
            key,
            value,
        };
        self.place = self.block.len() - rest.len();
        Some(entry)
    }
}

fn whole_checksum<D: Disk>(disk: &D, path: &Path, length: u64) -> Result<u64, SnapshotError> {
    let length = usize::try_from(length).map_err(|_| SnapshotError::damaged(path))?;
    disk.read_at(path, 0, length)
        .map(|bytes| xxh3_64(&bytes))
        .map_err(SnapshotError::io(path))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn take(rest: &mut &[u8], length: u64) -> Option<Box<[u8]>> {
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(bytes.into())
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}
