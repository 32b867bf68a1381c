//! The program: see `wardflow --help`.

use std::process::ExitCode;

use clap::Parser;
use wardflow::cluster::install_panic_hook;
use wardflow::commands::CommandLine;

/// What a worker makes another thread lets go of: the system's allocator keeps much of that, and of each burst, for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    install_panic_hook();
    CommandLine::parse().run()
}
