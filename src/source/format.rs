//! What a file's name says of its content: its form, and how it is packed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::observe::Progress;

/// How records stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object a line.
    JsonLines,
    /// A header row, then one record a row.
    Csv,
    Parquet,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// The endings that are taken from folders and globs, for messages.
pub(super) const ENDINGS: &str = ".jsonl, .ndjson, .json or .csv (each also with .gz or .zst behind it) or .parquet";

/// The form and packing that a name's endings stand for, and the name without them; no form: the ending is none that is known.
pub(super) fn of(path: &Path) -> (Option<Form>, Packing, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (packing, inner) = match name.rsplit_once('.') {
        Some((inner, "gz")) => (Packing::Gzip, inner),
        Some((inner, "zst")) => (Packing::Zstd, inner),
        _ => (Packing::Plain, &*name),
    };
    let (stem, form) = match inner.rsplit_once('.') {
        Some((stem, "jsonl" | "ndjson" | "json")) => (stem, Some(Form::JsonLines)),
        Some((stem, "csv")) => (stem, Some(Form::Csv)),
        Some((stem, "parquet")) if packing == Packing::Plain => (stem, Some(Form::Parquet)),
        Some((stem, _)) if !stem.is_empty() => (stem, None),
        _ => (inner, None),
    };
    (form, packing, stem.to_owned())
}

/// What the first bytes of a file tell against the form its name says; with advice.
pub(super) fn contradiction(form: Option<Form>, packing: Packing, start: &[u8]) -> Option<String> {
    let magic = [
        (&b"\x1f\x8b"[..], "packed with gzip", ".gz", packing == Packing::Gzip),
        (
            b"\x28\xb5\x2f\xfd",
            "packed with zstd",
            ".zst",
            packing == Packing::Zstd,
        ),
        (b"PAR1", "Parquet", ".parquet", form == Some(Form::Parquet)),
    ];
    for (bytes, what, ending, said) in magic {
        if start.starts_with(bytes) && !said {
            return Some(format!("it is {what}; let its name end in {ending}"));
        }
    }
    let text = packing == Packing::Plain && form != Some(Form::Parquet);
    if text && (start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff")) {
        return Some("it is UTF-16; turn it into UTF-8 first: iconv -f UTF-16 -t UTF-8".into());
    }
    let unknown = form.is_none() && packing == Packing::Plain;
    if unknown && start.contains(&0) {
        return Some(format!("it is no text; files that are read end in {ENDINGS}"));
    }
    None
}

/// The content of a packed file, all members or frames of it.
///
/// # Errors
/// None yet for gzip; zstd may fail to get memory.
pub(super) fn unpack(packing: Packing, bytes: impl io::Read + Send + 'static) -> io::Result<Box<dyn io::Read + Send>> {
    Ok(match packing {
        Packing::Plain => Box::new(bytes),
        Packing::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes)?),
    })
}

/// Counts what is read through it.
pub(super) struct Counted<R> {
    pub(super) bytes: R,
    pub(super) progress: Arc<Progress>,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.progress.read(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_form_packing_and_stem() {
        let told = |name: &str| of(Path::new(name));
        let some = |form, packing, stem: &str| (Some(form), packing, stem.to_owned());
        assert_eq!(told("a/b.jsonl"), some(Form::JsonLines, Packing::Plain, "b"));
        assert_eq!(told("b.c.ndjson.gz"), some(Form::JsonLines, Packing::Gzip, "b.c"));
        assert_eq!(told("b.csv.zst"), some(Form::Csv, Packing::Zstd, "b"));
        assert_eq!(told("b.parquet"), some(Form::Parquet, Packing::Plain, "b"));
        assert_eq!(told("b.parquet.gz"), (None, Packing::Gzip, "b".into()));
        assert_eq!(told("b.txt"), (None, Packing::Plain, "b".into()));
        assert_eq!(told("b.gz"), (None, Packing::Gzip, "b".into()));
        assert_eq!(told(".hidden"), (None, Packing::Plain, ".hidden".into()));
    }

    #[test]
    fn a_name_that_says_something_else_than_the_content_is_noticed() {
        let json = Some(Form::JsonLines);
        assert!(contradiction(json, Packing::Plain, b"\x1f\x8b\x08").is_some_and(|w| w.contains(".gz")));
        assert!(contradiction(json, Packing::Gzip, b"\x1f\x8b\x08").is_none());
        assert!(contradiction(json, Packing::Plain, b"PAR1").is_some_and(|w| w.contains(".parquet")));
        assert!(contradiction(Some(Form::Csv), Packing::Plain, b"\xff\xfea\0").is_some_and(|w| w.contains("UTF-16")));
        assert!(contradiction(None, Packing::Plain, b"\x89PNG\r\n\x1a\n\0").is_some_and(|w| w.contains("no text")));
        assert!(
            contradiction(json, Packing::Plain, b"{\0").is_none(),
            "a bad line costs no file"
        );
        assert!(contradiction(None, Packing::Plain, b"{}\n").is_none());
    }
}
