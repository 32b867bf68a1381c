//! Wardflow: a streaming engine for medical-device telemetry.
//!
//! The map of the crate, in the direction in which the data flows and imports run:
//!
//! ```text
//! commands ─ dataflows ─┬─ source      where records come from, cut into epochs
//!                       ├─ operators   the steps of a dataflow, on timely and differential
//!                       ├─ sink        tables to Parquet
//!                       ├─ commit      when results become visible
//!                       └─ cluster     workers, processes, the clean end of all
//!          coverage ────── source      what a dataflow would do with records, and how well it fits a sample
//! below them, knowing nothing of timely:
//!   record    the rows            devices   the device collection
//!   forest    random cut forests  vault     identities under lock
//!   settings  the dataflow file   observe   what a run does and costs
//!   detection when a reading is an anomaly
//!   alerts    which anomalies are told of, and how that arrives
//!   judge     how well scores tell what is labelled
//!   simulate  a ward that does not exist, as records
//!   disk      what survives a crash        journal   what a live source received, on that disk
//!   mqtt      a connection to a broker     snapshot  what the operators remember, on that disk
//!   broker    the demo's own MQTT broker    threads   names, and who goes first
//! ```
//!
//! The invariant that everything hangs on: the committed output is a pure function of input, settings, the device collection's history, vault
//! and keys. Whatever looks at a clock, a thread or a hash seed must not reach a result.

#![deny(unsafe_code)]

pub mod alerts;
#[cfg(feature = "broker")]
pub mod broker;
pub mod cluster;
pub mod commands;
pub mod commit;
pub mod coverage;
#[path = "../dataflows/mod.rs"] // beside the settings of the three, where a reader looks for them
pub mod dataflows;
pub mod detection;
pub mod devices;
pub mod disk;
pub mod forest;
pub mod journal;
pub mod judge;
pub mod mqtt;
pub mod observe;
pub mod operators;
pub mod record;
pub mod settings;
pub mod simulate;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod threads;
pub mod vault;
