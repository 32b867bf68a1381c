//! Taking a point out of a cut tree. In: its leaf; out: the tree as if the point had not been kept: the sibling moves up, and
//! the boxes above shrink as far as they rested on the point.

use smallvec::SmallVec;

use super::bounds;
use super::cut_tree::{CutTree, Leaf, MANY, Renamed, TOP};

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
        let mut sides: SmallVec<[(f32, f32); 8]> = SmallVec::with_capacity(self.dimensions);
        let ((left_lows, left_highs), (right_lows, right_highs)) = (self.extent(left), self.extent(right));
        let (lows, highs) = (left_lows.iter().zip(right_lows), left_highs.iter().zip(right_highs));
        sides.extend(lows.zip(highs).map(|((&low, &other_low), (&high, &other_high))| {
            (
                if other_low < low { other_low } else { low },
                if other_high > high { other_high } else { high },
            )
        }));
        bounds::set(self.stored_box_mut(node), |dimension| sides[dimension])
    }
}
