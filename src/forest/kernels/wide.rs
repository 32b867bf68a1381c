//! The scores by AVX-512, for trees of up to eight dimensions. In: trees that have cuts, and rows; out: a score for each of both.
//!
//! A row and a tree it meets make a way, down the tree and up again. Ways down go side by side, a lane of a vector each, whatever
//! their trees: every step is a load that has to be waited for, so many are under way at once. Ways up go eight abreast, a vector
//! over the dimensions for each box and one over the eight for what follows: where a box holds the point nothing changes from
//! there on, and the next way takes the lane.

use std::arch::x86_64::*;
use std::mem::offset_of;

use super::super::bounds;
use super::super::cut_tree::{Link, Node, TOP};
use super::super::scale::Scale;
use super::super::score::Run;

/// Most ways that are taken together.
const WAYS: usize = 256;

/// Lanes of a vector of words.
const LANES: usize = 16;

/// Vectors that go down together, so that each has the others' time to wait for its loads.
const GROUPS: usize = 4;

/// Levels down between two looks whether all have arrived.
const LEVELS: usize = 4;

/// Ways up in a vector of doubles.
const ABREAST: usize = 8;

/// Vectors that go up together.
const CLIMBERS: usize = 2;

/// Fewer values than this have places that vectors can add to without overflow.
const MOST_VALUES: usize = 1 << 24;

/// The most nodes that links have room for.
const MOST_NODES: usize = 1 << 10;

/// A link that is a leaf.
const LEAF: u32 = Link::LEAF_0.bits() as u32;

/// Ways from the roots to the ends, by their number; room for a vector beyond the last.
struct Ways<'a> {
    runs: &'a [Run<'a>],
    points: &'a [f32],
    count: usize,
    /// Its run.
    run: [u16; WAYS],
    /// Where in `points` its row begins.
    from: [u32; WAYS + LANES],
    /// Where its tree's nodes begin, as an address: a vector's ways may be of different trees.
    nodes: [u64; WAYS + LANES],
    /// How many nodes its tree has.
    most: [u32; WAYS + LANES],
    /// At the start the root, then the leaf it has come to.
    link: [u32; WAYS + LANES],
    /// The number of cuts above the leaf.
    depth: [u32; WAYS + LANES],
    /// The node above the leaf.
    node: [u32; WAYS + LANES],
}

/// A way up: what its next box takes to be found, close together.
#[derive(Clone, Copy)]
struct Climber<'a, const D: usize> {
    /// The boxes and the parents of its tree's nodes, of each as many as there are nodes.
    boxes: *const f64,
    parents: *const u16,
    nodes: u32,
    /// The next node; the top of one that is no way.
    node: u32,
    point: &'a [f32; D],
}

/// The scores of the runs, one after the other; their trees have cuts, and `D` dimensions.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
pub(super) fn score<const D: usize>(runs: &[Run], points: &[f32], scale: &Scale, scores: &mut [f64]) {
    const { assert!(D <= 8) };
    assert!(0 < D && points.len() < MOST_VALUES && runs.len() < usize::from(u16::MAX));
    for Run { cuts: tree, .. } in runs {
        let nodes = tree.nodes.len();
        assert!(tree.dimensions == D && 0 < nodes && nodes <= MOST_NODES);
        assert!(tree.boxes.len() == nodes * bounds::width(D) && tree.node_parents.len() == nodes);
    }
    let mut ways = Ways {
        runs,
        points,
        count: 0,
        run: [0; WAYS],
        from: [0; WAYS + LANES],
        nodes: [0; WAYS + LANES],
        most: [0; WAYS + LANES],
        link: [LEAF; WAYS + LANES],
        depth: [0; WAYS + LANES],
        node: [u32::from(TOP); WAYS + LANES],
    };
    let mut meetings = runs
        .iter()
        .enumerate()
        .flat_map(|(run, of)| of.rows.clone().map(move |row| (run, row)));
    for scores in scores.chunks_mut(WAYS) {
        ways.count = 0;
        for (way, (run, row)) in meetings.by_ref().take(scores.len()).enumerate() {
            let cuts = runs[run].cuts;
            ways.run[way] = run as u16;
            ways.from[way] = (row * D) as u32;
            ways.nodes[way] = cuts.nodes.as_ptr() as u64;
            ways.most[way] = cuts.nodes.len() as u32;
            ways.link[way] = cuts.root.map_or(LEAF, |root| u32::from(root.bits()));
            ways.count = way + 1;
        }
        ways.link[ways.count..].fill(LEAF);
        for first in (0..ways.count).step_by(GROUPS * LANES) {
            match (ways.count - first).div_ceil(LANES) {
                1 => descend::<1>(&mut ways, first),
                2 => descend::<2>(&mut ways, first),
                3 => descend::<3>(&mut ways, first),
                _ => descend::<GROUPS>(&mut ways, first),
            }
        }
        if ways.count > 0 {
            climb::<D>(&ways, scale, scores);
        }
        for (way, score) in scores.iter_mut().enumerate().take(ways.count) {
            let depth = ways.depth[way] as usize;
            // a point that the tree holds lies in all boxes above it: nothing has changed its score
            if *score == scale.unseen(depth) {
                let (cuts, from) = (runs[usize::from(ways.run[way])].cuts, ways.from[way] as usize);
                let leaf = Link::from_bits(ways.link[way] as u16).index();
                *score = cuts.leaf_score(leaf, depth, &points[from..from + D], scale);
            }
        }
    }
}

