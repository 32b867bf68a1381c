//! What a survey of an output says: figures, and what is odd.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::survey::{Survey, Visible};
use crate::commit::{Manifest, TABLES};
use crate::coverage::percent;
use crate::record::{EventTime, format_event_time};
use crate::sink::StagedFile;
use crate::source::commit_of;

/// A share above which something that happens in every ward is too frequent: one in twenty.
const FREQUENT: u64 = 20;
const DAY: i64 = 86_400_000_000;
/// 1990-01-01: before it, no device sent records.
const EARLIEST: EventTime = 631_152_000_000_000;
/// Files that a warning names.
const NAMED: usize = 3;

/// As `--json` prints it.
#[derive(Serialize)]
pub(super) struct Findings {
    pub(super) output: String,
    pub(super) state: String,
    pub(super) status: Status,
    /// None: the state folder says nothing of the output.
    pub(super) made: Option<Made>,
    pub(super) tables: Vec<OfTable>,
    pub(super) warnings: Vec<Odd>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// A run is writing.
    Running,
    /// The input was taken to its end.
    Complete,
    /// Neither.
    Stopped,
    /// There is no manifest.
    Unknown,
}

/// What the manifest says.
#[derive(Serialize)]
pub(super) struct Made {
    pub(super) program: String,
    pub(super) dataflow: String,
    /// The input's fingerprint; none for standard input.
    pub(super) input: Option<String>,
    /// The fingerprint of the device collection that is in force.
    pub(super) devices: Option<String>,
    /// The first commit with it, of a live run.
    pub(super) devices_since: Option<u32>,
    /// How many versions the retained epochs of a live run have met.
    pub(super) devices_versions: Option<u64>,
    pub(super) commits: u32,
    /// UTC, by the clock of the machine.
    pub(super) last_commit: Option<String>,
    pub(super) seconds_since: Option<u64>,
    pub(super) records: u64,
    pub(super) readings: u64,
    pub(super) not_selected: u64,
    pub(super) duplicates: u64,
    pub(super) quarantined: BTreeMap<&'static str, u64>,
    pub(super) late: u64,
    /// Readings of devices that the device collection does not know.
    pub(super) unknown_devices: u64,
    /// How many devices they are of.
    pub(super) unknown_device_ids: Option<u64>,
    pub(super) anomalies: u64,
    pub(super) alerts: u64,
    pub(super) windows: u64,
    pub(super) revisions: u64,
    pub(super) output_bytes: u64,
}

