//! The forest as it is published, written for the eye: trees of boxes on the heap, every bounding box recomputed from the
//! points, the sample a plain list. With the same random numbers it must give the same bits as the fast one.

use std::ops::Add;

use proptest::prelude::*;

use super::super::bounds::coordinate;
use super::super::grid::on_grid;
use super::super::random::{Purpose, Random};
use super::{Normalise, Parameters, Scored, Scoring, score_all};

type Point = Vec<f32>;

enum Slow {
    Leaf(Point, usize),
    Node {
        dimension: usize,
        cut: f32,
        children: [Box<Slow>; 2],
    },
}

/// A sum over the dimensions in the order the forest defines.
fn lanes<T: Copy + Default + Add<Output = T>>(values: impl Iterator<Item = T>) -> T {
    let mut lane = [T::default(); 4];
    values
        .enumerate()
        .for_each(|(i, value)| lane[i % 4] = lane[i % 4] + value);
    (lane[0] + lane[2]) + (lane[1] + lane[3])
}

/// Per dimension how far below and above the box of `points` the point lies; and the size of that box.
fn gaps(points: &[&Point], x: &[f32]) -> (Vec<(f64, f64)>, f64) {
    let low = |d: usize| f64::from(points.iter().map(|p| p[d]).fold(f32::INFINITY, f32::min));
    let high = |d: usize| f64::from(points.iter().map(|p| p[d]).fold(f32::NEG_INFINITY, f32::max));
    let gaps = (0..x.len())
        .map(|d| {
            (
                (low(d) - f64::from(x[d])).max(0.0),
                (f64::from(x[d]) - high(d)).max(0.0),
            )
        })
        .collect();
    (gaps, lanes((0..x.len()).map(|d| high(d) - low(d))))
}

fn excess(gaps: &[(f64, f64)]) -> f64 {
    lanes(gaps.iter().map(|(below, above)| below + above))
}

/// How likely a random cut of the box of `points` with the point in it separates the two, as scores take it.
fn separation(points: &[&Point], x: &[f32]) -> f32 {
    let low = |d: usize| points.iter().map(|p| p[d]).fold(f32::INFINITY, f32::min);
    let high = |d: usize| points.iter().map(|p| p[d]).fold(f32::NEG_INFINITY, f32::max);
    let excess = lanes((0..x.len()).map(|d| (low(d) - x[d]).max(0.0) + (x[d] - high(d)).max(0.0)));
    excess / (lanes((0..x.len()).map(|d| high(d) - low(d))) + excess)
}

impl Slow {
    fn points(&self) -> Vec<&Point> {
        match self {
            Slow::Leaf(point, _) => vec![point],
            Slow::Node { children, .. } => children.iter().flat_map(|child| child.points()).collect(),
        }
    }

    fn copies(&self, x: &[f32]) -> usize {
        match self {
            Slow::Leaf(point, mass) if point == x => *mass,
            Slow::Leaf(..) => 0,
            Slow::Node { children, .. } => children.iter().map(|child| child.copies(x)).sum(),
        }
    }

    fn insert(self, x: &[f32], known: bool, mut chance: f64) -> Slow {
        if let Slow::Leaf(point, mass) = &self
            && point == x
        {
            return Slow::Leaf(point.clone(), mass + 1);
        }
        let (outside, range) = gaps(&self.points(), x);
        let gap = excess(&outside);
        if !known && gap > 0.0 {
            let place = chance * (range + gap);
            if matches!(self, Slow::Leaf(..)) || place < gap {
                return self.split(x, &outside, place);
            }
            chance = (place - gap) / range;
        }
        match self {
            Slow::Leaf(..) => unreachable!("a point that differs from a leaf lies outside it"),
            Slow::Node {
                dimension,
                cut,
                children: [left, right],
            } => {
                let children = if x[dimension] <= cut {
                    [Box::new(left.insert(x, known, chance)), right]
                } else {
                    [left, Box::new(right.insert(x, known, chance))]
                };
                Slow::Node {
                    dimension,
                    cut,
                    children,
                }
            }
        }
    }

