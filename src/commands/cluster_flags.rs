//! `-w`, `-n`, `-p`, `--hostfile`, `--spawn`: how many workers, where.

use std::path::PathBuf;

use clap::Args;

use crate::cluster::{ClusterError, Flags, Topology, spawned};

#[derive(Args)]
pub(super) struct ClusterFlags {
    /// Worker threads of each process
    #[arg(short, long, value_name = "N", default_value_t = 1, help_heading = "Workers")]
    pub(super) workers: usize,
    /// Processes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, help_heading = "Workers")]
    pub(super) processes: usize,
    /// Which of the processes this is, from 0
    #[arg(short, long, value_name = "I", default_value_t = 0, help_heading = "Workers")]
    process: usize,
    /// host:port of each process, one a line [default: localhost:2101 and up]
    #[arg(long, value_name = "FILE", help_heading = "Workers")]
    hostfile: Option<PathBuf>,
    /// Start all processes on this machine and watch over them
    #[arg(long, conflicts_with_all = ["process", "hostfile"], help_heading = "Workers")]
    pub(super) spawn: bool,
    /// Let processes on other machines join; what travels between them is authenticated, not encrypted
    #[arg(long, help_heading = "Workers")]
    allow_remote: bool,
}

impl ClusterFlags {
    pub(super) fn topology(&self) -> Result<Topology, ClusterError> {
        if let Some(topology) = spawned(self.workers, self.process)? {
            return Ok(topology);
        }
        Topology::from_flags(&Flags {
            workers: self.workers,
            processes: self.processes,
            process: self.process,
            hostfile: self.hostfile.as_deref(),
            allow_remote: self.allow_remote,
        })
    }
}
