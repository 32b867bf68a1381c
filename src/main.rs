//! The program: see `wardflow --help`.

use std::process::ExitCode;

use clap::Parser;
use wardflow::cluster::install_panic_hook;
use wardflow::commands::CommandLine;

/// Much of what one thread makes another lets go of: with the system's allocator a live run takes a seventh more processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    install_panic_hook();
    CommandLine::parse().run()
}
