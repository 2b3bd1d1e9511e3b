//! The command line: what is typed, to what is done, to an exit code.
//!
//! It prints and it ends; the work is done by the stages. A failure is one line on stderr that says what
//! is wrong, where, and what to do; only a configuration's faults are one line each before it.

mod args;
mod check;
mod emulator;
mod exit;
mod probe;
mod serve;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{self, Loaded, Preset, Sources};

pub use exit::{Exit, Failure};

/// Does what `arguments` say, the first of which is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match args::Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => not_a_command(&error),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(failure) if failure.message.is_empty() => failure.exit.into(),
        Err(failure) => {
            // With stderr closed there is nobody to tell, and the exit code says it all the same.
            let _told = writeln!(std::io::stderr(), "standpipe: {failure}").is_ok();
            failure.exit.into()
        }
    }
}

fn dispatch(command: args::Command) -> Result<(), Failure> {
    match command {
        args::Command::Serve(serve) => serve::run(serve),
        args::Command::Check(file) => check::run(&file),
        args::Command::Config(args::Config::Show(file)) => {
            print(&load(file.path.as_deref(), Preset::Service)?.show())
        }
        args::Command::Config(args::Config::Reference) => print(&config::reference()),
        args::Command::Probe(probe) => probe::run(&probe),
        args::Command::Emulator(emulator) => emulator::run(emulator),
    }
}

/// Help and version are what somebody asked for; all else is a mistake, which clap explains better.
fn not_a_command(error: &clap::Error) -> Result<(), Failure> {
    let _told = error.print().is_ok();
    if error.use_stderr() { Err(Failure::said(Exit::Usage)) } else { Ok(()) }
}

/// The configuration of the process.
fn load(path: Option<&Path>, preset: Preset) -> Result<Loaded, Failure> {
    Ok(config::load(&Sources::of_process(path), preset)?)
}

/// Prints `text` on stdout. A reader that has gone away, as `head` does, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("can not write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
