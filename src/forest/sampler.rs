//! Time-decayed reservoir sampling of one tree (Efraimidis, Spirakis 2006, with weights that grow as exp(λt)).
//!
//! A point of step t gets the weight ln E − λt, E exponential with rate 1; the sample is the points of smallest weight. Weights
//! stay logarithms throughout, so λt may grow without bound. Once the sample is full, the step of the next acceptance is drawn
//! at once instead of an E per point: in distribution the same, and a rejected point costs nothing.
//! Weights are kept as `f32`, which tells apart far more than chance does, and so that time does not swallow the difference, as of
//! a step that follows.
//! In: steps and leaves; out: the next step to accept, and the leaf to give up for it.
//!
//! Steps come in cells, the same in all trees of a forest, and what a tree waits for is drawn anew in each (an exponential wait has
//! no memory: in distribution the same again). So the trees' draws, which [`super::random`] spreads evenly, are
//! about the same points: how many trees hold a point varies less than if each tree chose by itself.

use std::ops::Range;

use super::random::{Purpose, Random};

/// Cells, about, for each point that a tree takes; at most twice as many. The shorter they are, the closer trees agree on what a
/// draw is about; finer than this it no longer shows.
const CELLS_PER_POINT: usize = 4;

/// Cells that a tree waits for one by one; the rare wait that is longer is drawn as a whole.
const MOST_CELLS: usize = 64;

/// So much λt and the weights count it anew.
const LONG: f64 = 64.0;

#[derive(Clone, Debug)]
pub(super) struct Sampler {
    capacity: usize,
    time_decay: u64,
    decay: f64,
    /// ln(exp(λ) − 1).
    log_growth: f64,
    /// The binary logarithm of how many cells there are in the time that the sample remembers.
    cells: u32,
    /// A max-heap on `weights`; `leaves` moves along.
    pub(super) weights: Vec<f32>,
    pub(super) leaves: Vec<u16>,
    /// The step from which on the weights count time.
    pub(super) since: u64,
    next: u64,
    /// What the draws about the next step to accept are counted by: the step while the sample fills, and then the first step of
    /// its cell and, from there, one more for each step taken in the cell.
    event: u64,
}

impl Sampler {
    pub(super) fn new(capacity: usize, time_decay: u64) -> Sampler {
        let decay = 1.0 / time_decay as f64;
        Sampler {
            capacity,
            time_decay,
            decay,
            log_growth: libm::log(libm::expm1(decay)),
            cells: (CELLS_PER_POINT * capacity).next_power_of_two().ilog2(),
            weights: Vec::new(),
            leaves: Vec::new(),
            since: 0,
            next: 0,
            event: 0,
        }
    }

    /// As `of` is, in the memory that there is.
    pub(super) fn become_copy(&mut self, of: &Sampler) {
        let Sampler {
            capacity,
            time_decay,
            decay,
            log_growth,
            cells,
            weights,
            leaves,
            since,
            next,
            event,
        } = of;
        self.weights.clone_from(weights);
        self.leaves.clone_from(leaves);
        (self.capacity, self.time_decay, self.cells) = (*capacity, *time_decay, *cells);
        (self.decay, self.log_growth) = (*decay, *log_growth);
        (self.since, self.next, self.event) = (*since, *next, *event);
    }

    /// The share of its weight that a point loses per step.
    pub(super) fn time_decay(&self) -> f64 {
        self.decay
    }

    /// Takes over a sample that [`in_order`](Self::in_order) accepts, of at most the capacity, the step from which on it counts
    /// time, the next step to accept and its event.
    pub(super) fn restore(&mut self, since: u64, next: u64, event: u64, sample: Vec<(f32, u16)>) {
        (self.since, self.next, self.event) = (since, next, event);
        (self.weights, self.leaves) = sample.into_iter().unzip();
    }

    /// Whether no weight is above the one over it.
    pub(super) fn in_order(sample: &[(f32, u16)]) -> bool {
        (1..sample.len()).all(|at| sample[(at - 1) / 2].0 >= sample[at].0)
    }

    /// The next step whose point is taken into the sample; all before it are not.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What the draws about that step are counted by; at most the step.
    pub(super) fn event(&self) -> u64 {
        self.event
    }

    /// The leaf that must leave the sample before the next one enters; none while the sample fills.
    pub(super) fn leaving(&self) -> Option<u16> {
        if self.weights.len() == self.capacity {
            self.leaves.first().copied()
        } else {
            None
        }
    }

