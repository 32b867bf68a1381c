//! What survives a crash: the file operations that the journal and the commits are built on, and the [`Fence`] that keeps a run
//! which has lost its folder away from them.
//!
//! Everything that must outlast a power cut goes through a [`Disk`], so that the same code runs on the machine's file system
//! and, in tests, on one in memory that forgets what was not synced and tears what it was writing.
//!
//! The promise of a disk: bytes appended to a file last once [`DiskFile::sync`] has returned; a file created, renamed or removed
//! stays so once [`Disk::sync_folder`] of its folder has returned. Before that, anything may have happened to it or not.

mod crash;
mod fence;
mod local;
#[cfg(test)]
pub mod memory;

use std::io;
use std::path::Path;

pub use crash::crash_point;
pub use fence::{Fence, FenceError};
pub use local::LocalDisk;

/// A file system, or what stands in for one.
pub trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;

    /// A new file that only its owner may read, in place of any other of this name.
    ///
    /// # Errors
    /// As of the file system; so for all of these.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// At most `length` bytes of a file from `offset` on; fewer only where it ends.
    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// When a file was written last, in microseconds since 1970 UTC.
    fn written(&self, path: &Path) -> io::Result<i64>;

    /// The names of a folder's files, in order; none where there is no folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// A folder that only its owner may look into, and those above it.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// A folder that others may look into as the system's settings say, and those above it.
    fn create_shared_folder(&self, folder: &Path) -> io::Result<()>;

    /// Whether there is a file or folder of this name.
    fn has(&self, path: &Path) -> bool;

    /// Removes a folder with everything in it; one that is not there is no error.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of any other of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; one that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Cuts a file off behind `length` bytes, durably.
    fn cut(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Makes durable which files are in a folder.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// The same for several folders.
    fn sync_folders(&self, folders: &[&Path]) -> io::Result<()> {
        folders.iter().try_for_each(|folder| self.sync_folder(folder))
    }

    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let length = self.length(path)?;
        self.read_at(path, 0, usize::try_from(length).map_err(io::Error::other)?)
    }

    /// Puts a file of these bytes in the place of any other of its name, durably and at once: a reader and a crash find the old or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = self.create(&fresh)?;
        file.append(bytes)?;
        file.sync()?;
        drop(file);
        crash_point("commit.manifest_written");
        self.rename(&fresh, path)?;
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }
}

/// A file that grows at its end.
pub trait DiskFile: Sized + Send + 'static {
    /// The same file once more, for one who syncs it while another appends.
    ///
    /// # Errors
    /// As of the file system.
    fn again(&self) -> io::Result<Self>;

    /// # Errors
    /// As of the file system. What has been written of the bytes is not known then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// As of the file system. A file whose sync has failed is not to be trusted any more, not even if a second sync succeeds.
    fn sync(&mut self) -> io::Result<()>;
}
