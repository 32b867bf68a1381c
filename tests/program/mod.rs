//! The real program, run as a user runs it, in a temporary folder of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::ward::{Truth, Ward};

/// What a run has left behind.
#[derive(Debug)]
pub struct Run {
    /// -1: ended by a signal.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program with its arguments, without settings from the environment of whoever runs the tests.
pub fn wardflow<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardflow"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WARDFLOW_") {
            command.env_remove(name);
        }
    }
    command
}

/// A folder with `input.jsonl`, `devices.csv` and the key `kek`, to run the program in.
pub struct Scene {
    folder: TempDir,
}

impl Scene {
    pub fn empty() -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scene = Scene { folder };
        scene.write("kek", "5a".repeat(32));
        scene
    }

    pub fn of(ward: &Ward) -> (Scene, Truth) {
        let scene = Scene::empty();
        let create = |name: &str| BufWriter::new(File::create(scene.path(name)).expect("a new file"));
        let mut records = create("input.jsonl");
        let truth = ward.write(&mut records).expect("records are written");
        records.flush().expect("records are written");
        let mut devices = create("devices.csv");
        ward.write_devices(&mut devices).expect("devices are written");
        devices.flush().expect("devices are written");
        (scene, truth)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// For its owner alone.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        if let Some(folder) = self.path(name).parent() {
            fs::create_dir_all(folder).expect("a folder");
        }
        fs::write(self.path(name), content).expect("a file");
        // For keys: the program warns of one that others may read.
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).expect("own file");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        wardflow(self.folder.path(), arguments)
    }

    /// Starts the program to go on beside the test, and gives what it says on standard error.
    pub fn start(&self, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
        let mut command = self.command(arguments);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = BufReader::new(child.stderr.take().expect("a pipe was asked for"));
        (child, said)
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// The arguments of a replay of `input.jsonl` into the folder `output`, all runs with the same key.
    pub fn replay_arguments<'a>(&self, dataflow: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![
            "replay",
            dataflow,
            "-o",
            output,
            "--set",
            "keys.kek=file:kek",
            "--summary",
            "-",
        ];
        if !more.contains(&"--input") {
            arguments.extend(["--input", "input.jsonl"]);
        }
        arguments.extend(more);
        arguments
    }

    /// A replay that must succeed; its summary.
    pub fn replay(&self, dataflow: &str, output: &str, more: &[&str]) -> Summary {
        let run = self.run(&self.replay_arguments(dataflow, output, more));
        assert_eq!(run.status, 0, "{dataflow} {more:?}: {}", run.stderr);
        Summary::read(&run.stdout)
    }
}

/// The JSON summary of a run.
#[derive(Clone, Debug)]
pub struct Summary(pub Value);

impl Summary {
    pub fn read(text: &str) -> Summary {
        Summary(serde_json::from_str(text).unwrap_or_else(|e| panic!("the summary is no JSON ({e}): {text:?}")))
    }

    pub fn count(&self, key: &str) -> u64 {
        self.0[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} is no count in {}", self.0))
    }

    pub fn quarantined(&self) -> BTreeMap<&str, u64> {
        let reasons = self.0["quarantined"].as_object().expect("an object");
        reasons
            .iter()
            .map(|(reason, count)| (reason.as_str(), count.as_u64().expect("a count")))
            .collect()
    }

    /// records_in = not_selected + readings_out + duplicates + all quarantined.
    pub fn assert_accounted_for(&self) {
        let [read, not_selected, out, copies] =
            ["records_in", "not_selected", "readings_out", "duplicates"].map(|key| self.count(key));
        let refused: u64 = self.quarantined().values().sum();
        assert_eq!(read, not_selected + out + copies + refused, "{}", self.0);
    }

    /// Everything in it that must not depend on workers or time.
    pub fn facts(&self) -> Value {
        let mut facts = self.0.clone();
        for measured in [
            "seconds",
            "cpu_seconds",
            "records_per_second",
            "peak_rss_bytes",
            "stages",
            // What is sealed under another key may pack into a byte more or less.
            "output_bytes",
        ] {
            facts
                .as_object_mut()
                .expect("an object")
                .remove(measured)
                .expect(measured);
        }
        facts
    }
}
