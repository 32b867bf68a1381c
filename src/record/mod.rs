//! The rows: what a reading is, how one is read from a line of input, and what becomes of it.
//!
//! In: the bytes of one record and where it stood in the source. Out: a [`Parsed`] reading with the
//! patient's identity still beside it, or a [`Rejection`] that says why the record cannot be used; further on
//! [`Scored`] readings, [`Anomaly`]s, [`WindowRow`]s and [`Quarantined`] records. Knows nothing of timely.

mod device;
mod fields;
mod identity_places;
mod json;
mod reading;
mod rejection;
mod scalar;
mod timestamp;
mod window;

pub use device::{Device, DeviceId, Known, Period};
pub use fields::{DeviceFrom, Fields, topic_level};
pub use identity_places::IdentityPlaces;
pub use json::Parser;
pub use reading::{Anomaly, Identity, Measures, Parsed, Reading, Scored};
pub use rejection::{Quarantined, Reason, Rejection, RowFault};
pub use scalar::measure_of;
pub use timestamp::{EventTime, Zone, date_of, day_of, format_event_time};
pub use window::{Key, Statistics, WindowRow};
