//! Missing measures, filled in before the forest sees them. In: a reading's measures with NaN for missing; out: a point.
//!
//! A missing measure takes the device's last known value of it; if there is none, the mean of what the key's readings had so
//! far; if there is none either, 0. The choice depends on the order of the readings alone. A reading without any measure is
//! not given here (nor to the forest). If the parameters say so, measures are then brought to one scale.

use super::parameters::{Normalise, Parameters};
use super::shingle::Shingle;
use super::standard::Moments;

/// What a key's readings have had: sums and counts of the known values of each measure, in the readings' order.
#[derive(Clone, Debug)]
pub struct KeyMemory {
    pub(super) known: Box<[Known]>,
    /// Of each measure, where they are brought to one scale.
    pub(super) moments: Option<Box<[Moments]>>,
    /// The part of their weight that the moments keep from reading to reading.
    keep: f64,
    pub(super) changed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl KeyMemory {
    /// Nothing known yet of any of the measures.
    pub fn new(parameters: &Parameters) -> KeyMemory {
        let measures = parameters.measures;
        KeyMemory {
            known: vec![Known::default(); measures].into_boxed_slice(),
            moments: match parameters.normalise {
                Normalise::None => None,
                Normalise::Standardise => Some(vec![Moments::default(); measures].into_boxed_slice()),
            },
            keep: 1.0 - 1.0 / parameters.time_decay.max(1) as f64,
            changed: true,
        }
    }

    /// Whether the memory may have changed since this was last asked. A new one has, one just read from its state has not.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// What a device has sent: the last known value of each measure, and the rows of its shingle.
#[derive(Clone, Debug)]
pub struct DeviceMemory {
    /// NaN where no value is known.
    pub(super) last: Box<[f32]>,
    pub(super) shingle: Shingle,
    pub(super) changed: bool,
}

impl DeviceMemory {
    /// Nothing known yet of any of the measures; `shingle` readings make a point.
    pub fn new(measures: usize, shingle: usize) -> DeviceMemory {
        DeviceMemory {
            last: vec![f32::NAN; measures].into_boxed_slice(),
            shingle: Shingle::new(measures, shingle),
            changed: true,
        }
    }

    /// Whether the memory may have changed since this was last asked. A new one has, one just read from its state has not.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes a reading's measures (NaN: missing) and gives the point for the forest, measures × shingle finite values; `None`
    /// while the shingle fills. Values beyond the range of `f32` count as its ends.
    pub fn point(&mut self, measures: &[f64], key: &mut KeyMemory) -> Option<&[f32]> {
        (self.changed, key.changed) = (true, true);
        let KeyMemory {
            known, moments, keep, ..
        } = key;
        let row = measures
            .iter()
            .zip(&mut self.last)
            .zip(known)
            .enumerate()
            .map(|(n, ((&value, last), known))| {
                let mut moments = moments.as_mut().map(|moments| &mut moments[n]);
                let filled = if !value.is_nan() {
                    let value = value.clamp(f32::MIN.into(), f32::MAX.into());
                    known.sum += value;
                    known.count += 1;
                    *last = value as f32;
                    if let Some(moments) = &mut moments {
                        moments.take(value, *keep);
                    }
                    value
                } else if !last.is_nan() {
                    f64::from(*last)
                } else if known.count > 0 {
                    known.sum / known.count as f64
                } else {
                    0.0
                };
                moments.map_or(filled, |moments| moments.standard(filled)) as f32
            });
        self.shingle.push(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::Scoring;

    const MISSING: f64 = f64::NAN;

    fn key(measures: usize, normalise: Normalise) -> KeyMemory {
        KeyMemory::new(&Parameters {
            trees: 1,
            sample_size: 10,
            time_decay: 1000,
            shingle: 1,
            measures,
            scoring: Scoring::Kinesis,
            seed: 1,
            normalise,
        })
    }

    #[test]
    fn a_missing_measure_is_the_devices_last_then_the_keys_mean_then_zero() {
        let mut key = key(2, Normalise::None);
        let (mut first, mut second) = (DeviceMemory::new(2, 1), DeviceMemory::new(2, 1));
        assert_eq!(first.point(&[36.0, MISSING], &mut key), Some(&[36.0, 0.0][..]));
        assert_eq!(first.point(&[38.0, 70.0], &mut key), Some(&[38.0, 70.0][..]));
        assert_eq!(
            second.point(&[MISSING, 90.0], &mut key),
            Some(&[37.0, 90.0][..]),
            "the mean of 36 and 38"
        );
        assert_eq!(
            first.point(&[MISSING, 60.0], &mut key),
            Some(&[38.0, 60.0][..]),
            "the device's own last value"
        );
        // a mean that was filled in is not remembered as a value of the device
        assert_eq!(first.point(&[40.0, MISSING], &mut key), Some(&[40.0, 60.0][..]));
        assert_eq!(
            second.point(&[MISSING, 91.0], &mut key),
            Some(&[38.0, 91.0][..]),
            "the mean of 36, 38 and 40"
        );
    }

    #[test]
    fn values_too_large_for_the_forest_become_the_largest() {
        let (mut key, mut device) = (key(2, Normalise::None), DeviceMemory::new(2, 1));
        let point = device.point(&[1e300, f64::NEG_INFINITY], &mut key);
        assert_eq!(point, Some(&[f32::MAX, f32::MIN][..]));
        let mut other = DeviceMemory::new(2, 1);
        assert_eq!(
            other.point(&[MISSING, MISSING], &mut key),
            Some(&[f32::MAX, f32::MIN][..])
        );
    }

    #[test]
    fn shingles_are_filled_per_device() {
        let mut key = key(1, Normalise::None);
        let (mut first, mut second) = (DeviceMemory::new(1, 2), DeviceMemory::new(1, 2));
        assert_eq!(first.point(&[1.0], &mut key), None);
        assert_eq!(second.point(&[5.0], &mut key), None);
        assert_eq!(first.point(&[MISSING], &mut key), Some(&[1.0, 1.0][..]));
        assert_eq!(second.point(&[6.0], &mut key), Some(&[5.0, 6.0][..]));
    }

    #[test]
    fn measures_come_to_one_scale_and_a_missing_one_is_not_strange() {
        let mut key = key(2, Normalise::Standardise);
        let mut device = DeviceMemory::new(2, 1);
        for n in 0..1000 {
            device.point(&[f64::from(n % 7), 1e6 * f64::from(n % 5)], &mut key);
        }
        let mut far = |measures: [f64; 2]| {
            let mut fresh = DeviceMemory::new(2, 1);
            let point = fresh.point(&measures, &mut key).expect("a shingle of one");
            (point[0], point[1])
        };
        let (first, second) = far([6.0, 4e6]);
        assert!(
            (first - 1.5).abs() < 0.1 && (second - 1.4).abs() < 0.1,
            "{first} {second}"
        );
        let (missing, _) = far([MISSING, 0.0]);
        assert!(missing.abs() < 0.05, "the mean of the key's: {missing}");
    }
}
