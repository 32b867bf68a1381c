//! What a client has asked of its broker, in a file of the state folder.
//!
//! A session at a broker outlives the run, and with it every subscription that nobody takes back. A broker does not tell what a
//! session is subscribed to, so this is remembered. In: the settings. Out: the filters to take back: topics that were taken out of the
//! settings, or that another number of sessions had in another form.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, DiskFile};
use crate::settings::{BrokerAddress, Source};

/// Of one session.
#[derive(PartialEq, Serialize, Deserialize)]
struct Session {
    /// Without login: host, port, encryption.
    broker: String,
    client_id: String,
    topics: Vec<String>,
}

/// The file, and what shall be in it.
pub struct Asked<D> {
    disk: D,
    folder: PathBuf,
    file: String,
    session: Session,
    before: Option<Session>,
}

impl<D: Disk> Asked<D> {
    /// What earlier runs have asked for, found in the state folder; a file that cannot be read asks for nothing.
    pub fn find(disk: D, state: &Path, source: &Source, session: usize) -> Asked<D> {
        let file = format!("subscriptions-{session}.json");
        let session = Session {
            broker: source
                .url
                .parse()
                .map_or_else(|_| String::new(), |address: BrokerAddress| address.to_string()),
            client_id: source.client_id_of(session),
            topics: source.subscriptions_of(session),
        };
        let bytes = disk.read(&state.join(&file)).ok();
        let of_file: Option<Session> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let is_same = |before: &Session| before.broker == session.broker && before.client_id == session.client_id;
        Asked {
            before: of_file.filter(is_same),
            disk,
            folder: state.to_owned(),
            file,
            session,
        }
    }

    /// What is no longer asked for.
    pub fn gone(&self) -> Vec<String> {
        let topics = self.before.iter().flat_map(|before| &before.topics);
        topics
            .filter(|topic| !self.session.topics.contains(topic))
            .cloned()
            .collect()
    }

    /// Before the broker is asked: from now on it may know all of them.
    ///
    /// # Errors
    /// A state folder that cannot be written.
    pub fn asking(&mut self) -> io::Result<()> {
        let mut topics = self.session.topics.clone();
        topics.extend(self.gone());
        self.write(topics)
    }

    /// The broker has agreed, and knows what is asked for now.
    ///
    /// # Errors
    /// A state folder that cannot be written.
    pub fn agreed(&mut self) -> io::Result<()> {
        // Nothing was asked for, so nothing was answered: what is gone is taken back at every start.
        if self.session.topics.is_empty() {
            return Ok(());
        }
        self.write(self.session.topics.clone())
    }

    fn write(&mut self, topics: Vec<String>) -> io::Result<()> {
        let session = Session {
            broker: self.session.broker.clone(),
            client_id: self.session.client_id.clone(),
            topics,
        };
        if self.before.as_ref() == Some(&session) {
            return Ok(());
        }
        let unfinished = self.folder.join(format!("{}.new", self.file));
        let path = self.folder.join(&self.file);
        let mut file = self.disk.create(&unfinished)?;
        file.append(&serde_json::to_vec_pretty(&session)?)?;
        file.sync()?;
        self.disk.rename(&unfinished, &path)?;
        self.disk.sync_folder(&self.folder)?;
        self.before = Some(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;

    fn source(client_id: &str, topics: &[&str]) -> Source {
        Source {
            url: "mqtt://user:secret@broker".into(),
            client_id: client_id.into(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Source::default()
        }
    }

    #[test]
    fn a_topic_is_gone_until_the_broker_has_agreed_to_the_others() {
        let state = tempfile::tempdir().expect("a folder");
        let find = |topics: &[&str]| Asked::find(LocalDisk, state.path(), &source("w", topics), 0);
        let mut first = find(&["a", "b"]);
        assert!(first.gone().is_empty());
        first.asking().expect("room");
        first.agreed().expect("room");
        for agrees in [false, true] {
            let mut second = find(&["b", "c"]);
            assert_eq!(second.gone(), ["a"], "also after a run that did not reach the broker");
            second.asking().expect("room");
            if agrees {
                second.agreed().expect("room");
            }
        }
        assert!(find(&["b", "c"]).gone().is_empty());
        assert_eq!(find(&["b"]).gone(), ["c"]);
        let another = Asked::find(LocalDisk, state.path(), &source("another", &["b"]), 0);
        assert!(another.gone().is_empty(), "another client's session");
        let file = std::fs::read_to_string(state.path().join("subscriptions-0.json")).expect("a file");
        assert!(!file.contains("secret"), "{file}");
        std::fs::write(state.path().join("subscriptions-0.json"), &file[..9]).expect("room");
        assert!(find(&["b"]).gone().is_empty(), "a file that is damaged");
    }

    #[test]
    fn with_another_number_of_sessions_the_other_form_of_a_topic_is_gone() {
        let state = tempfile::tempdir().expect("a folder");
        let find = |sessions, session| {
            let source = Source {
                sessions,
                ..source("w", &["t", "$share/own/u"])
            };
            Asked::find(LocalDisk, state.path(), &source, session)
        };
        for (sessions, session, gone) in [
            (1, 0, &[] as &[&str]),
            (2, 0, &["t"]),
            (2, 1, &[]),
            (1, 0, &["$share/w/t"]),
            (1, 1, &["$share/w/t", "$share/own/u"]),
            (1, 1, &["$share/w/t", "$share/own/u"]), // at every start
        ] {
            let mut asked = find(sessions, session);
            assert_eq!(asked.gone(), gone, "{session} of {sessions}");
            asked.asking().expect("room");
            asked.agreed().expect("room");
        }
    }
}
