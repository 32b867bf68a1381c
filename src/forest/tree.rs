//! One tree of a forest: the cuts, the sample they hold, and the random numbers of both. In: the rows of a batch; out: the
//! tree changed by those the sample takes in.

use super::cut_tree::{CutTree, Leaf, Renamed};
use super::parameters::Parameters;
use super::random::{Purpose, Random};
use super::sampler::Sampler;
use super::spare::Spare;

/// The points of a batch as the trees see them; at least one.
pub(super) struct Rows<'a> {
    pub(super) points: &'a [f32],
    pub(super) dimensions: usize,
    /// The step (points seen before) of the first.
    pub(super) first: u64,
    /// How many, from the first on, get no score yet.
    pub(super) learning: usize,
}

impl Rows<'_> {
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.points[row * self.dimensions..(row + 1) * self.dimensions]
    }

    pub(super) fn count(&self) -> usize {
        self.points.len() / self.dimensions
    }

    /// The step of the last.
    pub(super) fn last(&self) -> u64 {
        self.first + self.count() as u64 - 1
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) cuts: CutTree,
    pub(super) sampler: Sampler,
    pub(super) random: Random,
}

impl Tree {
    pub(super) fn new(parameters: &Parameters, random: Random) -> Tree {
        Tree {
            cuts: CutTree::new(parameters.dimensions(), parameters.sample_size),
            sampler: Sampler::new(parameters.sample_size, parameters.time_decay),
            random,
        }
    }

    /// Copies the tree to `before` if it takes a point of a step before `step` and there is no copy yet.
    pub(super) fn keep(&self, step: u64, before: &mut Option<Box<Tree>>, spare: &mut Spare) {
        if before.is_none() && self.sampler.next() < step {
            *before = Some(spare.copy(self));
        }
    }

    /// Takes in the points of the steps before `step` that the sample accepts.
    pub(super) fn take_until(&mut self, step: u64, rows: &Rows) {
        while self.sampler.next() < step {
            let point = rows.row((self.sampler.next() - rows.first) as usize);
            self.take(point);
        }
    }

    pub(super) fn take(&mut self, point: &[f32]) {
        if let Some(leaf) = self.sampler.leaving() {
            let renamed = self.cuts.delete(Leaf::from_bits(leaf), || self.sampler.copies(leaf));
            self.rename(renamed);
        }
        let chance = self.random.uniform(self.sampler.event(), Purpose::Cut);
        let (leaf, renamed) = self.cuts.insert(point, chance);
        self.rename(renamed);
        self.sampler.accept(leaf.bits(), &self.random);
    }

    fn rename(&mut self, renamed: Option<Renamed>) {
        if let Some(Renamed { from, to }) = renamed {
            self.sampler.rename(from.bits(), to.bits());
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Tree>() + self.cuts.memory() + self.sampler.memory()
    }
}
