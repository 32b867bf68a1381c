//! `[source]` and `[replay]`: where records come from, live and from files.

use std::fmt;

use serde::Serialize;

use super::broker_address::BrokerAddress;
use super::mistake::Origin;
use super::quantity::Micros;
use super::reader::{Checked, Fault, Section, duration, fault, filled_text, texts};
use super::tree::{Node, Value, quoted};

/// The longest keep-alive that MQTT can say.
const LONGEST_KEEP_ALIVE: Micros = Micros(u16::MAX as i64 * Micros::SECOND.0);
/// The longest session that MQTT can say; one second more is for ever.
const LONGEST_SESSION: Micros = Micros((u32::MAX as i64 - 1) * Micros::SECOND.0);

/// More sessions than a broker is worth sharing among.
const MOST_SESSIONS: usize = 64;

/// The broker and how to talk with it. Its Debug shows no password.
#[derive(Clone, PartialEq, Serialize)]
pub struct Source {
    /// The broker: `mqtt://host:port` or `mqtts://host:port`; user and password may stand before the host.
    #[serde(skip)]
    pub url: String,
    /// Topic filters, at least one.
    pub topics: Vec<String>,
    /// MQTT quality of service: 0 or 1.
    pub qos: u8,
    /// The client's name at the broker, which keeps its session under it.
    pub client_id: String,
    /// How many sessions at the broker share the records, 1 to 64; each has a journal of its own.
    pub sessions: usize,
    pub protocol: Protocol,
    /// Empty: the URL's, or none.
    pub user: String,
    /// From the environment; empty: the file's, the URL's, or none.
    #[serde(skip)]
    pub password: String,
    /// A file that holds the password; empty: none.
    pub password_file: String,
    /// A PEM file with the certificates of those who may vouch for the broker; empty: the system's.
    pub ca: String,
    /// A PEM file with the certificate that this client shows; empty: none.
    pub certificate: String,
    /// A PEM file with the certificate's private key.
    pub key: String,
    /// One second to 18 hours.
    pub keep_alive: Micros,
    /// How long the broker shall keep the session of this client while it is away (MQTT 5). Whole seconds.
    pub session_expiry: Micros,
    /// Unacknowledged messages that the broker may send (MQTT 5), at least 1.
    pub receive_maximum: u16,
    /// Records that come steadily within so long of each other share an fsync and an epoch; at most a second.
    pub gather: Micros,
    /// Whether the last message that the broker has retained of each topic is a record, too.
    pub retained: bool,
    /// What comes from below this topic is no record: the alerts that go to this broker. Empty: there are none.
    #[serde(skip)]
    pub alerts: String,
}

/// Version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Protocol {
    #[serde(rename = "3.1.1")]
    V3,
    #[serde(rename = "5")]
    V5,
}

