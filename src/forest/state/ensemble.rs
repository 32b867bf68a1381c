//! The state of a forest. In: a [`Forest`]; out: bytes, and back.
//!
//! Per tree: the event it draws random numbers for, the next step it takes, its cuts from the root down (a leaf is its point), and
//! the sample in the order of its heap, as weights and the places of their leaves in that walk. Masses and boxes follow from these.

use super::super::bounds;
use super::super::cut_tree::{CutTree, Leaf, Link, NONE, Node, TOP};
use super::super::ensemble::Forest;
use super::super::parameters::Parameters;
use super::super::sampler::Sampler;
use super::super::tree::Tree;
use super::{Kind, Reader, StateError, write_floats, write_framed, write_number};

impl Forest {
    /// Appends the forest's state to `out`.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        write_framed(Kind::Forest, out, |out| {
            for parameter in self.learned_with() {
                write_number(parameter, out);
            }
            write_number(self.seen, out);
            for tree in &self.trees {
                tree.write(out);
            }
        });
    }

    /// The forest that [`write_state`](Self::write_state) wrote, which must be of the same key and, but for the scoring, of the
    /// same parameters.
    pub fn read_state(parameters: &Parameters, key: &[u8], bytes: &[u8]) -> Result<Forest, StateError> {
        let mut reader = Reader::framed(Kind::Forest, bytes)?;
        let mut forest = Forest::new(parameters, key);
        for parameter in forest.learned_with() {
            reader.same(parameter)?;
        }
        forest.seen = reader.count()?;
        for tree in &mut forest.trees {
            tree.read(forest.seen, &mut reader)?;
        }
        reader.end()?;
        forest.take_changed();
        Ok(forest)
    }
}

impl Tree {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_number(self.sampler.event(), out);
        write_number(self.sampler.next(), out);
        let places = self.cuts.write(out);
        write_number(self.sampler.leaves.len() as u64, out);
        for (weight, leaf) in self.sampler.weights.iter().zip(&self.sampler.leaves) {
            out.extend(weight.to_le_bytes());
            write_number(u64::from(places[usize::from(*leaf)]), out);
        }
    }

    /// Fills an empty tree of a forest that has seen so many points.
    pub(super) fn read(&mut self, seen: u64, reader: &mut Reader) -> Result<(), StateError> {
        let event = reader.number()?;
        let next = reader.number()?;
        // the first format had a count here, and no events: any that is not behind is as good
        let event = if reader.format() == 1 { next } else { event };
        self.cuts.read(reader)?;
        let sampled = reader.small(self.cuts.capacity)?;
        let filling = sampled < self.cuts.capacity;
        if event > next || next < seen || sampled as u64 > seen || (filling && (next != seen || sampled as u64 != seen))
        {
            return Err(StateError::Damaged);
        }
        let mut sample = Vec::with_capacity(sampled);
        for _ in 0..sampled {
            let weight = reader.double()?;
            let leaf = reader.small(self.cuts.leaves.len().saturating_sub(1))?;
            let held = self.cuts.leaves.get_mut(leaf).ok_or(StateError::Damaged)?;
            held.mass += 1;
            sample.push((weight, leaf as u16));
        }
        if self.cuts.leaves.iter().any(|leaf| leaf.mass == 0) || !Sampler::in_order(&sample) {
            return Err(StateError::Damaged);
        }
        self.sampler.restore(next, event, sample);
        Ok(())
    }
}

impl CutTree {
    /// Appends the number of leaves and all cuts and points, parents first, left before right: the dimension of a cut plus one
    /// and its value, or 0 and a point. Gives each leaf's place among the leaves written.
    fn write(&self, out: &mut Vec<u8>) -> Vec<u16> {
        let mut walk = Vec::new();
        let mut waiting = Vec::from_iter(self.root);
        while let Some(link) = waiting.pop() {
            walk.push(link);
            if !link.is_leaf() {
                let [left, right] = self.nodes[link.index()].children;
                waiting.extend([right, left]);
            }
        }
        write_number(walk.iter().filter(|link| link.is_leaf()).count() as u64, out);
        let mut places = vec![NONE; self.leaves.len()];
        let mut place = 0;
        for link in walk {
            if link.is_leaf() {
                write_number(0, out);
                write_floats(self.point(link.index()), out);
                places[link.index()] = place;
                place += 1;
            } else {
                write_number(self.dimension(link) as u64 + 1, out);
                write_floats(&[self.nodes[link.index()].cut], out);
            }
        }
        places
    }

    /// Fills an empty tree, but for the masses, which stay 0. The leaves lie as they were written.
    fn read(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let leaves = reader.small(self.capacity)?;
        self.leaves.reserve_exact(leaves);
        self.points.reserve_exact(leaves * self.dimensions);
        self.nodes.reserve_exact(leaves);
        self.node_parents.reserve_exact(leaves);
        self.boxes.reserve_exact(leaves * bounds::width(self.dimensions));
        // the places still to fill: the parent, and which child of it
        let mut open = vec![(TOP, 0)];
        let mut dimensions = Vec::new();
        open.truncate(leaves);
        while let Some((parent, side)) = open.pop() {
            let link = match reader.small(self.dimensions)? {
                0 if self.leaves.len() < leaves => {
                    self.leaves.push(Leaf { mass: 0, parent });
                    for _ in 0..self.dimensions {
                        self.points.push(reader.finite()?);
                    }
                    Link::leaf(self.leaves.len() as u16 - 1)
                }
                cut if cut > 0 && self.nodes.len() < leaves.max(2) => {
                    if self.nodes.is_empty() {
                        self.add_top();
                    }
                    let index = self.nodes.len() as u16;
                    self.nodes.push(Node {
                        cut: reader.finite()?,
                        children: [Link::leaf(NONE); 2], // both are set below
                    });
                    self.node_parents.push(parent);
                    dimensions.push(cut - 1);
                    open.extend([(index, 1), (index, 0)]);
                    self.link(index, cut - 1)
                }
                _ => return Err(StateError::Damaged),
            };
            match parent {
                TOP => self.root = Some(link),
                _ => self.nodes[usize::from(parent)].children[side] = link,
            }
        }
        if self.leaves.len() != leaves {
            return Err(StateError::Damaged);
        }
        self.boxes
            .resize(self.nodes.len() * bounds::width(self.dimensions), 0.0);
        for (dimension, node) in dimensions.into_iter().rev().zip((1..self.nodes.len()).rev()) {
            self.refresh(node);
            let Node {
                cut,
                children: [left, right],
            } = self.nodes[node];
            if self.extent(left).1[dimension] > cut || self.extent(right).0[dimension] <= cut {
                return Err(StateError::Damaged);
            }
        }
        Ok(())
    }
}
