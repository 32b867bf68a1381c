//! Bounding boxes: the lows and the highs of points, and what a box and a point are to each other.
//!
//! A stored box is a row of `1 + dimensions` doubles: its range, that is its size summed over the dimensions, which every score
//! asks for and only a change alters; then `2 × dimensions` floats, two to a double, the lows first.
//!
//! Differences and sums are taken in `f64`, where no pair of finite `f32` overflows or underflows. A sum over the dimensions is
//! defined as four partial sums, of the dimensions 0, 4, 8, …, of 1, 5, 9, … and so on, added as (0 + 2) + (1 + 3): fast with
//! any vector width, and always the same bits.

/// Doubles that a stored box takes.
#[inline(always)]
pub(super) const fn width(dimensions: usize) -> usize {
    1 + dimensions
}

/// The range, the lows and the highs of a stored box.
#[inline(always)]
pub(super) fn parts(stored: &[f64]) -> (f64, &[f32], &[f32]) {
    let (range, sides) = stored.split_at(1);
    let (lows, highs) = bytemuck::cast_slice(sides).split_at(sides.len());
    (range[0], lows, highs)
}

/// Sets a stored box; says whether that changed it.
pub(super) fn set(stored: &mut [f64], side: impl Fn(usize) -> (f32, f32)) -> bool {
    let (range, sides) = stored.split_at_mut(1);
    let dimensions = sides.len();
    let (lows, highs) = bytemuck::cast_slice_mut::<f64, f32>(sides).split_at_mut(dimensions);
    let mut changed = false;
    for (dimension, (own_low, own_high)) in lows.iter_mut().zip(highs.iter_mut()).enumerate() {
        let (low, high) = side(dimension);
        changed |= *own_low != low || *own_high != high;
        (*own_low, *own_high) = (low, high);
    }
    if changed {
        range[0] = self::range((lows, highs));
    }
    changed
}

/// How far a point lies outside a box, and how large the box is; both summed over the dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    pub(super) excess: f64,
    pub(super) range: f64,
}

impl Reach {
    /// The probability that a random cut of the box with the point in it separates the two: the score's p.
    #[inline(always)]
    pub(super) fn separation(self) -> f64 {
        self.excess / (self.range + self.excess)
    }
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
    Reach {
        excess: excess((lows, highs), point),
        range: range((lows, highs)),
    }
}

/// How far a point lies outside a box, summed over the dimensions.
#[inline(always)]
pub(super) fn excess((lows, highs): (&[f32], &[f32]), point: &[f32]) -> f64 {
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
pub(super) fn range((lows, highs): (&[f32], &[f32])) -> f64 {
    let mut sums = [0.0; 4];
    for (at, (&low, &high)) in lows.iter().zip(highs).enumerate() {
        sums[at % 4] += f64::from(high) - f64::from(low);
    }
    total(sums)
}

/// How far a value is below or above a range, 0 within: its distance from the nearest value in the range.
#[inline(always)]
fn outside(low: f32, high: f32, x: f32) -> f64 {
    let raised = if x > low { x } else { low };
    let nearest = if raised < high { raised } else { high };
    (f64::from(x) - f64::from(nearest)).abs()
}

#[inline(always)]
fn total(lanes: [f64; 4]) -> f64 {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// Widens a stored box so that it holds the point.
pub(super) fn widen(stored: &mut [f64], point: &[f32]) {
    let (range, sides) = stored.split_at_mut(1);
    let (lows, highs) = bytemuck::cast_slice_mut::<f64, f32>(sides).split_at_mut(point.len());
    for ((low, high), &x) in lows.iter_mut().zip(highs.iter_mut()).zip(point) {
        *low = if x < *low { x } else { *low };
        *high = if x > *high { x } else { *high };
    }
    range[0] = self::range((lows, highs));
}