/// Takes the ways from `first` on, sixteen for each of the groups, down to their leaves.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn descend<const G: usize>(ways: &mut Ways, first: usize) {
    // a node is a word with the cut and one with the two children, the left one in its lower half
    const { assert!(size_of::<Node>() == 8 && size_of::<Link>() == 2 && cfg!(target_endian = "little")) };
    const { assert!(offset_of!(Node, cut) == 0 && offset_of!(Node, children) == 4) };
    let groups: [usize; G] = std::array::from_fn(|group| first + group * LANES);
    let most_nodes = groups.map(|at| words_at(&ways.most, at));
    let most_values = _mm512_set1_epi32(ways.points.len() as i32);
    let from = groups.map(|at| words_at(&ways.from, at));
    let low = groups.map(|at| addresses_at(&ways.nodes, at));
    let high = groups.map(|at| addresses_at(&ways.nodes, at + LANES / 2));
    let (one, leaf) = (_mm512_set1_epi32(1), _mm512_set1_epi32(LEAF as i32));
    let (index_bits, link_bits) = (_mm512_set1_epi32(0x3ff), _mm512_set1_epi32(0xffff));
    let first_words = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let second_words = _mm512_add_epi32(first_words, one);
    let mut links = groups.map(|at| words_at(&ways.link, at));
    let mut depths = [_mm512_setzero_si512(); G];
    let mut above = [_mm512_setzero_si512(); G];
    let mut moving = true;
    while moving {
        for _ in 0..LEVELS {
            for group in 0..G {
                let link = links[group];
                let go = _mm512_testn_epi32_mask(link, leaf);
                let index = _mm512_and_si512(link, index_bits);
                let value = _mm512_add_epi32(from[group], _mm512_srli_epi32::<10>(link));
                let sound =
                    _mm512_cmplt_epu32_mask(index, most_nodes[group]) & _mm512_cmplt_epu32_mask(value, most_values);
                assert!(sound & go == go, "a link leads to a node and a dimension of the points");
                let place = |half, nodes| _mm512_add_epi64(nodes, _mm512_slli_epi64::<3>(_mm512_cvtepu32_epi64(half)));
                let low_place = place(_mm512_castsi512_si256(index), low[group]);
                let high_place = place(_mm512_extracti64x4_epi64::<1>(index), high[group]);
                let zero = _mm512_setzero_si512();
                // SAFETY: only the lanes that go on are loaded. In these the index was just asserted to be less than the number of
                // nodes of the way's own tree, and the place is the address of its nodes and eight bytes for each before it.
                let low_node = unsafe { _mm512_mask_i64gather_epi64::<1>(zero, go as u8, low_place, std::ptr::null()) };
                // SAFETY: as above, for the other eight ways.
                let high_node =
                    unsafe { _mm512_mask_i64gather_epi64::<1>(zero, (go >> 8) as u8, high_place, std::ptr::null()) };
                let points = ways.points.as_ptr();
                // SAFETY: in the lanes loaded `value` was just asserted to be less than the number of values, and that is less
                // than 2^24, so that the place is positive also as the signed number it is taken for.
                let x = unsafe { _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), go, value, points) };
                let cut = _mm512_castsi512_ps(_mm512_permutex2var_epi32(low_node, first_words, high_node));
                let children = _mm512_permutex2var_epi32(low_node, second_words, high_node);
                let right = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, cut);
                // all bits are a number, whatever they mean as a link: that is asserted at the next step
                let next = _mm512_and_si512(_mm512_mask_srli_epi32::<16>(children, right, children), link_bits);
                links[group] = _mm512_mask_mov_epi32(link, go, next);
                above[group] = _mm512_mask_mov_epi32(above[group], go, index);
                depths[group] = _mm512_mask_add_epi32(depths[group], go, depths[group], one);
            }
        }
        moving = links.iter().any(|link| _mm512_testn_epi32_mask(*link, leaf) != 0);
    }
    for group in 0..G {
        set_words(&mut ways.link, groups[group], links[group]);
        set_words(&mut ways.depth, groups[group], depths[group]);
        set_words(&mut ways.node, groups[group], above[group]);
    }
}

