//! Some of a forest's trees, where others have the rest. In: a key's points, counted by who makes them; out: these trees' share of
//! each score, and later, of the points that turn out to be strange, their share of the attribution.
//!
//! Whoever adds up the shares of all trees, in any order, has every bit of what [`Forest`] says of the same points.
//! Which points are strange is known only when all shares are together, and by then the trees have moved on: [`Before`] is what a
//! batch changed, so that they can be asked as they were.

use super::attribution::{Attribution, Part, Workspace};
use super::bounds::coordinate;
use super::ensemble::{BATCH, Forest};
use super::parameters::Parameters;
use super::scale::factor;
use super::spare::Spare;
use super::tree::{Rows, Tree};

/// Some trees of the forest of one key.
#[derive(Clone, Debug)]
pub struct ForestPart {
    pub(super) forest: Forest,
    /// The last point, as long as it is scored and not taken in.
    waiting: Option<Box<[f32]>>,
    /// Of each tree: its index in the whole forest, and the next step it took when it was last handed over.
    pub(super) trees: Vec<(usize, Option<u64>)>,
    /// With which of them the next hand-over begins: none waits for ever behind those that change with every point.
    pub(super) write_from: usize,
}

/// The trees as they were before a batch, as far as the batch has changed them, and its points.
#[derive(Debug)]
pub struct Before {
    first: u64,
    points: Vec<f32>,
    trees: Vec<Option<Box<Tree>>>,
}

impl ForestPart {
    /// The trees of these indices, all empty; what else decides them is as with [`Forest::new`].
    pub fn new(parameters: &Parameters, key: &[u8], trees: impl Iterator<Item = usize> + Clone) -> ForestPart {
        ForestPart {
            forest: Forest::of_trees(parameters, key, trees.clone()),
            waiting: None,
            trees: trees.map(|index| (index, None)).collect(),
            write_from: 0,
        }
    }

    /// Takes in the last point, which [`score`](Self::score) leaves: until then the trees need not be copied for its sake.
    ///
    /// `batch` is what it came with, if that may still be asked about. To be called before the next points and before
    /// [`write_changed`](Self::write_changed).
    pub fn settle(&mut self, mut batch: Option<&mut Before>, spare: &mut Spare) {
        let Some(point) = self.waiting.take() else { return };
        let step = self.forest.seen;
        let rows = Rows {
            points: &point,
            dimensions: self.forest.dimensions,
            first: step - 1,
            learning: 0,
        };
        for (at, tree) in self.forest.trees.iter_mut().enumerate() {
            if let Some(Before { trees, .. }) = batch.as_deref_mut() {
                tree.keep(step, &mut trees[at], spare);
            }
            tree.take_until(step, &rows);
        }
    }

    /// Scores points and takes them in but for the last, as [`Forest::score_batch`] does. `first` is how many points the key had
    /// before, all of them taken in.
    ///
    /// These trees' share of each score is appended to `shares`, NaN for a point that gets none yet. With `spare`, which
    /// is where copies of trees come from, these can be asked for attributions later on.
    pub fn score(
        &mut self,
        first: u64,
        mut points: Vec<f32>,
        spare: Option<&mut Spare>,
        shares: &mut Vec<f64>,
    ) -> Option<Before> {
        for value in &mut points {
            *value = coordinate(*value);
        }
        let Forest {
            dimensions,
            sample_size,
            ..
        } = self.forest;
        let behind = first + (points.len() / dimensions) as u64;
        let mut spare = spare.filter(|_| sample_size < behind);
        let mut before = vec![None; self.trees.len()];
        self.forest.seen = first;
        for points in points.chunks(BATCH * dimensions) {
            let count = points.len() / dimensions;
            let learning = sample_size.saturating_sub(self.forest.seen).min(count as u64) as usize;
            let rows = Rows {
                points,
                dimensions,
                first: self.forest.seen,
                learning,
            };
            shares.extend(std::iter::repeat_n(f64::NAN, learning));
            let scored = shares.len();
            shares.resize(scored + count - learning, 0.0);
            self.forest
                .add_scores(&rows, spare.as_deref_mut(), &mut before, &mut shares[scored..]);
            self.forest.seen += count as u64;
            if self.forest.seen == behind {
                self.waiting = Some(rows.row(count - 1).into());
                break;
            }
            for (tree, before) in self.forest.trees.iter_mut().zip(&mut before) {
                if let Some(spare) = spare.as_deref_mut() {
                    tree.keep(rows.last() + 1, before, spare);
                }
                tree.take_until(rows.last() + 1, &rows);
            }
        }
        spare.is_some().then_some(Before {
            first,
            points,
            trees: before,
        })
    }

    /// Adds these trees' share of the attribution of a batch's `row`-th point, per measure. Rows must be asked for in order.
    ///
    /// `later` are the batches behind that one, in order, as far as they are known: they have the trees that only they changed.
    pub fn add_attribution<'a>(
        &self,
        batch: &mut Before,
        row: usize,
        later: impl Iterator<Item = &'a Before> + Clone,
        sums: &mut [Part],
    ) {
        let Before { first, points, trees } = batch;
        let rows = Rows {
            points,
            dimensions: self.forest.dimensions,
            first: *first,
            learning: 0,
        };
        let mut space = Workspace::new(self.forest.dimensions);
        for (at, (now, before)) in self.forest.trees.iter().zip(trees).enumerate() {
            let tree = match before {
                Some(copy) => {
                    copy.take_until(*first + row as u64, &rows);
                    &**copy
                }
                None => {
                    let copy = later.clone().find_map(|batch| batch.trees[at].as_deref());
                    copy.unwrap_or(now)
                }
            };
            tree.add_attribution(rows.row(row), &self.forest.scale, &mut space, sums);
        }
    }
}

impl Before {
    /// Lets go of it.
    pub fn give_back(self, spare: &mut Spare) {
        spare.take_back(self.trees.into_iter().flatten());
    }
}

/// What makes a forest's word out of all trees' shares.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    factor: f64,
}

impl Whole {
    pub fn new(parameters: &Parameters) -> Whole {
        Whole {
            factor: factor(&parameters.within_bounds()),
        }
    }

    /// A point's score, from the sum of the shares; `None` while the forest learns.
    pub fn score(self, sum: f64) -> Option<f64> {
        (!sum.is_nan()).then_some(sum * self.factor)
    }

    /// Its attribution, from the sums per measure.
    pub fn attribution(self, sums: Box<[Part]>) -> Attribution {
        Attribution::from_sums(sums, self.factor)
    }
}
