//! The scores by AVX-512, for trees of up to eight dimensions. In: trees that have cuts, and rows; out: a score for each of both.
//!
//! A row and a tree it meets make a way, down the tree and up again. Ways down go side by side, a lane of a vector each, whatever
//! their trees: every step is a load that has to be waited for, so many are under way at once. They leave a path, so that ways up
//! wait for no load to know the next: all go up one box, sixteen abreast, and those that are not there yet go up the next. Where a
//! box holds the point nothing changes from there on, so most leave soon.

use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::RangeInclusive;

use super::super::bounds;
use super::super::cut_tree::{BEHIND, CutTree, Link, Node};
use super::super::scale::Scale;
use super::super::score::Run;

/// Most ways that are taken together.
const WAYS: usize = 256;

/// Lanes of a vector of words.
const LANES: usize = 16;

/// Lanes of a vector of addresses.
const HALF: usize = LANES / 2;

/// Vectors that go down together, so that each has the others' time to wait for its loads.
const GROUPS: usize = 4;

/// Levels down between two looks whether all have arrived.
const LEVELS: usize = 2;

/// Depths whose values two vectors hold.
const SHALLOW: usize = 2 * LANES;

/// Levels that paths have room for from the start: most trees have no more.
const USUAL_LEVELS: usize = 32;

/// Fewer values than this have places that vectors can add to without overflow.
const MOST_VALUES: usize = 1 << 24;

/// The most nodes that links have room for.
const MOST_NODES: usize = 1 << 10;

/// Bytes that come into the cache together.
const LINE: usize = 64;

/// As many rows that meet a tree together have all of it read ahead: fewer need little of it, and more do not mind.
const IN_A_ROW: RangeInclusive<usize> = 6..=64;

/// A link that is a leaf.
const LEAF: u32 = Link::LEAF_0.bits() as u32;

/// Ways from the roots to the ends, by their number; room for a vector beyond the last.
struct Ways<'a> {
    points: &'a [f32],
    count: usize,
    /// Its run.
    run: [u16; WAYS],
    /// Where in `points` its row begins.
    from: [u32; WAYS + LANES],
    /// Its row, and zeros.
    row: [[f32; HALF]; WAYS],
    /// Where its tree's nodes and boxes begin, as addresses: a vector's ways may be of different trees.
    nodes: [u64; WAYS + LANES],
    boxes: [u64; WAYS],
    /// How many nodes its tree has.
    most: [u32; WAYS + LANES],
    /// At the start the root, then the leaf it has come to.
    link: [u32; WAYS + LANES],
    /// The number of cuts above the leaf.
    depth: [u32; WAYS + LANES],
    /// For every level, from the roots down, the nodes that the ways have passed; and one more, so that two can be loaded for one.
    path: Vec<u16>,
}