/// A table as its files show it.
#[derive(Serialize)]
pub(super) struct OfTable {
    pub(super) table: &'static str,
    pub(super) dates: u64,
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Event time, UTC.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

/// Something odd, and what to do.
#[derive(Serialize)]
pub(super) struct Odd {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Findings {
    /// `now` is today's time, which no event can be far behind of.
    pub(super) fn of(survey: Survey, now: SystemTime) -> Findings {
        let tables = TABLES
            .into_iter()
            .filter_map(|table| of_table(table, &survey.files))
            .collect();
        let status = match (&survey.manifest, survey.in_use) {
            (_, Some(true)) => Status::Running,
            (None, _) => Status::Unknown,
            (Some((manifest, _)), _) if manifest.complete => Status::Complete,
            _ => Status::Stopped,
        };
        let mut odd = Oddities(Vec::new());
        odd.state(&survey);
        if let Some((manifest, _)) = &survey.manifest {
            odd.files(&survey, manifest);
            odd.shares(manifest);
        }
        odd.unreadable(&survey.files);
        odd.times(&survey.files, micros(now));
        Findings {
            output: survey.output.display().to_string(),
            state: survey.state.display().to_string(),
            status,
            made: survey
                .manifest
                .as_ref()
                .map(|(manifest, at)| made(manifest, *at, now, survey.unknown_devices)),
            tables,
            warnings: odd.0,
        }
    }
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn made(manifest: &Manifest, at: SystemTime, now: SystemTime, unknown_device_ids: Option<u64>) -> Made {
    let (tally, belongs_to) = (&manifest.tally, &manifest.belongs_to);
    let made = manifest.commits > 0;
    let in_force = manifest.devices.last();
    let devices = match in_force {
        Some(in_force) => in_force.version.as_deref().map(str::to_owned),
        None => belongs_to.devices.clone(),
    };
    let since = in_force.filter(|_| devices.is_some()).map(|last| commit_of(last.from));
    let versions: BTreeSet<_> = manifest.devices.iter().filter_map(|met| met.version.as_ref()).collect();
    Made {
        program: belongs_to.program.clone(),
        dataflow: belongs_to.dataflow.clone(),
        input: belongs_to.input.clone(),
        unknown_device_ids: unknown_device_ids.filter(|_| devices.is_some()),
        devices,
        devices_since: since,
        devices_versions: since.map(|_| versions.len() as u64),
        commits: manifest.commits,
        last_commit: made.then(|| format_event_time(micros(at))),
        seconds_since: made.then(|| now.duration_since(at).unwrap_or_default().as_secs()),
        records: tally.records(),
        readings: tally.readings,
        not_selected: tally.not_selected,
        duplicates: tally.duplicates,
        quarantined: tally
            .quarantined
            .iter()
            .map(|(reason, count)| (reason.code(), *count))
            .collect(),
        late: tally.late,
        unknown_devices: tally.unknown_devices,
        anomalies: tally.anomalies,
        alerts: tally.alerts,
        windows: tally.windows,
        revisions: tally.revisions,
        output_bytes: tally.output_bytes,
    }
}

/// None: it has no files.
fn of_table(table: &'static str, files: &[Visible]) -> Option<OfTable> {
    let mine = || {
        let place = |file: &'_ Visible| file.place.as_ref().map(|(table, _)| *table);
        files.iter().filter(move |file| place(file) == Some(table))
    };
    let spans: Vec<_> = mine().filter_map(|file| file.footer.as_ref()?.span).collect();
    let dates: BTreeSet<_> = mine().filter_map(|file| file.place.as_ref()).collect();
    (!dates.is_empty()).then(|| OfTable {
        table,
        dates: dates.len() as u64,
        files: mine().count() as u64,
        rows: mine().filter_map(|file| Some(file.footer.as_ref()?.rows)).sum(),
        bytes: mine().map(|file| file.bytes).sum(),
        first: spans.iter().map(|(first, _)| *first).min().map(format_event_time),
        last: spans.iter().map(|(_, last)| *last).max().map(format_event_time),
    })
}

struct Oddities(Vec<Odd>);

/// The first few of `paths`, and how many more.
fn some(paths: &[&str]) -> String {
    let named = paths.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl Oddities {
    fn add(&mut self, code: &'static str, message: String) {
        self.0.push(Odd { code, message });
    }

    /// For the files there are, if any.
    fn files_that(&mut self, code: &'static str, paths: &[&str], what: &str) {
        if !paths.is_empty() {
            self.add(code, format!("{}: {what}", some(paths)));
        }
    }

    fn state(&mut self, survey: &Survey) {
        let state = survey.state.display();
        match (survey.state_exists, &survey.manifest) {
            (false, _) => self.add(
                "no_state",
                format!("{state}: there is no state folder: name it with --state; without it no identity can be found again and the output takes no further run"),
            ),
            (true, None) => self.add("no_manifest", format!("{state}: the state folder says nothing of this output: name the right one with --state")),
            (true, Some(_)) if survey.state_is_open => self.add(
                "open_state",
                format!("{state}: others than its owner may look into the state folder, where keys and identities are: chmod 700"),
            ),
            _ => {}
        }
        let (files, bytes) = survey.waiting;
        if survey.in_use == Some(true) {
            self.add(
                "in_use",
                "a run is writing to this output; the figures are those of its last commit".into(),
            );
        } else if files > 0 {
            self.add(
                "leftovers",
                format!(".staging: {files} files ({bytes} bytes) of a run that was stopped and never became visible; starting it again clears them"),
            );
        }
    }

    /// Visible files against what the manifest says was committed: the last commit by file, all of them by table.
    fn files(&mut self, survey: &Survey, manifest: &Manifest) {
        let running = survey.in_use != Some(false);
        let path = |file: &'_ Visible| file.path.clone();
        let shards = shards(manifest).unwrap_or(u32::MAX);
        let is_committed = |file: &Visible| {
            file.place.is_some()
                && file
                    .part
                    .is_some_and(|(commit, shard)| commit < manifest.commits && shard < shards)
        };
        let is_coming = |file: &Visible| running && file.part.is_some_and(|(commit, _)| commit >= manifest.commits);
        let foreign: Vec<&str> = survey
            .files
            .iter()
            .filter(|file| !is_committed(file) && !is_coming(file))
            .map(|file| file.path.as_str())
            .collect();
        self.files_that(
            "foreign_files",
            &foreign,
            "no commit has made this; readers see it, so move it elsewhere",
        );

        if survey.unpublished > 0 && !running {
            self.add(
                "unpublished",
                format!(
                    "{} files of the last commit are not visible yet; give the same command again to finish it",
                    survey.unpublished
                ),
            );
        }
        let by_path: BTreeMap<String, &Visible> = survey.files.iter().map(|file| (path(file), file)).collect();
        let (mut missing, mut changed): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for StagedFile { path, rows, bytes } in &manifest.last {
            match by_path.get(path) {
                None => missing.push(path),
                Some(file) if file.bytes != *bytes || file.footer.as_ref().is_some_and(|f| f.rows != *rows) => {
                    changed.push(path)
                }
                Some(_) => {}
            }
        }
        if survey.moved || survey.unpublished > 0 || (running && !missing.is_empty()) {
            return; // on the way
        }
        let again = "committed, and gone since; the same command given again makes it anew";
        self.files_that("missing_files", &missing, again);
        self.files_that(
            "changed_files",
            &changed,
            "not as it was committed; the same command given again makes it anew",
        );
        if missing.is_empty() && changed.is_empty() {
            let committed: Vec<&Visible> = survey.files.iter().filter(|file| is_committed(file)).collect();
            self.totals(&committed, manifest);
        }
    }

    fn totals(&mut self, committed: &[&Visible], manifest: &Manifest) {
        let tally = &manifest.tally;
        let quarantined: u64 = tally.quarantined.values().sum();
        let mut right = true;
        for (table, wanted) in [
            ("readings", tally.readings),
            ("anomalies", tally.anomalies),
            ("windows", tally.windows + tally.revisions),
            ("quarantine", quarantined),
        ] {
            let mine: Vec<_> = committed
                .iter()
                .filter(|f| f.place.as_ref().is_some_and(|(t, _)| *t == table))
                .collect();
            if mine.iter().any(|file| file.footer.is_none()) {
                right = false; // told already
                continue;
            }
            let rows: u64 = mine.iter().filter_map(|file| Some(file.footer.as_ref()?.rows)).sum();
            if rows != wanted {
                right = false;
                self.add(
                    "rows",
                    format!("{table}: {rows} rows are visible, {wanted} were committed: a file is gone or another; the same command given again makes it anew"),
                );
            }
        }
        let bytes: u64 = committed.iter().map(|file| file.bytes).sum();
        if right && bytes != tally.output_bytes {
            self.add(
                "bytes",
                format!(
                    "the files have {bytes} bytes, {} were committed: one has been changed",
                    tally.output_bytes
                ),
            );
        }
    }

    fn unreadable(&mut self, files: &[Visible]) {
        let broken: Vec<&str> = files
            .iter()
            .filter(|file| file.footer.is_none())
            .map(|file| file.path.as_str())
            .collect();
        self.files_that(
            "unreadable_files",
            &broken,
            "no complete Parquet file; readers will fail on it",
        );
    }

    fn shares(&mut self, manifest: &Manifest) {
        let tally = &manifest.tally;
        let frequent = |part: u64, whole: u64| part * FREQUENT > whole;
        let quarantined: u64 = tally.quarantined.values().sum();
        let records = tally.records();
        if frequent(tally.late, tally.readings) {
            self.add(
                "late",
                format!(
                    "{} of the readings came too late for every window: set windows.watermark = \"device\", or replay --merge several files",
                    percent(tally.late, tally.readings)
                ),
            );
        }
        let most = tally.quarantined.iter().max_by_key(|(_, count)| **count);
        if let Some((reason, count)) = most.filter(|_| frequent(quarantined, records)) {
            self.add(
                "quarantine",
                format!(
                    "{} of the records are in quarantine, {} of them for {reason}: try wardflow check DATAFLOW --input SAMPLE",
                    percent(quarantined, records),
                    percent(*count, quarantined)
                ),
            );
        }
        if frequent(tally.unknown_devices, tally.readings) {
            self.add(
                "unknown_devices",
                format!(
                    "{} of the readings are of devices that the device collection does not know; they are in unknown_devices.csv of the state folder",
                    percent(tally.unknown_devices, tally.readings)
                ),
            );
        }
    }

    fn times(&mut self, files: &[Visible], now: EventTime) {
        let dated = |is_odd: &dyn Fn(EventTime, EventTime) -> bool| -> Vec<&str> {
            let mut folders: Vec<&str> = files
                .iter()
                .filter(|file| file.place.is_some())
                .filter(|file| {
                    file.footer
                        .as_ref()
                        .and_then(|f| f.span)
                        .is_some_and(|(first, last)| is_odd(first, last))
                })
                .map(|file| {
                    file.path
                        .rsplit_once('/')
                        .map_or(file.path.as_str(), |(folder, _)| folder)
                })
                .collect();
            folders.dedup();
            folders
        };
        let future = dated(&|_, last| last > now.saturating_add(DAY));
        self.files_that(
            "future",
            &future,
            "dates in the future: look at the clocks of the devices and at [record] timestamp_unit",
        );
        let past = dated(&|first, _| first < EARLIEST);
        self.files_that("past", &past, "dates before 1990: look at [record] timestamp_unit");
    }
}

/// The setting `output.shards` of the run.
fn shards(manifest: &Manifest) -> Option<u32> {
    let settings: serde_json::Value = serde_json::from_str(&manifest.belongs_to.settings).ok()?;
    u32::try_from(settings.get("output")?.get("shards")?.as_u64()?).ok()
}
