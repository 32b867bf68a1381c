//! Our scores and attributions against those of the AWS crate, within the bar stated with the reference files. The folder is
//! not part of the repository; where it is absent these tests pass without a word, and `small_stream` stands in for them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::{Scoring, parameters, score_all, scores};

const LEARNING: usize = 256;
const SEEDS: u64 = 5;

fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/reference/rcf"));
    folder.is_dir().then_some(folder)
}

/// The numbers of a CSV file, row by row, without its header.
fn table(text: &str) -> Vec<Vec<f64>> {
    text.lines()
        .skip(1)
        .map(|line| line.split(',').filter_map(|cell| cell.parse().ok()).collect())
        .collect()
}

fn packed(folder: &Path, name: &str) -> Vec<Vec<f64>> {
    let file = File::open(folder.join(name)).expect("the reference folder is whole");
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("a gzip file of text");
    table(&text)
}

fn input(folder: &Path, stream: &str, measures: usize) -> Vec<f32> {
    let text =
        std::fs::read_to_string(folder.join(format!("{stream}.input.csv"))).expect("the reference folder is whole");
    table(&text)
        .iter()
        .flat_map(|row| row[..measures].iter().map(|&value| value as f32))
        .collect()
}

/// How alike two columns of scores are, as tolerance.csv measures it.
#[derive(Debug)]
struct Likeness {
    mean_difference: f64,
    rank_correlation: f64,
    top_overlap: f64,
}

fn likeness(a: &[f64], b: &[f64]) -> Likeness {
    let mean_difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64;
    let (ranks_a, ranks_b) = (ranks(a), ranks(b));
    let top = (a.len() as f64 * 0.005).round();
    let from = a.len() as f64 - top;
    let both = ranks_a
        .iter()
        .zip(&ranks_b)
        .filter(|(a, b)| **a >= from && **b >= from)
        .count() as f64;
    Likeness {
        mean_difference,
        rank_correlation: correlation(&ranks_a, &ranks_b),
        top_overlap: both / top,
    }
}

/// Ranks; equal values share the middle of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut rows: Vec<usize> = (0..values.len()).collect();
    rows.sort_by(|&x, &y| values[x].total_cmp(&values[y]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in rows.chunk_by(|&x, &y| values[x] == values[y]) {
        for &row in equal {
            ranks[row] = before as f64 + (equal.len() - 1) as f64 / 2.0;
        }
        before += equal.len();
    }
    ranks
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += (a - mean_a) * (b - mean_b);
        aa += (a - mean_a) * (a - mean_a);
        bb += (b - mean_b) * (b - mean_b);
    }
    ab / (aa * bb).sqrt()
}

/// The mean likeness of the columns' pairs.
fn of_pairs<'a>(pairs: impl Iterator<Item = (&'a Vec<f64>, &'a Vec<f64>)>) -> Likeness {
    mean_likeness(&pairs.map(|(a, b)| likeness(a, b)).collect::<Vec<_>>())
}

fn mean_likeness(all: &[Likeness]) -> Likeness {
    let of = |pick: fn(&Likeness) -> f64| mean(&all.iter().map(pick).collect::<Vec<_>>());
    Likeness {
        mean_difference: of(|l| l.mean_difference),
        rank_correlation: of(|l| l.rank_correlation),
        top_overlap: of(|l| l.top_overlap),
    }
}

/// The standard error of a mean.
fn error(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|x| (x - mean(values)).powi(2)).sum();
    (squares / (values.len() - 1) as f64 / values.len() as f64).sqrt()
}

/// The bar: mean difference at most 1.15 times the reference's own between seeds, rank correlation at most 0.01 below, overlap
/// of the strangest 0.5 % at most 0.03 below, mean score within three standard errors. The rank correlation may be so many of its
/// own standard errors short as `doubt` says.
fn hold_the_bar(stream: &str, file: &str, measures: usize, scoring: Scoring, seeds: u64, doubt: f64) {
    let Some(folder) = folder() else { return };
    let name = match scoring {
        Scoring::Kinesis => "kinesis",
        Scoring::Aws => "oss",
    };
    let reference = packed(&folder, &format!("{file}.scores_{name}.csv.gz"));
    let column = |seed: usize| -> Vec<f64> { reference[LEARNING..].iter().map(|row| row[seed]).collect() };
    let reference: Vec<Vec<f64>> = (0..10).map(column).collect();
    let points = input(&folder, stream, measures);
    let run = |seed| scores(&score_all(&parameters(measures, scoring, seed), &points, f64::INFINITY));
    let ours: Vec<Vec<f64>> = (1..=seeds).map(run).collect();

    let own = of_pairs(
        reference
            .iter()
            .enumerate()
            .flat_map(|(i, a)| reference[..i].iter().map(move |b| (a, b))),
    );
    let by_seed: Vec<Likeness> = ours
        .iter()
        .map(|a| of_pairs(reference.iter().map(move |b| (a, b))))
        .collect();
    let got = mean_likeness(&by_seed);
    let of_ranks = error(&by_seed.iter().map(|l| l.rank_correlation).collect::<Vec<_>>());
    let means: Vec<f64> = reference.iter().map(|column| mean(column)).collect();
    let spread = (means.iter().map(|m| (m - mean(&means)).powi(2)).sum::<f64>() / 9.0).sqrt();
    let our_mean = mean(&ours.iter().map(|column| mean(column)).collect::<Vec<_>>());
    let off = (our_mean - mean(&means)) / (spread * (1.0 / 10.0 + 1.0 / seeds as f64).sqrt());
    println!(
        "{stream} {name}: {got:?} (rank correlation ± {of_ranks:.4}) against {own:?}; mean {our_mean:.5} against {:.5}, {off:.1} standard errors",
        mean(&means)
    );
    assert!(got.mean_difference <= 1.15 * own.mean_difference);
    assert!(got.rank_correlation + doubt * of_ranks >= own.rank_correlation - 0.01);
    assert!(got.top_overlap >= own.top_overlap - 0.03);
    assert!(off.abs() <= 3.0);
}

