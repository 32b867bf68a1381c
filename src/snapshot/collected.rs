//! Where the operators of a process leave what has changed, until a commit takes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Entry, Restored};

/// What an operator needs to take up a state and to hand over its own.
#[derive(Clone)]
pub struct Checkpoints {
    /// The first commit that this run makes.
    pub first_commit: u32,
    pub collected: Arc<Collected>,
    pub restored: Arc<Restored>,
}

/// The changes of commits that are not made yet, of all workers of this process.
#[derive(Default)]
pub struct Collected(Mutex<BTreeMap<u32, Vec<Entry>>>);

impl Collected {
    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what has changed with a commit; of a key the last entry counts.
    pub fn put(&self, commit: u32, mut entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.held().entry(commit).or_default().append(&mut entries);
        }
    }

    /// Takes everything of the commits before number `until`, commit by commit; of all without one.
    pub fn take_before(&self, until: Option<u32>) -> BTreeMap<u32, Vec<Entry>> {
        let mut held = self.held();
        let later = until.map_or_else(BTreeMap::new, |until| held.split_off(&until));
        std::mem::replace(&mut *held, later)
    }

    /// Takes everything up to a commit, older changes first.
    ///
    /// Commits that had nothing to show are never made: what changed with them goes with the next one that is.
    pub fn take_through(&self, commit: u32) -> Vec<Entry> {
        let mut held = self.held();
        let later = match commit.checked_add(1) {
            Some(next) => held.split_off(&next),
            None => BTreeMap::new(),
        };
        let taken = std::mem::replace(&mut *held, later);
        drop(held);
        let mut taken = taken.into_values();
        let mut entries = taken.next().unwrap_or_default();
        taken.for_each(|more| entries.extend(more));
        entries
    }
}
