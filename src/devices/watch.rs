//! Looks after a collection's file while a run goes on, and judges what becomes of it.
//!
//! In: a look at the file now and then. Out: versions to be put in force, each kept by then, or why a version is refused. A version is judged once the file
//! is settled, that is, the same at two looks; it is told of once.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::changes::Changes;
use super::collection::{DevicesError, Wanted};
use super::content::Content;
use super::history::History;
use crate::disk::{Disk, LocalDisk};

/// What came of a look.
pub enum Look {
    Nothing,
    /// Nothing changes, and the user should know why.
    Told(String),
    New(NewVersion),
}

/// A version to be put in force.
pub struct NewVersion {
    pub version: Arc<str>,
    /// The version before it.
    pub before: Arc<str>,
    /// From that to this.
    pub changes: Changes,
}

/// The rules by which a version is refused.
#[derive(Clone, Debug)]
pub struct Caution {
    /// The share of the devices that may be gone, 0 to 1.
    pub max_loss: f64,
}

pub struct Watch<D: Disk = LocalDisk> {
    path: PathBuf,
    history: History<D>,
    caution: Caution,
    in_force: Arc<str>,
    /// As it was at the last look.
    seen: Option<Sign>,
    /// As it was when it was judged.
    judged: Option<Sign>,
    /// The last refusal, until a version is taken.
    refused: Option<Refusal>,
}

/// Why a version is not put in force.
#[derive(Clone, PartialEq)]
pub struct Refusal {
    /// `None`: the file or the disk is at fault, whatever the version.
    version: Option<Arc<str>>,
    pub why: String,
}

impl Refusal {
    /// A file that cannot be read, or says nothing that could be used.
    pub fn of_file(error: &DevicesError) -> Refusal {
        Refusal {
            version: None,
            why: format!("{error}; the version before it stays in force"),
        }
    }
}

/// What tells a file from what it was before, without reading it.
#[derive(Clone, PartialEq)]
enum Sign {
    File {
        written: Option<SystemTime>,
        length: u64,
        place: (u64, u64),
    },
    None(io::ErrorKind),
}

impl Sign {
    fn of(path: &Path) -> Sign {
        match std::fs::metadata(path) {
            Ok(file) => Sign::File {
                written: file.modified().ok(),
                length: file.len(),
                place: (file.dev(), file.ino()),
            },
            Err(error) => Sign::None(error.kind()),
        }
    }
}

impl Caution {
    /// What changes with a new version, unless it looks like a mistake.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn weigh(&self, old: &Content, new: &Content, wanted: &Wanted) -> Result<Changes, Refusal> {
        let refuse = |why: String| Refusal {
            version: Some(Arc::clone(new.fingerprint())),
            why,
        };
        let path = new.path().display();
        let unusable = |why: &dyn std::fmt::Display| {
            refuse(format!(
                "{why}; it is not taken, and the version before it stays in force"
            ))
        };
        let collection = new.collection(wanted).map_err(|error| unusable(&error))?;
        if old.is_ended() && !new.is_ended() {
            return Err(unusable(&format_args!(
                "device collection {path}: its last line is not ended, it may be half-written: end it with a line feed"
            )));
        }
        let before = old.collection(wanted).map_err(|error| unusable(&error))?;
        let known = before.len();
        let changes = Changes::between(before, collection);
        if changes.gone as f64 > self.max_loss * known as f64 {
            return Err(unusable(&format_args!(
                "device collection {path}: {} of {known} devices are gone, which is more than devices.max_loss = {} allows (if it is meant, start again with --set devices.max_loss=1)",
                changes.gone, self.max_loss
            )));
        }
        Ok(changes)
    }
}

impl<D: Disk> Watch<D> {
    /// Over the file at `path` while version `in_force` is; `refused` has been told already.
    pub fn new(
        path: &Path,
        history: History<D>,
        caution: Caution,
        in_force: Arc<str>,
        refused: Option<Refusal>,
    ) -> Watch<D> {
        Watch {
            path: path.to_owned(),
            history,
            caution,
            in_force,
            seen: None,
            judged: None,
            refused,
        }
    }

    /// Looks once. A new version counts as in force from then on.
    pub fn look(&mut self) -> Look {
        let sign = Sign::of(&self.path);
        let is_settled = self.seen.replace(sign.clone()).as_ref() == Some(&sign);
        if !is_settled || self.judged.as_ref() == Some(&sign) {
            return Look::Nothing;
        }
        let content = match Content::read(&self.path) {
            Ok(content) => content,
            Err(error) => return self.refuse(Refusal::of_file(&error)),
        };
        if Sign::of(&self.path) != sign {
            return Look::Nothing; // it was written while it was read
        }
        if *content.fingerprint() == self.in_force {
            self.judged = Some(sign);
            return match self.refused.take() {
                Some(_) => Look::Told(format!(
                    "device collection {}: it is again as the version in force",
                    self.path.display()
                )),
                None => Look::Nothing,
            };
        }
        match self.take(&content) {
            Ok(changes) => {
                (self.judged, self.refused) = (Some(sign), None);
                let version = Arc::clone(content.fingerprint());
                let before = std::mem::replace(&mut self.in_force, Arc::clone(&version));
                Look::New(NewVersion {
                    version,
                    before,
                    changes,
                })
            }
            Err(refusal) => {
                // What is not the file's fault is tried again.
                self.judged = refusal.version.is_some().then_some(sign);
                self.refuse(refusal)
            }
        }
    }

    fn take(&self, content: &Content) -> Result<Changes, Refusal> {
        let failed = |error: DevicesError| Refusal {
            version: None,
            why: format!("{error}; the version before it stays in force, and the new one is tried again"),
        };
        let versions = self.history.versions();
        let old = versions.content(&self.in_force).map_err(failed)?;
        let changes = self.caution.weigh(&old, content, versions.wanted())?;
        self.history.keep(content).map_err(failed)?;
        Ok(changes)
    }

    /// Tells of it once.
    fn refuse(&mut self, refusal: Refusal) -> Look {
        if self.refused.as_ref() == Some(&refusal) {
            return Look::Nothing;
        }
        let why = refusal.why.clone();
        self.refused = Some(refusal);
        Look::Told(why)
    }
}
