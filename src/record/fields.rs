//! Where the fields of a record are found: configured names, dotted paths and aliases as one tree of keys.
//!
//! In: names from the `[record]` settings. Out: a tree that the JSON reader walks beside the input, so that
//! everything not asked for is skipped unread: the allow-list is the shape of this tree.

/// What a value of the input is to the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Timestamp,
    Device,
    Patient,
    Name,
    Dob,
    Manufacturer,
    Model,
    Measure(usize),
}

impl Slot {
    /// A dense index: the seven single fields, then the measures.
    pub(super) fn index(self) -> usize {
        match self {
            Slot::Timestamp => 0,
            Slot::Device => 1,
            Slot::Patient => 2,
            Slot::Name => 3,
            Slot::Dob => 4,
            Slot::Manufacturer => 5,
            Slot::Model => 6,
            Slot::Measure(i) => 7 + i,
        }
    }
}

/// Where a reading's device comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceFrom {
    /// A column or dotted path of the record.
    Field(String),
    /// The input file's stem (`device = "@file"`).
    File,
}

/// What stands before the number of a topic's level, counted from 1, where device, patient, manufacturer or model come from the topic.
const TOPIC_LEVEL: &str = "@topic/";
/// More levels than any topic has.
const LEVELS: usize = 128;

/// The level of the topic that a name stands for: 3 for `@topic/3`.
pub fn topic_level(name: &str) -> Option<usize> {
    let digits = name.strip_prefix(TOPIC_LEVEL)?;
    let level = digits.parse().ok().filter(|level| (1..=LEVELS).contains(level))?;
    digits.starts_with(|c: char| ('1'..='9').contains(&c)).then_some(level)
}

/// The names by which a record's fields are found; an empty name means the record has no such field. Device, patient, manufacturer and
/// model may also be a level of the topic, as `@topic/3`.
#[derive(Clone, Debug)]
pub struct Fields {
    pub timestamp: String,
    pub device: DeviceFrom,
    pub patient: String,
    pub name: String,
    pub dob: String,
    pub manufacturer: String,
    pub model: String,
    pub measures: Vec<String>,
    /// (key or dotted path in the input, name of the field it stands for)
    pub aliases: Vec<(String, String)>,
}

impl Fields {
    fn named(&self) -> impl Iterator<Item = (Slot, &str)> {
        let device = match &self.device {
            DeviceFrom::Field(name) => name.as_str(),
            DeviceFrom::File => "",
        };
        let single = [
            (Slot::Timestamp, self.timestamp.as_str()),
            (Slot::Device, device),
            (Slot::Patient, &self.patient),
            (Slot::Name, &self.name),
            (Slot::Dob, &self.dob),
            (Slot::Manufacturer, &self.manufacturer),
            (Slot::Model, &self.model),
        ];
        let measures = self
            .measures
            .iter()
            .enumerate()
            .map(|(i, name)| (Slot::Measure(i), name.as_str()));
        single.into_iter().chain(measures).filter(|(_, name)| !name.is_empty())
    }

    /// Fields that come from the topic, and its levels.
    pub(super) fn of_topic(&self) -> Vec<(Slot, usize)> {
        let levels = self.named().map(|(slot, name)| Some((slot, level_of(slot, name)?)));
        levels.flatten().collect()
    }

    pub(super) fn tree(&self) -> Node {
        self.tree_of(|_| true)
    }

    /// The tree of the event time alone.
    pub(super) fn clock(&self) -> Node {
        self.tree_of(|slot| slot == Slot::Timestamp)
    }

    /// The tree of the patient and of what identifies them.
    pub(super) fn identity(&self) -> Node {
        self.tree_of(|slot| matches!(slot, Slot::Patient | Slot::Name | Slot::Dob))
    }

    fn tree_of(&self, wanted: impl Fn(Slot) -> bool) -> Node {
        let mut root = Node::default();
        let of_record = self.named().filter(|(slot, name)| level_of(*slot, name).is_none());
        for (slot, name) in of_record.filter(|(slot, _)| wanted(*slot)) {
            root.place(name, slot);
            for (alias, _) in self.aliases.iter().filter(|(_, field)| field == name) {
                root.place(alias, slot);
            }
        }
        root
    }
}

/// A key of a record may look like a level of a topic in every other role.
fn level_of(slot: Slot, name: &str) -> Option<usize> {
    let may = matches!(slot, Slot::Device | Slot::Patient | Slot::Manufacturer | Slot::Model);
    topic_level(name).filter(|_| may)
}

/// A key of an object: what its value is, and what the keys inside it are.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) slot: Option<Slot>,
    children: Vec<(String, Node)>,
}

impl Node {
    /// A dotted path is found nested; the whole of it as one flat key is found too.
    fn place(&mut self, path: &str, slot: Slot) {
        self.child(path).slot = Some(slot);
        if path.contains('.') {
            let end = path.split('.').fold(&mut *self, |node, key| node.child(key));
            end.slot = Some(slot);
        }
    }

    fn child(&mut self, key: &str) -> &mut Node {
        let at = self.children.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
            self.children.push((key.to_owned(), Node::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    pub(super) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// Whether the slot is its own or of a key inside it.
    pub(super) fn leads_to(&self, slot: Slot) -> bool {
        self.slot == Some(slot) || self.children.iter().any(|(_, child)| child.leads_to(slot))
    }

    /// The child for `key`. Records of one source name their fields in one order, so the search starts
    /// at `next`, where the last one ended, and mostly ends there.
    pub(super) fn find(&self, key: &str, next: &mut usize) -> Option<&Node> {
        let count = self.children.len();
        for step in 0..count {
            let at = (*next + step) % count;
            if self.children[at].0 == key {
                *next = at + 1;
                return Some(&self.children[at].1);
            }
        }
        None
    }
}
