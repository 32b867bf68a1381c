//! Taking a point out of a cut tree. In: its leaf; out: the tree as if the point had not been kept: the sibling moves up, and
//! the boxes above shrink as far as they rested on the point.

use super::bounds;
use super::cut_tree::{CutTree, Leaf, Link, MANY, Renamed, TOP};

impl CutTree {
    /// `copies` counts those of the leaf, this one too. Gives the leaf that has another name now, which is to be told to whoever
    /// knows it.
    pub(super) fn delete(&mut self, leaf: Leaf, copies: impl FnOnce() -> u16) -> Option<Renamed> {
        let link = self.child(leaf);
        let mass = if link.mass() < MANY { link.mass() } else { copies() };
        if mass > 1 {
            self.set_child(leaf, link.with_mass(mass - 1));
            return None;
        }
        let parent = leaf.above();
        if parent == TOP {
            self.free_point(link);
            self.root = None;
            return None;
        }
        self.leave_corners(parent);
        self.free_point(self.child(leaf));
        let (sibling, place) = (self.child(leaf.sibling()), self.place(parent));
        let above = place.above();
        self.set_child(place, sibling);
        self.node_parents[usize::from(parent)] = self.free_node;
        self.free_node = parent;
        if !sibling.is_leaf() {
            self.node_parents[sibling.index()] = above;
        }
        self.shrink(above);
        if !sibling.is_leaf() {
            return None;
        }
        if above != TOP {
            self.make_corners(above);
        }
        Some(Renamed {
            from: leaf.sibling(),
            to: place,
        })
    }

    /// Recomputes the boxes from `node` up; once one has not changed, none above it does.
    fn shrink(&mut self, mut node: u16) {
        while node != TOP && self.refresh(node as usize) {
            node = self.node_parents[node as usize];
        }
    }

    /// Sets a node's box to the union of its children's; says whether that changed it.
    pub(super) fn refresh(&mut self, node: usize) -> bool {
        let [left, right] = self.nodes[node].children;
        let own = node * bounds::width(self.dimensions);
        let mut changed = false;
        for dimension in 0..self.dimensions {
            let ((low, high), (other_low, other_high)) = (self.ends(left, dimension), self.ends(right, dimension));
            let low = if other_low < low { other_low } else { low };
            let high = if other_high > high { other_high } else { high };
            let (at_low, at_high) = (own + dimension, own + self.dimensions + dimension);
            changed |= self.boxes[at_low] != low || self.boxes[at_high] != high;
            (self.boxes[at_low], self.boxes[at_high]) = (low, high);
        }
        if changed {
            bounds::measure(self.stored_box_mut(node));
        }
        changed
    }

    /// The low and the high end of what hangs on a link that is no leaf in a corner.
    #[inline(always)]
    fn ends(&self, link: Link, dimension: usize) -> (f32, f32) {
        if link.is_leaf() {
            let x = self.points[link.index() * self.dimensions + dimension];
            (x, x)
        } else {
            let low = link.index() * bounds::width(self.dimensions) + dimension;
            (self.boxes[low], self.boxes[low + self.dimensions])
        }
    }
}
