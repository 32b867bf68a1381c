//! What holds in every tree after every point, for streams with many repeats, constant dimensions and extreme values.

use proptest::prelude::*;

use super::super::cut_tree::{CutTree, Link, NONE, TOP};
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

fn shape(tree: &CutTree, link: Link) -> Shape {
    if link.is_leaf() {
        let leaf = link.index();
        return Shape::Leaf {
            point: tree.point(leaf).to_vec(),
            mass: tree.leaves[leaf].mass,
        };
    }
    let node = tree.nodes[link.index()];
    let bounds = [tree.extent(link).0, tree.extent(link).1].concat();
    let children = Box::new(node.children.map(|child| shape(tree, child)));
    Shape::Cut {
        dimension: tree.dimension(link),
        cut: node.cut,
        bounds,
        children,
    }
}

/// The points of a subtree, copies apart, with all that must hold below the link checked.
fn check(tree: &CutTree, link: Link, parent: u16, nodes: &mut usize, leaves: &mut Vec<usize>) -> Vec<Vec<f32>> {
    assert_eq!(tree.parent(link), parent);
    let index = link.index();
    if link.is_leaf() {
        assert!(tree.leaves[index].mass > 0);
        leaves.push(index);
        return vec![tree.point(index).to_vec()];
    }
    *nodes += 1;
    let node = tree.nodes[index];
    let [mut points, right] = node
        .children
        .map(|child| check(tree, child, index as u16, nodes, leaves));
    let at = tree.dimension(link);
    assert!(points.iter().all(|point| point[at] <= node.cut), "left of the cut");
    assert!(right.iter().all(|point| point[at] > node.cut), "right of the cut");
    points.extend(right);
    let (lows, highs) = tree.extent(link);
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
        .map_or(Vec::new(), |root| check(cuts, root, TOP, &mut nodes, &mut leaves));
    for (i, point) in points.iter().enumerate() {
        assert!(!points[..i].contains(point), "a point has one leaf");
    }
    assert_eq!(nodes + 1, leaves.len().max(1));
    let mass: usize = leaves.iter().map(|&leaf| usize::from(cuts.leaves[leaf].mass)).sum();
    assert_eq!(mass, sampler.leaves.len(), "masses add up to the sample");
    for &leaf in &leaves {
        let copies = sampler.leaves.iter().filter(|&&held| usize::from(held) == leaf).count();
        assert_eq!(
            copies,
            usize::from(cuts.leaves[leaf].mass),
            "the sample and the leaf count the same"
        );
    }
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
    assert_eq!(
        leaves.len() + free(cuts.free_leaf, NONE, &|i| cuts.leaves[i].parent),
        cuts.leaves.len(),
        "no leaf is lost"
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
        let mut forest = Forest::new(&small(Scoring::Kinesis), b"key");
        for point in points.chunks(3) {
            forest.score_batch(point, f64::INFINITY, &mut Vec::new());
            forest.trees.iter().for_each(check_tree);
        }
        for tree in &forest.trees {
            for &leaf in &tree.sampler.leaves {
                let held = tree.cuts.point(usize::from(leaf));
                let given = points.chunks(3).filter(|point| *point == held).count();
                prop_assert!(usize::from(tree.cuts.leaves[usize::from(leaf)].mass) <= given);
            }
        }
    }

    #[test]
    fn taking_a_point_out_undoes_putting_it_in(points in stream(), extra in (value(), value(), value()), chance in 0.001f64..0.999) {
        let mut forest = Forest::new(&small(Scoring::Kinesis), b"key");
        forest.score_batch(&points, f64::INFINITY, &mut Vec::new());
        for tree in &mut forest.trees {
            let before = shape(&tree.cuts, tree.cuts.root.expect("the stream is not empty"));
            let leaf = tree.cuts.insert(&[extra.0, extra.1, extra.2], chance);
            let between = shape(&tree.cuts, tree.cuts.root.expect("the stream is not empty"));
            prop_assert_ne!(&before, &between);
            tree.cuts.delete(leaf);
            prop_assert_eq!(before, shape(&tree.cuts, tree.cuts.root.expect("the stream is not empty")));
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
                .map(|&leaf| end as f64 - f64::from(tree.cuts.point(usize::from(leaf))[0])),
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
