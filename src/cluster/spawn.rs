//! `--spawn`: this program starts all processes of a cluster on this machine and watches over them.
//!
//! Each process gets the same command line, with `-p` and its index in the place of `--spawn`. Addresses and
//! secret travel in the environment, which other users cannot read.

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::error::ClusterError;
use super::halt;
use super::secret::{self, Secret, random};
use super::signals::Interrupted;
use super::supervise::{Members, keep_up};
use super::topology::Topology;

/// `host:port` of all processes, separated by commas.
const ADDRESSES: &str = "WARDFLOW_CLUSTER_ADDRESSES";
/// Process id of the supervisor.
const SUPERVISOR: &str = "WARDFLOW_CLUSTER_SUPERVISOR";
/// Between two looks whether the supervisor is still there.
const LOOK: Duration = Duration::from_millis(100);
/// Ports for processes. They lie below those that systems hand to outgoing connections (from 32768 on Linux,
/// from 49152 on others), so that none is taken that way between the choice and its use.
const PORTS: std::ops::Range<u16> = 10_240..32_768;

/// Starts `processes` processes of this program on this machine, waits for their end and gives the exit status
/// for this one: 0 if all ended well, 130 if they were interrupted, else 1 after telling which one failed and how.
///
/// When one fails the others are ended. SIGINT and SIGTERM are passed on. Process 0 has this process's standard
/// input, the others none; all share standard output and standard error.
pub fn spawn(processes: usize, interrupted: &Interrupted) -> Result<u8, ClusterError> {
    start(processes)?.supervise(interrupted)
}

/// As [`spawn`], of processes that go on where they were: when one fails, all are started again, after pauses that grow.
pub fn spawn_and_keep_up(processes: usize, interrupted: &Interrupted) -> Result<u8, ClusterError> {
    keep_up(interrupted, || start(processes))
}

fn start(processes: usize) -> Result<Members, ClusterError> {
    let program = env::current_exe().map_err(|source| ClusterError::System {
        what: "find this program's file",
        source,
    })?;
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let secret = Secret::generate()?.to_hex();
    let addresses = free_addresses(processes)?.join(",");
    Members::start(processes, |process| {
        let mut command = Command::new(&program);
        command
            .args(member_arguments(&arguments, process))
            .env(ADDRESSES, &addresses)
            .env(SUPERVISOR, std::process::id().to_string())
            .env(secret::VARIABLE, &secret);
        if process > 0 {
            command.stdin(Stdio::null());
        }
        command
    })
}

/// The topology of this process if [`spawn`] started it, else nothing. `workers` and `process` are its `-w` and
/// `-p`. From then on the process ends when its supervisor does.
pub fn spawned(workers: usize, process: usize) -> Result<Option<Topology>, ClusterError> {
    let Some(addresses) = env::var_os(ADDRESSES) else {
        return Ok(None);
    };
    let damaged = |variable| ClusterError::Membership { variable };
    let addresses = addresses.into_string().map_err(|_| damaged(ADDRESSES))?;
    let supervisor: i32 = env::var(SUPERVISOR)
        .ok()
        .and_then(|pid| pid.parse().ok())
        .ok_or(damaged(SUPERVISOR))?;
    let addresses = addresses.split(',').map(str::to_owned).collect();
    let topology = Topology::on_this_machine(workers, process, addresses)?;
    halt::be_supervised();
    watch(supervisor)?;
    Ok(Some(topology))
}

/// Ends this process when its parent is no longer the supervisor: when that one ends without ending its
/// processes (SIGKILL), the system gives them another parent.
fn watch(supervisor: i32) -> Result<(), ClusterError> {
    let orphaned = move || {
        rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero) != std::num::NonZeroI32::new(supervisor)
    };
    thread::Builder::new()
        .name("cluster:watch".to_owned())
        .spawn(move || {
            while !orphaned() {
                thread::sleep(LOOK);
            }
            halt::halt("the process that started and supervised this one ended; start all again")
        })
        .map(drop)
        .map_err(|source| ClusterError::System {
            what: "start a thread",
            source,
        })
}

/// The command line of one process: `-p` and its index instead of `--spawn`.
fn member_arguments(arguments: &[OsString], process: usize) -> Vec<OsString> {
    let place = arguments.iter().position(|a| a == OsStr::new("--spawn"));
    let (before, after) = match place {
        Some(place) => (&arguments[..place], &arguments[place + 1..]),
        None => (arguments, &[][..]),
    };
    let mut own = before.to_vec();
    own.extend([OsString::from("-p"), OsString::from(process.to_string())]);
    own.extend_from_slice(after);
    own
}

/// Loopback addresses nobody listens on, chosen at random. All are held until the last is found, so that they
/// differ.
pub(super) fn free_addresses(count: usize) -> Result<Vec<String>, ClusterError> {
    let mut held = Vec::with_capacity(count);
    let mut addresses = Vec::with_capacity(count);
    let mut tries = 0;
    while addresses.len() < count {
        let port = PORTS.start + u16::from_be_bytes(random()?) % (PORTS.end - PORTS.start);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => {
                held.push(listener);
                addresses.push(format!("{}:{port}", Ipv4Addr::LOCALHOST));
            }
            Err(_) if tries < usize::from(PORTS.end) => tries += 1,
            Err(source) => {
                return Err(ClusterError::System {
                    what: "find free ports on this machine",
                    source,
                });
            }
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_process_gets_its_index_in_the_place_of_spawn() {
        let arguments = words("replay ward.toml -n 2 --spawn --input a b");
        assert_eq!(
            member_arguments(&arguments, 1),
            words("replay ward.toml -n 2 -p 1 --input a b")
        );
        assert_eq!(member_arguments(&words("replay"), 0), words("replay -p 0"));
    }

    #[test]
    fn free_addresses_differ() {
        let addresses = free_addresses(20).expect("free ports");
        let different: HashSet<&String> = addresses.iter().collect();
        assert_eq!(different.len(), 20);
    }

    #[test]
    fn a_process_started_by_hand_is_no_member() {
        assert!(spawned(1, 0).expect("nothing in the environment").is_none());
    }
}
