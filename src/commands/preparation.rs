//! What a run needs before its workers start: the output taken up, keys and vault open, devices loaded, processes connected.
//!
//! Process 0 owns output, vault and device collection. The others get what they need of it with the handshake.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::devices::{Beginning, Choice};
use super::durable::{self, Continuation, Ground, Recording};
use super::replay::VAULT;
use super::{Failure, tell};
use crate::cluster::{Interrupted, Line, Mesh, Topology, connect, connect_lines, secret};
use crate::commit::{Belongings, Manifest, OutputFolder};
use crate::devices::{Collection, Succession};
use crate::disk::{Fence, LocalDisk};
use crate::settings::Settings;
use crate::source::{Inputs, Speed};
use crate::vault::{KeyEncryptionKey, KeyNotice, PayloadSealer, Sealer, Vault};

/// How long the processes of a cluster wait for each other.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an output is bound to: the version. The processes of a cluster are checked to be one build besides.
pub(super) const PROGRAM: &str = concat!("wardflow ", env!("CARGO_PKG_VERSION"));

/// What is to be done.
pub(super) struct Task {
    pub(super) settings: Settings,
    pub(super) input: Input,
    /// `None`: as fast as it goes.
    pub(super) speed: Option<Speed>,
    pub(super) output: PathBuf,
    pub(super) state: PathBuf,
    /// Whether output and state are for this run only and then removed.
    pub(super) passing: bool,
}

/// Where the records come from.
pub(super) enum Input {
    Files(Inputs),
    /// A broker; its topics.
    Live(Vec<String>),
    /// What a live run has received.
    Recording(Recording),
}

impl Input {
    /// What the output is bound to; `None` for standard input.
    fn fingerprint(&self) -> Result<Option<String>, Failure> {
        Ok(match self {
            Input::Files(inputs) => inputs.fingerprint()?,
            Input::Live(topics) => Some(Belongings::live_input(topics)),
            Input::Recording(recording) => Some(recording.fingerprint()),
        })
    }
}

/// What is at hand.
pub(super) struct Preparation {
    pub(super) mesh: Mesh,
    /// To the other processes, in a live run.
    pub(super) lines: Vec<Line>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) payloads: Arc<PayloadSealer>,
    /// This run's claim on the folders.
    pub(super) fence: Fence,
    /// Process 0's.
    pub(super) owned: Option<Owned>,
    /// Of a live run.
    pub(super) continuation: Option<Continuation>,
}

/// What process 0 alone has.
pub(super) struct Owned {
    pub(super) folder: OutputFolder,
    pub(super) found: Manifest,
    pub(super) vault: Vault,
    /// The collection that the first epoch meets.
    pub(super) devices: Option<Collection>,
    /// Those of later ones, in the replay of a journal.
    pub(super) succession: Option<Succession>,
}

/// Gets everything ready, or says what stands in the way.
pub(super) fn prepare(task: &Task, topology: &Topology, interrupted: &Interrupted) -> Result<Preparation, Failure> {
    let first = match topology.process() {
        0 => Some(take_up(task)?),
        _ => None,
    };
    let mut welcome = Vec::new();
    if let Some((owned, ..)) = &first {
        welcome.extend_from_slice(&owned.folder.incarnation().to_be_bytes());
        welcome.extend_from_slice(owned.vault.wrapped_payload_key());
        if topology.processes() > 1 {
            owned.folder.show()?;
        }
    }
    let secret = secret::load(&task.state)?;
    let alike = match topology.processes() {
        1 => [0; 32], // there is nobody to compare with
        _ => fingerprint(task)?,
    };
    let mesh = connect(topology, &secret, alike, welcome, PATIENCE, interrupted)?;
    let is_live = matches!(task.input, Input::Live(_));
    let lines = match is_live {
        true => connect_lines(topology, &secret, alike, PATIENCE, interrupted)?,
        false => Vec::new(),
    };
    let told = mesh.welcome().split_first_chunk();
    let (incarnation, payload_key) = told.ok_or_else(|| Failure::new("process 0 has told nothing of its folders"))?;
    let fence = Fence::of(LocalDisk, &task.state, u64::from_be_bytes(*incarnation));
    if first.is_none() {
        find_folders(task, topology, &fence)?;
    }
    // The others come to the key once process 0 has it: what is wrong with it is told once.
    let (mut owned, key, sealer, choice) = match first {
        Some((owned, key, choice)) => {
            let sealer = Sealer::with_vault(&key, &owned.vault)?;
            (Some(owned), key, sealer, choice)
        }
        None => {
            let key = load_key(task)?.0;
            let sealer = match is_live {
                true => Sealer::beside(&key, &task.state.join(VAULT))?,
                false => Sealer::new(&key)?,
            };
            (None, key, sealer, None)
        }
    };
    let payloads = Arc::new(PayloadSealer::from_wrapped(&key, payload_key)?);
    let sealer = Arc::new(sealer);
    let continuation = match is_live {
        false => None,
        true => {
            let read =
                || Manifest::read(&task.state).map_err(|e| Failure::new(format!("{}: {e}", task.state.display())));
            let found = match &owned {
                Some(owned) => owned.found.clone(),
                None => read()?.ok_or_else(|| Failure::new("process 0 has left no manifest"))?,
            };
            let ground = Ground {
                task,
                topology,
                found: &found,
                fence: fence.clone(),
                key: &key,
                sealer: &sealer,
            };
            let file = owned.as_mut().and_then(|owned| owned.devices.take());
            let mut continuation = durable::take_up(&ground, choice.map(|choice| (choice, file)))?;
            if let Some(owned) = &mut owned {
                owned.devices = continuation.devices.take();
            }
            Some(continuation)
        }
    };
    Ok(Preparation {
        mesh,
        lines,
        sealer,
        payloads,
        fence,
        owned,
        continuation,
    })
}

