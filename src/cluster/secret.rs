//! The secret all processes of a cluster share: by it they know each other.
//!
//! It comes from [`VARIABLE`], or from the file [`FILE`] in the state folder, which the first process that looks
//! for it creates, readable by its owner only.

use std::env;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use hmac::{Hmac, KeyInit};
use rustix::fs::{Mode, OFlags};
use sha2::Sha256;

use super::error::ClusterError;

/// The environment variable that holds the secret as hexadecimal digits.
pub const VARIABLE: &str = "WARDFLOW_CLUSTER_SECRET";
/// The file in the state folder that holds the secret as hexadecimal digits.
pub const FILE: &str = "cluster.secret";

/// Bytes of a secret made here: as many as the hash puts out.
const LENGTH: usize = 32;
/// Fewest bytes of a secret given by the user; fewer could be guessed from one recorded handshake.
const SHORTEST: usize = 16;
/// More text than any secret; what is behind it is not read.
const LONGEST_TEXT: u64 = 4096;

/// A shared secret. Its `Debug` hides it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A new random secret.
    pub fn generate() -> Result<Self, ClusterError> {
        random::<LENGTH>().map(|bytes| Self(bytes.to_vec()))
    }

    /// Reads hexadecimal digits; `place` is where they are from, for the error.
    fn from_hex(text: &str, place: &str) -> Result<Self, ClusterError> {
        let text = text.trim();
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        match digits {
            Some(digits) if digits.len() >= 2 * SHORTEST && digits.len().is_multiple_of(2) => {
                Ok(Self(digits.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect()))
            }
            _ => Err(unusable(
                place,
                format!(
                    "is not usable: write an even number of at least {} hexadecimal digits, the same for all processes",
                    2 * SHORTEST
                ),
            )),
        }
    }

    /// The secret as hexadecimal digits, to be handed on to a process of this cluster and nobody else.
    pub(super) fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// HMAC-SHA256 (RFC 2104) under this secret.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The secret of the cluster whose state is in `state`: from [`VARIABLE`] if it is set, else from [`FILE`] in
/// that folder, made on first use. Processes that start at the same time get the same one.
pub fn load(state: &Path) -> Result<Secret, ClusterError> {
    match env::var_os(VARIABLE) {
        Some(text) => Secret::from_hex(&text.to_string_lossy(), VARIABLE),
        None => load_file(state),
    }
}

fn load_file(state: &Path) -> Result<Secret, ClusterError> {
    let path = state.join(FILE);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(state, &path).map_err(|error| {
                let problem = format!("cannot be created: {error}; make the folder writable or set {VARIABLE}");
                unusable(&path.display().to_string(), problem)
            })?;
            read(&path)
        }
        other => other,
    }
    .map_err(|error| unusable(&path.display().to_string(), format!("cannot be read: {error}")))
    .and_then(|text| Secret::from_hex(&text, &path.display().to_string()))
}

/// Reads the file, but not through a symbolic link and not if others could have read or written it.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    let owner = rustix::process::geteuid().as_raw();
    if !about.is_file() || about.uid() != owner || about.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "others may know it: it must be a file of your own with permissions 0600; delete it to get a new one",
        ));
    }
    let mut text = String::new();
    file.take(LONGEST_TEXT).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a new secret beside `path` and links it there: the file appears complete or not at all, and only
/// the first of several processes wins.
fn create(state: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let name = random::<8>().map_err(io::Error::other)?;
    let draft = state.join(format!(".{FILE}.{}", hex(&name)));
    let secret = Secret::generate().map_err(io::Error::other)?;
    let written = write(&draft, &secret).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&draft).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    written
}

fn write(draft: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(format!("{}\n", secret.to_hex()).as_bytes())?;
    file.sync_all()
}

/// Random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], ClusterError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ClusterError::System {
        what: "get random bytes from the operating system",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unusable(place: &str, problem: String) -> ClusterError {
    ClusterError::Secret {
        place: place.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn processes_that_start_together_get_the_same_secret_from_an_owner_only_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = folder.path().join("deep/state");
        let start = Barrier::new(8);
        let secrets: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        load_file(&state).expect("a secret").to_hex()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        assert_eq!(secrets[0].len(), 2 * LENGTH);
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        let about = fs::metadata(state.join(FILE)).expect("the file");
        assert_eq!(about.mode() & 0o777, 0o600);
        let left = fs::read_dir(&state).expect("the folder").count();
        assert_eq!(left, 1, "no draft stays");
    }

    #[test]
    fn a_file_others_can_read_or_a_link_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        load_file(folder.path()).expect("a new secret");
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("own file");
        let fault = load_file(folder.path()).expect_err("readable by the group");
        assert!(fault.to_string().contains("0600"), "{fault}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("own file");
        fs::rename(&path, folder.path().join("elsewhere")).expect("own file");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).expect("a link");
        assert!(load_file(folder.path()).is_err());
    }

    #[test]
    fn unusable_text_is_refused_without_being_quoted() {
        for text in ["", "abc", "zz", &"a".repeat(31), &"a".repeat(33), "0011223344"] {
            let fault = Secret::from_hex(text, VARIABLE).expect_err("too short or odd");
            assert!(fault.to_string().starts_with("the cluster's secret in WARDFLOW_"));
            assert!(text.is_empty() || !fault.to_string().contains(&format!(" {text} ")));
        }
        let secret = Secret::from_hex(&"0F".repeat(16), VARIABLE).expect("16 bytes");
        assert_eq!(secret.to_hex(), "0f".repeat(16));
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
