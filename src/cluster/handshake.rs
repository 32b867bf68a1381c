//! How two processes that are connected prove to each other that they belong together.
//!
//! Of two processes the one with the higher index calls, the other answers:
//!
//! | | from | what |
//! |-|------|------|
//! | 1 | caller | hello: magic, version, role, indexes, `-n`, `-w`, fingerprint, nonce |
//! | 2 | answerer | its hello |
//! | 3 | caller | tag over both hellos |
//! | 4 | answerer | `REFUSED`, or `WELCOME`, a length, the welcome, and a tag over both hellos and the welcome |
//! | 5 | caller | a tag that says it will use this connection |
//!
//! A tag is HMAC-SHA256 under the shared secret over a label (one for each step, so that none can be played
//! back as another), both hellos and what comes with it. Differences are judged after the tags: only a process
//! that holds the secret can make this one give up. The layout of the hello and step 3 stay as they are in every
//! later version, so that processes of different versions can tell each other so. Integers are big-endian.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hmac::Mac;

use super::error::{ClusterError, Difference};
use super::secret::{Secret, random};

const MAGIC: [u8; 8] = *b"wardflow";
const VERSION: u32 = 1;
const CALLER: u32 = 1;
const ANSWERER: u32 = 2;
const HELLO: usize = 96;
const TAG: usize = 32;
const REFUSED: u8 = 0;
const WELCOME: u8 = 1;

/// Longest welcome, bytes.
pub const WELCOME_LIMIT: usize = 64 * 1024;

/// What a process says of itself.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    pub process: usize,
    pub processes: usize,
    pub workers: usize,
    pub fingerprint: [u8; 32],
}

/// Why a connection is not used.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It broke, or was too slow.
    Broken(io::Error),
    /// The other end does not speak as wardflow does.
    Foreign,
    /// The other end does not hold the secret, or something between the ends altered what they said.
    NotAuthentic,
    /// The other end belongs to this cluster and was started differently.
    Mismatch(Difference),
    /// This end could not take part.
    Unable(ClusterError),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Calls process `called`. Gives the welcome it sent.
pub(super) fn call(
    stream: &TcpStream,
    deadline: Instant,
    identity: &Identity,
    called: usize,
    secret: &Secret,
) -> Result<Vec<u8>, Refusal> {
    let line = Line { stream, deadline };
    let mine = Hello::new(identity, CALLER, called)?;
    line.write(&mine.to_bytes())?;
    let theirs = Hello::from_bytes(&line.read()?, ANSWERER)?;
    let transcript = Transcript {
        secret,
        caller: mine.to_bytes(),
        answerer: theirs.to_bytes(),
    };
    line.write(&transcript.tag(b"caller", b""))?;
    let welcome = read_welcome(&line, &transcript)?;
    match difference(&mine, &theirs, called) {
        Some(difference) => Err(Refusal::Mismatch(difference)),
        None => {
            line.write(&transcript.tag(b"ready", &welcome))?;
            Ok(welcome)
        }
    }
}

fn read_welcome(line: &Line, transcript: &Transcript) -> Result<Vec<u8>, Refusal> {
    match line.read::<1>()? {
        [WELCOME] => {}
        [REFUSED] => return Err(Refusal::NotAuthentic),
        _ => return Err(Refusal::Foreign),
    }
    let length = usize::try_from(u32::from_be_bytes(line.read()?)).map_err(|_| Refusal::Foreign)?;
    if length > WELCOME_LIMIT {
        return Err(Refusal::Foreign);
    }
    let mut welcome = vec![0; length];
    line.read_into(&mut welcome)?;
    transcript.check(b"answerer", &welcome, &line.read()?)?;
    Ok(welcome)
}

/// Answers a call. Gives the caller's index, which is above this process's own.
pub(super) fn answer(
    stream: &TcpStream,
    deadline: Instant,
    identity: &Identity,
    welcome: &[u8],
    secret: &Secret,
) -> Result<usize, Refusal> {
    let line = Line { stream, deadline };
    let theirs = Hello::from_bytes(&line.read()?, CALLER)?;
    let caller = theirs.from as usize;
    let mine = Hello::new(identity, ANSWERER, caller)?;
    line.write(&mine.to_bytes())?;
    let transcript = Transcript {
        secret,
        caller: theirs.to_bytes(),
        answerer: mine.to_bytes(),
    };
    if let Err(refusal) = transcript.check(b"caller", b"", &line.read()?) {
        line.write(&[REFUSED])?;
        return Err(refusal);
    }
    if let Some(difference) = difference(&mine, &theirs, caller) {
        // The proof lets the caller trust that we differ; the welcome is for equals only.
        line.write(&answered(&transcript, b""))?;
        return Err(Refusal::Mismatch(difference));
    }
    line.write(&answered(&transcript, welcome))?;
    transcript.check(b"ready", welcome, &line.read()?)?;
    // Only higher indexes call; anything else would be a fault of the other program.
    if (identity.process + 1..identity.processes).contains(&caller) {
        Ok(caller)
    } else {
        Err(Refusal::Foreign)
    }
}

