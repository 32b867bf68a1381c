//! `collect_identities`: brings sealed sightings of patients to the one worker that owns the vault.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;

use super::Rows;
use crate::cluster::halt;
use crate::commit::Staged;
use crate::source::{commit_of, end_of_commit};
use crate::vault::{Sighting, Vault};

/// Writes a commit's sightings in one transaction, durable before the commit is. `vault` is there on worker 0 only.
///
/// Nothing comes out but progress: the stream's frontier tells the commit that the vault has all it needs.
pub fn collect_identities<'scope>(sightings: Rows<'scope, Sighting>, mut vault: Option<Vault>) -> Rows<'scope, Staged> {
    let to_owner = Exchange::new(|_: &Sighting| 0);
    let mut held = BTreeMap::new();
    sightings.unary_frontier::<CapacityContainerBuilder<Vec<Staged>>, _, _, _>(to_owner, "Vault", |_, _| {
        move |(input, frontier), _output| {
            input.for_each_stamp(|stamp, batches| {
                let Some(time) = stamp.least().copied() else { return };
                let (_, sightings) = held
                    .entry(commit_of(time))
                    .or_insert_with(|| (stamp.delayed(&time, 0), Vec::new()));
                batches.for_each(|batch| sightings.append(batch));
            });
            while let Some(first) = held.first_entry() {
                if frontier.less_equal(&end_of_commit(*first.key())) {
                    break;
                }
                let (_capability, sightings) = first.remove();
                if let Some(vault) = vault.as_mut() {
                    vault.apply(&sightings).unwrap_or_else(|e| halt(e));
                }
            }
        }
    })
}
