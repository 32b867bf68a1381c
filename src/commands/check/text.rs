//! The report of `check` for a person.

use super::super::grid::grid;
use crate::coverage::{Coverage, Late, Mapped, Plan, percent};

/// Characters of a line of column names.
const WIDEST: usize = 100;

pub(super) fn report(plan: &Plan, coverage: Option<&Coverage>) -> String {
    let mut text = planned(plan);
    match coverage {
        Some(coverage) => text += &covered(coverage, plan),
        None => text += "\nno mistakes; try it on records with --input SAMPLE\n",
    }
    text
}

fn cells<const N: usize>(row: [&str; N]) -> Vec<String> {
    row.map(str::to_owned).to_vec()
}

fn planned(plan: &Plan) -> String {
    let mut text = match plan.name == plan.dataflow {
        true => format!("{}\n", plan.name),
        false => format!("{}: {}\n", plan.name, plan.dataflow),
    };
    let mut rows = vec![cells(["field", "read from", "becomes"])];
    rows.extend(plan.fields.iter().map(|field| {
        let from = match field.read_from.as_slice() {
            [] => "–".to_owned(),
            names => names.join(" or "),
        };
        vec![field.role.to_owned(), from, field.becomes.clone()]
    }));
    text += &format!("\n{}", grid(&rows, 3));
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|step| vec![step.step.to_owned(), step.does.clone()])
        .collect();
    text += &format!("\n{}", grid(&steps, 2));
    text += &format!("\ntables in {}\n", plan.output);
    let mut tables = Vec::new();
    for (table, columns) in &plan.tables {
        for (i, line) in wrapped(columns).into_iter().enumerate() {
            tables.push(vec![if i == 0 { (*table).to_owned() } else { String::new() }, line]);
        }
    }
    text + &grid(&tables, 2)
}

/// The names in lines of a screen's width.
fn wrapped(names: &[String]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (i, name) in names.iter().enumerate() {
        let separator = if i + 1 == names.len() { "" } else { "," };
        let line = lines.last().map_or(0, String::len);
        if line > 0 && line + name.len() > WIDEST {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            let gap = if line.is_empty() { "" } else { " " };
            line.extend([gap, name, separator]);
        }
    }
    lines
}

fn covered(coverage: &Coverage, plan: &Plan) -> String {
    let which = match coverage.input_goes_on {
        true => "the first ",
        false => "all ",
    };
    let mut text = format!("\nsample: {which}{} records of the input", coverage.records);
    if let Some((first, last)) = &coverage.dates {
        text += &match first == last {
            true => format!(", of {first}"),
            false => format!(", of {first} to {last}"),
        };
    }
    text += &format!("\n\n{}", fields(coverage));
    if !coverage.unmapped.is_empty() || coverage.further_unmapped > 0 {
        text += &format!("\ndropped fields\n{}", dropped(coverage));
    }
    text += &format!("\n{}", outcomes(coverage, plan));
    match coverage.warnings.len() {
        0 => text += "\nnothing looks wrong\n",
        1 => text += "\n1 warning\n",
        n => text += &format!("\n{n} warnings\n"),
    }
    for warning in &coverage.warnings {
        text += &format!("  {}\n", warning.message);
    }
    text
}

fn fields(coverage: &Coverage) -> String {
    let mut rows = vec![cells([
        "field", "", "present", "readable", "in range", "min", "median", "max",
    ])];
    rows.extend(coverage.fields.iter().map(|field| row(field, coverage.objects)));
    grid(&rows, 2)
}

fn row(field: &Mapped, objects: u64) -> Vec<String> {
    let mut row = vec![
        field.name.clone(),
        field.role.to_owned(),
        percent(field.present, objects),
        percent(field.readable, field.present),
    ];
    if let Some(range) = &field.range {
        row.push(
            range
                .plausible
                .map_or_else(String::new, |(within, ..)| percent(within, field.readable)),
        );
        row.extend([range.min, range.median, range.max].map(number));
    }
    row
}

/// Short enough for a column.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e7).contains(&size) => format!("{}", (value * 1e4).round() / 1e4),
        _ => format!("{value:.3e}"),
    }
}

fn dropped(coverage: &Coverage) -> String {
    let mut rows: Vec<_> = coverage
        .unmapped
        .iter()
        .map(|field| {
            vec![
                field.name.clone(),
                field.holds.to_owned(),
                percent(field.present, coverage.objects),
            ]
        })
        .collect();
    if coverage.further_unmapped > 0 {
        let further = format!("{} more, rare or oddly named", coverage.further_unmapped);
        rows.push(vec![further]);
    }
    grid(&rows, 2)
}

fn outcomes(coverage: &Coverage, plan: &Plan) -> String {
    let outcomes = &coverage.outcomes;
    let mut rows = Vec::new();
    let mut add = |what: &str, count: u64, of: u64, more: String| {
        rows.push(vec![what.to_owned(), count.to_string(), percent(count, of), more]);
    };
    let records = coverage.records;
    add("readings", outcomes.readings, records, String::new());
    if let Some(Late { readings, .. }) = coverage.late {
        add(
            "  late",
            readings,
            outcomes.readings,
            "of the readings, by the order of the sample".into(),
        );
    }
    if let Some(unknown) = &coverage.unknown_devices {
        let told = format!("of the readings, {} devices", unknown.devices);
        add("  of unknown devices", unknown.readings, outcomes.readings, told);
    }
    if plan.steps.iter().any(|step| step.step == "select") && outcomes.not_selected > 0 {
        add("not selected", outcomes.not_selected, records, String::new());
    }
    add("copies dropped", outcomes.duplicates, records, String::new());
    let quarantined: u64 = outcomes.quarantined.values().sum();
    add("quarantined", quarantined, records, String::new());
    for (reason, count) in &outcomes.quarantined {
        add(&format!("  {reason}"), *count, records, String::new());
    }
    let mut text = String::new();
    // The remark stands left, behind the figures.
    let figures: Vec<_> = rows.iter().map(|row| row[..3].to_vec()).collect();
    for (line, row) in grid(&figures, 1).lines().zip(&rows) {
        text += format!("{line}  {}", row[3]).trim_end();
        text.push('\n');
    }
    text
}