    fn split(self, x: &[f32], outside: &[(f64, f64)], mut place: f64) -> Slow {
        let last = outside
            .iter()
            .rposition(|(below, above)| below + above > 0.0)
            .expect("the point lies outside");
        let mut dimension = 0;
        while dimension < last && place >= outside[dimension].0 + outside[dimension].1 {
            place -= outside[dimension].0 + outside[dimension].1;
            dimension += 1;
        }
        let (below, above) = outside[dimension];
        let of_box = |pick: fn(f32, f32) -> f32| {
            self.points()
                .iter()
                .map(|p| p[dimension])
                .reduce(pick)
                .expect("never empty")
        };
        let (start, end) = if below > 0.0 {
            (x[dimension], of_box(f32::min))
        } else {
            (of_box(f32::max), x[dimension])
        };
        let cut = (f64::from(start) + place.min(below + above)) as f32;
        let cut = if cut < end { cut } else { start };
        let new = Box::new(Slow::Leaf(x.to_vec(), 1));
        let children = if below > 0.0 {
            [new, Box::new(self)]
        } else {
            [Box::new(self), new]
        };
        Slow::Node {
            dimension,
            cut,
            children,
        }
    }

    fn delete(self, x: &[f32]) -> Option<Slow> {
        match self {
            Slow::Leaf(_, 1) => None,
            Slow::Leaf(point, mass) => Some(Slow::Leaf(point, mass - 1)),
            Slow::Node {
                dimension,
                cut,
                children: [left, right],
            } => {
                let (left, right) = if x[dimension] <= cut {
                    (left.delete(x), Some(*right))
                } else {
                    (Some(*left), right.delete(x))
                };
                match (left, right) {
                    (Some(left), Some(right)) => Some(Slow::Node {
                        dimension,
                        cut,
                        children: [Box::new(left), Box::new(right)],
                    }),
                    (one, other) => one.or(other),
                }
            }
        }
    }

    /// The score and its parts per dimension and direction (low, high), before scaling.
    fn score(&self, x: &[f32], depth: usize, n: usize, scoring: Scoring, seen: bool) -> (f32, Vec<(f64, f64)>) {
        let unseen = 1.0 / (depth + 1) as f64;
        let others: Vec<&Point> = self.points().into_iter().filter(|point| *point != x).collect();
        let (below_here, parts) = match self {
            Slow::Leaf(_, mass) if seen => (seen_score(depth, *mass, n, scoring) as f32, vec![(0.0, 0.0); x.len()]),
            Slow::Leaf(..) => (unseen as f32, vec![(0.0, 0.0); x.len()]),
            Slow::Node {
                dimension,
                cut,
                children,
            } => children[usize::from(x[*dimension] > *cut)].score(x, depth + 1, n, scoring, seen),
        };
        if others.is_empty() {
            return (below_here, parts);
        }
        let (outside, range) = gaps(&others, x);
        let p = excess(&outside) / (range + excess(&outside));
        if p == 0.0 {
            return (below_here, parts);
        }
        let size = range + excess(&outside);
        let add = |(low, high): (f64, f64), (below, above): (f64, f64)| {
            (
                low * (1.0 - p) + below / size * unseen,
                high * (1.0 - p) + above / size * unseen,
            )
        };
        let parts = parts
            .into_iter()
            .zip(outside)
            .map(|(part, gap)| add(part, gap))
            .collect();
        let score = if seen || matches!(self, Slow::Leaf(..)) {
            below_here
        } else {
            below_here + separation(&others, x) * (unseen as f32 - below_here)
        };
        (score, parts)
    }
}

fn seen_score(depth: usize, mass: usize, n: usize, scoring: Scoring) -> f64 {
    let (d, m, n) = (depth as f64, mass as f64, n as f64);
    match scoring {
        Scoring::Aws => {
            let m = if mass > 1 { m - 1.0 } else { 1.0 };
            (1.0 - m / (2.0 * n)) / (d + libm::log2(1.0 + m))
        }
        Scoring::Kinesis if depth == 0 => 1.0 / (1.0 + n),
        Scoring::Kinesis => 1.0 / (d + libm::log2(m)),
    }
}

