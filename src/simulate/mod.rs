//! The ward that does not exist: simulated devices, patients and their readings, as the paper's load generator sent them.
//!
//! In: a [`Plan`]. Out: a [`Simulation`], an endless iterator of [`Record`]s: when each is due, its JSON, and for readings of an
//! injected fault a [`Label`]; the device collection as CSV; and [`publish`], which sends records to an MQTT broker on schedule and
//! counts what was acknowledged.
//!
//! The same plan gives the same bytes on every machine: the only source of chance is SplitMix64, exp and sin come from a
//! software library, and no clock, thread or hash order is asked.
//!
//! ```
//! use wardflow::simulate::{Plan, Simulation};
//!
//! let plan = Plan { devices: 40, patients: 40, ..Plan::default() };
//! let first = Simulation::new(plan)?.next().expect("it never ends");
//! assert!(first.payload.starts_with(b"{\"timestamp\":") && first.due == 0.0);
//! # Ok::<(), wardflow::simulate::PlanError>(())
//! ```

mod bad;
mod faults;
mod json;
mod people;
mod plan;
mod publish;
mod random;
mod simulation;
#[cfg(test)]
mod tests;
mod vitals;

pub use faults::Fault;
pub use plan::{Kind, MEASURES, Plan, PlanError, Profile};
pub use publish::{Broker, BrokerError, Counts, PublishError, publish};
pub use simulation::{Label, Record, Simulation};
