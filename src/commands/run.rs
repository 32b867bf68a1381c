//! `wardflow run`: live records from a broker through a dataflow.

use clap::Args;

use super::cluster_flags::ClusterFlags;
use super::dataflow_flags::DataflowFlags;
use super::live::{LiveRun, tell_where};
use super::{Failure, tell, write_summary};
use crate::cluster::{Interrupted, spawn_and_keep_up};

#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    dataflow: DataflowFlags,
    /// The broker [default: source.url, mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

impl Run {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let settings = self.dataflow.settings(&[("source.url", self.source.as_deref())])?;
        let interrupted = Interrupted::install()?;
        let topology = self.cluster.topology()?;
        if self.cluster.spawn {
            return Ok(spawn_and_keep_up(topology.processes(), &interrupted)?);
        }
        let sessions = settings.source.sessions;
        if topology.processes() > sessions && topology.process() == 0 {
            tell(format_args!(
                "wardflow: warning: {} processes for {sessions} {}: the others receive nothing, only work; more receive with --set source.sessions={}",
                topology.processes(),
                if sessions == 1 { "session" } else { "sessions" },
                topology.processes()
            ));
        }
        let (output, state) = self.dataflow.folders(&settings);
        let name = settings.dataflow.name();
        let live = LiveRun {
            title: format!("wardflow  {name}  →  {}", output.display()),
            settings,
            output: output.clone(),
            state: state.clone(),
        };
        let summary = live.run(&topology, &interrupted, || tell(format_args!("{name}: subscribed")))?;
        let Some(summary) = summary else { return Ok(0) };
        tell(format_args!("{name}: {summary}"));
        tell_where(&output, &state);
        write_summary(&summary, self.dataflow.summary.as_deref())?;
        Ok(0)
    }
}
