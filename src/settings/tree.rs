//! The settings as they were written, before they have a meaning: values that know where they come from.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::mistake::Origin;

/// Tables and lists deeper than this are no setting.
const DEEPEST: usize = 8;

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
    /// What the environment or `--set` gave, to the letter: where text is wanted, `2024` is text too.
    pub(super) given: Option<String>,
}

impl Node {
    /// Where element `i` of a list stands; of anything else, where it stands itself.
    pub(super) fn element(&self, i: usize) -> Origin {
        match &self.value {
            Value::List(items) => items.get(i).unwrap_or(self).origin.clone(),
            _ => self.origin.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    /// None: too large for any setting.
    Integer(Option<i128>),
    Float(f64),
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// Nested beyond sense.
    TooDeep,
}

impl Value {
    /// The value for an error message, with its kind. Long text is cut.
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Text(text) => format!("the string {}", quoted(text)),
            Value::Integer(Some(i)) => format!("the integer {i}"),
            Value::Integer(None) => "an integer of more than 127 bits".into(),
            Value::Float(x) => format!("the number {x:?}"),
            Value::Boolean(b) => format!("the boolean {b}"),
            Value::Datetime => "a date or time".into(),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
            Value::TooDeep => "a value that is nested too deeply".into(),
        }
    }

    /// Takes over a parsed TOML value; `origin` tells where a byte of the text stands.
    pub(super) fn from_toml(value: DeValue<'_>, origin: &dyn Fn(usize) -> Origin) -> Value {
        let taken = Value::at_depth(&value, origin, 0);
        dismantle(value);
        taken
    }

    fn at_depth(value: &DeValue<'_>, origin: &dyn Fn(usize) -> Origin, depth: usize) -> Value {
        let child = |v: &Spanned<DeValue<'_>>, start: usize| Node {
            origin: origin(start),
            value: Value::at_depth(v.get_ref(), origin, depth + 1),
            given: None,
        };
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => Value::Integer(wide(integer)),
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(b) => Value::Boolean(*b),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(_) | DeValue::Table(_) if depth == DEEPEST => Value::TooDeep,
            DeValue::Array(items) => Value::List(items.iter().map(|item| child(item, item.span().start)).collect()),
            DeValue::Table(table) => Value::Table(
                table
                    .iter()
                    .map(|(k, v)| (k.get_ref().to_string(), child(v, k.span().start)))
                    .collect(),
            ),
        }
    }
}

/// Drops a value level by level: dotted keys in nested tables can be so deep that dropping it whole, level within level, overflows a stack.
pub(super) fn dismantle(value: DeValue<'_>) {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            DeValue::Array(items) => rest.extend(items.into_iter().map(Spanned::into_inner)),
            DeValue::Table(table) => rest.extend(table.into_iter().map(|(_, v)| v.into_inner())),
            _ => {}
        }
    }
}

fn wide(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Text in quotes, of at most 40 characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The layers of settings put on top of each other: top-level key or section → value.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) top: BTreeMap<String, Node>,
}

impl Tree {
    /// The value of a key of a section, if any layer gives one.
    pub(super) fn node(&self, section: &str, key: &str) -> Option<&Node> {
        match &self.top.get(section)?.value {
            Value::Table(keys) => keys.get(key),
            _ => None,
        }
    }

    /// Puts the value of an environment variable or a `--set` over what is there: `path` is a top-level key, or a section, a key, and for
    /// a table the name of one of its entries.
    pub(super) fn put(&mut self, path: &[String], node: Node) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut here = &mut self.top;
        for parent in parents {
            let empty = || Node {
                origin: node.origin.clone(),
                value: Value::Table(BTreeMap::new()),
                given: None,
            };
            let table = here.entry(parent.clone()).or_insert_with(empty);
            if !matches!(table.value, Value::Table(_)) {
                *table = empty();
            }
            match &mut table.value {
                Value::Table(entries) => here = entries,
                _ => return,
            }
        }
        here.insert(last.clone(), node);
    }
}
