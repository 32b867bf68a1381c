//! Shares of scores: at every worker, by the trees that it has of the groupings' forests.
//!
//! In: points of windows, piece by piece. Out: these trees' share of each point's score, to the grouping's owner.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Capability, Operator};

use super::super::Rows;
use super::super::barrier::{Barrier, TREE, earliest};
use super::super::deal::{Deal, Points, Share, Shares};
use super::super::stash::Stash;
use super::super::wire::Plain;
use super::{route, seed, state};
use crate::forest::{ForestPart, Parameters, Spare};
use crate::snapshot::Checkpoints;
use crate::source::Time;

/// A worker's trees, by grouping.
pub(super) struct Trees {
    parameters: Parameters,
    deal: Deal,
    pub(super) names: Rc<[String]>,
    pub(super) parts: HashMap<usize, ForestPart>,
}

/// Takes points through this worker's trees, a few at a time: the windows of all devices become complete at once, and readings that
/// come meanwhile wait for no more than that at each of their own steps.
pub(super) fn score<'scope>(
    points: Rows<'scope, Points>,
    mut trees: Trees,
    checkpoints: Option<&Checkpoints>,
) -> Shares<'scope> {
    let by_tree = Exchange::new(|points: &Points| u64::from(points.to));
    let scope = points.scope();
    let mut stash = Stash::<Points>::default();
    points.unary_frontier::<CapacityContainerBuilder<Plain<Share>>, _, _, _>(
        by_tree,
        "ScoreWindows",
        |capability, info| {
            let activator = scope.activator_for(info.address);
            let mut barrier = Barrier::new(checkpoints, capability);
            let mut at_hand: Option<(Capability<Time>, VecDeque<Points>)> = None;
            let mut sums = Vec::new();
            move |(input, frontier), output| {
                stash.fill(input);
                let begin = || {
                    let ([capability], points) = stash.due(|time, _| barrier.may_take(time, frontier))?;
                    barrier.before(*capability.time(), || state::changed_trees(&mut trees, usize::MAX));
                    Some((capability, points.into_iter().collect()))
                };
                let Some((capability, mut waiting)) = at_hand.take().or_else(begin) else {
                    barrier.passed(earliest([frontier]), || state::changed_trees(&mut trees, usize::MAX));
                    return barrier.ahead(|at_most| state::changed_trees(&mut trees, (at_most / TREE).max(1)));
                };
                if let Some(points) = waiting.pop_front() {
                    let (to, place) = (points.from, points.place);
                    trees.score(points, &mut sums);
                    let shares = sums.drain(..).zip(place..);
                    output
                        .session(&capability)
                        .give_iterator(shares.map(|(sum, place)| Share { to, place, sum }));
                }
                at_hand = (!waiting.is_empty()).then_some((capability, waiting));
                activator.activate();
            }
        },
    )
}

impl Trees {
    pub(super) fn new(parameters: &Parameters, deal: Deal, names: Rc<[String]>) -> Trees {
        Trees {
            parameters: parameters.clone(),
            deal,
            names,
            parts: HashMap::new(),
        }
    }

    /// This worker's trees of a grouping.
    pub(super) fn part(&mut self, grouping: usize) -> &mut ForestPart {
        self.parts.entry(grouping).or_insert_with(|| {
            let trees = self.deal.trees(route(grouping));
            ForestPart::new(&self.parameters, &seed(&self.names[grouping]), trees)
        })
    }

    /// Appends this worker's shares of the points' scores, and has the trees take the points in.
    pub(super) fn score(&mut self, points: Points, sums: &mut Vec<f64>) {
        let is_of = |name: &String| points.key.as_deref() == Some(name.as_str());
        let grouping = self.names.iter().position(is_of);
        let grouping = grouping.expect("processes of a set have the same settings, and so the same groupings");
        let part = self.part(grouping);
        part.score(points.first, points.values, None, sums);
        part.settle(None, &mut Spare::default()); // nobody will ask for an attribution
    }
}
