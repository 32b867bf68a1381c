//! `post`: puts alerts into the outbox, epoch by epoch, before their commit can be made.
//!
//! An epoch is in the dataflow only once it is durable, so whoever delivers may take an alert from there at once: should the program die,
//! the epoch comes again and brings the same one.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::Rows;
use crate::alerts::{Alert, Outbox};
use crate::cluster::halt;
use crate::commit::{Staged, Tally};

/// Posts the alerts, which [`alert`](super::alert()) gives in the order of the outbox, and counts them. The outbox is where they are.
pub fn post(alerts: Rows<'_, Alert>, outbox: Option<Arc<Outbox>>) -> Rows<'_, Staged> {
    alerts.unary::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(Pipeline, "Post", |_, _| {
        move |input, output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                for alerts in batches {
                    if let Some(outbox) = &outbox {
                        outbox.put(time, alerts).unwrap_or_else(|error| halt(error));
                    }
                    let tally = Tally {
                        alerts: alerts.len() as u64,
                        ..Tally::default()
                    };
                    output.session(&stamp).give(Staged {
                        tally,
                        ..Staged::default()
                    });
                }
            });
        }
    })
}
