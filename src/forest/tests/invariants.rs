//! What holds in every tree after every point, for streams with many repeats, constant dimensions and extreme values.

use proptest::prelude::*;

use super::super::bounds::coordinate;
use super::super::cut_tree::{ALONE, CutTree, Held, Leaf, MANY, NONE, TOP};
use super::super::tree::Tree;
use super::{Forest, Normalise, Parameters, Scoring, score_all};

/// A subtree written out: its cut or its point, from the top down.
#[derive(Debug, PartialEq)]
enum Shape {
    Cut {
        dimension: usize,
        cut: f32,
        bounds: Vec<f32>,
        children: Box<[Shape; 2]>,
    },
    Leaf {
        point: Vec<f32>,
        mass: u16,
    },
}

fn shape(tree: &CutTree, place: Leaf) -> Shape {
    let link = tree.child(place);
    if link.is_leaf() {
        return Shape::Leaf {
            point: tree.point(place).to_vec(),
            mass: link.mass(),
        };
    }
    let node = tree.nodes[link.index()];
    let (lows, highs) = tree.bounds(link.index());
    let bounds = [lows, highs].concat();
    let children = Box::new([0, 1].map(|side| shape(tree, Leaf::new(link.index() as u16, side))));
    Shape::Cut {
        dimension: tree.dimension(link),
        cut: node.cut,
        bounds,
        children,
    }
}

/// The points of a subtree, copies apart, with all that must hold below the place checked.
fn check(tree: &CutTree, place: Leaf, nodes: &mut usize, leaves: &mut Vec<Leaf>) -> Vec<Vec<f32>> {
    let link = tree.child(place);
    if link.is_leaf() {
        leaves.push(place);
        return vec![tree.point(place).to_vec()];
    }
    let index = link.index();
    assert_eq!(tree.place(index as u16), place);
    *nodes += 1;
    let node = tree.nodes[index];
    let [mut points, right] = [0, 1].map(|side| check(tree, Leaf::new(index as u16, side), nodes, leaves));
    let at = tree.dimension(link);
    assert!(points.iter().all(|point| point[at] <= node.cut), "left of the cut");
    assert!(right.iter().all(|point| point[at] > node.cut), "right of the cut");
    points.extend(right);
    let (lows, highs) = tree.bounds(index);
    for d in 0..tree.dimensions {
        assert_eq!(
            lows[d],
            points.iter().map(|point| point[d]).fold(f32::INFINITY, f32::min),
            "a tight box"
        );
        assert_eq!(
            highs[d],
            points.iter().map(|point| point[d]).fold(f32::NEG_INFINITY, f32::max),
            "a tight box"
        );
    }
    points
}

fn check_tree(tree: &Tree) {
    let (cuts, sampler) = (&tree.cuts, &tree.sampler);
    let (mut nodes, mut leaves) = (0, Vec::new());
    let points = cuts
        .root
        .map_or(Vec::new(), |_| check(cuts, ALONE, &mut nodes, &mut leaves));
    for (i, point) in points.iter().enumerate() {
        assert!(!points[..i].contains(point), "a point has one leaf");
    }
    assert_eq!(nodes + 1, leaves.len().max(1));
    let mut held = 0;
    for &leaf in &leaves {
        let copies = sampler.leaves.iter().filter(|&&held| held == leaf.bits()).count();
        let told = usize::from(cuts.child(leaf).mass());
        assert_eq!(
            told,
            copies.min(usize::from(MANY)),
            "the sample and the leaf count the same"
        );
        held += copies;
    }
    assert_eq!(held, sampler.leaves.len(), "masses add up to the sample");
    for child in 1..sampler.weights.len() {
        assert!(sampler.weights[(child - 1) / 2] >= sampler.weights[child], "heap order");
    }
    let free = |mut head: u16, end: u16, next: &dyn Fn(usize) -> u16| {
        let mut count = 0;
        while head != end {
            count += 1;
            head = next(usize::from(head));
        }
        count
    };
    assert_eq!(
        nodes + free(cuts.free_node, TOP, &|i| cuts.node_parents[i]),
        cuts.nodes.len().saturating_sub(1),
        "no node is lost"
    );
    let stored = leaves.iter().filter(|leaf| matches!(cuts.held(**leaf), Held::Point(_)));
    let next = |i: usize| cuts.stored_point(i)[0] as u16;
    assert_eq!(
        stored.count() + free(cuts.free_point, NONE, &next),
        cuts.points.len() / cuts.dimensions,
        "no place is lost"
    );
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-3i8..4).prop_map(f32::from),
        2 => -1000f32..1000.0,
        1 => Just(0.0), 1 => Just(-0.0),
        1 => prop::sample::select(vec![f32::MAX, f32::MIN, 1e38, -1e38, 3e38]),
        1 => prop::sample::select(vec![f32::MIN_POSITIVE, 1e-45, -1e-45, 3e-42, 1e-30]),
    ]
}

