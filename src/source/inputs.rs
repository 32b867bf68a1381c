//! Which files `--input` means: files as given, folders and globs in the order of their paths, `-` for
//! standard input.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use xxhash_rust::xxh3::Xxh3;

use super::format::{self, Counted, ENDINGS, Form, Packing};
use super::records::{ReadError, Reading, Records, refused};
use crate::observe::Progress;
use crate::record::Parser;

/// Read from each end of a file to recognise it again.
const PROBE: u64 = 64 * 1024;
/// Looked at to see whether a file is what its name says.
const SNIFF: u64 = 4096;

/// One file of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// `None`: standard input.
    path: Option<PathBuf>,
    /// The file's name without folders: what the quarantine table tells of a record's origin.
    pub name: String,
    /// The name without the endings that tell its form: the device, where the dataflow says `device = "@file"`.
    pub stem: String,
    pub(super) form: Form,
    pub(super) packing: Packing,
}

/// The input, in the order in which it is read.
#[derive(Clone, Debug)]
pub struct Inputs {
    files: Vec<InputFile>,
    merge: bool,
}

/// What is wrong with an `--input`, and what to do.
#[derive(Debug)]
pub struct InputError(String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InputError {}

impl Inputs {
    /// Finds the files meant by `arguments`.
    ///
    /// # Errors
    /// A path that does not exist or cannot be read, a folder or glob without a file that is read, standard input
    /// beside other input, a file whose content is not what its name says.
    pub fn find(arguments: &[String]) -> Result<Inputs, InputError> {
        let mut files = Vec::new();
        for argument in arguments {
            match argument.as_str() {
                "-" => files.push(InputFile {
                    path: None,
                    name: "stdin".into(),
                    stem: "stdin".into(),
                    form: Form::JsonLines,
                    packing: Packing::Plain,
                }),
                _ => files.extend(expand(argument)?.into_iter().map(InputFile::at)),
            }
        }
        if files.len() > 1 && files.iter().any(|f| f.path.is_none()) {
            return Err(InputError(
                "standard input (-) cannot stand beside other input: give one or the other".into(),
            ));
        }
        for file in &files {
            file.check()?;
        }
        Ok(Inputs { files, merge: false })
    }

    /// The same, read in the order of event time over all files.
    pub fn merged(self) -> Inputs {
        Inputs { merge: true, ..self }
    }

    /// Whether its files are read together, by event time; of one file that makes no difference.
    pub fn is_merged(&self) -> bool {
        self.merge && self.files.len() > 1
    }

    /// Looks at the columns of every file that has any, so that what is wrong with them is told before anything is made. A warning
    /// of files among others that have no column for what `parser` needs: their records will all be quarantined.
    ///
    /// # Errors
    /// A file that cannot be read, or not be used; an input without any file that has the columns.
    pub fn examine(&self, parser: Parser) -> Result<Option<String>, ReadError> {
        let with = Reading {
            parser,
            progress: Arc::default(),
            limit: 1 << 20,
            buffer: 8 << 10,
        };
        let mut missing = Vec::new();
        for file in self.files.iter().filter(|file| file.form != Form::JsonLines) {
            let records = Records::open(file, &with).map_err(|e| ReadError::new(file, e))?;
            missing.extend(records.missing().map(|what| (file, what.clone())));
        }
        let Some((file, what)) = missing.first() else {
            return Ok(None);
        };
        if missing.len() == self.files.len() {
            return Err(ReadError::new(file, refused(what.to_string())));
        }
        let others = match missing.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more files like it"),
        };
        let file = file.shown();
        Ok(Some(format!("{file}: {what}{others}; its records go to quarantine")))
    }

    /// Bytes of all files as they lie there; `None` for standard input.
    pub fn bytes(&self) -> Option<u64> {
        self.files
            .iter()
            .map(|file| Some(fs::metadata(file.path.as_ref()?).ok()?.len()))
            .sum()
    }

    /// Two files with one stem, if there are any.
    pub fn namesakes(&self) -> Option<(&InputFile, &InputFile)> {
        let mut by_stem = std::collections::HashMap::new();
        self.files
            .iter()
            .find_map(|file| Some((by_stem.insert(&file.stem, file)?, file)))
    }

    /// The files in order.
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Whether it is standard input.
    pub fn is_standard_input(&self) -> bool {
        self.files.iter().any(|file| file.path.is_none())
    }

    /// What the input is recognised by when a replay is started again: their order, names, sizes and a
    /// hash of both ends of each file; `None` for standard input, which cannot be looked at twice.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn fingerprint(&self) -> Result<Option<String>, InputError> {
        let mut hash = Xxh3::new();
        if self.is_merged() {
            hash.update(b"merged");
        }
        for file in &self.files {
            let Some(path) = &file.path else { return Ok(None) };
            let (size, ends) = ends_of(path).map_err(|e| unreadable(path, &e))?;
            hash.update(&(file.name.len() as u64).to_le_bytes());
            hash.update(file.name.as_bytes());
            hash.update(&size.to_le_bytes());
            hash.update(&ends);
        }
        Ok(Some(format!("{:032x}", hash.digest128())))
    }
}

