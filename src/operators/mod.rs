//! The steps of a dataflow, one timely operator a file; `dataflows/` puts them together.
//!
//! In and out: streams of epochs. Every operator whose result depends on order holds an epoch's rows until
//! the epoch is complete and then takes them in the order of their position in the source, so that neither
//! arrival nor the number of workers shows in any result.

mod alert;
mod anomalies;
mod barrier;
mod batches;
mod collect_identities;
mod commit;
mod deal;
mod deduplicate;
mod deidentify;
mod deliver;
mod enrich;
mod fork;
mod grouping;
mod hand_over;
mod lateness;
mod list_unknown;
#[cfg(test)]
mod lives;
mod lookup;
mod mark_late;
mod parse;
mod post;
#[cfg(test)]
mod replay;
mod score;
mod score_windows;
mod select;
mod shard;
mod show;
mod stash;
mod tap;
mod to_owner;
mod tumbling;
mod watermark;
mod wire;
mod witness;

pub use alert::{Alerting, alert};
pub use anomalies::anomalies;
pub use collect_identities::collect_identities;
pub use commit::{Committer, Committing, commit};
pub use deduplicate::{Copies, deduplicate};
pub use deidentify::deidentify;
pub use deliver::{Delivery, count_dropped, deliver};
pub use enrich::{DeviceUpdate, arrange_devices, enrich};
pub use grouping::Grouping;
pub use hand_over::HandOver;
pub use lateness::Lateness;
pub use list_unknown::{UnknownDevices, list_unknown};
pub use mark_late::mark_late;
pub use parse::parse;
pub use post::post;
pub use score::{Room, score, unscored};
pub use score_windows::score_windows;
pub use select::{Selection, select};
pub use shard::{DeviceKey, route_device, route_key};
pub use show::show;
pub use tumbling::{Tumbling, tumbling};
pub use watermark::{Mark, Step, WatermarkRules, watermark, watermark_per_device};
pub use witness::witness;

/// A stream of rows.
pub type Rows<'scope, D> = timely::dataflow::StreamVec<'scope, crate::source::Time, D>;
