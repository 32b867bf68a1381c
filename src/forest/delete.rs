//! Taking a point out of a cut tree. In: its leaf; out: the tree as if the point had not been kept: the sibling moves up, and
//! the boxes above shrink as far as they rested on the point.

use smallvec::SmallVec;

use super::bounds;
use super::cut_tree::{CutTree, Link, TOP};

impl CutTree {
    pub(super) fn delete(&mut self, leaf: u16) {
        let gone = &mut self.leaves[leaf as usize];
        gone.mass -= 1;
        if gone.mass > 0 {
            return;
        }
        let parent = gone.parent;
        gone.parent = self.free_leaf;
        self.free_leaf = leaf;
        if parent == TOP {
            self.root = None;
            return;
        }
        let side = self.side(parent, Link::leaf(leaf));
        let sibling = self.nodes[parent as usize].children[1 - side];
        let above = self.node_parents[parent as usize];
        self.hang(above, Link::node(parent, 0), sibling);
        self.node_parents[parent as usize] = self.free_node;
        self.free_node = parent;
        self.shrink(above);
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
