//! Where simulated records go: files, plain or compressed, standard output, a broker.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::Encoder;

use super::super::Failure;
use super::cannot_write;
use crate::simulate::{Broker, Record};

const BUFFER: usize = 256 * 1024;
/// How long to sleep at most before looking whether to stop.
const GLANCE: Duration = Duration::from_millis(20);
/// Records between two looks at the progress.
const SHOWN: u64 = 1024;

#[derive(Clone)]
pub(super) enum Destination {
    File(PathBuf, Format),
    StandardOutput,
    Broker(Broker),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstandard,
}

impl Destination {
    pub(super) fn parse(text: &str) -> Result<Destination, String> {
        if text == "-" {
            return Ok(Destination::StandardOutput);
        }
        if text.contains("://") {
            return Broker::parse(text).map(Destination::Broker).map_err(|e| e.to_string());
        }
        let endings = [
            (".jsonl", Format::Plain),
            (".jsonl.gz", Format::Gzip),
            (".jsonl.zst", Format::Zstandard),
        ];
        match endings.into_iter().find(|(ending, _)| text.ends_with(ending)) {
            Some((_, format)) => Ok(Destination::File(PathBuf::from(text), format)),
            None => Err("give a file that ends in .jsonl, .jsonl.gz or .jsonl.zst, or - , or mqtt://HOST:PORT".into()),
        }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Destination::File(path, _) => Some(path),
            _ => None,
        }
    }
}

/// Files that would be written over, or that are named twice.
pub(super) fn refuse_existing(files: &[Option<&Path>], force: bool) -> Result<(), Failure> {
    let files: Vec<&Path> = files.iter().flatten().copied().collect();
    for (i, path) in files.iter().enumerate() {
        if files[..i].contains(path) {
            return Err(Failure::new(format!(
                "{}: is to hold two things at once; give two files",
                path.display()
            )));
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {
                return Err(Failure::new(format!(
                    "{}: is a folder; give a file in it",
                    path.display()
                )));
            }
            Ok(_) if !force => {
                return Err(Failure::new(format!(
                    "{}: exists already; give another name, or --force to write over it",
                    path.display()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|e| cannot_write(path, &e))
}

enum Out {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstandard(Encoder<'static, BufWriter<File>>),
    StandardOutput(BufWriter<io::Stdout>),
}

impl Out {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Out::Plain(out) => out,
            Out::Gzip(out) => out,
            Out::Zstandard(out) => out,
            Out::StandardOutput(out) => out,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Out::Plain(mut out) => out.flush(),
            Out::Gzip(out) => out.finish()?.flush(),
            Out::Zstandard(out) => out.finish()?.flush(),
            Out::StandardOutput(mut out) => out.flush(),
        }
    }
}

/// A file, or standard output, that takes records.
pub(super) struct RecordFile {
    name: PathBuf,
    out: Out,
    records: u64,
    bytes: u64,
    begun: Instant,
    /// The reader of standard output has gone: it has had enough.
    closed: bool,
}

impl RecordFile {
    pub(super) fn open(place: &Destination) -> Result<RecordFile, Failure> {
        let (name, out) = match place {
            Destination::File(path, format) => {
                let file = BufWriter::with_capacity(BUFFER, create(path)?);
                let out = match format {
                    Format::Plain => Out::Plain(file),
                    Format::Gzip => Out::Gzip(GzEncoder::new(file, Compression::default())),
                    Format::Zstandard => Out::Zstandard(Encoder::new(file, 0).map_err(|e| cannot_write(path, &e))?),
                };
                (path.clone(), out)
            }
            _ => (
                PathBuf::from("standard output"),
                Out::StandardOutput(BufWriter::with_capacity(BUFFER, io::stdout())),
            ),
        };
        Ok(RecordFile {
            name,
            out,
            records: 0,
            bytes: 0,
            begun: Instant::now(),
            closed: false,
        })
    }

    /// A line for each record, each when it is due if `paced`.
    pub(super) fn write(
        &mut self,
        records: impl Iterator<Item = Record>,
        paced: bool,
        stop: impl Fn() -> bool,
        on_progress: impl Fn(u64),
    ) -> Result<(), Failure> {
        for record in records {
            if stop() || self.closed || (paced && !self.wait(record.due, &stop)?) {
                break;
            }
            let mut line = record.payload;
            line.push(b'\n');
            let written = self.out.writer().write_all(&line);
            self.check(written)?;
            self.records += 1;
            self.bytes += line.len() as u64;
            if paced || self.records.is_multiple_of(SHOWN) {
                on_progress(self.records);
            }
        }
        Ok(())
    }

    /// Until the record is due; a reader sees before that what is written. False: stopped.
    fn wait(&mut self, due: f64, stop: &impl Fn() -> bool) -> Result<bool, Failure> {
        let due = Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX);
        if due > self.begun.elapsed() {
            let flushed = self.out.writer().flush();
            self.check(flushed)?;
        }
        loop {
            let left = due.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return Ok(true);
            }
            if stop() {
                return Ok(false);
            }
            thread::sleep(left.min(GLANCE));
        }
    }

    /// What to tell the user.
    pub(super) fn finish(mut self) -> Result<String, Failure> {
        let flushed = self.out.writer().flush();
        self.check(flushed)?;
        let seconds = self.begun.elapsed().as_secs_f64();
        let told = format!(
            "simulate: {} records, {:.1} MB, in {seconds:.1} s ({:.0} records/s)\n  in {}",
            self.records,
            self.bytes as f64 / 1e6,
            self.records as f64 / seconds.max(1e-9),
            self.name.display()
        );
        if !self.closed {
            self.out.finish().map_err(|e| cannot_write(&self.name, &e))?;
        }
        Ok(told)
    }

    fn check(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe && matches!(self.out, Out::StandardOutput(_)) => {
                self.closed = true;
                Ok(())
            }
            other => other.map_err(|e| cannot_write(&self.name, &e)),
        }
    }
}
