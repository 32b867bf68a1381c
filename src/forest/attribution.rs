//! Which measures make a point strange. In: a point and a tree; out: the tree's score divided over the dimensions and the two
//! directions, and after all trees an [`Attribution`] per measure.
//!
//! As the score is an expectation over the cuts that could separate the point, each dimension and direction gets the part of
//! the cuts that lie in its gap. A point that the tree already holds is measured against the tree without it, and the parts are
//! scaled to its score; where nothing separates it, they are equal (as random-cut-forest-by-aws does it).

use super::bounds::{gap, reach};
use super::cut_tree::{CutTree, Leaf, TOP};
use super::grid::on_grid;
use super::scale::Scale;
use super::score::mass;
use super::tree::Tree;

/// One measure's part of a score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// What the measure adds to the score by being higher than usual.
    pub high: f64,
    /// What it adds by being lower than usual.
    pub low: f64,
}

impl Part {
    /// The measure's part of the score.
    pub fn total(self) -> f64 {
        self.high + self.low
    }

    /// The direction: whether the measure counts as high rather than low.
    pub fn is_high(self) -> bool {
        self.high >= self.low
    }
}

/// A score divided over the measures, summed over a shingle's positions. All parts add up to the score, to rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// A part per measure, in the measures' order.
    pub parts: Box<[Part]>,
}

impl Attribution {
    /// From parts per measure, summed over the trees.
    pub(super) fn from_sums(mut sums: Box<[Part]>, factor: f64) -> Attribution {
        for part in &mut sums {
            part.high *= factor;
            part.low *= factor;
        }
        Attribution { parts: sums }
    }
}

/// Working space of [`CutTree::add_attribution`], reused from tree to tree.
pub(super) struct Workspace {
    parts: Vec<Part>,
    lows: Vec<f32>,
    highs: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(dimensions: usize) -> Workspace {
        Workspace {
            parts: vec![Part::default(); dimensions],
            lows: vec![0.0; dimensions],
            highs: vec![0.0; dimensions],
        }
    }

    fn set_box(&mut self, (lows, highs): (&[f32], &[f32])) {
        self.lows.copy_from_slice(lows);
        self.highs.copy_from_slice(highs);
    }

    fn widen_box(&mut self, (lows, highs): (&[f32], &[f32])) {
        for (own, &low) in self.lows.iter_mut().zip(lows) {
            *own = if low < *own { low } else { *own };
        }
        for (own, &high) in self.highs.iter_mut().zip(highs) {
            *own = if high > *own { high } else { *own };
        }
    }

    /// Goes one cut up, to one of this depth: what was below it counts as far as it does not separate. None where it cannot.
    fn climb(&mut self, point: &[f32], depth: usize) -> Option<()> {
        let outside = reach((&self.lows, &self.highs), point);
        if outside.excess == 0.0 {
            return None;
        }
        let whole = outside.range + outside.excess;
        let (per_unit, kept) = (1.0 / (depth + 1) as f64 / whole, 1.0 - outside.excess / whole);
        for (((part, &low), &high), &x) in self.parts.iter_mut().zip(&self.lows).zip(&self.highs).zip(point) {
            let (below, above) = gap(low, high, x);
            part.high = part.high * kept + above * per_unit;
            part.low = part.low * kept + below * per_unit;
        }
        Some(())
    }

    /// Scales the parts so that they add up to the tree's score, and adds them to their measures' sums.
    fn add_to(&self, sums: &mut [Part], score: f64) {
        let total: f64 = self.parts.iter().map(|part| part.total()).sum();
        let scale = score / total;
        let equal = on_grid(score / (2 * self.parts.len()) as f64);
        for position in self.parts.chunks_exact(sums.len()) {
            for (sum, part) in sums.iter_mut().zip(position) {
                if total > 0.0 {
                    sum.high += on_grid(part.high * scale);
                    sum.low += on_grid(part.low * scale);
                } else {
                    sum.high += equal;
                    sum.low += equal;
                }
            }
        }
    }
}

impl Tree {
    /// Divides this tree's score of the point over the dimensions and adds the parts to the sums, one for each measure.
    pub(super) fn add_attribution(&self, point: &[f32], scale: &Scale, space: &mut Workspace, sums: &mut [Part]) {
        let cuts = &self.cuts;
        let Some(root) = cuts.root else { return };
        let (leaf, depth) = cuts.descend(root, point);
        space.parts.fill(Part::default());
        let score = if cuts.held(leaf).is(point) {
            cuts.climb_without_point(leaf, depth, point, space);
            scale.seen(depth, mass(&self.sampler.leaves, leaf, cuts.child(leaf)))
        } else {
            cuts.climb_with_point(leaf, depth, point, space);
            cuts.score_from(leaf, depth, point, scale)
        };
        space.add_to(sums, f64::from(score));
    }
}

impl CutTree {
    fn climb_with_point(&self, leaf: Leaf, mut depth: usize, point: &[f32], space: &mut Workspace) {
        let held = self.point(leaf);
        space.set_box((&held, &held));
        space.climb(point, depth);
        let mut node = leaf.above();
        while node != TOP {
            space.set_box(self.bounds(node as usize));
            depth -= 1;
            if space.climb(point, depth).is_none() {
                return;
            }
            node = self.node_parents[node as usize];
        }
    }

    /// The same with boxes that leave out the point's own leaf: the union of the siblings on the way up.
    fn climb_without_point(&self, leaf: Leaf, mut depth: usize, point: &[f32], space: &mut Workspace) {
        space.lows.fill(f32::INFINITY);
        space.highs.fill(f32::NEG_INFINITY);
        let mut below = leaf;
        while below.above() != TOP {
            let other = below.sibling();
            match self.child(other) {
                link if link.is_leaf() => {
                    let held = self.point(other);
                    space.widen_box((&held, &held));
                }
                link => space.widen_box(self.bounds(link.index())),
            }
            depth -= 1;
            if space.climb(point, depth).is_none() {
                return;
            }
            below = self.place(below.above());
        }
    }
}
