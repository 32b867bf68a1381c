//! The key-encryption key: where it comes from. In: the setting `[keys] kek`. Out: the key, with a
//! notice for the user where there is something to say.
//!
//! `file:PATH` holds 32 raw bytes, 64 hexadecimal digits or base64; `env:NAME` one of the latter two;
//! `command:PROGRAM ARGS…` prints one of the three. With nothing set, the file `kek` in the state
//! folder is used and created at first.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::error::VaultError;
use super::key_text::{self, SecretKey};
use super::wrap::random;
use crate::settings::KeySource;

/// More than any accepted form needs, so that a device or a wrong file is not read without end.
const MOST_BYTES: u64 = 4096;
const FORMS: &str = "give 32 raw bytes, 64 hexadecimal digits or base64 of 32 bytes";
const TEXT_FORMS: &str = "give 64 hexadecimal digits or base64 of 32 bytes";
const DEFAULT_FILE: &str = "kek";

/// The 256-bit key that every other key is derived from or wrapped by. Wiped when dropped.
pub struct KeyEncryptionKey(pub(super) SecretKey);

/// A key-encryption key and what the user should be told about it.
pub struct LoadedKey {
    pub key: KeyEncryptionKey,
    pub notice: Option<KeyNotice>,
}

/// Something the user should know about a key file; its `Display` is the warning to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyNotice {
    /// This process has just made the key.
    Created(PathBuf),
    /// Others than the owner may read the key file.
    ReadableByOthers(PathBuf),
}

impl fmt::Display for KeyNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(path) => write!(
                f,
                "a new key-encryption key was created at {}; back it up, or move it away from the data and name it in [keys] kek",
                path.display()
            ),
            Self::ReadableByOthers(path) => write!(
                f,
                "the key-encryption key {} can be read by others than its owner; restrict it with: chmod 600 {0}",
                path.display()
            ),
        }
    }
}

impl KeyEncryptionKey {
    #[cfg(test)]
    pub fn for_tests(key: zeroize::Zeroizing<[u8; 32]>) -> KeyEncryptionKey {
        KeyEncryptionKey(key)
    }

    /// Loads the key that `[keys] kek` names; [`KeySource::StateFolder`] means the file `kek` in `state_folder`,
    /// made on first use.
    pub fn load(source: &KeySource, state_folder: &Path) -> Result<LoadedKey, VaultError> {
        match source {
            KeySource::StateFolder => default_file(state_folder),
            KeySource::File(path) => from_file(path),
            KeySource::Environment(name) => from_environment(name),
            KeySource::Command(line) => from_command(line),
        }
    }
}

fn loaded(key: SecretKey, notice: Option<KeyNotice>) -> LoadedKey {
    LoadedKey {
        key: KeyEncryptionKey(key),
        notice,
    }
}

/// Raw bytes are taken by their number, before any white space is trimmed from a text.
fn raw_or_text(bytes: &[u8]) -> Option<SecretKey> {
    match <[u8; 32]>::try_from(bytes) {
        Ok(raw) => Some(Zeroizing::new(raw)),
        Err(_) => key_text::parse(bytes),
    }
}

fn from_file(path: &Path) -> Result<LoadedKey, VaultError> {
    let mut file = File::open(path).map_err(|e| VaultError::file("open the key file", path, e))?;
    let bytes = read_some(&mut file).map_err(|e| VaultError::file("read the key file", path, e))?;
    let key = raw_or_text(&bytes).ok_or_else(|| VaultError::Key {
        place: format!("the file {}", path.display()),
        problem: format!("its {} bytes are not a key", bytes.len()),
        advice: FORMS,
    })?;
    let metadata = file
        .metadata()
        .map_err(|e| VaultError::file("examine the key file", path, e))?;
    let open_to_others = metadata.is_file() && metadata.mode() & 0o077 != 0;
    Ok(loaded(
        key,
        open_to_others.then(|| KeyNotice::ReadableByOthers(path.to_owned())),
    ))
}

fn from_environment(name: &str) -> Result<LoadedKey, VaultError> {
    // Such a name can never be set.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(VaultError::Key {
            place: "[keys] kek".into(),
            problem: "env: is followed by no name of a variable".into(),
            advice: "write env:NAME",
        });
    }
    from_variable(name, std::env::var_os(name))
}

fn from_variable(name: &str, value: Option<OsString>) -> Result<LoadedKey, VaultError> {
    let problem = |problem: &str| VaultError::Key {
        place: format!("the environment variable {name}"),
        problem: problem.into(),
        advice: TEXT_FORMS,
    };
    let value = value.ok_or_else(|| problem("it is not set"))?;
    let value = Zeroizing::new(value.into_encoded_bytes());
    let key = key_text::parse(&value).ok_or_else(|| problem("its value is not a key"))?;
    Ok(loaded(key, None))
}

/// Only the program is named in errors: its arguments may be secrets.
fn from_command(line: &str) -> Result<LoadedKey, VaultError> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or("");
    let problem = |problem: String, advice: &'static str| VaultError::Key {
        place: format!("the command `{program}`"),
        problem,
        advice,
    };
    let cannot = |e: io::Error| problem(format!("it cannot be run: {e}"), "check [keys] kek");
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let bytes = match child.stdout.take() {
        Some(mut output) => read_some(&mut output).map_err(cannot)?,
        None => Zeroizing::default(),
    };
    let status = child.wait().map_err(cannot)?;
    if !status.success() {
        return Err(problem(format!("it failed ({status})"), "run it by hand to see why"));
    }
    let key = raw_or_text(&bytes)
        .ok_or_else(|| problem(format!("its {} bytes of output are not a key", bytes.len()), FORMS))?;
    Ok(loaded(key, None))
}