impl Protocol {
    /// As the setting is written.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::V3 => "3.1.1",
            Protocol::V5 => "5",
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Source {
            url: "mqtt://127.0.0.1:1883".into(),
            topics: vec!["LifeSupportDevice/Sensor".into()],
            qos: 1,
            client_id: "wardflow".into(),
            sessions: 1,
            protocol: Protocol::V5,
            user: String::new(),
            password: String::new(),
            password_file: String::new(),
            ca: String::new(),
            certificate: String::new(),
            key: String::new(),
            keep_alive: Micros(30 * Micros::SECOND.0),
            session_expiry: Micros::DAY,
            receive_maximum: 10_000,
            gather: Micros(14_000),
            retained: false,
            alerts: String::new(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.url.parse::<BrokerAddress>().map(|address| address.to_string());
        f.debug_struct("Source")
            .field("url", &address.unwrap_or_default())
            .field("topics", &self.topics)
            .field("qos", &self.qos)
            .field("client_id", &self.client_id)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// Records of a file that make an epoch, 1 to 1,000,000. Changes no result.
    pub epoch_records: u64,
}

impl Default for Replay {
    fn default() -> Self {
        Replay { epoch_records: 8192 }
    }
}

impl Source {
    /// The client's name of a session, from 0. The first keeps the name of a run that has only one, and so what the broker holds for it.
    pub fn client_id_of(&self, session: usize) -> String {
        match session {
            0 => self.client_id.clone(),
            _ => format!("{}-{session}", self.client_id),
        }
    }

    /// What a session subscribes to: the topics, shared out where there are several sessions; nothing where it is one of a run that had more.
    pub fn subscriptions_of(&self, session: usize) -> Vec<String> {
        if session >= self.sessions {
            return Vec::new();
        }
        let group = self.client_id.replace(['/', '+', '#'], "-"); // may not be in a group's name
        let shared = |topic: &String| match self.sessions == 1 || topic.starts_with("$share/") {
            true => topic.clone(),
            false => format!("$share/{group}/{topic}"),
        };
        self.topics.iter().map(shared).collect()
    }

    pub(super) fn read(section: &mut Section<'_, '_>) -> Source {
        let default = Source::default();
        let protocols = [Protocol::V5, Protocol::V3].map(|protocol| (protocol.name(), protocol));
        Source {
            url: section.read("url", default.url, url),
            topics: section.read("topics", default.topics, topics),
            qos: section.integer("qos", 0..=1, default.qos),
            client_id: section.read("client_id", default.client_id, client_id),
            sessions: section.integer("sessions", 1..=MOST_SESSIONS, default.sessions),
            protocol: section.choice("protocol", &protocols, default.protocol),
            user: section.text("user", default.user),
            password: section.read("password", default.password, password),
            password_file: section.text("password_file", default.password_file),
            ca: section.text("ca", default.ca),
            certificate: section.text("certificate", default.certificate),
            key: section.text("key", default.key),
            keep_alive: section.read("keep_alive", default.keep_alive, |node| {
                seconds(node, Micros::SECOND, LONGEST_KEEP_ALIVE)
            }),
            session_expiry: section.read("session_expiry", default.session_expiry, |node| {
                seconds(node, Micros(0), LONGEST_SESSION)
            }),
            receive_maximum: section.integer("receive_maximum", 1..=u16::MAX, default.receive_maximum),
            gather: section.read("gather", default.gather, up_to_a_second),
            retained: section.boolean("retained", default.retained),
            alerts: default.alerts,
        }
    }
}

impl Replay {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Replay {
        let default = Replay::default();
        Replay {
            epoch_records: section.integer("epoch_records", 1..=1_000_000, default.epoch_records),
        }
    }
}

/// Its errors never show the value: it may hold a password.
pub(super) fn url(node: &Node) -> Checked<String> {
    let Value::Text(url) = &node.value else {
        return fault(node, "wants mqtt://host:port or mqtts://host:port");
    };
    match url.parse::<BrokerAddress>() {
        Ok(address) if !address.path.is_empty() => fault(
            node,
            "an address ends with the port: what follows the slash belongs into source.topics",
        ),
        Ok(_) => Ok(url.clone()),
        Err(_) => fault(node, "wants mqtt://host:port or mqtts://host:port"),
    }
}

/// Files and command lines are read by others: only the environment may hold it.
fn password(node: &Node) -> Checked<String> {
    match (&node.origin, &node.given, &node.value) {
        (Origin::Environment { .. }, Some(given), _) => Ok(given.clone()),
        (_, _, Value::Text(text)) if text.is_empty() => Ok(String::new()),
        _ => fault(
            node,
            "a password does not belong here (what was found is not shown): put it into a file and name that in source.password_file, or set WARDFLOW_SOURCE_PASSWORD",
        ),
    }
}

fn client_id(node: &Node) -> Checked<String> {
    let id = filled_text(node)?;
    match id.len() > usize::from(u16::MAX) || id.chars().any(char::is_control) {
        true => fault(node, "wants at most 65,535 bytes, without control characters"),
        false => Ok(id),
    }
}

fn up_to_a_second(node: &Node) -> Checked<Micros> {
    let found = duration(node, Micros(0))?;
    match found <= Micros::SECOND {
        true => Ok(found),
        false => fault(node, "wants at most 1s: so long an acknowledgement may wait".to_owned()),
    }
}

/// A duration of whole seconds.
fn seconds(node: &Node, shortest: Micros, longest: Micros) -> Checked<Micros> {
    let found = duration(node, Micros(0))?;
    match found.0 % Micros::SECOND.0 == 0 && (shortest..=longest).contains(&found) {
        true => Ok(found),
        false => fault(
            node,
            format!(
                "wants whole seconds from {}s to {}s",
                shortest.0 / Micros::SECOND.0,
                longest.0 / Micros::SECOND.0
            ),
        ),
    }
}

fn topics(node: &Node) -> Checked<Vec<String>> {
    let topics = texts(node)?;
    if topics.is_empty() {
        return fault(node, "wants at least one topic");
    }
    let twice = |i: usize| topics[..i].contains(&topics[i]);
    let faults: Vec<Fault> = topics
        .iter()
        .enumerate()
        .filter_map(|(i, topic)| {
            let reason = match (wrong_filter(topic), twice(i)) {
                (Some(why), _) => format!("{} is no topic filter: {why}", quoted(topic)),
                (None, true) => format!("{} is there twice: its records would come twice", quoted(topic)),
                (None, false) => return None,
            };
            let origin = node.element(i);
            Some(Fault { origin, reason })
        })
        .collect();
    match faults.is_empty() {
        true => Ok(topics),
        false => Err(faults),
    }
}

/// Why it is none: MQTT 5, sections 4.7 and 4.8.2.
fn wrong_filter(topic: &str) -> Option<&'static str> {
    if topic.len() > usize::from(u16::MAX) || topic.contains('\0') {
        return Some("it has more than 65,535 bytes, or a zero byte");
    }
    let filter = match topic.strip_prefix("$share/") {
        None => topic,
        Some(shared) => match shared.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty() => filter,
            _ => return Some("a shared subscription is $share/GROUP/FILTER"),
        },
    };
    let levels = filter.split('/').count();
    let sound = filter.split('/').enumerate().all(|(i, level)| match level {
        "+" => true,
        "#" => i + 1 == levels,
        _ => !level.contains(['+', '#']),
    });
    (!sound).then_some("+ stands for a whole level, # for all levels at the end")
}
