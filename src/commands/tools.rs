//! `wardflow completions` and `wardflow man`: what shells and manuals know of the command line, from its own definition.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::builder::Resettable;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CommandLine, Failure, print};

#[derive(Args)]
pub(super) struct Completions {
    /// The shell to complete in
    shell: Shell,
}

#[derive(Args)]
pub(super) struct Manual {
    /// Write a page for each command to this folder, as wardflow-replay.1 [default: the main page, to standard output]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(self) -> Result<u8, Failure> {
        // Into memory first: the generator itself panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "wardflow", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}

impl Manual {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let mut command = command().disable_help_subcommand(true);
        command.build();
        let mut pages = Vec::new();
        let Some(folder) = self.folder else {
            Man::new(command).render(&mut pages)?;
            print(&String::from_utf8_lossy(&pages))?;
            return Ok(0);
        };
        let written = fs::create_dir_all(&folder).and_then(|()| write_pages(&command, &folder));
        written.map_err(|e| {
            let why = match e.kind() {
                io::ErrorKind::AlreadyExists => "a file; give a folder for the manual".into(),
                _ => format!("the manual cannot be written there ({e})"),
            };
            Failure::new(format!("{}: {why}", folder.display()))
        })?;
        Ok(0)
    }
}

/// The command line with everything shown that its help keeps for the end.
fn command() -> Command {
    CommandLine::command()
        .mut_subcommands(|command| command.hide(false))
        .after_help(Resettable::Reset)
}

/// A page for the command and each below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    command
        .get_subcommands()
        .try_for_each(|below| write_pages(below, folder))?;
    let program = concat!("wardflow ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(program).generate_to(folder).map(drop)
}