fn answered(transcript: &Transcript, welcome: &[u8]) -> Vec<u8> {
    let length = u32::try_from(welcome.len()).expect("`connect` keeps to WELCOME_LIMIT");
    let mut bytes = vec![WELCOME];
    bytes.extend(length.to_be_bytes());
    bytes.extend(welcome);
    bytes.extend(transcript.tag(b"answerer", welcome));
    bytes
}

/// The first way in which two processes that hold the same secret differ.
fn difference(mine: &Hello, theirs: &Hello, expected: usize) -> Option<Difference> {
    let (here, there) = (mine.from as usize, theirs.from as usize);
    let counts = |a: u32, b: u32| ((here, a as usize), (there, b as usize));
    if mine.version != theirs.version {
        return Some(Difference::Protocol {
            here: (here, mine.version),
            there: (there, theirs.version),
        });
    }
    if mine.processes != theirs.processes {
        let (here, there) = counts(mine.processes, theirs.processes);
        return Some(Difference::Processes { here, there });
    }
    if mine.workers != theirs.workers {
        let (here, there) = counts(mine.workers, theirs.workers);
        return Some(Difference::Workers { here, there });
    }
    if mine.fingerprint != theirs.fingerprint {
        return Some(Difference::Fingerprint { here, there });
    }
    if mine.role == CALLER && there != expected {
        return Some(Difference::Address {
            called: expected,
            answered: there,
        });
    }
    if mine.role == ANSWERER && theirs.to != mine.from {
        return Some(Difference::Address {
            called: theirs.to as usize,
            answered: here,
        });
    }
    None
}

/// What each end says first.
struct Hello {
    version: u32,
    role: u32,
    from: u32,
    to: u32,
    processes: u32,
    workers: u32,
    fingerprint: [u8; 32],
    nonce: [u8; 32],
}

impl Hello {
    fn new(identity: &Identity, role: u32, to: usize) -> Result<Self, Refusal> {
        let count = |value: usize| u32::try_from(value).map_err(|_| Refusal::Foreign);
        Ok(Self {
            version: VERSION,
            role,
            from: count(identity.process)?,
            to: count(to)?,
            processes: count(identity.processes)?,
            workers: count(identity.workers)?,
            fingerprint: identity.fingerprint,
            nonce: random().map_err(Refusal::Unable)?,
        })
    }

    fn to_bytes(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        bytes[..8].copy_from_slice(&MAGIC);
        let numbers = [
            self.version,
            self.role,
            self.from,
            self.to,
            self.processes,
            self.workers,
        ];
        for (place, number) in bytes[8..32].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes[32..64].copy_from_slice(&self.fingerprint);
        bytes[64..].copy_from_slice(&self.nonce);
        bytes
    }

    fn from_bytes(bytes: &[u8; HELLO], role: u32) -> Result<Self, Refusal> {
        let number = |at: usize| {
            let place = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            u32::from_be_bytes(place)
        };
        let mut hello = Self {
            version: number(8),
            role: number(12),
            from: number(16),
            to: number(20),
            processes: number(24),
            workers: number(28),
            fingerprint: [0; 32],
            nonce: [0; 32],
        };
        hello.fingerprint.copy_from_slice(&bytes[32..64]);
        hello.nonce.copy_from_slice(&bytes[64..]);
        if bytes[..8] == MAGIC && hello.role == role {
            Ok(hello)
        } else {
            Err(Refusal::Foreign)
        }
    }
}

/// Both hellos as they went over the line, and the secret that signs them.
struct Transcript<'a> {
    secret: &'a Secret,
    caller: [u8; HELLO],
    answerer: [u8; HELLO],
}

impl Transcript<'_> {
    /// No part but the last has a varying length once the label is known, so no two messages read the same.
    fn mac(&self, label: &[u8], rest: &[u8]) -> hmac::Hmac<sha2::Sha256> {
        let mut mac = self.secret.mac();
        mac.update(b"wardflow cluster handshake: ");
        mac.update(label);
        mac.update(b"\0");
        mac.update(&self.caller);
        mac.update(&self.answerer);
        mac.update(rest);
        mac
    }

    fn tag(&self, label: &[u8], rest: &[u8]) -> [u8; TAG] {
        self.mac(label, rest).finalize().into_bytes().into()
    }

    fn check(&self, label: &[u8], rest: &[u8], tag: &[u8; TAG]) -> Result<(), Refusal> {
        self.mac(label, rest)
            .verify_slice(tag)
            .map_err(|_| Refusal::NotAuthentic)
    }
}

/// A connection with a deadline for everything said on it: one that drips bytes ends in time as well.
struct Line<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Line<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }

    fn read<const N: usize>(&self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_into(&mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        let mut stream = self.stream;
        while !bytes.is_empty() {
            stream.set_read_timeout(self.left()?)?;
            match stream.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => bytes = &mut bytes[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.stream;
        while !bytes.is_empty() {
            stream.set_write_timeout(self.left()?)?;
            match stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
