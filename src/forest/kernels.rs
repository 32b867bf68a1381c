//! The same code compiled for the processors it may meet. In: a function over a fixed number of dimensions; out: its result, by
//! the variant made for this number and this processor. All variants give the same bits: Rust neither reorders nor fuses
//! floating-point operations, whatever the instructions.
//!
//! The only unsafe code of the forest: calls of functions compiled for instructions, made with the proof that the processor has
//! them, and loads from places that were compared with the length of what they lie in.

use super::cut_tree::CutTree;
use super::scale::Scale;

/// Calls `function::<D>(wide, arguments…)` by the kernel, with `D` the given number of dimensions where a variant exists and 0
/// where not.
macro_rules! kernel {
    ($kernel:expr, $dimensions:expr, $function:ident($($argument:expr),*)) => {
        match $dimensions {
            1 => $kernel.run(#[inline(always)] |wide| $function::<1>(wide, $($argument),*)),
            2 => $kernel.run(#[inline(always)] |wide| $function::<2>(wide, $($argument),*)),
            3 => $kernel.run(#[inline(always)] |wide| $function::<3>(wide, $($argument),*)),
            4 => $kernel.run(#[inline(always)] |wide| $function::<4>(wide, $($argument),*)),
            5 => $kernel.run(#[inline(always)] |wide| $function::<5>(wide, $($argument),*)),
            6 => $kernel.run(#[inline(always)] |wide| $function::<6>(wide, $($argument),*)),
            8 => $kernel.run(#[inline(always)] |wide| $function::<8>(wide, $($argument),*)),
            _ => $kernel.run(#[inline(always)] |wide| $function::<0>(wide, $($argument),*)),
        }
    };
}
pub(super) use kernel;

/// The variant of the code that a forest runs. That there is one says that the processor has its instructions: only
/// [`Kernel::available`], which asks the processor, makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512(Wide),
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor of the target has.
    Portable,
}

impl Kernel {
    /// The fastest that this processor runs.
    pub(super) fn fastest() -> Kernel {
        Kernel::available().next().unwrap_or(Kernel(Instructions::Portable))
    }

    /// All that this processor runs, the fastest first and the portable one last.
    pub(super) fn available() -> impl Iterator<Item = Kernel> {
        #[cfg(target_arch = "x86_64")]
        let special = {
            let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi2");
            let avx512 = avx2
                && std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512bw");
            let avx512 = avx512.then_some(Instructions::Avx512(Wide(())));
            avx512.into_iter().chain(avx2.then_some(Instructions::Avx2))
        };
        #[cfg(not(target_arch = "x86_64"))]
        let special = std::iter::empty();
        special.chain([Instructions::Portable]).map(Kernel)
    }

    /// Runs `work`, compiled for the kernel's instructions; it gets the vectors of AVX-512 where they are among them.
    #[allow(unsafe_code)]
    #[inline]
    pub(super) fn run<R>(self, work: impl FnOnce(Option<Wide>) -> R) -> R {
        match self.0 {
            // SAFETY: the `Wide` says that the processor has all that `avx512` is compiled for.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(wide) => unsafe { avx512(wide, work) },
            // SAFETY: `available` made this kernel, once the processor had said that it has avx2 and bmi2.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2(work) },
            Instructions::Portable => work(None),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn avx2<R>(work: impl FnOnce(Option<Wide>) -> R) -> R {
    work(None)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,bmi2")]
fn avx512<R>(wide: Wide, work: impl FnOnce(Option<Wide>) -> R) -> R {
    work(Some(wide))
}

/// Points that [`Wide::descend`] takes down at once.
pub(super) const ROWS: usize = 32;

/// Trees that [`Wide::descend_trees`] goes down side by side.
pub(super) const TREES: usize = 4;

/// Most rows that [`Wide::descend_trees`] takes.
pub(super) const TREE_ROWS: usize = 16;

/// A leaf and the number of cuts above it.
pub(super) type End = (usize, usize);

/// Proof that the processor has AVX-512; only [`Kernel::available`] makes it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide(());

#[cfg(target_arch = "x86_64")]
impl Wide {
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

    /// The ways of up to [`ROWS`] rows of `points` down a tree from its root; of what lies beyond the rows nothing is said.
    /// None where the tree has no cuts.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) fn descend(self, tree: &CutTree, points: &[f32]) -> Option<[End; ROWS]> {
        let root = tree.root.filter(|root| !root.is_leaf())?.bits();
        let last = last_row(points, tree.dimensions)?;
        let from: [_; 2] = std::array::from_fn(|group| places(group * wide::LANES, last, tree.dimensions));
        let nodes = tree.nodes.as_slice();
        let ends = if last < wide::LANES {
            // SAFETY: that there is a `Wide` says that the processor has the instructions.
            let [ends] = unsafe { wide::descend([root], [nodes], points, [from[0]]) };
            [ends; 2]
        } else {
            // SAFETY: as above.
            unsafe { wide::descend([root; 2], [nodes; 2], points, from) }
        };
        Some(std::array::from_fn(|row| ends[row / wide::LANES][row % wide::LANES]))
    }

    /// The ways of the first up to [`TREE_ROWS`] rows of `points` down trees side by side, as [`descend`](Self::descend) gives
    /// them. None where one of the trees has no cuts.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) fn descend_trees(self, trees: &[&CutTree; TREES], points: &[f32]) -> Option<[[End; TREE_ROWS]; TREES]> {
        let dimensions = trees[0].dimensions;
        let mut roots = [0; TREES];
        for (root, tree) in roots.iter_mut().zip(trees) {
            *root = tree.root.filter(|root| !root.is_leaf())?.bits();
        }
        let from = places(0, last_row(points, dimensions)?, dimensions);
        let nodes = trees.map(|tree| tree.nodes.as_slice());
        // SAFETY: that there is a `Wide` says that the processor has the instructions.
        Some(unsafe { wide::descend(roots, nodes, points, [from; TREES]) })
    }
}

/// The last of the rows, none where there are none or too many for the vectors' places.
#[cfg(target_arch = "x86_64")]
fn last_row(points: &[f32], dimensions: usize) -> Option<usize> {
    let rows = points.len() / dimensions;
    (rows > 0 && points.len() < wide::MOST_VALUES).then(|| rows - 1)
}

/// Where the rows from `first` on begin; the last stands in for those beyond it.
#[cfg(target_arch = "x86_64")]
fn places(first: usize, last: usize, dimensions: usize) -> [i32; wide::LANES] {
    std::array::from_fn(|lane| ((first + lane).min(last) * dimensions) as i32)
}

/// No proof: these processors have none.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {}

#[cfg(not(target_arch = "x86_64"))]
impl Wide {
    pub(super) fn climb<const D: usize>(self, _: &CutTree, _: usize, _: usize, _: &[f32], _: &Scale) -> f64 {
        match self {}
    }

    pub(super) fn descend(self, _: &CutTree, _: &[f32]) -> Option<[End; ROWS]> {
        match self {}
    }

    pub(super) fn descend_trees(self, _: &[&CutTree; TREES], _: &[f32]) -> Option<[[End; TREE_ROWS]; TREES]> {
        match self {}
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;
    use std::mem::offset_of;

    use super::super::cut_tree::Node;
    use super::{CutTree, End, Scale};

    pub(super) const LANES: usize = super::TREE_ROWS;

    /// Fewer values than this have places that vectors can add to without overflow.
    pub(super) const MOST_VALUES: usize = 1 << 24;

    /// The most nodes that links have room for.
    const MOST_NODES: usize = 1 << 12;

    const LEVELS: usize = 4;

    /// Sixteen points a vector, so many vectors, with their links; `from` says where in `points` each begins.
    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code)]
    pub(super) fn descend<const GROUPS: usize>(
        roots: [u32; GROUPS],
        nodes: [&[Node]; GROUPS],
        points: &[f32],
        from: [[i32; LANES]; GROUPS],
    ) -> [[End; LANES]; GROUPS] {
        // a node is three words: the cut and the two children
        const { assert!(size_of::<Node>() == 12 && align_of::<Node>() == 4) };
        const { assert!(offset_of!(Node, cut) == 0 && offset_of!(Node, children) == 4) };
        assert!(points.len() < MOST_VALUES && nodes.iter().all(|nodes| nodes.len() <= MOST_NODES));
        let most_nodes = nodes.map(|nodes| splat(nodes.len()));
        let most_values = splat(points.len());
        let (one, low_bits) = (splat(1), splat(0xfff));
        let mut links = roots.map(|root| _mm512_set1_epi32(root as i32));
        let mut depths = [_mm512_setzero_si512(); GROUPS];
        // SAFETY: each array has the sixteen words that the vector takes; the load needs no alignment.
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
                    let words = nodes[group].as_ptr();
                    // SAFETY: only the lanes that are not down are loaded. In these the index was just asserted to be less than
                    // the number of nodes, and `node`, three times that, is the word where the node begins: its cut. Three
                    // times 4,096 overflows nothing.
                    let cut = unsafe { _mm512_mask_i32gather_ps::<4>(zero, !down, node, words.cast()) };
                    // SAFETY: in the lanes loaded `value` was just asserted to be less than the number of values, and that is
                    // less than 2^24, so that the place is positive also as the signed number it is taken for.
                    let x = unsafe { _mm512_mask_i32gather_ps::<4>(zero, !down, value, points.as_ptr()) };
                    let right = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, cut);
                    let child = _mm512_add_epi32(node, one);
                    let child = _mm512_mask_add_epi32(child, right, child, one);
                    // SAFETY: as for the cut; the two words behind it, of the same node, are its children. All bits are a
                    // number, whatever they mean as a link: that is asserted at the next step.
                    links[group] = unsafe { _mm512_mask_i32gather_epi32::<4>(link, !down, child, words.cast()) };
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
        const { assert!(D <= 8) };
        let held = ((1u16 << D) - 1) as u8;
        // SAFETY: of the eight values the mask lets through the first `D`, which the array has; the others are not touched, and
        // the load needs no alignment.
        _mm512_cvtps_pd(unsafe { _mm256_maskz_loadu_ps(held, values.as_ptr()) })
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
        // SAFETY: the array has the four doubles of the vector; the store needs no alignment.
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
        // SAFETY: the array has the sixteen words of the vector; the store needs no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
        words
    }
}
