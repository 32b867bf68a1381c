//! Where the operators of a process leave what has changed, until a commit takes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
pub struct Collected {
    /// By commit, as they were put.
    changes: Mutex<BTreeMap<u32, Vec<Vec<Entry>>>>,
    is_ending: AtomicBool,
}

impl Collected {
    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Vec<Entry>>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the commit at hand ends soon. Who has much to put begins then, a little at a time, so that nobody has to
    /// wait for all of it at the end; what changes once more is put once more. Changes nothing but when things are put.
    pub fn ends_soon(&self, is_ending: bool) {
        self.is_ending.store(is_ending, Ordering::Relaxed);
    }

    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Adds what has changed with a commit; of a key the last entry counts.
    pub fn put(&self, commit: u32, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.held().entry(commit).or_default().push(entries);
        }
    }

    /// Takes everything of the commits before number `until`, commit by commit; of all without one.
    pub fn take_before(&self, until: Option<u32>) -> BTreeMap<u32, Vec<Entry>> {
        let mut held = self.held();
        let later = until.map_or_else(BTreeMap::new, |until| held.split_off(&until));
        let taken = std::mem::replace(&mut *held, later);
        drop(held);
        let whole = |(commit, entries): (u32, Vec<Vec<Entry>>)| (commit, entries.into_iter().flatten().collect());
        taken.into_iter().map(whole).collect()
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
        taken.into_values().flatten().flatten().collect()
    }
}
