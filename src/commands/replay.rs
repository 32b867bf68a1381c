//! `wardflow replay`: historical data through a dataflow, as fast as it goes or at a multiple of real time.

use std::path::Path;
use std::time::Instant;

use clap::Args;

use super::cluster_flags::ClusterFlags;
use super::dataflow_flags::DataflowFlags;
use super::durable::Recording;
use super::input_flags::InputFlags;
use super::preparation::{Input, Task, prepare};
use super::workers::{Finished, Work, run_workers};
use super::{Failure, tell, write_summary};
use crate::cluster::{Interrupted, spawn};
use crate::commit::Manifest;
use crate::observe::Summary;
use crate::settings::Settings;
use crate::source::Speed;

/// The vault's file in the state folder.
pub(super) const VAULT: &str = "vault.sqlite";

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    dataflow: DataflowFlags,
    #[command(flatten)]
    input: InputFlags,
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
        let settings = self.dataflow.settings(&self.input.select())?;
        if let Some(journal) = self.input.journal(self.speed.is_some())? {
            return self.replay_journal(settings, &journal);
        }
        let (inputs, warnings) = self.input.inputs(&settings)?;
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
            passing: false,
        };
        let preparation = prepare(&task, &topology, &interrupted)?;
        let finished = run_workers(&task, &topology, preparation, Work::Replay(inputs), &interrupted)?;
        if let Some(manifest) = &finished.manifest {
            self.report(&task, &finished, manifest, started.elapsed().as_secs_f64())?;
        }
        Ok(0)
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
            passing: false,
        };
        let preparation = prepare(&task, &topology, &interrupted)?;
        let finished = run_workers(&task, &topology, preparation, Work::Recording, &interrupted)?;
        if let Some(manifest) = &finished.manifest {
            self.report(&task, &finished, manifest, started.elapsed().as_secs_f64())?;
        }
        Ok(0)
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
