//! Connects every process to every other, in bounded time and whoever else may knock.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::error::ClusterError;
pub use super::handshake::WELCOME_LIMIT;
use super::handshake::{self, Identity, Refusal};
use super::secret::Secret;
use super::signals::Interrupted;
use super::topology::Topology;

/// The time for one handshake. Peers need milliseconds; strangers may not take more than this.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The time to reach a listening socket before trying again.
const REACH: Duration = Duration::from_millis(500);
/// Between two tries to reach a process that does not listen yet.
const RETRY: Duration = Duration::from_millis(20);
/// Between two looks at the listener, at the flags, and at what the threads found.
const LOOK: Duration = Duration::from_millis(5);
/// Connections that may shake hands at the same time; more wait in the listener's queue.
const HANDSHAKES: usize = 128;
/// Longer than anybody waits, and short enough to add to the time of day.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Sent to everybody by a process that has all its connections.
const COMPLETE: [u8; 1] = *b"C";

/// Connections to all other processes, authenticated and silent, ready for timely.
#[derive(Debug)]
pub struct Mesh {
    pub(super) sockets: Vec<Option<TcpStream>>,
    welcome: Vec<u8>,
}

impl Mesh {
    /// What process 0 handed to all (at process 0, what it gave).
    pub fn welcome(&self) -> &[u8] {
        &self.welcome
    }
}

/// Connects this process to all others of `topology`; a single process opens no socket.
///
/// * `fingerprint`: a digest of the program and its settings; processes whose digests differ refuse each other.
/// * `welcome`: what process 0 hands to the others, at most [`WELCOME_LIMIT`] bytes, sent in clear to processes
///   that proved themselves; ignored at the others.
/// * `patience`: how long to wait for all the others.
pub fn connect(
    topology: &Topology,
    secret: &Secret,
    fingerprint: [u8; 32],
    welcome: Vec<u8>,
    patience: Duration,
    interrupted: &Interrupted,
) -> Result<Mesh, ClusterError> {
    let first = topology.process() == 0;
    if first && welcome.len() > WELCOME_LIMIT {
        return Err(ClusterError::WelcomeTooLong {
            length: welcome.len(),
            limit: WELCOME_LIMIT,
        });
    }
    if topology.processes() == 1 {
        return Ok(Mesh {
            sockets: vec![None],
            welcome,
        });
    }
    let shared = Arc::new(Shared {
        topology: topology.clone(),
        identity: Identity {
            process: topology.process(),
            processes: topology.processes(),
            workers: topology.workers(),
            fingerprint,
        },
        secret: secret.clone(),
        welcome: if first { welcome } else { Vec::new() },
        deadline: Instant::now() + patience.min(LONGEST),
        done: AtomicBool::new(false),
    });
    Gathering::new(Arc::clone(&shared), interrupted, patience).run()
}

/// What the threads of one start-up share.
struct Shared {
    topology: Topology,
    identity: Identity,
    secret: Secret,
    welcome: Vec<u8>,
    deadline: Instant,
    done: AtomicBool,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.done.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// The end of a handshake that starts now.
    fn handshake_deadline(&self) -> Instant {
        self.deadline.min(Instant::now() + HANDSHAKE)
    }
}

/// What a thread found.
enum Found {
    /// An authenticated connection, and the welcome when this process called.
    Peer(usize, TcpStream, Vec<u8>),
    /// A connection that is not used; why, for the user whose cluster does not come together.
    Refused(String),
    /// A reason to give up.
    Fatal(ClusterError),
}

/// The start-up as its main thread sees it.
struct Gathering<'a> {
    shared: Arc<Shared>,
    interrupted: &'a Interrupted,
    patience: Duration,
    sockets: Vec<Option<TcpStream>>,
    welcome: Vec<u8>,
    found: Receiver<Found>,
    finder: Sender<Found>,
    refused: usize,
    last_refused: String,
}

impl<'a> Gathering<'a> {
    fn new(shared: Arc<Shared>, interrupted: &'a Interrupted, patience: Duration) -> Self {
        let (finder, found) = mpsc::channel();
        Self {
            sockets: (0..shared.identity.processes).map(|_| None).collect(),
            welcome: shared.welcome.clone(),
            shared,
            interrupted,
            patience,
            found,
            finder,
            refused: 0,
            last_refused: String::new(),
        }
    }

    fn run(mut self) -> Result<Mesh, ClusterError> {
        let listener = listen(&self.shared.topology)?;
        let answering = {
            let (shared, finder) = (Arc::clone(&self.shared), self.finder.clone());
            start("answer", move || answer_all(&listener, &shared, &finder))?
        };
        let gathered = self.gather();
        // All other threads end by themselves and hold no port; this one is waited for, so that the port is free.
        self.shared.done.store(true, Ordering::Relaxed);
        let answered = answering.join();
        gathered?;
        answered.map_err(|_| ClusterError::System {
            what: "answer other processes",
            source: io::Error::other("the thread ended early"),
        })?;
        self.start_together()?;
        Ok(Mesh {
            sockets: self.sockets,
            welcome: self.welcome,
        })
    }

