//! Copies of trees in memory that is used again. In: a tree; out: its copy, to be given back.
//!
//! A tree that changes is copied as long as it may have to be asked how it was. There are thousands of copies a second, of some
//! twenty kilobytes each: made anew, they would cost more in fresh pages than in copying.

use super::cut_tree::CutTree;
use super::tree::Tree;

/// Copies that wait for their next use at most.
const MOST: usize = 1024;

/// Copies that are no longer needed, of forests with the same parameters.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they come and go as boxes")]
pub struct Spare(Vec<Box<Tree>>);

impl Spare {
    pub(super) fn copy(&mut self, tree: &Tree) -> Box<Tree> {
        let Some(mut copy) = self.0.pop() else {
            return Box::new(tree.clone());
        };
        let Tree { cuts, sampler, random } = tree;
        copy.cuts.become_copy(cuts);
        copy.sampler.become_copy(sampler);
        copy.random.clone_from(random);
        copy
    }

    pub(super) fn take_back(&mut self, copies: impl Iterator<Item = Box<Tree>>) {
        let room = MOST.saturating_sub(self.0.len());
        self.0.extend(copies.take(room));
    }
}

impl CutTree {
    fn become_copy(&mut self, of: &CutTree) {
        let CutTree {
            dimensions,
            capacity,
            root,
            nodes,
            boxes,
            node_parents,
            points,
            cut_dimensions,
            free_node,
            free_point,
        } = of;
        self.nodes.clone_from(nodes);
        self.boxes.clone_from(boxes);
        self.node_parents.clone_from(node_parents);
        self.points.clone_from(points);
        self.cut_dimensions.clone_from(cut_dimensions);
        (self.dimensions, self.capacity, self.root) = (*dimensions, *capacity, *root);
        (self.free_node, self.free_point) = (*free_node, *free_point);
    }
}
