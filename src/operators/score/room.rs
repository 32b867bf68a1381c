//! How much scoring keeps in memory, and where the rest is. In: keys and devices, as they are used. Out: who has to leave, the least
//! recently used first; and, when their turn comes again, what was put away of them.
//!
//! Nothing depends on it but memory and time: what comes back is what has left, to the last bit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::halt;
use crate::snapshot::Idle;

/// Who is not used for this long is idle, and known to be within as long again.
const IDLE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 300 });

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
    /// The use before which whoever was used last is idle by now.
    idle_before: u64,
    /// A moment, and the uses up to it.
    mark: (Instant, u64),
}

impl<P: Clone> Tenants<P> {
    /// At most so many; `kind` and worker tell them from all others of the process.
    pub(super) fn new(room: &Room, most: usize, kind: &str, worker: u32) -> Tenants<P> {
        Tenants {
            most: most.max(1),
            idle: Idle::new(&room.folder, &format!("{kind}-{worker}")),
            order: BTreeMap::new(),
            uses: 0,
            idle_before: 0,
            mark: (Instant::now(), 0),
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
        if self.uses - *last > self.late()
            && let Some(place) = self.order.remove(last)
        {
            *last = self.uses;
            self.order.insert(self.uses, place);
        }
    }

    /// By how many uses the last one may be told too early: where there is much room it need not be known exactly.
    fn late(&self) -> u64 {
        self.most as u64 / 4
    }

    /// A place that may be cleared, although there is room: that of somebody idle.
    pub(super) fn idle(&mut self) -> Option<P> {
        if self.mark.0.elapsed() >= IDLE {
            self.pass_mark();
        }
        let (last, _) = self.order.first_key_value()?;
        (last + self.late() < self.idle_before)
            .then(|| self.order.pop_first())?
            .map(|(_, place)| place)
    }

    fn pass_mark(&mut self) {
        self.idle_before = self.mark.1;
        self.mark = (Instant::now(), self.uses);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_idle_leaves_and_who_is_in_use_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room {
            keys: 1,
            devices: 8,
            folder: folder.path().to_owned(),
        };
        let mut tenants = Tenants::new(&room, room.devices, "test", 0);
        let mut in_use = tenants.come("in use");
        tenants.come("silent");
        let mut left = Vec::new();
        for _ in 0..4 * tenants.late() {
            tenants.used(&mut in_use);
            left.extend(tenants.idle());
        }
        assert_eq!(left, ["silent"]);
    }
}
