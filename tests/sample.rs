//! The sample in `datasets/` is what the generator makes, and shows what the README says it shows.

mod ward;

use std::path::Path;
use std::{env, fs};

use ward::Ward;

/// A small ward on a bad day, and records a little longer than need be.
fn sample() -> Ward {
    Ward {
        bytes: 300,
        bad: 0.005,
        anomalies: 0.005,
        ..Ward::on_a_bad_day(2018, 6_000)
    }
}

#[test]
fn the_sample_is_what_the_generator_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    let (mut records, mut devices) = (Vec::new(), Vec::new());
    sample().write(&mut records).expect("memory");
    sample().write_devices(&mut devices).expect("memory");
    for (name, made) in [("ward.jsonl", records), ("devices.csv", devices)] {
        let path = folder.join(name);
        if env::var_os("WARDFLOW_REGENERATE").is_some() {
            fs::write(&path, &made).expect("a writable checkout");
        }
        let stored = fs::read(&path).expect("the sample is part of the project");
        assert!(
            stored == made,
            "{name} is not what the generator makes; see datasets/README.md"
        );
    }
}
