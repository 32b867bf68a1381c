//! The forest against the fastest published ones: points per CPU-second on one thread, and bytes per forest.
//!
//! `cargo bench --bench forest`, or with `--profile dist` and `RUSTFLAGS=-Ctarget-cpu=native` to give all of them what a machine
//! has; `-- 20000` takes so many points instead of 200,000. Every point is scored and then taken in. Bytes are what the forest has
//! asked of the allocator and not given back by its end, for all alike. Out of cache it is wall-clock seconds, of the forest's turns alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use krcf::{RandomCutForest, RandomCutForestOptions};
use wardflow::forest::{Forest, Normalise, Parameters, Scoring};

const MEASURES: usize = 5;
const TREES: usize = 100;
const SAMPLE_SIZE: usize = 256;
const TIME_DECAY: u64 = 100_000;
const RUNS: usize = 3;
/// A live run's load: forests, and points of each in a group.
const LIVE: (usize, usize) = (5, 14);
/// Bytes that are read between two groups where forests shall have left the caches: more than the processor keeps for one of many
/// guests.
const OTHERS: usize = 64 << 20;
/// So many of the points meet forests that have.
const COLD: usize = 20_000;

/// The system's allocator, which counts what is held of it.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
#[expect(unsafe_code, reason = "an allocator can be written in no other way")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to what `GlobalAlloc` asks of it, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        HELD.fetch_add(size, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn held() -> f64 {
    HELD.load(Ordering::Relaxed) as f64
}

fn main() {
    let count = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(200_000);
    let points = vital_signs(count);
    println!(
        "{count} points of {MEASURES} measures, {TREES} trees of {SAMPLE_SIZE}, one thread, the best of {RUNS} runs"
    );
    println!(
        "{:<24} {:>13} {:>10} {:>7} {:>12} {:>6} {:>11}",
        "", "points/CPU-s", "µs/point", "ratio", "bytes/forest", "part", "mean score"
    );
    let names = [
        "krcf",
        "wardflow, batches of 1",
        "wardflow, batches of 5",
        "wardflow, batches of 256",
        "wardflow, 5 in turn of 14",
        "the same, out of cache",
    ];
    let runs = measure([
        &|| peer(&points),
        &|| ours(&points, 1),
        &|| ours(&points, 5),
        &|| ours(&points, 256),
        &|| in_turn(&points, LIVE),
        &|| out_of_cache(&points, LIVE),
    ]);
    for (name, run) in names.iter().zip(&runs) {
        println!(
            "{name:<24} {:>13.0} {:>10.2} {:>7.2} {:>12.0} {:>6.3} {:>11.5}",
            1.0 / run.seconds_a_point,
            run.seconds_a_point * 1e6,
            runs[0].seconds_a_point / run.seconds_a_point,
            run.bytes,
            run.bytes / runs[0].bytes,
            run.mean_score,
        );
    }
}

struct Run {
    seconds_a_point: f64,
    /// Of a forest, at its end.
    bytes: f64,
    mean_score: f64,
}

/// The fastest of several runs of each, in turns, as a busy machine is not equally busy all the time.
fn measure<const N: usize>(runs: [&dyn Fn() -> Run; N]) -> [Run; N] {
    let mut best = runs.map(|run| run());
    for _ in 1..RUNS {
        for (run, best) in runs.iter().zip(&mut best) {
            let run = run();
            if run.seconds_a_point < best.seconds_a_point {
                *best = run;
            }
        }
    }
    best
}

fn parameters() -> Parameters {
    Parameters {
        trees: TREES,
        sample_size: SAMPLE_SIZE,
        time_decay: TIME_DECAY,
        shingle: 1,
        measures: MEASURES,
        scoring: Scoring::Aws,
        seed: 42,
        normalise: Normalise::None,
    }
}

fn ours(points: &[f32], batch: usize) -> Run {
    in_turn(points, (1, batch))
}

/// Batches go to one forest after the other: by its next turn the others have taken its place in the nearest cache.
fn in_turn(points: &[f32], (forests, batch): (usize, usize)) -> Run {
    let before = held();
    let started = cpu_seconds();
    let mut ward = Ward::new(forests);
    ward.take(points, batch, |turn| turn());
    let seconds = cpu_seconds() - started;
    ward.ended(seconds / (points.len() / MEASURES) as f64, before)
}