/// The scores of the runs, one after the other; their trees have cuts, and `D` dimensions.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
pub(super) fn score<const D: usize>(runs: &[Run], points: &[f32], scale: &Scale, scores: &mut [f32]) {
    const { assert!(D <= HALF && HALF <= BEHIND) };
    assert!(0 < D && points.len() < MOST_VALUES && runs.len() < usize::from(u16::MAX));
    for Run { cuts: tree, .. } in runs {
        let nodes = tree.nodes.len();
        assert!(tree.dimensions == D && 0 < nodes && nodes <= MOST_NODES);
        assert!(tree.boxes.len() == nodes * bounds::width(D) + BEHIND);
    }
    let mut ways = Ways {
        points,
        count: 0,
        run: [0; WAYS],
        from: [0; WAYS + LANES],
        row: [[0.0; HALF]; WAYS],
        nodes: [0; WAYS + LANES],
        boxes: [0; WAYS],
        most: [0; WAYS + LANES],
        link: [LEAF; WAYS + LANES],
        depth: [0; WAYS + LANES],
        path: Vec::with_capacity(USUAL_LEVELS * WAYS + 1),
    };
    ways.path.push(0);
    let (mut run, mut row) = (0, runs.first().map_or(0, |run| run.rows.start));
    for scores in scores.chunks_mut(WAYS) {
        ways.count = 0;
        while let Some(Run { cuts, rows, .. }) = runs.get(run)
            && ways.count < scores.len()
        {
            let taken = (rows.end - row).min(scores.len() - ways.count);
            match IN_A_ROW.contains(&taken) {
                true => read(cuts),
                false => fetch(&cuts.nodes),
            }
            ways.lay::<D>(run, cuts, row, taken);
            row += taken;
            if row == rows.end {
                run += 1;
                row = runs.get(run).map_or(0, |run| run.rows.start);
            }
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
        if ways.count == 0 {
            return;
        }
        let ended = climb::<D>(&ways, scale);
        for (number, score) in ended.number.iter().zip(&ended.score).take(ended.count) {
            scores[*number as usize] = *score;
        }
        // a point that the tree holds lies in all boxes above it
        for number in &ended.number[..ended.at_once] {
            let way = *number as usize;
            let Run { cuts, sample, .. } = &runs[usize::from(ways.run[way])];
            let (from, depth) = (ways.from[way] as usize, ways.depth[way] as usize);
            if scores[way] == scale.unseen(depth) {
                let above = ways.path[(depth - 1) * WAYS + way];
                let leaf = (above, Link::from_bits(ways.link[way] as u16), depth);
                scores[way] = cuts.leaf_score(sample, leaf, &points[from..from + D], scale);
            }
        }
    }
}

impl Ways<'_> {
    /// Adds the ways of so many rows, from `row` on, that meet the tree of a run.
    #[inline(always)]
    fn lay<const D: usize>(&mut self, run: usize, cuts: &CutTree, row: usize, count: usize) {
        let (first, points) = (self.count, &self.points[row * D..(row + count) * D]);
        assert!(first + count <= WAYS, "room for all");
        for (at, point) in points.as_chunks::<D>().0.iter().enumerate() {
            let way = first + at;
            self.row[way][..D].copy_from_slice(point);
            self.from[way] = ((row + at) * D) as u32;
            self.run[way] = run as u16;
            self.nodes[way] = cuts.nodes.as_ptr() as u64;
            self.boxes[way] = cuts.boxes.as_ptr() as u64;
            self.most[way] = cuts.nodes.len() as u32;
            self.link[way] = cuts.root.map_or(LEAF, |root| u32::from(root.bits()));
        }
        self.count += count;
    }
}

