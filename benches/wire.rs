//! The wire codec of plain rows: rows written to bytes and read back, millions a second.
//!
//! `cargo bench --bench wire` times the default codec, `cargo bench --bench wire --features abomonation` the optional one.

#[path = "../src/operators/wire.rs"]
mod wire;

use std::hint::black_box;
use std::time::Instant;

use bytemuck::{Pod, Zeroable};
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;
use wire::Plain;

/// As the watermark's observations are: 24 bytes without padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Row {
    position: u64,
    time: i64,
    device: u64,
}

/// What timely puts into one message.
const ROWS: u64 = 341;
const MESSAGES: u64 = 100_000;
const RUNS: usize = 5;

fn main() {
    let codec = if cfg!(feature = "abomonation") {
        "abomonation"
    } else {
        "bytemuck"
    };
    let message = Plain(
        (0..ROWS)
            .map(|n| Row {
                position: n,
                time: -(n as i64),
                device: !n,
            })
            .collect(),
    );
    let mut rates: Vec<f64> = (0..RUNS).map(|_| rate(&message)).collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "{codec}: {:.0} million rows/s, there and back (median of {RUNS})",
        rates[RUNS / 2]
    );
}

fn rate(message: &Plain<Row>) -> f64 {
    let started = Instant::now();
    for _ in 0..MESSAGES {
        let mut bytes = Vec::with_capacity(message.length_in_bytes());
        black_box(message).into_bytes(&mut bytes);
        black_box(Plain::<Row>::from_bytes(BytesMut::from(bytes).freeze()));
    }
    (ROWS * MESSAGES) as f64 / started.elapsed().as_secs_f64() / 1e6
}