    /// How often the sample has a leaf.
    pub(super) fn copies(&self, leaf: u16) -> u16 {
        copies(&self.leaves, leaf)
    }

    /// Gives a leaf another name.
    pub(super) fn rename(&mut self, from: u16, to: u16) {
        for leaf in &mut self.leaves {
            *leaf = if *leaf == from { to } else { *leaf };
        }
    }

    /// Takes the point of step [`next`](Self::next), held by `leaf`, in place of [`leaving`](Self::leaving).
    pub(super) fn accept(&mut self, leaf: u16, random: &Random) {
        if self.decayed() > LONG {
            let passed = self.decayed();
            for weight in &mut self.weights {
                *weight = (f64::from(*weight) + passed) as f32;
            }
            self.since = self.next;
        }
        let decayed = self.decayed();
        let chance = random.uniform(self.event, Purpose::Weight);
        if self.leaving().is_some() {
            let weight = self.accepted_weight(decayed, chance);
            self.replace_top(weight as f32, leaf);
        } else {
            let weight = libm::log(-libm::log(chance)) - decayed;
            self.push(weight as f32, leaf);
        }
        self.next = self.next.saturating_add(1);
        self.event = self.event.saturating_add(1);
        if self.weights.len() == self.capacity {
            self.wait(random);
        }
    }

    /// λt of the next step.
    fn decayed(&self) -> f64 {
        self.decay * (self.next - self.since) as f64
    }

    /// ln E − λt given that it lies below the top weight: E is exponential, conditioned on E < exp(top + λt).
    fn accepted_weight(&self, decayed: f64, chance: f64) -> f64 {
        let limit = libm::exp(f64::from(self.weights[0]) + decayed);
        let e = -libm::log1p(chance * libm::expm1(-limit));
        libm::log(e) - decayed
    }

    /// Goes on to the next step that is accepted, cell by cell.
    fn wait(&mut self, random: &Random) {
        let (from, rate) = (self.next, libm::exp(self.hazard()));
        for _ in 0..MOST_CELLS {
            let cell = self.cell(self.next);
            self.event = self.event.max(cell.start);
            let chance = random.uniform(self.event, Purpose::Wait);
            // most cells pass, and need no logarithms for it: −ln u ≥ 1 − u, and exp(x) ≤ 1 + x + x² where x ≤ 1
            let (left, decayed) = ((cell.end - self.next) as f64, self.decay * (cell.end - from) as f64);
            let most = rate * (1.0 + decayed + decayed * decayed) * left * 1.000_001;
            if decayed > 1.0 || 1.0 - chance < most {
                let accepted = self.next.saturating_add(self.rejected(chance));
                if accepted < cell.end {
                    self.next = accepted;
                    return;
                }
            }
            self.next = cell.end;
        }
        // so far off that cells are left aside
        self.event = self.event.max(self.cell(self.next).start);
        let chance = random.uniform(self.event, Purpose::Wait);
        self.next = self.next.saturating_add(self.rejected(chance));
    }

    /// The logarithm of what E must stay below at the next step.
    fn hazard(&self) -> f64 {
        f64::from(self.weights[0]) + self.decayed()
    }

    /// How many steps from `next` on are rejected. Step s is accepted when E < exp(top + λs), so that n steps from t on are
    /// all rejected with probability exp(−exp(top + λt)·(exp(λn) − 1)/(exp(λ) − 1)), which is inverted here in logarithms.
    fn rejected(&self, chance: f64) -> u64 {
        let log_growth = libm::log(-libm::log(chance)) + self.log_growth - self.hazard();
        let steps = ln_1p_exp(log_growth) / self.decay;
        // a float beyond u64 saturates: such a step never comes
        (libm::ceil(steps) as u64).saturating_sub(1)
    }

    /// The cell of a step. Lengths are powers of two, so that cells lie side by side.
    fn cell(&self, step: u64) -> Range<u64> {
        let remembered = step.min(self.time_decay).max(1);
        let length = (remembered >> self.cells).max(1).ilog2();
        let start = step >> length << length;
        start..start.saturating_add(1 << length)
    }