/// That this process finds the folders of process 0 where its own command says.
fn find_folders(task: &Task, topology: &Topology, fence: &Fence) -> Result<(), Failure> {
    let other = |what: &str, path: &Path| {
        Failure::new(format!(
            "process {}: {} is not the {what} folder of process 0: all processes must reach the same folders; put them on a file system that all machines share, and give its path",
            topology.process(),
            path.display()
        ))
    };
    if fence.check().is_err() {
        return Err(other("state", &task.state));
    }
    match OutputFolder::is_shown(&task.output, fence.incarnation()) {
        true => Ok(()),
        false => Err(other("output", &task.output)),
    }
}

/// Process 0's part.
fn take_up(task: &Task) -> Result<(Owned, KeyEncryptionKey, Option<Choice>), Failure> {
    let prospect = Beginning::look(task)?;
    let folder = OutputFolder::open(&task.output, &task.state)?;
    let Beginning {
        fingerprint,
        collection: devices,
        succession,
        choice,
    } = prospect.begin(task)?;
    let found = folder.take_up(Belongings {
        program: PROGRAM.to_owned(),
        dataflow: task.settings.dataflow.name().to_owned(),
        settings: task.settings.canonical_json(),
        input: task.input.fingerprint()?,
        devices: fingerprint,
    })?;
    let (key, notice) = load_key(task)?;
    if let Some(notice) = notice.filter(|_| !task.passing) {
        tell(format_args!("wardflow: {notice}"));
    }
    let vault = Vault::open_writer(&task.state.join(VAULT), &key)?;
    let owned = Owned {
        folder,
        found,
        vault,
        devices,
        succession,
    };
    Ok((owned, key, choice))
}

fn load_key(task: &Task) -> Result<(KeyEncryptionKey, Option<KeyNotice>), Failure> {
    let loaded = KeyEncryptionKey::load(&task.settings.keys.kek, &task.state)?;
    Ok((loaded.key, loaded.notice))
}

/// Of everything that all processes must have alike, the very build included: what rows look like on the wire is the build's.
fn fingerprint(task: &Task) -> Result<[u8; 32], Failure> {
    let mut hash = Sha256::new();
    let build = build_digest().map_err(|e| Failure::new(format!("the program's own file cannot be read ({e})")))?;
    hash.update(build);
    let input = task.input.fingerprint()?.unwrap_or_default();
    let sessions = match &task.input {
        Input::Live(_) => task.settings.source.sessions,
        _ => 0,
    };
    let speed = task.speed.map_or_else(String::new, |speed| speed.to_string());
    for part in [
        PROGRAM,
        &task.settings.canonical_json(),
        &input,
        &task.settings.replay.epoch_records.to_string(),
        &speed,
        &sessions.to_string(),
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(hash.finalize().into())
}

/// Of the running program's own file.
fn build_digest() -> io::Result<[u8; 32]> {
    // On Linux this is the file that runs, even where an upgrade has put another in its place.
    let running = Path::new("/proc/self/exe");
    let mut file = match running.exists() {
        true => File::open(running)?,
        false => File::open(std::env::current_exe()?)?,
    };
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&part[..read]),
        }
    }
}