/// Points of three dimensions, the middle one constant.
fn stream() -> impl Strategy<Value = Vec<f32>> {
    (value(), prop::collection::vec((value(), value()), 20..300)).prop_map(|(middle, rows)| {
        rows.into_iter()
            .flat_map(|(first, last)| [first, middle, last])
            .collect()
    })
}

fn small(scoring: Scoring) -> Parameters {
    Parameters {
        trees: 3,
        sample_size: 16,
        time_decay: 30,
        shingle: 1,
        measures: 3,
        scoring,
        seed: 5,
        normalise: Normalise::None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn trees_stay_whole_after_every_point(points in stream()) {
        let points: Vec<f32> = points.into_iter().map(coordinate).collect();
        let mut forest = Forest::new(&small(Scoring::Kinesis), b"key");
        for point in points.chunks(3) {
            forest.score_batch(point, f64::INFINITY, &mut Vec::new());
            forest.trees.iter().for_each(check_tree);
        }
        for tree in &forest.trees {
            for &leaf in &tree.sampler.leaves {
                let held = tree.cuts.held(Leaf::from_bits(leaf));
                let given = points.chunks(3).filter(|point| held.is(point)).count();
                prop_assert!(usize::from(tree.sampler.copies(leaf)) <= given);
            }
        }
    }

    #[test]
    fn taking_a_point_out_undoes_putting_it_in(points in stream(), extra in (value(), value(), value()), chance in 0.001f64..0.999) {
        let mut forest = Forest::new(&small(Scoring::Kinesis), b"key");
        forest.score_batch(&points, f64::INFINITY, &mut Vec::new());
        for tree in &mut forest.trees {
            let before = shape(&tree.cuts, ALONE);
            let (leaf, renamed) = tree.cuts.insert(&[extra.0, extra.1, extra.2].map(coordinate), chance);
            let between = shape(&tree.cuts, ALONE);
            prop_assert_ne!(&before, &between);
            // how many copies there are, of which the sample has all but one
            let many = tree.sampler.copies(leaf.bits()) + 1;
            let back = tree.cuts.delete(leaf, || many);
            prop_assert_eq!(renamed.map(|renamed| (renamed.from, renamed.to)), back.map(|back| (back.to, back.from)));
            prop_assert_eq!(before, shape(&tree.cuts, ALONE));
        }
    }

    #[test]
    fn scores_are_finite_and_zero_has_no_sign(points in stream(), kinesis: bool) {
        let parameters = small(if kinesis { Scoring::Kinesis } else { Scoring::Aws });
        let scored = score_all(&parameters, &points, 0.0);
        for scored in &scored {
            prop_assert!(scored.score.is_none_or(|score| score.is_finite() && score > 0.0));
            for part in scored.attribution.iter().flat_map(|attribution| attribution.parts.iter()) {
                prop_assert!(part.high >= 0.0 && part.low >= 0.0 && part.total().is_finite());
            }
        }
        let signed: Vec<f32> = points.iter().map(|&x| if x == 0.0 { -0.0 } else { x }).collect();
        prop_assert_eq!(&scored, &score_all(&parameters, &signed, 0.0));
    }
}

/// A thousand million points of one key: the points between acceptances leave no trace in a tree, so only the accepted ones
/// are given to it.
#[test]
fn a_forest_works_on_after_a_thousand_million_points() {
    let end = 1_000_000_000;
    let parameters = Parameters {
        trees: 4,
        sample_size: 16,
        time_decay: 100_000,
        measures: 1,
        ..small(Scoring::Kinesis)
    };
    let mut forest = Forest::new(&parameters, b"key");
    let mut ages = Vec::new();
    for tree in &mut forest.trees {
        while tree.sampler.next() < end {
            let step = tree.sampler.next();
            tree.take(&[step as f32]);
        }
        check_tree(tree);
        ages.extend(
            tree.sampler
                .leaves
                .iter()
                .map(|&leaf| end as f64 - f64::from(tree.cuts.point(Leaf::from_bits(leaf))[0])),
        );
    }
    let mean_age = ages.iter().sum::<f64>() / ages.len() as f64;
    assert!(
        (50_000.0..200_000.0).contains(&mean_age),
        "samples are about 1/λ old: {mean_age}"
    );
    forest.seen = end;
    let mut scored = Vec::new();
    forest.score_batch(&[end as f32, 0.0], 0.0, &mut scored);
    let scores = super::scores(&scored);
    assert!(
        scores[0] < scores[1] && scores[1] < 5.0,
        "what is long past has become strange: {scores:?}"
    );
}
