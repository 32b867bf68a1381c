//! What a forest and its memories have learned comes back whole from bytes, and from no other bytes.

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::super::{DeviceMemory, KeyMemory, StateError};
use super::{Forest, Normalise, Parameters, Scored, Scoring, score_all};

fn small(measures: usize, shingle: usize, sample_size: usize, time_decay: u64) -> Parameters {
    Parameters {
        trees: 3,
        sample_size,
        time_decay,
        shingle,
        measures,
        scoring: Scoring::Kinesis,
        seed: 11,
        normalise: Normalise::Standardise,
    }
}

fn state_of(forest: &Forest) -> Vec<u8> {
    let mut bytes = Vec::new();
    forest.write_state(&mut bytes);
    bytes
}

/// A measure as it comes: often a repeated value, at times missing.
fn measure() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-3i8..4).prop_map(f64::from),
        2 => -1000f64..1000.0,
        2 => Just(f64::NAN),
        1 => prop::sample::select(vec![0.0, -0.0, 1e300, -1e300, 1e-45, 3e38]),
    ]
}

/// A forest with the memories that make its points, as a dataflow keeps them.
#[derive(Clone)]
struct Learner {
    parameters: Parameters,
    forest: Forest,
    key: KeyMemory,
    devices: Vec<DeviceMemory>,
}

impl Learner {
    fn new(parameters: Parameters) -> Learner {
        let device = DeviceMemory::new(parameters.measures, parameters.shingle);
        Learner {
            forest: Forest::new(&parameters, b"key"),
            key: KeyMemory::new(&parameters),
            devices: vec![device; 3],
            parameters,
        }
    }

    fn take(&mut self, readings: &[(usize, [f64; 2])]) -> Vec<Scored> {
        let mut points = Vec::new();
        for (device, measures) in readings {
            points.extend_from_slice(self.devices[*device].point(measures, &mut self.key).unwrap_or_default());
        }
        let mut out = Vec::new();
        self.forest.score_batch(&points, 1.0, &mut out);
        out
    }