fn read_some(source: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for everything at once: a growing vector would leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize + 1));
    source.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn default_file(state_folder: &Path) -> Result<LoadedKey, VaultError> {
    let path = state_folder.join(DEFAULT_FILE);
    let created = match fs::symlink_metadata(&path) {
        Ok(_) => false,
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(state_folder, &path)?,
        Err(e) => return Err(VaultError::file("examine the key file", &path, e)),
    };
    // Also where another process made the file: nothing may be sealed before the key is durable.
    File::open(state_folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| VaultError::file("write to the folder", state_folder, e))?;
    let mut loaded = from_file(&path)?;
    if created {
        loaded.notice = Some(KeyNotice::Created(path));
    }
    Ok(loaded)
}

/// Makes a key at `path` unless there is one; whether it did. The file appears whole or not at all:
/// it is written and synced under a private name, then linked into place, which fails if another
/// process was first.
fn create(folder: &Path, path: &Path) -> Result<bool, VaultError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| VaultError::file("create the folder", folder, e))?;
    let unique = u64::from_le_bytes(random()?);
    let private = folder.join(format!(".{DEFAULT_FILE}.{unique:016x}"));
    let written = write_private(&private, &key_text::write(&Zeroizing::new(random()?)));
    let linked = written.and_then(|()| fs::hard_link(&private, path));
    let removed = fs::remove_file(&private);
    match linked {
        Ok(()) => {
            removed.map_err(|e| VaultError::file("remove the temporary file", &private, e))?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(VaultError::file("create the key file", path, e)),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn source(setting: &str) -> KeySource {
        match setting.split_once(':') {
            Some(("file", path)) => KeySource::File(path.into()),
            Some(("env", name)) => KeySource::Environment(name.into()),
            Some(("command", line)) => KeySource::Command(line.into()),
            _ => KeySource::StateFolder,
        }
    }

    fn error(setting: &str, folder: &Path) -> String {
        match KeyEncryptionKey::load(&source(setting), folder) {
            Ok(_) => panic!("{setting} must be refused"),
            Err(error) => error.to_string(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("the file exists").mode() & 0o777
    }

    #[test]
    fn file_and_command_give_the_same_key_in_every_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let raw: Vec<u8> = (0..32).map(|i| (i % 16) * 0x11).collect();
        for (name, bytes) in [("raw", raw.clone()), ("hex", format!(" {HEX}\n").into_bytes())] {
            let path = folder.path().join(name);
            write_private(&path, &bytes).expect("written");
            for setting in [
                format!("file:{}", path.display()),
                format!("command:cat {}", path.display()),
            ] {
                let loaded = KeyEncryptionKey::load(&source(&setting), folder.path()).expect(&setting);
                assert_eq!(loaded.key.0.to_vec(), raw, "{setting}");
                assert_eq!(loaded.notice, None);
            }
        }
    }

    #[test]
    fn the_environment_is_read() {
        let set = from_variable("KEK", Some(HEX.into())).expect("a key");
        assert_eq!(set.key.0[..3], [0x00, 0x11, 0x22]);
        // Setting a variable here would race with other tests; cargo sets this one.
        let message = error("env:CARGO_MANIFEST_DIR", Path::new("."));
        assert!(
            message.contains("CARGO_MANIFEST_DIR: its value is not a key"),
            "{message}"
        );
        assert!(error("env:WARDFLOW_NEVER_SET", Path::new(".")).contains("is not set"));
    }

    #[test]
    fn errors_name_the_place_and_never_the_material() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("short");
        write_private(&path, &HEX.as_bytes()[1..]).expect("written");
        for (setting, expected) in [
            (format!("file:{}", path.display()), "short"),
            (format!("command:cat {}", path.display()), "`cat`"),
            ("command:false".into(), "`false`: it failed"),
            ("command:".into(), "cannot be run"),
            ("file:/nowhere/kek".into(), "/nowhere/kek"),
            ("file:/dev/zero".into(), "4096 bytes are not a key"),
        ] {
            let message = error(&setting, folder.path());
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains(&HEX[1..]), "{message}");
        }
    }

    #[test]
    fn a_key_file_open_to_others_is_accepted_with_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("open");
        write_private(&path, HEX.as_bytes()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("own file");
        let loaded = KeyEncryptionKey::load(&KeySource::File(path.clone()), folder.path()).expect("accepted");
        assert_eq!(loaded.notice, Some(KeyNotice::ReadableByOthers(path)));
    }

    #[test]
    fn the_default_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("out.state");
        let first = KeyEncryptionKey::load(&KeySource::StateFolder, &state).expect("made");
        assert_eq!(first.notice, Some(KeyNotice::Created(state.join("kek"))));
        assert_eq!(mode(&state.join("kek")), 0o600);
        let second = KeyEncryptionKey::load(&KeySource::StateFolder, &state).expect("read");
        assert_eq!(second.notice, None);
        assert_eq!(first.key.0, second.key.0);
    }

    #[test]
    fn racing_first_uses_agree_on_one_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let barrier = std::sync::Barrier::new(16);
        let loaded: Vec<LoadedKey> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        KeyEncryptionKey::load(&KeySource::StateFolder, folder.path()).expect("one of them makes it")
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        let made = loaded.iter().filter(|l| l.notice.is_some()).count();
        assert_eq!(made, 1, "exactly one says it made the key");
        assert!(loaded.iter().all(|l| l.key.0 == loaded[0].key.0));
        let names: Vec<_> = fs::read_dir(folder.path()).expect("readable").collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
    }
}
