//! `witness`: brings what was made of every reading to the one worker that will judge it.

use std::cell::RefCell;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Exchange, Inspect};

use super::Rows;
use super::tap::tap;
use crate::judge::{Outcome, Trial};
use crate::record::Scored;

/// The readings unchanged; `trial` is there on worker 0 and takes the outcomes of all workers, in no order.
pub fn witness<'scope>(scored: Rows<'scope, Scored>, trial: Option<Rc<RefCell<Trial>>>) -> Rows<'scope, Scored> {
    let (scored, outcomes) = tap::<_, _, _, CapacityContainerBuilder<Vec<Outcome>>, _>(scored, "Witness", |scored| {
        Some(Outcome {
            position: scored.reading.position,
            device: scored.reading.device.clone(),
            timestamp: scored.reading.timestamp,
            score: scored.score,
            anomalous: scored.attribution.is_some(),
        })
    });
    outcomes.exchange(|_| 0).inspect(move |outcome| {
        if let Some(trial) = &trial {
            trial.borrow_mut().take(outcome.clone());
        }
    });
    scored
}
