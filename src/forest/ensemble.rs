//! The forest: many trees over one key's points. In: batches of points; out: a score each, and the attribution of the strange.
//!
//! No tree needs another and a point's score is a sum over them that has no order, so several trees go through a batch together,
//! each with all rows until it next changes (it then stays in the first-level cache), with the same bits as point by point. Only
//! when all trees are through is it known which points are strange: a tree that changes before the batch's last point is copied
//! first, and the copy taken along again.

use super::attribution::{Attribution, Part, Workspace};
use super::bounds::coordinates;
use super::grid::on_grid;
use super::kernels::Kernel;
use super::parameters::Parameters;
use super::random::Random;
use super::scale::Scale;
use super::score::{Run, score};
use super::spare::Spare;
use super::tree::{Rows, Tree};

/// Most points taken through a tree at once; bounds the copies and the sums.
pub(super) const BATCH: usize = 256;

/// Meetings of a point and a tree that are kept to be added in the trees' order.
const TOGETHER: usize = 4096;

/// Trees side by side, at least.
const LEAST_TREES: usize = 8;

/// What a forest says of one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Higher is stranger, about 0.7 to 1.1 for ordinary points; `None` while the forest has seen fewer than `sample_size` points.
    pub score: Option<f64>,
    /// Present exactly when the score is at or above the threshold.
    pub attribution: Option<Attribution>,
}

/// A random cut forest over the points of one key.
#[derive(Clone, Debug)]
pub struct Forest {
    pub(super) measures: usize,
    pub(super) dimensions: usize,
    pub(super) sample_size: u64,
    pub(super) scale: Scale,
    /// Decides how fast the scores come, and no bit of them.
    pub(super) kernel: Kernel,
    pub(super) seen: u64,
    pub(super) trees: Vec<Tree>,
}

impl Forest {
    /// An empty forest. `key` is what the forest is for: with the parameters' seed it decides all random numbers.
    /// Parameters that [`Parameters::check`] would refuse are taken to the nearest allowed value.
    pub fn new(parameters: &Parameters, key: &[u8]) -> Forest {
        Forest::of_trees(parameters, key, 0..parameters.within_bounds().trees)
    }

    /// The trees of these indices of an empty forest.
    pub(super) fn of_trees(parameters: &Parameters, key: &[u8], indices: impl Iterator<Item = usize>) -> Forest {
        let parameters = parameters.within_bounds();
        let dimensions = parameters.dimensions();
        let random = Random::new(parameters.seed, key, parameters.trees);
        Forest {
            measures: parameters.measures,
            dimensions,
            sample_size: parameters.sample_size as u64,
            scale: Scale::new(&parameters),
            kernel: Kernel::fastest(),
            seen: 0,
            trees: indices
                .map(|index| Tree::new(&parameters, random.of_tree(index)))
                .collect(),
        }
    }

    /// Scores points and takes them in, one after the other in effect: each is scored against those before it.
    ///
    /// `points` holds rows of measures × shingle finite values in source order (an incomplete last row is ignored; a value beyond
    /// ±2^100 counts as that); what the forest says of them is appended to `out`. Points whose score is at or above `threshold` get an attribution.
    pub fn score_batch(&mut self, points: &[f32], threshold: f64, out: &mut Vec<Scored>) {
        for points in points.chunks(BATCH * self.dimensions) {
            let whole = points.len() - points.len() % self.dimensions;
            if whole > 0 {
                self.score_part(&coordinates(&points[..whole]), threshold, out);
            }
        }
    }

    /// The number of points taken in.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What must be the same for what the tree at this place has learned to be of use, as numbers, the last of them its name.
    pub(super) fn learned_with(&self, tree: usize) -> [u64; 5] {
        let tree = &self.trees[tree];
        [
            self.sample_size,
            self.measures as u64,
            self.dimensions as u64,
            tree.sampler.time_decay().to_bits(),
            tree.random.name(),
        ]
    }

    /// Bytes of memory held, without the allocator's own.
    pub fn memory(&self) -> usize {
        size_of::<Forest>() + self.scale.memory() + self.trees.iter().map(Tree::memory).sum::<usize>()
    }