    fn push(&mut self, weight: f32, leaf: u16) {
        let mut at = self.weights.len();
        if at == self.weights.capacity() {
            let more = at.max(16).min(self.capacity - at);
            self.weights.reserve_exact(more);
            self.leaves.reserve_exact(more);
        }
        self.weights.push(weight);
        self.leaves.push(leaf);
        while at > 0 && self.weights[(at - 1) / 2] < self.weights[at] {
            let above = (at - 1) / 2;
            self.swap(at, above);
            at = above;
        }
    }

    fn replace_top(&mut self, weight: f32, leaf: u16) {
        self.weights[0] = weight;
        self.leaves[0] = leaf;
        let mut at = 0;
        loop {
            let mut below = 2 * at + 1;
            if below >= self.weights.len() {
                return;
            }
            if below + 1 < self.weights.len() && self.weights[below + 1] > self.weights[below] {
                below += 1;
            }
            if self.weights[below] <= self.weights[at] {
                return;
            }
            self.swap(at, below);
            at = below;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.weights.swap(a, b);
        self.leaves.swap(a, b);
    }

    pub(super) fn memory(&self) -> usize {
        self.weights.capacity() * size_of::<f32>() + self.leaves.capacity() * size_of::<u16>()
    }
}

/// How often a sample has a leaf.
#[inline(always)]
pub(super) fn copies(sample: &[u16], leaf: u16) -> u16 {
    sample.iter().map(|held| u16::from(*held == leaf)).sum()
}

/// ln(1 + exp(x)), also where exp(x) overflows.
fn ln_1p_exp(x: f64) -> f64 {
    if x > 40.0 { x } else { libm::log1p(libm::exp(x)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: u64 = 1000;
    const CAPACITY: usize = 32;

    /// The ages of the sample after `steps` points, with the skips; leaves stand for steps in the order of acceptance.
    fn ages_by_skips(steps: u64, seed: u64) -> (Vec<u64>, usize) {
        let random = Random::new(seed, b"skips", 1);
        let mut sampler = Sampler::new(CAPACITY, DECAY);
        let (mut held, mut accepted) = ([0u64; CAPACITY], 0);
        while sampler.next() < steps {
            let slot = sampler.leaving().unwrap_or(accepted as u16);
            held[slot as usize] = sampler.next();
            sampler.accept(slot, &random);
            accepted += 1;
        }
        (held.iter().map(|step| steps - step).collect(), accepted)
    }

    /// The same with one draw per point, as the method is published.
    fn ages_by_draws(steps: u64, seed: u64) -> (Vec<u64>, usize) {
        let random = Random::new(seed, b"draws", 1);
        let (mut held, mut accepted) = (Vec::<(f64, u64)>::new(), 0);
        for step in 0..steps {
            let weight = libm::log(-libm::log(random.uniform(step, Purpose::Weight))) - step as f64 / DECAY as f64;
            let top = (0..held.len()).max_by(|&a, &b| held[a].0.total_cmp(&held[b].0));
            match top {
                Some(top) if held.len() == CAPACITY && weight >= held[top].0 => continue,
                Some(top) if held.len() == CAPACITY => held[top] = (weight, step),
                _ => held.push((weight, step)),
            }
            accepted += 1;
        }
        (held.iter().map(|(_, step)| steps - step).collect(), accepted)
    }

    fn mean_and_error(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
        (mean, (variance / n).sqrt())
    }

    #[test]
    fn skipping_ahead_samples_like_one_draw_per_point() {
        for steps in [100, 1000, 5000] {
            let runs = 300;
            let mut of = [const { [const { Vec::new() }; 3] }; 2];
            for run in 0..runs {
                for (kind, (ages, accepted)) in [ages_by_skips(steps, run), ages_by_draws(steps, run)]
                    .iter()
                    .enumerate()
                {
                    let mean = ages.iter().sum::<u64>() as f64 / CAPACITY as f64;
                    let young = ages.iter().filter(|&&age| age <= steps / 10).count() as f64;
                    of[kind][0].push(mean);
                    of[kind][1].push(young);
                    of[kind][2].push(*accepted as f64);
                }
            }
            for (what, (skips, draws)) in of[0].iter().zip(&of[1]).enumerate() {
                let ((a, ea), (b, eb)) = (mean_and_error(skips), mean_and_error(draws));
                let error = (ea * ea + eb * eb).sqrt();
                assert!(
                    (a - b).abs() < 4.0 * error,
                    "{steps} steps, statistic {what}: {a} against {b} ± {error}"
                );
            }
        }
    }

    #[test]
    fn sampling_goes_on_unchanged_after_a_thousand_million_points() {
        let random = Random::new(3, b"long", 1);
        let mut sampler = Sampler::new(CAPACITY, DECAY);
        // λt passes 10^6 here, far beyond where exp overflows; the million acceptances before are skipped by moving the clock
        for leaf in 0..CAPACITY as u16 {
            sampler.accept(leaf, &random);
        }
        let ages: Vec<u64> = [3_000_000, 1_000_000_000u64]
            .into_iter()
            .map(|until| {
                let (mut count, from) = (0, until - 1_000_000);
                let jump = from.saturating_sub(sampler.next);
                sampler.next += jump;
                sampler.since += jump;
                sampler.event = sampler.next;
                while sampler.next() < until {
                    let leaf = sampler.leaving().expect("the sample is full");
                    sampler.accept(leaf, &random);
                    assert!(sampler.weights.iter().all(|w| w.is_finite()));
                    count += 1;
                }
                count
            })
            .collect();
        // in the long run a point is taken with probability capacity × λ
        let expected = 1_000_000.0 * CAPACITY as f64 / DECAY as f64;
        for accepted in ages {
            assert!(
                (accepted as f64 - expected).abs() < 5.0 * expected.sqrt(),
                "{accepted} against {expected}"
            );
        }
    }

    #[test]
    fn extreme_decays_neither_stall_nor_overflow() {
        for decay in [1, 2, u64::MAX] {
            let random = Random::new(decay, b"extreme", 1);
            let mut sampler = Sampler::new(10, decay);
            let mut last = None;
            for turn in 0..2000u16 {
                assert!(last.is_none_or(|last| sampler.next() > last));
                last = Some(sampler.next());
                let leaf = sampler.leaving().unwrap_or(turn);
                sampler.accept(leaf, &random);
                if sampler.next() == u64::MAX {
                    break;
                }
            }
            assert!(sampler.weights.iter().all(|w| w.is_finite()));
        }
    }

    /// The variance, over the steps given, of how many of so many trees hold a step's point at the end.
    fn variance_of_holders(trees: &[Random], until: u64, steps: Range<u64>) -> f64 {
        let mut holders = vec![0.0; until as usize];
        for random in trees {
            let mut sampler = Sampler::new(CAPACITY, DECAY);
            let (mut held, mut accepted) = ([0u64; CAPACITY], 0);
            while sampler.next() < until {
                let slot = sampler.leaving().unwrap_or(accepted);
                held[usize::from(slot)] = sampler.next();
                sampler.accept(slot, random);
                accepted += 1;
            }
            held.iter().for_each(|&step| holders[step as usize] += 1.0);
        }
        let of_steps = &holders[steps.start as usize..steps.end as usize];
        let (_, error) = mean_and_error(of_steps);
        error * error * of_steps.len() as f64
    }

    #[test]
    fn a_forests_trees_hold_each_point_about_equally_often() {
        let (trees, until) = (100, 2000);
        let forest = Random::new(5, b"even", trees);
        let together: Vec<Random> = (0..trees).map(|tree| forest.of_tree(tree)).collect();
        let alone: Vec<Random> = (0..trees as u64).map(|seed| Random::new(seed, b"alone", 1)).collect();
        // at the end of a fill; at the end of a long stream, among the young and among all that time has left
        for steps in [0..CAPACITY as u64 * 2, until - 400..until] {
            let until = steps.end;
            let [together, alone] = [&together, &alone].map(|trees| variance_of_holders(trees, until, steps.clone()));
            assert!(together < 0.6 * alone, "{steps:?}: {together} against {alone}");
        }
    }

    #[test]
    fn cells_lie_side_by_side_and_grow_until_time_is_forgotten() {
        for (capacity, decay) in [(10, 1), (37, 5000), (256, 100_000), (1000, u64::MAX)] {
            let sampler = Sampler::new(capacity, decay);
            let (mut step, mut length) = (0, 1);
            while step < 3_000_000 {
                let cell = sampler.cell(step);
                assert_eq!(cell.start, step, "{capacity} {decay}");
                assert!(cell.end - cell.start >= length && sampler.cell(cell.end - 1) == cell);
                length = cell.end - cell.start;
                assert!(length == 1 || length * (CELLS_PER_POINT * capacity) as u64 <= step.min(decay));
                step = cell.end;
            }
            assert!(sampler.cell(u64::MAX).end == u64::MAX);
        }
    }
}
