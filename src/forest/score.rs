//! The score of points in one tree. In: points and a tree; out: a term per point, added to its sum over the trees.
//!
//! The expected 1 / (depth + 1) of the point, were it inserted now, over all cuts that could separate it: from the leaf up,
//! s ← p / (d + 1) + (1 − p) s, with p the probability that a cut at depth d separates the point (Guha et al. 2016).
//!
//! Points go down in groups, so that the processor has other work while it waits for a node, and up in strides without a
//! branch: where the point lies inside a box it lies inside all above, p is 0 from there on and changes nothing.

use smallvec::SmallVec;

use super::bounds::reach;
use super::cut_tree::{CutTree, Link, Node};
use super::kernels::{Kernel, ROWS, TREE_ROWS, TREES, Wide, kernel};
use super::scale::Scale;

/// Points that go down together.
const GROUP: usize = 16;

/// Fewest rows for which a vector of rows pays.
const ALONE: usize = 3;

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
    point: &'a [f32],
}

impl CutTree {
    /// Adds this tree's score of each row of `points` to the row's sum.
    pub(super) fn add_scores(&self, kernel: Kernel, points: &[f32], scale: &Scale, sums: &mut [f64]) {
        kernel!(kernel, self.dimensions, add_scores(self, points, scale, sums));
    }
}

/// Adds the scores of a few points in many trees of equal dimensions, the trees side by side; `sums` has a row per tree.
pub(super) fn add_scores_in(kernel: Kernel, trees: &[&CutTree], points: &[f32], scale: &Scale, sums: &mut [f64]) {
    let dimensions = trees.first().map_or(1, |tree| tree.dimensions);
    kernel!(kernel, dimensions, add_side_by_side(trees, points, scale, sums));
}

/// `D` is the number of dimensions, or 0 for any.
#[inline(always)]
fn add_scores<const D: usize>(wide: Option<Wide>, tree: &CutTree, points: &[f32], scale: &Scale, sums: &mut [f64]) {
    let width = if D > 0 { D } else { tree.dimensions };
    for (points, sums) in points.chunks(ROWS * width).zip(sums.chunks_mut(ROWS)) {
        let ends = wide.and_then(|wide| wide.descend(tree, points));
        let rows = points.chunks_exact(width);
        if let Some(ends) = ends {
            for ((point, (leaf, depth)), sum) in rows.zip(ends).zip(sums) {
                *sum += score_from::<D>(wide, tree, leaf, depth, point, scale);
            }
        } else {
            let meetings: SmallVec<[Meeting; ROWS]> = rows.map(|point| Meeting { cuts: tree, point }).collect();
            add_meetings::<D>(wide, &meetings, scale, sums);
        }
    }
}

#[inline(always)]
fn add_side_by_side<const D: usize>(
    wide: Option<Wide>,
    trees: &[&CutTree],
    points: &[f32],
    scale: &Scale,
    sums: &mut [f64],
) {
    let width = trees.first().map_or(1, |tree| tree.dimensions);
    let rows = points.len() / width;
    let mut meetings: SmallVec<[Meeting; ROWS]> = SmallVec::new();
    let wide_down = wide.filter(|_| (ALONE..=TREE_ROWS).contains(&rows));
    let together = if wide_down.is_some() { TREES } else { GROUP };
    for (trees, sums) in trees.chunks(together).zip(sums.chunks_mut(together * rows)) {
        let ends = wide_down.and_then(|wide| wide.descend_trees(trees.first_chunk()?, points));
        for (index, (cuts, sums)) in trees.iter().zip(sums.chunks_exact_mut(rows)).enumerate() {
            let Some(ends) = ends else {
                meetings.extend(points.chunks_exact(width).map(|point| Meeting { cuts, point }));
                continue;
            };
            for ((point, (leaf, depth)), sum) in points.chunks_exact(width).zip(ends[index]).zip(sums) {
                *sum += score_from::<D>(wide, cuts, leaf, depth, point, scale);
            }
        }
        if !meetings.is_empty() {
            add_meetings::<D>(wide, &meetings, scale, sums);
            meetings.clear();
        }
    }
}

