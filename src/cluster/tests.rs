//! Clusters whose processes are threads of this test.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use timely::WorkerConfig;
use timely::dataflow::operators::{Exchange, Inspect, ToStream};

use super::secret::Secret;
use super::spawn::free_addresses;
use super::topology::Topology;
use super::{ClusterError, Difference, Interrupted, Mesh, WELCOME_LIMIT, connect, run};

/// Longer than any start-up that succeeds takes, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// One process to be; the tests change what they are about.
#[derive(Clone)]
struct Process {
    topology: Topology,
    secret: Secret,
    fingerprint: [u8; 32],
    welcome: Vec<u8>,
    patience: Duration,
    interrupted: Interrupted,
}

impl Process {
    fn connect(self) -> Result<Mesh, ClusterError> {
        connect(
            &self.topology,
            &self.secret,
            self.fingerprint,
            self.welcome,
            self.patience,
            &self.interrupted,
        )
    }
}

fn secret() -> Secret {
    Secret::generate().expect("random bytes")
}

fn topology(workers: usize, process: usize, addresses: &[String]) -> Topology {
    Topology::on_this_machine(workers, process, addresses.to_vec()).expect("valid")
}

/// Processes that belong together, and their addresses.
fn processes(count: usize, workers: usize) -> (Vec<Process>, Vec<String>) {
    let addresses = free_addresses(count).expect("free ports");
    let secret = secret();
    let processes = (0..count)
        .map(|process| Process {
            topology: topology(workers, process, &addresses),
            secret: secret.clone(),
            fingerprint: [7; 32],
            welcome: format!("from process {process}").into_bytes(),
            patience: LONG,
            interrupted: Interrupted::default(),
        })
        .collect();
    (processes, addresses)
}

/// Connects all at the same time.
fn connect_all(processes: Vec<Process>) -> Vec<Result<Mesh, ClusterError>> {
    let threads: Vec<_> = processes
        .into_iter()
        .map(|process| thread::spawn(|| process.connect()))
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect()
}

fn fault(result: Result<Mesh, ClusterError>) -> ClusterError {
    result.expect_err("refused")
}

/// Sums what each worker of a cluster received of 1000 numbers from each worker.
fn exchange(topology: &Topology, mesh: Mesh) -> Vec<(usize, u64)> {
    run(topology, mesh, WorkerConfig::default(), |worker| {
        let (send, receive) = std::sync::mpsc::channel();
        worker.dataflow::<u64, _, _>(|scope| {
            (0..1000u64)
                .to_stream(scope)
                .container::<Vec<_>>()
                .exchange(|number| *number)
                .inspect(move |number| send.send(*number).expect("the receiver is below"));
        });
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        (worker.index(), receive.iter().sum())
    })
    .expect("workers end in order")
}

/// What `exchange` must give: worker `i` receives all numbers that are `i` modulo the number of workers, from all.
fn exchanged(workers: usize) -> Vec<(usize, u64)> {
    let share = |index: usize| (0..1000).filter(|n| n % workers == index).sum::<usize>();
    (0..workers)
        .map(|index| (index, (share(index) * workers) as u64))
        .collect()
}

#[test]
fn three_processes_connect_get_the_welcome_of_process_0_and_exchange() {
    let (mut processes, _) = processes(3, 2);
    processes[0].welcome = vec![42; WELCOME_LIMIT];
    let threads: Vec<_> = processes
        .into_iter()
        .map(|process| {
            thread::spawn(|| {
                let topology = process.topology.clone();
                let mesh = process.connect().expect("connected");
                assert_eq!(mesh.welcome(), vec![42; WELCOME_LIMIT]);
                exchange(&topology, mesh)
            })
        })
        .collect();
    let all: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"))
        .collect();
    assert_eq!(all, exchanged(6));
}

#[test]
fn a_single_process_needs_no_socket() {
    for workers in [1, 3] {
        let (mut one, addresses) = processes(1, workers);
        let _taken = TcpListener::bind(&addresses[0]).expect("free");
        let topology = one[0].topology.clone();
        let mesh = one.remove(0).connect().expect("nobody to connect");
        assert_eq!(mesh.welcome(), b"from process 0");
        assert_eq!(exchange(&topology, mesh), exchanged(workers));
    }
}

