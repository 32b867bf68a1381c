//! What a forest and its memories have learned comes back whole from bytes, and from no other bytes.

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::super::state::write_number;
use super::super::{DeviceMemory, ForestPart, KeyMemory, Part, Spare, StateError, Whole};
use super::{Normalise, Parameters, Scoring};

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

/// All trees of a key, and how many points they have seen.
#[derive(Clone)]
struct Trees {
    part: ForestPart,
    seen: u64,
    dimensions: usize,
}

impl Trees {
    fn new(parameters: &Parameters) -> Trees {
        Trees {
            part: ForestPart::new(parameters, b"key", 0..parameters.trees),
            seen: 0,
            dimensions: parameters.dimensions(),
        }
    }

    /// What they say of points, as bits: shares of scores, then of all attributions; and they take them in.
    fn take(&mut self, points: &[f32]) -> Vec<u64> {
        let (mut said, mut spare) = (Vec::new(), Spare::default());
        if points.is_empty() {
            return Vec::new();
        }
        let mut before = self.part.score(self.seen, points.to_vec(), Some(&mut spare), &mut said);
        self.part.settle(before.as_mut(), &mut spare);
        let scored: Vec<usize> = (0..said.len()).filter(|row| !said[*row].is_nan()).collect();
        for row in scored {
            let before = before.as_mut().expect("kept where there is a score");
            let mut parts = vec![Part::default(); self.part.forest.measures];
            self.part.add_attribution(before, row, [].into_iter(), &mut parts);
            said.extend(parts.iter().flat_map(|part| [part.high, part.low]));
        }
        self.seen += (points.len() / self.dimensions) as u64;
        said.into_iter().map(f64::to_bits).collect()
    }

    /// How many have taken a point since this was last asked.
    fn changed(&mut self) -> usize {
        let mut changed = 0;
        self.part.write_changed(usize::MAX, |_, _| changed += 1);
        changed
    }

    fn state(&self) -> Vec<(usize, Vec<u8>)> {
        let mut states = Vec::new();
        self.part.write_all(|index, state| states.push((index, state)));
        states
    }

    fn restored(
        parameters: &Parameters,
        key: &[u8],
        seen: u64,
        state: &[(usize, Vec<u8>)],
    ) -> Result<Trees, StateError> {
        let mut part = ForestPart::new(parameters, key, 0..parameters.trees);
        for (index, state) in state {
            part.read_tree(*index, state)?;
        }
        part.check(seen)?;
        let dimensions = parameters.dimensions();
        Ok(Trees { part, seen, dimensions })
    }
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
    trees: Trees,
    key: KeyMemory,
    devices: Vec<DeviceMemory>,
}

impl Learner {
    fn new(parameters: Parameters) -> Learner {
        let device = DeviceMemory::new(parameters.measures, parameters.shingle);
        Learner {
            trees: Trees::new(&parameters),
            key: KeyMemory::new(&parameters),
            devices: vec![device; 3],
            parameters,
        }
    }

