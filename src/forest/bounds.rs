//! Bounding boxes: the lows and the highs of points, and what a box and a point are to each other.
//!
//! A stored box is a row of floats: the lows, the highs, and its range, that is its size summed over the dimensions, which every
//! score asks for and only a change alters.
//!
//! Scores take differences and sums in `f32`: coordinates are bounded ([`coordinate`]), so that nothing overflows, and
//! differences of unequal floats are never 0. A sum over the dimensions is defined as four partial sums, of the dimensions 0, 4,
//! 8, …, of 1, 5, 9, … and so on, added as (0 + 2) + (1 + 3): fast with any vector width, and always the same bits. Where a tree
//! grows, and where a score is divided over its measures, the same is done in `f64`.

use std::borrow::Cow;
use std::ops::Add;

/// The largest coordinate there is: the sums of the widest boxes stay far from the largest float.
pub(super) const LARGEST: f32 = (1u128 << 100) as f32;

/// What a value counts as: the nearest that is at most [`LARGEST`] in size, and 0 without a sign.
#[inline(always)]
pub(super) fn coordinate(value: f32) -> f32 {
    value.clamp(-LARGEST, LARGEST) + 0.0
}

/// What the values of points count as; copied only where that is something else.
pub(super) fn coordinates(points: &[f32]) -> Cow<'_, [f32]> {
    let same = |value: &f32| coordinate(*value).to_bits() == value.to_bits();
    // all are looked at, without a branch
    match points.iter().fold(true, |all, value| all & same(value)) {
        true => Cow::Borrowed(points),
        false => Cow::Owned(points.iter().map(|value| coordinate(*value)).collect()),
    }
}

/// Floats that a stored box takes.
#[inline(always)]
pub(super) const fn width(dimensions: usize) -> usize {
    2 * dimensions + 1
}

/// The range, the lows and the highs of a stored box.
#[inline(always)]
pub(super) fn parts(stored: &[f32]) -> (f32, &[f32], &[f32]) {
    let (lows, rest) = stored.split_at(stored.len() / 2);
    let (highs, range) = rest.split_at(lows.len());
    (range[0], lows, highs)
}

#[inline(always)]
fn parts_mut(stored: &mut [f32]) -> (&mut f32, &mut [f32], &mut [f32]) {
    let (lows, rest) = stored.split_at_mut(stored.len() / 2);
    let (highs, range) = rest.split_at_mut(lows.len());
    (&mut range[0], lows, highs)
}

/// Sets a stored box.
pub(super) fn set(stored: &mut [f32], side: impl Fn(usize) -> (f32, f32)) {
    let (_, lows, highs) = parts_mut(stored);
    for (dimension, (low, high)) in lows.iter_mut().zip(highs.iter_mut()).enumerate() {
        (*low, *high) = side(dimension);
    }
    measure(stored);
}

/// Sets a stored box's range, once its lows and highs have changed.
pub(super) fn measure(stored: &mut [f32]) {
    let (range, lows, highs) = parts_mut(stored);
    *range = self::range((lows, highs));
}

/// How far a point lies outside a box, and how large the box is; both summed over the dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    pub(super) excess: f64,
    pub(super) range: f64,
}

#[inline(always)]
fn positive(value: f64) -> f64 {
    if value > 0.0 { value } else { 0.0 }
}

/// The gap between a box and a point in one dimension: how far the point is below the box, and how far above.
#[inline(always)]
pub(super) fn gap(low: f32, high: f32, x: f32) -> (f64, f64) {
    (
        positive(f64::from(low) - f64::from(x)),
        positive(f64::from(x) - f64::from(high)),
    )
}

#[inline(always)]
pub(super) fn reach((lows, highs): (&[f32], &[f32]), point: &[f32]) -> Reach {
    let (mut excess, mut range) = ([0.0; 4], [0.0; 4]);
    let mut add = |lane: usize, low: f32, high: f32, x: f32| {
        let (below, above) = gap(low, high, x);
        excess[lane] += below + above;
        range[lane] += f64::from(high) - f64::from(low);
    };
    let (lows, low_rest) = lows.as_chunks::<4>();
    let (highs, high_rest) = highs.as_chunks::<4>();
    let (quads, rest) = point.as_chunks::<4>();
    for ((x, low), high) in quads.iter().zip(lows).zip(highs) {
        for lane in 0..4 {
            add(lane, low[lane], high[lane], x[lane]);
        }
    }
    // lane by lane, so that the sums need not leave their registers
    for lane in 0..3 {
        if let (Some(&low), Some(&high), Some(&x)) = (low_rest.get(lane), high_rest.get(lane), rest.get(lane)) {
            add(lane, low, high, x);
        }
    }
    Reach {
        excess: total(excess),
        range: total(range),
    }
}

/// How far a point lies outside a box, summed over the dimensions.
#[inline(always)]
pub(super) fn excess((lows, highs): (&[f32], &[f32]), point: &[f32]) -> f32 {
    let mut sums = [0.0; 4];
    let (lows, low_rest) = lows.as_chunks::<4>();
    let (highs, high_rest) = highs.as_chunks::<4>();
    let (quads, rest) = point.as_chunks::<4>();
    for ((x, low), high) in quads.iter().zip(lows).zip(highs) {
        for lane in 0..4 {
            sums[lane] += outside(low[lane], high[lane], x[lane]);
        }
    }
    for (lane, ((&x, &low), &high)) in rest.iter().zip(low_rest).zip(high_rest).enumerate() {
        sums[lane] += outside(low, high, x);
    }
    total(sums)
}

/// How large a box is, summed over the dimensions.
#[inline(always)]
fn range((lows, highs): (&[f32], &[f32])) -> f32 {
    let mut sums = [0.0; 4];
    let (lows, low_rest) = lows.as_chunks::<4>();
    let (highs, high_rest) = highs.as_chunks::<4>();
    for (low, high) in lows.iter().zip(highs) {
        for lane in 0..4 {
            sums[lane] += high[lane] - low[lane];
        }
    }
    for (sum, (low, high)) in sums.iter_mut().zip(low_rest.iter().zip(high_rest)) {
        *sum += high - low;
    }
    total(sums)
}

/// How far a value is below or above a range, 0 within: its distance from the nearest value in the range.
#[inline(always)]
fn outside(low: f32, high: f32, x: f32) -> f32 {
    let raised = if x > low { x } else { low };
    let nearest = if raised < high { raised } else { high };
    (x - nearest).abs()
}

#[inline(always)]
fn total<T: Copy + Add<Output = T>>(lanes: [T; 4]) -> T {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// Widens a stored box so that it holds the point.
pub(super) fn widen(stored: &mut [f32], point: &[f32]) {
    let (_, lows, highs) = parts_mut(stored);
    for ((low, high), &x) in lows.iter_mut().zip(highs.iter_mut()).zip(point) {
        *low = if x < *low { x } else { *low };
        *high = if x > *high { x } else { *high };
    }
    measure(stored);
}