#[inline(always)]
fn add_meetings<const D: usize>(wide: Option<Wide>, meetings: &[Meeting], scale: &Scale, sums: &mut [f64]) {
    let (groups, rest) = meetings.as_chunks::<GROUP>();
    let (group_sums, rest_sums) = sums.split_at_mut(groups.len() * GROUP);
    for (group, sums) in groups.iter().zip(group_sums.chunks_exact_mut(GROUP)) {
        add_group::<D>(wide, group, scale, sums);
    }
    add_rest::<D>(wide, rest, scale, rest_sums);
}

/// Fewer meetings than make a group; the last one fills it up.
#[inline(always)]
fn add_rest<const D: usize>(wide: Option<Wide>, rest: &[Meeting], scale: &Scale, sums: &mut [f64]) {
    if let Some(last) = rest.last() {
        let group = std::array::from_fn(|i| *rest.get(i).unwrap_or(last));
        add_group::<D>(wide, &group, scale, sums);
    }
}

/// Adds the first meetings' scores, as many as there are sums.
#[inline(always)]
fn add_group<const D: usize>(wide: Option<Wide>, group: &[Meeting; GROUP], scale: &Scale, sums: &mut [f64]) {
    let ends = descend_together::<D>(group);
    for ((meeting, end), sum) in group.iter().zip(ends).zip(sums) {
        if let Some((leaf, depth)) = end {
            *sum += score_from::<D>(wide, meeting.cuts, leaf, depth, meeting.point, scale);
        }
    }
}

/// [`descend`](CutTree::descend) for several at once; none from an empty tree.
#[inline(always)]
fn descend_together<const D: usize>(group: &[Meeting; GROUP]) -> [Option<(usize, usize)>; GROUP] {
    let nodes = group.map(|meeting| meeting.cuts.nodes.as_slice());
    let points = group.map(|meeting| if D > 0 { &meeting.point[..D] } else { meeting.point });
    let mut links = group.map(|meeting| meeting.cuts.root.unwrap_or(Link::leaf(0)));
    let mut depths = [0u32; GROUP];
    while links.iter().any(|link| !link.is_leaf()) {
        for _ in 0..LEVELS {
            for lane in 0..GROUP {
                let (link, node) = (links[lane], nodes[lane]);
                // who is down waits, without a branch: the top node stands in for the one it does not need
                let (index, dimension) = link.step();
                let node = if index < node.len() { &node[index] } else { &WAIT };
                let right = points[lane][dimension] > node.cut;
                links[lane] = link.or(node.children[usize::from(right)]);
                depths[lane] += link.depth();
            }
        }
    }
    std::array::from_fn(|i| group[i].cuts.root.map(|_| (links[i].index(), depths[i] as usize)))
}

/// The score of a point from the leaf it falls to.
#[inline(always)]
fn score_from<const D: usize>(
    wide: Option<Wide>,
    tree: &CutTree,
    leaf: usize,
    mut depth: usize,
    point: &[f32],
    scale: &Scale,
) -> f64 {
    let width = if D > 0 { D } else { tree.dimensions };
    let point = &point[..width];
    let held = tree.leaves[leaf];
    if &tree.points[leaf * width..(leaf + 1) * width] == point {
        return scale.seen(depth, held.mass);
    }
    let mut score = scale.unseen(depth);
    if depth == 0 {
        return score; // the tree is this leaf
    }
    let mut node = usize::from(held.parent);
    if (1..=8).contains(&D)
        && let Some(wide) = wide
    {
        return wide.climb::<D>(tree, node, depth, point, scale);
    }
    loop {
        let (mut excess, mut whole) = ([0.0; STRIDE], [0.0; STRIDE]);
        for level in 0..STRIDE {
            let bounds = &tree.boxes[node * 2 * width..(node + 1) * 2 * width];
            let outside = reach(bounds.split_at(width), point);
            excess[level] = outside.excess;
            whole[level] = outside.range + outside.excess;
            node = usize::from(tree.node_parents[node]);
        }
        for level in 0..STRIDE {
            depth = depth.saturating_sub(1);
            score += excess[level] / whole[level] * (scale.unseen(depth) - score);
        }
        if excess[STRIDE - 1] == 0.0 {
            return score;
        }
    }
}
