//! `parse`: raw records to readings; what cannot be used goes to quarantine, sealed.

use std::sync::Arc;

use timely::dataflow::channels::pact::Pipeline;

use super::Rows;
use super::fork::fork;
use crate::cluster::halt;
use crate::record::{Parsed, Parser, Quarantined, Rejection};
use crate::source::{Chunk, Record};
use crate::vault::PayloadSealer;

/// Readings with their identities, and the records that could not be read.
pub fn parse<'scope>(
    chunks: Rows<'scope, Chunk>,
    parser: Parser,
    sealer: Arc<PayloadSealer>,
) -> (Rows<'scope, Parsed>, Rows<'scope, Quarantined>) {
    fork(chunks, Pipeline, "Parse", move |input, _, parsed, quarantined| {
        input.for_each_stamp(|stamp, batches| {
            let mut quarantined = quarantined.session(&stamp);
            for chunk in batches.flat_map(|batch| batch.drain(..)) {
                let mut readings = Vec::with_capacity(chunk.len());
                for record in chunk.records() {
                    match record.read(&parser) {
                        Ok(parsed) => readings.push(parsed),
                        Err(rejection) => quarantined.give(seal(&sealer, &record, rejection)),
                    }
                }
                parsed.session(&stamp).give_container(&mut readings);
            }
        });
    })
}

fn seal(sealer: &PayloadSealer, record: &Record<'_>, rejection: Rejection) -> Quarantined {
    let Rejection {
        reason,
        detail,
        timestamp,
    } = rejection;
    let sealed = sealer
        .seal(&record.file.name, record.position, record.bytes)
        .unwrap_or_else(|e| halt(e));
    let (position, line, source) = (record.position, record.line, record.file.name.clone());
    Quarantined {
        position,
        source,
        line,
        reason,
        detail,
        timestamp,
        sealed,
    }
}
