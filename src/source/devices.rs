//! The device collection on its way into epochs.
//!
//! In: versions that the one who watches the file offers. Out: the version that each epoch meets, and what changes with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Time, commit_of};
use crate::devices::{Changes, DevicesError, History, NewVersion, Succession};
use crate::disk::{Disk, LocalDisk};
use crate::journal;

/// Where a new version waits for its epoch.
#[derive(Clone, Default)]
pub struct Offer(Arc<Mutex<Option<NewVersion>>>);

impl Offer {
    fn waiting(&self) -> MutexGuard<'_, Option<NewVersion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a version there; only where none [waits](Self::is_waiting).
    pub fn put(&self, version: NewVersion) {
        *self.waiting() = Some(version);
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting().is_some()
    }

    fn take(&self) -> Option<NewVersion> {
        self.waiting().take()
    }
}

/// What the one who cuts epochs has of the device collection.
pub struct LiveDevices<D: Disk = LocalDisk> {
    pub history: History<D>,
    /// From the version of the first epoch on.
    pub succession: Succession<D>,
    /// The version that the next epoch to be cut meets.
    pub next: Option<Arc<str>>,
    pub offer: Offer,
}

impl<D: Disk> LiveDevices<D> {
    /// The version that an epoch which is being cut meets; with it, the changes that were offered.
    pub(super) fn cut(&mut self) -> (Option<Arc<str>>, Option<NewVersion>) {
        let offered = self.offer.take();
        if let Some(offered) = &offered {
            self.next = Some(Arc::clone(&offered.version));
        }
        (self.next.clone(), offered)
    }

    /// An epoch is in the log: what changes with it.
    pub(super) fn enter(
        &mut self,
        epoch: &journal::Epoch,
        offered: Option<NewVersion>,
    ) -> Result<Option<Changes>, DevicesError> {
        self.history.reached(epoch.time, epoch.devices.as_ref());
        match offered {
            Some(offered) => self.succession.go_to_new(offered),
            None => self.succession.go_to(epoch.devices.as_ref()),
        }
    }
}

/// How the user is told of changes.
pub(super) fn told(changes: &Changes, time: Time) -> String {
    format!(
        "device collection: {changes}; in force from epoch {} of commit {} on",
        time as u32, // the lower half
        commit_of(time)
    )
}
