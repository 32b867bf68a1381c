//! A folder for tables that nobody wants to keep. They are still protected health information: it is its owner's alone, and goes with the
//! process however that ends.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::super::Failure;
use crate::cluster::before_the_end;

pub(super) struct PassingFolder(PathBuf);

impl PassingFolder {
    pub(super) fn create() -> Result<PassingFolder, Failure> {
        let within = std::env::temp_dir();
        for number in 0.. {
            let path = within.join(format!("wardflow-backtest-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let remove = path.clone();
                    before_the_end(move || _ = fs::remove_dir_all(&remove));
                    return Ok(PassingFolder(path));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    return Err(Failure::new(format!(
                        "{}: the folder for the passing tables cannot be made ({e}); name another place in TMPDIR, or keep the tables with -o",
                        path.display()
                    )));
                }
            }
        }
        unreachable!("a name is free long before the numbers end")
    }

    pub(super) fn output_and_state(&self) -> (PathBuf, PathBuf) {
        (self.0.join("tables"), self.0.join("state"))
    }
}

impl Drop for PassingFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
