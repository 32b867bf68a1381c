//! `wardflow run`: live records from a broker through a dataflow.

use clap::Args;

use super::dataflow_flags::DataflowFlags;
use super::live::{LiveRun, tell_where};
use super::{Failure, tell, write_summary};
use crate::cluster::{Flags, Interrupted, Topology};

#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    dataflow: DataflowFlags,
    /// Worker threads
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// The broker [default: source.url, mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    source: Option<String>,
}

impl Run {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let settings = self.dataflow.settings(&[("source.url", self.source.as_deref())])?;
        let interrupted = Interrupted::install()?;
        let topology = one_process(self.workers)?;
        let (output, state) = self.dataflow.folders(&settings);
        let name = settings.dataflow.name();
        let live = LiveRun {
            title: format!("wardflow  {name}  →  {}", output.display()),
            settings,
            output: output.clone(),
            state: state.clone(),
        };
        let summary = live.run(&topology, &interrupted, || tell(format_args!("{name}: subscribed")))?;
        tell(format_args!("{name}: {summary}"));
        tell_where(&output, &state);
        write_summary(&summary, self.dataflow.summary.as_deref())?;
        Ok(0)
    }
}

/// Live runs have one process so far.
pub(super) fn one_process(workers: usize) -> Result<Topology, Failure> {
    Ok(Topology::from_flags(&Flags {
        workers,
        processes: 1,
        process: 0,
        hostfile: None,
        allow_remote: false,
    })?)
}
