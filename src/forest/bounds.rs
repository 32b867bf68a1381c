//! Bounding boxes: the lows and the highs of points, stored as a row of `2 × dimensions` floats, the lows first.
//!
//! Differences and sums are taken in `f64`, where no pair of finite `f32` overflows or underflows. A sum over the dimensions is
//! defined as four partial sums, of the dimensions 0, 4, 8, …, of 1, 5, 9, … and so on, added as (0 + 2) + (1 + 3): fast with
//! any vector width, and always the same bits.

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
    let (mut excess, mut range) = ([0.0; 4], [0.0; 4]);
    let (lows, low_rest) = lows.as_chunks::<4>();
    let (highs, high_rest) = highs.as_chunks::<4>();
    let (quads, rest) = point.as_chunks::<4>();
    for ((x, low), high) in quads.iter().zip(lows).zip(highs) {
        let (x, low, high) = (x.map(f64::from), low.map(f64::from), high.map(f64::from));
        for lane in 0..4 {
            excess[lane] += outside(low[lane], high[lane], x[lane]);
            range[lane] += high[lane] - low[lane];
        }
    }
    for (lane, ((&x, &low), &high)) in rest.iter().zip(low_rest).zip(high_rest).enumerate() {
        let (x, low, high) = (f64::from(x), f64::from(low), f64::from(high));
        excess[lane] += outside(low, high, x);
        range[lane] += high - low;
    }
    Reach {
        excess: total(excess),
        range: total(range),
    }
}

/// How far a value is below or above a range; 0 within.
#[inline(always)]
fn outside(low: f64, high: f64, x: f64) -> f64 {
    let (below, above) = (low - x, x - high);
    positive(if below > above { below } else { above })
}

#[inline(always)]
fn total(lanes: [f64; 4]) -> f64 {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// Widens a stored box so that it holds the point.
pub(super) fn widen(bounds: &mut [f32], point: &[f32]) {
    let (lows, highs) = bounds.split_at_mut(point.len());
    for ((low, high), &x) in lows.iter_mut().zip(highs).zip(point) {
        *low = if x < *low { x } else { *low };
        *high = if x > *high { x } else { *high };
    }
}
