//! The report of `inspect` for a person.

use super::super::grid::grid;
use super::findings::{Findings, Made, Status};
use crate::coverage::percent;

pub(super) fn report(findings: &Findings) -> String {
    let status = match findings.status {
        Status::Running => "a run is writing",
        Status::Complete => "complete: the input was taken to its end",
        Status::Stopped => "stopped; the same command given again goes on",
        Status::Unknown => "unknown: its state folder is not there",
    };
    let mut rows = vec![line("status", status.into())];
    rows.extend(findings.made.iter().flat_map(made));
    let mut text = format!("{}\n{}", findings.output, grid(&rows, 2));
    if !findings.tables.is_empty() {
        text += &format!("\n{}", tables(findings));
    }
    text += &match findings.warnings.len() {
        0 => "\nnothing odd\n".to_owned(),
        1 => "\n1 thing is odd\n".to_owned(),
        n => format!("\n{n} things are odd\n"),
    };
    for odd in &findings.warnings {
        text += &format!("  {}\n", odd.message);
    }
    text
}

fn line(what: &str, text: String) -> Vec<String> {
    vec![what.to_owned(), text]
}

/// Since when the device collection is in force, where it has changed.
fn versions(made: &Made) -> String {
    match (made.devices_since, made.devices_versions) {
        (Some(since), Some(versions)) if versions > 1 => {
            format!(" since commit {since}, one of {versions} that are kept")
        }
        _ => String::new(),
    }
}

fn made(made: &Made) -> Vec<Vec<String>> {
    let mut rows = vec![line("dataflow", format!("{}, by {}", made.dataflow, made.program))];
    rows.push(line(
        "input",
        made.input
            .as_ref()
            .map_or("standard input".into(), |print| format!("fingerprint {print}")),
    ));
    rows.push(line(
        "devices",
        made.devices
            .as_ref()
            .map_or("none".into(), |print| format!("fingerprint {print}{}", versions(made))),
    ));
    let last = match (&made.last_commit, made.seconds_since) {
        (Some(at), Some(seconds)) => format!(", the last at {} UTC ({} ago)", &at[..at.len().min(19)], ago(seconds)),
        _ => String::new(),
    };
    rows.push(line("commits", format!("{}{last}", made.commits)));
    rows.push(line(
        "records",
        format!(
            "{}: {} readings, {} copies dropped, {} not selected, {} quarantined",
            made.records,
            made.readings,
            made.duplicates,
            made.not_selected,
            made.quarantined.values().sum::<u64>()
        ),
    ));
    if !made.quarantined.is_empty() {
        let reasons: Vec<String> = made
            .quarantined
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        rows.push(line("quarantine", reasons.join(", ")));
    }
    let share = |count: u64| format!("{count}, {} of the readings", percent(count, made.readings));
    if made.windows > 0 {
        rows.push(line(
            "windows",
            format!("{}, {} revisions of them", made.windows, made.revisions),
        ));
        rows.push(line("late", share(made.late)));
        rows.push(line("anomalies", share(made.anomalies)));
    }
    if made.alerts > 0 {
        rows.push(line("alerts", made.alerts.to_string()));
    }
    if made.devices.is_some() {
        let devices = made
            .unknown_device_ids
            .map_or(String::new(), |n| format!(", {n} devices"));
        rows.push(line("unknown", format!("{}{devices}", share(made.unknown_devices))));
    }
    rows
}

/// The largest unit is enough.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn tables(findings: &Findings) -> String {
    let mut rows = vec![
        ["table", "dates", "files", "rows", "bytes", "first event", "last event"]
            .map(String::from)
            .to_vec(),
    ];
    rows.extend(findings.tables.iter().map(|table| {
        let second = |time: &Option<String>| time.as_ref().map_or("–".into(), |t| t.chars().take(19).collect());
        vec![
            table.table.to_owned(),
            table.dates.to_string(),
            table.files.to_string(),
            table.rows.to_string(),
            table.bytes.to_string(),
            second(&table.first),
            second(&table.last),
        ]
    }));
    grid(&rows, 1)
}
