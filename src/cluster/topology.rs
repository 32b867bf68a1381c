//! Which workers and processes there are and where they listen: `-w`, `-n`, `-p` and `--hostfile` with timely's
//! own meanings.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::error::ClusterError;

/// The port of process 0 without a hostfile (timely's choice); process `i` listens `i` above.
const FIRST_PORT: usize = 2101;

/// The flags as the user gave them.
#[derive(Clone, Copy, Debug)]
pub struct Flags<'a> {
    /// `-w`: worker threads in each process.
    pub workers: usize,
    /// `-n`: processes.
    pub processes: usize,
    /// `-p`: which of them this one is, from 0.
    pub process: usize,
    /// `--hostfile`: one `host:port` a line, process 0 first; blank lines and `#` comments allowed.
    pub hostfile: Option<&'a Path>,
    /// Whether processes on other machines are welcome. Without it only loopback addresses are used.
    pub allow_remote: bool,
}

/// A checked topology.
#[derive(Clone, Debug)]
pub struct Topology {
    workers: usize,
    process: usize,
    /// `host:port` of each process.
    addresses: Vec<String>,
    allow_remote: bool,
}

impl Topology {
    /// Checks the flags and reads the hostfile. A single process needs no address, so its hostfile is not read.
    pub fn from_flags(flags: &Flags) -> Result<Self, ClusterError> {
        check_counts(flags.workers, flags.processes, flags.process)?;
        let addresses = match flags.hostfile {
            Some(path) if flags.processes > 1 => read_hostfile(path, flags)?,
            _ => default_addresses(flags.processes)?,
        };
        Ok(Self {
            workers: flags.workers,
            process: flags.process,
            addresses,
            allow_remote: flags.allow_remote,
        })
    }

    /// The topology of one process of `--spawn`: `addresses` are on this machine.
    pub(super) fn on_this_machine(
        workers: usize,
        process: usize,
        addresses: Vec<String>,
    ) -> Result<Self, ClusterError> {
        check_counts(workers, addresses.len(), process)?;
        Ok(Self {
            workers,
            process,
            addresses,
            allow_remote: false,
        })
    }

    /// Worker threads in each process.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Number of processes.
    pub fn processes(&self) -> usize {
        self.addresses.len()
    }

    /// Index of this process.
    pub fn process(&self) -> usize {
        self.process
    }

    /// `host:port` of a process, as written.
    ///
    /// # Panics
    /// If there is no such process.
    pub(super) fn address(&self, process: usize) -> &str {
        &self.addresses[process]
    }