/// The same where much else is read between two turns, as a live run's other threads and the machine's other guests do; the last
/// points count, and of each turn only the forest's time.
fn out_of_cache(points: &[f32], (forests, batch): (usize, usize)) -> Run {
    let before = held();
    let mut ward = Ward::new(forests);
    let (warm, cold) = points.split_at(points.len().saturating_sub(COLD * MEASURES));
    ward.take(warm, 256, |turn| turn());
    let others = vec![1u8; OTHERS];
    let mut seconds = 0.0;
    ward.take(cold, batch, |turn| {
        let lines: usize = others.iter().step_by(64).map(|byte| usize::from(*byte)).sum();
        black_box(lines);
        let started = Instant::now(); // the kernel does not count so finely
        turn();
        seconds += started.elapsed().as_secs_f64();
    });
    drop(others);
    ward.ended(seconds / (cold.len() / MEASURES) as f64, before)
}

/// Forests, and what they have said.
struct Ward {
    forests: Vec<Forest>,
    sum: f64,
    scored: usize,
}

impl Ward {
    fn new(forests: usize) -> Ward {
        Ward {
            forests: (0..forests).map(|n| Forest::new(&parameters(), &[n as u8])).collect(),
            sum: 0.0,
            scored: 0,
        }
    }

    /// Gives batches to the forests in turn; `around` is given each turn, to run it.
    fn take(&mut self, points: &[f32], batch: usize, mut around: impl FnMut(&mut dyn FnMut())) {
        let (forests, mut out) = (self.forests.len(), Vec::new());
        for (turn, points) in points.chunks(batch * MEASURES).enumerate() {
            let forest = &mut self.forests[turn % forests];
            around(&mut || forest.score_batch(points, f64::INFINITY, &mut out));
            for score in out.drain(..).filter_map(|scored| scored.score) {
                self.sum += score;
                self.scored += 1;
            }
        }
    }

    fn ended(self, seconds_a_point: f64, held_before: f64) -> Run {
        let bytes = (held() - held_before) / self.forests.len() as f64;
        Run {
            seconds_a_point,
            bytes,
            mean_score: self.sum / self.scored as f64,
        }
    }
}

fn peer(points: &[f32]) -> Run {
    let before = held();
    let started = cpu_seconds();
    let options = RandomCutForestOptions {
        dimensions: MEASURES,
        shingle_size: 1,
        num_trees: Some(TREES),
        sample_size: Some(SAMPLE_SIZE),
        output_after: Some(SAMPLE_SIZE),
        random_seed: Some(42),
        parallel_execution_enabled: Some(false),
        lambda: Some(1.0 / TIME_DECAY as f64),
        internal_rotation: Some(false),
        internal_shingling: Some(false),
        initial_accept_fraction: Some(1.0),
        bounding_box_cache_fraction: Some(1.0),
        ..RandomCutForestOptions::default()
    };
    let mut forest = RandomCutForest::new(options).expect("options that it documents");
    let (mut sum, mut scored) = (0.0, 0);
    for (step, point) in points.chunks(MEASURES).enumerate() {
        let score = forest.score(point).expect("a finite point");
        if step >= SAMPLE_SIZE {
            sum += score;
            scored += 1;
        }
        forest.update(point).expect("a finite point");
    }
    let run = Run {
        seconds_a_point: (cpu_seconds() - started) / (points.len() / MEASURES) as f64,
        bytes: held() - before,
        mean_score: sum / f64::from(scored),
    };
    black_box(forest);
    run
}

/// Temperature, pulse, oxygen, systolic, diastolic of patients at rest, active or asleep; one in two hundred is an outlier.
fn vital_signs(count: usize) -> Vec<f32> {
    const MEANS: [[f64; MEASURES]; 3] = [
        [98.1, 68.0, 97.5, 118.0, 76.0],
        [99.1, 112.0, 96.5, 138.0, 84.0],
        [97.3, 54.0, 96.0, 104.0, 64.0],
    ];
    const DEVIATIONS: [f64; MEASURES] = [0.45, 7.0, 0.8, 8.0, 6.0];
    let mut state = 7u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut points = Vec::with_capacity(count * MEASURES);
    for _ in 0..count {
        let means = MEANS[(uniform() * 3.0) as usize];
        let outlier = (uniform() < 0.005).then(|| (uniform() * MEASURES as f64) as usize);
        for (measure, (mean, deviation)) in means.iter().zip(DEVIATIONS).enumerate() {
            let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            let strange = if outlier == Some(measure) {
                12.0 * deviation
            } else {
                0.0
            };
            points.push((mean + deviation * normal + strange) as f32);
        }
    }
    points
}

/// CPU time of this thread by the kernel's count, or wall time where it keeps none.
fn cpu_seconds() -> f64 {
    thread_local!(static START: Instant = Instant::now());
    let of_kernel = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = of_kernel.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.with(|start| start.elapsed().as_secs_f64()), |ns| ns / 1e9)
}
