//! The outbox in a life of crashes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryDisk;

const BOTH: [Destination; 2] = [Destination::Broker, Destination::File];

fn folder() -> PathBuf {
    "/state/alerts".into()
}

fn alert(position: u64) -> Alert {
    Alert {
        position,
        level: format!("maker-{}", position % 3),
        json: format!("alert {position} {}", "x".repeat((position * 37 % 150) as usize)),
    }
}

/// The alerts of an epoch: always the same.
fn epoch(number: u64, counts: &[u64]) -> Vec<Alert> {
    let before: u64 = counts[..number as usize].iter().sum();
    (before..before + counts[number as usize]).map(alert).collect()
}

/// What is done next.
#[derive(Clone, Debug)]
enum Act {
    /// The next epoch comes.
    Epoch,
    /// A destination takes what there is to read at once, and confirms so many of it.
    Deliver(usize, usize),
    Commit,
    /// The process is killed.
    Kill,
    /// The power fails, after so many steps of the disk.
    Power(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Epoch),
        8 => (0usize..2, 1usize..9).prop_map(|(to, most)| Act::Deliver(to, most)),
        2 => Just(Act::Commit),
        1 => Just(Act::Kill),
        1 => (0u64..12).prop_map(Act::Power),
    ]
}

/// A run of the program, as long as it lives.
struct Life {
    outbox: Arc<Outbox<MemoryDisk>>,
    letters: Vec<(Letters<MemoryDisk>, Vec<Letter>)>,
    /// The next epoch.
    next: u64,
}

impl Life {
    fn begin(disk: &MemoryDisk, committed: u64) -> Result<Life, OutboxError> {
        let outbox = Outbox::open(disk.clone(), folder(), &BOTH)?;
        let letters = BOTH.map(|to| (outbox.letters(to), Vec::new())).into();
        Ok(Life {
            outbox,
            letters,
            next: committed,
        })
    }

    fn deliver(&mut self, to: usize, most: usize, got: &mut [Vec<Letter>]) -> Result<(), OutboxError> {
        let (letters, read) = &mut self.letters[to];
        if read.is_empty() {
            *read = letters.next()?;
        }
        let now: Vec<Letter> = read.drain(..most.min(read.len())).collect();
        if let Some(last) = now.last() {
            got[to].extend(now.iter().cloned());
            self.outbox.confirm(BOTH[to], last.place, now.len() as u64)?;
        }
        Ok(())
    }
}

/// Plays the acts, then what is left to do; what the destinations got, and whether the power has failed.
fn play(acts: &[Act], counts: &[u64], mut draws: impl FnMut(usize) -> usize) -> (Vec<Vec<Letter>>, bool) {
    let mut disk = MemoryDisk::default();
    let (mut committed, mut got, mut failed) = (0, vec![Vec::new(), Vec::new()], false);
    let mut life = Life::begin(&disk, 0).expect("an empty disk");
    for act in acts {
        let done = match act {
            Act::Epoch if life.next < counts.len() as u64 => {
                let put = life.outbox.put(life.next, &epoch(life.next, counts));
                life.next += 1;
                put
            }
            Act::Epoch => Ok(()),
            Act::Deliver(to, most) => life.deliver(*to, *most, &mut got),
            Act::Commit => life.outbox.sync().and_then(|()| {
                committed = life.next;
                life.outbox.let_go()
            }),
            Act::Kill => Life::begin(&disk, committed).map(|again| life = again),
            Act::Power(steps) => {
                disk.crash_at(disk.steps() + steps);
                Ok(())
            }
        };
        if done.is_err() {
            assert!(disk.has_crashed());
            failed = true;
            disk = disk.after_crash(&mut draws);
            life = Life::begin(&disk, committed).expect("what a crash leaves can be read");
        }
    }
    if acts.iter().any(|act| matches!(act, Act::Power(_))) {
        failed = true;
        disk = disk.after_crash(&mut draws);
        life = Life::begin(&disk, committed).expect("what a crash leaves can be read");
    }
    for number in life.next..counts.len() as u64 {
        life.outbox.put(number, &epoch(number, counts)).expect("put");
    }
    for to in 0..2 {
        let all = got[to].len() as u64 + life.outbox.waiting_for(BOTH[to]) + 1;
        for _ in 0..all {
            life.deliver(to, usize::MAX, &mut got).expect("delivered");
        }
    }
    assert_eq!(life.outbox.waiting(), 0);
    life.outbox.sync().expect("synced");
    life.outbox.let_go().expect("let go");
    let left = disk.names(&folder()).expect("a folder");
    let segments = left.iter().filter(|name| name.ends_with(".alerts")).count();
    assert!(segments <= 1, "what is confirmed goes: {left:?}");
    (got, failed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_destination_gets_every_alert_in_order_and_once_but_for_a_power_cut(
        acts in proptest::collection::vec(act(), 0..120), counts in proptest::collection::vec(0u64..7, 1..40), seed in any::<u64>(),
    ) {
        let mut state = seed;
        let draws = |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % most
        };
        let (got, failed) = play(&acts, &counts, draws);
        let all: u64 = counts.iter().sum();
        for got in got {
            let mut first: BTreeMap<u64, &Letter> = BTreeMap::new();
            let mut order = Vec::new();
            for letter in &got {
                prop_assert_eq!(&letter.json, &alert(letter.place.next - 1).json);
                if first.insert(letter.place.next - 1, letter).is_none() {
                    order.push(letter.place.next - 1);
                }
            }
            prop_assert_eq!(order, (0..all).collect::<Vec<_>>());
            if !failed {
                prop_assert_eq!(got.len() as u64, all, "twice, and the power was there");
            }
        }
    }
}

