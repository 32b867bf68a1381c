//! `wardflow replay`: historical data through a dataflow, as fast as it goes or at a multiple of real time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::cluster_flags::ClusterFlags;
use super::dataflow_flags::DataflowFlags;
use super::durable::{Recording, journal_at};
use super::preparation::{Input, Task, prepare};
use super::workers::{Finished, Work, run_workers};
use super::{Failure, refuse_topics, tell, write_summary};
use crate::cluster::{Interrupted, spawn};
use crate::commit::Manifest;
use crate::dataflows::parser;
use crate::observe::Summary;
use crate::settings::{FILE_STEM, Settings};
use crate::source::{Inputs, Speed};

/// The vault's file in the state folder.
pub(super) const VAULT: &str = "vault.sqlite";

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    dataflow: DataflowFlags,
    /// Files, folders, quoted globs, or - for JSON lines on standard input. Read are JSON lines (.jsonl, .ndjson, .json) and
    /// CSV (.csv), also packed (.gz, .zst), and Parquet (.parquet); or the journal of a live run (its state folder)
    #[arg(short, long, value_name = "PATH", required = true, num_args = 1..)]
    input: Vec<String>,
    /// Take the records of several files in the order of event time, not file after file; ties go by the order of the files
    #[arg(long)]
    merge: bool,
    /// Only records with this event time or a later one, as 2017-10-15 or 2017-10-15T03:55:51 (select.from)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only records with an earlier event time than this (select.to)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Event time passes at this multiple of real time: 60x, 1x, 0.5x; max: as fast as it goes. With several files use --merge
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = speed)]
    speed: Pacing,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// `None`: as fast as it goes.
type Pacing = Option<Speed>;

fn speed(text: &str) -> Result<Pacing, String> {
    match text {
        "max" => Ok(None),
        _ => text.parse().map(Some),
    }
}

impl Replay {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let select = [("select.from", self.from.as_deref()), ("select.to", self.to.as_deref())];
        let settings = self.dataflow.settings(&select)?;
        if let Some(journal) = self.journal()? {
            return self.replay_journal(settings, &journal);
        }
        let (inputs, warnings) = self.inputs(&settings)?;
        let interrupted = Interrupted::install()?;
        if self.cluster.processes > 1 && inputs.is_standard_input() {
            return Err(Failure::new(
                "standard input reaches one process only: use one process with more workers (-w), or give files",
            ));
        }
        let topology = self.cluster.topology()?;
        if self.cluster.spawn {
            return Ok(spawn(topology.processes(), &interrupted)?);
        }
        for warning in warnings.iter().filter(|_| topology.process() == 0) {
            tell(format_args!("wardflow: warning: {warning}"));
        }
        let (output, state) = self.dataflow.folders(&settings);
        let started = Instant::now();
        let task = Task {
            settings,
            input: Input::Files(inputs.clone()),
            speed: self.speed,
            output,
            state,
        };
        let preparation = prepare(&task, &topology, &interrupted)?;
        let finished = run_workers(&task, &topology, preparation, Work::Replay(inputs), &interrupted)?;
        if let Some(manifest) = &finished.manifest {
            self.report(&task, &finished, manifest, started.elapsed().as_secs_f64())?;
        }
        Ok(0)
    }

    /// The journal of a live run, where that is the input.
    fn journal(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(journal) = self.input.iter().find_map(|path| journal_at(path)) else {
            return Ok(None);
        };
        if self.input.len() > 1 || self.merge || self.speed.is_some() {
            return Err(Failure::new(format!(
                "{}: a journal is replayed by itself, in the order and at the epochs of its run: without other inputs, --merge and --speed",
                journal.display()
            )));
        }
        Ok(Some(journal))
    }

    /// What a live run has received, cut as it was then.
    fn replay_journal(&self, settings: Settings, journal: &Path) -> Result<u8, Failure> {
        let interrupted = Interrupted::install()?;
        let topology = self.cluster.topology()?;
        if self.cluster.spawn {
            return Ok(spawn(topology.processes(), &interrupted)?);
        }
        let (output, state) = self.dataflow.folders(&settings);
        let started = Instant::now();
        let task = Task {
            settings,
            input: Input::Recording(Recording::open(journal)?),
            speed: None,
            output,
            state,
        };
        let preparation = prepare(&task, &topology, &interrupted)?;
        let finished = run_workers(&task, &topology, preparation, Work::Recording, &interrupted)?;
        if let Some(manifest) = &finished.manifest {
            self.report(&task, &finished, manifest, started.elapsed().as_secs_f64())?;
        }
        Ok(0)
    }

    /// The input, and what the user should know of it.
    fn inputs(&self, settings: &Settings) -> Result<(Inputs, Vec<String>), Failure> {
        refuse_topics(&settings.record)?;
        let inputs = Inputs::find(&self.input)?;
        let mut warnings = Vec::from_iter(inputs.examine(parser(&settings.record))?);
        if let Some((one, other)) = inputs.namesakes().filter(|_| settings.record.device == FILE_STEM) {
            warnings.push(format!(
                "{} and {} count as one device, {}: with record.device = \"@file\" that is a file's name without its endings; rename one if they are two",
                one.shown(),
                other.shown(),
                one.stem
            ));
        }
        let inputs = match self.merge {
            true => inputs.merged(),
            false => inputs,
        };
        Ok((inputs, warnings))
    }

    fn report(&self, task: &Task, finished: &Finished, manifest: &Manifest, seconds: f64) -> Result<(), Failure> {
        let Finished {
            records, usage, stages, ..
        } = finished;
        let name = task.settings.dataflow.name();
        let summary = Summary::new(
            name,
            *records,
            manifest.commits,
            &manifest.tally,
            seconds,
            *usage,
            stages.clone(),
        );
        tell(format_args!("{name}: {summary}\n  in {}", task.output.display()));
        for warning in summary.warnings() {
            tell(format_args!("wardflow: warning: {warning}"));
        }
        let accounted = manifest.tally.records();
        if accounted != *records {
            return Err(Failure::new(format!(
                "{records} records were read but {accounted} are accounted for: this is a defect of the program, please report it"
            )));
        }
        write_summary(&summary, self.dataflow.summary.as_deref())
    }
}
