//! The verdict for a person.

use std::time::Duration;

use super::super::grid::grid;
use super::truth::Truth;
use crate::judge::{Marked, Operating, Verdict};
use crate::observe::{grouped, span};
use crate::settings::{Adapt, Alerts, Settings};

/// Labels without reading, and devices, that are named one by one.
const NAMED: usize = 10;

pub(super) fn report(
    verdict: &Verdict,
    truth: Option<&Truth>,
    marked: &Marked,
    settings: &Settings,
    by_device: bool,
) -> String {
    let mut text = format!(
        "{} of {} readings judged, {} devices, {:.2} device-days\n",
        grouped(verdict.judged),
        grouped(verdict.readings),
        verdict.devices,
        verdict.device_days
    );
    if verdict.skipped > 0 {
        text += &format!("  {} readings skipped\n", grouped(verdict.skipped));
    }
    if verdict.unscored > 0 {
        text += &format!(
            "  {} readings have no score, {} of them labelled\n",
            grouped(verdict.unscored),
            grouped(verdict.unscored_labelled)
        );
    }
    match truth {
        None => {
            text += "  no labels: every alarm counts as false; give --labels or --label-column to judge more than their number\n"
        }
        Some(truth) => text += &labelled(verdict, truth, marked),
    }
    text += &format!(
        "\nROC area {}, precision-recall area {} (by chance {})\n",
        share(verdict.roc_area),
        share(verdict.pr_area),
        share((verdict.labelled > 0).then(|| verdict.labelled as f64 / verdict.judged as f64))
    );
    text += &format!("\n{}", table(verdict, settings));
    if let Some(budget) = &verdict.budget {
        let allowed = budget.allowed_false_alarms;
        text += &match &budget.operating {
            Some(Operating {
                threshold: Some(threshold),
                ..
            }) => format!(
                "\nbudget {} allows {allowed:.1} false alarms: --set alerts.threshold={threshold}\n",
                budget.budget
            ),
            _ => format!(
                "\nbudget {} allows {allowed:.1} false alarms: not even the highest score keeps to it\n",
                budget.budget
            ),
        };
    }
    if by_device && !verdict.by_device.is_empty() {
        text += &format!("\n{}", devices(verdict));
    }
    text
}

fn labelled(verdict: &Verdict, truth: &Truth, marked: &Marked) -> String {
    let mut text = format!(
        "  {} readings labelled, {} events; labels: {}\n",
        grouped(verdict.labelled),
        grouped(verdict.events),
        truth.source
    );
    if verdict.events_not_judged > 0 {
        text += &format!(
            "  {} more events have no judged reading: nothing is said of them\n",
            verdict.events_not_judged
        );
    }
    let mut name = |what: &str, names: &[String]| {
        if !names.is_empty() {
            let more = if names.len() > NAMED { " …" } else { "" };
            let shown = &names[..names.len().min(NAMED)];
            text += &format!("  {} {what}: {}{more}\n", names.len(), shown.join(", "));
        }
    };
    name("labels belong to no reading", &marked.unmatched);
    name("devices of the labels are not in the input", &marked.absent);
    text
}

fn table(verdict: &Verdict, settings: &Settings) -> String {
    let header = [
        "",
        "threshold",
        "flagged",
        "precision",
        "recall",
        "F1",
        "events",
        "delay",
        "alarms",
        "false",
        "false/device/day",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.push(row(
        "as configured",
        &verdict.as_configured,
        verdict,
        &configured(&settings.alerts),
    ));
    let marked = [
        ("best F1", verdict.best_f1.as_ref()),
        (
            "budget",
            verdict.budget.as_ref().and_then(|budget| budget.operating.as_ref()),
        ),
    ];
    for (name, operating) in marked {
        rows.extend(operating.map(|operating| row(name, operating, verdict, "")));
    }
    rows.extend(
        verdict
            .thresholds
            .iter()
            .map(|operating| row("", operating, verdict, "")),
    );
    grid(&rows, 1)
}

fn configured(alerts: &Alerts) -> String {
    match alerts.adapt {
        Adapt::None => alerts.threshold.to_string(),
        Adapt::Rate => format!("rate {}", alerts.rate),
        Adapt::Grade => format!("grade {}", alerts.grade),
    }
}

fn row(name: &str, operating: &Operating, verdict: &Verdict, otherwise: &str) -> Vec<String> {
    let rate = operating.false_alarms_per_device_day;
    vec![
        name.to_owned(),
        operating
            .threshold
            .map_or_else(|| otherwise.to_owned(), |threshold| threshold.to_string()),
        grouped(operating.flagged),
        share(operating.precision.filter(|_| verdict.labelled > 0)),
        share(operating.recall),
        share(operating.f1),
        format!("{}/{}", operating.events_detected, verdict.events),
        operating.delay.as_ref().map_or("–".into(), |delay| {
            span(Duration::from_secs_f64(delay.median_seconds))
        }),
        grouped(operating.alarms),
        grouped(operating.false_alarms),
        rate.map_or("–".into(), |rate| format!("{rate:.2}")),
    ]
}

fn devices(verdict: &Verdict) -> String {
    let header = ["device", "judged", "labelled", "ROC area", "PR area"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(verdict.by_device.iter().map(|device| {
        vec![
            device.device_id.clone(),
            grouped(device.judged),
            grouped(device.labelled),
            share(device.roc_area),
            share(device.pr_area),
        ]
    }));
    grid(&rows, 1)
}

fn share(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{share:.3}"))
}
