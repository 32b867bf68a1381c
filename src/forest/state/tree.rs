//! The state of a tree. In: a [`Tree`]; out: bytes, and back.
//!
//! They are the event it draws random numbers for, the next step it takes, the step from which on its weights count time, its cuts
//! from the root down (a leaf is its point), and the sample in the order of its heap, as weights and the places of their leaves in
//! that walk. Masses and boxes follow from these.

use super::super::bounds::{self, coordinate};
use super::super::cut_tree::{ALONE, BEHIND, CutTree, Held, Leaf, Link, NONE, Node};
use super::super::sampler::Sampler;
use super::super::tree::Tree;
use super::{Reader, StateError, write_floats, write_number};

impl Tree {
    /// Appends the tree's state to `out`.
    pub(in crate::forest) fn write(&self, out: &mut Vec<u8>) {
        write_number(self.sampler.event(), out);
        write_number(self.sampler.next(), out);
        write_number(self.sampler.since, out);
        let places = self.cuts.write(out);
        write_number(self.sampler.leaves.len() as u64, out);
        for (weight, leaf) in self.sampler.weights.iter().zip(&self.sampler.leaves) {
            write_floats(&[*weight], out);
            write_number(u64::from(places[usize::from(*leaf)]), out);
        }
    }

    /// Fills an empty tree of a forest that has seen so many points.
    pub(super) fn read(&mut self, seen: u64, reader: &mut Reader) -> Result<(), StateError> {
        let event = reader.number()?;
        let next = reader.number()?;
        // the first format had a count in the event's place, of which any that is not behind is as good; it counted time from the first
        // step, and had weights that could tell such times apart
        let (first_format, decay) = (reader.format() == 1, self.sampler.time_decay());
        let event = if first_format { next } else { event };
        let since = if first_format { next } else { reader.number()? };
        let leaves = self.cuts.read(reader)?;
        let sampled = reader.small(self.cuts.capacity)?;
        let filling = sampled < self.cuts.capacity;
        let in_order = event <= next && since <= next && seen <= next;
        if !in_order || sampled as u64 > seen || (filling && (next != seen || sampled as u64 != seen)) {
            return Err(StateError::Damaged);
        }
        let (mut masses, mut sample) = (vec![0; leaves.len()], Vec::with_capacity(sampled));
        for _ in 0..sampled {
            let weight = match first_format {
                true => (reader.double()? + decay * next as f64) as f32,
                false => reader.finite()?,
            };
            let place = reader.small(leaves.len().saturating_sub(1))?;
            let leaf = leaves.get(place).ok_or(StateError::Damaged)?;
            masses[place] += 1;
            sample.push((weight, leaf.bits()));
        }
        if masses.contains(&0) || sample.iter().any(|(weight, _)| !weight.is_finite()) || !Sampler::in_order(&sample) {
            return Err(StateError::Damaged);
        }
        for (leaf, mass) in leaves.into_iter().zip(masses) {
            let link = self.cuts.child(leaf).with_mass(mass);
            self.cuts.set_child(leaf, link);
        }
        self.sampler.restore(since, next, event, sample);
        Ok(())
    }
}

impl CutTree {
    /// Appends the number of leaves and all cuts and points, parents first, left before right: the dimension of a cut plus one
    /// and its value, or 0 and a point. Gives each leaf's place among the leaves written, by what names the leaf.
    fn write(&self, out: &mut Vec<u8>) -> Vec<u16> {
        let mut walk = Vec::new();
        let mut waiting: Vec<(Leaf, Link)> = self.root.map(|root| (ALONE, root)).into_iter().collect();
        while let Some((place, link)) = waiting.pop() {
            walk.push((place, link));
            if !link.is_leaf() {
                let below = |side| {
                    (
                        Leaf::new(link.index() as u16, side),
                        self.nodes[link.index()].children[side],
                    )
                };
                waiting.extend([below(1), below(0)]);
            }
        }
        write_number(walk.iter().filter(|(_, link)| link.is_leaf()).count() as u64, out);
        let mut places = vec![0; 2 * self.nodes.len().max(1)];
        let mut written = 0;
        for (place, link) in walk {
            if link.is_leaf() {
                write_number(0, out);
                write_floats(&self.point(place), out);
                places[usize::from(place.bits())] = written;
                written += 1;
            } else {
                write_number(self.dimension(link) as u64 + 1, out);
                write_floats(&[self.nodes[link.index()].cut], out);
            }
        }
        places
    }

    /// Fills an empty tree, but for the masses; gives the leaves in the order in which they were written.
    fn read(&mut self, reader: &mut Reader) -> Result<Vec<Leaf>, StateError> {
        let count = reader.small(self.capacity)?;
        let mut leaves = Vec::with_capacity(count);
        self.points.reserve_exact(count * self.dimensions);
        self.nodes.reserve_exact(count);
        self.node_parents.reserve_exact(count);
        self.boxes
            .reserve_exact(count * bounds::width(self.dimensions) + BEHIND);
        // the places still to fill
        let mut open = vec![ALONE];
        let mut dimensions = Vec::new();
        open.truncate(count);
        while let Some(place) = open.pop() {
            let link = match reader.small(self.dimensions)? {
                0 if leaves.len() < count => {
                    for _ in 0..self.dimensions {
                        self.points.push(coordinate(reader.finite()?));
                    }
                    leaves.push(place);
                    Link::leaf(leaves.len() as u16 - 1)
                }
                cut if cut > 0 && self.nodes.len() < count.max(2) => {
                    if self.nodes.is_empty() {
                        self.add_top();
                    }
                    let index = self.nodes.len() as u16;
                    self.nodes.push(Node {
                        cut: reader.finite()?,
                        children: [Link::leaf(0); 2], // both are set below
                    });
                    self.node_parents.push(place.above());
                    dimensions.push(cut - 1);
                    open.extend([Leaf::new(index, 1), Leaf::new(index, 0)]);
                    self.link(index, cut - 1)
                }
                _ => return Err(StateError::Damaged),
            };
            self.set_child(place, link);
        }
        if leaves.len() != count {
            return Err(StateError::Damaged);
        }
        self.make_boxes();
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
        self.store_corners(&leaves);
        Ok(leaves)
    }

    /// Keeps only the points that are no corners of boxes, one behind the other.
    fn store_corners(&mut self, leaves: &[Leaf]) {
        for node in 1..self.nodes.len() as u16 {
            self.make_corners(node);
        }
        let mut points = Vec::new();
        for leaf in leaves {
            if let Held::Point(point) = self.held(*leaf) {
                let place = (points.len() / self.dimensions) as u16;
                points.extend_from_slice(point);
                let link = self.child(*leaf).with_point(place);
                self.set_child(*leaf, link);
            }
        }
        points.shrink_to_fit();
        (self.points, self.free_point) = (points, NONE);
    }
}
