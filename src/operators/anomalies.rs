//! `anomalies`: the anomalous readings, with what makes them strange.

use timely::container::CapacityContainerBuilder;

use super::Rows;
use super::tap::tap;
use crate::record::{Anomaly, Scored};

/// The readings unchanged, and those among them that [`score`](super::score()) found anomalous.
pub fn anomalies<'scope>(scored: Rows<'scope, Scored>) -> (Rows<'scope, Scored>, Rows<'scope, Anomaly>) {
    tap::<_, _, _, CapacityContainerBuilder<Vec<Anomaly>>, _>(scored, "Anomalies", |scored: &Scored| {
        scored.threshold.map(|threshold| Anomaly {
            scored: scored.clone(),
            threshold,
        })
    })
}
