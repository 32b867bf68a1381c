//! Lines between process 0 and each of the others, for what the processes of a run agree on beside the workers' exchange.
//!
//! In and out: words, each a line of JSON. The same handshake as for the exchange makes the connection, so that no stranger says anything here. Whoever says nothing for
//! long, though it should at least say that it is alive, is taken for lost: a process that is stopped would stall all others for ever.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::error::ClusterError;
use super::halt::{halt, lose_peer};
use super::mesh::connect;
use super::secret::Secret;
use super::signals::Interrupted;
use super::topology::Topology;

/// How often each end says at least that it is alive.
pub const BEAT: Duration = Duration::from_secs(1);
/// Who is silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(20);

/// A connection to another process.
pub struct Line {
    process: usize,
    stream: TcpStream,
}

/// Says words to another process.
pub struct Speaker(Mutex<TcpStream>);

/// Hears another process's words.
pub struct Hearer {
    process: usize,
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

/// Another process is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Ended,
    /// The process of this number.
    Silent(usize),
}

/// The lines of this process: process 0 has one to each of the others, the others one to process 0. To be called by all, behind [`connect`].
///
/// # Errors
/// As of [`connect`].
pub fn connect_lines(
    topology: &Topology,
    secret: &Secret,
    fingerprint: [u8; 32],
    patience: Duration,
    interrupted: &Interrupted,
) -> Result<Vec<Line>, ClusterError> {
    // Told apart from the exchange, should a process be a connection ahead.
    let fingerprint = Sha256::new_with_prefix(fingerprint).chain_update(b"lines").finalize();
    let mesh = connect(topology, secret, fingerprint.into(), Vec::new(), patience, interrupted)?;
    let wanted = |process: usize| topology.process() == 0 || process == 0;
    let lines = mesh.sockets.into_iter().enumerate();
    Ok(lines
        .filter(|(process, _)| wanted(*process))
        .filter_map(|(process, stream)| {
            let stream = stream?;
            Some(Line { process, stream })
        })
        .collect())
}

impl Line {
    /// The process at the other end.
    pub fn process(&self) -> usize {
        self.process
    }

    /// # Errors
    /// A system that has no more file handles.
    pub fn split(self) -> Result<(Speaker, Hearer), ClusterError> {
        let split = || {
            let stream = self.stream.try_clone()?;
            stream.set_write_timeout(Some(SILENCE))?;
            io::Result::Ok(stream)
        };
        let speaker = split().map_err(|source| ClusterError::System {
            what: "set up a connection to another process",
            source,
        })?;
        let hearer = Hearer {
            process: self.process,
            stream: BufReader::new(self.stream),
            line: Vec::new(),
        };
        Ok((Speaker(Mutex::new(speaker)), hearer))
    }
}

impl Speaker {
    /// Says a word. That it is not heard any more shows at the other direction of the line.
    pub fn say(&self, word: &impl Serialize) {
        let mut line = serde_json::to_vec(word).expect("a word has only text keys and numbers");
        line.push(b'\n');
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.write_all(&line);
    }
}

impl Hearer {
    /// From now on the other end is lost when it is silent for long.
    ///
    /// # Errors
    /// A connection that is broken.
    pub fn expect_beats(&self) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(SILENCE))
    }

    /// The next word.
    ///
    /// # Errors
    /// The other process has ended, or is silent.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Lost> {
        self.line.clear();
        match self.stream.read_until(b'\n', &mut self.line) {
            Ok(read) if read > 0 => serde_json::from_slice(&self.line).map_err(|_| Lost::Ended), // cut off
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(Lost::Silent(self.process))
            }
            _ => Err(Lost::Ended),
        }
    }
}

/// Ends this process, since it cannot go on without the other one.
pub fn halt_without(lost: Lost) -> ! {
    match lost {
        Lost::Ended => lose_peer(),
        Lost::Silent(process) => halt(format_args!(
            "process {process} has not been heard of for {} s (stopped, or its machine or network is down); end it, then start all again",
            SILENCE.as_secs()
        )),
    }
}
