//! What a process has used, as the operating system tells it.

use std::fmt::Display;
use std::fs;

use serde::{Deserialize, Serialize};

/// CPU time and memory of one process; of several, the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// The most memory it ever had resident.
    pub peak_rss_bytes: u64,
}

/// Linux counts CPU time in hundredths of a second whatever the kernel's own tick: proc(5), `sysconf(_SC_CLK_TCK)`.
const TICKS_PER_SECOND: f64 = 100.0;

impl Usage {
    /// Of this process so far; zero where the system does not tell (outside Linux).
    pub fn now() -> Usage {
        Usage::of_process("self").unwrap_or_default()
    }

    /// Of a process by its number; `None` where there is none, or the system does not tell.
    pub fn of_process(number: impl Display) -> Option<Usage> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{number}/{file}")).ok();
        Some(Usage {
            cpu_seconds: cpu_seconds(&read("stat")?)?,
            peak_rss_bytes: peak(&read("status")?)?,
        })
    }

    pub fn add(&mut self, other: Usage) {
        self.cpu_seconds += other.cpu_seconds;
        self.peak_rss_bytes += other.peak_rss_bytes;
    }
}

/// Fields 14 and 15, user and system time, counted behind the program's name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_are_found_whatever_the_programs_name() {
        let stat = "12 (ward (flow) 1) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(peak("Name:\tx\nVmHWM:\t  2048 kB\n"), Some(2 << 20));
        assert_eq!(cpu_seconds("nonsense"), None);
    }
}
