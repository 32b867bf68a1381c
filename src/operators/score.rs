//! `score`: how strange each reading is to the random cut forest of its key, and whether that makes it an anomaly.
//!
//! One forest and one threshold per key; readings meet them in source order. Readings without any known measure pass by: they neither
//! train nor score. No key is limited to one worker: a forest's trees are dealt out to all of them, tree by tree, and what they
//! add up to has the same bits whoever has which ([`ForestPart`](crate::forest::ForestPart)). An epoch goes
//!
//! ```text
//!  by key              by tree            by key            by tree             by key
//!  readings ─ Points ─┬─ points ─ Score ── shares ─ Judge ─┬─ asked ─ Explain ── parts ─ Finish ─ scored readings
//!                     └──────────── epoch ──────────┴──────┴───────── epoch ─────────────┘
//! ```
//!
//! Points makes points out of a key's readings, Score takes them through the trees, Judge adds up and finds the anomalies, and
//! these alone go to Explain, which attributes them with the trees as they were then. The epoch itself stays where its key is.
//!
//! Points waits for the whole epoch, since it takes readings in source order. From there on a key's points and questions come in order,
//! all of them from its owner, and the owner knows how many answers it will get: nobody waits for a frontier, which would be a
//! round of all workers at every step.

use std::cell::RefCell;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use super::Rows;
use super::deal::Deal;
use super::grouping::Grouping;
use crate::detection::Detection;
use crate::forest::Parameters;
use crate::record::{Reading, Scored};
use crate::snapshot::Checkpoints;

mod judge;
mod points;
mod room;
mod state;
#[cfg(test)]
mod tests;
mod trees;

pub use room::Room;

/// What a key's owner does with a reading besides, in trees: by the seconds of the operators in a replay with one worker.
const OWNERS_WORK: usize = 10;

/// Scores every reading with the forest of its `key`; those that `detection` finds anomalous get an attribution and their threshold.
pub fn score<'scope>(
    readings: Rows<'scope, Reading>,
    key: Grouping,
    parameters: Parameters,
    detection: Detection,
    room: &Room,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, Scored> {
    let deal = Deal::new(&readings.scope(), parameters.trees, OWNERS_WORK);
    let state::State {
        sources,
        trees,
        thresholds,
    } = state::restored(checkpoints, &parameters, detection.rule, deal, room);
    let trees = Rc::new(RefCell::new(trees));
    let (points, epochs) = points::points(readings, key, &parameters, detection.ranges, deal, sources, checkpoints);
    let shares = trees::score(points, Rc::clone(&trees), checkpoints);
    let (epochs, asked) = judge::judge(
        epochs,
        shares,
        &parameters,
        detection.rule,
        deal,
        thresholds,
        checkpoints,
    );
    let parts = trees::explain(asked, trees);
    judge::finish(epochs, parts, &parameters, deal)
}

/// Passes readings on without a score, for a dataflow whose forest is switched off or that has none.
pub fn unscored<'scope>(readings: Rows<'scope, Reading>) -> Rows<'scope, Scored> {
    readings.unary::<CapacityContainerBuilder<Vec<Scored>>, _, _, _>(Pipeline, "Unscored", |_, _| {
        |input, output| {
            input.for_each_stamp(|stamp, batches| {
                for batch in batches {
                    let mut passed = batch.drain(..).map(pass).collect();
                    output.session(&stamp).give_container(&mut passed);
                }
            });
        }
    })
}

fn pass(reading: Reading) -> Scored {
    Scored {
        reading,
        score: None,
        attribution: None,
        threshold: None,
    }
}