    /// The network address of a process. A name that has several gives its first IPv4 address, so that the
    /// process that listens and those that call agree.
    pub(super) fn resolve(&self, process: usize) -> Result<SocketAddr, ClusterError> {
        let address = self.address(process);
        let unresolved = |source| ClusterError::Unresolved {
            address: address.to_owned(),
            source,
        };
        let all: Vec<SocketAddr> = address.to_socket_addrs().map_err(unresolved)?.collect();
        let chosen = all.iter().find(|a| a.is_ipv4()).or(all.first());
        let chosen = chosen.ok_or_else(|| unresolved(io::ErrorKind::NotFound.into()))?;
        if self.allow_remote || is_loopback(chosen.ip()) {
            return Ok(*chosen);
        }
        Err(ClusterError::NotLoopback {
            address: address.to_owned(),
        })
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn check_counts(workers: usize, processes: usize, process: usize) -> Result<(), ClusterError> {
    let problem = if workers == 0 {
        "-w 0: at least one worker is needed".to_owned()
    } else if processes == 0 {
        "-n 0: at least one process is needed".to_owned()
    } else if process >= processes {
        format!(
            "-p {process} is not a process of -n {processes}: processes count from 0 to {}",
            processes - 1
        )
    } else {
        return Ok(());
    };
    Err(ClusterError::Flags(problem))
}

fn default_addresses(processes: usize) -> Result<Vec<String>, ClusterError> {
    if FIRST_PORT + (processes - 1) > usize::from(u16::MAX) {
        return Err(ClusterError::Flags(format!(
            "-n {processes}: there are not that many ports from {FIRST_PORT} on; use fewer processes or a hostfile"
        )));
    }
    Ok((0..processes)
        .map(|process| format!("localhost:{}", FIRST_PORT + process))
        .collect())
}

fn read_hostfile(path: &Path, flags: &Flags) -> Result<Vec<String>, ClusterError> {
    let fault = |line, problem| ClusterError::Hostfile {
        path: path.to_owned(),
        line,
        problem,
    };
    let text = fs::read_to_string(path).map_err(|error| fault(None, format!("cannot be read: {error}")))?;
    let mut found: Vec<(usize, &str)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let address = line.split_once('#').map_or(line, |(before, _)| before);
        let address = address.trim();
        if address.is_empty() || found.len() == flags.processes {
            continue;
        }
        check_address(address, flags.allow_remote).map_err(|problem| fault(Some(number), problem))?;
        if let Some((earlier, _)) = found.iter().find(|(_, a)| *a == address) {
            let problem = format!("{address} is on line {earlier} already: give each process its own");
            return Err(fault(Some(number), problem));
        }
        found.push((number, address));
    }
    if found.len() < flags.processes {
        let problem = format!(
            "has {} addresses, but -n {} needs {}: add a host:port line for each process",
            found.len(),
            flags.processes,
            flags.processes
        );
        return Err(fault(None, problem));
    }
    Ok(found.into_iter().map(|(_, a)| a.to_owned()).collect())
}

/// What can be said of an address without asking for its host; names are judged when they are resolved.
fn check_address(address: &str, allow_remote: bool) -> Result<(), String> {
    if address.contains(char::is_whitespace) {
        return Err(format!("`{address}` is not one address: write one host:port a line"));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(format!("`{address}` has no port: write host:port"));
    };
    if port.parse::<u16>().is_ok_and(|port| port > 0) {
        return check_host(host, address, allow_remote);
    }
    Err(format!(
        "`{port}` is not a port: write a number from 1 to 65535 behind the last colon"
    ))
}

fn check_host(host: &str, address: &str, allow_remote: bool) -> Result<(), String> {
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => match inner.parse::<IpAddr>() {
            Ok(ip) => Some(ip),
            Err(_) => return Err(format!("`{host}` is not an IPv6 address")),
        },
        None if host.contains(':') => {
            return Err(format!("write the IPv6 address in brackets, as in [{host}]:2101"));
        }
        None if host.is_empty() => return Err(format!("`{address}` has no host: write host:port")),
        None => host.parse::<IpAddr>().ok(),
    };
    match ip {
        Some(ip) if !allow_remote && !is_loopback(ip) => Err(ClusterError::NotLoopback {
            address: address.to_owned(),
        }
        .to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(processes: usize, hostfile: Option<&Path>) -> Flags<'_> {
        Flags {
            workers: 2,
            processes,
            process: 0,
            hostfile,
            allow_remote: false,
        }
    }

    fn hostfile(text: &str, processes: usize, allow_remote: bool) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("hosts");
        fs::write(&path, text).expect("a small file");
        let flags = Flags {
            allow_remote,
            ..flags(processes, Some(&path))
        };
        match Topology::from_flags(&flags) {
            Ok(topology) => Ok(topology.addresses),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn without_a_hostfile_processes_listen_on_localhost_from_2101() {
        let topology = Topology::from_flags(&flags(3, None)).expect("valid");
        assert_eq!(
            topology.addresses,
            ["localhost:2101", "localhost:2102", "localhost:2103"]
        );
        assert!(topology.resolve(1).expect("localhost").ip().is_loopback());
    }

    #[test]
    fn counts_that_do_not_fit_are_refused_with_the_flag() {
        let fault = |workers, processes, process| {
            let flags = Flags {
                workers,
                process,
                ..flags(processes, None)
            };
            Topology::from_flags(&flags).expect_err("refused").to_string()
        };
        assert!(fault(0, 1, 0).starts_with("-w 0"));
        assert!(fault(1, 0, 0).starts_with("-n 0"));
        assert!(fault(1, 2, 2).starts_with("-p 2"));
        assert!(fault(1, 70_000, 0).contains("ports"));
    }

    #[test]
    fn a_hostfile_may_have_comments_blank_lines_and_further_hosts() {
        let text = "# the ward\n\n127.0.0.1:4000  # first\r\n [::1]:4001\nlocalhost:4002\nnonsense\n";
        assert_eq!(
            hostfile(text, 3, false).expect("valid"),
            ["127.0.0.1:4000", "[::1]:4001", "localhost:4002"]
        );
    }

    #[test]
    fn hostfile_errors_name_the_line_and_what_to_write() {
        for (line, says) in [
            ("localhost", "no port"),
            (":2101", "no host"),
            ("localhost:0", "not a port"),
            ("localhost:70000", "not a port"),
            ("localhost:2101 localhost:2102", "one host:port a line"),
            ("::1:2101", "in brackets"),
            ("[::x]:2101", "not an IPv6 address"),
            ("127.0.0.1:4000", "line 1 already"),
            ("10.0.0.7:2101", "not on this machine"),
        ] {
            let fault = hostfile(&format!("127.0.0.1:4000\n\n{line}\n"), 2, false).expect_err("a fault on line 3");
            assert!(fault.contains("line 3: "), "{fault}");
            assert!(fault.contains(says), "{fault}");
        }
    }

    #[test]
    fn a_short_or_absent_hostfile_is_refused() {
        let fault = hostfile("localhost:1\n", 2, false).expect_err("short");
        assert!(fault.contains("has 1 addresses, but -n 2"), "{fault}");
        let fault = Topology::from_flags(&flags(2, Some(Path::new("/nowhere/hosts"))));
        assert!(fault.expect_err("absent").to_string().contains("cannot be read"));
    }

    #[test]
    fn remote_addresses_need_permission() {
        assert!(hostfile("10.0.0.7:1\n10.0.0.8:1\n", 2, true).is_ok());
        let topology = Topology {
            workers: 1,
            process: 0,
            addresses: vec!["192.0.2.1:2101".to_owned()],
            allow_remote: false,
        };
        let fault = topology.resolve(0).expect_err("not loopback");
        assert!(fault.to_string().contains("not on this machine"));
    }
}