    /// Fills `sockets`. A process that was connected and is gone when the last one comes is waited for again.
    fn gather(&mut self) -> Result<(), ClusterError> {
        for process in 0..self.shared.identity.process {
            self.call(process)?;
        }
        loop {
            if self.missing().next().is_none() {
                self.drop_dead()?;
                if self.missing().next().is_none() {
                    return Ok(());
                }
            }
            if self.interrupted.is_set() {
                return Err(ClusterError::Interrupted);
            }
            if Instant::now() >= self.shared.deadline {
                return Err(self.absent());
            }
            match self.found.recv_timeout(LOOK) {
                // The newest connection counts: the process may have been started anew.
                Ok(Found::Peer(process, stream, welcome)) => {
                    self.sockets[process] = Some(stream);
                    if process == 0 {
                        self.welcome = welcome;
                    }
                }
                Ok(Found::Refused(why)) => {
                    self.refused += 1;
                    self.last_refused = why;
                }
                Ok(Found::Fatal(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let here = self.shared.identity.process;
        (0..self.sockets.len()).filter(move |&i| i != here && self.sockets[i].is_none())
    }

    fn call(&self, process: usize) -> Result<(), ClusterError> {
        let (shared, finder) = (Arc::clone(&self.shared), self.finder.clone());
        start("call", move || call(process, &shared, &finder)).map(drop)
    }

    fn drop_dead(&mut self) -> Result<(), ClusterError> {
        for process in 0..self.sockets.len() {
            let dead = self.sockets[process].as_ref().is_some_and(|s| !is_alive(s));
            if dead {
                self.sockets[process] = None;
                if process < self.shared.identity.process {
                    self.call(process)?;
                }
            }
        }
        Ok(())
    }

    fn absent(&self) -> ClusterError {
        let address = |process| self.shared.topology.address(process).to_owned();
        let hint = match self.refused {
            0 => None,
            1 => Some(format!("a connection was refused: {}", self.last_refused)),
            n => Some(format!(
                "{n} connections were refused, the last one: {}",
                self.last_refused
            )),
        };
        ClusterError::Missing {
            missing: self.missing().map(|i| (i, address(i))).collect(),
            patience: self.patience,
            hint,
        }
    }

    /// Waits until every process has all its connections, so that none runs ahead of a cluster that fails.
    fn start_together(&mut self) -> Result<(), ClusterError> {
        let peers = || self.sockets.iter().enumerate();
        for (process, socket) in peers().filter_map(|(i, s)| Some((i, s.as_ref()?))) {
            self.tell(socket).map_err(|_| ClusterError::GaveUp { process })?;
        }
        for (process, socket) in peers().filter_map(|(i, s)| Some((i, s.as_ref()?))) {
            self.hear(process, socket)?;
            calm(socket).map_err(|source| ClusterError::System {
                what: "set up a connection to another process",
                source,
            })?;
        }
        Ok(())
    }

    fn tell(&self, mut socket: &TcpStream) -> io::Result<()> {
        socket.set_write_timeout(Some(HANDSHAKE))?;
        socket.write_all(&COMPLETE)
    }

    fn hear(&self, process: usize, mut socket: &TcpStream) -> Result<(), ClusterError> {
        let mut said = [0];
        loop {
            if self.interrupted.is_set() {
                return Err(ClusterError::Interrupted);
            }
            if Instant::now() >= self.shared.deadline {
                return Err(ClusterError::Missing {
                    missing: vec![(process, self.shared.topology.address(process).to_owned())],
                    patience: self.patience,
                    hint: Some("it is there, but does not have all its connections".to_owned()),
                });
            }
            let heard = socket
                .set_read_timeout(Some(RETRY))
                .and_then(|()| socket.read(&mut said));
            match heard {
                Ok(1) if said == COMPLETE => return Ok(()),
                Err(error) if is_patient(&error) => {}
                _ => return Err(ClusterError::GaveUp { process }),
            }
        }
    }
}

/// A read that ended without a byte and without harm.
fn is_patient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn is_alive(socket: &TcpStream) -> bool {
    let peeked = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [0]));
    let restored = socket.set_nonblocking(false);
    let open = match peeked {
        Ok(read) => read > 0,
        Err(error) => is_patient(&error),
    };
    open && restored.is_ok()
}

/// Back to how timely wants a socket: waiting as long as it takes, and sending at once.
fn calm(socket: &TcpStream) -> io::Result<()> {
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    socket.set_nodelay(true)
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, ClusterError> {
    thread::Builder::new()
        .name(format!("cluster:{name}"))
        .spawn(work)
        .map_err(|source| ClusterError::System {
            what: "start a thread",
            source,
        })
}

fn listen(topology: &Topology) -> Result<TcpListener, ClusterError> {
    let process = topology.process();
    let failed = |source| ClusterError::Listen {
        process,
        address: topology.address(process).to_owned(),
        source,
    };
    let listener = TcpListener::bind(topology.resolve(process)?).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Gives each connection its own thread, so that a silent one delays nobody.
fn answer_all(listener: &TcpListener, shared: &Arc<Shared>, finder: &Sender<Found>) {
    let busy = Arc::new(AtomicUsize::new(0));
    while !shared.is_over() {
        if busy.load(Ordering::Relaxed) < HANDSHAKES
            && let Ok((stream, from)) = listener.accept()
        {
            let (shared, finder) = (Arc::clone(shared), finder.clone());
            let place = Place::taken(&busy);
            // Without a thread for it the connection is dropped; a peer calls again.
            let _ = start("shake", move || {
                answer(stream, from, &shared, &finder);
                drop(place);
            });
        } else {
            thread::sleep(LOOK);
        }
    }
}

/// One of the handshakes under way.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn taken(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(stream: TcpStream, from: SocketAddr, shared: &Shared, finder: &Sender<Found>) {
    let deadline = shared.handshake_deadline();
    let shaken = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_nodelay(true))
        .map_err(Refusal::from)
        .and_then(|()| handshake::answer(&stream, deadline, &shared.identity, &shared.welcome, &shared.secret));
    let found = match shaken {
        Ok(process) => Found::Peer(process, stream, Vec::new()),
        Err(Refusal::Mismatch(difference)) => Found::Fatal(ClusterError::Mismatch(difference)),
        Err(Refusal::Unable(error)) => Found::Fatal(error),
        Err(Refusal::NotAuthentic) => Found::Refused(format!("{from} does not hold this cluster's secret")),
        Err(Refusal::Foreign) => Found::Refused(format!("{from} does not speak as a wardflow process")),
        Err(Refusal::Broken(error)) => Found::Refused(broken(&from.to_string(), &error)),
    };
    // The start-up may be over by now; then the connection ends here.
    let _ = finder.send(found);
}

/// Calls one process until it answers.
fn call(process: usize, shared: &Shared, finder: &Sender<Found>) {
    while !shared.is_over() {
        let address = shared.topology.address(process);
        let found = match reach(process, shared) {
            Ok(Some(stream)) => {
                let deadline = shared.handshake_deadline();
                let identity = &shared.identity;
                match handshake::call(&stream, deadline, identity, process, &shared.secret) {
                    Ok(welcome) => Found::Peer(process, stream, welcome),
                    Err(refusal) => refused_by(process, address, refusal),
                }
            }
            Ok(None) => {
                thread::sleep(RETRY);
                continue;
            }
            Err(error) => Found::Fatal(error),
        };
        let again = matches!(found, Found::Refused(_));
        if finder.send(found).is_err() || !again {
            return;
        }
        thread::sleep(RETRY);
    }
}

/// A connection to `process`, or nothing when it is not there yet (or its name is not known yet).
fn reach(process: usize, shared: &Shared) -> Result<Option<TcpStream>, ClusterError> {
    let address = match shared.topology.resolve(process) {
        Ok(address) => address,
        Err(ClusterError::Unresolved { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stream = TcpStream::connect_timeout(&address, REACH).and_then(|stream| {
        stream.set_nodelay(true)?;
        // A port that nobody listens on can be given to the calling end itself: TCP then connects it to itself.
        let itself = stream.local_addr()? == stream.peer_addr()?;
        Ok((!itself).then_some(stream))
    });
    Ok(stream.unwrap_or(None))
}

fn refused_by(process: usize, address: &str, refusal: Refusal) -> Found {
    match refusal {
        Refusal::NotAuthentic => Found::Fatal(ClusterError::NotAuthentic {
            process,
            address: address.to_owned(),
        }),
        Refusal::Mismatch(difference) => Found::Fatal(ClusterError::Mismatch(difference)),
        Refusal::Unable(error) => Found::Fatal(error),
        Refusal::Foreign => Found::Refused(format!("the program at {address} does not speak as a wardflow process")),
        Refusal::Broken(error) => Found::Refused(broken(address, &error)),
    }
}

fn broken(who: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            format!("{who} hung up")
        }
        _ if is_patient(error) => format!("{who} stayed silent"),
        _ => format!("{who}: {error}"),
    }
}
