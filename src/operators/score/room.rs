//! How much scoring keeps in memory, and where the rest is. In: keys and devices, as they are used. Out: who has to leave, the least
//! recently used first; and, when their turn comes again, what was put away of them.
//!
//! Nothing depends on it but memory and time: what comes back is what has left, to the last bit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cluster::halt;
use crate::snapshot::Idle;

/// Room of each worker.
#[derive(Clone, Debug)]
pub struct Room {
    /// Keys whose trees are in memory, at least 1.
    pub keys: usize,
    /// Devices whose last readings are, at least 1.
    pub devices: usize,
    /// Where what is put away is kept while the run lasts.
    pub folder: PathBuf,
}

/// What has a place in memory, of one kind on one worker.
pub(super) struct Tenants<P> {
    most: usize,
    idle: Idle,
    /// Places by their last use, or nearly so.
    order: BTreeMap<u64, P>,
    uses: u64,
}

impl<P: Clone> Tenants<P> {
    /// At most so many; `kind` and worker tell them from all others of the process.
    pub(super) fn new(room: &Room, most: usize, kind: &str, worker: u32) -> Tenants<P> {
        Tenants {
            most: most.max(1),
            idle: Idle::new(&room.folder, &format!("{kind}-{worker}")),
            order: BTreeMap::new(),
            uses: 0,
        }
    }

    /// One has come: the number of its use.
    pub(super) fn come(&mut self, place: P) -> u64 {
        self.uses += 1;
        self.order.insert(self.uses, place);
        self.uses
    }

    /// The one at a place is used; `last` is the number of its last use.
    pub(super) fn used(&mut self, last: &mut u64) {
        self.uses += 1;
        // Where there is much room it need not be known exactly who was used last.
        if self.uses - *last > self.most as u64 / 4
            && let Some(place) = self.order.remove(last)
        {
            *last = self.uses;
            self.order.insert(self.uses, place);
        }
    }

    /// A place to be cleared, if there are too many: of those that may leave the one that has been used least recently.
    pub(super) fn leaving(&mut self, may_leave: impl Fn(&P) -> bool) -> Option<P> {
        if self.order.len() <= self.most {
            return None;
        }
        let (last, _) = self.order.iter().find(|(_, place)| may_leave(place))?;
        let last = *last;
        self.order.remove(&last)
    }

    /// Puts away what there is of a key.
    pub(super) fn put(&mut self, key: &[u8], state: &[u8]) {
        self.idle.put(key, state).unwrap_or_else(|e| halt(e));
    }

    /// What was put away of a key, once.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.idle.take(key).unwrap_or_else(|e| halt(e))
    }
}
