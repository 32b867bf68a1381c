//! The score of points in a tree. In: points and the trees they meet; out: a term of the score for each of both.
//!
//! The expected 1 / (depth + 1) of the point, were it inserted now, over all cuts that could separate it: from the leaf up,
//! s ← p / (d + 1) + (1 − p) s, with p the probability that a cut at depth d separates the point (Guha et al. 2016).
//!
//! Where the point lies inside a box it lies inside all above, p is 0 from there on and changes nothing: most ways up end after
//! a few boxes. With AVX-512 the ways go as [`super::kernels`] has it; else points go down in groups, so that the processor has
//! other work while it waits for a node, and up in strides without a branch.

use std::ops::Range;

use smallvec::SmallVec;

use super::bounds;
use super::cut_tree::{CutTree, Leaf, Link, MANY, Node, TOP};
use super::kernels::{Kernel, Wide, kernel};
use super::sampler::copies;
use super::scale::Scale;

/// Points that go down together.
const GROUP: usize = 16;

/// Levels down between two looks whether all have arrived.
const LEVELS: usize = 4;

/// Boxes on the way up between two looks whether the point lies inside.
const STRIDE: usize = 4;

/// Stands in for the nodes of a tree that has none.
const WAIT: Node = Node {
    cut: f32::INFINITY,
    children: [Link::LEAF_0; 2],
};

/// A point and the tree it meets.
#[derive(Clone, Copy)]
struct Meeting<'a> {
    cuts: &'a CutTree,
    sample: &'a [u16],
    point: &'a [f32],
}

/// Rows that meet the same tree.
pub(super) struct Run<'a> {
    pub(super) cuts: &'a CutTree,
    /// The leaves of the tree's sample.
    pub(super) sample: &'a [u16],
    pub(super) rows: Range<usize>,
}

/// The scores of the runs' rows of `points`, one run after the other; all trees have the same dimensions.
pub(super) fn score(kernel: Kernel, runs: &[Run], points: &[f32], scale: &Scale, scores: &mut [f32]) {
    let dimensions = runs.first().map_or(1, |run| run.cuts.dimensions);
    kernel!(kernel, dimensions, score_runs(runs, points, scale, scores));
}

/// `D` is the number of dimensions, at most [`Link::DIMENSIONS`], or 0 for any.
#[inline(always)]
fn score_runs<const D: usize>(wide: Option<Wide>, runs: &[Run], points: &[f32], scale: &Scale, scores: &mut [f32]) {
    let Some(first) = runs.first() else { return };
    let width = if D > 0 { D } else { first.cuts.dimensions };
    let has_cuts = |run: &Run| run.cuts.root.is_some_and(|root| !root.is_leaf());
    if let Some(wide) = wide
        && (1..=8).contains(&D)
        && runs.iter().all(has_cuts)
    {
        return wide.score::<D>(runs, points, scale, scores);
    }
    let mut meetings = runs.iter().flat_map(|run| {
        let points = points[run.rows.start * width..run.rows.end * width].chunks_exact(width);
        points.map(|point| Meeting {
            cuts: run.cuts,
            sample: run.sample,
            point,
        })
    });
    for scores in scores.chunks_mut(GROUP) {
        let mut group: SmallVec<[Meeting; GROUP]> = meetings.by_ref().take(GROUP).collect();
        let Some(&last) = group.last() else { return };
        group.resize(GROUP, last);
        if let Ok(group) = group.into_inner() {
            score_group::<D>(&group, scale, scores);
        }
    }
}

/// The first meetings' scores, as many as there is room for.
#[inline(always)]
fn score_group<const D: usize>(group: &[Meeting; GROUP], scale: &Scale, scores: &mut [f32]) {
    let ends = descend_together::<D>(group);
    for ((meeting, end), score) in group.iter().zip(ends).zip(scores) {
        *score = end.map_or(0.0, |end| {
            score_from::<D>(meeting.cuts, meeting.sample, meeting.point, end, scale)
        });
    }
}

/// Where a way down ends: the node above the leaf, the link to it, and the number of cuts.
#[derive(Clone, Copy)]
struct End {
    above: u16,
    link: Link,
    depth: usize,
}

