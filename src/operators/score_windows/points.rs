//! Points out of windows: at the owner of a grouping, with the means that stand in for missing ones.
//!
//! In: complete windows by grouping. Out: each grouping's [`Points`] for all workers that have trees of it, and the [`Epoch`] that waits
//! for its scores here.

use std::ops::Range;
use std::rc::Rc;

use super::super::Rows;
use super::super::barrier::{Barrier, earliest};
use super::super::deal::{Deal, Points};
use super::super::fork::fork_holding;
use super::super::stash::Stash;
use super::super::to_owner::to_owner;
use super::{route, state};
use crate::forest::{DeviceMemory, KeyMemory, Parameters};
use crate::record::WindowRow;
use crate::snapshot::Checkpoints;

/// Windows that are scored before a worker's other steps have their turn, a millisecond's work.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 32 };

/// The same in a replay, where no reading is in a hurry: a full minute's are over soonest if no other steps come in between, and at last
/// all workers wait for them.
const AT_ONCE_IN_A_REPLAY: usize = 512 * AT_ONCE;

/// All that makes a grouping's points, but for the windows.
pub(super) struct OfGrouping {
    pub(super) memory: KeyMemory,
    /// Points made.
    pub(super) seen: u64,
    /// Since the last commit.
    pub(super) changed: bool,
}

/// An epoch's windows of one worker's groupings, in order.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) windows: Vec<WindowRow>,
    /// Of each point its window.
    pub(super) with_point: Vec<usize>,
    /// How many shares of scores all workers together send back.
    pub(super) shares: usize,
}

pub(super) fn points<'scope>(
    windows: Rows<'scope, WindowRow>,
    names: Rc<[String]>,
    parameters: &Parameters,
    deal: Deal,
    mut groupings: Vec<OfGrouping>,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Points>, Rows<'scope, Epoch>) {
    let by_grouping = to_owner(|window: &WindowRow| route(window.grouping));
    let measures = parameters.measures;
    let at_once = if checkpoints.is_some() {
        AT_ONCE
    } else {
        AT_ONCE_IN_A_REPLAY
    };
    let mut stash = Stash::<WindowRow, 2>::default();
    fork_holding(windows, by_grouping, "WindowPoints", |capability| {
        let mut barrier = Barrier::new(checkpoints, capability);
        move |input, frontier, points_out, epochs_out| {
            stash.fill(input);
            while let Some(([points_at, epoch_at], windows)) = stash.complete(frontier) {
                barrier.before(*points_at.time(), || state::changed_memories(&mut groupings, &names));
                let order = |w: &WindowRow| (w.grouping, w.completed_at, w.start);
                let windows = windows.in_order(|a, b| order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key)));
                let mut epoch = Epoch {
                    windows,
                    with_point: Vec::new(),
                    shares: 0,
                };
                let mut points = Vec::new();
                let mut from = 0;
                while from < epoch.windows.len() {
                    let grouping = epoch.windows[from].grouping;
                    let same = epoch.windows[from..].iter().take(at_once);
                    let behind = from + same.take_while(|window| window.grouping == grouping).count();
                    let (first, place) = (groupings[grouping].seen, epoch.with_point.len());
                    let values = groupings[grouping].take(from..behind, measures, &mut epoch);
                    epoch.shares += (epoch.with_point.len() - place) * deal.workers(route(grouping)).count();
                    let of_grouping = Points {
                        to: 0,
                        from: deal.me(),
                        place: place as u32,
                        key: Some(names[grouping].as_str().into()),
                        first,
                        values,
                    };
                    of_grouping.deliver(route(grouping), deal, &mut points);
                    from = behind;
                }
                points_out.session(&points_at).give_container(&mut points);
                epochs_out.session(&epoch_at).give(epoch);
            }
            barrier.passed(earliest([frontier]), || state::changed_memories(&mut groupings, &names));
        }
    })
}

impl OfGrouping {
    pub(super) fn new(parameters: &Parameters) -> OfGrouping {
        OfGrouping {
            memory: KeyMemory::new(parameters),
            seen: 0,
            changed: false,
        }
    }

    /// Makes points of the windows at these places, all of this grouping, as far as they are first revisions that know of a mean.
    fn take(&mut self, places: Range<usize>, measures: usize, epoch: &mut Epoch) -> Vec<f32> {
        let mut points = Vec::new();
        for at in places {
            let window = &epoch.windows[at];
            let means: Vec<f64> = window.measures.iter().map(|m| m.mean().unwrap_or(f64::NAN)).collect();
            if window.revision > 0 || means.iter().all(|mean| mean.is_nan()) {
                continue;
            }
            // A window has no window before it: a missing mean is the grouping's, not the key's last one.
            if let Some(point) = DeviceMemory::new(measures, 1).point(&means, &mut self.memory) {
                points.extend_from_slice(point);
                epoch.with_point.push(at);
                self.seen += 1;
                self.changed = true;
            }
        }
        points
    }
}
