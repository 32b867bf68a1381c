//! Real-time analytics: every reading scored by the random cut forest of its key; anomalies; tumbling windows on event time.
//!
//! ```text
//!  records ── sensor collection ── enrich ──┬── score ── mark late ──┬── readings/
//!                                           │              │         ├── anomalies/ ── alert ── post
//!                                       watermark ─────────┴── windows ── windows/
//! ```

use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::{Concat, Probe};

use super::ingest_transform_load::join;
use super::sensor_collection::collect;
use super::{Equipment, Sources};
use crate::operators::{
    alert, anomalies, commit, deliver, mark_late, post, score, score_windows, show, tumbling, unscored, watermark,
    watermark_per_device,
};
use crate::settings::WatermarkScope;
use crate::sink::{Anomalies, Readings, Windows};
use crate::source::Time;

/// The whole of it; the probe follows what has reached the tables' writers.
pub fn realtime_analytics(sources: Sources<'_>, mut equipment: Equipment) -> ProbeHandle<Time> {
    let flow = ProbeHandle::new();
    let (readings, staged) = collect(sources.records, &mut equipment);
    let (readings, staged) = join(readings, staged, sources.devices, &mut equipment);

    let (rules, scope) = (equipment.watermark_rules(), equipment.shared.settings.windows.watermark);
    let (readings, steps) = match scope {
        WatermarkScope::Global => watermark(readings, sources.marks, rules, equipment.checkpoints()),
        WatermarkScope::Device => watermark_per_device(readings, sources.marks, rules, equipment.checkpoints()),
    };

    let scored = match equipment.shared.settings.forest.enabled {
        true => score(
            readings,
            equipment.forest_key(),
            equipment.forest_parameters(),
            equipment.detection(),
            &equipment.room(),
            equipment.checkpoints(),
        ),
        false => unscored(readings),
    };
    let scored = match scope {
        WatermarkScope::Global => mark_late(scored, steps.clone(), rules, equipment.checkpoints()),
        WatermarkScope::Device => scored, // marked where their watermarks are
    };

    let (scored, windows) = tumbling(scored, steps, equipment.tumbling(), equipment.checkpoints());
    let windows = match equipment.shared.settings.windows.score {
        true => score_windows(
            windows,
            equipment.grouping_names(),
            equipment.window_forest_parameters(),
            equipment.checkpoints(),
        ),
        false => windows,
    };

    let (scored, anomalies) = anomalies(scored);
    let staged = match equipment.alerting() {
        Some(alerting) => {
            let alerts = alert(anomalies.clone(), alerting, equipment.checkpoints());
            staged.concat(post(alerts, equipment.outbox()))
        }
        None => staged,
    };
    let scored = equipment.witnessed(show(scored, equipment.board()));

    let (scored, anomalies, windows) = (
        scored.probe_with(&flow),
        anomalies.probe_with(&flow),
        windows.probe_with(&flow),
    );
    let (columns, delivery) = (equipment.columns(), equipment.delivery());
    let counts = equipment.reading_counts();
    let staged = staged
        .concat(deliver(
            scored,
            Readings::new(columns.clone()),
            delivery.clone(),
            counts,
        ))
        .concat(deliver(
            anomalies,
            Anomalies::new(columns.clone()),
            delivery.clone(),
            |_, tally| tally.anomalies += 1,
        ))
        .concat(deliver(
            windows,
            Windows::new(&columns, equipment.grouping_names()),
            delivery,
            |row, tally| match row.revision {
                0 => tally.windows += 1,
                _ => tally.revisions += 1,
            },
        ));

    commit(staged, equipment.committer());
    flow
}
