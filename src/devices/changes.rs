//! What differs between two versions of a collection. In: both. Out: updates from the one to the other, and a count of them for the user.

use std::fmt;

use super::collection::Collection;
use crate::record::{DeviceId, Known};

/// What is known of a device from now on, `None`: nothing any more.
pub type DeviceChange = (DeviceId, Option<Known>);

/// Only what differs.
#[derive(Default)]
pub struct Changes {
    /// In no order that matters: each device is there once.
    pub devices: Vec<DeviceChange>,
    pub added: usize,
    pub changed: usize,
    pub gone: usize,
}

impl Changes {
    pub fn between(old: Collection, new: Collection) -> Changes {
        let mut before = old.devices;
        let mut changes = Changes::default();
        for (id, known) in new.devices {
            match before.remove(&id) {
                Some(was) if was == known => continue,
                Some(_) => changes.changed += 1,
                None => changes.added += 1,
            }
            changes.devices.push((DeviceId::new(id), Some(known)));
        }
        changes.gone = before.len();
        let gone = before.into_keys().map(|id| (DeviceId::new(id), None));
        changes.devices.extend(gone);
        changes
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} added, {} changed, {} gone", self.added, self.changed, self.gone)
    }
}