    fn take(&mut self, readings: &[(usize, [f64; 2])]) -> Vec<u64> {
        let mut points = Vec::new();
        for (device, measures) in readings {
            points.extend_from_slice(self.devices[*device].point(measures, &mut self.key).unwrap_or_default());
        }
        self.trees.take(&points)
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
            trees: Trees::restored(&self.parameters, b"key", self.trees.seen, &self.trees.state())?,
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
            prop_assert!(restored.trees.changed() == 0 && !restored.key.take_changed());
            let one = restored.trees.state();
            prop_assert_eq!(&one, &restored.restored().expect("its own state").trees.state());
            prop_assert_eq!(&one, &never_saved.trees.state(), "the state does not tell how often it was saved");
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
        let mut trees = Trees::new(&parameters);
        trees.take(&points[..points.len() / 2 * 2]);
        let mut bytes = trees.state().pop().map_or_else(Vec::new, |(_, state)| state);
        let mut key = Learner::new(parameters.clone());
        key.take(&[(0, [1.0, f64::NAN])]);
        let (mut of_key, mut of_device) = (Vec::new(), Vec::new());
        key.key.write_state(&mut of_key);
        key.devices[0].write_state(&mut of_device);
        for bytes in [&mut bytes, &mut of_key, &mut of_device].into_iter().filter(|bytes| !bytes.is_empty()) {
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
        let mut read = ForestPart::new(&parameters, b"key", 2..3);
        if read.read_tree(2, &bytes).is_ok() {
            let mut trees = Trees { part: read, seen: trees.seen, dimensions: 2 };
            trees.take(&(0..200u8).map(|i| f32::from(i % 7)).collect::<Vec<_>>());
            trees.state();
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
        prop_assert!(ForestPart::new(&parameters, b"key", 0..3).read_tree(0, &bytes).is_err());
        prop_assert!(KeyMemory::read_state(&small(2, 1, 12, 40), &bytes).is_err());
        prop_assert!(DeviceMemory::read_state(2, 1, &bytes).is_err());
    }
}

#[test]
fn a_state_of_another_forest_or_a_later_version_is_refused_by_name() {
    let parameters = small(2, 1, 10, 40);
    let mut trees = Trees::new(&parameters);
    trees.take(&[1.0; 60]);
    let (index, mut bytes) = trees.state().remove(1);
    let read_as = |parameters: &Parameters, key: &[u8], index: usize, bytes: &[u8]| {
        ForestPart::new(parameters, key, 0..parameters.trees).read_tree(index, bytes)
    };
    let read = |parameters: &Parameters, key: &[u8], bytes: &[u8]| read_as(parameters, key, index, bytes);
    assert_eq!(read(&parameters, b"key", &bytes), Ok(()));
    assert_eq!(read(&parameters, b"other", &bytes), Err(StateError::Other));
    assert_eq!(
        read_as(&parameters, b"key", 0, &bytes),
        Err(StateError::Other),
        "another tree's"
    );
    for other in [
        small(1, 2, 10, 40),
        small(2, 1, 11, 40),
        small(2, 1, 10, 41),
        Parameters {
            seed: 12,
            ..parameters.clone()
        },
    ] {
        assert_eq!(read(&other, b"key", &bytes), Err(StateError::Other), "{other:?}");
    }
    let same_trees = Parameters {
        scoring: Scoring::Aws,
        trees: 4,
        ..parameters.clone()
    };
    assert_eq!(read(&same_trees, b"key", &bytes), Ok(()));

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

/// What the first format made of the two trees of a forest that had taken in a hundred points, but for the frame.
const OF_THE_FIRST_FORMAT: [&str; 2] = [
    concat!(
        "70670701adc2054002b7afc340021d88bf4000000000000000a040000000803f0000c04000000000400000e040027a28f03f026e37ed3e",
        "00000040400000000000000080400000803f0170faca40000000c04000004040000000e040000080400a36943f9255b50fc00104b8d09a",
        "83e10fc003df2d5202d16511c00608d2e8ce1bd211c0024444edb58cd313c006a3ffe4e9114d13c006dab7ba58a19516c000361a46ba84",
        "7314c0040ab81771228b13c005b7e46b6ee4fe14c002",
    ),
    concat!(
        "86016c0601ae73703f00000000000000a040019bd7a040014cc71d4000000000400000e04002ce66f53f00000080400000803f000000a0",
        "400000004001c537de40000000c04000004040000000e040000080400a9035a341b2400dc001ce12a7cde9250ec0036aabafb581ff0ec0",
        "0110665de0ba5d10c004a8a420d3bf0010c0008511dc5b7b9120c003d447939d14b614c003860fb436a2a813c005eabe72ec39581cc002",
        "1c1436f7a16e13c001",
    ),
];

#[test]
fn a_state_of_the_first_format_says_what_it_said_then() {
    let parameters = Parameters {
        trees: 2,
        normalise: Normalise::None,
        ..small(2, 1, 10, 40)
    };
    let digit = |of: u8| char::from(of).to_digit(16).expect("a hexadecimal digit") as u8;
    let framed = |(index, digits): (usize, &str)| {
        let mut state = vec![b'T', 1];
        for parameter in &Trees::new(&parameters).part.forest.learned_with(index) {
            write_number(*parameter, &mut state);
        }
        state.push(100);
        let digits = digits.as_bytes().as_chunks::<2>().0;
        state.extend(digits.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)));
        let checksum = xxh3_64(&state);
        state.extend(checksum.to_le_bytes());
        (index, state)
    };
    let then: Vec<(usize, Vec<u8>)> = (0..).zip(OF_THE_FIRST_FORMAT).map(framed).collect();
    let whole = Whole::new(&parameters);
    for (point, score) in [
        ([0.0, 7.0], 1.3841367062031305),
        ([3.0, 3.0], 0.8720061249078948),
        ([50.0, -50.0], 3.105909557958885),
        ([1.0, 2.0], 1.1031899104797038),
    ] {
        let mut trees = Trees::restored(&parameters, b"key", 100, &then).expect("a state of the first format");
        let mut again = Trees::restored(&parameters, b"key", 100, &trees.state()).expect("its own state");
        let said = f64::from_bits(trees.take(&point)[0]);
        let said = whole.score(said).expect("learning is over");
        assert!((said - score).abs() < 1e-6, "{said} {score}");
        again.take(&point);
        let more: Vec<f32> = (0..400u16).map(|i| f32::from(i % 7)).collect();
        assert_eq!(trees.take(&more), again.take(&more));
    }
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
    let mut trees = Trees::new(&parameters);
    trees.take(first);
    let mut restored = Trees::restored(&parameters, b"key", trees.seen, &trees.state()).expect("its own state");
    assert_eq!(restored.take(second), trees.take(second));
    assert_eq!(restored.state(), trees.state());
}

#[test]
fn only_what_took_points_has_changed() {
    let mut learner = Learner::new(small(2, 2, 10, 40));
    assert!(learner.key.take_changed() && learner.devices[1].take_changed());
    assert!(!learner.key.take_changed() && !learner.devices[1].take_changed());
    learner.take(&[(0, [1.0, 2.0])]);
    assert!(learner.key.take_changed() && learner.devices[0].take_changed() && !learner.devices[1].take_changed());
    assert_eq!(learner.trees.changed(), 0, "the shingle is not full yet");
    learner.take(&[(0, [1.0, 2.0])]);
    assert_eq!([learner.trees.changed(), learner.trees.changed()], [3, 0]);
}

#[test]
fn a_state_is_little_more_than_points_cuts_and_weights() {
    let parameters = super::parameters(5, Scoring::Kinesis, 1);
    let points: Vec<f32> = (0..5 * 3000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32)
        .collect();
    let mut trees = Trees::new(&parameters);
    assert_eq!(trees.state(), [], "an empty forest has none");
    trees.take(&points);
    let bytes: usize = trees.state().iter().map(|(_, state)| state.len()).sum();
    assert!((800_000..1_000_000).contains(&bytes), "{bytes}");
}