impl InputFile {
    fn at(path: PathBuf) -> InputFile {
        let (form, packing, stem) = format::of(&path);
        InputFile {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            stem,
            form: form.unwrap_or(Form::JsonLines),
            packing,
            path: Some(path),
        }
    }

    /// What stands for the file where records come from a broker; its stem is the whole topic.
    pub(super) fn topic(topic: &str) -> InputFile {
        InputFile {
            path: None,
            name: topic.to_owned(),
            stem: topic.to_owned(),
            form: Form::JsonLines,
            packing: Packing::Plain,
        }
    }

    /// Opens it for reading from its start, unpacked.
    pub(super) fn open(&self, progress: &Arc<Progress>) -> io::Result<Box<dyn Read + Send>> {
        let progress = Arc::clone(progress);
        match &self.path {
            Some(path) => {
                let bytes = File::open(path)?;
                if self.packing != Packing::Plain && bytes.metadata()?.len() == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
                }
                format::unpack(self.packing, Counted { bytes, progress })
            }
            None => Ok(Box::new(Counted {
                bytes: io::stdin(),
                progress,
            })),
        }
    }

    /// Opens it for reading at any place.
    pub(super) fn open_file(&self) -> io::Result<File> {
        match &self.path {
            Some(path) => File::open(path),
            None => Err(io::Error::from(io::ErrorKind::NotSeekable)),
        }
    }

    /// The path as the user gave it, for messages.
    pub fn shown(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| "standard input".into(), |p| p.display().to_string())
    }

    fn check(&self) -> Result<(), InputError> {
        let Some(path) = &self.path else { return Ok(()) };
        // The input is looked at before it is read, by every process: a pipe would be empty by then.
        if !fs::metadata(path).map_err(|e| unreadable(path, &e))?.is_file() {
            let advice =
                "not a regular file; give what comes out of a pipe as standard input: … | wardflow replay … --input -";
            return Err(InputError(format!("{}: {advice}", path.display())));
        }
        let mut start = Vec::new();
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        file.take(SNIFF)
            .read_to_end(&mut start)
            .map_err(|e| unreadable(path, &e))?;
        match format::contradiction(format::of(path).0, self.packing, &start) {
            Some(why) => Err(InputError(format!("{}: {why}", path.display()))),
            None => Ok(()),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> InputError {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder; check the path",
        io::ErrorKind::PermissionDenied => "no permission to read it; check its owner and mode",
        _ => return InputError(format!("{}: cannot be read: {error}", path.display())),
    };
    InputError(format!("{}: {advice}", path.display()))
}

fn ends_of(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    (&mut file).take(PROBE).read_to_end(&mut bytes)?;
    if size > PROBE {
        file.seek(SeekFrom::Start(size.saturating_sub(PROBE)))?;
        file.take(PROBE).read_to_end(&mut bytes)?;
    }
    Ok((size, bytes))
}

/// A file as it is; of a folder, or of what a glob matches, the files that are read.
fn expand(argument: &str) -> Result<Vec<PathBuf>, InputError> {
    let path = Path::new(argument);
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut files).map_err(|e| unreadable(path, &e))?;
        files.sort();
        return match files.is_empty() {
            true => Err(InputError(format!(
                "{argument}: the folder holds no file that is read; those end in {ENDINGS}"
            ))),
            false => Ok(files),
        };
    }
    if path.exists() || !argument.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let matches = glob::glob(argument).map_err(|e| InputError(format!("{argument}: not a glob: {}", e.msg)))?;
    let (mut files, mut others) = (Vec::new(), 0);
    for found in matches {
        let found = found.map_err(|e| unreadable(e.path(), e.error()))?;
        match found.is_file() {
            true if is_read(&found) => files.push(found),
            true => others += 1,
            false => {}
        }
    }
    files.sort();
    match (files.is_empty(), others) {
        (true, 0) => Err(InputError(format!("{argument}: the glob matches no file"))),
        (true, _) => Err(InputError(format!(
            "{argument}: the glob matches {others} files and none that is read; those end in {ENDINGS}"
        ))),
        (false, _) => Ok(files),
    }
}

