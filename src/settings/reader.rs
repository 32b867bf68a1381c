//! Typed reading of the tree: each getter checks kind and range, notes what is wrong, and remembers the key it was asked for. The keys
//! that getters were asked for are all the keys there are.

use std::ops::RangeInclusive;

use super::mistake::{MistakeList, Origin, nearest};
use super::quantity::{self, Micros};
use super::tree::{Node, Tree, Value, quoted};

/// What is wrong with a value, and where: at the value itself or at an element of it.
pub(super) struct Fault {
    pub(super) origin: Origin,
    pub(super) reason: String,
}

/// A value that passed, or everything that is wrong with it.
pub(super) type Checked<T> = Result<T, Vec<Fault>>;

pub(super) fn fault<T>(node: &Node, reason: impl Into<String>) -> Checked<T> {
    Err(vec![Fault {
        origin: node.origin.clone(),
        reason: reason.into(),
    }])
}

fn wrong_kind<T>(node: &Node, wanted: &str) -> Checked<T> {
    fault(node, format!("wants {wanted}; found {}", node.value.describe()))
}

pub(super) struct Reader<'a> {
    tree: &'a Tree,
    known: Known,
    mistakes: &'a mut MistakeList,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Tree, mistakes: &'a mut MistakeList) -> Reader<'a> {
        let known = Known::default();
        Reader { tree, known, mistakes }
    }

    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        self.known.sections.push((name, Vec::new()));
        Section { reader: self, name }
    }

    /// The keys that were asked for.
    pub(super) fn into_known(self) -> Known {
        self.known
    }
}

/// One section being read. Getters return `default` when the key is absent or wrong.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: &'static str,
}

impl Section<'_, '_> {
    /// Reads a key with a check of its own.
    pub(super) fn read<T>(&mut self, key: &'static str, default: T, check: impl FnOnce(&Node) -> Checked<T>) -> T {
        if let Some((_, keys)) = self.reader.known.sections.last_mut() {
            keys.push(key);
        }
        let Some(node) = self.reader.tree.node(self.name, key) else {
            return default;
        };
        check(node).unwrap_or_else(|faults| {
            for Fault { origin, reason } in faults {
                let key = format!("{}.{key}", self.name);
                self.reader.mistakes.add(origin, key, reason);
            }
            default
        })
    }

    pub(super) fn text(&mut self, key: &'static str, default: String) -> String {
        self.read(key, default, text)
    }

    pub(super) fn filled_text(&mut self, key: &'static str, default: String) -> String {
        self.read(key, default, filled_text)
    }

    pub(super) fn texts(&mut self, key: &'static str, default: Vec<String>) -> Vec<String> {
        self.read(key, default, texts)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, |node| match node.value {
            Value::Boolean(b) => Ok(b),
            _ => wrong_kind(node, "true or false"),
        })
    }

    pub(super) fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i128> + PartialOrd + std::fmt::Display,
    {
        self.read(key, default, |node| match node.value {
            Value::Integer(i) => within(node, i.and_then(|i| T::try_from(i).ok()), &range),
            _ => wrong_kind(node, &format!("an integer from {} to {}", range.start(), range.end())),
        })
    }

    /// A finite number greater than zero.
    pub(super) fn positive(&mut self, key: &'static str, default: f64) -> f64 {
        self.read(key, default, |node| {
            let number = match node.value {
                Value::Float(x) => x,
                Value::Integer(Some(i)) => i as f64,
                _ => return wrong_kind(node, "a number above 0"),
            };
            match number.is_finite() && number > 0.0 {
                true => Ok(number),
                false => wrong_kind(node, "a number above 0"),
            }
        })
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        self.read(key, default, |node| {
            let word = text(node)?;
            if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
                return Ok(*value);
            }
            let names: Vec<String> = choices.iter().map(|(name, _)| quoted(name)).collect();
            let mut reason = format!("wants {}; found {}", names.join(" or "), quoted(&word));
            if let Some(near) = nearest(&word, choices.iter().map(|(name, _)| *name)) {
                reason += &format!("; did you mean {}?", quoted(near));
            }
            fault(node, reason)
        })
    }

    /// A duration of at least `shortest`.
    pub(super) fn duration(&mut self, key: &'static str, shortest: Micros, default: Micros) -> Micros {
        self.read(key, default, |node| duration(node, shortest))
    }

    /// A size in bytes: a number with a unit, or an integer.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.read(key, default, |node| match &node.value {
            Value::Integer(i) => within(node, i.and_then(|i| u64::try_from(i).ok()), &range),
            Value::Text(text) => match quantity::size(text) {
                Ok(bytes) => within(node, Some(bytes), &range),
                Err(why) => fault(
                    node,
                    format!(
                        "{} {why}; write bytes, or a whole number with B, KB, MB, GB, KiB, MiB or GiB, as \"100MB\"",
                        quoted(text)
                    ),
                ),
            },
            _ => wrong_kind(node, "a size such as \"100MB\""),
        })
    }
}

