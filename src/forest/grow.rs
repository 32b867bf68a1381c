//! Inserting a point into a cut tree. In: a point and a random number; out: its leaf.
//!
//! Published rule: at each node of the point's path draw a cut of the box with the point in it; the topmost cut that separates
//! the two becomes the point's parent. Whether a cut separates has probability excess / (range + excess) and, if so, its place
//! is uniform over the gaps: one draw from the top down serves both. Where it does not separate, what is left of the number is
//! again uniform, and serves the next node: one number is enough for the whole path, and, being one, is spread over all
//! outcomes when the trees of a forest share out theirs. A copy of a stored point only adds to its leaf's mass.

use super::bounds::{self, gap, reach, widen};
use super::cut_tree::{CutTree, Leaf, Link, NONE, Node, TOP};

impl CutTree {
    /// `chance` is uniform in (0, 1).
    pub(super) fn insert(&mut self, point: &[f32], mut chance: f64) -> u16 {
        let Some(root) = self.root else {
            let leaf = self.new_leaf(point, TOP);
            self.root = Some(Link::leaf(leaf));
            return leaf;
        };
        let (found, _) = self.descend(root, point);
        if self.point(found) == point {
            self.leaves[found].mass += 1;
            return found as u16;
        }
        let mut at = root;
        loop {
            let outside = reach(self.extent(at), point);
            if outside.excess > 0.0 {
                let place = chance * (outside.range + outside.excess);
                // a leaf has no size: every cut separates
                if at.is_leaf() || place < outside.excess {
                    return self.split(at, point, place);
                }
                chance = (place - outside.excess) / outside.range;
                widen(self.stored_box_mut(at.index()), point);
            }
            let node = &self.nodes[at.index()];
            at = node.children[usize::from(point[self.dimension(at)] > node.cut)];
        }
    }

    /// Puts a new node above `at` whose cut lies `place` into the gaps between `at` and the point, counted along the dimensions.
    fn split(&mut self, at: Link, point: &[f32], place: f64) -> u16 {
        let (dimension, cut) = self.place_cut(at, point, place);
        let above = self.parent(at);
        let index = self.new_node(at, point);
        let leaf = self.new_leaf(point, index);
        let children = if point[dimension] <= cut {
            [Link::leaf(leaf), at]
        } else {
            [at, Link::leaf(leaf)]
        };
        self.nodes[index as usize] = Node { cut, children };
        let link = self.link(index, dimension);
        self.hang(above, at, link);
        self.set_parent(at, index);
        leaf
    }

    fn place_cut(&self, at: Link, point: &[f32], mut place: f64) -> (usize, f32) {
        let (lows, highs) = self.extent(at);
        let mut chosen = (0, point[0]);
        for (dimension, ((&low, &high), &x)) in lows.iter().zip(highs).zip(point).enumerate() {
            let (below, above) = gap(low, high, x);
            let width = below + above;
            if width > 0.0 {
                let (start, end) = if below > 0.0 { (x, low) } else { (high, x) };
                let cut = (f64::from(start) + place.min(width)) as f32;
                // rounding may reach the gap's far end, which no longer separates
                chosen = (dimension, if cut < end { cut } else { start });
                if place < width {
                    break;
                }
                place -= width;
            }
        }
        chosen
    }

    fn new_leaf(&mut self, point: &[f32], parent: u16) -> u16 {
        let leaf = Leaf { mass: 1, parent };
        let index = self.free_leaf;
        if index == NONE {
            self.leaves.push(leaf);
            self.points.extend_from_slice(point);
            return (self.leaves.len() - 1) as u16;
        }
        self.free_leaf = self.leaves[index as usize].parent;
        self.leaves[index as usize] = leaf;
        let from = index as usize * self.dimensions;
        self.points[from..from + self.dimensions].copy_from_slice(point);
        index
    }

    /// A place for a node, with the box of `below` and the point; its cut and children are the caller's to set.
    fn new_node(&mut self, below: Link, point: &[f32]) -> u16 {
        let index = self.free_node;
        let index = if index == TOP {
            if self.nodes.is_empty() {
                self.reserve();
                self.add_top();
            }
            self.reserve();
            self.nodes.push(Node {
                cut: 0.0,
                children: [below; 2],
            });
            self.node_parents.push(TOP);
            self.boxes
                .resize(self.nodes.len() * bounds::width(self.dimensions), 0.0);
            self.nodes.len() as u16 - 1
        } else {
            self.free_node = self.node_parents[index as usize];
            index
        };
        let width = bounds::width(self.dimensions);
        let stored = &mut self.boxes[usize::from(index) * width..][..width];
        if below.is_leaf() {
            let held = &self.points[below.index() * self.dimensions..][..self.dimensions];
            bounds::set(stored, |dimension| (held[dimension], held[dimension]));
            widen(stored, point);
        } else {
            let from = below.index() * width;
            self.boxes.copy_within(from..from + width, usize::from(index) * width);
            widen(self.stored_box_mut(usize::from(index)), point);
        }
        index
    }

    /// Makes [`TOP`] the first of the nodes.
    pub(super) fn add_top(&mut self) {
        self.nodes.push(Node {
            cut: f32::INFINITY,
            children: [Link::leaf(0); 2],
        });
        self.node_parents.push(TOP);
        self.boxes.resize(bounds::width(self.dimensions), 0.0);
        bounds::set(&mut self.boxes, |_| (f32::NEG_INFINITY, f32::INFINITY));
    }

    /// Doubles all arrays at once, but never beyond what the sample can need.
    fn reserve(&mut self) {
        let held = self.nodes.len();
        if held == self.nodes.capacity() {
            let more = held.max(16).min(self.capacity.saturating_sub(held));
            self.nodes.reserve_exact(more);
            self.node_parents.reserve_exact(more);
            self.boxes.reserve_exact(more * bounds::width(self.dimensions));
            let leaves = held + more;
            self.leaves.reserve_exact(leaves.saturating_sub(self.leaves.len()));
            self.points
                .reserve_exact((leaves * self.dimensions).saturating_sub(self.points.len()));
        }
    }

    /// Makes `now` take the place of `was` below `above`.
    pub(super) fn hang(&mut self, above: u16, was: Link, now: Link) {
        if above == TOP {
            self.root = Some(now);
        } else {
            let side = self.side(above, was);
            self.nodes[above as usize].children[side] = now;
        }
        self.set_parent(now, above);
    }

    fn set_parent(&mut self, link: Link, parent: u16) {
        if link.is_leaf() {
            self.leaves[link.index()].parent = parent;
        } else {
            self.node_parents[link.index()] = parent;
        }
    }
}
