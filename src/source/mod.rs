//! Where records come from, cut into epochs.
//!
//! In: files, folders, globs or standard input (JSON lines, CSV or Parquet, packed or not), or an MQTT broker. Out: for every epoch,
//! one [`Chunk`] of raw records for each worker of this process, what is live only once it is durable in the journal; rows of CSV and Parquet have become JSON objects by then, so that one
//! parser reads all. Of files, epochs and commits are cut by position in the input and by event times and nothing else, so every
//! process of a cluster cuts the same ones without asking the others; live ones are cut as the records come, by process 0 for all.

mod arrivals;
mod chunk;
mod csv_rows;
mod deal;
mod devices;
mod ends_soon;
mod epoch;
mod feed;
mod files;
mod format;
mod inputs;
mod json_text;
mod lines;
mod live;
mod mqtt;
mod order;
mod pace;
mod parquet_rows;
mod recorded;
mod records;
mod release;
mod set;
mod strand;
mod tail;
#[cfg(test)]
mod testing;

pub use chunk::{Chunk, Line, Record};
pub use devices::{LiveDevices, Offer};
pub use ends_soon::EndsSoon;
pub use epoch::{Time, commit_of, end_of_commit, time_of};
pub use feed::{Epochs, Feed, FeedHandle, SourceError, start};
pub use files::{Cut, Epoch, Reader};
pub use inputs::{InputError, InputFile, Inputs};
pub use live::{CommitEnds, LiveCut, Log, Owned};
pub use mqtt::{Acknowledger, Asked, Connectivity, Message, MqttError, Subscription, endpoint, subscribe};
pub use pace::Speed;
pub use recorded::{Recorded, Records};
pub use records::ReadError;
pub use release::Release;
pub use set::{Ends, Members, Others, follow, lead, tell_ready, wait_until_ready};
pub use tail::{ANCHORS, Ingest};