#[test]
fn another_secret_is_refused_by_both_ends() {
    let (mut pair, _) = processes(2, 1);
    pair[1].secret = secret();
    pair[0].patience = Duration::from_secs(3);
    let mut ends = connect_all(pair);
    let caller = fault(ends.remove(1));
    assert!(matches!(caller, ClusterError::NotAuthentic { process: 0, .. }));
    assert!(caller.to_string().contains("cluster.secret"), "{caller}");
    let answerer = fault(ends.remove(0)).to_string();
    assert!(answerer.starts_with("process 1 ("), "{answerer}");
    assert!(answerer.contains("does not hold this cluster's secret"));
}

#[test]
fn processes_that_were_started_differently_tell_so_on_both_ends() {
    let told = |change: fn(&mut Process, &[String])| {
        let (mut pair, addresses) = processes(2, 2);
        change(&mut pair[1], &addresses);
        connect_all(pair).into_iter().map(|end| match fault(end) {
            ClusterError::Mismatch(difference) => difference,
            other => panic!("{other}"),
        })
    };
    let ends: Vec<_> = told(|process, _| process.fingerprint[31] = 0).collect();
    let differ = |here, there| Difference::Fingerprint { here, there };
    assert_eq!(ends, [differ(0, 1), differ(1, 0)]);
    assert!(
        ends[0]
            .to_string()
            .starts_with("process 1 is another build of wardflow than process 0 or runs other settings")
    );
    let ends: Vec<_> = told(|process, all| process.topology = topology(3, 1, all)).collect();
    let differ = |here, there| Difference::Workers { here, there };
    assert_eq!(ends, [differ((0, 2), (1, 3)), differ((1, 3), (0, 2))]);
    let ends: Vec<_> = told(|process, all| {
        let more = [all, &free_addresses(1).expect("a free port")].concat();
        process.topology = topology(2, 1, &more);
    })
    .collect();
    let differ = |here, there| Difference::Processes { here, there };
    assert_eq!(ends, [differ((0, 2), (1, 3)), differ((1, 3), (0, 2))]);
}

#[test]
fn hostfiles_in_another_order_are_told() {
    let (mut three, addresses) = processes(3, 1);
    // Process 2 looks for process 0 at the address of process 1, and the other way round.
    let swapped = [1, 0, 2].map(|i: usize| addresses[i].clone());
    three[2].topology = topology(1, 2, &swapped);
    three[0].patience = Duration::from_secs(10);
    three[1].patience = Duration::from_secs(10);
    let last = fault(connect_all(three).remove(2)).to_string();
    assert!(last.contains("same hostfile"), "{last}");
}

/// Knocks at an address as strangers do, until told to stop.
fn disturb(address: String, stop: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let mut silent = Vec::new();
        let mut knocks = 0;
        while !stop.load(Ordering::Relaxed) {
            if let Ok(mut stream) = TcpStream::connect(&address) {
                knocks += 1;
                // A stranger's writes may fail: it is being refused.
                let _ = match knocks % 5 {
                    0 => stream.write_all(&[0xA5; 300]),
                    1 => stream.write_all(b"wardflow\0\0\0\x01\0\0"),
                    2 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
                    3 => stream.shutdown(Shutdown::Both),
                    _ => Ok(()),
                };
                if silent.len() < 40 && knocks % 5 != 3 {
                    silent.push(stream);
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
        knocks
    })
}

#[test]
fn strangers_neither_stop_nor_stall_the_start() {
    let (mut three, addresses) = processes(3, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let strangers: Vec<_> = addresses
        .iter()
        .map(|address| disturb(address.clone(), Arc::clone(&stop)))
        .collect();
    let late = three.pop().expect("three");
    let early: Vec<_> = three
        .into_iter()
        .map(|process| thread::spawn(|| process.connect()))
        .collect();
    // Give the strangers a head start over the last process.
    thread::sleep(Duration::from_millis(300));
    late.connect().expect("connected");
    for process in early {
        process.join().expect("no panic").expect("connected");
    }
    stop.store(true, Ordering::Relaxed);
    let knocks: Vec<usize> = strangers
        .into_iter()
        .map(|stranger| stranger.join().expect("no panic"))
        .collect();
    assert!(knocks[0] >= 5 && knocks[1] >= 5, "{knocks:?}");
}

#[test]
fn a_stranger_in_the_place_of_a_process_is_told_at_the_deadline() {
    let (mut pair, addresses) = processes(2, 1);
    let stranger = TcpListener::bind(&addresses[0]).expect("free");
    let answering = thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("the caller comes");
        let _ = stream.write_all(&[b'x'; 96]);
        stream
    });
    pair[1].patience = Duration::from_secs(1);
    let told = fault(pair.remove(1).connect()).to_string();
    assert!(told.starts_with("process 0 ("), "{told}");
    assert!(told.contains("refused: "), "{told}");
    assert!(told.contains("does not speak as a wardflow process"), "{told}");
    drop(answering.join().expect("no panic"));
}