fn within<T: PartialOrd + std::fmt::Display>(node: &Node, number: Option<T>, range: &RangeInclusive<T>) -> Checked<T> {
    match number.filter(|n| range.contains(n)) {
        Some(number) => Ok(number),
        None => {
            let wanted = format!("a value from {} to {}", range.start(), range.end());
            wrong_kind(node, &wanted)
        }
    }
}

/// A string; from the environment and from `--set` also one that reads as a number, a boolean or a date.
pub(super) fn text(node: &Node) -> Checked<String> {
    match (&node.value, &node.given) {
        (Value::Text(text), _) => Ok(text.clone()),
        (Value::List(_) | Value::Table(_) | Value::TooDeep, _) | (_, None) => wrong_kind(node, "a string in quotes"),
        (_, Some(given)) => Ok(given.clone()),
    }
}

pub(super) fn filled_text(node: &Node) -> Checked<String> {
    let text = text(node)?;
    match text.is_empty() {
        true => fault(node, "must not be empty"),
        false => Ok(text),
    }
}

/// A list of strings, none of them empty.
pub(super) fn texts(node: &Node) -> Checked<Vec<String>> {
    match &node.value {
        Value::List(items) => all(items.iter().map(filled_text)),
        _ => wrong_kind(node, "a list of strings, as [\"a\", \"b\"]"),
    }
}

/// All values, or all faults.
pub(super) fn all<T>(results: impl Iterator<Item = Checked<T>>) -> Checked<Vec<T>> {
    let mut values = Vec::new();
    let mut faults = Vec::new();
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(more) => faults.extend(more),
        }
    }
    match faults.is_empty() {
        true => Ok(values),
        false => Err(faults),
    }
}

/// `None`: "off".
pub(super) fn duration_or_off(node: &Node, shortest: Micros) -> Checked<Option<Micros>> {
    if matches!(&node.value, Value::Text(text) if text == "off") {
        return Ok(None);
    }
    duration(node, shortest).map(Some).map_err(|mut faults| {
        for fault in &mut faults {
            fault.reason += ", or \"off\"";
        }
        faults
    })
}

/// A duration of at least `shortest`.
pub(super) fn duration(node: &Node, shortest: Micros) -> Checked<Micros> {
    let Value::Text(text) = &node.value else {
        return wrong_kind(node, "a duration such as \"30s\"");
    };
    match quantity::duration(text) {
        Ok(duration) if duration >= shortest => Ok(duration),
        Ok(_) => fault(node, "must be longer than 0"),
        Err(why) => fault(
            node,
            format!(
                "{} {why}; write a whole number with us, ms, s, m, h or d, as \"30s\"",
                quoted(text)
            ),
        ),
    }
}

/// All sections and keys there are, in the order they are read.
#[derive(Default)]
pub(super) struct Known {
    sections: Vec<(&'static str, Vec<&'static str>)>,
}

impl Known {
    pub(super) fn has_section(&self, name: &str) -> bool {
        self.sections.iter().any(|(section, _)| *section == name)
    }

    pub(super) fn has(&self, section: &str, key: &str) -> bool {
        self.keys(section).contains(&key)
    }

    fn keys(&self, section: &str) -> &[&'static str] {
        self.sections
            .iter()
            .find(|(name, _)| *name == section)
            .map_or(&[], |(_, keys)| keys)
    }