struct SlowTree {
    random: Random,
    root: Option<Slow>,
    sample: Vec<(f32, Point)>,
    since: u64,
    next: u64,
    /// Points taken in the cell.
    taken: u64,
    /// Two points had the same weight when one of them had to leave: which of them is chance.
    is_tied: bool,
}

impl SlowTree {
    fn update(&mut self, step: u64, x: &[f32], parameters: &Parameters) {
        if step < self.next {
            return;
        }
        let decay = 1.0 / parameters.time_decay as f64;
        let top = (0..self.sample.len())
            .max_by(|&a, &b| self.sample[a].0.total_cmp(&self.sample[b].0))
            .unwrap_or(0);
        let full = self.sample.len() == parameters.sample_size;
        let (weight, leaving) = self.sample.get(top).cloned().unwrap_or_default();
        let same = |other: &&(f32, Point)| other.0 == weight && other.1 != leaving;
        self.is_tied |= full && self.sample.iter().any(|other| same(&other));
        if full {
            self.root = self.root.take().expect("a full tree").delete(&self.sample[top].1);
        }
        let event = if full {
            cell(step, parameters).0 + self.taken
        } else {
            step
        };
        let uniform = |purpose| self.random.uniform(event, purpose);
        self.root = Some(match self.root.take() {
            None => Slow::Leaf(x.to_vec(), 1),
            Some(root) => {
                let known = root.copies(x) > 0;
                root.insert(x, known, uniform(Purpose::Cut))
            }
        });
        let passed = decay * (step - self.since) as f64;
        if passed > 64.0 {
            self.since = step;
            for (weight, _) in &mut self.sample {
                *weight = (f64::from(*weight) + passed) as f32;
            }
        }
        let decayed = decay * (step - self.since) as f64;
        if full {
            let limit = libm::exp(f64::from(self.sample[top].0) + decayed);
            let e = -libm::log1p(uniform(Purpose::Weight) * libm::expm1(-limit));
            self.sample[top] = ((libm::log(e) - decayed) as f32, x.to_vec());
        } else {
            let e = -libm::log(uniform(Purpose::Weight));
            self.sample.push(((libm::log(e) - decayed) as f32, x.to_vec()));
        }
        self.next = step + 1;
        if self.sample.len() == parameters.sample_size {
            self.taken = event + 1 - cell(step, parameters).0;
            self.wait(parameters, decay);
        }
    }

    fn wait(&mut self, parameters: &Parameters, decay: f64) {
        let weights = self.sample.iter().map(|(weight, _)| f64::from(*weight));
        let top = weights.fold(f64::NEG_INFINITY, f64::max);
        let mut before = cell(self.next - 1, parameters);
        for waited in 0.. {
            let now = cell(self.next, parameters);
            if now != before {
                self.taken = 0;
            }
            let e = -libm::log(self.random.uniform(now.0 + self.taken, Purpose::Wait));
            let growth = libm::log(e) + libm::log(libm::expm1(decay)) - (top + decay * (self.next - self.since) as f64);
            let next = self.next as f64 + libm::ceil(libm::log1p(libm::exp(growth)) / decay) - 1.0;
            let no_more_cells = waited == 64;
            if next < now.1 as f64 || no_more_cells {
                self.next = next as u64;
                return;
            }
            (self.next, before) = (now.1, now);
        }
    }
}

/// The first step of a step's cell, and the first one behind it.
fn cell(step: u64, parameters: &Parameters) -> (u64, u64) {
    let cells = (4 * parameters.sample_size as u64).next_power_of_two();
    let most = step.min(parameters.time_decay) / cells;
    let mut length = 1;
    while 2 * length <= most {
        length *= 2;
    }
    (step / length * length, (step / length + 1) * length)
}

/// A score, and its parts per dimension (low, high).
type SlowScore = (f64, Vec<(f64, f64)>);

