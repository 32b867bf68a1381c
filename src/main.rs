//! The program: see `wardflow --help`.

#![deny(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use wardflow::cluster::install_panic_hook;
use wardflow::commands::CommandLine;

mod allocator;

fn main() -> ExitCode {
    allocator::keep_what_is_free();
    install_panic_hook();
    CommandLine::parse().run()
}
