//! Where records come from, cut into epochs.
//!
//! In: files, folders, globs or standard input, or an MQTT broker. Out: for every epoch, one [`Chunk`] of raw records for
//! each worker of this process. Of files, epochs and commits are cut by position and nothing else, so
//! every process of a cluster cuts the same ones without asking the others; live ones are cut as the records come.

mod chunk;
mod epoch;
mod feed;
mod files;
mod inputs;
mod live;
mod mqtt;

pub use chunk::{Chunk, Line, Record};
pub use epoch::{Time, commit_of, end_of_commit, time_of};
pub use feed::{Epochs, Feed, FeedHandle, start};
pub use files::{Cut, ReadError, Reader};
pub use inputs::{InputError, InputFile, Inputs};
pub use live::{Live, LiveCut};
pub use mqtt::{Connectivity, MqttError, Subscription, subscribe};
