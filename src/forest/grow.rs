//! Inserting a point into a cut tree. In: a point and a random number; out: its leaf.
//!
//! Published rule: at each node of the point's path draw a cut of the box with the point in it; the topmost cut that separates
//! the two becomes the point's parent. Whether a cut separates has probability excess / (range + excess) and, if so, its place
//! is uniform over the gaps: one draw from the top down serves both. Where it does not separate, what is left of the number is
//! again uniform, and serves the next node: one number is enough for the whole path, and, being one, is spread over all
//! outcomes when the trees of a forest share out theirs. A copy of a stored point only adds to its leaf's mass.

use super::bounds::{self, gap, reach, widen};
use super::cut_tree::{ALONE, BEHIND, CutTree, Leaf, Link, Node, Renamed, TOP};

impl CutTree {
    /// The point's leaf; and the one that has another name now, which is to be told to whoever knows it. `chance` is uniform in (0, 1).
    pub(super) fn insert(&mut self, point: &[f32], mut chance: f64) -> (Leaf, Option<Renamed>) {
        let Some(root) = self.root else {
            let place = self.new_point(point);
            self.root = Some(Link::leaf(place));
            return (ALONE, None);
        };
        let (found, _) = self.descend(root, point);
        if self.held(found).is(point) {
            let link = self.child(found);
            self.set_child(found, link.with_mass(link.mass() + 1));
            return (found, None);
        }
        let (mut place, mut at) = (ALONE, root);
        loop {
            let outside = reach(self.extent(at), point);
            if outside.excess > 0.0 {
                let into = chance * (outside.range + outside.excess);
                // a leaf has no size: every cut separates
                if at.is_leaf() || into < outside.excess {
                    return self.split(place, at, point, into);
                }
                chance = (into - outside.excess) / outside.range;
            }
            self.leave_corners(at.index() as u16);
            if outside.excess > 0.0 {
                widen(self.stored_box_mut(at.index()), point);
            }
            let node = &self.nodes[at.index()];
            let side = usize::from(point[self.dimension(at)] > node.cut);
            place = Leaf::new(at.index() as u16, side);
            at = node.children[side];
        }
    }

    /// Puts a new node above `at`, in its place, whose cut lies `into` the gaps between `at` and the point, counted along the
    /// dimensions.
    fn split(&mut self, place: Leaf, at: Link, point: &[f32], into: f64) -> (Leaf, Option<Renamed>) {
        let (dimension, cut) = self.place_cut(at, point, into);
        let index = self.new_node(at, point);
        let leaf = Link::leaf(self.new_point(point));
        let side = usize::from(point[dimension] > cut);
        let children = if side == 0 { [leaf, at] } else { [at, leaf] };
        self.nodes[usize::from(index)] = Node { cut, children };
        self.node_parents[usize::from(index)] = place.above();
        let link = self.link(index, dimension);
        self.set_child(place, link);
        let leaf = Leaf::new(index, side);
        if !at.is_leaf() {
            self.node_parents[at.index()] = index;
            return (leaf, None);
        }
        self.make_corners(index);
        let renamed = Renamed {
            from: place,
            to: leaf.sibling(),
        };
        (leaf, Some(renamed))
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
            self.make_boxes();
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
        self.make_boxes();
        bounds::set(self.stored_box_mut(usize::from(TOP)), |_| {
            (f32::NEG_INFINITY, f32::INFINITY)
        });
    }

    /// As many boxes as there are nodes, and what is behind the last.
    pub(super) fn make_boxes(&mut self) {
        let values = self.nodes.len() * bounds::width(self.dimensions) + BEHIND;
        self.boxes.resize(values, 0.0);
    }

    /// Doubles all arrays at once, but never beyond what the sample can need.
    fn reserve(&mut self) {
        let held = self.nodes.len();
        if held == self.nodes.capacity() {
            let more = held.max(16).min(self.capacity.saturating_sub(held));
            self.nodes.reserve_exact(more);
            self.node_parents.reserve_exact(more);
            let values = (held + more) * bounds::width(self.dimensions) + BEHIND;
            self.boxes.reserve_exact(values - self.boxes.len());
        }
    }
}
