//! The figures for a person. In: what was measured. Out: tables.

use super::super::grid::grid;
use super::latency::Latency;
use super::{Figures, Report};
use crate::observe::grouped;

pub(super) fn table(report: &Report) -> String {
    let mut text = format!(
        "{}, {} worker{}, broker {}\nthe disk: write and fdatasync of 20 KB p50 {}, p99 {} ms\n\n",
        report.program,
        report.workers,
        if report.workers == 1 { "" } else { "s" },
        report.broker,
        millis(report.fsync.p50),
        millis(report.fsync.p99)
    );
    let mut rows = vec![cells([
        "",
        "records/s",
        "asked",
        "CPU share",
        "µs/record",
        "memory",
        "written",
        "backlog",
        "anomalies",
        "alerts",
    ])];
    rows.extend(report.scenarios.iter().map(work));
    text += &grid(&rows, 1);
    let mut rows = vec![cells(["ms from when it was due", "", "p50", "p95", "p99", "max", "of"])];
    for figures in &report.scenarios {
        for (what, latency) in [
            ("to acknowledgement", figures.acknowledged),
            ("to alert", figures.alerted),
            ("to committed Parquet", figures.committed),
        ] {
            rows.extend(latency.map(|latency| late(&figures.scenario, what, &latency)));
        }
    }
    if rows.len() > 1 {
        text += &format!("\n{}", grid(&rows, 2));
    }
    let mut rows = vec![cells([
        "a month of the paper's load",
        "the paper, body",
        "appendix",
        "the engine, core-hours",
    ])];
    rows.extend(report.scenarios.iter().filter_map(|figures| {
        let cost = figures.cost?;
        Some(vec![
            figures.scenario.clone(),
            format!("${}", grouped(u64::from(cost.paper_body_dollars))),
            format!("${}", grouped(u64::from(cost.paper_appendix_dollars))),
            format!("{:.1} of 720", cost.core_hours),
        ])
    }));
    if rows.len() > 1 {
        text += &format!("\n{}", grid(&rows, 1));
    }
    for figures in report.scenarios.iter().filter(|figures| figures.publisher_behind > 0.1) {
        if figures.rate.is_some() {
            text += &format!(
                "\n{}: the ward itself was up to {} ms late, which the latencies hold: the machine is too busy for this rate\n",
                figures.scenario,
                millis(figures.publisher_behind)
            );
        }
    }
    text
}

fn cells<const N: usize>(row: [&str; N]) -> Vec<String> {
    row.map(str::to_owned).to_vec()
}

fn work(figures: &Figures) -> Vec<String> {
    vec![
        figures.scenario.clone(),
        grouped(figures.achieved_rate.round() as u64),
        figures.rate.map_or("–".into(), |rate| grouped(rate as u64)),
        format!("{:.1} %", 100.0 * figures.cpu_share),
        format!("{:.0}", figures.cpu_microseconds_per_record),
        format!("{} MB", figures.peak_rss_bytes / 1_000_000),
        format!("{} MB", figures.written_bytes / 1_000_000),
        grouped(figures.backlog_most),
        grouped(figures.anomalies),
        grouped(figures.alerts),
    ]
}

fn late(scenario: &str, what: &str, latency: &Latency) -> Vec<String> {
    let mut row = vec![scenario.to_owned(), what.to_owned()];
    row.extend([latency.p50, latency.p95, latency.p99, latency.max].map(millis));
    row.push(grouped(latency.count as u64));
    row
}

fn millis(seconds: f64) -> String {
    format!("{:.1}", 1000.0 * seconds)
}
