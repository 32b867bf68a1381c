//! The settings that can influence the tables, in one form: an output folder keeps it, and refuses a run with another.

use serde_json::Value;

use super::Settings;

/// What is about where things are and how fast they go, and changes no row.
const WITHOUT_INFLUENCE: [(&str, &str); 11] = [
    ("alerts", "topic"),
    ("alerts", "file"),
    ("keys", "kek"),
    ("devices", "path"),
    ("devices", "watch"),
    ("devices", "max_loss"),
    ("devices", "history"),
    ("forest", "max_keys"),
    ("forest", "max_devices"),
    ("output", "commit_interval"),
    ("output", "path"),
];

impl Settings {
    /// JSON, of one line, of everything that can influence the tables: equal text, equal tables. Sections that the dataflow does not use are
    /// left out, and so are paths, keys, the broker and the size of epochs.
    pub fn canonical_json(&self) -> String {
        // Settings are structs of text, numbers and lists: nothing in them fails to become JSON.
        let Ok(Value::Object(mut sections)) = serde_json::to_value(self) else {
            return String::new();
        };
        sections.remove("name");
        sections.remove("journal");
        sections.remove("replay");
        sections.remove("source");
        sections.retain(|section, _| self.dataflow.uses(section));
        for (section, key) in WITHOUT_INFLUENCE {
            if let Some(Value::Object(keys)) = sections.get_mut(section) {
                keys.remove(key);
            }
        }
        sections.retain(|_, keys| keys.as_object().is_none_or(|keys| !keys.is_empty()));
        Value::Object(sections).to_string()
    }
}

/// What a live run may be started with anew although it has a state: the state is the same with any of these.
const MAY_CHANGE: [(&str, &str); 9] = [
    ("alerts", ""),
    ("select", ""),
    ("output", ""),
    ("replay", ""),
    ("deidentify", ""),
    ("record", "aliases"),
    ("record", "max_record_bytes"),
    ("deduplicate", "horizon"),
    ("windows", "idle_after"),
];

/// As [`first_difference`], of what must not change while there is a state.
pub fn first_difference_of_state(earlier: &str, later: &str) -> Option<String> {
    let fixed = |settings: &str| {
        let Ok(Value::Object(mut sections)) = serde_json::from_str(settings) else {
            return settings.to_owned();
        };
        for (section, key) in MAY_CHANGE {
            match (key, sections.get_mut(section)) {
                ("", _) => drop(sections.remove(section)),
                (_, Some(Value::Object(keys))) => drop(keys.remove(key)),
                _ => {}
            }
        }
        Value::Object(sections).to_string()
    };
    first_difference(&fixed(earlier), &fixed(later))
}

/// The first key in which two results of [`Settings::canonical_json`] differ, with both values: `forest.trees is 50, was 100` for
/// `earlier` 100 and `later` 50. None: they are equal.
pub fn first_difference(earlier: &str, later: &str) -> Option<String> {
    if earlier == later {
        return None;
    }
    let parsed = (serde_json::from_str(earlier), serde_json::from_str(later));
    let (Ok(earlier), Ok(later)) = parsed else {
        return Some("the recorded settings cannot be read".into());
    };
    difference("", Some(&earlier), Some(&later))
}

fn difference(path: &str, earlier: Option<&Value>, later: Option<&Value>) -> Option<String> {
    if earlier == later {
        return None;
    }
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (earlier, later) {
        let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
        // Which dataflow it is explains every other difference.
        keys.sort_by_key(|key| (*key != "dataflow", *key));
        return keys.into_iter().find_map(|key| {
            let path = match path {
                "" => key.clone(),
                _ => format!("{path}.{key}"),
            };
            difference(&path, a.get(key), b.get(key))
        });
    }
    let show = |value: Option<&Value>| value.map_or("not set".into(), Value::to_string);
    Some(format!("{path} is {}, was {}", show(later), show(earlier)))
}
