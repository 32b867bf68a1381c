//! The program: see `wardflow --help`.

use std::process::ExitCode;

use clap::Parser;
use wardflow::cluster::install_panic_hook;
use wardflow::commands::CommandLine;

fn main() -> ExitCode {
    install_panic_hook();
    CommandLine::parse().run()
}