/// Begins to bring nodes into the cache, where not all of the tree is [`read`]. The ways down will need nearly all of them, but each step
/// of theirs waits for the one before it: in a live run, where a tree has left the cache since its last points, a point costs a sixth less.
#[inline(always)]
#[allow(unsafe_code)]
fn fetch(nodes: &[Node]) {
    for line in nodes.chunks(LINE / size_of::<Node>()) {
        // SAFETY: the processor has the instruction, which every x86-64 has, and it is a hint that reads and changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Brings a tree into the cache. From some rows on the ways need so much of it, here and there, that it takes less time to read all of it in
/// a row, which the memory is several times as fast at as at lines asked for one by one: in a live run a quarter of a point's time.
#[inline(always)]
fn read(cuts: &CutTree) {
    let nodes = cuts.nodes.iter().step_by(LINE / size_of::<Node>());
    let boxes = cuts.boxes.iter().step_by(LINE / size_of::<f32>());
    std::hint::black_box(nodes.map(|node| node.cut).sum::<f32>() + boxes.sum::<f32>());
}

/// Takes the ways from `first` on, sixteen for each of the groups, down to their leaves. For each and each level above its depth, its path
/// then says a node of its tree.
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
    let (mut level, mut moving) = (0, true);
    while moving {
        assert!(level <= MOST_NODES, "no way down is longer than a tree has nodes");
        let passed = (level + LEVELS) * WAYS + 1;
        if ways.path.len() < passed {
            ways.path.resize(passed, 0);
        }
        for _ in 0..LEVELS {
            for group in 0..G {
                let link = links[group];
                let go = _mm512_testn_epi32_mask(link, leaf);
                if go == 0 {
                    continue;
                }
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
                set_shorts(
                    &mut ways.path,
                    level * WAYS + groups[group],
                    _mm512_cvtepi32_epi16(index),
                );
                depths[group] = _mm512_mask_add_epi32(depths[group], go, depths[group], one);
            }
            level += 1;
        }
        moving = links.iter().any(|link| _mm512_testn_epi32_mask(*link, leaf) != 0);
    }
    for group in 0..G {
        set_words(&mut ways.link, groups[group], links[group]);
        set_words(&mut ways.depth, groups[group], depths[group]);
    }
}

/// Ways in the order in which they end; room for a vector behind the last.
struct Ended {
    count: usize,
    /// So many of the first, among them all whose point lies in its first box.
    at_once: usize,
    number: [u32; WAYS + LANES],
    score: [f32; WAYS + LANES],
}

/// Goes up from the ends; the scores are those of points that their trees do not hold.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
#[allow(unsafe_code)]
fn climb<const D: usize>(ways: &Ways, scale: &Scale) -> Ended {
    let unseen = scale.unseen_by_depth();
    let most_depths = _mm512_set1_epi32(unseen.len() as i32);
    let (one, all_ways) = (_mm512_set1_epi32(1), _mm512_set1_epi32(WAYS as i32));
    let most_passed = _mm512_set1_epi32(ways.path.len() as i32 - 1);
    let width = _mm512_set1_epi64(const { (bounds::width(D) * size_of::<f32>()) as i64 });
    let held = const { ((1u32 << D) - 1) as u16 * 0x101 };
    let mut ended = Ended {
        count: 0,
        at_once: 0,
        number: [0; WAYS + LANES],
        score: [0.0; WAYS + LANES],
    };
    // the ways that are not there yet: their number, the cuts above the box they have come from, and their score so far
    let mut number = [0; WAYS + LANES];
    let mut depth = [0; WAYS + LANES];
    let mut score = [0.0; WAYS + LANES];
    for first in (0..ways.count).step_by(LANES) {
        let numbers = _mm512_add_epi32(_mm512_set1_epi32(first as i32), counting());
        let depths = words_at(&ways.depth, first);
        set_words(&mut number, first, numbers);
        set_words(&mut depth, first, depths);
        assert!(
            _mm512_cmplt_epu32_mask(depths, most_depths) == !0,
            "depths are on the scale"
        );
        // SAFETY: all depths were just asserted to be less than the number of values.
        set_floats(&mut score, first, unsafe {
            _mm512_i32gather_ps::<4>(depths, unseen.as_ptr())
        });
    }
    let mut first_values = [0.0; SHALLOW];
    let known = unseen.len().min(SHALLOW);
    first_values[..known].copy_from_slice(&unseen[..known]);
    let shallow = [floats_at(&first_values, 0), floats_at(&first_values, LANES)];
    let mut open = ways.count;
    while open > 0 {
        let mut kept = 0;
        for first in (0..open).step_by(LANES) {
            let there = if open - first < LANES {
                (1 << (open - first)) - 1
            } else {
                !0u16
            };
            // the others are the first of these once more
            let first_again =
                |of| _mm512_mask_mov_epi32(_mm512_broadcastd_epi32(_mm512_castsi512_si128(of)), there, of);
            let numbers = first_again(words_at(&number, first));
            let depths = _mm512_sub_epi32(first_again(words_at(&depth, first)), one);
            let scores = floats_at(&score, first);
            let place = _mm512_add_epi32(_mm512_slli_epi32::<{ WAYS.ilog2() }>(depths), numbers);
            let sound = _mm512_cmplt_epu32_mask(numbers, all_ways)
                & _mm512_cmplt_epu32_mask(depths, most_depths)
                & _mm512_cmplt_epu32_mask(place, most_passed);
            assert!(sound == !0, "ways have boxes above them");
            let values = match _mm512_cmplt_epu32_mask(depths, _mm512_set1_epi32(SHALLOW as i32)) {
                0xffff => _mm512_permutex2var_ps(shallow[0], depths, shallow[1]),
                // SAFETY: all depths were just asserted to be less than the number of values.
                _ => unsafe { _mm512_i32gather_ps::<4>(depths, unseen.as_ptr()) },
            };
            // SAFETY: all places were just asserted to have one behind them in the path, so that the four bytes lie in it.
            let nodes = unsafe { _mm512_i32gather_epi32::<2>(place, ways.path.as_ptr().cast()) };
            let nodes = _mm512_and_si512(nodes, _mm512_set1_epi32(0xffff));
            let (low_half, high_half) = (_mm512_castsi512_si256(numbers), _mm512_extracti64x4_epi64::<1>(numbers));
            // SAFETY: all numbers were just asserted to be those of ways, of each of which there is an address.
            let low_boxes = unsafe { _mm512_i32gather_epi64::<8>(low_half, ways.boxes.as_ptr().cast()) };
            // SAFETY: as above, for the other eight ways.
            let high_boxes = unsafe { _mm512_i32gather_epi64::<8>(high_half, ways.boxes.as_ptr().cast()) };
            let place = |half, boxes| _mm512_add_epi64(boxes, _mm512_mul_epu32(_mm512_cvtepu32_epi64(half), width));
            let low_places = place(_mm512_castsi512_si256(nodes), low_boxes);
            let high_places = place(_mm512_extracti64x4_epi64::<1>(nodes), high_boxes);
            // SAFETY: a way's path says a node of its tree at every level above its depth, `descend` has asserted it, and the ways
            // begin with that depth and only lose of it. `score` has compared the number of nodes with the length of the boxes. So
            // every place is the address of a box, `width(D)` floats of which the last is the range.
            let low_ranges = unsafe { _mm512_i64gather_ps::<1>(low_places, (const { 8 * D } as *const f32).cast()) };
            // SAFETY: as above, for the other eight ways.
            let high_ranges = unsafe { _mm512_i64gather_ps::<1>(high_places, (const { 8 * D } as *const f32).cast()) };
            let ranges = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low_ranges), high_ranges);
            let (numbers_of, places_of) = (words_of(numbers), [addresses_of(low_places), addresses_of(high_places)]);
            macro_rules! pair {
                ($lane:literal $other:literal) => {{
                    // SAFETY: the places are those of boxes, as above, and behind the last box there are `BEHIND` floats, at least
                    // as many as each of these vectors has, which begin in a box. The rows have as many, too.
                    unsafe {
                        let (a, b) = (places_of[$lane / HALF][$lane % HALF], places_of[$other / HALF][$other % HALF]);
                        let (a, b) = (a as *const f32, b as *const f32);
                        let both = |a, b| {
                            let a = _mm512_castps256_ps512(_mm256_loadu_ps(a));
                            _mm512_insertf32x8::<1>(a, _mm256_loadu_ps(b))
                        };
                        let row = |lane: usize| ways.row.get_unchecked(numbers_of[lane] as usize).as_ptr();
                        let x = both(row($lane), row($other));
                        let nearest = _mm512_min_ps(_mm512_max_ps(x, both(a, b)), both(a.add(D), b.add(D)));
                        let outside = _mm512_sub_ps(x, nearest);
                        _mm512_maskz_andnot_ps(held, _mm512_set1_ps(-0.0), outside)
                    }
                }};
            }
            let excess = totals([
                pair!(0 4),
                pair!(8 12),
                pair!(1 5),
                pair!(9 13),
                pair!(2 6),
                pair!(10 14),
                pair!(3 7),
                pair!(11 15),
            ]);
            let separation = _mm512_div_ps(excess, _mm512_add_ps(ranges, excess));
            let outside = _mm512_cmp_ps_mask::<_CMP_NEQ_OQ>(excess, _mm512_setzero_ps());
            let change = _mm512_mul_ps(separation, _mm512_sub_ps(values, scores));
            let scores = _mm512_mask_add_ps(scores, outside, scores, change);
            let go_on = there & outside & _mm512_test_epi32_mask(depths, depths);
            let end = there & !go_on;
            set_words(&mut number, kept, _mm512_maskz_compress_epi32(go_on, numbers));
            set_words(&mut depth, kept, _mm512_maskz_compress_epi32(go_on, depths));
            set_floats(&mut score, kept, _mm512_maskz_compress_ps(go_on, scores));
            set_words(
                &mut ended.number,
                ended.count,
                _mm512_maskz_compress_epi32(end, numbers),
            );
            set_floats(&mut ended.score, ended.count, _mm512_maskz_compress_ps(end, scores));
            kept += go_on.count_ones() as usize;
            ended.count += end.count_ones() as usize;
        }
        if open == ways.count {
            ended.at_once = ended.count;
        }
        open = kept;
    }
    ended
}

