//! The layers above the defaults: the dataflow file, the environment, `--set`; checked for keys that do not exist and put on top of each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::builtin::Document;
use super::mistake::{MistakeList, Origin, nearest};
use super::reader::Known;
use super::tree::{Node, Tree, Value, dismantle};

const PREFIX: &str = "WARDFLOW_";
/// The state folder, a flag of the commands and no setting.
const STATE: &str = "WARDFLOW_STATE";

/// Variables of the environment that belong to other parts of the program.
fn is_reserved(variable: &str) -> bool {
    // Of the recovery tests, which need a debug build.
    let breaks = cfg!(debug_assertions) && ["WARDFLOW_CRASH", "WARDFLOW_SLOW_DISK"].contains(&variable);
    breaks || variable == STATE || variable.starts_with("WARDFLOW_CLUSTER_") || variable.starts_with("WARDFLOW_TEST_")
}

/// Parses the dataflow file. None: it is no TOML, and `mistakes` says where.
pub(super) fn parse(document: &Document, mistakes: &mut MistakeList) -> Option<Tree> {
    let lines = Lines::new(document);
    let (table, errors) = DeTable::parse_recoverable(&document.text);
    let root = DeValue::Table(table.into_inner());
    if errors.is_empty() {
        return match Value::from_toml(root, &|byte| lines.origin(byte)) {
            Value::Table(top) => Some(Tree { top }),
            _ => None,
        };
    }
    dismantle(root);
    for error in errors {
        let byte = error.span().map_or(document.text.len(), |s| s.start);
        let reason = format!("this is not TOML: {}", error.message());
        mistakes.add(lines.origin(byte), "", reason);
    }
    None
}

/// Reports and removes what the file holds and no setting is called.
pub(super) fn check_file(tree: &mut Tree, known: &Known, mistakes: &mut MistakeList) {
    tree.top.retain(|name, node| {
        if name == "dataflow" {
            return true;
        }
        if !known.has_section(name) {
            let is_section = matches!(node.value, Value::Table(_));
            mistakes.add(node.origin.clone(), name, known.no_such_top(name, is_section));
            return false;
        }
        let Value::Table(keys) = &mut node.value else {
            let reason = format!("is a section: write [{name}] on a line, its keys below it");
            mistakes.add(node.origin.clone(), name, reason);
            return false;
        };
        keys.retain(|key, node| {
            let exists = known.has(name, key);
            if !exists {
                let reason = known.no_such_key(name, key);
                mistakes.add(node.origin.clone(), format!("{name}.{key}"), reason);
            }
            exists
        });
        true
    });
}

/// One setting from outside the file.
pub(super) struct Override {
    path: Vec<String>,
    node: Node,
}

/// Settings of the environment, ordered by name.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
    known: &Known,
    mistakes: &mut MistakeList,
) -> Vec<Override> {
    let names: BTreeMap<String, Vec<String>> = known.paths().map(|path| (variable_of(&path), path)).collect();
    let ours: BTreeMap<String, String> = variables
        .into_iter()
        .filter(|(variable, _)| variable.starts_with(PREFIX) && !is_reserved(variable))
        .collect();
    let mut overrides = Vec::new();
    for (variable, value) in ours {
        let origin = Origin::Environment {
            variable: variable.clone(),
        };
        match names.get(&variable) {
            Some(path) => overrides.push(Override::new(path.clone(), origin, value)),
            None => {
                let own = [STATE, "WARDFLOW_CLUSTER_SECRET"];
                let reason = match nearest(&variable, names.keys().map(String::as_str).chain(own)) {
                    Some(near) => format!("no such setting; did you mean {near}?"),
                    None => {
                        format!("no such setting; unset it: {PREFIX}<SECTION>_<KEY> are settings of the dataflow file")
                    }
                };
                mistakes.add(origin, "", reason);
            }
        }
    }
    overrides
}

/// `WARDFLOW_<SECTION>_<KEY>`.
fn variable_of(path: &[String]) -> String {
    format!("{PREFIX}{}", path.join("_").to_uppercase())
}

/// Settings of the command line, in its order.
pub(super) fn command_line(arguments: &[String], known: &Known, mistakes: &mut MistakeList) -> Vec<Override> {
    let mut overrides = Vec::new();
    for (position, argument) in arguments.iter().enumerate() {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        let key = key.trim().to_owned();
        let origin = Origin::Set {
            position,
            key: key.clone(),
        };
        if !argument.contains('=') || key.is_empty() {
            let reason = match key.is_empty() {
                true => "wants a key: --set section.key=value",
                false => "wants a value: --set section.key=value",
            };
            mistakes.add(origin, key, reason);
            continue;
        }
        match known.resolve(&key) {
            Ok(path) => overrides.push(Override::new(path, origin, value.into())),
            Err(reason) => mistakes.add(origin, key, reason),
        }
    }
    overrides
}

impl Override {
    /// The value is TOML; what is not TOML is text.
    fn new(path: Vec<String>, origin: Origin, given: String) -> Override {
        let (parsed, errors) = DeValue::parse_recoverable(given.trim());
        let value = match errors.is_empty() {
            true => Value::from_toml(parsed.into_inner(), &|_| origin.clone()),
            false => {
                dismantle(parsed.into_inner());
                Value::Text(given.clone())
            }
        };
        let given = Some(given);
        let node = Node { origin, value, given };
        Override { path, node }
    }

    /// The section that it belongs to; none for a top-level key.
    pub(super) fn section(&self) -> Option<&str> {
        match self.path.as_slice() {
            [section, _, ..] => Some(section),
            _ => None,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.node.origin.clone()
    }

    /// The dotted key.
    pub(super) fn key(&self) -> String {
        self.path.join(".")
    }

    pub(super) fn apply(self, tree: &mut Tree) {
        tree.put(&self.path, self.node);
    }
}

/// Where the lines of a file begin.
struct Lines {
    file: Arc<str>,
    /// Bytes after each line break.
    starts: Vec<usize>,
}

impl Lines {
    fn new(document: &Document) -> Lines {
        let breaks = document.text.match_indices('\n');
        Lines {
            file: document.file.clone(),
            starts: breaks.map(|(byte, _)| byte + 1).collect(),
        }
    }

    fn origin(&self, byte: usize) -> Origin {
        let line = 1 + self.starts.partition_point(|start| *start <= byte);
        let file = self.file.clone();
        Origin::File { file, line }
    }
}
