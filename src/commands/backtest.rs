//! `wardflow backtest`: a replay through the same dataflow, and then a judgement of its scores by labels.

mod passing;
mod text;
mod truth;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::cluster_flags::ClusterFlags;
use super::dataflow_flags::DataflowFlags;
use super::input_flags::InputFlags;
use super::preparation::{Input, Task, prepare};
use super::workers::{Finished, Work, run_workers};
use super::{Failure, print, tell, write_summary};
use crate::cluster::{Interrupted, spawn};
use crate::judge::{self, Budget, Marked, Rules, Trial, Verdict};
use crate::observe::Summary;
use crate::settings::{Dataflow, Micros, Settings};
use passing::PassingFolder;
use truth::Truth;

#[derive(Args)]
pub(super) struct Backtest {
    #[command(flatten)]
    dataflow: DataflowFlags,
    #[command(flatten)]
    input: InputFlags,
    /// The labels: a CSV of device_id,timestamp[,label] (as simulate writes it) or of device_id,start,end, or NAB's combined_windows.json
    #[arg(long, value_name = "PATH", conflicts_with = "label_column")]
    labels: Option<PathBuf>,
    /// The labels are in this column, or dotted path, of the records: empty, 0, false, no, normal and none are ordinary
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Find the lowest threshold that keeps to so many false alarms: 1/device/day, 0.5/device/week, 5/day, 20
    #[arg(long, value_name = "BUDGET")]
    budget: Option<Budget>,
    /// Flagged readings of a device within this time of each other are one alarm [default: alerts.cool_down]
    #[arg(long, value_name = "TIME")]
    cool_down: Option<Micros>,
    /// Thresholds to tell of, as 1.5,2,2.5 [default: some round ones]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = threshold)]
    thresholds: Vec<f64>,
    /// The first N readings of each device are not judged: they only train
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u64,
    /// What becomes of readings without a score (while a forest learns, while a shingle fills, without any measure)
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Unscored::LeftOut)]
    unscored: Unscored,
    /// Tell the areas of each device with labels, too
    #[arg(long)]
    by_device: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// Write the JSON to a file, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum Unscored {
    /// They are not judged, only counted
    LeftOut,
    /// They are judged as lower than every score, so that a labelled one is missed
    Lowest,
}

fn threshold(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| "give numbers with commas between them, as 1.5,2,2.5".to_owned())
}

