//! Whether a run holds an output, seen from outside: asking for the lock could itself keep a run from starting.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// The file that a run keeps locked.
pub(super) fn lock_of(state: &Path) -> PathBuf {
    state.join("lock")
}

/// Whether a run uses this state folder; `None` where the system does not tell.
pub fn is_in_use(state: &Path) -> Option<bool> {
    let Ok(lock) = fs::metadata(lock_of(state)) else {
        return Some(false); // no run has ever been here
    };
    let locks = fs::read_to_string("/proc/locks").ok()?;
    Some(locks.lines().any(|line| is_held(line, lock.dev(), lock.ino())))
}

/// A line of /proc/locks: `1: FLOCK  ADVISORY  WRITE 1234 fe:00:10012668 0 EOF`, a blocked one with `->` behind the number.
fn is_held(line: &str, device: u64, inode: u64) -> bool {
    let mut words = line.split_whitespace().skip(1);
    if words.next() != Some("FLOCK") {
        return false;
    }
    let Some(place) = words.nth(3) else { return false };
    let mut parts = place.split(':');
    let mut hexadecimal = || u32::from_str_radix(parts.next()?, 16).ok();
    let of_device = (hexadecimal(), hexadecimal()) == (Some(major(device)), Some(minor(device)));
    // File systems without a disk of their own give two numbers of the device; the inode has to do then.
    (of_device || major(device) == 0) && parts.next().and_then(|inode| inode.parse().ok()) == Some(inode)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock, makedev};

    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let state = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(is_in_use(state.path()), Some(false));
        let file = fs::File::create(lock_of(state.path())).expect("a file");
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("it is free");
        assert!(is_in_use(state.path()).is_none_or(|in_use| in_use));
        drop(file);
        assert!(is_in_use(state.path()).is_none_or(|in_use| !in_use));
    }

    #[test]
    fn only_the_right_lock_counts() {
        let device = makedev(0xfe, 1);
        let held = |line: &str| is_held(line, device, 77);
        assert!(held("1: FLOCK  ADVISORY  WRITE 11059 fe:01:77 0 EOF"));
        for other in [
            "1: POSIX  ADVISORY  WRITE 11059 fe:01:77 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 11059 fe:01:78 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 11059 fe:02:77 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 11059 fe:01:77 0 EOF",
            "",
        ] {
            assert!(!held(other), "{other}");
        }
    }
}