impl CutTree {
    /// The score of a point that the tree does not hold, from the leaf of this depth that it falls to.
    pub(super) fn score_from(&self, leaf: Leaf, depth: usize, point: &[f32], scale: &Scale) -> f32 {
        let (above, link) = (leaf.above(), self.child(leaf));
        score_from::<0>(self, &[], point, End { above, link, depth }, scale)
    }

    /// The score of a point that no cut above the leaf it falls to separates: it may be the leaf's. The leaf is that to which the
    /// node above has this link.
    pub(super) fn leaf_score(
        &self,
        sample: &[u16],
        (above, link, depth): (u16, Link, usize),
        point: &[f32],
        scale: &Scale,
    ) -> f32 {
        let leaf = self.leaf_below(above, link);
        if self.held(leaf).is(point) {
            scale.seen(depth, mass(sample, leaf, link))
        } else {
            scale.unseen(depth)
        }
    }
}

/// How many copies of a leaf a sample has.
pub(super) fn mass(sample: &[u16], leaf: Leaf, link: Link) -> u16 {
    match link.mass() {
        MANY => copies(sample, leaf.bits()),
        mass => mass,
    }
}

/// [`descend`](CutTree::descend) for several at once; none from an empty tree.
#[inline(always)]
fn descend_together<const D: usize>(group: &[Meeting; GROUP]) -> [Option<End>; GROUP] {
    let nodes = group.map(|meeting| meeting.cuts.nodes.as_slice());
    let points = group.map(|meeting| if D > 0 { &meeting.point[..D] } else { meeting.point });
    let mut links = group.map(|meeting| meeting.cuts.root.unwrap_or(Link::leaf(0)));
    let mut depths = [0u32; GROUP];
    let mut above = [TOP; GROUP];
    while links.iter().any(|link| !link.is_leaf()) {
        for _ in 0..LEVELS {
            for lane in 0..GROUP {
                let (link, node) = (links[lane], nodes[lane]);
                // who is down waits, without a branch: the top node stands in for the one it does not need
                let at = link.node_or_top();
                let node = node.get(at.index()).unwrap_or(&WAIT);
                let dimension = if D > 0 {
                    at.dimension()
                } else {
                    group[lane].cuts.dimension(at)
                };
                let right = points[lane][dimension] > node.cut;
                above[lane] = if link.is_leaf() { above[lane] } else { at.index() as u16 };
                links[lane] = link.or(node.children[usize::from(right)]);
                depths[lane] += link.depth();
            }
        }
    }
    std::array::from_fn(|i| {
        let (above, link, depth) = (above[i], links[i], depths[i] as usize);
        group[i].cuts.root.map(|_| End { above, link, depth })
    })
}

/// The score of a point from the leaf it falls to.
#[inline(always)]
fn score_from<const D: usize>(tree: &CutTree, sample: &[u16], point: &[f32], end: End, scale: &Scale) -> f32 {
    let mut depth = end.depth;
    let dimensions = if D > 0 { D } else { tree.dimensions };
    let (width, point) = (bounds::width(dimensions), &point[..dimensions]);
    let (mut score, unchanged) = (scale.unseen(depth), depth);
    let mut node = usize::from(end.above);
    while depth > 0 {
        let (mut excess, mut whole) = ([0.0; STRIDE], [0.0; STRIDE]);
        for level in 0..STRIDE {
            let (range, lows, highs) = bounds::parts(&tree.boxes[node * width..][..width]);
            excess[level] = bounds::excess((lows, highs), point);
            whole[level] = range + excess[level];
            node = usize::from(tree.node_parents[node]);
        }
        for level in 0..STRIDE {
            depth = depth.saturating_sub(1);
            score += excess[level] / whole[level] * (scale.unseen(depth) - score);
        }
        if excess[STRIDE - 1] == 0.0 {
            break;
        }
    }
    if score == scale.unseen(unchanged) {
        return tree.leaf_score(sample, (end.above, end.link, unchanged), point, scale);
    }
    score
}