/// Eight ways up: their numbers, how many cuts are above the next box, and the scores.
#[derive(Clone, Copy)]
struct Eight {
    numbers: __m256i,
    depths: __m256i,
    scores: __m512d,
}

/// Goes up from the ends; the scores are those of points that their trees do not hold.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
#[allow(unsafe_code)]
fn climb<const D: usize>(ways: &Ways, scale: &Scale, scores: &mut [f64]) {
    let unseen = scale.unseen_by_depth();
    let most_depths = _mm256_set1_epi32(unseen.len() as i32);
    let at_depth = |depths: __m256i| {
        assert!(
            _mm256_cmplt_epu32_mask(depths, most_depths) == !0,
            "depths are on the scale"
        );
        // SAFETY: all eight depths were just asserted to be less than the number of values.
        unsafe { _mm512_i32gather_pd::<8>(depths, unseen.as_ptr()) }
    };
    let (one, none) = (_mm256_set1_epi32(1), _mm256_set1_epi32(WAYS as i32));
    let count = _mm256_set1_epi32(ways.count as i32);
    let climber = |way: usize| {
        let cuts = ways.runs[usize::from(ways.run[way])].cuts;
        Climber::<D> {
            boxes: cuts.boxes.as_ptr(),
            parents: cuts.node_parents.as_ptr(),
            nodes: cuts.nodes.len() as u32,
            node: ways.node[way],
            point: ways.points[ways.from[way] as usize..]
                .first_chunk()
                .expect("a value per dimension"),
        }
    };
    let nowhere = Climber {
        node: u32::from(TOP),
        ..climber(0)
    };
    let mut climbers = [nowhere; WAYS + 1];
    for (way, place) in climbers.iter_mut().enumerate().take(ways.count) {
        *place = climber(way);
    }
    let mut next = 0;
    let mut take = |eight: &mut Eight, free: u8, depth: &[u32; WAYS + LANES]| {
        let numbers = _mm256_add_epi32(
            _mm256_set1_epi32(next as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        );
        let numbers = _mm256_mask_mov_epi32(none, _mm256_cmplt_epu32_mask(numbers, count), numbers);
        eight.numbers = _mm256_mask_expand_epi32(eight.numbers, free, numbers);
        eight.depths = _mm256_mask_expand_epi32(eight.depths, free, half_at(depth, next));
        eight.scores = _mm512_mask_mov_pd(eight.scores, free, at_depth(eight.depths));
        next = (next + free.count_ones() as usize).min(WAYS);
    };
    let mut groups = [Eight {
        numbers: none,
        depths: _mm256_setzero_si256(),
        scores: _mm512_setzero_pd(),
    }; CLIMBERS];
    for eight in &mut groups {
        take(eight, !0, &ways.depth);
    }
    let mut there = 0;
    while there < ways.count {
        for eight in &mut groups {
            let numbers = numbers_of(eight.numbers);
            let mut ranges = [0.0; ABREAST];
            let mut outside = [_mm512_setzero_pd(); ABREAST];
            macro_rules! lanes {
                ($($lane:literal)*) => {$(
                    (outside[$lane], ranges[$lane]) = next_box(&mut climbers[numbers[$lane] as usize]);
                )*};
            }
            lanes!(0 1 2 3 4 5 6 7);
            let excess = totals(outside);
            let [a, b, c, d, e, f, g, h] = ranges;
            let separation = _mm512_div_pd(excess, _mm512_add_pd(_mm512_setr_pd(a, b, c, d, e, f, g, h), excess));
            let go_on = _mm512_cmp_pd_mask::<_CMP_NEQ_OQ>(excess, _mm512_setzero_pd());
            // a depth is below 2^16; the top has none above it, and changes nothing
            eight.depths = _mm256_subs_epu16(eight.depths, one);
            let change = _mm512_mul_pd(separation, _mm512_sub_pd(at_depth(eight.depths), eight.scores));
            eight.scores = _mm512_mask_add_pd(eight.scores, go_on, eight.scores, change);
            let arrived = !go_on;
            there += (arrived & _mm256_cmplt_epu32_mask(eight.numbers, count)).count_ones() as usize;
            for (number, score) in numbers.into_iter().zip(doubles_of(eight.scores)) {
                if let Some(own) = scores.get_mut(number as usize) {
                    *own = score;
                }
            }
            take(eight, arrived, &ways.depth);
        }
    }
}

/// How far the way's point lies outside its next box, by dimension, and that box's range; the way goes on to the box above.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
#[inline]
#[allow(unsafe_code)]
fn next_box<const D: usize>(climber: &mut Climber<D>) -> (__m512d, f64) {
    let node = climber.node as usize;
    assert!(climber.node < climber.nodes, "parents are nodes");
    let held = const { ((1u16 << D) - 1) as u8 };
    // SAFETY: of each eight values the mask lets through the first `D`, which the point has. The node was just asserted to be less
    // than the number of nodes: `score` has compared that number with the lengths of the boxes, `width(D)` doubles for each
    // node of which the first is the range and the others are twice `D` floats, and of the parents.
    let (x, low, high, range) = unsafe {
        let stored = climber.boxes.add(node * const { bounds::width(D) });
        let sides: *const f32 = stored.add(1).cast();
        climber.node = u32::from(*climber.parents.add(node));
        (
            _mm256_maskz_loadu_ps(held, climber.point.as_ptr()),
            _mm256_maskz_loadu_ps(held, sides),
            _mm256_maskz_loadu_ps(held, sides.add(D)),
            *stored,
        )
    };
    let nearest = _mm256_min_ps(_mm256_max_ps(x, low), high);
    let outside = _mm512_abs_pd(_mm512_sub_pd(_mm512_cvtps_pd(x), _mm512_cvtps_pd(nearest)));
    (outside, range)
}

/// The sums over each vector's lanes, in the order of [`excess`](bounds::excess): the lanes 4 to 7 are added to 0 to 3, and of
/// these the sum is (0 + 2) + (1 + 3).
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn totals(of: [__m512d; ABREAST]) -> __m512d {
    let quads = |a, b| _mm512_add_pd(_mm512_shuffle_f64x2::<0x44>(a, b), _mm512_shuffle_f64x2::<0xee>(a, b));
    let pairs = |ab, cd| {
        _mm512_add_pd(
            _mm512_shuffle_f64x2::<0x88>(ab, cd),
            _mm512_shuffle_f64x2::<0xdd>(ab, cd),
        )
    };
    let even = pairs(quads(of[0], of[2]), quads(of[4], of[6]));
    let odd = pairs(quads(of[1], of[3]), quads(of[5], of[7]));
    _mm512_add_pd(_mm512_unpacklo_pd(even, odd), _mm512_unpackhi_pd(even, odd))
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn words_at(words: &[u32], at: usize) -> __m512i {
    let words: &[u32; LANES] = words[at..].first_chunk().expect("room for a vector");
    // SAFETY: the array has the sixteen words of the vector; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn set_words(words: &mut [u32], at: usize, vector: __m512i) {
    let words: &mut [u32; LANES] = words[at..].first_chunk_mut().expect("room for a vector");
    // SAFETY: the array has the sixteen words of the vector; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn addresses_at(addresses: &[u64], at: usize) -> __m512i {
    let eight: &[u64; ABREAST] = addresses[at..].first_chunk().expect("room for a vector");
    // SAFETY: the array has the eight addresses of the vector; the load needs no alignment.
    unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
#[allow(unsafe_code)]
fn half_at(words: &[u32], at: usize) -> __m256i {
    let words: &[u32; ABREAST] = words[at..].first_chunk().expect("room for a vector");
    // SAFETY: the array has the eight words of the vector; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
#[allow(unsafe_code)]
fn numbers_of(vector: __m256i) -> [u32; ABREAST] {
    let mut numbers = [0; ABREAST];
    // SAFETY: the array has the eight words of the vector; the store needs no alignment.
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), vector) };
    numbers
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn doubles_of(vector: __m512d) -> [f64; ABREAST] {
    let mut doubles = [0.0; ABREAST];
    // SAFETY: the array has the eight doubles of the vector; the store needs no alignment.
    unsafe { _mm512_storeu_pd(doubles.as_mut_ptr(), vector) };
    doubles
}