/// Those of a whole stream; where one of two points of equal weight has to leave, of what is
/// before it, and `true`.
fn slowly(parameters: &Parameters, points: &[f32]) -> (Vec<SlowScore>, bool) {
    let n = parameters.sample_size;
    let points: Vec<f32> = points.iter().map(|value| coordinate(*value)).collect();
    let random = Random::new(parameters.seed, b"key", parameters.trees);
    let tree = |index| SlowTree {
        random: random.of_tree(index),
        root: None,
        sample: Vec::new(),
        since: 0,
        next: 0,
        taken: 0,
        is_tied: false,
    };
    let mut trees: Vec<SlowTree> = (0..parameters.trees).map(tree).collect();
    let norm = libm::log2(if parameters.scoring == Scoring::Aws { 1 + n } else { n } as f64) / parameters.trees as f64;
    let mut out = Vec::new();
    for (step, x) in points.chunks(parameters.dimensions()).enumerate() {
        if step >= n {
            let mut total = (0.0, vec![(0.0, 0.0); x.len()]);
            for tree in &trees {
                let root = tree.root.as_ref().expect("a full tree");
                let (score, parts) = root.score(x, 0, n, parameters.scoring, root.copies(x) > 0);
                let (score, sum) = (
                    f64::from(score),
                    parts.iter().map(|(low, high)| low + high).sum::<f64>(),
                );
                total.0 += on_grid(score);
                for (to, (low, high)) in total.1.iter_mut().zip(parts) {
                    let equal = score / (2 * x.len()) as f64;
                    to.0 += on_grid(if sum > 0.0 { low * score / sum } else { equal });
                    to.1 += on_grid(if sum > 0.0 { high * score / sum } else { equal });
                }
            }
            out.push((
                total.0 * norm,
                total.1.iter().map(|(low, high)| (low * norm, high * norm)).collect(),
            ));
        }
        trees
            .iter_mut()
            .for_each(|tree| tree.update(step as u64, x, parameters));
        if trees.iter().any(|tree| tree.is_tied) {
            return (out, true);
        }
    }
    (out, false)
}

fn assert_same(fast: &[Scored], slow: &(Vec<SlowScore>, bool), parameters: &Parameters) {
    let (learned, (slow, is_tied)) = (&fast[parameters.sample_size..], slow);
    assert!(learned.len() == slow.len() || *is_tied);
    for (fast, (score, parts)) in learned.iter().zip(slow) {
        assert_eq!(fast.score, Some(*score));
        let attribution = fast.attribution.as_ref().expect("the threshold is zero");
        for (measure, part) in attribution.parts.iter().enumerate() {
            let of_measure = || parts.iter().skip(measure).step_by(parameters.measures);
            let (low, high): (f64, f64) = (of_measure().map(|p| p.0).sum(), of_measure().map(|p| p.1).sum());
            assert!((part.low - low).abs() <= 1e-12 * score && (part.high - high).abs() <= 1e-12 * score);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_fast_forest_is_the_slow_one_to_the_bit(
        values in prop::collection::vec(prop_oneof![
            4 => (-3i8..4).prop_map(f32::from), 2 => -10f32..10.0, 1 => prop::sample::select(vec![1e38f32, -3e38, 1e-44, 0.0, -0.0])
        ], 400..1000),
        measures in prop_oneof![1 => Just(1usize), 3 => 1usize..7],
        shingle in prop_oneof![1 => Just(1usize), 2 => 1usize..5],
        most_often in proptest::option::of(1usize..4),
        decay in prop::sample::select(vec![5u64, 40, 100_000]),
        kinesis: bool,
        seed: u64,
    ) {
        let scoring = if kinesis { Scoring::Kinesis } else { Scoring::Aws };
        // one point that comes again and again has more copies than a link can tell
        let sample_size = if most_often.is_some() && measures * shingle == 1 { 90 } else { 16 };
        let values: Vec<f32> = values.into_iter().enumerate().map(|(at, value)| match most_often {
            Some(most_often) if at / (measures * shingle) % 4 < most_often => 1.0,
            _ => value,
        }).collect();
        let parameters = Parameters { trees: 3, sample_size, time_decay: decay, shingle, measures, scoring, seed, normalise: Normalise::None };
        let points = &values[..values.len() - values.len() % parameters.dimensions()];
        assert_same(&score_all(&parameters, points, 0.0), &slowly(&parameters, points), &parameters);
    }
}
