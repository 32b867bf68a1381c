//! What can go wrong between the flags and the running workers, each with what to do about it, on one line.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::halt::{PEER_LOST_STATUS, told_by_supervisor};
use super::secret;
use super::signals::INTERRUPTED_STATUS;

/// Why the cluster did not start, or did not run to its end.
#[derive(Debug)]
pub enum ClusterError {
    /// `-w`, `-n` and `-p` do not fit together.
    Flags(String),
    /// The hostfile cannot be used; `line` counts from 1.
    Hostfile {
        path: PathBuf,
        line: Option<usize>,
        problem: String,
    },
    /// An address is not on this machine, and remote processes were not asked for.
    NotLoopback { address: String },
    /// A host name has no address.
    Unresolved { address: String, source: io::Error },
    /// This process cannot listen on its own address.
    Listen {
        process: usize,
        address: String,
        source: io::Error,
    },
    /// The cluster's secret cannot be had; `place` is the variable or the file.
    Secret { place: String, problem: String },
    /// What process 0 wants to hand to the others is too long (bytes).
    WelcomeTooLong { length: usize, limit: usize },
    /// Whoever answers at a process's address does not hold this cluster's secret.
    NotAuthentic { process: usize, address: String },
    /// A process of this cluster was started differently.
    Mismatch(Difference),
    /// Processes that did not come in time, with their addresses.
    Missing {
        missing: Vec<(usize, String)>,
        patience: Duration,
        hint: Option<String>,
    },
    /// A process was connected and ended before the cluster was complete.
    GaveUp { process: usize },
    /// Ctrl-C or SIGTERM came while the cluster was starting.
    Interrupted,
    /// The local workers could not be started, or one of them did not end in order.
    Workers(String),
    /// A process of `--spawn` could not be started.
    Spawn { process: usize, source: io::Error },
    /// The environment that `--spawn` gives to its processes is damaged.
    Membership { variable: &'static str },
    /// The operating system refused something that normally works.
    System { what: &'static str, source: io::Error },
}

/// How two processes of one cluster differ. `here` is this process, `there` the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another version of the handshake.
    Protocol { here: (usize, u32), there: (usize, u32) },
    /// Another `-n`.
    Processes {
        here: (usize, usize),
        there: (usize, usize),
    },
    /// Another `-w`.
    Workers {
        here: (usize, usize),
        there: (usize, usize),
    },
    /// Another program or other settings.
    Fingerprint { here: usize, there: usize },
    /// Another hostfile: who was called is not who answered.
    Address { called: usize, answered: usize },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol { here, there } => write!(
                f,
                "process {} speaks version {} of the cluster handshake and process {} version {}: start all from the same build of wardflow",
                there.0, there.1, here.0, here.1
            ),
            Self::Processes { here, there } => write!(
                f,
                "process {} was started with -n {} and process {} with -n {}: start all with the same -n",
                there.0, there.1, here.0, here.1
            ),
            Self::Workers { here, there } => write!(
                f,
                "process {} was started with -w {} and process {} with -w {}: start all with the same -w",
                there.0, there.1, here.0, here.1
            ),
            Self::Fingerprint { here, there } => write!(
                f,
                "process {there} is another build of wardflow than process {here} or runs other settings: start all with the same program file, the same dataflow file and the same flags"
            ),
            Self::Address { called, answered } => write!(
                f,
                "process {answered} answers at the address of process {called}: give all processes the same hostfile"
            ),
        }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(problem) => f.write_str(problem),
            Self::Hostfile { path, line, problem } => {
                write!(f, "hostfile {}", path.display())?;
                if let Some(line) = line {
                    write!(f, ", line {line}")?;
                }
                write!(f, ": {problem}")
            }
            Self::NotLoopback { address } => write!(
                f,
                "{address} is not on this machine: use a loopback address, or allow remote processes if the network between them can be trusted (the exchange is authenticated but not encrypted)"
            ),
            Self::Unresolved { address, source } => write!(
                f,
                "{address} has no network address ({source}): correct the host name or write the address as numbers"
            ),
            Self::Listen {
                process,
                address,
                source,
            } => listen(f, *process, address, source),
            Self::Secret { place, problem } => {
                write!(f, "the cluster's secret in {place} {problem}")
            }
            Self::WelcomeTooLong { length, limit } => write!(
                f,
                "process 0 cannot hand {length} bytes to the others: at most {limit} fit in the handshake"
            ),
            Self::NotAuthentic { process, address } => write!(
                f,
                "process {process} at {address} does not hold this cluster's secret: give all processes the same state folder (file {}) or the same {}, and see that no other program uses the address",
                secret::FILE,
                secret::VARIABLE
            ),
            Self::Mismatch(difference) => difference.fmt(f),
            Self::Missing {
                missing,
                patience,
                hint,
            } => absent(f, missing, *patience, hint.as_deref()),
            Self::GaveUp { process } => write!(
                f,
                "process {process} ended while the cluster was starting: see its message, then start all again"
            ),
            Self::Interrupted => f.write_str("interrupted while the cluster was starting"),
            Self::Workers(problem) => f.write_str(problem),
            Self::Spawn { process, source } => {
                write!(f, "process {process} cannot be started: {source}")
            }
            Self::Membership { variable } => write!(
                f,
                "{variable} in the environment is damaged: it is set by --spawn; unset it to start this process by hand"
            ),
            Self::System { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

fn listen(f: &mut fmt::Formatter<'_>, process: usize, address: &str, source: &io::Error) -> fmt::Result {
    write!(f, "process {process} cannot listen on {address}: ")?;
    match source.kind() {
        io::ErrorKind::AddrInUse => f.write_str(
            "the port is in use: end the program that uses it (a second process with the same -p?) or choose other ports with --hostfile",
        ),
        io::ErrorKind::AddrNotAvailable => f.write_str(
            "the address is not one of this machine: check -p and the hostfile",
        ),
        _ => write!(f, "{source}: choose another address with --hostfile"),
    }
}

fn absent(
    f: &mut fmt::Formatter<'_>,
    missing: &[(usize, String)],
    patience: Duration,
    hint: Option<&str>,
) -> fmt::Result {
    let (noun, pronoun) = if missing.len() == 1 {
        ("process", "it")
    } else {
        ("processes", "them")
    };
    write!(f, "{noun} ")?;
    for (at, (process, address)) in missing.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{process} ({address})")?;
    }
    write!(
        f,
        " did not come within {} s: start {pronoun} with the same -n and hostfile, or look at the message {pronoun} ended with",
        patience.as_secs_f64()
    )?;
    match hint {
        Some(hint) => write!(f, " ({hint})"),
        None => Ok(()),
    }
}

impl ClusterError {
    /// The exit status of a process that ends because of it.
    pub fn status(&self) -> i32 {
        match self {
            Self::Interrupted => INTERRUPTED_STATUS,
            // The other one has told why, and the supervisor names it if there is need.
            Self::GaveUp { .. } if told_by_supervisor(PEER_LOST_STATUS) => PEER_LOST_STATUS,
            _ => 1,
        }
    }
}

impl std::error::Error for ClusterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unresolved { source, .. }
            | Self::Listen { source, .. }
            | Self::Spawn { source, .. }
            | Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
