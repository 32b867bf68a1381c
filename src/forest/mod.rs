//! The random cut forest: how strange is a point, given the points before it?
//!
//! In: the points of one key in source order (`f32`, finite), made of readings by [`DeviceMemory`], which fills in missing
//! measures and builds shingles. Out: a [`Scored`] per point, with the share of every measure where the score reaches a threshold.
//! A [`Forest`] has all trees; [`ForestPart`]s have some each, so that several workers can share the work of one key.
//!
//! The algorithm is that of Guha, Mishra, Roy, Schrijvers, "Robust Random Cut Forest Based Anomaly Detection On Streams",
//! ICML 2016, with time-decayed sampling and scores on the scale of Amazon's RANDOM_CUT_FOREST (see [`Scoring`]).
//! A forest is a pure function of its parameters, its key and the points given to it: however they are cut into batches,
//! and on every machine, all bits of all scores are the same.

mod attribution;
mod bounds;
mod cut_tree;
mod delete;
mod ensemble;
mod grid;
mod grow;
mod imputation;
mod kernels;
mod parameters;
mod part;
mod random;
mod sampler;
mod scale;
mod score;
mod shingle;
mod spare;
mod standard;
mod state;
#[cfg(test)]
mod tests;
mod tree;

pub use attribution::{Attribution, Part};
pub use ensemble::{Forest, Scored};
pub use imputation::{DeviceMemory, KeyMemory};
pub use parameters::{Normalise, ParameterError, Parameters, Scoring};
pub use part::{Before, ForestPart, Whole};
pub use shingle::Shingle;
pub use spare::Spare;
pub use state::StateError;
