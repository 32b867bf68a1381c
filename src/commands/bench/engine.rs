//! The engine: `wardflow run` as a process of its own. In: settings and a broker. Out: its CPU time, memory and bytes, apart from all else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::super::Failure;
use crate::observe::Usage;

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// An engine that takes no more than this share of a core for so long has nothing to do.
const IDLE: f64 = 0.1;
const QUIET: Duration = Duration::from_millis(300);
/// A commit can be watched in every scenario, where the default would be one in five minutes; every anomaly becomes an alert.
const SETTINGS: [&str; 3] = [
    "output.commit_interval=20s",
    "alerts.cool_down=0s",
    "source.session_expiry=1m",
];

pub(super) struct Engine {
    child: Child,
    log: PathBuf,
    summary: PathBuf,
}

/// What is asked of its summary.
#[derive(Deserialize)]
pub(super) struct Summary {
    pub(super) cpu_seconds: f64,
    pub(super) peak_rss_bytes: u64,
    pub(super) output_bytes: u64,
    pub(super) anomalies: u64,
    #[serde(default)]
    pub(super) alerts: u64,
}

impl Engine {
    /// Starts it in `folder` and waits until the broker behind the relay has agreed. Alerts go to the broker itself.
    pub(super) fn start(
        folder: &Path,
        broker: &str,
        relay: u16,
        workers: usize,
        alerts: &str,
        more: &[String],
    ) -> Result<Engine, Failure> {
        let failed = |e: std::io::Error| Failure::new(format!("the engine cannot be started ({e})"));
        let (log, summary) = (folder.join("engine.log"), folder.join("summary.json"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .current_dir(folder)
            .args(["run", "realtime_analytics", "-o", "out"]);
        command.args(["--devices", "devices.csv", "--summary", "summary.json"]);
        command.args(["-w", &workers.to_string()]);
        command.env("WARDFLOW_SOURCE_URL", relayed(broker, relay));
        command.env("WARDFLOW_ALERTS_URL", broker); // it may hold a password
        let own = [
            format!("alerts.topic={alerts}"),
            format!("source.client_id={}", client_id(folder)),
        ];
        for setting in SETTINGS.map(str::to_owned).iter().chain(&own).chain(more) {
            command.args(["--set", setting]);
        }
        let said = File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().map_err(failed)?;
        let mut engine = Engine { child, log, summary };
        let until = Instant::now() + PATIENCE;
        while !engine.said().contains("subscribed") {
            let has_ended = engine.child.try_wait().map_err(failed)?.is_some();
            if has_ended || Instant::now() > until {
                return Err(Failure::new(format!(
                    "the engine did not start: {}",
                    engine.last_words()
                )));
            }
            thread::sleep(LOOK);
        }
        Ok(engine)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        let said = self.said();
        said.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// CPU seconds so far, where the system tells.
    pub(super) fn used(&self) -> Option<f64> {
        Usage::of_process(self.child.id()).map(|usage| usage.cpu_seconds)
    }

    /// Waits until it has nothing left to do; when that was, and the CPU seconds that it had used by then. At once where the system
    /// does not tell.
    pub(super) fn settle(&self) -> (Instant, Option<f64>) {
        let until = Instant::now() + PATIENCE;
        let mut last = (Instant::now(), self.used());
        loop {
            thread::sleep(QUIET);
            let now = (Instant::now(), self.used());
            let used = now.1.unwrap_or_default() - last.1.unwrap_or_default();
            if used <= IDLE * QUIET.as_secs_f64() || now.0 > until {
                return last;
            }
            last = now;
        }
    }

    /// Bytes that it had the disk write so far, where the system tells.
    pub(super) fn written(&self) -> Option<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id())).ok()?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?;
        line.trim().parse().ok()
    }

    /// Lets it commit and end.
    pub(super) fn end(mut self) -> Result<Summary, Failure> {
        let failed = |e: String| Failure::new(format!("the engine did not end well: {e}"));
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|e| failed(e.to_string()))?;
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().map_err(|e| failed(e.to_string()))? {
                Some(status) => break status,
                None if Instant::now() > until => return Err(failed("it still runs after a minute".into())),
                None => thread::sleep(LOOK),
            }
        };
        if !status.success() {
            return Err(failed(self.last_words()));
        }
        let json = fs::read(&self.summary).map_err(|e| failed(e.to_string()))?;
        serde_json::from_slice(&json).map_err(|e| failed(e.to_string()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended itself
        let _ = self.child.wait();
    }
}

/// Of this engine alone: what an earlier one has left at the broker is not its own.
fn client_id(folder: &Path) -> String {
    let scenario = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("wardflow-bench-{}-{scenario}", std::process::id())
}

/// The relay in the broker's place, with its login.
fn relayed(broker: &str, port: u16) -> String {
    let rest = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    let login = rest
        .rsplit_once('@')
        .map_or(String::new(), |(login, _)| format!("{login}@"));
    format!("mqtt://{login}127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_stands_in_the_brokers_place() {
        assert_eq!(relayed("mqtt://b:1883", 7), "mqtt://127.0.0.1:7");
        assert_eq!(relayed("mqtt://u:p@b", 7), "mqtt://u:p@127.0.0.1:7");
    }
}
