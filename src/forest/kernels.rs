//! The same code compiled for the processors it may meet. In: a function over a fixed number of dimensions; out: its result, by
//! the variant made for this number and this processor. All variants give the same bits: Rust neither reorders nor fuses
//! floating-point operations, whatever the instructions.
//!
//! The only unsafe code of the forest: calls of functions compiled for instructions, made where the processor has them, and loads
//! from places that were compared with the length of what they lie in.

use super::cut_tree::{CutTree, Link, Node};
use super::scale::Scale;

/// Calls `function::<D>(arguments…)`, with `D` the given number of dimensions where a variant exists and 0 where not.
macro_rules! kernel {
    ($dimensions:expr, $function:ident($($argument:expr),*)) => {
        match $dimensions {
            1 => super::kernels::dispatch(#[inline(always)] || $function::<1>($($argument),*)),
            2 => super::kernels::dispatch(#[inline(always)] || $function::<2>($($argument),*)),
            3 => super::kernels::dispatch(#[inline(always)] || $function::<3>($($argument),*)),
            4 => super::kernels::dispatch(#[inline(always)] || $function::<4>($($argument),*)),
            5 => super::kernels::dispatch(#[inline(always)] || $function::<5>($($argument),*)),
            6 => super::kernels::dispatch(#[inline(always)] || $function::<6>($($argument),*)),
            8 => super::kernels::dispatch(#[inline(always)] || $function::<8>($($argument),*)),
            _ => super::kernels::dispatch(#[inline(always)] || $function::<0>($($argument),*)),
        }
    };
}
pub(super) use kernel;

/// Proof that the processor has AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Wide(());

#[cfg(target_arch = "x86_64")]
impl Wide {
    #[inline]
    pub(super) fn new() -> Option<Wide> {
        (std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl")).then_some(Wide(()))
    }

    /// The score from the leaf's parent up, `score` being that of the leaf at this depth. `D` is at most 8.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) fn climb<const D: usize>(
        self,
        tree: &CutTree,
        parent: usize,
        depth: usize,
        point: &[f32],
        scale: &Scale,
    ) -> f64 {
        // SAFETY: that there is a `Wide` says that the processor has the instructions.
        unsafe { wide::climb::<D>(tree, parent, depth, point, scale) }
    }
}

/// No proof: these processors have none.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(super) enum Wide {}

#[cfg(not(target_arch = "x86_64"))]
impl Wide {
    pub(super) fn new() -> Option<Wide> {
        None
    }

    pub(super) fn climb<const D: usize>(self, _: &CutTree, _: usize, _: usize, _: &[f32], _: &Scale) -> f64 {
        match self {}
    }
}

/// Points that [`descend`] takes down at once.
pub(super) const ROWS: usize = 32;

/// Trees that [`descend_trees`] goes down side by side.
pub(super) const TREES: usize = 4;

/// The ways of up to [`ROWS`] rows of `points` down a tree from its root, which is no leaf: the leaf and the number of cuts of
/// each; of what lies beyond the rows nothing is said. None where the processor lacks the instructions.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline]
pub(super) fn descend(tree: &CutTree, root: Link, points: &[f32]) -> Option<[(usize, usize); ROWS]> {
    let fits = points.len() >= tree.dimensions && points.len() < 1 << 24;
    if !fits || !std::is_x86_feature_detected!("avx512f") {
        return None;
    }
    let last = points.len() / tree.dimensions - 1;
    let from: [_; 2] = std::array::from_fn(|group| places(group * wide::LANES, last, tree.dimensions));
    let nodes = tree.nodes.as_slice();
    // SAFETY: the processor has the instructions, as was just asked.
    let ends = unsafe {
        if last < wide::LANES {
            let [ends] = wide::descend([root.bits()], [nodes], points, [from[0]]);
            [ends; 2]
        } else {
            wide::descend([root.bits(); 2], [nodes; 2], points, from)
        }
    };
    Some(std::array::from_fn(|row| ends[row / wide::LANES][row % wide::LANES]))
}

/// The ways of the first up to sixteen rows of `points` down [`TREES`] trees, side by side, as [`descend`] gives them.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline]
pub(super) fn descend_trees(trees: &[&CutTree; TREES], points: &[f32]) -> Option<[[(usize, usize); 16]; TREES]> {
    let dimensions = trees[0].dimensions;
    let roots = trees.map(|tree| tree.root.filter(|root| !root.is_leaf()));
    let fits = points.len() >= dimensions && points.len() < 1 << 24 && roots.iter().all(Option::is_some);
    if !fits || !std::is_x86_feature_detected!("avx512f") {
        return None;
    }
    let from = places(0, points.len() / dimensions - 1, dimensions);
    let roots = roots.map(|root| root.map_or(0, Link::bits));
    // SAFETY: the processor has the instructions, as was just asked.
    Some(unsafe { wide::descend(roots, trees.map(|tree| tree.nodes.as_slice()), points, [from; TREES]) })
}

/// Where the rows from `first` on begin; the last stands in for those beyond it.
#[cfg(target_arch = "x86_64")]
fn places(first: usize, last: usize, dimensions: usize) -> [i32; wide::LANES] {
    std::array::from_fn(|lane| ((first + lane).min(last) * dimensions) as i32)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn descend_trees(_: &[&CutTree; TREES], _: &[f32]) -> Option<[[(usize, usize); 16]; TREES]> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn descend(_: &CutTree, _: Link, _: &[f32]) -> Option<[(usize, usize); ROWS]> {
    None
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{CutTree, Node, Scale};

    pub(super) const LANES: usize = 16;
    const LEVELS: usize = 4;

    /// Sixteen points a vector, so many vectors, with their links; `from` says where in `points` each begins.
    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code)]
    pub(super) fn descend<const GROUPS: usize>(
        roots: [u32; GROUPS],
        nodes: [&[Node]; GROUPS],
        points: &[f32],
        from: [[i32; LANES]; GROUPS],
    ) -> [[(usize, usize); LANES]; GROUPS] {
        const { assert!(size_of::<Node>() == 12) };
        let most_nodes = nodes.map(|nodes| splat(nodes.len()));
        let most_values = splat(points.len());
        let (one, low_bits) = (splat(1), splat(0xfff));
        let mut links = roots.map(|root| _mm512_set1_epi32(root as i32));
        let mut depths = [_mm512_setzero_si512(); GROUPS];
        // SAFETY: the array has the size of the vector.
        let from = from.map(|places| unsafe { _mm512_loadu_si512(places.as_ptr().cast()) });
        let mut moving = true;
        while moving {
            for _ in 0..LEVELS {
                for group in 0..GROUPS {
                    let link = links[group];
                    let down = _mm512_cmplt_epi32_mask(link, _mm512_setzero_si512());
                    let node = _mm512_and_si512(link, low_bits);
                    let value = _mm512_add_epi32(from[group], _mm512_srli_epi32::<12>(link));
                    let sound =
                        _mm512_cmplt_epu32_mask(node, most_nodes[group]) & _mm512_cmplt_epu32_mask(value, most_values);
                    assert!(
                        sound | down == !0,
                        "a link leads to a node and a dimension of the points"
                    );
                    let node = _mm512_add_epi32(_mm512_add_epi32(node, node), node);
                    let zero = _mm512_setzero_ps();
                    // SAFETY: only the lanes that are not down are loaded; in these, as just asserted, `value` is less than the
                    // length of `points`, and `node`, in words of four bytes, is the beginning of one of the `nodes`, of three.
                    links[group] = unsafe {
                        let cut = _mm512_mask_i32gather_ps::<4>(zero, !down, node, nodes[group].as_ptr().cast());
                        let x = _mm512_mask_i32gather_ps::<4>(zero, !down, value, points.as_ptr());
                        let right = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, cut);
                        let child = _mm512_add_epi32(node, one);
                        let child = _mm512_mask_add_epi32(child, right, child, one);
                        _mm512_mask_i32gather_epi32::<4>(link, !down, child, nodes[group].as_ptr().cast())
                    };
                    depths[group] = _mm512_mask_add_epi32(depths[group], !down, depths[group], one);
                }
            }
            moving = links
                .iter()
                .any(|link| _mm512_cmpge_epi32_mask(*link, _mm512_setzero_si512()) != 0);
        }
        std::array::from_fn(|group| {
            let (links, depths) = (words(links[group]), words(depths[group]));
            std::array::from_fn(|lane| ((links[lane] & 0xfff) as usize, depths[lane] as usize))
        })
    }

    /// Boxes between two looks whether the point lies inside: most ways up end within so many.
    const BOXES: usize = 8;

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn climb<const D: usize>(
        tree: &CutTree,
        parent: usize,
        mut depth: usize,
        point: &[f32],
        scale: &Scale,
    ) -> f64 {
        assert!(0 < D && D <= 8);
        let x = doubles::<D>(point.first_chunk().expect("a value per dimension"));
        let (mut node, mut score) = (parent, scale.unseen(depth));
        loop {
            let mut last = 0.0;
            for _ in 0..BOXES / 4 {
                let (separations, above) = separations::<D>(tree, node, x);
                for level in [0, 2, 1, 3] {
                    depth = depth.saturating_sub(1);
                    score += separations[level] * (scale.unseen(depth) - score);
                }
                (last, node) = (separations[3], above);
            }
            if last == 0.0 {
                return score;
            }
        }
    }

    /// The probabilities that a cut separates the point at a node and at the three above, in the order first, third, second,
    /// fourth; and the node above these. The sums are those of [`reach`](super::super::bounds::reach).
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn separations<const D: usize>(tree: &CutTree, mut node: usize, x: __m512d) -> ([f64; 4], usize) {
        let (mut excess, mut range) = ([_mm256_setzero_pd(); 4], [_mm256_setzero_pd(); 4]);
        for level in 0..4 {
            let bounds = &tree.boxes[node * 2 * D..][..2 * D];
            let low = doubles::<D>(bounds.first_chunk().expect("lows"));
            let high = doubles::<D>(bounds.last_chunk().expect("highs"));
            let outside = _mm512_max_pd(_mm512_sub_pd(low, x), _mm512_sub_pd(x, high));
            excess[level] = folded::<D>(_mm512_max_pd(outside, _mm512_setzero_pd()));
            range[level] = folded::<D>(_mm512_sub_pd(high, low));
            node = usize::from(tree.node_parents[node]);
        }
        let excess = totals(excess);
        let whole = _mm256_add_pd(totals(range), excess);
        (array(_mm256_div_pd(excess, whole)), node)
    }

    /// As many values, widened, and zeros.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    #[allow(unsafe_code)]
    fn doubles<const D: usize>(values: &[f32; D]) -> __m512d {
        // SAFETY: of the eight values the mask lets through those that the array has.
        _mm512_cvtps_pd(unsafe { _mm256_maskz_loadu_ps(((1u16 << D) - 1) as u8, values.as_ptr()) })
    }

    /// The lanes 4 to 7 added to 0 to 3.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn folded<const D: usize>(values: __m512d) -> __m256d {
        let low = _mm512_castpd512_pd256(values);
        if D > 4 {
            _mm256_add_pd(low, _mm512_extractf64x4_pd::<1>(values))
        } else {
            low
        }
    }

    /// The sums over the lanes, (0 + 2) + (1 + 3), of the first, third, second and fourth.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn totals([a, b, c, d]: [__m256d; 4]) -> __m256d {
        let halves = |a, b| {
            _mm256_add_pd(
                _mm256_permute2f128_pd::<0x20>(a, b),
                _mm256_permute2f128_pd::<0x31>(a, b),
            )
        };
        _mm256_hadd_pd(halves(a, b), halves(c, d))
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    #[allow(unsafe_code)]
    fn array(values: __m256d) -> [f64; 4] {
        let mut array = [0.0; 4];
        // SAFETY: the array has the size of the vector.
        unsafe { _mm256_storeu_pd(array.as_mut_ptr(), values) };
        array
    }

    #[target_feature(enable = "avx512f")]
    fn splat(value: usize) -> __m512i {
        _mm512_set1_epi32(value as i32)
    }

    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code)]
    fn words(vector: __m512i) -> [u32; LANES] {
        let mut words = [0; LANES];
        // SAFETY: the array has the size of the vector.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
        words
    }
}

/// Runs `work` compiled for the best instructions this processor has.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline]
pub(super) fn dispatch<R>(work: impl FnOnce() -> R) -> R {
    if std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi2")
    {
        // SAFETY: the processor has the instructions, as was just asked.
        unsafe { avx512(work) }
    } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi2") {
        // SAFETY: the processor has the instructions, as was just asked.
        unsafe { avx2(work) }
    } else {
        work()
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn dispatch<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,bmi2")]
fn avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}