impl Backtest {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let settings = self.dataflow.settings(&self.input.select())?;
        if settings.dataflow != Dataflow::RealtimeAnalytics || !settings.forest.enabled {
            return Err(Failure::new(format!(
                "{}: it gives no scores to judge; backtest wants dataflow = \"realtime_analytics\" and forest.enabled = true",
                settings.name
            )));
        }
        if let Some(journal) = self.input.journal(false)? {
            return Err(Failure::new(format!(
                "{}: backtest judges records of files, not a journal; wardflow replay reads it",
                journal.display()
            )));
        }
        let (inputs, warnings) = self.input.inputs(&settings)?;
        let interrupted = Interrupted::install()?;
        if self.cluster.processes > 1 && !self.dataflow.keeps_output() {
            return Err(Failure::new(
                "several processes need a common folder for the tables: give -o",
            ));
        }
        if inputs.is_standard_input() && (self.cluster.processes > 1 || self.label_column.is_some()) {
            return Err(Failure::new(
                "standard input can be read once and by one process: give files for --label-column or several processes (-n)",
            ));
        }
        let topology = self.cluster.topology()?;
        if self.cluster.spawn {
            return Ok(spawn(topology.processes(), &interrupted)?);
        }
        let leads = topology.process() == 0;
        for warning in warnings.iter().filter(|_| leads) {
            tell(format_args!("wardflow: warning: {warning}"));
        }
        // What is wrong with the labels is told before the work, not after it.
        let truth = match (&self.labels, &self.label_column) {
            (Some(path), _) => Some(Truth::from_file(path, &settings.record)?),
            (None, Some(column)) if leads => Some(Truth::from_column(column, &inputs, &settings)?),
            _ => None,
        };
        let passing = match self.dataflow.keeps_output() {
            true => None,
            false => Some(PassingFolder::create()?),
        };
        let (output, state) = match &passing {
            Some(folder) => folder.output_and_state(),
            None => self.dataflow.folders(&settings),
        };
        let started = Instant::now();
        let task = Task {
            settings,
            input: Input::Files(inputs.clone()),
            speed: None,
            output,
            state,
            passing: passing.is_some(),
        };
        let preparation = prepare(&task, &topology, &interrupted)?;
        let mut finished = run_workers(&task, &topology, preparation, Work::Backtest(inputs), &interrupted)?;
        if let Some(trial) = finished.trial.take().filter(|_| leads) {
            self.tell_of_run(&task, finished, started.elapsed().as_secs_f64())?;
            self.judge(&trial, truth.as_ref(), &task.settings)?;
        }
        Ok(0)
    }

    fn tell_of_run(&self, task: &Task, finished: Finished, seconds: f64) -> Result<(), Failure> {
        let Some(manifest) = finished.manifest else {
            return Ok(());
        };
        let name = task.settings.dataflow.name();
        let (commits, tally) = (manifest.commits, &manifest.tally);
        let summary = Summary::new(
            name,
            finished.records,
            commits,
            tally,
            seconds,
            finished.usage,
            finished.stages,
        );
        match task.passing {
            true => tell(format_args!("{name}: {summary}")),
            false => tell(format_args!("{name}: {summary}\n  in {}", task.output.display())),
        }
        for warning in summary.warnings() {
            tell(format_args!("wardflow: warning: {warning}"));
        }
        write_summary(&summary, self.dataflow.summary.as_deref())
    }

    fn judge(&self, trial: &Trial, truth: Option<&Truth>, settings: &Settings) -> Result<(), Failure> {
        let marked = match truth {
            Some(truth) => truth.mark(trial)?,
            None => Marked::nothing(trial),
        };
        let rules = Rules {
            cool_down: self.cool_down(settings).0,
            skip: self.skip,
            unscored: match self.unscored {
                Unscored::LeftOut => judge::Unscored::LeftOut,
                Unscored::Lowest => judge::Unscored::Lowest,
            },
            budget: self.budget.clone(),
            thresholds: self.thresholds.clone(),
        };
        let verdict = judge::judge(trial, &marked, &rules);
        if verdict.judged == 0 {
            return Err(Failure::new(format!(
                "none of the {} readings could be judged: a forest gives no score before forest.sample_size = {} readings of its key, and --skip leaves out {} of each device",
                verdict.readings, settings.forest.sample_size, self.skip
            )));
        }
        let report = format!("{:#}\n", self.as_json(&verdict, truth, &marked, settings));
        if let Some(path) = &self.report {
            fs::write(path, &report).map_err(|e| {
                let shown = path.display();
                Failure::new(format!(
                    "{shown}: the report cannot be written ({e}); check the folder and its permissions"
                ))
            })?;
        }
        match self.json {
            true => print(&report),
            false => print(&text::report(&verdict, truth, &marked, settings, self.by_device)),
        }
    }

    fn cool_down(&self, settings: &Settings) -> Micros {
        self.cool_down.unwrap_or(settings.alerts.cool_down)
    }

    fn as_json(
        &self,
        verdict: &Verdict,
        truth: Option<&Truth>,
        marked: &Marked,
        settings: &Settings,
    ) -> serde_json::Value {
        json!({
            "dataflow": settings.name,
            "configured_threshold": settings.alerts.threshold,
            "cool_down_seconds": self.cool_down(settings).0 as f64 / 1e6,
            "labels": truth.map(|truth| json!({
                "source": truth.source,
                "labels": marked.labels,
                "without_reading": marked.unmatched,
                "devices_not_in_the_input": marked.absent,
            })),
            "verdict": verdict,
        })
    }
}
