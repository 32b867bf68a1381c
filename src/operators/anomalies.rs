//! `anomalies`: the readings at or above the threshold, with what makes them strange.

use timely::container::CapacityContainerBuilder;

use super::Rows;
use super::tap::tap;
use crate::record::{Anomaly, Scored};

/// The readings unchanged, and the anomalous ones among them: those that [`score`](super::score()) found at or above
/// its threshold, which is `threshold`.
pub fn anomalies<'scope>(
    scored: Rows<'scope, Scored>,
    threshold: f64,
) -> (Rows<'scope, Scored>, Rows<'scope, Anomaly>) {
    tap::<_, _, _, CapacityContainerBuilder<Vec<Anomaly>>, _>(scored, "Anomalies", move |scored: &Scored| {
        scored.attribution.is_some().then(|| Anomaly {
            scored: scored.clone(),
            threshold,
        })
    })
}