#[test]
fn processes_that_do_not_come_are_named() {
    let (mut four, _) = processes(4, 1);
    let two: Vec<Process> = four
        .drain(..2)
        .map(|process| Process {
            patience: Duration::from_secs(1),
            ..process
        })
        .collect();
    for end in connect_all(two) {
        let error = fault(end);
        assert!(error.to_string().contains("within 1 s"), "{error}");
        match error {
            ClusterError::Missing { missing, .. } => {
                assert!(missing.iter().map(|(process, _)| *process).eq([2, 3]));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_port_in_use_is_told_with_its_address() {
    let (mut pair, addresses) = processes(2, 1);
    let _taken = TcpListener::bind(&addresses[0]).expect("free");
    let told = fault(pair.remove(0).connect()).to_string();
    let expected = format!("process 0 cannot listen on {}: the port is in use", addresses[0]);
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn an_interrupted_start_ends() {
    let (mut pair, _) = processes(2, 1);
    let waiting = pair.remove(0);
    let flag = Arc::clone(&waiting.interrupted.flag);
    let thread = thread::spawn(|| waiting.connect());
    flag.store(true, Ordering::Relaxed);
    let error = fault(thread.join().expect("no panic"));
    assert!(matches!(error, ClusterError::Interrupted), "{error}");
}

#[test]
fn a_process_that_was_started_anew_takes_its_place() {
    let (mut three, _) = processes(3, 1);
    let second = three[1].clone();
    let mut ended = three.remove(1);
    ended.patience = Duration::from_millis(500);
    let others: Vec<_> = three.split_off(1);
    let first = three.remove(0);
    let first = thread::spawn(|| first.connect());
    // It connects to process 0, misses process 2, and ends.
    assert!(ended.connect().is_err());
    let rest = connect_all([vec![second], others].concat());
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    first.join().expect("no panic").expect("connected");
}

#[test]
fn a_welcome_that_is_too_long_is_refused() {
    let (mut pair, _) = processes(2, 1);
    pair[0].welcome = vec![0; WELCOME_LIMIT + 1];
    let error = fault(pair.remove(0).connect());
    assert!(matches!(error, ClusterError::WelcomeTooLong { .. }));
}

/// Passes bytes on between a caller and the address behind, and flips a bit of the byte at `at` on the way back
/// (or forth).
fn tamper(listener: TcpListener, behind: String, at: usize, back: bool) {
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let Ok(answerer) = TcpStream::connect(&behind) else {
                continue;
            };
            let ends = |a: &TcpStream, b: &TcpStream| (a.try_clone().expect("a file"), b.try_clone().expect("a file"));
            let (from, to) = ends(&caller, &answerer);
            thread::spawn(move || pass(from, to, (!back).then_some(at)));
            let (from, to) = ends(&answerer, &caller);
            thread::spawn(move || pass(from, to, back.then_some(at)));
        }
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream, at: Option<usize>) {
    let mut byte = [0];
    for place in 0.. {
        if !matches!(from.read(&mut byte), Ok(1)) {
            break;
        }
        if at == Some(place) {
            byte[0] ^= 1;
        }
        if to.write_all(&byte).is_err() {
            break;
        }
    }
    // The other end may have closed it already.
    let _ = to.shutdown(Shutdown::Write);
}

/// Starts two processes with a proxy between them that alters one byte; how each ends.
fn through_a_proxy(at: usize, back: bool, patience: Duration) -> [Result<Mesh, ClusterError>; 2] {
    let (mut pair, addresses) = processes(2, 1);
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = proxy.local_addr().expect("bound").to_string();
    pair[1].topology = topology(1, 1, &[address, addresses[1].clone()]);
    for process in &mut pair {
        process.patience = patience;
    }
    tamper(proxy, addresses[0].clone(), at, back);
    let mut ends = connect_all(pair).into_iter();
    [(); 2].map(|()| ends.next().expect("two"))
}

#[test]
fn what_was_altered_on_the_way_is_refused() {
    // Back: fingerprint and nonce of the hello, then status (96) and length, the welcome (from 101), its tag.
    let back = [40, 70, 101 + 3, 101 + 14 + 5].map(|at| (at, true));
    // Forth: index, -w and nonce of the hello, its tag, and the tag that takes the welcome.
    let forth = [19, 31, 80, 100, 130].map(|at| (at, false));
    thread::scope(|scope| {
        for (at, is_back) in back.into_iter().chain(forth) {
            scope.spawn(move || {
                let [answerer, caller] = through_a_proxy(at, is_back, Duration::from_secs(3));
                assert!(answerer.is_err(), "{at}");
                let told = fault(caller);
                let not_authentic = matches!(told, ClusterError::NotAuthentic { .. });
                assert!(not_authentic || !is_back, "{at}: {told}");
            });
        }
    });
}

#[test]
fn an_unaltered_connection_through_a_proxy_is_accepted() {
    let ends = through_a_proxy(usize::MAX, true, LONG);
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
}

#[test]
fn a_recorded_handshake_cannot_be_played_back() {
    let (mut pair, addresses) = processes(2, 1);
    // Record what process 1 says to process 0 in a start that succeeds.
    let recorded = {
        let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = proxy.local_addr().expect("bound").to_string();
        let mut caller = pair[1].clone();
        caller.topology = topology(1, 1, &[address, addresses[1].clone()]);
        let behind = addresses[0].clone();
        let recorder = thread::spawn(move || {
            let (mut from, _) = proxy.accept().expect("the caller comes");
            let start = Instant::now();
            let mut to = loop {
                match TcpStream::connect(&behind) {
                    Ok(stream) => break stream,
                    Err(error) => assert!(start.elapsed() < LONG, "{error}"),
                }
            };
            let (back_from, back_to) = (to.try_clone(), from.try_clone());
            thread::spawn(|| pass(back_from.expect("a file"), back_to.expect("a file"), None));
            // Hello, tag, ready tag: then both are connected.
            let mut said = vec![0; 96 + 32 + 32];
            for byte in said.chunks_mut(1) {
                from.read_exact(byte).expect("the caller speaks");
                to.write_all(byte).expect("the answerer listens");
            }
            pass(from, to, None);
            said
        });
        let ends = connect_all(vec![pair[0].clone(), caller]);
        assert!(ends.iter().all(Result::is_ok), "{ends:?}");
        drop(ends);
        recorder.join().expect("no panic")
    };
    let mut first = pair.remove(0);
    first.patience = Duration::from_secs(2);
    let player = thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            if let Ok(mut stream) = TcpStream::connect(&addresses[0]) {
                // Refused half-way, so writing may fail.
                let _ = stream.write_all(&recorded);
                let _ = stream.read_to_end(&mut Vec::new());
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    let told = fault(first.connect()).to_string();
    player.join().expect("no panic");
    assert!(told.contains("does not hold this cluster's secret"), "{told}");
}

#[test]
fn ports_are_free_again_after_the_start() {
    let (pair, addresses) = processes(2, 1);
    let meshes = connect_all(pair);
    assert!(meshes.iter().all(Result::is_ok));
    let again: HashMap<&String, bool> = addresses
        .iter()
        .map(|address| (address, TcpListener::bind(address).is_ok()))
        .collect();
    assert!(again.values().all(|free| *free), "{again:?}");
}
