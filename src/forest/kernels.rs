//! The same code compiled for the processors it may meet. In: a function over a fixed number of dimensions; out: its result, by
//! the variant made for this number and this processor. All variants give the same bits: Rust neither reorders nor fuses
//! floating-point operations, whatever the instructions.
//!
//! Here and in [`wide`] is the only unsafe code of the forest: calls of functions compiled for instructions, made with the proof that the processor has
//! them, loads from places that were compared with the length of what they lie in, and hints of what will be loaded.

use super::scale::Scale;
use super::score::Run;

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

/// Proof that the processor has AVX-512; only [`Kernel::available`] makes it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide(());

#[cfg(target_arch = "x86_64")]
impl Wide {
    /// The scores of the runs, one after the other, in trees that have cuts; `D` is at most 8.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) fn score<const D: usize>(self, runs: &[Run], points: &[f32], scale: &Scale, scores: &mut [f32]) {
        // SAFETY: that there is a `Wide` says that the processor has the instructions.
        unsafe { wide::score::<D>(runs, points, scale, scores) }
    }
}

/// No proof: these processors have none.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {}

#[cfg(not(target_arch = "x86_64"))]
impl Wide {
    pub(super) fn score<const D: usize>(self, _: &[Run], _: &[f32], _: &Scale, _: &mut [f32]) {
        match self {}
    }
}

#[cfg(target_arch = "x86_64")]
mod wide;
