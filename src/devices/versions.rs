//! The versions of a collection, kept in the state folder: what a run has joined with, a start after a crash and a replay of its journal
//! join with again, whatever has become of the file since.
//!
//! ```text
//! <state>/devices/<fingerprint>.<form>.zst
//! ```
//!
//! A version is durable before the epoch log names it. Which of them are needed is the [`History`](super::History)'s to say.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::changes::Changes;
use super::collection::{Collection, DevicesError, Wanted};
use super::content::{Content, Form};
use super::watch::NewVersion;
use crate::disk::{Disk, LocalDisk};

const LEVEL: i32 = 3;
const EXTENSION: &str = "zst";

/// Where a state folder keeps them.
pub fn folder_of(state: &Path) -> PathBuf {
    state.join("devices")
}

/// The versions that are kept.
#[derive(Clone)]
pub struct Versions<D: Disk = LocalDisk> {
    disk: D,
    folder: PathBuf,
    wanted: Wanted,
    /// Stands in for a version that is not kept.
    at_hand: Option<Content>,
}

impl<D: Disk> Versions<D> {
    pub fn new(disk: D, folder: PathBuf, wanted: Wanted) -> Versions<D> {
        Versions {
            disk,
            folder,
            wanted,
            at_hand: None,
        }
    }

    /// The same with one that may be kept or not.
    pub fn beside(self, at_hand: Option<Content>) -> Versions<D> {
        Versions { at_hand, ..self }
    }

    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Keeps a version, durably.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn keep(&self, content: &Content) -> Result<(), DevicesError> {
        let name = format!("{}.{}.{EXTENSION}", content.fingerprint(), content.form().extension());
        let path = self.folder.join(name);
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::StorageFull => DevicesError::new(&path, "cannot be kept: the disk is full; free some space"),
            _ => DevicesError::new(
                &path,
                format!("cannot be kept ({e}); check the disk and the folder's owner"),
            ),
        };
        self.disk.create_folder(&self.folder).map_err(failed)?;
        if self.kept(content.fingerprint()).is_ok_and(|kept| kept.is_some()) {
            // Whoever wrote it may have died before its name was durable.
            return self.disk.sync_folder(&self.folder).map_err(failed);
        }
        let packed = zstd::bulk::compress(content.bytes(), LEVEL).map_err(failed)?;
        self.disk.replace(&path, &packed).map_err(failed)?;
        match self.folder.parent() {
            Some(state) => self.disk.sync_folder(state).map_err(failed),
            None => Ok(()),
        }
    }

    /// Whether a version can be had.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn has(&self, version: &str) -> Result<bool, DevicesError> {
        let at_hand = self.at_hand.as_ref();
        Ok(at_hand.is_some_and(|at_hand| **at_hand.fingerprint() == *version) || self.name(version)?.is_some())
    }

    /// A version as it was.
    ///
    /// # Errors
    /// One that is not there or damaged.
    pub fn content(&self, version: &str) -> Result<Content, DevicesError> {
        if let Some(at_hand) = &self.at_hand
            && **at_hand.fingerprint() == *version
        {
            return Ok(at_hand.clone());
        }
        let missing = || {
            DevicesError::new(
                &self.folder.join(version),
                "this version is not kept; restore it from a copy, or give the file as it was then with --devices",
            )
        };
        self.kept(version)?.ok_or_else(missing)
    }

    /// What a version says; nothing where there is none.
    ///
    /// # Errors
    /// As of [`Versions::content`], or content that does not fit what is wanted of it.
    pub fn load(&self, version: Option<&str>) -> Result<Collection, DevicesError> {
        match version {
            None => Ok(Collection::default()),
            Some(version) => self.content(version)?.collection(&self.wanted),
        }
    }

    fn name(&self, version: &str) -> Result<Option<(String, Form)>, DevicesError> {
        let names = self.disk.names(&self.folder).map_err(self.unreadable())?;
        Ok(names.into_iter().find_map(|name| {
            let (fingerprint, form) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('.')?;
            let form = Form::of(form).filter(|_| fingerprint == version)?;
            Some((name, form))
        }))
    }

    fn kept(&self, version: &str) -> Result<Option<Content>, DevicesError> {
        let Some((name, form)) = self.name(version)? else {
            return Ok(None);
        };
        let path = self.folder.join(name);
        let damaged = || DevicesError::new(&path, "damaged; the disk may be failing: restore this file from a copy");
        let packed = self.disk.read(&path).map_err(self.unreadable())?;
        let bytes = zstd::stream::decode_all(packed.as_slice()).map_err(|_| damaged())?;
        let content = Content::new(&path, form, bytes);
        match **content.fingerprint() == *version {
            true => Ok(Some(content)),
            false => Err(damaged()),
        }
    }

    fn unreadable(&self) -> impl Fn(io::Error) -> DevicesError {
        let folder = self.folder.clone();
        move |e| DevicesError::new(&folder, format!("cannot be read ({e}); check the folder's owner"))
    }

    /// Removes a version; one that is not there is no error.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub(super) fn remove(&self, version: &str) -> Result<(), DevicesError> {
        match self.name(version)? {
            Some((name, _)) => self.disk.remove(&self.folder.join(name)).map_err(self.unreadable()),
            None => Ok(()),
        }
    }

    /// Removes all that is not `needed`, what a crash has left half-written too.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn remove_all_but(&self, needed: &BTreeSet<Arc<str>>) -> Result<(), DevicesError> {
        for name in self.disk.names(&self.folder).map_err(self.unreadable())? {
            let stays = |version: &str| needed.contains(version) && name.ends_with(EXTENSION);
            if !name.split('.').next().is_some_and(stays) {
                self.disk.remove(&self.folder.join(&name)).map_err(self.unreadable())?;
            }
        }
        Ok(())
    }
}

/// Goes from version to version, as epochs do.
pub struct Succession<D: Disk = LocalDisk> {
    versions: Versions<D>,
    in_force: Option<Arc<str>>,
}

impl<D: Disk> Succession<D> {
    /// Where `in_force` is the version of the first epoch.
    pub fn new(versions: Versions<D>, in_force: Option<Arc<str>>) -> Succession<D> {
        Succession { versions, in_force }
    }

    /// Goes on to a version; what changes with it, `None` where it is the same.
    ///
    /// # Errors
    /// A version that cannot be had.
    pub fn go_to(&mut self, version: Option<&Arc<str>>) -> Result<Option<Changes>, DevicesError> {
        if self.in_force.as_ref() == version {
            return Ok(None);
        }
        let old = self.versions.load(self.in_force.as_deref())?;
        let new = self.versions.load(version.map(|version| &**version))?;
        self.in_force = version.cloned();
        Ok(Some(Changes::between(old, new)))
    }

    /// The same where the changes may be known.
    ///
    /// # Errors
    /// As of [`Succession::go_to`].
    pub fn go_to_new(&mut self, new: NewVersion) -> Result<Option<Changes>, DevicesError> {
        if self.in_force.as_ref() != Some(&new.before) {
            return self.go_to(Some(&new.version));
        }
        self.in_force = Some(new.version);
        Ok(Some(new.changes))
    }
}