    fn score_part(&mut self, points: &[f32], threshold: f64, out: &mut Vec<Scored>) {
        let count = points.len() / self.dimensions;
        let learning = self.sample_size.saturating_sub(self.seen).min(count as u64) as usize;
        let rows = Rows {
            points,
            dimensions: self.dimensions,
            first: self.seen,
            learning,
        };
        let mut sums = vec![0.0; count - learning];
        let may_attribute = learning < count && threshold < f64::INFINITY;
        let mut before = vec![None; self.trees.len()];
        let mut spare = Spare::default();
        let copies = may_attribute.then_some(&mut spare);
        self.add_scores(&rows, copies, &mut before, &mut sums);
        let from = out.len();
        out.resize(
            from + learning,
            Scored {
                score: None,
                attribution: None,
            },
        );
        let factor = self.scale.factor();
        out.extend(sums.iter().map(|sum| Scored {
            score: Some(sum * factor),
            attribution: None,
        }));
        self.attribute(&rows, before, threshold, &mut out[from..]);
        for tree in &mut self.trees {
            tree.take_until(rows.last() + 1, &rows);
        }
        self.seen += count as u64;
    }

    /// Adds the trees' scores of the rows to the sums; all rows but the last are taken in.
    ///
    /// With `copies` a tree that changes is copied first, to its place in `before`, unless there is a copy already.
    pub(super) fn add_scores(
        &mut self,
        rows: &Rows,
        copies: Option<&mut Spare>,
        before: &mut [Option<Box<Tree>>],
        sums: &mut [f64],
    ) {
        if let Some(spare) = copies {
            for (tree, before) in self.trees.iter().zip(before) {
                tree.keep(rows.last(), before, spare);
            }
        }
        let together = (TOGETHER / rows.count()).max(LEAST_TREES);
        for trees in self.trees.chunks_mut(together) {
            add_scores(self.kernel, trees, rows, &self.scale, sums);
        }
    }

    /// Adds the attributions, from the trees as they were before the batch (absent where a tree still is).
    fn attribute(&self, rows: &Rows, before: Vec<Option<Box<Tree>>>, threshold: f64, out: &mut [Scored]) {
        let strange: Vec<usize> = (0..out.len())
            .filter(|&row| out[row].score.is_some_and(|score| score >= threshold))
            .collect();
        if strange.is_empty() {
            return;
        }
        let mut space = Workspace::new(self.dimensions);
        let mut sums = vec![Part::default(); strange.len() * self.measures];
        for (tree, mut before) in self.trees.iter().zip(before) {
            for (&row, sums) in strange.iter().zip(sums.chunks_exact_mut(self.measures)) {
                let tree = match &mut before {
                    None => tree,
                    Some(copy) => {
                        copy.take_until(rows.first + row as u64, rows);
                        &**copy
                    }
                };
                tree.add_attribution(rows.row(row), &self.scale, &mut space, sums);
            }
        }
        for (&row, sums) in strange.iter().zip(sums.chunks_exact(self.measures)) {
            out[row].attribution = Some(Attribution::from_sums(sums.into(), self.scale.factor()));
        }
    }
}

/// Adds the trees' scores of all rows but those it learns from to the sums, tree by tree, and lets the trees take in what comes
/// up but for the last row, so that a tree that takes no other is still the tree that scored the rows.
fn add_scores(kernel: Kernel, trees: &mut [Tree], rows: &Rows, scale: &Scale, sums: &mut [f64]) {
    let count = rows.count();
    let mut scores = vec![0.0; trees.len() * count];
    let mut from = vec![rows.learning; trees.len()];
    let mut found = Vec::new();
    loop {
        for (tree, from) in trees.iter_mut().zip(&from) {
            tree.take_until(rows.last().min(rows.first + *from as u64), rows);
        }
        // up to and with the next point that a tree takes in, all meet the same tree
        let until = |tree: &Tree| (tree.sampler.next().min(rows.last()) - rows.first) as usize + 1;
        let open = trees.iter().zip(&from).filter(|(_, from)| **from < count);
        let runs: Vec<Run> = open
            .map(|(tree, &from)| Run {
                cuts: &tree.cuts,
                sample: &tree.sampler.leaves,
                rows: from..until(tree),
            })
            .collect();
        if runs.is_empty() {
            break;
        }
        found.resize(runs.iter().map(|run| run.rows.len()).sum(), 0.0);
        score(kernel, &runs, rows.points, scale, &mut found);
        let mut found = found.as_slice();
        for ((tree, from), scores) in trees.iter().zip(&mut from).zip(scores.chunks_exact_mut(count)) {
            if *from < count {
                let run = *from..until(tree);
                let (own, rest) = found.split_at(run.len());
                scores[run.clone()].copy_from_slice(own);
                (*from, found) = (run.end, rest);
            }
        }
    }
    for scores in scores.chunks_exact(count) {
        for (sum, score) in sums.iter_mut().zip(&scores[rows.learning..]) {
            *sum += on_grid(f64::from(*score));
        }
    }
}