/// The sums over the eight lanes of each half of the vectors, in the order of [`excess`](bounds::excess): the lanes 4 to 7 are added
/// to 0 to 3, and of these the sum is (0 + 2) + (1 + 3). The halves are those of the lanes 0 and 4, 8 and 12, 1 and 5, 9 and 13,
/// 2 and 6, 10 and 14, 3 and 7, 11 and 15 of the outcome.
#[target_feature(enable = "avx512f")]
#[inline]
fn totals(of: [__m512; HALF]) -> __m512 {
    let quads = |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
    let pairs = |a, b| _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b));
    let low = pairs(quads(of[0], of[1]), quads(of[2], of[3]));
    let high = pairs(quads(of[4], of[5]), quads(of[6], of[7]));
    _mm512_add_ps(
        _mm512_shuffle_ps::<0x88>(low, high),
        _mm512_shuffle_ps::<0xdd>(low, high),
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
fn counting() -> __m512i {
    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
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
fn floats_at(floats: &[f32], at: usize) -> __m512 {
    let floats: &[f32; LANES] = floats[at..].first_chunk().expect("room for a vector");
    // SAFETY: the array has the sixteen floats of the vector; the load needs no alignment.
    unsafe { _mm512_loadu_ps(floats.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn set_floats(floats: &mut [f32], at: usize, vector: __m512) {
    let floats: &mut [f32; LANES] = floats[at..].first_chunk_mut().expect("room for a vector");
    // SAFETY: the array has the sixteen floats of the vector; the store needs no alignment.
    unsafe { _mm512_storeu_ps(floats.as_mut_ptr(), vector) };
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn set_shorts(shorts: &mut [u16], at: usize, vector: __m256i) {
    let shorts: &mut [u16; LANES] = shorts[at..].first_chunk_mut().expect("room for a vector");
    // SAFETY: the array has the sixteen short words of the vector; the store needs no alignment.
    unsafe { _mm256_storeu_si256(shorts.as_mut_ptr().cast(), vector) };
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn addresses_at(addresses: &[u64], at: usize) -> __m512i {
    let eight: &[u64; HALF] = addresses[at..].first_chunk().expect("room for a vector");
    // SAFETY: the array has the eight addresses of the vector; the load needs no alignment.
    unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn addresses_of(vector: __m512i) -> [u64; HALF] {
    let mut addresses = [0; HALF];
    // SAFETY: the array has the eight addresses of the vector; the store needs no alignment.
    unsafe { _mm512_storeu_si512(addresses.as_mut_ptr().cast(), vector) };
    addresses
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn words_of(vector: __m512i) -> [u32; LANES] {
    let mut words = [0; LANES];
    // SAFETY: the array has the sixteen words of the vector; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}
