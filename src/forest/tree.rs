//! One tree of a forest: the cuts, the sample they hold, and the random stream of both. In: the rows of a batch; out: their
//! scores added to sums, and the tree changed by those the sample takes in.

use super::cut_tree::CutTree;
use super::kernels::Kernel;
use super::parameters::Parameters;
use super::random::Stream;
use super::sampler::Sampler;
use super::scale::Scale;

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
        self.range(row, row + 1)
    }

    pub(super) fn range(&self, from: usize, until: usize) -> &[f32] {
        &self.points[from * self.dimensions..until * self.dimensions]
    }

    fn count(&self) -> usize {
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
    pub(super) random: Stream,
}

impl Tree {
    pub(super) fn new(parameters: &Parameters, key: &[u8], index: usize) -> Tree {
        Tree {
            cuts: CutTree::new(parameters.dimensions(), parameters.sample_size),
            sampler: Sampler::new(parameters.sample_size, parameters.time_decay),
            random: Stream::new(parameters.seed, key, index as u64),
        }
    }

    /// Adds the tree's scores to the sums and takes in what comes up, but for the last row, so that a tree that takes no
    /// other is still the tree that scored the rows.
    pub(super) fn score_rows(&mut self, kernel: Kernel, rows: &Rows, scale: &Scale, sums: &mut [f64]) {
        let mut from = rows.learning;
        self.take_until(rows.first + from as u64, rows);
        while from < rows.count() {
            // up to and with the next point taken in, all meet the same tree
            let until = (self.sampler.next().min(rows.last()) - rows.first) as usize + 1;
            let sums = &mut sums[from - rows.learning..until - rows.learning];
            self.cuts.add_scores(kernel, rows.range(from, until), scale, sums);
            self.take_until(rows.last().min(rows.first + until as u64), rows);
            from = until;
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
            self.cuts.delete(leaf);
        }
        let leaf = self.cuts.insert(point, &mut self.random);
        self.sampler.accept(leaf, &mut self.random);
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Tree>() + self.cuts.memory() + self.sampler.memory()
    }
}
