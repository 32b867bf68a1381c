//! Parts of a forest, put together, are the forest: whoever has which trees, and however late it is asked why.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::{Before, ForestPart, Part, Spare, Whole};
use super::{Normalise, Parameters, Scored, Scoring, score_all};

fn small(trees: usize, shingle: usize) -> Parameters {
    Parameters {
        trees,
        sample_size: 20,
        time_decay: 60,
        shingle,
        measures: 2,
        scoring: Scoring::Kinesis,
        seed: 3,
        normalise: Normalise::None,
    }
}

/// The trees with an index of `by` times something and `first`.
fn part(parameters: &Parameters, first: usize, by: usize) -> ForestPart {
    ForestPart::new(parameters, b"key", (first..parameters.trees).step_by(by))
}

/// A part as it comes back from its state.
fn restored(part: &mut ForestPart, again: ForestPart, kept: &mut [Option<Vec<u8>>], seen: u64) -> ForestPart {
    part.settle(None, &mut Spare::default());
    part.write_changed(usize::MAX, |index, state| kept[index] = Some(state));
    let mut again = again;
    for (index, state) in kept.iter().enumerate() {
        if let Some(state) = state {
            again.read_tree(index, state).expect("just written");
        }
    }
    again.check(seen).expect("all trees are there");
    again.write_changed(usize::MAX, |index, _| {
        panic!("tree {index} has not changed since it was read")
    });
    again
}

/// A batch that may still be asked about: where it begins, how many points it has, and what each part has kept.
type Open = (usize, usize, Vec<Option<Before>>);

/// What is said of the points of the oldest open batch, once the others are open.
fn explain(
    parts: &[ForestPart],
    open: &mut VecDeque<Open>,
    out: &mut [Scored],
    (least, whole): (f64, Whole),
    spare: &mut Spare,
) {
    let (from, count, mut before) = open.pop_front().expect("an open batch");
    for row in 0..count {
        let scored = &mut out[from + row];
        if scored.score.is_none_or(|score| score < least) {
            continue;
        }
        let mut sums = vec![Part::default(); 2].into_boxed_slice();
        for (at, part) in parts.iter().enumerate().rev() {
            let own = before[at].as_mut().expect("kept where there is a score");
            let later = open.iter().filter_map(|(_, _, before)| before[at].as_ref());
            part.add_attribution(own, row, later, &mut sums);
        }
        scored.attribution = Some(whole.attribution(sums));
    }
    before.into_iter().flatten().for_each(|before| before.give_back(spare));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_put_together_say_what_the_whole_forest_says(
        // some points so often that a link cannot tell their copies
        values in prop::collection::vec(
            prop_oneof![3 => (-4i8..4).prop_map(f32::from), 1 => -100f32..100.0, 6 => Just(1.0)], 300..1600,
        ),
        sizes in prop::collection::vec(1usize..300, 1..6),
        threshold in 0.3f64..2.5,
        (trees, by, shingle) in (1usize..9, 1usize..12, 1usize..3),
        late in 0usize..4,
        restart in proptest::option::of(1usize..6),
        // a batch changes most trees, or few
        (sample_size, time_decay) in prop_oneof![Just((20, 60)), Just((20, 2000)), Just((120, 3000))],
    ) {
        let parameters = Parameters { sample_size, time_decay, ..small(trees, shingle) };
        let (dimensions, whole) = (parameters.dimensions(), Whole::new(&parameters));
        let points = &values[..values.len() - values.len() % dimensions];
        let mut parts: Vec<ForestPart> = (0..by).map(|first| part(&parameters, first, by)).collect();
        let mut kept = vec![vec![None; trees]; by];
        let (mut out, mut open, mut spare): (Vec<Scored>, _, _) = (Vec::new(), VecDeque::new(), Spare::default());
        let (mut rest, mut sizes) = (points, sizes.iter().cycle().enumerate());
        while !rest.is_empty() {
            let (number, size) = sizes.next().expect("a cycle has no end");
            let (batch, behind) = rest.split_at(rest.len().min(size * dimensions));
            let (from, count) = (out.len(), batch.len() / dimensions);
            let mut sums = vec![0.0; count];
            let mut before = Vec::new();
            for (at, part) in parts.iter_mut().enumerate() {
                let last: Option<&mut Open> = open.back_mut();
                part.settle(last.and_then(|(.., before)| before[at].as_mut()), &mut spare);
                let mut shares = Vec::new();
                before.push(part.score(from as u64, batch.to_vec(), Some(&mut spare), &mut shares));
                sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
            }
            out.extend(sums.iter().map(|sum| Scored { score: whole.score(*sum), attribution: None }));
            open.push_back((from, count, before));
            while open.len() > late {
                explain(&parts, &mut open, &mut out, (threshold, whole), &mut spare);
            }
            if restart.is_some_and(|every| number % every == 0) {
                while !open.is_empty() {
                    explain(&parts, &mut open, &mut out, (threshold, whole), &mut spare);
                }
                for (first, of_part) in parts.iter_mut().enumerate() {
                    let again = part(&parameters, first, by);
                    *of_part = restored(of_part, again, &mut kept[first], out.len() as u64);
                }
            }
            rest = behind;
        }
        while !open.is_empty() {
            explain(&parts, &mut open, &mut out, (threshold, whole), &mut spare);
        }
        prop_assert_eq!(out, score_all(&parameters, points, threshold));
    }
}

#[test]
fn a_tree_that_is_missing_or_behind_is_noticed() {
    let parameters = small(4, 1);
    let mut one = part(&parameters, 0, 2);
    one.score(0, vec![1.0; 60], None, &mut Vec::new());
    one.settle(None, &mut Spare::default());
    let mut states = Vec::new();
    one.write_changed(usize::MAX, |index, state| states.push((index, state)));
    assert_eq!(states.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
    let mut again = part(&parameters, 0, 2);
    let (index, state) = &states[0];
    assert!(again.read_tree(2, state).is_err(), "another tree's");
    assert!(again.read_tree(1, state).is_err(), "not one of these");
    again.read_tree(*index, state).expect("its own");
    assert!(again.read_tree(*index, state).is_err(), "a second time");
    assert!(again.check(30).is_err(), "one is missing");
    again.read_tree(states[1].0, &states[1].1).expect("its own");
    assert_eq!(again.check(30), Ok(()));
    assert!(again.check(1 << 40).is_err(), "both are behind");
}

#[test]
fn trees_handed_over_a_few_at_a_time_come_once_each_and_are_the_same() {
    let parameters = small(5, 1);
    let written = |at_most: usize| {
        let mut part = part(&parameters, 0, 1);
        part.score(0, vec![1.0; 60], None, &mut Vec::new());
        part.settle(None, &mut Spare::default());
        let mut states = Vec::new();
        while !part.write_changed(at_most, |index, state| states.push((index, state))) {}
        assert!(part.write_changed(0, |index, _| panic!("tree {index} comes twice")));
        states
    };
    assert_eq!(written(usize::MAX).len(), 5);
    for at_most in 1..6 {
        assert_eq!(written(at_most), written(usize::MAX));
    }
}

#[test]
fn a_hand_over_goes_on_behind_the_last_tree() {
    let parameters = Parameters {
        time_decay: 1,
        ..small(3, 1)
    }; // every point changes every tree
    let mut part = part(&parameters, 0, 1);
    let mut order = Vec::new();
    for round in 0..6 {
        part.score(round, vec![1.0; parameters.dimensions()], None, &mut Vec::new());
        part.settle(None, &mut Spare::default());
        part.write_changed(1, |index, _| order.push(index));
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}
