//! Writes alerts as lines of a JSON file.
//!
//! The file is opened anew for every few alerts, so that it may be moved away at any time. Lines are synced before they are confirmed.
//! What the last run wrote and could not note any more is found at the file's end, and a line that it left half is taken back.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::courier::Orders;
use super::outbox::{Destination, Letter, Letters, Outbox, OutboxError};
use crate::disk::crash_point;
use crate::mqtt::Pause;

/// How much of the file's end is looked at: more than is written before it is confirmed.
const LOOK_BACK: u64 = 8 << 20;
/// What a line begins with.
const BEGINNING: &[u8] = b"{\"alert_id\":\"";

pub(super) struct Scribe<T> {
    path: PathBuf,
    outbox: Arc<Outbox>,
    letters: Letters,
    orders: Orders,
    tell: T,
}

impl<T: Fn(&str)> Scribe<T> {
    pub(super) fn new(path: PathBuf, outbox: Arc<Outbox>, orders: Orders, tell: T) -> Scribe<T> {
        Scribe {
            path,
            letters: outbox.letters(Destination::File),
            outbox,
            orders,
            tell,
        }
    }

    /// Until it is told to leave.
    pub(super) async fn write(mut self) -> Result<(), OutboxError> {
        let mut written = None; // the lines at the file's end, until they have been compared
        loop {
            let letters = self.letters.next()?;
            if letters.is_empty() {
                if self.orders.leave() {
                    return Ok(());
                }
                self.outbox.come(Destination::File).await;
                continue;
            }
            let mut pause = Pause::default();
            let mut told = None;
            while let Err(error) = append(&self.path, &letters, &mut written) {
                let why = format!("alerts.file: {}", advised(&self.path, &error));
                if told.as_ref() != Some(&why) {
                    (self.tell)(&format!("{why}; alerts wait in the state folder"));
                    told = Some(why);
                }
                written = None; // how far it came is not known
                tokio::select! {
                    () = tokio::time::sleep(pause.after(std::time::Duration::ZERO)) => {}
                    () = self.outbox.come(Destination::File) => {}
                }
                if self.orders.leave() {
                    return Ok(());
                }
            }
            crash_point("alerts.written");
            if let Some(last) = letters.last() {
                let count = letters.len() as u64;
                self.outbox.confirm(Destination::File, last.place, count)?;
            }
        }
    }
}

/// Appends those alerts that are not in `written`, which is read from the file where it is not known.
fn append(path: &Path, letters: &[Letter], written: &mut Option<HashSet<Vec<u8>>>) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let before = match written {
        Some(before) => before,
        None => written.insert(mend(&mut file)?),
    };
    let (again, fresh): (Vec<&Letter>, Vec<&Letter>) = letters
        .iter()
        .partition(|letter| before.contains(letter.json.as_bytes()));
    if again.is_empty() {
        before.clear(); // and what follows was not written either
    }
    let is_new = file.metadata()?.len() == 0;
    let lines: Vec<u8> = fresh
        .iter()
        .flat_map(|letter| [letter.json.as_bytes(), b"\n"].concat())
        .collect();
    file.write_all(&lines)?;
    file.sync_data()?;
    match path.parent().filter(|_| is_new) {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Takes back a half line of ours at the end; the last whole lines.
fn mend(file: &mut File) -> io::Result<HashSet<Vec<u8>>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOK_BACK)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let half = &end[whole..];
    if half.starts_with(BEGINNING) || BEGINNING.starts_with(half) {
        file.set_len(length - half.len() as u64)?;
    } else {
        file.write_all(b"\n")?; // not ours
    }
    Ok(end[..whole].split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

/// Why it cannot be written, and what to do.
fn advised(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path}: there is no such folder; make it, or name another file"),
        io::ErrorKind::PermissionDenied => format!("{path}: it may not be written; name a file that is yours"),
        io::ErrorKind::IsADirectory => format!("{path}: it is a folder; name a file"),
        _ => format!("{path}: it cannot be written ({error})"),
    }
}

/// Whether alerts can be written there; makes the file.
///
/// # Errors
/// Why not, and what to do.
pub fn try_file(path: &Path) -> Result<(), String> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map(drop).map_err(|error| advised(path, &error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::outbox::Place;
    use super::*;

    fn letters(range: std::ops::Range<u64>) -> Vec<Letter> {
        let letter = |position| Letter {
            place: Place::behind(0, position),
            level: "x".into(),
            json: format!("{{\"alert_id\":\"{position}\"}}"),
        };
        range.map(letter).collect()
    }

    fn lines(range: std::ops::Range<u64>) -> String {
        letters(range)
            .iter()
            .map(|letter| format!("{}\n", letter.json))
            .collect()
    }

    #[test]
    fn what_the_last_run_wrote_is_not_written_again_and_half_a_line_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.jsonl");
        for cut in 0..lines(3..4).len() {
            fs::write(&path, lines(0..3) + &lines(3..4)[..cut]).expect("written");
            let mut written = None;
            append(&path, &letters(1..5), &mut written).expect("written");
            append(&path, &letters(5..7), &mut written).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("a file"), lines(0..7), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.jsonl");
        fs::write(&path, "something else").expect("written");
        append(&path, &letters(0..1), &mut None).expect("written");
        assert_eq!(
            fs::read_to_string(&path).expect("a file"),
            format!("something else\n{}", lines(0..1))
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |path: &Path| try_file(path).expect_err("refused");
        assert!(told(folder.path()).contains("it is a folder"));
        assert!(told(&folder.path().join("a/b")).contains("no such folder"));
    }
}
