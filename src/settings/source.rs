//! `[source]` and `[replay]`: where records come from, live and from files.

use serde::Serialize;

use super::broker_address::BrokerAddress;
use super::reader::{Checked, Fault, Section, fault, filled_text, texts};
use super::tree::{Node, quoted};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// The broker: `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// Topic filters, at least one.
    pub topics: Vec<String>,
    /// MQTT quality of service: 0 or 1.
    pub qos: u8,
    /// The client's name at the broker, which keeps its session under it.
    pub client_id: String,
}

impl Default for Source {
    fn default() -> Self {
        Source {
            url: "mqtt://127.0.0.1:1883".into(),
            topics: vec!["LifeSupportDevice/Sensor".into()],
            qos: 1,
            client_id: "wardflow".into(),
        }
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
    pub(super) fn read(section: &mut Section<'_, '_>) -> Source {
        let default = Source::default();
        Source {
            url: section.read("url", default.url, url),
            topics: section.read("topics", default.topics, topics),
            qos: section.integer("qos", 0..=1, default.qos),
            client_id: section.filled_text("client_id", default.client_id),
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
fn url(node: &Node) -> Checked<String> {
    let url = filled_text(node)?;
    match url.parse::<BrokerAddress>() {
        Ok(_) => Ok(url),
        Err(_) => fault(node, "wants mqtt://host:port or mqtts://host:port"),
    }
}

fn topics(node: &Node) -> Checked<Vec<String>> {
    let topics = texts(node)?;
    if topics.is_empty() {
        return fault(node, "wants at least one topic");
    }
    let faults: Vec<Fault> = topics
        .iter()
        .enumerate()
        .filter(|(_, topic)| !is_topic_filter(topic))
        .map(|(i, topic)| Fault {
            origin: node.element(i),
            reason: format!(
                "{} is no topic filter: + stands for a whole level, # for all levels at the end",
                quoted(topic)
            ),
        })
        .collect();
    match faults.is_empty() {
        true => Ok(topics),
        false => Err(faults),
    }
}

/// MQTT 3.1.1, section 4.7.
fn is_topic_filter(topic: &str) -> bool {
    let levels = topic.split('/').count();
    topic.len() <= usize::from(u16::MAX)
        && !topic.contains('\0')
        && topic.split('/').enumerate().all(|(i, level)| match level {
            "+" => true,
            "#" => i + 1 == levels,
            _ => !level.contains(['+', '#']),
        })
}
