//! `wardflow replay`: historical data through a dataflow, as fast as it goes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::cluster_flags::ClusterFlags;
use super::preparation::{Input, Task, prepare};
use super::workers::{Finished, Work, run_workers};
use super::{Failure, load_settings, tell, write_summary};
use crate::cluster::{Interrupted, spawn};
use crate::commit::Manifest;
use crate::observe::Summary;
use crate::source::Inputs;

/// The vault's file in the state folder.
pub(super) const VAULT: &str = "vault.sqlite";

#[derive(Args)]
pub(super) struct Replay {
    /// The dataflow file, or the bare name of a built-in one: sensor_collection, ingest_transform_load, realtime_analytics
    dataflow: String,
    /// JSON lines, a record a line: files, folders, globs, or - for standard input
    #[arg(short, long, value_name = "PATH", required = true, num_args = 1..)]
    input: Vec<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// The folder of the tables [default: out]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The folder of vault, keys and progress [default: <output>.state]
    #[arg(long, value_name = "DIR", env = "WARDFLOW_STATE")]
    state: Option<PathBuf>,
    /// The device collection: CSV, JSON lines or Parquet with device_id, manufacturer, model
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
    /// Override a setting of the dataflow file, as forest.shingle=4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write a JSON summary to a file, or to standard output (-)
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
}

/// Where state goes unless told otherwise: beside the output.
pub(super) fn state_beside(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".state");
    output.with_file_name(name)
}

impl Replay {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let settings = load_settings(
            &self.dataflow,
            self.set.clone(),
            self.output.as_deref(),
            self.devices.as_deref(),
        )?;
        let inputs = Inputs::find(&self.input)?;
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
        let output = PathBuf::from(&settings.output.path);
        let state = self.state.clone().unwrap_or_else(|| state_beside(&output));
        let started = Instant::now();
        let task = Task {
            settings,
            input: Input::Files(inputs.clone()),
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
        if let Some(warning) = summary.late_warning() {
            tell(format_args!("wardflow: warning: {warning}"));
        }
        let accounted = manifest.tally.records();
        if accounted != *records {
            return Err(Failure::new(format!(
                "{records} records were read but {accounted} are accounted for: this is a defect of the program, please report it"
            )));
        }
        write_summary(&summary, self.summary.as_deref())
    }
}
