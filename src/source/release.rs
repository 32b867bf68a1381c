//! What a session's journal and the one who commits tell each other, so that the journal can forget.
//!
//! A replay of what is left of the journals must find a state to begin with: an **anchor**, a commit whose state is kept. A journal is forgotten up to
//! an anchor only, and an anchor that some journal no longer reaches back to is let go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one session. Process 0 has one of every session, which mirrors the owner's where that is another process.
#[derive(Clone, Default)]
pub struct Release(Arc<Mutex<Agreement>>);

#[derive(Default)]
struct Agreement {
    /// Nothing before this position is needed to go on after a crash.
    committed: u64,
    /// Positions of the anchors there are and of those that are being made, in order.
    anchors: Vec<u64>,
    /// Whether the next commit shall be one.
    anchor_wanted: bool,
    /// The journal has been forgotten up to about here.
    kept_from: u64,
}

impl Release {
    fn agreement(&self) -> MutexGuard<'_, Agreement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this session is committed, and the anchors there are.
    pub fn begin(&self, committed: u64, anchors: Vec<u64>) {
        let mut agreement = self.agreement();
        agreement.committed = committed;
        agreement.anchors = anchors;
    }

    /// Whether the journal wishes that the state behind the next commit is kept; asked once.
    pub fn take_wish(&self) -> bool {
        std::mem::take(&mut self.agreement().anchor_wanted)
    }

    /// No earlier anchor than at this position is of use any more.
    pub fn kept_from(&self) -> u64 {
        self.agreement().kept_from
    }

    /// A commit up to `position` is being made, as an anchor.
    pub fn anchored(&self, position: u64) {
        self.agreement().anchors.push(position);
    }

    /// The commit up to `position` has been made.
    pub fn committed(&self, position: u64) {
        self.agreement().committed = position;
    }

    /// What the owner of the session has told.
    pub(super) fn follow(&self, wants_anchor: bool, kept_from: u64) {
        if wants_anchor {
            self.want_anchor();
        }
        self.forgotten(kept_from);
    }

    pub(super) fn has_uncommitted(&self, next: u64) -> bool {
        self.agreement().committed < next
    }

    pub(super) fn want_anchor(&self) {
        self.agreement().anchor_wanted = true;
    }

    /// The last position up to `position` that the journal may be forgotten to.
    pub(super) fn forgettable(&self, position: u64) -> Option<u64> {
        let agreement = self.agreement();
        let most = position.min(agreement.committed);
        agreement.anchors.iter().copied().filter(|anchor| *anchor <= most).max()
    }

    /// The journal now begins with a later record.
    pub(super) fn forgotten(&self, begins: u64) {
        let mut agreement = self.agreement();
        agreement.kept_from = begins;
        agreement.anchors.retain(|anchor| *anchor >= begins);
    }
}