    /// Every setting: `dataflow`, and a section and a key for each other.
    pub(super) fn paths(&self) -> impl Iterator<Item = Vec<String>> + '_ {
        let keys = self
            .sections
            .iter()
            .flat_map(|(section, keys)| keys.iter().map(|key| vec![(*section).to_owned(), (*key).to_owned()]));
        std::iter::once(vec!["dataflow".to_owned()]).chain(keys)
    }

    /// The sections that have this key, as `[a] or [b]`.
    fn homes(&self, key: &str) -> Option<String> {
        let homes: Vec<String> = self
            .sections
            .iter()
            .filter(|(_, keys)| keys.contains(&key))
            .map(|(section, _)| format!("[{section}]"))
            .collect();
        (!homes.is_empty()).then(|| homes.join(" or "))
    }

    /// Why a section of the file has no such key, and what may have been meant.
    pub(super) fn no_such_key(&self, section: &str, key: &str) -> String {
        if key == "dataflow" {
            return "belongs at the top of the file, above the first [section]".into();
        }
        if let Some(homes) = self.homes(key) {
            return format!("`{key}` belongs in {homes}");
        }
        if let Some(near) = nearest(key, self.keys(section).iter().copied()) {
            return format!("unknown key; did you mean `{near}`?");
        }
        let everywhere = self.sections.iter().flat_map(|(_, keys)| keys).copied();
        if let Some(near) = nearest(key, everywhere) {
            let homes = self.homes(near).unwrap_or_default();
            return format!("unknown key; did you mean `{near}` in {homes}?");
        }
        format!("unknown key; [{section}] has {}", self.keys(section).join(", "))
    }

    /// Why the file has no such section or top-level key, and what may have been meant.
    pub(super) fn no_such_top(&self, name: &str, is_section: bool) -> String {
        let sections = || self.sections.iter().map(|(section, _)| *section);
        if is_section {
            return match nearest(name, sections()) {
                Some(near) => format!("unknown section; did you mean [{near}]?"),
                None => {
                    let sections: Vec<&str> = sections().collect();
                    format!("unknown section; there are {}", sections.join(", "))
                }
            };
        }
        if let Some(homes) = self.homes(name) {
            return format!("`{name}` belongs in {homes}");
        }
        if nearest(name, ["dataflow"]).is_some() {
            return "unknown key; did you mean `dataflow`?".into();
        }
        let everywhere = self.sections.iter().flat_map(|(_, keys)| keys).copied();
        match nearest(name, everywhere) {
            Some(near) => {
                let homes = self.homes(near).unwrap_or_default();
                format!("unknown key; did you mean `{near}` in {homes}?")
            }
            None => "unknown key; above the first [section] stands only `dataflow`".into(),
        }
    }

    /// The path of a dotted key of the command line; the key of an entry of a table may hold dots itself.
    pub(super) fn resolve(&self, dotted: &str) -> Result<Vec<String>, String> {
        let parts: Vec<&str> = dotted.splitn(3, '.').collect();
        let path = || parts.iter().map(|p| (*p).to_owned()).collect();
        match parts.as_slice() {
            ["dataflow"] => Ok(path()),
            ["record", "aliases", _] => Ok(path()),
            [section, key] if self.has(section, key) => Ok(path()),
            [section] if self.has_section(section) => Err(format!(
                "is a section; write --set {section}.key=value with one of {}",
                self.keys(section).join(", ")
            )),
            [section, key, _] if self.has(section, key) => {
                Err(format!("has too many parts; write --set {section}.{key}=value"))
            }
            _ => {
                let last = parts.last().copied().unwrap_or_default();
                let names: Vec<String> = self.paths().map(|path| path.join(".")).collect();
                let same_key: Vec<&str> = names
                    .iter()
                    .map(String::as_str)
                    .filter(|name| name.rsplit('.').next() == Some(last))
                    .collect();
                match same_key.is_empty() {
                    true => Err(Known::no_such_name(dotted, names.iter().map(String::as_str))),
                    false => Err(format!("unknown key; did you mean {}?", same_key.join(" or "))),
                }
            }
        }
    }

    /// Why there is no setting of this full name, and which of `names` may have been meant.
    pub(super) fn no_such_name<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> String {
        match nearest(name, names) {
            Some(near) => format!("no such setting; did you mean {near}?"),
            None => "no such setting; the built-in dataflow files show them all".into(),
        }
    }
}