    fn restored(&self) -> Result<Learner, StateError> {
        let Parameters { measures, shingle, .. } = self.parameters;
        let mut key = Vec::new();
        self.key.write_state(&mut key);
        let devices = self.devices.iter().map(|device| {
            let mut bytes = Vec::new();
            device.write_state(&mut bytes);
            DeviceMemory::read_state(measures, shingle, &bytes)
        });
        Ok(Learner {
            forest: Forest::read_state(&self.parameters, b"key", &state_of(&self.forest))?,
            key: KeyMemory::read_state(&self.parameters, &key)?,
            devices: devices.collect::<Result<_, _>>()?,
            parameters: self.parameters.clone(),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_restored_says_the_same_as_what_was_never_saved(
        readings in prop::collection::vec((0usize..3, [measure(), measure()]), 1..400),
        at in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        shingle in 1usize..4,
        decay in prop::sample::select(vec![5u64, 40, 100_000]),
    ) {
        let parameters = small(2, shingle, 16, decay);
        let mut never_saved = Learner::new(parameters);
        let mut restored = never_saved.restored().expect("its own state");
        let mut cuts: Vec<usize> = at.iter().map(|at| at.index(readings.len())).collect();
        cuts.push(readings.len());
        cuts.sort_unstable();
        let mut from = 0;
        for until in cuts {
            prop_assert_eq!(restored.take(&readings[from..until]), never_saved.take(&readings[from..until]));
            restored = restored.restored().expect("its own state");
            prop_assert!(!restored.forest.take_changed() && !restored.key.take_changed());
            let one = state_of(&restored.forest);
            prop_assert_eq!(&one, &state_of(&restored.restored().expect("its own state").forest));
            prop_assert_eq!(&one, &state_of(&never_saved.forest), "the state does not tell how often it was saved");
            from = until;
        }
    }

    #[test]
    fn no_bytes_make_a_forest_panic(
        points in prop::collection::vec((-3i8..4).prop_map(f32::from), 0..120),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..4),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        whole: bool,
    ) {
        let parameters = small(2, 1, 10, 40);
        let mut forest = Forest::new(&parameters, b"key");
        forest.score_batch(&points, f64::INFINITY, &mut Vec::new());
        let mut bytes = state_of(&forest);
        let mut key = Learner::new(parameters.clone());
        key.take(&[(0, [1.0, f64::NAN])]);
        let (mut of_key, mut of_device) = (Vec::new(), Vec::new());
        key.key.write_state(&mut of_key);
        key.devices[0].write_state(&mut of_device);
        for bytes in [&mut bytes, &mut of_key, &mut of_device] {
            for (at, to, how) in &changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes.insert(at, *to),
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    2 => bytes[at] ^= 1 << (to % 8),
                    _ => bytes[at] = *to,
                }
            }
            if let Some(cut) = &cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            // with a checksum that fits, the content itself must stand the test
            if whole && let Some(content) = bytes.len().checked_sub(8) {
                let checksum = xxh3_64(&bytes[..content]);
                bytes[content..].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        if let Ok(mut read) = Forest::read_state(&parameters, b"key", &bytes) {
            let more: Vec<f32> = (0..200u8).map(|i| f32::from(i % 7)).collect();
            read.score_batch(&more, 0.5, &mut Vec::new());
            state_of(&read);
        }
        if let (Ok(mut key), Ok(mut device)) =
            (KeyMemory::read_state(&small(2, 1, 12, 40), &of_key), DeviceMemory::read_state(2, 1, &of_device))
        {
            let point = device.point(&[f64::NAN, f64::NAN], &mut key);
            prop_assert!(point.is_some_and(|point| point.iter().all(|value| value.is_finite())));
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let parameters = small(2, 1, 10, 40);
        prop_assert!(Forest::read_state(&parameters, b"key", &bytes).is_err());
        prop_assert!(KeyMemory::read_state(&small(2, 1, 12, 40), &bytes).is_err());
        prop_assert!(DeviceMemory::read_state(2, 1, &bytes).is_err());
    }
}

#[test]
fn a_state_of_another_forest_or_a_later_version_is_refused_by_name() {
    let parameters = small(2, 1, 10, 40);
    let mut forest = Forest::new(&parameters, b"key");
    forest.score_batch(&[1.0; 60], f64::INFINITY, &mut Vec::new());
    let mut bytes = state_of(&forest);
    let read = |parameters: &Parameters, key: &[u8], bytes: &[u8]| Forest::read_state(parameters, key, bytes).map(drop);
    assert_eq!(read(&parameters, b"key", &bytes), Ok(()));
    assert_eq!(read(&parameters, b"other", &bytes), Err(StateError::Other));
    for other in [
        small(1, 2, 10, 40),
        small(2, 1, 11, 40),
        small(2, 1, 10, 41),
        Parameters {
            seed: 12,
            ..parameters.clone()
        },
        Parameters {
            trees: 4,
            ..parameters.clone()
        },
    ] {
        assert_eq!(read(&other, b"key", &bytes), Err(StateError::Other), "{other:?}");
    }
    let scoring = Parameters {
        scoring: Scoring::Aws,
        ..parameters.clone()
    };
    assert_eq!(
        read(&scoring, b"key", &bytes),
        Ok(()),
        "both scorings have the same trees"
    );

    bytes[1] = 9;
    assert_eq!(
        read(&parameters, b"key", &bytes),
        Err(StateError::Damaged),
        "the checksum comes first"
    );
    let content = bytes.len() - 8;
    let checksum = xxh3_64(&bytes[..content]);
    bytes[content..].copy_from_slice(&checksum.to_le_bytes());
    let error = read(&parameters, b"key", &bytes).expect_err("a later format");
    assert_eq!(
        error.to_string(),
        "the forest's state has format 9, and this version knows up to 2; use the version that wrote it, or a later one"
    );
}

/// The first format, of trees that counted what they had drawn: they go on from where they were.
#[test]
fn a_state_of_the_first_format_is_read() {
    let parameters = small(2, 1, 16, 40);
    let points: Vec<f32> = (0..400u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32)
        .collect();
    let mut forest = Forest::new(&parameters, b"key");
    forest.score_batch(&points, f64::INFINITY, &mut Vec::new());
    let mut bytes = state_of(&forest);
    bytes[1] = 1;
    let content = bytes.len() - 8;
    let checksum = xxh3_64(&bytes[..content]);
    bytes[content..].copy_from_slice(&checksum.to_le_bytes());
    let mut read = Forest::read_state(&parameters, b"key", &bytes).expect("an older state");
    for (read, own) in read.trees.iter().zip(&forest.trees) {
        assert_eq!(read.sampler.weights, own.sampler.weights);
        assert_eq!(read.sampler.next(), own.sampler.next());
    }
    let mut again = Forest::read_state(&parameters, b"key", &state_of(&read)).expect("its own state");
    let (mut expected, mut out) = (Vec::new(), Vec::new());
    read.score_batch(&points, 0.0, &mut expected);
    again.score_batch(&points, 0.0, &mut out);
    assert_eq!(out, expected);
    assert!(out.iter().all(|scored| scored.score.is_some()));
}

#[test]
fn trees_of_more_dimensions_than_links_tell_apart_come_back_whole() {
    let parameters = Parameters {
        normalise: Normalise::None,
        ..small(40, 2, 16, 50)
    };
    let points: Vec<f32> = (0..60 * 80u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32)
        .collect();
    let (first, second) = points.split_at(30 * 80);
    let mut forest = Forest::new(&parameters, b"key");
    forest.score_batch(first, f64::INFINITY, &mut Vec::new());
    let mut restored = Forest::read_state(&parameters, b"key", &state_of(&forest)).expect("its own state");
    let (mut expected, mut out) = (Vec::new(), Vec::new());
    forest.score_batch(second, 0.0, &mut expected);
    restored.score_batch(second, 0.0, &mut out);
    assert_eq!(out, expected);
    assert_eq!(state_of(&restored), state_of(&forest));
}

#[test]
fn only_what_took_points_has_changed() {
    let mut learner = Learner::new(small(2, 2, 10, 40));
    assert!(learner.forest.take_changed() && learner.key.take_changed() && learner.devices[1].take_changed());
    assert!(!learner.forest.take_changed() && !learner.key.take_changed() && !learner.devices[1].take_changed());
    learner.take(&[(0, [1.0, 2.0])]);
    assert!(learner.key.take_changed() && learner.devices[0].take_changed() && !learner.devices[1].take_changed());
    assert!(!learner.forest.take_changed(), "the shingle is not full yet");
    learner.take(&[(0, [1.0, 2.0])]);
    assert!(learner.forest.take_changed() && !learner.forest.take_changed());
}

#[test]
fn a_state_is_little_more_than_points_cuts_and_weights() {
    let parameters = super::parameters(5, Scoring::Kinesis, 1);
    let points: Vec<f32> = (0..5 * 3000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32)
        .collect();
    let mut forest = Forest::new(&parameters, b"key");
    assert!(state_of(&forest).len() < 1000, "an empty forest's state is small");
    forest.score_batch(&points, f64::INFINITY, &mut Vec::new());
    let bytes = state_of(&forest).len();
    assert!((800_000..1_000_000).contains(&bytes), "{bytes}");
    assert_eq!(score_all(&parameters, &points, 9.0).len(), 3000);
}
