//! `post`: puts alerts into the outbox, epoch by epoch, before their commit can be made.
//!
//! All alerts come to worker 0, which has the outbox. An epoch is in the dataflow only once it is durable, so whoever delivers may take
//! an alert from there at once: should the program die, the epoch comes again and brings the same one.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::stash::Stash;
use crate::alerts::{Alert, Outbox};
use crate::cluster::halt;
use crate::commit::{Staged, Tally};

/// Posts the alerts and counts them. `outbox` is there on worker 0 only.
pub fn post(alerts: Rows<'_, Alert>, outbox: Option<Arc<Outbox>>) -> Rows<'_, Staged> {
    let to_one = Exchange::new(|_: &Alert| 0);
    let mut stash = Stash::<Alert>::default();
    alerts.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_one, "Post", |_, _| {
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], mut alerts)) = stash.complete(frontier) {
                alerts.sort_by_key(|alert| alert.position);
                if let Some(outbox) = &outbox {
                    outbox
                        .put(*capability.time(), &alerts)
                        .unwrap_or_else(|error| halt(error));
                }
                let tally = Tally {
                    alerts: alerts.len() as u64,
                    ..Tally::default()
                };
                output.session(&capability).give(Staged {
                    tally,
                    ..Staged::default()
                });
            }
        }
    })
}