fn is_read(path: &Path) -> bool {
    format::of(path).0.is_some()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if is_read(&path) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("b")).expect("a folder");
        for name in [
            "c.jsonl",
            "a.ndjson",
            "b/d.jsonl",
            "picture.png",
            "table.csv",
            "b/e.json.gz",
            "f.csv.zst",
            "g.parquet",
        ] {
            let magic = match name {
                "picture.png" => "\u{0}",
                "b/e.json.gz" => "",
                _ => name,
            };
            fs::write(folder.path().join(name), magic).expect("a file");
        }
        folder
    }

    fn names(argument: String) -> Result<Vec<String>, String> {
        let inputs = Inputs::find(&[argument]).map_err(|e| e.to_string())?;
        Ok(inputs.files().iter().map(|f| f.name.clone()).collect())
    }

    #[test]
    fn a_folder_gives_what_is_read_in_the_order_of_their_paths() {
        let folder = folder();
        assert_eq!(
            names(folder.path().display().to_string()).expect("files"),
            [
                "a.ndjson",
                "d.jsonl",
                "e.json.gz",
                "c.jsonl",
                "f.csv.zst",
                "g.parquet",
                "table.csv"
            ]
        );
        assert_eq!(
            names(format!("{}/*.jsonl", folder.path().display())).expect("files"),
            ["c.jsonl"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_advice() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert!(names(at("none.jsonl")).expect_err("missing").contains("no such file"));
        assert!(names(at("picture.png")).expect_err("a picture").contains("no text"));
        assert!(names(at("*.png")).expect_err("pictures").contains("none that is read"));
        assert!(names(at("*.txt")).expect_err("glob").contains("matches no file"));
        fs::create_dir(folder.path().join("empty")).expect("a folder");
        assert!(
            names(at("empty"))
                .expect_err("empty")
                .contains("holds no file that is read")
        );
        let both = Inputs::find(&["-".into(), at("c.jsonl")]);
        assert!(
            both.expect_err("stdin beside a file")
                .to_string()
                .contains("standard input")
        );
    }

    #[test]
    fn the_fingerprint_follows_names_sizes_and_ends() {
        let folder = folder();
        let path = folder.path().join("c.jsonl");
        let print = || {
            Inputs::find(&[path.display().to_string()])
                .expect("a file")
                .fingerprint()
                .expect("readable")
        };
        let before = print();
        assert_eq!(before, print());
        fs::write(&path, "c.jsonk").expect("a file");
        assert_ne!(before, print());
        let two = || {
            Inputs::find(&[
                path.display().to_string(),
                folder.path().join("a.ndjson").display().to_string(),
            ])
        };
        let print = |inputs: Inputs| inputs.fingerprint().expect("readable");
        let merged = print(two().expect("files").merged());
        assert_ne!(
            print(two().expect("files")),
            merged,
            "the order of the records is another"
        );
        let stdin = Inputs::find(&["-".into()]).expect("stdin");
        assert_eq!(stdin.fingerprint().expect("nothing to read"), None);
    }
}
