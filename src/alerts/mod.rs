//! Alerts: what a live run tells of incidents, and how that reaches those who must know.
//!
//! In: anomalies. Out: messages to an MQTT broker, a topic for each manufacturer, and lines of a JSON file.
//!
//! ```text
//!  anomalies ── incidents ── alert ── outbox ──┬── publisher ── broker
//!               (one each)            (on disk) └── scribe ──── file
//! ```
//!
//! An alert is a function of the input, like a row of a table: the same anomalies become alerts, with the same ids and the same content,
//! whatever the workers and however often a run is killed. The [`Outbox`] keeps alerts in the order of the epochs they come from, and
//! beside them how far each destination has confirmed them. What an epoch brings again after a crash is in it already, so that a
//! destination gets every alert at least once, and twice only where the machine died between a confirmation and its note.
//!
//! Nothing here knows who a patient is: names and dates of birth never come this far, and the patient's id is in an alert only if
//! the settings ask for it.

mod alert;
mod courier;
mod incidents;
mod outbox;
mod publisher;
mod scribe;
mod topic;

pub use alert::{Alert, Composer};
pub use courier::{Broker, Couriers};
pub use incidents::Incidents;
pub use outbox::{Destination, Letter, Outbox, OutboxError, folder_of};
pub use scribe::try_file;
pub use topic::level;
