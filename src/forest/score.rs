//! The score of points in one tree. In: points and a tree; out: a term per point, added to its sum over the trees.
//!
//! The expected 1 / (depth + 1) of the point, were it inserted now, over all cuts that could separate it: from the leaf up,
//! s ← p / (d + 1) + (1 − p) s, with p the probability that a cut at depth d separates the point (Guha et al. 2016).

use super::bounds::reach;
use super::cut_tree::{CutTree, Link, NONE};
use super::scale::Scale;

/// Points that go down a tree together, so that the processor has other work while it waits for a node.
const GROUP: usize = 8;

impl CutTree {
    /// Adds this tree's score of each row of `points` to the row's sum.
    pub(super) fn add_scores(&self, points: &[f32], scale: &Scale, sums: &mut [f64]) {
        let Some(root) = self.root else { return };
        let width = self.dimensions;
        let grouped = if root.is_leaf() {
            0
        } else {
            sums.len() - sums.len() % GROUP
        };
        let (points, single_points) = points.split_at(grouped * width);
        let (sums, single_sums) = sums.split_at_mut(grouped);
        for (points, sums) in points.chunks_exact(GROUP * width).zip(sums.chunks_exact_mut(GROUP)) {
            let ends = self.descend_together(root, points);
            for ((point, sum), (leaf, depth)) in points.chunks_exact(width).zip(sums).zip(ends) {
                *sum += self.score_from(leaf, depth, point, scale);
            }
        }
        for (point, sum) in single_points.chunks_exact(width).zip(single_sums) {
            let (leaf, depth) = self.descend(root, point);
            *sum += self.score_from(leaf, depth, point, scale);
        }
    }

    /// [`descend`](Self::descend) for several points at once, from a root that is no leaf.
    #[inline]
    fn descend_together(&self, root: Link, points: &[f32]) -> [(usize, usize); GROUP] {
        let (mut links, mut depths) = ([root; GROUP], [0usize; GROUP]);
        let mut all_down = false;
        while !all_down {
            all_down = true;
            for (i, (link, depth)) in links.iter_mut().zip(&mut depths).enumerate() {
                let down = link.is_leaf();
                // whoever is down waits, without a branch: the first node stands in for the one it does not need
                let node = &self.nodes[if down { 0 } else { link.index() }];
                let right = points[i * self.dimensions + link.dimension()] > node.cut;
                let next = if right { node.children[1] } else { node.children[0] };
                *link = if down { *link } else { next };
                *depth += usize::from(!down);
                all_down &= link.is_leaf();
            }
        }
        std::array::from_fn(|i| (links[i].index(), depths[i]))
    }

    /// The score of a point from the leaf it falls to.
    #[inline]
    fn score_from(&self, leaf: usize, mut depth: usize, point: &[f32], scale: &Scale) -> f64 {
        let held = self.leaves[leaf];
        if self.point(leaf) == point {
            return scale.seen(depth, held.mass);
        }
        let mut score = scale.unseen(depth);
        let mut node = held.parent;
        while node != NONE {
            let outside = reach(self.bounds(node as usize), point);
            // inside this box is inside all above it
            if outside.excess == 0.0 {
                break;
            }
            depth -= 1;
            score += outside.separation() * (scale.unseen(depth) - score);
            node = self.node_parents[node as usize];
        }
        score
    }
}