#[test]
fn clusters_score_as_the_aws_crate_scores_them() {
    hold_the_bar("clusters5", "clusters5", 5, Scoring::Aws, SEEDS, 0.0);
    hold_the_bar("clusters5", "clusters5", 5, Scoring::Kinesis, SEEDS, 0.0);
}

#[test]
fn vital_signs_score_as_the_aws_crate_scores_them() {
    hold_the_bar("vitals5_int", "vitals5_int", 5, Scoring::Aws, SEEDS, 0.0);
    hold_the_bar("vitals5_int", "vitals5_int", 5, Scoring::Kinesis, SEEDS, 0.0);
}

/// On this stream, one value makes 89 % of the rows and its score decides, so that seeds differ much and few seeds tell little: we
/// take forty. With kinesis scoring the ten reference seeds are by chance closer to one another than the crate's seeds are,
/// and its own seeds 11 to 40 (krcflib 4.0.2) would not pass the bar, 0.01343 against 0.01217. Our forests do, as they vary less
/// from seed to seed. The rank correlation, which is mostly that of one value's score over time, is just at the bar, as the crate's
/// own is (over 800 seeds 0.9043 ± 0.0011 against 0.9036; aws 0.9614 ± 0.0008 against 0.9596), and forty seeds tell it
/// to 0.007 only: hence the doubt.
#[test]
fn repeated_values_score_as_the_aws_crate_scores_them() {
    let (stream, file, seeds) = ("nab_rogue_agent_key_updown", "nab_rogue_agent_key_updown_s1", 40);
    hold_the_bar(stream, file, 1, Scoring::Aws, seeds, 2.0);
    hold_the_bar(stream, file, 1, Scoring::Kinesis, seeds, 2.0);
}

/// Mean absolute difference per part between our mean over the seeds and the reference's mean over ten, over the mean part.
fn attribution_difference(stream: &str, scoring: Scoring, name: &str) -> Option<f64> {
    let folder = folder()?;
    let reference = packed(&folder, &format!("{stream}.attribution_{name}_mean10.csv.gz"));
    let points = input(&folder, stream, 5);
    let mut sums = vec![[0.0; 10]; reference.len()];
    for seed in 1..=SEEDS {
        let scored = score_all(&parameters(5, scoring, seed), &points, 0.0);
        for (sum, scored) in sums.iter_mut().zip(&scored) {
            for (m, part) in scored.attribution.iter().flat_map(|a| a.parts.iter()).enumerate() {
                sum[m] += part.high / SEEDS as f64;
                sum[5 + m] += part.low / SEEDS as f64;
            }
        }
    }
    let (mut difference, mut size) = (0.0, 0.0);
    for (ours, theirs) in sums.iter().zip(&reference).skip(LEARNING) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            difference += (ours - theirs).abs();
            size += theirs;
        }
    }
    println!(
        "{stream} {name}: attribution differs by {:.4} of a part",
        difference / size
    );
    Some(difference / size)
}

/// The yardstick is the noise of seeds: so much the mean over the crate's seeds 11 to 15 differs from that over 1 to 10
/// (krcflib 4.0.2), with the factor that the bar allows the scores.
#[test]
fn attributions_are_those_of_the_aws_crate() {
    for (stream, own) in [("clusters5", 0.0636), ("vitals5_int", 0.0748)] {
        for (scoring, name) in [(Scoring::Aws, "oss"), (Scoring::Kinesis, "kinesis")] {
            if let Some(difference) = attribution_difference(stream, scoring, name) {
                assert!(difference <= 1.15 * own, "{stream} {name}: {difference}");
            }
        }
    }
}
