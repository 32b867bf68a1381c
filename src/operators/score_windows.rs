//! `score_windows`: how strange a window is among all windows of its grouping.
//!
//! One forest per grouping over the windows' means. It sees revision 0 of each window, in the order in which windows become
//! complete and, of those that do so together, by start and key.

use std::collections::HashMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::stash::Stash;
use crate::forest::{DeviceMemory, Forest, KeyMemory, Parameters};
use crate::record::WindowRow;

/// A grouping's forest, and the means that stand in for missing ones.
struct OfGrouping {
    forest: Forest,
    memory: KeyMemory,
}

/// Sets `window_score` of the windows' first revisions. `names` are the groupings' names; `parameters.shingle` must be 1.
pub fn score_windows<'scope>(
    windows: Rows<'scope, WindowRow>,
    names: Vec<String>,
    parameters: Parameters,
) -> Rows<'scope, WindowRow> {
    let by_grouping = Exchange::new(|window: &WindowRow| window.grouping as u64);
    let mut groupings: HashMap<usize, OfGrouping> = HashMap::new();
    let mut stash = Stash::<WindowRow>::default();
    windows.unary_frontier::<CapacityContainerBuilder<Vec<WindowRow>>, _, _, _>(by_grouping, "ScoreWindows", |_, _| {
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], mut windows)) = stash.complete(frontier) {
                let order = |w: &WindowRow| (w.grouping, w.completed_at, w.start);
                windows.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key)));
                for same in windows.chunk_by_mut(|a, b| a.grouping == b.grouping) {
                    let grouping = groupings
                        .entry(same[0].grouping)
                        .or_insert_with_key(|grouping| OfGrouping {
                            forest: Forest::new(&parameters, format!("windows by {}", names[*grouping]).as_bytes()),
                            memory: KeyMemory::new(parameters.measures),
                        });
                    grouping.score(same, &parameters);
                }
                output.session(&capability).give_container(&mut windows);
            }
        }
    })
}

impl OfGrouping {
    fn score(&mut self, windows: &mut [WindowRow], parameters: &Parameters) {
        let (mut points, mut with_point) = (Vec::new(), Vec::new());
        for (place, window) in windows.iter().enumerate().filter(|(_, window)| window.revision == 0) {
            let means: Vec<f64> = window.measures.iter().map(|m| m.mean().unwrap_or(f64::NAN)).collect();
            if means.iter().all(|mean| mean.is_nan()) {
                continue;
            }
            // A window has no window before it: a missing mean is the grouping's, not the key's last one.
            if let Some(point) = DeviceMemory::new(parameters.measures, 1).point(&means, &mut self.memory) {
                points.extend_from_slice(point);
                with_point.push(place);
            }
        }
        let mut scored = Vec::with_capacity(with_point.len());
        self.forest.score_batch(&points, f64::INFINITY, &mut scored);
        for (place, scored) in with_point.into_iter().zip(scored) {
            windows[place].window_score = scored.score;
        }
    }
}
