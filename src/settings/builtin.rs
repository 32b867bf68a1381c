//! The text of a dataflow file: a file of the user, or one of the three that are part of the program.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::Dataflow;
use super::mistake::{MistakeList, Mistakes, Origin, nearest};

/// Far more than any dataflow file; a data file given by mistake is not read to its end.
const LARGEST_FILE: u64 = 1 << 20;

/// A dataflow file before it is parsed.
pub(super) struct Document {
    /// The file's stem, or the built-in name.
    pub(super) name: String,
    /// The file as messages name it.
    pub(super) file: Arc<str>,
    pub(super) text: String,
}

/// Finds what the command line calls `dataflow`.
pub(super) fn open(dataflow: &str) -> Result<Document, Mistakes> {
    let failed = |reason: String| {
        let mut mistakes = MistakeList::default();
        let file = Arc::from(dataflow);
        mistakes.add(Origin::File { file, line: 0 }, "", reason);
        mistakes.fail()
    };
    if let Some(known) = Dataflow::named(dataflow) {
        return Ok(Document {
            name: dataflow.into(),
            file: format!("{dataflow}.toml").into(),
            text: text_of(known).into(),
        });
    }
    if !dataflow.ends_with(".toml") {
        return failed(match Path::new(dataflow).exists() {
            true => "no dataflow file: the name of one ends in .toml".into(),
            false => not_built_in(dataflow),
        });
    }
    match read(Path::new(dataflow)) {
        Ok(text) => Ok(Document {
            name: Path::new(dataflow)
                .file_stem()
                .map_or_else(|| dataflow.into(), |s| s.to_string_lossy().into_owned()),
            file: dataflow.into(),
            text,
        }),
        Err(reason) => failed(reason),
    }
}

fn text_of(dataflow: Dataflow) -> &'static str {
    match dataflow {
        Dataflow::SensorCollection => include_str!("../../dataflows/sensor_collection.toml"),
        Dataflow::IngestTransformLoad => include_str!("../../dataflows/ingest_transform_load.toml"),
        Dataflow::RealtimeAnalytics => include_str!("../../dataflows/realtime_analytics.toml"),
    }
}

fn not_built_in(name: &str) -> String {
    let names = Dataflow::ALL.map(Dataflow::name);
    let advice = match nearest(name, names) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => "; a file of your own is a path that ends in .toml".into(),
    };
    format!(
        "no dataflow of this name is built in, only {}{advice}",
        names.join(", ")
    )
}

/// A file that is not there: is one of a similar name in its folder, or a built-in one meant?
fn not_there(path: &Path) -> String {
    let stem = |path: &Path| {
        path.file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut stems: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| stem(&path))
        .collect();
    stems.sort();
    let wanted = stem(path);
    if let Some(near) = nearest(&wanted, stems.iter().map(String::as_str)) {
        let near = path.with_file_name(format!("{near}.toml"));
        return format!("no such file; did you mean {}?", near.display());
    }
    match nearest(&wanted, Dataflow::ALL.map(Dataflow::name)) {
        Some(near) => format!("no such file; did you mean the built-in `{near}`, without .toml?"),
        None => "no such file; check the path".into(),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => not_there(path),
        io::ErrorKind::PermissionDenied => "no permission to read the dataflow file; check its owner and mode".into(),
        _ => format!("cannot open the dataflow file: {e}"),
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| match e.kind() {
            io::ErrorKind::IsADirectory => "a folder, not a dataflow file".into(),
            _ => format!("cannot read the dataflow file: {e}"),
        })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("is larger than 1 MiB, so it is no dataflow file".into());
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|b| **b == b'\n').count();
        format!("line {line} is not UTF-8; save the file as UTF-8")
    })
}