#[test]
fn a_new_destination_gets_what_comes_from_then_on_and_one_that_was_left_is_forgotten() {
    let disk = MemoryDisk::default();
    let open = |destinations: &[Destination]| Outbox::open(disk.clone(), folder(), destinations).expect("a folder");
    let positions = |outbox: &Arc<Outbox<MemoryDisk>>, to| {
        let (mut letters, mut positions) = (outbox.letters(to), Vec::new());
        loop {
            let more = letters.next().expect("letters");
            if more.is_empty() {
                return positions;
            }
            positions.extend(more.iter().map(|letter| letter.place.next - 1));
        }
    };
    let outbox = open(&[Destination::Broker]);
    outbox.put(0, &[alert(0), alert(1)]).expect("put");
    let outbox = open(&BOTH);
    outbox.put(1, &[alert(2)]).expect("put");
    assert_eq!(positions(&outbox, Destination::Broker), [0, 1, 2]);
    assert_eq!(positions(&outbox, Destination::File), [2]);
    assert_eq!((outbox.waiting(), outbox.waiting_for(Destination::File)), (3, 1));
    let outbox = open(&[Destination::File]);
    assert_eq!(outbox.waiting(), 1);
    let outbox = open(&BOTH);
    assert!(positions(&outbox, Destination::Broker).is_empty());
}

#[test]
fn an_alert_that_is_longer_than_what_is_read_at_once_is_read() {
    let outbox = Outbox::open(MemoryDisk::default(), folder(), &BOTH).expect("a folder");
    let long = Alert {
        json: "y".repeat(5000),
        ..alert(0)
    };
    outbox.put(0, std::slice::from_ref(&long)).expect("put");
    let letters = outbox.letters(Destination::File).next().expect("letters");
    assert!(letters.len() == 1 && letters[0].json == long.json);
}

#[test]
fn damage_in_what_was_durable_is_told() {
    let disk = MemoryDisk::default();
    let outbox = Outbox::open(disk.clone(), folder(), &BOTH).expect("a folder");
    for number in 0..20 {
        outbox.put(number, &[alert(number)]).expect("put");
    }
    let names = disk.names(&folder()).expect("names");
    let first = names.iter().find(|name| name.ends_with(".alerts")).expect("a segment");
    let path = folder().join(first);
    let mut bytes = disk.read(&path).expect("bytes");
    bytes[40] ^= 1;
    disk.create(&path)
        .and_then(|mut file| crate::disk::DiskFile::append(&mut file, &bytes))
        .expect("written");
    let Err(error) = Outbox::open(disk, folder(), &BOTH) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("are not as they were written"), "{error}");
}
