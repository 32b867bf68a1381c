//! Which files `--input` means: files as given, folders and globs in the order of their paths, `-` for
//! standard input.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use xxhash_rust::xxh3::Xxh3;

/// Ends of the names that are taken from a folder.
const JSON_LINES: [&str; 3] = ["jsonl", "ndjson", "json"];
/// Read from each end of a file to recognise it again.
const PROBE: u64 = 64 * 1024;

/// One file of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// `None`: standard input.
    path: Option<PathBuf>,
    /// The file's name without folders: what the quarantine table tells of a record's origin.
    pub name: String,
    /// The name without its last extension: the device, where the dataflow says `device = "@file"`.
    pub stem: String,
}

/// The input, in the order in which it is read.
#[derive(Clone, Debug)]
pub struct Inputs {
    files: Vec<InputFile>,
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
    /// A path that does not exist or cannot be read, a folder or glob without JSON lines, standard input
    /// beside other input, a kind of file that is not read.
    pub fn find(arguments: &[String]) -> Result<Inputs, InputError> {
        let mut files = Vec::new();
        for argument in arguments {
            match argument.as_str() {
                "-" => files.push(InputFile {
                    path: None,
                    name: "stdin".into(),
                    stem: "stdin".into(),
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
        Ok(Inputs { files })
    }

    /// The files in order.
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Whether it is standard input.
    pub fn is_standard_input(&self) -> bool {
        self.files.iter().any(|file| file.path.is_none())
    }

    /// What the input is recognised by when a replay is started again: names, sizes and a hash of both ends of
    /// each file; `None` for standard input, which cannot be looked at twice.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn fingerprint(&self) -> Result<Option<String>, InputError> {
        let mut hash = Xxh3::new();
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
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        InputFile {
            name: text(path.file_name()),
            stem: text(path.file_stem()),
            path: Some(path),
        }
    }

    /// What stands for the file where records come from a broker; its stem is the topic's last level.
    pub(super) fn topic(topic: &str) -> InputFile {
        InputFile {
            path: None,
            name: topic.to_owned(),
            stem: topic.rsplit('/').next().unwrap_or(topic).to_owned(),
        }
    }

    /// Opens it for reading from its start.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.path {
            Some(path) => Box::new(File::open(path)?),
            None => Box::new(io::stdin()),
        })
    }

    /// The path as the user gave it, for messages.
    pub fn shown(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| "standard input".into(), |p| p.display().to_string())
    }

    fn check(&self) -> Result<(), InputError> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(kind @ ("gz" | "zst" | "csv" | "parquet")) = path.extension().and_then(|e| e.to_str()) {
            let advice = match kind {
                "gz" => "unpack it first: gunzip -c FILE | wardflow replay … --input -",
                "zst" => "unpack it first: zstd -dc FILE | wardflow replay … --input -",
                _ => "turn it into JSON lines first, one object per record",
            };
            return Err(InputError(format!(
                "{}: replay reads JSON lines; {advice}",
                path.display()
            )));
        }
        // The input is looked at before it is read, by every process: a pipe would be empty by then.
        if !fs::metadata(path).map_err(|e| unreadable(path, &e))?.is_file() {
            let advice =
                "not a regular file; give what comes out of a pipe as standard input: … | wardflow replay … --input -";
            return Err(InputError(format!("{}: {advice}", path.display())));
        }
        File::open(path).map(drop).map_err(|e| unreadable(path, &e))
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

/// A file as it is, the JSON lines of a folder, or what a glob matches.
fn expand(argument: &str) -> Result<Vec<PathBuf>, InputError> {
    let path = Path::new(argument);
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut files).map_err(|e| unreadable(path, &e))?;
        files.sort();
        return match files.is_empty() {
            true => Err(InputError(format!(
                "{argument}: the folder holds no file ending in .jsonl, .ndjson or .json"
            ))),
            false => Ok(files),
        };
    }
    if path.exists() || !argument.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let matches = glob::glob(argument).map_err(|e| InputError(format!("{argument}: not a glob: {}", e.msg)))?;
    let mut files = Vec::new();
    for found in matches {
        let found = found.map_err(|e| unreadable(e.path(), e.error()))?;
        if found.is_file() {
            files.push(found);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(InputError(format!("{argument}: the glob matches no file"))),
        false => Ok(files),
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| JSON_LINES.contains(&e))
        {
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
        for name in ["c.jsonl", "a.ndjson", "b/d.jsonl", "picture.png", "table.csv"] {
            fs::write(folder.path().join(name), name).expect("a file");
        }
        folder
    }

    fn names(argument: String) -> Result<Vec<String>, String> {
        let inputs = Inputs::find(&[argument]).map_err(|e| e.to_string())?;
        Ok(inputs.files().iter().map(|f| f.name.clone()).collect())
    }

    #[test]
    fn a_folder_gives_its_json_lines_in_the_order_of_their_paths() {
        let folder = folder();
        assert_eq!(
            names(folder.path().display().to_string()).expect("files"),
            ["a.ndjson", "d.jsonl", "c.jsonl"]
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
        assert!(names(at("table.csv")).expect_err("csv").contains("JSON lines"));
        assert!(names(at("*.txt")).expect_err("glob").contains("matches no file"));
        fs::create_dir(folder.path().join("empty")).expect("a folder");
        assert!(names(at("empty")).expect_err("empty").contains("holds no file"));
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
        let stdin = Inputs::find(&["-".into()]).expect("stdin");
        assert_eq!(stdin.fingerprint().expect("nothing to read"), None);
    }
}
