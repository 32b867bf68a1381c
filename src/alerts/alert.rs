//! What an alert says. In: an anomaly. Out: its id, the topic's level and the JSON, the same bytes whenever it is made.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::level;
use crate::record::{Anomaly, format_event_time};

/// An alert, ready to be sent. Its Debug does not say what it says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alert {
    /// Of the reading, in the source.
    pub position: u64,
    /// The last level of its topic: the manufacturer.
    pub level: String,
    /// One JSON object, without a line break.
    pub json: String,
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alert(at {})", self.position)
    }
}

/// Writes alerts.
#[derive(Clone, Debug)]
pub struct Composer {
    /// Names of the measures, in order.
    pub measures: Vec<String>,
    /// Whether alerts say whose reading it was.
    pub patient: bool,
}

impl Composer {
    pub fn compose(&self, anomaly: &Anomaly) -> Alert {
        let reading = &anomaly.scored.reading;
        let facts = reading.facts.as_deref();
        let manufacturer = facts.and_then(|facts| facts.manufacturer.as_deref());
        let said = Said {
            composer: self,
            anomaly,
        };
        Alert {
            position: reading.position,
            level: level(manufacturer),
            json: serde_json::to_string(&said).expect("text keys, numbers and texts, written into memory"),
        }
    }
}

/// The reading's place in the source, and a mark of the reading itself, so that ids of two sources differ.
fn id_of(anomaly: &Anomaly) -> String {
    let reading = &anomaly.scored.reading;
    let mut told = [0; 16];
    told[..8].copy_from_slice(&reading.device.stable_hash().to_le_bytes());
    told[8..].copy_from_slice(&reading.timestamp.to_le_bytes());
    format!("{}-{:016x}", reading.position, xxh3_64(&told))
}

/// As a row of the table `anomalies`, and an id. An allow-list: what is not named here is in no alert.
struct Said<'a> {
    composer: &'a Composer,
    anomaly: &'a Anomaly,
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Said { composer, anomaly } = self;
        let scored = &anomaly.scored;
        let reading = &scored.reading;
        let facts = reading.facts.as_deref();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("alert_id", &id_of(anomaly))?;
        map.serialize_entry("timestamp", &format_event_time(reading.timestamp))?;
        map.serialize_entry("manufacturer", &facts.and_then(|facts| facts.manufacturer.as_deref()))?;
        map.serialize_entry("model", &facts.and_then(|facts| facts.model.as_deref()))?;
        map.serialize_entry("device_id", reading.device.as_ref() as &str)?;
        if composer.patient {
            map.serialize_entry("patient_id", &reading.patient)?;
        }
        for (measure, value) in composer.measures.iter().zip(&reading.measures) {
            map.serialize_entry(measure, &(!value.is_nan()).then_some(value))?;
        }
        map.serialize_entry("anomaly_score", &scored.score)?;
        map.serialize_entry("threshold", &anomaly.threshold)?;
        for (i, measure) in composer.measures.iter().enumerate() {
            let part = scored.attribution.as_ref().and_then(|parts| parts.get(i));
            let direction = part.map(|(high, low)| if high >= low { "high" } else { "low" });
            map.serialize_entry(&format!("attribution_{measure}"), &part.map(|(high, low)| high + low))?;
            map.serialize_entry(&format!("direction_{measure}"), &direction)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Device, DeviceId, Reading, Scored};

    fn anomaly(attribution: Option<Box<[(f64, f64)]>>) -> Anomaly {
        let facts = Device {
            manufacturer: Some("A/B".into()),
            model: None,
            columns: Box::from([Some("ward 7".into())]),
        };
        let reading = Reading {
            position: 12,
            timestamp: 1_508_039_751_778_000,
            received: i64::MAX,
            device: DeviceId::new("MON-1\n"),
            patient: Some("P-77".into()),
            measures: [98.6, f64::NAN].as_slice().into(),
            fingerprint: 99,
            facts: Some(Arc::new(facts)),
            late: false,
        };
        Anomaly {
            scored: Scored {
                reading,
                score: attribution.as_ref().map(|_| 2.5),
                attribution,
                threshold: Some(2.0),
            },
            threshold: 2.0,
        }
    }

    fn composer(patient: bool) -> Composer {
        Composer {
            measures: vec!["temperature".into(), "pulse".into()],
            patient,
        }
    }

    #[test]
    fn an_alert_says_what_a_row_of_anomalies_says_and_no_more() {
        let alert = composer(false).compose(&anomaly(Some(Box::from([(2.0, 0.25), (0.0, 0.25)]))));
        assert_eq!(alert.level, "A%2FB");
        let (id, rest) = alert.json.split_at(r#"{"alert_id":"12-0123456789abcdef""#.len());
        assert!(id.starts_with(r#"{"alert_id":"12-"#) && id.ends_with('"'), "{id}");
        assert_eq!(
            rest,
            concat!(
                r#","timestamp":"2017-10-15T03:55:51.778000","manufacturer":"A/B","model":null,"device_id":"MON-1\n","#,
                r#""temperature":98.6,"pulse":null,"anomaly_score":2.5,"threshold":2.0,"#,
                r#""attribution_temperature":2.25,"direction_temperature":"high","attribution_pulse":0.25,"direction_pulse":"low"}"#
            )
        );
        assert!(!format!("{alert:?}").contains("MON-1"));
    }

    #[test]
    fn the_patient_is_named_only_when_asked_for() {
        let of = |patient| composer(patient).compose(&anomaly(None)).json;
        assert!(!of(false).contains("patient") && !of(false).contains("P-77"));
        assert!(of(true).contains(r#""device_id":"MON-1\n","patient_id":"P-77","temperature""#));
        assert!(
            of(false).contains(r#""anomaly_score":null,"#),
            "beyond a range while the forest learns"
        );
    }
}
