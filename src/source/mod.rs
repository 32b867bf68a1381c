//! Where records come from, cut into epochs.
//!
//! In: files, folders, globs or standard input. Out: for every epoch, one [`Chunk`] of raw records for
//! each worker of this process. Epochs and commits are cut by position in the input and nothing else, so
//! every process of a cluster cuts the same ones without asking the others.

mod chunk;
mod epoch;
mod feed;
mod files;
mod inputs;

pub use chunk::{Chunk, Line, Record};
pub use epoch::{Time, commit_of, end_of_commit, time_of};
pub use feed::{Feed, FeedHandle, start};
pub use files::{Cut, ReadError, Reader};
pub use inputs::{InputError, InputFile, Inputs};
