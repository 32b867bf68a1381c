//! Which version of the collection was in force from which epoch on, and what of it is still needed.
//!
//! The epoch log is what a replay goes by; this is the memory of the run that writes it: it knows which of the kept versions the
//! retained part of the log can still ask for, and removes the others. Shared by the one who cuts epochs, the one who
//! commits and the one who watches the file.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::collection::DevicesError;
use super::content::Content;
use super::versions::Versions;
use crate::disk::{Disk, LocalDisk};

/// An epoch's time.
type Time = u64;

/// A version of the collection, and the first epoch with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    pub from: Time,
    /// `None`: there is no collection.
    pub version: Option<Arc<str>>,
}

#[derive(Clone)]
pub struct History<D: Disk = LocalDisk> {
    versions: Versions<D>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// In order, as far back as the journal is kept.
    past: Vec<InForce>,
    /// Kept, and perhaps in no epoch yet.
    coming: BTreeSet<Arc<str>>,
}

impl<D: Disk> History<D> {
    /// `next` is kept, and an epoch to come will meet it.
    pub fn new(versions: Versions<D>, past: Vec<InForce>, next: Option<Arc<str>>) -> History<D> {
        let coming = next.into_iter().collect();
        let state = State { past, coming };
        History {
            versions,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub fn versions(&self) -> &Versions<D> {
        &self.versions
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a version that an epoch will bring.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn keep(&self, content: &Content) -> Result<(), DevicesError> {
        // Before it is written: from here on it is not removed.
        self.state().coming.insert(Arc::clone(content.fingerprint()));
        self.versions.keep(content)
    }

    /// An epoch with this version is in the log.
    pub fn reached(&self, time: Time, version: Option<&Arc<str>>) {
        let mut state = self.state();
        if state.past.last().is_none_or(|last| last.version.as_ref() != version) {
            let version = version.cloned();
            state.past.push(InForce { from: time, version });
        }
        if let Some(version) = version {
            state.coming.remove(version);
        }
    }

    /// What was in force up to an epoch.
    pub fn through(&self, time: Time) -> Vec<InForce> {
        let state = self.state();
        state.past.iter().filter(|past| past.from <= time).cloned().collect()
    }

    /// No epoch before `time` will be asked for any more: removes the versions that only they had.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn forget_before(&self, time: Time) -> Result<(), DevicesError> {
        let mut state = self.state();
        let behind = state.past.partition_point(|past| past.from <= time);
        let gone: Vec<InForce> = state.past.drain(..behind.saturating_sub(1)).collect();
        for version in gone.into_iter().filter_map(|gone| gone.version) {
            let is_needed = state.coming.contains(&version)
                || state.past.iter().any(|past| past.version.as_ref() == Some(&version));
            if !is_needed {
                self.versions.remove(&version)?;
            }
        }
        Ok(())
    }
}
